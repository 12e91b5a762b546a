"""The process: device, seed, memory, and the others that it works with."""

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata

import torch

from tzmmoe.errors import ConfigError
from tzmmoe.system import environment
from tzmmoe.system.seeds import seed_of
from tzmmoe.system.world import World


@dataclass(frozen=True)
class Runtime:
    """Where and how this process computes."""

    device: torch.device
    seed: int
    world: World

    @classmethod
    def start(
        cls, device: torch.device, seed: int, world: World, *, deterministic: bool
    ) -> "Runtime":
        """Seed everything. Dropout differs from process to process, the order of rows does not."""
        torch.manual_seed(seed if world.is_first else seed_of(seed, f"rank {world.rank}"))
        if deterministic:
            environment.set_default("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(deterministic)
        return cls(device, seed, world)


def num_processes() -> int:
    """Of the run, as torchrun says before they meet."""
    return environment.number("WORLD_SIZE", 1)


def num_neighbours() -> int:
    """How many of the processes share this machine."""
    return environment.number("LOCAL_WORLD_SIZE", 1)


def meet(device: torch.device, timeout_s: float) -> World:
    """The processes that torchrun started with this one, or this one alone."""
    size = num_processes()
    if size == 1:
        return World(has_restarted=restarts() > 0)
    lacking = [n for n in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not environment.variable(n)]
    if lacking:
        raise ConfigError.at(
            "",
            f"WORLD_SIZE is {size}, but {', '.join(lacking)} is not set; start several processes "
            "with torchrun, or unset WORLD_SIZE",
        )
    return World.join(device, timeout_s, restarts())


def restarts() -> int:
    """How often torchrun started the processes again after one of them had failed."""
    return environment.number("TORCHELASTIC_RESTART_COUNT", 0)


def find_device(name: str, place: str = "--device") -> torch.device:
    """``auto`` is a GPU when there is one; of several processes on a machine, each has its own.

    Raises:
        ConfigError: no such device; ``place`` is the flag or field that names it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and num_processes() > 1:
        name = f"cuda:{environment.number('LOCAL_RANK', 0)}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError.at(place, f"{name!r} is no device; give auto, cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError.at(place, f"{name!r} is not supported; give auto, cpu or cuda")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        words = f"does not exist; this machine has {count} GPUs; give auto or cpu"
        raise ConfigError.at(place, f"{name!r} {words}")
    return device


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Take numbers below 1e-38 for 0 while the block runs.

    A CPU needs some hundred cycles for each of them, and weight decay makes many. A thread inherits
    this from the one that starts it, so enter the block before torch starts its threads.
    """
    is_set = (torch.tensor(1e-40) * 1).item() == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(is_set)


def allow_tf32(matmul: bool | None, cudnn: bool | None) -> None:
    """Set what is not None."""
    if matmul is not None:
        torch.backends.cuda.matmul.allow_tf32 = matmul
    if cudnn is not None:
        torch.backends.cudnn.allow_tf32 = cudnn


def free_bytes(device: torch.device) -> int | None:
    """Memory that the device has left, for each process on the machine if it is the machine's; None
    where it cannot be told."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo") as lines:
            sizes = dict(line.split(":") for line in lines)
        free = int(sizes["MemAvailable"].split()[0]) * 1024
        return free // num_neighbours()
    except (OSError, KeyError):
        return None


def versions() -> dict[str, str]:
    """What a run was made with."""
    found = {"python": platform.python_version(), "machine": platform.platform()}
    for name in ("tzmmoe", "torch", "pyarrow", "protobuf", "torchmetrics", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found | {"command": " ".join(sys.argv)}


def short_bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
