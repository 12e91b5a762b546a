"""Parquet files: the rows that are read, in bounded memory, and errors for those that cannot be."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numbered
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import fails, says
from numbered import loader
from storable import skip_unless_storable

from tzmmoe.batch import Position
from tzmmoe.data.reading import parquet
from tzmmoe.data.reading.parquet import ParquetSource
from tzmmoe.errors import DataError


def write(path: Path, table: pa.Table, **how: object) -> str:
    pq.write_table(table, path, **how)
    return str(path)


def rows(file: str, columns: list[str], skip: int = 0) -> list[dict]:
    read = ParquetSource([file]).read(file, columns, skip)
    return [row for batch in read for row in batch.to_pylist()]


@settings(deadline=None, max_examples=80)
@given(
    count=st.integers(0, 60),
    group=st.integers(1, 70),
    skip=st.integers(0, 70),
    at=st.integers(1, 9),
)
def test_skipping_leaves_the_rows_after_it(count, group, skip, at) -> None:
    """Whatever the row groups, and however many rows are read at a time."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "ROWS", at)
        file = write(Path(folder) / "a.parquet", numbered.table(0, count), row_group_size=group)
        assert rows(file, ["row"], skip) == [{"row": row} for row in range(skip, count)]
        assert ParquetSource([file]).num_rows(file) == count


def test_columns_come_in_the_order_that_was_asked_for(tmp_path) -> None:
    table = pa.table({"a": [1, 2], "b": [3, 4], "a.b": [5, 6], "c": [[7], None]})
    file = write(tmp_path / "a.parquet", table)
    [batch] = ParquetSource([file]).read(file, ["c", "a"], 0)
    assert batch.schema.names == ["c", "a"]
    assert batch.to_pydict() == {"c": [[7], None], "a": [1, 2]}


def test_rows_without_columns_are_still_counted(tmp_path) -> None:
    file = write(tmp_path / "a.parquet", numbered.table(0, 10))
    assert sum(batch.num_rows for batch in ParquetSource([file]).read(file, [], 3)) == 7


def test_text_is_read_as_dictionaries(tmp_path) -> None:
    """Plain, long and already encoded ones, so that a text is hashed once for all its rows."""
    table = pa.table(
        {
            "plain": ["x", None, "x"],
            "large": pa.array(["y", "", "y"], pa.large_string()),
            "encoded": pa.array(["z", "z", None]).dictionary_encode(),
        }
    )
    file = write(tmp_path / "a.parquet", table)
    [batch] = ParquetSource([file]).read(file, table.column_names, 0)
    assert all(pa.types.is_dictionary(field.type) for field in batch.schema)
    assert batch.to_pydict() == table.to_pydict()


@pytest.mark.parametrize("group", [20_000, 400_000])
def test_memory_stays_bounded_while_a_large_file_is_read(tmp_path, group) -> None:
    """A file of 16 MB, in one row group or in many, needs less than half of that."""
    random = np.random.default_rng(0)
    table = pa.table({f"c{number}": random.normal(size=400_000) for number in range(5)})
    plain = {"compression": "none", "use_dictionary": False}
    file = write(tmp_path / "a.parquet", table, row_group_size=group, **plain)
    size = Path(file).stat().st_size
    del table
    before, most = pa.total_allocated_bytes(), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "ROWS", 1 << 13)
        patch.setattr(parquet, "BUFFER_BYTES", 1 << 16)
        for _ in ParquetSource([file]).read(file, ["c0", "c1", "c2", "c3", "c4"], 0):
            most = max(most, pa.total_allocated_bytes() - before)
    assert size > 16_000_000 > 2 * most


def test_memory_of_a_loader_is_that_of_its_chunks_and_not_that_of_the_file(tmp_path) -> None:
    table = numbered.table(0, 3_000_000)
    file = write(tmp_path / "a.parquet", table, row_group_size=1_000_000, use_dictionary=False)
    del table
    before, most = pa.total_allocated_bytes(), 0
    for _ in loader([file], batch_size=4096, num_workers=2).epoch(Position()):
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 24_000_000 / 3, "of 3 million rows, 65,536 are read at a time"


