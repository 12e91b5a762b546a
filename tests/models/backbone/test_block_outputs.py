"""Outputs of the model that are values of blocks."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from e2e import tiny
from messages import says
from models.backbone import tiny_blocks
from models.backbone.blocks import body, faults, fields, inputs, text
from models.backbone.tiny_blocks import block, layer
from written import built, loaded

from tzmmoe import Pipeline
from tzmmoe.serving.scorer import Scorer

BLOCKS = """
    blocks {
      name: "deep" inputs { feature_group_name: "all" }
      layers { keras_layer { dense { units: 3 activation: "tanh" } } }
      layers { keras_layer { dense { units: 1 } } }
      layers { keras_layer { dense { units: 2 } } }
    }
    blocks {
      name: "list" inputs { feature_group_name: "all" }
      input_layer { only_output_feature_list: true }
    }
    blocks {
      name: "aside" inputs { feature_group_name: "pair" }
      keras_layer { dense { units: 1 } }
    }
    concat_blocks: "deep"
"""


def test_an_output_is_what_its_block_layer_or_element_gives(tmp_path: Path) -> None:
    x = inputs()
    model = body(tmp_path, f'{BLOCKS} outputs: ["deep", "deep_l0", "deep_l1", "list_2"]')
    steps = model.graph.made["deep"].steps
    linear = [next(m for m in s.modules() if isinstance(m, torch.nn.Linear)) for s in steps]
    first = torch.tanh(x["all"] @ linear[0].weight.T + linear[0].bias)
    second = first @ linear[1].weight.T + linear[1].bias
    oracle = {
        "deep": second @ linear[2].weight.T + linear[2].bias,
        "deep_l0": first,
        "deep_l1": second[:, 0],
        "list_2": fields("all", x)[2],
    }
    further = model(x).further
    assert list(further) == list(model.outputs) == list(oracle)
    assert list(model.outputs.values()) == [2, 3, 1, 4]
    for name, expected in oracle.items():
        torch.testing.assert_close(further[name].double(), expected, rtol=1e-6, atol=1e-6)


def test_a_block_that_only_an_output_needs_is_built_and_not_trained(tmp_path, caplog) -> None:
    made, _ = built(loaded(tmp_path, text(f'{BLOCKS} outputs: "aside"')))
    own = {
        name: p.requires_grad for name, p in made.model.body.named_parameters() if "aside" in name
    }
    assert own
    assert not any(own.values())
    says(caplog.text, "no tower depends on these weights, so they are not trained", "block_aside")
    assert all(p.requires_grad for name, p in made.model.body.named_parameters() if "deep" in name)


def test_in_training_no_output_is_computed(tmp_path: Path) -> None:
    model = body(tmp_path, f'{BLOCKS} outputs: "deep_l0"')
    assert set(model(inputs()).further) == {"deep_l0"}
    assert not model.train()(inputs()).further


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ('"dep"', "outputs[0]: 'dep' is not a block; did you mean 'deep'"),
        (
            '["deep", "deep_l3"]',
            "which has 3 in layers; write deep or deep_l0 to deep_l2",
        ),
        (
            '"aside_l0"',
            "names layer 0 of block 'aside', which has 0 in layers; write aside",
        ),
        ('["deep", "deep"]', "outputs[1]: 'deep' is listed twice; remove one"),
        ('"list"', "'list' is [3 x (B, 4)], but an output is one tensor; write \"list_0\""),
        ('"list_3"', "'list_3' names element 3 of block 'list', which gives [3 x (B, 4)]"),
        ('"deep_0"', "'deep_0' names element 0 of block 'deep', which gives (B, 2)"),
    ],
)
def test_what_cannot_be_an_output_is_refused_at_its_line(tmp_path, outputs, words) -> None:
    [line] = faults(tmp_path, f"{BLOCKS} outputs: {outputs}")
    says(line, words)


def test_an_output_of_several_axes_is_refused(tmp_path: Path) -> None:
    cube = """
    blocks {
      name: "cube" inputs { feature_group_name: "all" }
      input_layer { only_output_3d_tensor: true }
    }"""
    [line] = faults(tmp_path, f'{BLOCKS}{cube} outputs: "cube"')
    says(line, "'cube' is (B, 3, 4), but an output is (B, D); add a Flatten layer")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("probs_ctr", "is an output of task 'ctr'"),
        ("click", "is the label of task 'ctr'"),
        ("errors", "is what a Scorer calls its messages"),
    ],
)
def test_an_output_may_not_have_a_name_that_answers_hold_already(tmp_path, name, words) -> None:
    named = BLOCKS.replace('"aside"', f'"{name}"')
    [line] = faults(tmp_path, f'{named} outputs: "{name}"')
    says(line, f"outputs[0]: {name!r} {words}", "rename the block")


def test_outputs_are_among_the_parts_of_a_model(tmp_path: Path) -> None:
    model = body(tmp_path, f'{BLOCKS} outputs: ["deep_l0", "list_2"]')
    parts = {part.name: part for part in model.parts()}
    assert parts["output deep_l0"].reads == ["deep"]
    assert parts["output deep_l0"].gives == "(B, 3)"
    assert parts["output list_2"].gives == "(B, 4)"


OUTPUTS = 'outputs: ["deep", "score_l1", "list_1"]'
TRAINED = (
    tiny_blocks.LIST
    + layer("deep", "all", "mlp { hidden_units: [4] }")
    + block(
        "score",
        "mixed",
        "layers { keras_layer { dense { units: 3 } } } "
        "layers { keras_layer { dense { units: 1 } } }",
    )
    + 'concat_blocks: ["deep", "score"]'
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_blocks.write(TRAINED + OUTPUTS, tmp_path_factory.mktemp("outputs"))
    tiny.pipeline(folder, folder / "model", train_config__num_steps=3).fit()
    return folder


def test_predictions_of_the_checkpoint_and_of_the_export_have_the_outputs_alike(
    trained: Path, tmp_path: Path
) -> None:
    pipeline = tiny.pipeline(trained, trained / "model")
    pipeline.predict(str(trained / "eval.parquet"), tmp_path / "own.parquet")
    pipeline.export(tmp_path / "export")
    scorer = Scorer.load(tmp_path / "export", device="cpu")
    rows = pq.read_table(trained / "eval.parquet")
    scored = scorer.score(rows)
    own = pq.read_table(tmp_path / "own.parquet")
    assert own.column_names[-3:] == ["deep", "score_l1", "list_1"]
    for name, shape in {"deep": (4,), "score_l1": (), "list_1": scored["list_1"].shape[1:]}.items():
        column = np.array(own[name].to_pylist())
        assert column.shape == (len(rows), *shape)
        np.testing.assert_allclose(column, scored[name].numpy(), rtol=1e-6, atol=1e-6)


def test_an_output_that_is_named_after_training_changes_no_other_column(
    trained: Path, tmp_path: Path
) -> None:
    config = (trained / "tiny.config").read_text()
    (trained / "other.config").write_text(config.replace(OUTPUTS, ""))
    rows = str(trained / "eval.parquet")
    for name in ("tiny", "other"):
        own = {"model_dir": str(trained / "model")}
        pipeline = Pipeline.load(trained / f"{name}.config", settings=own)
        pipeline.predict(rows, tmp_path / f"{name}.parquet")
    full, plain = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("tiny", "other"))
    assert "deep" not in plain.column_names
    assert full.select(plain.column_names).equals(plain)
