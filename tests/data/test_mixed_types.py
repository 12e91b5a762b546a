"""Files of one folder that store a column in different types: each value is what its file says."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from assembled import setting
from parts import features

from tzmmoe.batch import Batch, Column, Position
from tzmmoe.data.encode import Assembler
from tzmmoe.data.loader import Loader
from tzmmoe.data.plan.delivery import Delivery
from tzmmoe.data.reading.parquet import ParquetSource

TENTHS = [0.1, 0.3, 0.7, None, 0.9]
WHOLE = [7, 0, None, 12, 3]
FEATURES = {
    "hash": 'id_feature { feature_name: "v" hash_bucket_size: 100000 embedding_dim: 4 }',
    "vocabulary": 'id_feature { feature_name: "v" vocab_list: ["0.1", "0.7", "7", "12"] '
    "embedding_dim: 4 }",
    "bucket": 'raw_feature { feature_name: "v" boundaries: [0.3, 0.7, 7] embedding_dim: 4 }',
    "number": 'raw_feature { feature_name: "v" }',
    "scaled": 'raw_feature { feature_name: "v" normalizer: "method=minmax,min=0.1,max=3" }',
}

Made = Callable[[], Assembler]


def column(values: list, kind: str) -> pa.Array:
    if kind == "decimal":
        numbers = [None if value is None else Decimal(str(value)) for value in values]
        return pa.array(numbers, pa.decimal128(12, 3))
    if kind.startswith(("text", "coded")):
        texts = [None if value is None else str(value) for value in values]
        return pa.array(texts).dictionary_encode() if kind == "coded" else pa.array(texts)
    return pa.array(values, getattr(pa, kind)())


def batches(files: list[str], assembler: Assembler, **delivery: int) -> list[Batch]:
    settings = {"batch_size": 4, "shuffle": False, "shuffle_batches": 1, "num_workers": 0}
    settings |= {"drop_remainder": False, "pin_memory": False, "seed": 1}
    loader = Loader(ParquetSource(files), assembler, Delivery(**(settings | delivery)))
    return [batch for batch, _ in loader.epoch(Position())]


def rows_of(files: list[str], made: Made, **delivery: int) -> list[tuple]:
    """For each row of the files, in the order of column ``row``: what became of it."""
    rows = {}
    for batch in batches(files, made(), **delivery):
        ids = [part.slice(i, i + 1) for part in tensors(batch) for i in range(len(batch))]
        for i, row in enumerate(batch.reserved["row"].to_pylist()):
            numbers = batch.inputs.numbers[i].tolist()
            columns = [column[i].numpy().tobytes() for column in batch.columns.values()]
            rows[row] = (numbers, [ids[i]] if ids else [], columns)
    return [rows[row] for row in sorted(rows)]


def tensors(batch: Batch) -> list:
    class Rows:
        def __init__(self, part) -> None:
            self.values, self.counts = part.flat.tolist(), part.counts.tolist()

        def slice(self, begin: int, end: int) -> list:
            begin, end = (int(np.sum(self.counts[:at])) for at in (begin, end))
            return self.values[begin:end]

    return [Rows(part) for part in batch.inputs.ids.values()]


def write(folder: Path, name: str, values: list, kind: str, first: int) -> str:
    path = str(folder / f"{name}.parquet")
    rows = pa.array(range(first, first + len(values)))
    pq.write_table(pa.table({"row": rows, "v": column(values, kind)}), path)
    return path


KINDS = ["float16", "float32", "float64", "decimal", "text", "coded"]
WHOLE_KINDS = ["int8", "uint64", "float64", "decimal", "text", "coded"]
CASES = [(TENTHS, one, other) for one in KINDS[1:] for other in KINDS[1:] if one != other]
CASES += [(WHOLE, one, other) for one in WHOLE_KINDS for other in WHOLE_KINDS if one != other]


@pytest.mark.parametrize("text", FEATURES.values(), ids=list(FEATURES))
def test_a_value_is_what_its_own_file_stores_whatever_the_files_beside_it(tmp_path, text) -> None:
    """Each pair of types: alone, together, in either order, in batches and chunks of any size."""

    def made() -> Assembler:
        return Assembler(features(text, setting=setting()), [], reserved=["row"])

    for place, (values, one, other) in enumerate(CASES):
        folder = tmp_path / str(place)
        folder.mkdir()
        a = write(folder, "a", values * 2, one, 0)
        b = write(folder, "b", values * 2, other, 10)
        alone = rows_of([a], made) + rows_of([b], made)
        assert repr(rows_of([a, b], made, batch_size=100)) == repr(alone), (one, other)
        assert repr(rows_of([b, a], made, batch_size=3)) == repr(alone), (one, other)
        mixed = rows_of([a, b], made, shuffle=True, batch_size=7, shuffle_batches=2)
        assert repr(mixed) == repr(alone), (one, other)


@pytest.mark.parametrize("role", ["label", "weight"])
@pytest.mark.parametrize("kinds", [("float32", "float64"), ("int8", "text"), ("decimal", "coded")])
def test_labels_and_weights_are_what_their_own_file_stores(tmp_path, role, kinds) -> None:
    def made() -> Assembler:
        return Assembler([], [Column("v", role, 0.0)], reserved=["row"])

    files = [write(tmp_path, kind, [1, 0, 3, 2], kind, 4 * i) for i, kind in enumerate(kinds)]
    alone = [row for file in files for row in rows_of([file], made)]
    assert rows_of(files, made, batch_size=100) == alone
    assert rows_of(files, made, batch_size=3) == alone


def test_a_class_beside_distributions_is_the_one_that_is_certain(tmp_path) -> None:
    whole, parts = str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")
    pq.write_table(pa.table({"y": pa.array([2, None, 0])}), whole)
    pq.write_table(pa.table({"y": [[0.25, 0.25, 0.5], None]}), parts)
    assembler = Assembler([], [Column("y", "label", 0, 2, num_classes=3)])
    [batch] = batches([whole, parts], assembler, batch_size=10)
    nan = [np.nan] * 3
    expected = [[0, 0, 1], nan, [1, 0, 0], [0.25, 0.25, 0.5], nan]
    np.testing.assert_array_equal(batch.columns["y"].numpy(), expected)
