"""The process: its device, seed, memory, threads, and the processes it runs with."""

import ctypes
import functools
import logging
import os
import platform
import random
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata

import numpy as np
import torch

from tzmmoe.errors import ConfigError
from tzmmoe.system import environment
from tzmmoe.system.seeds import seed_of
from tzmmoe.system.world import World

log = logging.getLogger(__name__)

# Of glibc's mallopt. A request of that size or more is mapped and unmapped each time; 32 MiB is the
# largest that it accepts. Of the free memory at the end of the heap, so much is kept.
MMAP_THRESHOLD = -3, 32 << 20
TRIM_THRESHOLD = -1, 2**31 - 1
USERS_CHOICE = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")
PAUSE_SOFT = 1  # of OpenMP's omp_pause_resource_all: threads end, settings stay


@dataclass(frozen=True)
class Runtime:
    """The device, seed and group of processes that this process works with."""

    device: torch.device
    seed: int
    world: World

    @classmethod
    def start(
        cls, device: torch.device, seed: int, world: World, *, deterministic: bool
    ) -> "Runtime":
        """Seed all generators: dropout differs between processes, the order of rows does not."""
        torch.manual_seed(seed if world.is_first else seed_of(seed, f"rank {world.rank}"))
        if deterministic:
            environment.set_default("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.backends.cudnn.benchmark = False
        use_deterministic(deterministic)
        return cls(device, seed, world)


def use_deterministic(is_on: bool, warns: bool = False) -> None:
    """Set torch's deterministic mode. Where nothing changes, torch is not asked: to set it imports
    its compiler, which takes longer than most of what a short command does."""
    now = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    if now != (is_on, warns):
        torch.use_deterministic_algorithms(is_on, warn_only=warns)


def num_processes() -> int:
    """Of the run, as torchrun says before they meet."""
    return environment.number("WORLD_SIZE", 1, 1)


def num_neighbours() -> int:
    """How many of the processes share this machine."""
    return environment.number("LOCAL_WORLD_SIZE", 1, 1)


def meet(device: torch.device, timeout_s: float) -> World:
    """The processes that torchrun started together, or this one alone."""
    size = num_processes()
    if size == 1:
        if words := environment.leftover():
            log.warning("%s", words)
        return World(has_restarted=restarts() > 0)
    missing = [n for n in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not environment.variable(n)]
    if missing:
        raise ConfigError.at(
            "",
            f"WORLD_SIZE is {size}, but {', '.join(missing)} is not set; start several processes "
            "with torchrun, or unset WORLD_SIZE",
        )
    return World.join(device, timeout_s, restarts())


def restarts() -> int:
    """How often torchrun has restarted the processes after one of them failed."""
    return environment.number("TORCHELASTIC_RESTART_COUNT", 0)


def find_device(name: str, place: str = "--device") -> torch.device:
    """The device of a name: ``auto`` is a GPU if the machine has one, else the CPU. Processes that
    share a machine get a GPU each.

    Raises:
        ConfigError: there is no such device; ``place`` is the flag or field that names it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and num_processes() > 1:
        name = f"cuda:{environment.number('LOCAL_RANK', 0)}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError.at(place, f"{name!r} is not a device; use auto, cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError.at(place, f"{name!r} is not supported; use auto, cpu or cuda")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        words = f"does not exist; this machine has {count} GPUs; use auto, or --device cpu"
        raise ConfigError.at(place, f"{name!r} {words}")
    return device


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Treat numbers below 1e-38 as 0 inside the block.

    Each of them costs a CPU some hundred cycles, and weight decay produces many. A thread inherits
    the setting from the one that starts it, so torch's threads are ended before and after.
    """
    is_set = (torch.tensor(1e-40) * 1).item() == 0
    release_threads()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        release_threads()
        torch.set_flush_denormal(is_set)


def release_threads() -> None:
    """End the threads that GNU's OpenMP keeps for this one; the next use starts others."""
    with suppress(OSError, AttributeError):  # no /proc, or a library of before OpenMP 5.0
        with open("/proc/self/maps") as maps:
            paths = {line.split()[-1] for line in maps if "/libgomp" in line}
        for path in paths:
            ctypes.CDLL(path).omp_pause_resource_all(PAUSE_SOFT)


@functools.cache
def prepare_for_forks() -> None:
    """Let processes that are forked from now on use torch.

    OpenMP's threads do not survive a fork, and GNU's library would wait for them forever. So they
    end before each fork of Python's. A server in C forks without Python: there, the child does
    without threads.
    """
    if not hasattr(os, "register_at_fork"):
        return
    released: list[bool] = []

    def before() -> None:
        release_threads()
        released.append(True)

    def in_child() -> None:
        _Turn.lock = threading.RLock()
        if not released and torch.get_num_threads() > 1:
            torch.set_num_threads(1)
            log.warning("this process was forked outside of Python, so torch uses one thread in it")
        released.clear()

    os.register_at_fork(before=before, after_in_parent=released.clear, after_in_child=in_child)


class _Turn:
    """Whose turn it is to change what the whole process shares, such as torch's random state."""

    lock = threading.RLock()


@contextmanager
def borrowed() -> Iterator[None]:
    """After the block, what the process shares is as before: the random state of torch, numpy and
    Python, torch's deterministic mode and TF32. One thread at a time is inside; others wait."""
    prepare_for_forks()
    lock = _Turn.lock
    if not lock.acquire(blocking=False):
        log.info("waiting for another thread of this process, which uses torch's random state")
        lock.acquire()
    try:
        with ExitStack() as after:
            _remember_random_state(after)
            _remember_settings(after)
            yield
    finally:
        lock.release()


def _remember_random_state(after: ExitStack) -> None:
    after.callback(random.setstate, random.getstate())
    after.callback(np.random.set_state, np.random.get_state())  # noqa: NPY002
    if torch.cuda.is_initialized():
        after.callback(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
    else:  # its generators, once they are made, have the seed of the CPU's
        after.callback(torch.cuda.manual_seed_all, torch.initial_seed())
    after.callback(torch.set_rng_state, torch.get_rng_state())


def _remember_settings(after: ExitStack) -> None:
    name = "CUBLAS_WORKSPACE_CONFIG"
    after.callback(environment.restore, name, environment.variable(name))
    after.callback(
        use_deterministic,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    for owner, name in (
        (torch.backends.cudnn, "benchmark"),
        (torch.backends.cudnn, "allow_tf32"),
        (torch.backends.cuda.matmul, "allow_tf32"),
    ):
        with suppress(RuntimeError):  # set by torch's other interface for TF32
            after.callback(setattr, owner, name, getattr(owner, name))


def keep_memory() -> bool:
    """Let glibc keep the memory that a step frees, for the next one. Whether it does so now.

    By default it returns large blocks to the system, which clears each page when it is asked for it
    again. The setting cannot be undone, so it is for processes that are ours. Left alone are other
    allocators, and an allocator that the environment configures.
    """
    is_chosen = any(map(environment.variable, USERS_CHOICE))
    is_chosen |= "glibc.malloc" in (environment.variable("GLIBC_TUNABLES") or "")
    if is_chosen or platform.libc_ver()[0] != "glibc":
        return False
    try:
        glibc, process = ctypes.CDLL("libc.so.6"), ctypes.CDLL(None)
        own, used = (ctypes.cast(lib.malloc, ctypes.c_void_p).value for lib in (glibc, process))
        if own != used:  # another allocator was preloaded
            return False
        return all(glibc.mallopt(*option) for option in (MMAP_THRESHOLD, TRIM_THRESHOLD))
    except (OSError, AttributeError):
        return False


def allow_tf32(matmul: bool | None, cudnn: bool | None) -> None:
    """Allow or forbid TF32 in matrix products and in cuDNN; None leaves torch's setting."""
    if matmul is not None:
        torch.backends.cuda.matmul.allow_tf32 = matmul
    if cudnn is not None:
        torch.backends.cudnn.allow_tf32 = cudnn


def free_bytes(device: torch.device) -> int | None:
    """Free memory of the device; on a CPU, this process's share of the machine's free memory. None
    where the system does not say."""
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
    """Versions of packages, the machine with the processor's instruction set that torch uses, its
    threads, and the command line, for the record of a run."""
    record = {
        "python": platform.python_version(),
        "machine": platform.platform(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
    }
    for name in ("tzmmoe", "torch", "pyarrow", "protobuf", "torchmetrics", "numpy", "safetensors"):
        try:
            record[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            record[name] = "not installed"
    if torch.cuda.is_available():
        record["gpu"] = torch.cuda.get_device_name()
    return record | {"command": " ".join(sys.argv)}


def short_bytes(count: float) -> str:
    """A number of bytes for a person: ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
