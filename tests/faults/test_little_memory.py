"""Commands whose address space is limited: all of the output, or none and what to lower."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import pyarrow as pa
import pytest
from e2e import tiny

from tzmmoe.system import checkpoint
from tzmmoe.system.cli import LOWER

COPIES = 1_500  # of 200 rows: 300,000
SHARES = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)  # of what the large files take beyond the small ones
# How glibc ends a process without memory for the variables of a new thread. Nothing can catch that.
ABORT_CODE, ABORT_LINE = 127, "cannot allocate memory for thread-local data: ABORT"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a run, its export, and rows that take some hundreds of megabytes at once."""
    folder = tiny.write_all(tmp_path_factory.mktemp("made"))
    rows = pa.concat_tables([tiny.rows(0, 200)] * COPIES)
    tags = ["|".join(f"t{row * part % 997}" for part in range(20)) for row in range(len(rows))]
    rows = rows.set_column(rows.column_names.index("tags"), "tags", [tags])
    tiny.write(rows, folder / "large" / "0.parquet")
    tiny.pipeline(folder, folder / "run").fit()
    tiny.pipeline(folder, folder / "run").export(folder / "export")
    return folder


def flags(command: str, folder: Path, data: str, out: Path) -> list[str]:
    if command == "predict":
        return [
            *("--saved_model_dir", str(folder / "export"), "--batch_size", "400000"),
            *("--predict_input_path", str(folder / data), "--device", "cpu"),
            *("--predict_output_path", str(out / "rows.parquet")),
        ]
    return [
        *("--pipeline_config", str(folder / "tiny.config"), "--model_dir", str(out / "run")),
        *("--train_input_path", str(folder / data), "--device", "cpu"),
        *("--set", "data_config.shuffle_buffer_size=20000"),
        *("--set", "train_config.num_steps=3"),
    ]


def ended(command: str, arguments: Sequence[str], limit_bytes: int) -> tuple[int, str, int]:
    """Exit code and stderr of a command, and the largest address space that was seen."""
    limits = (limit_bytes, limit_bytes)
    process = subprocess.Popen(
        [sys.executable, "-m", f"tzmmoe.{command}", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        preexec_fn=partial(resource.setrlimit, resource.RLIMIT_AS, limits),
    )
    peak_bytes = 0
    while process.poll() is None:
        peak_bytes = max(peak_bytes, peak(process.pid))
        time.sleep(0.02)
    return process.returncode, process.communicate()[1], peak_bytes


def is_aborted(code: int, errors: str) -> bool:
    return code == ABORT_CODE and ABORT_LINE in errors


def peak(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    sizes = [int(line.split()[1]) for line in lines if line.startswith("VmPeak")]
    return 1024 * sum(sizes)  # of a process that has just ended there is none


@pytest.fixture(scope="module")
def peaks(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    """How much a command takes for the small files and for the large ones."""

    @cache
    def of(command: str) -> tuple[int, int]:
        found = []
        for data in ("train", "large"):
            out = tmp_path_factory.mktemp(data)
            arguments = flags(command, folder, data, out)
            code, errors, peak_bytes = ended(command, arguments, resource.RLIM_INFINITY)
            assert code == 0, errors
            found.append(peak_bytes)
        return found[0], found[1]

    return of


@pytest.mark.long
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("command", ["predict", "train"])
def test_a_command_with_little_memory_writes_all_or_nothing_and_says_what_to_lower(
    folder, peaks, tmp_path, command, share
) -> None:
    small, large = peaks(command)
    assert large > small + (50 << 20), "the large files take too little to tell"
    limit_bytes = int(small + share * (large - small))
    code, errors, _ = ended(command, flags(command, folder, "large", tmp_path), limit_bytes)
    assert "Traceback" not in errors
    if not is_aborted(code, errors):
        assert code in (0, 2), errors
        assert (LOWER in errors) == (code == 2), errors
        assert not list(tmp_path.rglob(".writing*"))
    if command == "predict":
        assert (tmp_path / "rows.parquet").exists() == (code == 0)
        return
    if newest := checkpoint.find(tmp_path / "run")[-1:]:
        checkpoint.open_checkpoint(newest[0])
    assert bool(newest) or code != 0


@pytest.mark.long
@pytest.mark.parametrize("command", ["predict", "train"])
def test_the_least_that_was_tried_is_too_little(folder, peaks, tmp_path, command) -> None:
    """So the test above is not one of runs that come through."""
    small, large = peaks(command)
    limit_bytes = int(small + SHARES[0] * (large - small))
    code, errors, _ = ended(command, flags(command, folder, "large", tmp_path), limit_bytes)
    assert code == 2 or is_aborted(code, errors), errors
