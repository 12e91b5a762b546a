"""Memory that runs out is an error with what to lower, and no traceback, in the commands."""

import errno
import os
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pytest
import torch

from tzmmoe.errors import DataError, lacks_memory
from tzmmoe.system import cli

HUGE = 2**58


def of_arrow() -> None:
    pa.allocate_buffer(HUGE)


def of_numpy() -> None:
    np.empty(HUGE, np.uint8)


def of_torch() -> None:
    torch.empty(HUGE, dtype=torch.uint8)


def of_python() -> None:
    bytearray(HUGE)


def of_the_system() -> None:
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), "rows.parquet")


def of_threads() -> None:
    try:
        raise pa.ArrowException("Unknown error: Failed to launch worker thread: try again")
    except pa.ArrowException as error:
        raise DataError("rows.parquet: cannot be read") from error


def of_a_file() -> None:
    try:
        of_arrow()
    except MemoryError as error:
        raise DataError("rows.parquet: cannot be read") from error


LACKS = [of_arrow, of_numpy, of_torch, of_python, of_the_system, of_a_file, of_threads]


@pytest.mark.parametrize("act", LACKS, ids=lambda act: act.__name__)
def test_what_a_command_lacks_memory_for_ends_with_code_2_and_what_to_lower(
    capsys, act: Callable[[], None]
) -> None:
    def main(argv: Sequence[str]) -> None:
        act()

    with pytest.raises(SystemExit) as stopped:
        cli.run(main)
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert "Traceback" not in said
    assert "data_config.batch_size" in said
    assert (
        "rows.parquet: cannot be read" if act in (of_a_file, of_threads) else "not enough memory"
    ) in said


@pytest.mark.parametrize("error", [RuntimeError("ours"), ImportError("ours"), ValueError("memory")])
def test_other_errors_are_no_lack_of_memory(error) -> None:
    assert not lacks_memory(error)
