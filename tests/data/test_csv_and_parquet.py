"""A frame that pandas or polars saves as CSV and as Parquet gives the same rows of tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from assembled import ids_of
from parts import features

from tzmmoe.batch import Batch, Column, Position
from tzmmoe.data.encode import Assembler
from tzmmoe.data.loader import Loader
from tzmmoe.data.plan.delivery import Delivery
from tzmmoe.data.reading.base import Source
from tzmmoe.data.reading.csv import CsvSource
from tzmmoe.data.reading.parquet import ParquetSource
from tzmmoe.features import FeatureSettings

SETTING = FeatureSettings("FG_DAG", "\x03", "MURMUR_HASH", Path(), one_form=True)
FRAME = {
    "whole": [102, None, 7, 0, -3],
    "parts": [0.5, 1.0, None, 0.25, 123456.25],
    "truth": [True, False, None, True, True],
    "word": ["a", None, "1.10", "007", "1e5"],
    "row": [0, 1, 2, 3, 4],
}
IDS = ["whole", "parts", "truth", "word"]
KINDS = {
    "hash": ("hash_bucket_size: 100000", IDS),
    "list": ('vocab_list: ["102", "0", "7", "0.5", "1", "a", "007"]', IDS),
    "rows": ("num_buckets: 200", ["whole", "truth"]),
    "number": (None, ["whole", "parts", "truth"]),
}


def read(source: Source, kind: str) -> Batch:
    field, names = KINDS[kind]
    made = [
        f'id_feature {{ feature_name: "{name}" embedding_dim: 4 {field} }}'
        if field
        else f'raw_feature {{ feature_name: "{name}" default_value: "-9" }}'
        for name in names
    ]
    columns = [Column("whole", "group"), Column("truth", "label", 0, 1)]
    assembler = Assembler(features(*made, setting=SETTING), columns)
    settings = {"batch_size": 9, "shuffle": False, "shuffle_batches": 1, "num_workers": 0}
    delivery = Delivery(**settings, drop_remainder=False, pin_memory=False, seed=1)
    [(batch, _)] = Loader(source, assembler, delivery).epoch(Position())
    return batch


def save(tool: str, folder: Path) -> list[Source]:
    csv, parquet = str(folder / f"{tool}.csv"), str(folder / f"{tool}.parquet")
    if tool == "polars":
        frame = pl.DataFrame(FRAME)
        frame.write_csv(csv)
        frame.write_parquet(parquet)
    else:
        frame = pd.DataFrame(FRAME)
        if tool == "pandas, nullable":
            frame = frame.convert_dtypes()
        frame.to_csv(csv, index=False)
        frame.to_parquet(parquet)
    read_csv = {"delimiter": ",", "with_header": True, "names": [], "types": {}, "targets": []}
    return [CsvSource([csv], **read_csv), ParquetSource([parquet])]


@pytest.mark.parametrize("tool", ["pandas", "pandas, nullable", "polars"])
@pytest.mark.parametrize("kind", KINDS)
def test_csv_and_parquet_of_one_frame_are_one_model(tmp_path, tool: str, kind: str) -> None:
    one, other = (read(source, kind) for source in save(tool, tmp_path))
    np.testing.assert_array_equal(one.inputs.numbers, other.inputs.numbers)
    for name in one.columns:
        np.testing.assert_array_equal(one.columns[name], other.columns[name])
    if KINDS[kind][0]:
        count = len(KINDS[kind][1])
        for place in range(count):
            assert ids_of(one, place, count) == ids_of(other, place, count)
