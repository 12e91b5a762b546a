"""Reserved columns of files that store them in several types: one type, and the same values."""

import datetime as dt
from decimal import Decimal
from itertools import permutations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from assembled import setting
from messages import fails
from numbered import source
from parts import features

from tzmmoe.batch import Column, Position
from tzmmoe.data.encode import Assembler
from tzmmoe.data.loader import Loader
from tzmmoe.data.passing import passing
from tzmmoe.data.plan.delivery import Delivery
from tzmmoe.data.reading.parquet import ParquetSource
from tzmmoe.data.unfit import check_types
from tzmmoe.errors import DataError

NOON = dt.datetime(2024, 2, 29, 12)
TEXTS = pa.array(["x", None, "y"])


def write(folder: Path, *arrays: pa.Array) -> list[str]:
    """A file of each array, with the rows numbered through."""
    files, row = [], 0
    for number, array in enumerate(arrays):
        files.append(str(folder / f"{number}.parquet"))
        rows = pa.array(range(row, row + len(array)), pa.int64())
        pq.write_table(pa.table({"row": rows, "a": array}), files[-1])
        row += len(array)
    return files


def passed(files: list[str], **changes: object) -> tuple[pa.DataType, list]:
    """The type of the reserved column in all batches, and its values by row."""
    settings = {"batch_size": 2, "shuffle": False, "shuffle_batches": 1, "num_workers": 0}
    settings |= {"drop_remainder": False, "pin_memory": False, "seed": 1} | changes
    assembler = Assembler([], [], reserved=["row", "a"])
    loader = Loader(ParquetSource(files), assembler, Delivery(**settings))
    batches = [batch.reserved for batch, _ in loader.epoch(Position())]
    [kind] = {batch.schema.field("a").type for batch in batches}
    assert loader.no_rows().reserved.schema.field("a").type == kind
    rows = {row["row"]: row["a"] for batch in batches for row in batch.to_pylist()}
    return kind, [rows[row] for row in sorted(rows)]


def stored(file: str) -> str:
    """The type of the column, as messages say it."""
    return str(pq.read_schema(file).field("a").type)


def as_floats(value: object) -> object:
    """The value with the nearest floats in place of decimals."""
    if isinstance(value, list):
        return [as_floats(each) for each in value]
    return float(value) if isinstance(value, Decimal) else value


MIXED = {
    "null": ([pa.nulls(2), TEXTS], pa.string()),
    "texts": ([TEXTS, TEXTS.cast(pa.large_string()), TEXTS.dictionary_encode()], pa.string()),
    "integers": ([pa.array([1], pa.int8()), pa.array([2**40]), pa.array([3], pa.uint16())],
                 pa.int64()),
    "integer, float": ([pa.array([2**53, None]), pa.array([0.5], pa.float32())], pa.float64()),
    "short": ([pa.array([7], pa.int8()), pa.array([0.1], pa.float16())], pa.float64()),
    "floats": ([pa.array([0.1], pa.float32()), pa.array([0.1])], pa.float64()),
    "decimal, float": ([pa.array([Decimal("0.10"), None]), pa.array([0.3, 1e30])], pa.float64()),
    "decimal, integer": ([pa.array([Decimal("0.10")]), pa.array([-(2**63)])],
                         pa.decimal128(21, 2)),
    "decimals": ([pa.array([Decimal("0.10")], pa.decimal32(5, 2)),
                  pa.array([Decimal("1.2345")], pa.decimal128(30, 4))], pa.decimal128(30, 4)),
    "units": ([pa.array([NOON], pa.timestamp("ms")), pa.array([NOON], pa.timestamp("us"))],
              pa.timestamp("us")),
    "lists": ([pa.array([[1, None], None, []]), pa.array([[0.5]], pa.large_list(pa.float32())),
               pa.array([[2, 3]], pa.list_(pa.int8(), 2))], pa.large_list(pa.float64())),
    "lists of decimals": ([pa.array([[Decimal("0.10")], None, [None]]), pa.array([[0.5]])],
                          pa.list_(pa.float64())),
    "structs": ([pa.array([{"u": 1}]), pa.array([{"u": None}], pa.struct([("u", pa.int8())]))],
                pa.struct([("u", pa.int64())])),
}  # fmt: skip


@pytest.mark.parametrize(("arrays", "kind"), MIXED.values(), ids=list(MIXED))
def test_a_column_has_one_type_whatever_the_order_of_files_and_the_size_of_chunks(
    tmp_path, arrays, kind
) -> None:
    files = write(tmp_path, *arrays)
    values = [value for array in arrays for value in array.to_pylist()]
    if "double" in str(kind):
        values = as_floats(values)
    for order in permutations(files):
        for changes in ({}, {"batch_size": 1}, {"batch_size": 100, "num_workers": 2}):
            assert passed(list(order), **changes) == (kind, values), (order, changes)
        shuffled = passed(list(order), shuffle=True, shuffle_batches=2)
        assert shuffled == (kind, values), order