def broken(folder: Path, how: str) -> str:
    file = write(folder / "a.parquet", numbered.table(0, 100_000), row_group_size=1000)
    content = Path(file).read_bytes()
    contents = {
        "empty": b"",
        "no parquet": b"PK\x03\x04" * 100,
        "cut in two": content[: len(content) // 2],
        "damaged inside": content[:3000] + bytes(500) + content[3500:],
    }
    Path(file).write_bytes(contents[how])
    return file


@pytest.mark.parametrize("how", ["empty", "no parquet", "cut in two", "damaged inside"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, how) -> None:
    file = broken(tmp_path, how)
    with fails(DataError, "a.parquet: cannot be read: "):
        rows(file, ["row"])


def test_a_file_that_has_disappeared_is_named(tmp_path) -> None:
    with fails(DataError, "gone.parquet: ", "no longer exists"):
        rows(str(tmp_path / "gone.parquet"), ["row"])


def test_columns_that_a_file_lacks_are_all_named_with_what_comes_close(tmp_path) -> None:
    file = write(tmp_path / "a.parquet", pa.table({"user_id": [1], "click": [0]}))
    with pytest.raises(DataError) as caught:
        rows(file, ["userid", "click", "zzz"])
    near, far, columns = str(caught.value).splitlines()
    says(near, f"{file}: ", "'userid'", "did you mean 'user_id'")
    says(far, f"{file}: ", "'zzz'")
    says(columns, f"{file}: ", "user_id, click")


def test_the_second_file_of_another_schema_is_the_one_that_is_named(tmp_path) -> None:
    write(tmp_path / "0.parquet", pa.table({"row": [1, 2]}))
    write(tmp_path / "1.parquet", pa.table({"line": [3]}))
    files = [str(tmp_path / f"{number}.parquet") for number in range(2)]
    with fails(DataError, "1.parquet: no column 'row'"):
        numbered.read(loader(files, num_workers=2))


def test_two_columns_of_one_name_are_an_error_where_they_are_needed(tmp_path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], ["a", "a", "b"])
    file = write(tmp_path / "a.parquet", table)
    assert rows(file, ["b"]) == [{"b": 3}]
    with fails(DataError, "a.parquet: ", "2 columns", "'a'", "rename"):
        rows(file, ["a"])


CODED = pa.dictionary(pa.int32(), pa.string())
NESTED = {
    "list": (pa.list_(CODED), [["a", "b"], None, [], [None, "a"]]),
    "large list": (pa.large_list(pa.dictionary(pa.int8(), pa.large_string())), [["a"], [], ["b"]]),
    "fixed size": (pa.list_(CODED, 2), [["a", "b"], ["b", None], ["c", "c"]]),
    "lists": (pa.list_(pa.list_(CODED)), [[["a"], None], [[], ["b", "a"]], None]),
    "struct": (pa.struct([("x", CODED), ("y", pa.int8())]), [{"x": "a", "y": 1}, None]),
    "keys": (pa.map_(CODED, pa.float64()), [[("a", 1.0)], [], [("b", 0.5), ("c", 2.0)]]),
    "items": (pa.map_(pa.int32(), CODED), [[(1, "a")], [(2, "b"), (3, None)]]),
    "views": (pa.list_(pa.string_view()), [["a", None], [], ["b"]]),
}


@pytest.mark.parametrize("element", ["item", "element"])
@pytest.mark.parametrize(("kind", "cells"), NESTED.values(), ids=list(NESTED))
def test_dictionaries_within_lists_are_read_across_row_groups(
    tmp_path, kind, cells, element
) -> None:
    """Whatever the writer calls the elements of a list, and beside columns of any other types."""
    skip_unless_storable(lambda: pa.array(cells, kind))
    cells = cells * 20
    when = pa.array(range(len(cells)), pa.duration("ms"))
    table = pa.table({"when": when, "a": pa.array(cells, kind)})
    named = {"use_compliant_nested_type": element == "element"}
    for groups in (1, 7, 1000):
        file = write(tmp_path / "a.parquet", table, row_group_size=groups, **named)
        assert [row["a"] for row in rows(file, ["a"])] == cells, groups
        assert rows(file, ["when", "a"], 5) == table.slice(5).to_pylist(), groups


def test_memory_of_dictionaries_in_lists_is_not_that_of_their_words(tmp_path) -> None:
    """200,000 distinct texts of 40 bytes in one row group, of which Arrow would hold all."""
    texts = pa.array([f"{number:040d}" for number in range(200_000)])
    offsets = pa.array(range(len(texts) + 1), pa.int32())
    lists = pa.ListArray.from_arrays(offsets, texts.dictionary_encode())
    plain = {"compression": "none", "use_dictionary": False}
    file = write(tmp_path / "a.parquet", pa.table({"a": lists}), **plain)
    del texts, offsets, lists
    before, most = pa.total_allocated_bytes(), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "DICTIONARIES_BYTES", 1 << 20)
        patch.setattr(parquet, "BATCH_BYTES", 1 << 19)
        for _ in ParquetSource([file]).read(file, ["a"], 0):
            most = max(most, pa.total_allocated_bytes() - before)
    assert most < 8_000_000 / 2
