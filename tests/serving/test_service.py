"""How a service scores requests with an export; the README shows these two functions."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from serving.small import Small, assert_same

from tzmmoe.serving.scorer import Scorer

FEATURES = [
    'id_feature { feature_name: "user" num_buckets: 20 embedding_dim: 4 }',
    'id_feature { feature_name: "tags" num_buckets: 9 embedding_dim: 4 pooling: "mean" '
    'separator: "|" }',
    'raw_feature { feature_name: "age" boundaries: [18, 65] embedding_dim: 3 }',
    'raw_feature { feature_name: "price" }',
    'raw_feature { feature_name: "size" value_dim: 2 separator: "x" }',
]
REQUEST = [
    {"user": 3, "tags": "1|4|4", "age": 17, "price": 0.5, "size": "2x3"},
    {"user": 19, "tags": "", "age": 65, "price": -1.0, "size": "0x0.5"},
    {"user": 0, "tags": "8", "age": 40, "price": 0.0, "size": "1x1"},
]
# The same as a client would encode it: rows of tables, and numbers.
ENCODED = [
    {"user": [3], "tags": [1, 4, 4], "age": [0], "price": [0.5], "size": [2, 3]},
    {"user": [19], "tags": [], "age": [2], "price": [-1.0], "size": [0, 0.5]},
    {"user": [0], "tags": [8], "age": [1], "price": [0.0], "size": [1, 1]},
]


def scores_with_tzmmoe(folder: Path, request: Sequence[dict]) -> dict[str, torch.Tensor]:
    """Raw values go in; the features are those of training."""
    scorer = Scorer.load(folder)  # once, when the service starts
    return scorer.score(pa.RecordBatch.from_pylist(request))


def scores_with_torch_alone(folder: Path, request: Sequence[dict]) -> dict[str, torch.Tensor]:
    """Encoded ids and numbers go in. Only for exports of your own: torch runs what it finds."""
    inputs = json.loads((folder / "signature.json").read_text())["inputs"]
    model = torch.export.load(folder / "model.pt2").module()
    named = {}
    for name, facts in inputs.items():
        rows = [[row[feature] for feature in facts["features"]] for row in request]
        if name.startswith("lengths"):
            values = [[len(cell) for cell in row] for row in rows]
        elif name == "numbers":
            values = [[number for cell in row for number in cell] for row in rows]
        else:
            values = [each for row in rows for cell in row for each in cell]
        named[name] = torch.tensor(values, dtype=getattr(torch, facts["dtype"]))
    return model(named)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    names = [feature.split('"')[1] for feature in FEATURES]
    return Small.build(tmp_path_factory.mktemp("training"), FEATURES, names=names)


@pytest.fixture(scope="module")
def export(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.export(tmp_path_factory.mktemp("service") / "export")


@pytest.mark.parametrize("rows", [[0, 1, 2], [1], [2, 2, 0, 1]])
def test_both_ways_to_score_a_request_equal_evaluation(
    small: Small, export: Path, tmp_path: Path, rows: list[int]
) -> None:
    expected = small.evaluated(pa.Table.from_pylist([REQUEST[row] for row in rows]), tmp_path)
    assert_same(scores_with_tzmmoe(export, [REQUEST[row] for row in rows]), expected)
    assert_same(scores_with_torch_alone(export, [ENCODED[row] for row in rows]), expected)
