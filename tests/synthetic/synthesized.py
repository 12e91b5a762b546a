"""Synthetic data sets in a folder, their columns, and how well scores rank labels."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tzmmoe.synthetic import __main__
from tzmmoe.synthetic.population import Sizes

FEATURES = (
    "user_id segment item_id category hour position viewed_tags tag_scores price_ratio match_score"
).split()
IDS = FEATURES[:8]
TRUTH = ["click", "conversion", "p_click", "p_conversion"]
DEFAULTS = Sizes(users=1000, items=500, categories=50, tags=100, max_values=4)


def made(out: Path, *flags: str) -> Path:
    __main__.main(["--out", str(out), *flags])
    return out


def table(out: Path, split: str = "train") -> pa.Table:
    return pq.read_table(sorted((out / split).iterdir()))


def column(rows: pa.Table, name: str) -> np.ndarray:
    return rows[name].to_numpy().astype(np.float64)


def ranked_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    negatives = np.sort(scores[labels == 0])
    positives = scores[labels == 1]
    below = np.searchsorted(negatives, positives, "left")
    return (below + np.searchsorted(negatives, positives, "right")).mean() / (2 * len(negatives))
