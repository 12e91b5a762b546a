"""An id_feature from the text of its fields, and the ids that it finds in a column."""

from pathlib import Path

import numpy as np
import parts
import pyarrow as pa
from features import oracles_values as oracles

from tzmmoe.features import Feature, FeatureSettings
from tzmmoe.features.column import read
from tzmmoe.features.shared import Tally
from tzmmoe.jagged import Jagged


def id_feature(
    text: str, mode: str = "FG_DAG", *, folder: Path = Path(), hash_function: str = "MURMUR_HASH"
) -> Feature:
    setting = FeatureSettings(mode, "\x03", hash_function, folder)
    named = "" if "feature_name" in text else 'feature_name: "a"'
    wide = "" if "embedding_dim" in text else "embedding_dim: 4"
    return parts.features(f"id_feature {{ {named} {wide} {text} }}", setting=setting)[0]


def encoded(feature: Feature, column: pa.Array) -> tuple[Jagged, Tally]:
    return feature.encode([read(column, feature.separator, feature.weighted)])


def ids(feature: Feature, column: pa.Array) -> list[list[int]]:
    found, _ = encoded(feature, column)
    assert found.values.dtype == np.int64
    return oracles.by_row(found.values.tolist(), found.lengths)


def pairs(feature: Feature, column: pa.Array) -> list[list[tuple[int, float]]]:
    """Ids with their weights."""
    found, _ = encoded(feature, column)
    assert found.weights.dtype == np.float32
    flat = zip(found.values.tolist(), found.weights.tolist(), strict=True)
    return oracles.by_row(flat, found.lengths)
