"""The graph is part of what a checkpoint means: another one is refused, with the difference."""

from pathlib import Path

import pytest
from e2e import tiny
from models.backbone import tiny_blocks
from models.backbone.tiny_blocks import block, layer

from tzmmoe.run.changes.report import ChangedError

# Two leaves of one width, a slice, functions, layers with and without weights.
BLOCKS = (
    block("list", "all", "input_layer { only_output_feature_list: true }")
    + block("first", 'inputs { block_name: "list" input_slice: "[0]" }', "")
    + block("second", 'inputs { block_name: "list" input_fn: "lambda x: x[1]" }', "")
    + layer("sum", "list", "add {}")
    + block(
        "joined",
        'inputs { block_name: "first" } inputs { block_name: "second" }',
        "recurrent { num_steps: 2 keras_layer { dense { units: 8 activation: 'tanh' } } }",
    )
    + layer("mlp", "joined", "mlp { hidden_units: [4] dropout_ratio: [0.1] }")
    + block("late", "sum", 'lambda { expression: "lambda x: 2 * x" }')
)
PATH = "model_config.backbone.blocks"
# What is replaced, by what, and words of the line.
CHANGES = {
    "swapped inputs": (
        'inputs { block_name: "first" } inputs { block_name: "second" }',
        'inputs { block_name: "second" } inputs { block_name: "first" }',
        f'{PATH}[4].inputs[0].block_name of \'joined\': was "first", and is "second"',
    ),
    "slice": ('"[0]"', '"[2]"', f"{PATH}[1].inputs[0].input_slice of 'first': was \"[0]\", and is"),
    "function": ("x[1]", "x[2]", "input_fn of 'second': was \"lambda x: x[1]\""),
    "expression": ("2 * x", "3 * x", "lambda.expression of 'late': was \"lambda x: 2 * x\""),
    "activation": ("'tanh'", "'relu'", "dense.activation of 'joined': was \"tanh\""),
    "layer": ("add {}", "maximum {}", "was add, and is maximum"),
    "one input more": (
        'name: "sum" inputs { feature_group_name: "list" }',
        'name: "sum" inputs { feature_group_name: "list" } inputs { block_name: "first" }',
        "inputs of 'sum': was 1 of them, and is 2 of them",
    ),
    "norm after the activation": (
        "hidden_units: [4]",
        "hidden_units: [4] use_bn_after_activation: true",
        "use_bn_after_activation of 'mlp': was false, and is true",
    ),
    "order of leaves": (
        block("late", "sum", 'lambda { expression: "lambda x: 2 * x" }'),
        "",
        'concat_blocks: was ["mlp", "late"], and is ["late", "mlp"]',
    ),
}
SAME = {
    "spaces in a function": ("lambda x: x[1]", "lambda  x :x[ 1 ]"),
    "the leaves written out": ("task_towers {", 'concat_blocks: ["mlp", "late"] task_towers {'),
    "a block named as a group": (
        'block_name: "list" input_fn',
        'feature_group_name: "list" input_fn',
    ),
    "the order of blocks that are read": (
        layer("sum", "list", "add {}"),
        "",
    ),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_blocks.write(BLOCKS, tmp_path_factory.mktemp("meaning"))
    tiny.pipeline(folder, folder / "model", train_config__num_steps=2).fit()
    return folder


def edited(folder: Path, into: Path, old: str, new: str) -> Path:
    """A folder with a changed config; a block that is replaced by nothing goes to the front."""
    text = (folder / "tiny.config").read_text()
    assert old in text
    text = text.replace(old, new, 1)
    if not new:
        text = text.replace("backbone {", f"backbone {{ {old}", 1)
    (into / "tiny.config").write_text(text)
    return into


@pytest.mark.parametrize("name", CHANGES)
def test_another_graph_is_refused_with_the_difference_unless_it_is_accepted(
    trained: Path, tmp_path: Path, name: str
) -> None:
    old, new, words = CHANGES[name]
    run = tiny.pipeline(edited(trained, tmp_path, old, new), trained / "model")
    for command in (run.evaluate, lambda: run.check(continue_train=True)):
        with pytest.raises(ChangedError) as raised:
            command()
        assert words in str(raised.value)
    run.evaluate(accept_changes=True)


@pytest.mark.parametrize("name", SAME)
def test_the_same_graph_in_other_words_is_not(trained: Path, tmp_path: Path, name: str) -> None:
    run = tiny.pipeline(edited(trained, tmp_path, *SAME[name]), trained / "model")
    assert run.evaluate() == tiny.pipeline(trained, trained / "model").evaluate()


def test_another_dropout_is_noted_by_training_alone(trained: Path, tmp_path: Path, caplog) -> None:
    folder = edited(trained, tmp_path, "dropout_ratio: [0.1]", "dropout_ratio: [0.2]")
    run = tiny.pipeline(folder, trained / "model")
    run.evaluate()
    assert "dropout_ratio" not in caplog.text
    caplog.set_level("INFO", "tzmmoe")
    run.check(continue_train=True)
    assert "dropout_ratio of 'mlp': was [0.1], and is [0.2]" in caplog.text