DIFFERENT = {
    "integer, text": [pa.array([1]), pa.array(["1"])],
    "integer, bool": [pa.array([1]), pa.array([True])],
    "date, text": [pa.array([NOON.date()]), pa.array(["2024-02-29"])],
    "time, zoned": [pa.array([NOON]), pa.array([NOON], pa.timestamp("us", "UTC"))],
    "lists": [pa.array([[1]]), pa.array([["x"]])],
    "list, number": [pa.array([[1]]), pa.array([1])],
    "structs": [pa.array([{"u": 1}]), pa.array([{"u": "x"}])],
}


@pytest.mark.parametrize("arrays", DIFFERENT.values(), ids=list(DIFFERENT))
def test_files_that_store_different_things_are_both_named_before_any_row_is_read(
    tmp_path, arrays
) -> None:
    """Beside a file of nulls, which may stand between them."""
    files = write(tmp_path, arrays[0], pa.nulls(1), arrays[1])
    kinds = [stored(files[0]), stored(files[2])]
    for order in permutations(files):
        with fails(DataError, files[0], files[2], "'a'", *kinds, "store it as one type"):
            passing(ParquetSource(list(order)), ["a"])


def test_a_file_without_rows_has_no_say(tmp_path) -> None:
    """Programs store a column without a value as anything."""
    files = write(tmp_path, pa.array([], pa.struct([("u", pa.int8())])), pa.array([1, 2]))
    assert passed(files) == (pa.int64(), [1, 2])
    assert passing(ParquetSource(files[:1]), ["a"]).types == [pa.struct([("u", pa.int8())])]


UNFIT = {
    "integer": ([pa.array([1, 2**53 + 1]), pa.array([0.5])], "9007199254740993"),
    "decimal": ([pa.array([None, Decimal("12345678901234567.25")]), pa.array([0.5])], "567.25"),
    "decimal in a list": ([pa.array([[], [Decimal("12345678901234567.25")]]), pa.array([[0.5]])],
                          "567.25"),
    "unsigned": ([pa.array([0, 2**64 - 1], pa.uint64()), pa.array([-1])], "18446744073709551615"),
    "date": ([pa.array([NOON, dt.datetime(9999, 1, 1)]), pa.array([1], pa.timestamp("ns"))],
             "9999"),
}  # fmt: skip


@pytest.mark.parametrize(("arrays", "value"), UNFIT.values(), ids=list(UNFIT))
def test_a_value_that_would_change_is_an_error_with_its_row(tmp_path, arrays, value) -> None:
    files = write(tmp_path, *arrays)
    for changes in ({}, {"batch_size": 100}):
        with fails(DataError, f"{files[0]}, row 2, column 'a'", value, "store it as one type"):
            passed(files, **changes)


USES = {
    "feature": (['raw_feature { feature_name: "a" }'], []),
    "date": (['id_feature { feature_name: "a" date_part: HOUR num_buckets: 24 embedding_dim: 4 }'],
             []),
    "label": ([], [Column("a", "label", 0.0, 1.0)]),
    "weight": ([], [Column("a", "weight", 0.0)]),
    "group": ([], [Column("a", "group")]),
}  # fmt: skip


@pytest.mark.parametrize("use", USES)
def test_a_type_that_one_file_alone_stores_is_told_with_both_files(tmp_path, use) -> None:
    fit = pa.array([NOON] if use == "date" else [1])
    for unfit in (pa.array([{"u": 1}]), pa.array([[[1]]])):
        files = write(tmp_path, fit, unfit)
        texts, columns = USES[use]
        assembler = Assembler(features(*texts, setting=setting()), columns)
        kinds = [stored(file) for file in files]
        for order in (files, files[::-1]):
            with fails(DataError, *files, "'a'", *kinds, "store it as one type"):
                check_types(source(order), assembler)
    files = write(tmp_path, fit, pa.array([], unfit.type), pa.nulls(3))
    check_types(source(files), assembler)


def test_what_no_file_can_be_used_for_is_told_by_its_first_file(tmp_path) -> None:
    files = write(tmp_path, pa.array([{"u": 1}]), pa.array([{"u": 2}]))
    assembler = Assembler([], [Column("a", "label", 0.0, 1.0)])
    with fails(DataError, f"{files[0]}, column 'a' (label): struct<u: int64>", "give numbers"):
        check_types(source(files), assembler)


def test_types_do_not_keep_files_of_many_kinds_of_numbers_from_use(tmp_path) -> None:
    kinds = [pa.int8(), pa.float16(), pa.decimal128(5, 1), pa.string(), pa.bool_(), pa.null()]
    texts = ["1"] * len(kinds)
    files = write(tmp_path, *[
        pa.array([text]).cast(kind) if kind not in (pa.null(), pa.float16()) else
        (pa.nulls(1) if kind == pa.null() else pa.array(np.ones(1, np.float16)))
        for text, kind in zip(texts, kinds, strict=True)
    ])  # fmt: skip
    made = features('raw_feature { feature_name: "a" default_value: "0" }', setting=setting())
    check_types(source(files), Assembler(made, [Column("a", "label", 0.0, 1.0)]))
