"""Columns that a writer declared as dictionaries, which Arrow decodes as a whole."""

import random
import tempfile
from pathlib import Path

import forked
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from messages import fails

from tzmmoe.data.reading import apart, parquet
from tzmmoe.data.reading.parquet import ParquetSource
from tzmmoe.errors import DataError

GROUP_ROWS = 500


def words(count: int, seed: int) -> pa.Array:
    """As a dictionary, each word once, in no order; a few are missing."""
    source = random.Random(seed)
    texts = [f"{source.getrandbits(120):x}" if place % 7 else None for place in range(count)]
    return pa.array(texts).dictionary_encode()


def table(count: int) -> pa.Table:
    lists = pa.ListArray.from_arrays(pa.array(range(0, 2 * count + 1, 2)), words(2 * count, 3))
    return pa.table(
        {
            "first": words(count, 1),
            "number": pa.array(range(count)),
            "sec.ond": words(count, 2),
            "lists": lists,
            "plain": pa.array([str(row % 5) for row in range(count)]),
        }
    )


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(apart, "PAGE_BYTES", 6000)
    monkeypatch.setattr(apart, "GROUP_BYTES", 1000)
    monkeypatch.setattr(parquet, "DICTIONARIES_BYTES", 1000)
    monkeypatch.setattr(parquet, "DICTIONARY_BYTES", 1000)
    path = str(tmp_path / "rows.parquet")
    pq.write_table(table(2 * GROUP_ROWS + 10), path, row_group_size=GROUP_ROWS)
    return path


def plain(rows: pa.Table) -> dict:
    return {name: rows[name].to_pylist() for name in rows.column_names}


NAMES = ["lists", "plain", "sec.ond", "number", "first"]


def test_columns_whose_dictionary_page_is_large_are_told_by_the_metadata(file, monkeypatch) -> None:
    metadata = pq.ParquetFile(file).metadata
    assert apart.large_dictionaries(metadata, 2, NAMES) == ["first", "sec.ond", "lists"]
    assert apart.large_dictionaries(metadata, 0, ["number", "first"]) == ["first"]
    monkeypatch.setattr(apart, "PAGE_BYTES", 1 << 20)
    assert apart.large_dictionaries(metadata, 0, NAMES) == []


@pytest.mark.parametrize("skip", [0, 1, GROUP_ROWS, GROUP_ROWS + 3, 2 * GROUP_ROWS + 4])
@pytest.mark.parametrize("names", [NAMES, ["first", "sec.ond"], ["sec.ond", "number"], ["lists"]])
@pytest.mark.parametrize("room", [0, 8 << 20])
def test_rows_are_those_of_the_file_in_their_order(file, monkeypatch, room, names, skip) -> None:
    monkeypatch.setattr(apart, "WAITING_BYTES", room)
    read = list(ParquetSource([file]).read(file, names, skip))
    assert all(batch.schema.names == names for batch in read)
    rows = pa.concat_tables(
        [pa.Table.from_batches([batch]) for batch in read], promote_options="permissive"
    )
    expected = plain(table(2 * GROUP_ROWS + 10).select(names).slice(skip))
    assert plain(rows) == expected


def test_a_temporary_file_that_cannot_be_written_is_told_apart_from_the_data(
    file, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(apart, "WAITING_BYTES", 3)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with fails(DataError, file, "needs a temporary file", "gone", "set TMPDIR"):
        list(ParquetSource([file]).read(file, NAMES, 0))


def test_a_flipped_bit_is_an_error_of_the_data_or_harmless(file: str) -> None:
    """Never another exception, and never the end of the process."""
    content, source, outcomes = Path(file).read_bytes(), random.Random(0), set()
    for turn in range(400):
        # Every second one in the metadata, which is small.
        place = len(content) - 1 - source.randrange(1500 if turn % 2 else len(content))
        changed = bytearray(content)
        changed[place] ^= 1 << source.randrange(8)
        Path(file).write_bytes(changed)
        try:
            outcomes.add(
                sum(batch.num_rows for batch in ParquetSource([file]).read(file, NAMES, 0))
            )
        except DataError:
            outcomes.add("error")
    assert outcomes >= {"error", 2 * GROUP_ROWS + 10}


MEASURE = """
import sys
import pyarrow as pa
from tzmmoe.data.reading.parquet import ParquetSource
file, names = sys.argv[1], sys.argv[2].split(",")
rows = sum(batch.num_rows for batch in ParquetSource([file]).read(file, names, 0))
print(rows, pa.default_memory_pool().max_memory())
"""


def test_two_large_dictionaries_take_little_more_memory_than_one(tmp_path: Path) -> None:
    count = 600_000
    path = str(tmp_path / "rows.parquet")
    columns = {name: words(count, seed) for seed, name in enumerate("abc")}
    pq.write_table(pa.table(columns), path, row_group_size=count)
    peaks = {}
    for names in ("a", "a,b", "a,b,c"):
        rows, peak = map(int, forked.run("-c", MEASURE, path, names).stdout.split())
        assert rows == count
        peaks[names] = peak
    assert peaks["a"] > count * 30  # the texts alone
    # A column that waits takes less than half of one that is decoded.
    assert peaks["a,b"] < 1.5 * peaks["a"]
    assert peaks["a,b,c"] < 2 * peaks["a"]
