"""Data files that fail, change or disappear while a run reads them."""

import errno
import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e import tiny

from tzmmoe.data.plan import delivery as delivery_module
from tzmmoe.data.reading import csv, parquet
from tzmmoe.errors import DataError
from tzmmoe.learning.step import TrainStep
from tzmmoe.pipeline import Pipeline
from tzmmoe.system import checkpoint

# 200 rows are 13 steps; one file, read a few rows at a time, two epochs.
NUM_ROWS, CHUNK_ROWS, FAULT_AT = 200, 32, 5


@pytest.fixture(params=["parquet", "csv"])
def folder(request, tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(delivery_module, "UNSHUFFLED_ROWS", CHUNK_ROWS)
    monkeypatch.setattr(parquet, "ROWS", CHUNK_ROWS)
    monkeypatch.setattr(csv, "BLOCK_BYTES", 2048)
    return tiny.write_all(tmp_path / "data", suffix=f".{request.param}", files=[NUM_ROWS])


def file_of(folder: Path) -> Path:
    return next((folder / "train").iterdir())


def pipeline(folder: Path, model_dir: Path) -> Pipeline:
    header = "true" if file_of(folder).suffix == ".csv" else "false"
    return tiny.pipeline(
        folder,
        model_dir,
        data_config__num_workers=0,
        data_config__shuffle="false",
        data_config__with_header=header,
        train_config__save_checkpoints_steps=100,
    )


def undisturbed(folder: Path, model_dir: Path) -> dict[str, bytes]:
    pipeline(folder, model_dir).fit()
    return tiny.end(model_dir)


def shortened(file: Path, other: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def emptied(file: Path, other: Path) -> None:
    os.truncate(file, 0)


def written_over(file: Path, other: Path) -> None:
    """In place, by as many other rows."""
    file.write_bytes(other.read_bytes())


def replaced(file: Path, other: Path) -> None:
    """By another file that is renamed to it."""
    other.replace(file)


def deleted(file: Path, other: Path) -> None:
    file.unlink()


CHANGES = [shortened, emptied, written_over, replaced, deleted]


def at_step(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], None]) -> None:
    """Do something before a step, counted from 1."""
    original, steps = TrainStep.__call__, []

    def call(self: TrainStep, *arguments: object) -> object:
        steps.append(None)
        if len(steps) == number:
            act()
        return original(self, *arguments)

    monkeypatch.setattr(TrainStep, "__call__", call)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_file_that_changes_while_being_read_is_an_error_and_no_new_row_is_learned(
    folder, tmp_path, monkeypatch, change
) -> None:
    """Once the file is restored, a resumed run ends the same. A deleted file stays readable
    while it is open, so the error comes in the second epoch."""
    expected = undisturbed(folder, tmp_path / "undisturbed")
    file = file_of(folder)
    kept = shutil.copy2(file, tmp_path / "kept")
    other = tiny.write(tiny.rows(5000, NUM_ROWS), tmp_path / f"other{file.suffix}")
    with monkeypatch.context() as patch:
        at_step(patch, FAULT_AT, lambda: change(file, other))
        with pytest.raises(DataError) as raised:
            pipeline(folder, tmp_path / "run").fit()
    kinds = "no longer exists" if change is deleted else "changed|cannot be read"
    assert raised.match(f"^{file}: .*({kinds})")
    assert raised.match("model.ckpt-[0-9]+ .*continue_train=True")
    saved = checkpoint.open_checkpoint(checkpoint.newest(tmp_path / "run"))
    assert saved.step >= FAULT_AT - 1
    shutil.copy2(kept, file)
    pipeline(folder, tmp_path / "run").fit(continue_train=True)
    assert tiny.end(tmp_path / "run") == expected


class Failing(io.RawIOBase):
    """A file that cannot be read beyond some offset."""

    def __init__(self, file: Path, most: int) -> None:
        self.content = io.BytesIO(file.read_bytes())
        self.most = most

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self.content.tell() + max(size, 0) > self.most:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self.content.read(size)


def failing_in_the_middle(patch: pytest.MonkeyPatch, file: Path) -> None:
    """Parquet in the fifth row group, CSV in the last third."""

    class ParquetFile(pq.ParquetFile):
        def iter_batches(self, *arguments: object, **how: object) -> Iterator[pa.RecordBatch]:
            for number, batch in enumerate(super().iter_batches(*arguments, **how), 1):
                if number == 5:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                yield batch

    patch.setattr(parquet.pq, "ParquetFile", ParquetFile)
    most = 2 * file.stat().st_size // 3
    patch.setattr(csv, "stream_of", lambda name: pa.PythonFile(Failing(Path(name), most), "r"))


def test_a_read_that_fails_in_the_middle_is_an_error_and_a_later_run_resumes(
    folder, tmp_path, monkeypatch
) -> None:
    expected = undisturbed(folder, tmp_path / "undisturbed")
    file = file_of(folder)
    with monkeypatch.context() as patch:
        failing_in_the_middle(patch, file)
        with pytest.raises(DataError) as raised:
            pipeline(folder, tmp_path / "run").fit()
    assert raised.match(f"^{file}: cannot be read: .*Input/output error")
    if file.suffix == ".parquet":  # Arrow reads a small CSV file ahead, to its end
        assert raised.match("model.ckpt-[0-9]+ holds the steps before")
    continues = bool(checkpoint.find(tmp_path / "run"))
    pipeline(folder, tmp_path / "run").fit(continue_train=continues)
    assert tiny.end(tmp_path / "run") == expected


@pytest.mark.parametrize("change", [shortened, written_over, deleted], ids=lambda c: c.__name__)
def test_a_file_that_changes_while_workers_read_ahead_is_an_error(
    folder, tmp_path, monkeypatch, change
) -> None:
    """In the first epoch or the second, in whatever thread that is noticed."""
    file = file_of(folder)
    other = tiny.write(tiny.rows(5000, NUM_ROWS), tmp_path / f"other{file.suffix}")
    at_step(monkeypatch, FAULT_AT, lambda: change(file, other))
    run = pipeline(folder, tmp_path / "run")
    run.config.pipeline.data_config.num_workers = 2
    with pytest.raises(DataError, match=f"^{file}: "):
        run.fit()
    assert checkpoint.find(tmp_path / "run")
