"""A column of every kind that Arrow knows, and drafts of such columns."""

import datetime
import decimal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tzmmoe.init import main

ROWS = 1200
RANDOM = np.random.default_rng(3)
CITIES = RANDOM.choice(["Rome", "Oslo", "Lima"], ROWS)
HEAT = RANDOM.normal(size=ROWS)
CLICK = (RANDOM.random(ROWS) < 1 / (1 + np.exp(-3 * HEAT - 2 * (CITIES == "Rome")))).astype(int)


def some(values: np.ndarray | list, share: float = 0.1) -> list:
    """The values, a share of them missing."""
    plain = values.tolist() if isinstance(values, np.ndarray) else values
    return [None if RANDOM.random() < share else value for value in plain]


def integers(low: int, high: int, kind: pa.DataType) -> pa.Array:
    return pa.array(RANDOM.integers(low, high, ROWS, dtype=kind.to_pandas_dtype()), kind)


def lists(make: Callable[[], object], longest: int, shortest: int = 0) -> list:
    return [[make() for _ in range(RANDOM.integers(shortest, longest + 1))] for _ in range(ROWS)]


def number() -> float:
    return float(RANDOM.normal(5, 2))


def word() -> str:
    return str(RANDOM.choice(["ab", "cd", "ef", "gh", "ij", "kl", "mn"]))


COLUMNS = {
    "click": pa.array(CLICK, pa.int8()),
    "buy": pa.array(some((CLICK * RANDOM.integers(0, 2, ROWS)).astype(float))),
    "stars": integers(0, 5, pa.int64()),
    "price": pa.array(RANDOM.lognormal(0, 0.5, ROWS)),
    "weight": pa.array(RANDOM.random(ROWS)),
    "city": pa.array(CITIES),
    "heat": pa.array(HEAT),
    "bool": pa.array(some(RANDOM.random(ROWS) < 0.5)),
    "int8": integers(-50, 50, pa.int8()),
    "uint8": integers(0, 40, pa.uint8()),
    "int16": integers(0, 30_000, pa.int16()),
    "uint32": pa.array(some(integers(0, 2**32 - 1, pa.uint32()).to_pylist()), pa.uint32()),
    "session": integers(2**62, 2**62 + 300, pa.uint64()),
    "user_id": integers(1000, 1500, pa.int32()),
    "half": pa.array(some(RANDOM.normal(size=ROWS).astype(np.float16)), pa.float16()),
    "single": pa.array(RANDOM.normal(size=ROWS), pa.float32()),
    "holes": pa.array(np.where(RANDOM.random(ROWS) < 0.3, np.nan, HEAT)),
    "endless": pa.array(np.where(RANDOM.random(ROWS) < 0.01, np.inf, HEAT)),
    "once": pa.array(some([7.5] * ROWS, 0.5)),
    "money": pa.array([decimal.Decimal(int(c)) / 100 for c in RANDOM.integers(0, 9**6, ROWS)]),
    "dictionary": pa.array(CITIES).dictionary_encode(),
    "large": pa.array(some(CITIES), pa.large_string()),
    "view": pa.array(some(CITIES), pa.string_view()),
    "joined": pa.array(["\x1d".join(cell) for cell in lists(word, 3)]),
    "pairs": pa.array([f"{number()}\x1d{number()}" for _ in range(ROWS)]),
    "bytes": pa.array([b"x", b"y", b"z"] * (ROWS // 3)),
    "tags": pa.array(["|".join(sorted(set(cell))) for cell in lists(word, 4)]),
    "ids": pa.array(some(lists(lambda: int(RANDOM.integers(0, 300)), 8))),
    "floats": pa.array(lists(lambda: float(RANDOM.integers(0, 300)), 8)),
    "words": pa.array(lists(word, 3, 3), pa.large_list(pa.string())),
    "history": pa.array(lists(word, 90, 60)),
    "vector": pa.array(some(lists(number, 4, 4)), pa.list_(pa.float32(), 4)),
    "map": pa.array(
        some([list({w: number() for w in cell}.items()) for cell in lists(word, 3)]),
        pa.map_(pa.string(), pa.float32()),
    ),
    "odd name: %": pa.array(RANDOM.random(ROWS)),
    f"long_{'x' * 120}": pa.array(RANDOM.random(ROWS)),
    "epoch": integers(1_700_000_000, 1_710_000_000, pa.int64()),
    "day": pa.array(20240100 + RANDOM.integers(1, 29, ROWS)),
    "day_text": pa.array([f"2024-01-{day:02d}" for day in RANDOM.integers(1, 29, ROWS)]),
    # From here on: no features.
    "row": pa.array(range(ROWS)),
    "free": pa.array([f"text number {row}" for row in range(ROWS)]),
    "constant": pa.array([3] * ROWS),
    "nothing": pa.nulls(ROWS),
    "empty": pa.array([None] * ROWS, pa.string()),
    "ragged": pa.array(lists(number, 4)),
    "meanings": pa.array([[("a", "b")]] * ROWS, pa.map_(pa.string(), pa.string())),
    "date": pa.array([datetime.date(2024, 1, 1)] * ROWS),
    "moment": pa.array([datetime.datetime(2024, 1, 1)] * ROWS),
    "struct": pa.array([{"a": 1}] * ROWS),
    "image": pa.array([b"\xff\xd8"] * ROWS),
}
LABELS = ["click", "buy", "stars", "price"]
NO_FEATURES = list(COLUMNS)[list(COLUMNS).index("row") :]


def draft(folder: Path, columns: dict, labels: str, *flags: str) -> Path:
    """The config drafted from a Parquet file of these columns."""
    pq.write_table(pa.table(columns), folder / "train.parquet")
    return draft_of(folder / "train.parquet", labels, *flags)


def draft_of(path: Path, labels: str, *flags: str) -> Path:
    """The config drafted from these files; it trains beside them."""
    out = path.parent / f"{path.suffix[1:]}.config"
    model_dir = str(path.parent / "model")
    places = ["--data", str(path), "--out", str(out), "--model_dir", model_dir]
    main([*places, "--labels", labels, "--force", *flags])
    return out
