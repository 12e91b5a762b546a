"""Runs on numbers that may be missing, from CSV and Parquet files: training to predictions."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e import tiny
from safetensors.torch import load_file
from serving.sums import edit_signature

from tzmmoe.errors import CheckpointError, ConfigError
from tzmmoe.pipeline import Pipeline
from tzmmoe.serving.scorer import Scorer
from tzmmoe.system import checkpoint

PRICE = 'feature_name: "price" embedding_dim: 4 default_value: ""'
LAYERS = {
    "piecewise_linear": f"{PRICE} boundaries: [-1, -0.3, 0.3, 1] piecewise_linear {{}}",
    "periodic": f"{PRICE} periodic {{ sigma: 0.3 }}",
}


def with_holes(file: Path) -> None:
    """Every third row of a file has no price."""
    read = pq.read_table if file.suffix == ".parquet" else tiny.csv.read_csv
    table = read(file)
    place = table.column_names.index("price")
    holes = pa.array(np.arange(len(table)) % 3 == 0)
    prices = pa.compute.if_else(holes, None, table["price"])
    tiny.write(table.set_column(place, "price", prices), file)


@pytest.fixture(scope="module", params=[".parquet", ".csv"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tiny.write_all(tmp_path_factory.mktemp("holes"), suffix=request.param)
    for file in [*(made / "train").iterdir(), made / f"eval{request.param}"]:
        with_holes(file)
    return made


def changed(folder: Path, model_dir: Path, layer: str, **more: object) -> Pipeline:
    price = {"feature_configs[4].raw_feature": LAYERS[layer], "train_config.num_epochs": 1}
    return tiny.pipeline(folder, model_dir, **price | more)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_run_learns_evaluates_and_serves_rows_with_and_without_a_number(
    folder: Path, tmp_path: Path, layer: str
) -> None:
    model_dir, exported = tmp_path / "model", tmp_path / "export"
    changed(folder, model_dir, layer).check()
    changed(folder, model_dir, layer).fit()
    for file in checkpoint.newest(model_dir).rglob("*.safetensors"):
        for name, tensor in load_file(file).items():
            assert not tensor.is_floating_point() or tensor.isfinite().all(), name
    results = changed(folder, model_dir, layer).evaluate()
    assert np.isfinite(list(results.values())).all()
    changed(folder, model_dir, layer).export(str(exported))
    data = next(folder.glob("eval.*"))
    changed(folder, model_dir, layer).predict(str(data), str(tmp_path / "own.parquet"))
    scorer = Scorer.load(exported)
    rows = (tiny.csv.read_csv if data.suffix == ".csv" else pq.read_table)(data)
    scores = scorer.score(rows)
    own = pq.read_table(tmp_path / "own.parquet")
    for name, column in scores.items():
        np.testing.assert_allclose(own[name].to_numpy(), np.asarray(column), rtol=2e-5, atol=1e-6)
        assert np.isfinite(np.asarray(column)).all()
    counts = scorer.quality()["features"]["price"]
    assert counts["missing"]["rows"] == 20
    assert counts["defaulted"]["rows"] == 0


def test_what_a_missing_price_does_to_a_score_is_learned_and_no_number_does_it(
    folder: Path, tmp_path: Path
) -> None:
    """All prices that a float has give other embeddings than none."""
    model_dir = tmp_path / "model"
    changed(folder, model_dir, "piecewise_linear").fit()
    changed(folder, model_dir, "piecewise_linear").export(str(tmp_path / "export"))
    scorer = Scorer.load(tmp_path / "export")
    row = tiny.rows(0, 1).drop_columns(["price"])
    one = [None, -1e30, -1.0, -0.3, 0.0, 0.3, 1.0, 1e30]
    table = pa.concat_tables([row] * len(one)).append_column("price", pa.array(one))
    scores = np.asarray(scorer.score(table)["probs_ctr"])
    assert not np.isclose(scores[1:], scores[0], rtol=0, atol=1e-7).any()
    assert scores[1] == scores[2]
    assert scores[6] == scores[7]


def test_other_bins_than_a_checkpoint_was_trained_with_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    model_dir = tmp_path / "model"
    changed(folder, model_dir, "piecewise_linear").fit()
    other = {"feature_configs[4].raw_feature.boundaries": "[-1, -0.3, 0.4, 1]"}
    for command in ("evaluate", "check"):
        pipeline = changed(folder, model_dir, "piecewise_linear", **other)
        with pytest.raises(CheckpointError, match=r"price: .*piecewise linear"):
            pipeline.check(continue_train=True) if command == "check" else pipeline.evaluate()
    with pytest.raises(CheckpointError, match=r"was piecewise linear .*, and is numbers"):
        changed(folder, model_dir, "periodic").evaluate()


def test_an_export_without_the_fields_of_these_layers_is_still_read(
    folder: Path, tmp_path: Path
) -> None:
    """As earlier versions wrote them."""
    model_dir, exported = tmp_path / "model", tmp_path / "export"
    filled = {"feature_configs[4].raw_feature": 'feature_name: "price"'}
    changed(folder, model_dir, "periodic", **filled).fit()
    changed(folder, model_dir, "periodic", **filled).export(str(exported))
    rows = tiny.rows(0, 5)
    scores = Scorer.load(exported).score(rows)
    features = json.loads((exported / "signature.json").read_text())["features"]
    for feature in features:
        for name in ("periodic", "piecewise_linear"):
            feature.pop(name, None)
    edit_signature(exported, {"features": features})
    for name, column in Scorer.load(exported).score(rows).items():
        np.testing.assert_array_equal(column, scores[name])


def test_a_raw_input_refuses_a_number_that_may_be_missing(folder: Path, tmp_path: Path) -> None:
    model = (
        'feature_groups { group_name: "all" feature_names: ["price"] } backbone { '
        'blocks { name: "raw" inputs { feature_group_name: "all" } raw_input {} } '
        'blocks { name: "deep" inputs { block_name: "raw" input_slice: "[0]" } keras_layer { mlp { '
        'hidden_units: [4] } } } task_towers { tower_name: "ctr" label_name: "click" } }'
    )
    with pytest.raises(ConfigError, match=r"'price' may be missing.*default_value"):
        changed(folder, tmp_path / "model", "periodic", model_config=model).check()
