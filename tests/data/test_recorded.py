"""The files that were read up to a position are known, whatever was encoded ahead."""

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e import tiny

from tzmmoe.batch import Batch, Position
from tzmmoe.data import recorded
from tzmmoe.data.loader import Loader
from tzmmoe.data.plan import delivery
from tzmmoe.data.recorded import EDGE_BYTES, Fate, FileRecord, FileRecords, fate


def loader(folder: Path, *, shuffle: bool, batch_size: int = 8) -> Loader:
    session = tiny.session(
        folder, data_config__shuffle=str(shuffle).lower(), data_config__batch_size=batch_size
    )
    train, flag = session.settings.files.train_input_path, "--train_input_path"
    return session.loader(train, flag, (), training=True, reserved=["row"])


def file_of(row: int) -> int:
    """The number of the file in which a row of the tiny data lies."""
    first, second, _ = tiny.FILES
    return 0 if row < first else 1 if row < first + second else 2


def walk(made: Loader, since: Position) -> Iterator[tuple[set[int], set[int], Position]]:
    """The files of which rows were delivered since, those that are told, and the position."""
    delivered: set[int] = set()

    def numbers(files: set[str]) -> set[int]:
        return {int(Path(file).stem) for file in files}

    for batch, position in made.epoch(since):
        assert isinstance(batch, Batch)
        delivered |= {file_of(row) for row in batch.reserved["row"].to_pylist()}
        yield delivered, numbers(made.files_by_position.until(position)), position


@pytest.mark.parametrize("chunk_rows", [16, 10**6])
def test_in_the_order_of_the_files_exactly_those_are_told_of_which_rows_were_delivered(
    tiny_folder, monkeypatch, chunk_rows
) -> None:
    """Also where one chunk holds all of them, and where a run resumes within it."""
    monkeypatch.setattr(delivery, "UNSHUFFLED_ROWS", chunk_rows)
    steps = list(walk(loader(tiny_folder, shuffle=False), Position()))
    assert [told for _, told, _ in steps][-1] == {0, 1, 2}
    for number, (delivered, told, position) in enumerate(
        walk(loader(tiny_folder, shuffle=False), Position())
    ):
        assert told == delivered
        resumed = loader(tiny_folder, shuffle=False)
        if number % 12 == 5:
            for later, found, _ in walk(resumed, position):
                assert found | delivered == later | delivered


def test_in_random_order_no_file_is_left_out_and_in_the_end_all_are_told(tiny_folder) -> None:
    steps = list(walk(loader(tiny_folder, shuffle=True), Position()))
    assert all(delivered <= told for delivered, told, _ in steps)
    assert steps[-1][1] == {0, 1, 2}


def record(path: Path) -> FileRecord:
    return FileRecord.stat(str(path)).digested(str(path))


def again(path: Path, content: bytes) -> None:
    """Another file of that name, at another time."""
    path.write_bytes(content)
    os.utime(path, (10**9, 10**9))


LONG = b"".join(b"%d,%d\n" % (n, n * n) for n in range(30_000))
assert len(LONG) > 4 * EDGE_BYTES


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (LONG, Fate.SAME),
        (LONG + b"1,2\n", Fate.GROWN),
        (LONG + LONG, Fate.GROWN),
        (b"9,9\n" + LONG, Fate.OTHER),
        (LONG[:-5], Fate.OTHER),
        (LONG[: EDGE_BYTES // 2], Fate.OTHER),
        (b"", Fate.OTHER),
        (b"9" + LONG[1:], Fate.OTHER),
        (LONG[:-2] + b"9\n", Fate.OTHER),
        (LONG[:-2] + b"9\n1,2\n", Fate.OTHER),
    ],
)
def test_a_file_is_known_by_its_size_and_its_ends(tmp_path, content, expected) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(LONG)
    before = record(path)
    again(path, content)
    kind, now = fate(str(path), before)
    assert kind is expected
    assert now.size == len(content)
    assert fate(str(path), now)[0] is Fate.SAME


def test_all_metadata_of_a_parquet_file_count_however_large(tmp_path) -> None:
    """With 3,000 columns they are larger than the end that is otherwise read; a byte of them in
    front of that end is changed."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({f"column_{n}": [n] for n in range(3000)}), path)
    content = bytearray(path.read_bytes())
    footer = int.from_bytes(content[-8:-4], "little") + 8
    assert footer > 2 * EDGE_BYTES
    before = record(path)
    content[-footer + 100] ^= 1
    again(path, bytes(content))
    assert fate(str(path), before)[0] is Fate.OTHER


def test_a_file_that_changed_before_its_digests_were_taken_is_another_later(tmp_path) -> None:
    """A run notes how its files are when it starts."""
    path = tmp_path / "a.csv"
    path.write_bytes(LONG)
    records = FileRecords([str(path)])
    again(path, LONG[::-1])
    saved = recorded.from_json(recorded.to_json(records.until([str(path)], {str(path)})))
    assert saved[str(path)].is_read
    assert fate(str(path), saved[str(path)])[0] is Fate.OTHER


def test_digests_are_taken_once_a_file(tmp_path, monkeypatch) -> None:
    """So that saving again costs nothing."""
    files = [tmp_path / f"{number}.csv" for number in range(3)]
    for file in files:
        file.write_bytes(LONG)
    records, opened = FileRecords([str(file) for file in files]), []
    original = recorded._ends
    monkeypatch.setattr(recorded, "_ends", lambda *a: opened.append(a) or original(*a))
    for _ in range(4):
        records.until([str(file) for file in files], set())
    assert len(opened) == len(files)
