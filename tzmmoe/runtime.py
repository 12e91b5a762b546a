"""The process: device, seed, memory. The only reader of the environment."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata

import torch

from tzmmoe.errors import ConfigError


@dataclass(frozen=True)
class Runtime:
    """Where and how this process computes."""

    device: torch.device
    seed: int

    @classmethod
    def start(cls, device: torch.device, seed: int, *, deterministic: bool) -> "Runtime":
        """Seed everything.

        Raises:
            ConfigError: more than one process.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError.at(
                "",
                "WORLD_SIZE is above 1, but this version trains in one process; start it "
                "without torchrun",
            )
        torch.manual_seed(seed)
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(deterministic)
        return cls(device, seed)


def find_device(name: str, place: str = "--device") -> torch.device:
    """``auto`` is a GPU when there is one.

    Raises:
        ConfigError: no such device; ``place`` is the flag or field that names it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError.at(place, f"{name!r} is no device; give auto, cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError.at(place, f"{name!r} is not supported; give auto, cpu or cuda")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        words = f"is not there; this machine has {count} GPUs; give auto, or --device cpu"
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
    """Memory that the device has left, None where it cannot be told."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo") as lines:
            sizes = dict(line.split(":") for line in lines)
        return int(sizes["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return None


def variable(name: str) -> str | None:
    """The value of an environment variable; None when it is not set, or empty."""
    return os.environ.get(name) or None


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
