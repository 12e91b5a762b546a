"""The process: settings are restored after use, memory is kept, and what is wrong with its
environment is told."""

import os
import platform
import subprocess
import sys

import forked
import pytest
import torch
from messages import fails, says

from tzmmoe.errors import ConfigError
from tzmmoe.system import environment
from tzmmoe.system.runtime import flushed_denormals


def is_flushing() -> bool:
    return (torch.tensor(2.0**-126) / 4).item() == 0


@pytest.mark.parametrize("before", [False, True])
def test_denormals_are_flushed_in_the_block_and_as_before_after_it(before: bool) -> None:
    if not torch.set_flush_denormal(before):
        pytest.skip("this CPU cannot flush denormals")
    try:
        with flushed_denormals():
            assert is_flushing()
        assert is_flushing() == before
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize(
    ("name", "text", "least"),
    [
        ("WORLD_SIZE", "abc", 1),
        ("WORLD_SIZE", "0", 1),
        ("WORLD_SIZE", "-2", 1),
        ("RANK", "1.0", 0),
        ("LOCAL_WORLD_SIZE", "0", 1),
        ("LOCAL_RANK", "x", 0),
        ("TORCHELASTIC_RESTART_COUNT", "zz", 0),
    ],
)
def test_a_variable_of_the_launcher_that_is_no_number_is_named_with_its_value(
    monkeypatch, name, text, least
) -> None:
    monkeypatch.setenv(name, text)
    with fails(ConfigError, name, repr(text), f"{least} or more", "unset it", "torchrun"):
        environment.number(name, 1, least)


@pytest.mark.parametrize("variables", ["WORLD_SIZE=abc", "LOCAL_WORLD_SIZE=0", "RANK=5"])
def test_a_command_says_what_is_wrong_with_its_environment(
    tiny_folder, tmp_path, variables
) -> None:
    """A leftover RANK silences nothing, and is told."""
    name, _, text = variables.partition("=")
    flags = ["--pipeline_config", tiny_folder / "tiny.config", "--model_dir", tmp_path / "run"]
    done = forked.run("-m", "tzmmoe.train", *flags, "--check", **{name: text})
    assert done.returncode == (0 if name == "RANK" else 2), done.stderr
    says(done.stderr, name, text, "unset", "torchrun")
    assert "Traceback" not in done.stderr
    if name == "RANK":
        says(done.stderr, "the config fits the data")


STEPS = """
import resource
import torch
from tzmmoe.system.runtime import keep_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def step():
    tensors = [torch.ones(5 << 20) for _ in range(4)]  # 20 MiB each

kept = keep_memory()
for _ in range(6):
    step()
before = faults()
for _ in range(10):
    step()
print(kept, faults() - before)
"""


def steps_with(**environment: str) -> tuple[bool, int]:
    """Whether memory is kept, and the pages that ten steps asked the system for."""
    command = [sys.executable, "-W", "ignore", "-c", STEPS]
    own = {name: value for name, value in os.environ.items() if "MALLOC" not in name.upper()}
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=own | environment
    )
    kept, pages = done.stdout.split()
    return kept == "True", int(pages)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_the_memory_of_a_step_is_kept_for_the_next_one() -> None:
    """Without that, ten steps of 80 MiB ask for many pages again; the environment can say so."""
    kept, pages = steps_with()
    left_alone, pages_by_default = steps_with(MALLOC_MMAP_THRESHOLD_="131072")
    assert (kept, left_alone) == (True, False)
    assert pages < pages_by_default / 10


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_an_allocator_that_the_environment_configures_is_left_alone() -> None:
    assert not steps_with(GLIBC_TUNABLES="glibc.malloc.trim_threshold=1048576")[0]


def test_what_changes_nothing_does_not_import_the_compiler() -> None:
    """Which takes a second or more. In another process, since tests may have it already."""
    code = (
        "import sys\n"
        "from tzmmoe.system.runtime import borrowed\n"
        "with borrowed():\n    pass\n"
        "print([name for name in sys.modules if name in ('torch._dynamo', 'torch._inductor')])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
