"""What is wrong with blocks is told with the line, the block, and what to do."""

from pathlib import Path

import pytest
from models.backbone.blocks import faults
from models.backbone.test_block_rules import LIST, PACKAGE, block, dense

MMOE = "keras_layer { mmoe { num_task: 3 num_expert: 2 expert_mlp { hidden_units: [4] } } }"
UNEVEN = block("m", "mixed", LIST)
# Each text's faulty part begins with a line of its own; the path, and words of the message.
WRONG = {
    "unknown block": (
        dense("senet", 2, "all") + 'blocks { name: "b"\ninputs { block_name: "sennet" } }',
        "blocks[1].inputs[0].block_name",
        ("'sennet' is not a block", "did you mean 'senet'?"),
    ),
    "unknown group": (
        'blocks { name: "b"\ninputs { feature_group_name: "al" } }',
        "blocks[0].inputs[0].feature_group_name",
        ("'al' is not in model_config.feature_groups", "did you mean 'all'?"),
    ),
    "unknown package": (
        PACKAGE + 'blocks { name: "b"\ninputs { package_name: "shard" } }',
        "blocks[0].inputs[0].package_name",
        ("'shard' is not a package", "did you mean 'shared'?"),
    ),
    "unknown package input": (
        PACKAGE + 'blocks { name: "b" inputs { package_name: "shared"\npackage_input: "x" } }',
        "blocks[0].inputs[0].package_input",
        ("'x' is not a block",),
    ),
    "double": (
        dense("b", 2, "all") + 'blocks {\nname: "b" inputs { feature_group_name: "all" } }',
        "blocks[1].name",
        ("'b' is the name of an earlier block too",),
    ),
    "name": (
        'blocks {\nname: "a/b c" inputs { feature_group_name: "all" } }',
        "blocks[0].name",
        ("is 'a/b c'; use letters, digits",),
    ),
    "no name": ('blocks { inputs { feature_group_name: "all" } }', "blocks[0].name", ("not set",)),
    "ring": (
        'blocks { name: "a"\ninputs { block_name: "b" } } blocks { name: "b" '
        'inputs { block_name: "a" } }',
        "blocks[0].inputs",
        ("in a ring", "a <- b", "remove one input"),
    ),
    "ring through a package": (
        'packages { name: "p" blocks { name: "x" inputs { block_name: "a" } } }'
        'blocks { name: "a"\ninputs { package_name: "p" } }',
        "blocks[0].inputs",
        ("block 'a' reads itself",),
    ),
    "itself": (
        'blocks { name: "all"\ninputs { feature_group_name: "all" } }',
        "blocks[0].inputs",
        ("block 'all' reads itself; rename the block",),
    ),
    "no input": ('blocks {\nname: "a" }', "blocks[0].inputs", ("block 'a'", "needs something")),
    "empty input": ('blocks { name: "a"\ninputs {} }', "blocks[0].inputs[0]", ("names nothing",)),
    "all ignored": (
        'blocks { name: "a"\ninputs { feature_group_name: "all" ignore_input: true } }',
        "blocks[0].inputs",
        ("all have ignore_input", "let it read one"),
    ),
    "rows joined": (
        'blocks { name: "a"\ninput_concat_axis: 0 inputs { feature_group_name: "all" } }',
        "blocks[0].input_concat_axis",
        ("the axis of the rows",),
    ),
    "a list is needed": (
        'blocks { name: "senet" inputs { feature_group_name: "all" }\nkeras_layer {\nsenet {} } }',
        "blocks[0].keras_layer.senet",
        ("block 'senet' gets (B, 12) from 'all'; it needs a list", "set only_output_feature_list"),
    ),
    "a tensor is needed": (
        block("l", "all", LIST)
        + 'blocks { name: "h" inputs { block_name: "l" } keras_layer {\nhighway {} } }',
        "blocks[1].keras_layer.highway",
        ("block 'h' gets [3 x (B, 4)] from 'l'; it needs one tensor (B, D)", "join"),
    ),
    "widths in FM": (
        UNEVEN + 'blocks { name: "f" inputs { block_name: "m" } keras_layer {\nfm {} } }',
        "blocks[1].keras_layer.fm",
        ("block 'f' gets [(B, 4), (B, 2)] from 'm' (item 4, age 2)", "one width"),
    ),
    "widths in Cross": (
        UNEVEN + 'blocks { name: "c" inputs { block_name: "m" } keras_layer {\ncross {} } }',
        "blocks[1].keras_layer.cross",
        ("block 'c' gets [(B, 4), (B, 2)] from 'm' (item 4, age 2)",),
    ),
    "num_squeeze_group": (
        UNEVEN
        + (
            'blocks { name: "s" inputs { block_name: "m" } keras_layer { senet '
            "{\nnum_squeeze_group: 4 } } }"
        ),
        "blocks[1].keras_layer.senet.num_squeeze_group",
        ("block 's'", "(item 4, age 2)", "is 4", "divides"),
    ),
    "num_task": (
        f'blocks {{ name: "a" inputs {{ feature_group_name: "all" }}\n{MMOE} }}',
        "blocks[0].keras_layer.mmoe.num_task",
        ("[3 x (B, 4)]", "a list of 3", "2 task_towers"),
    ),
    "output_blocks": (
        dense("a", 2, "all") + '\noutput_blocks: ["a"]',
        "output_blocks",
        ("block 'a' gives [(B, 2)], a list of 1", "2 task_towers"),
    ),
    "a list in output_blocks": (
        block("a", "all", MMOE) + '\noutput_blocks: ["a", "a"]',
        "output_blocks",
        ("[3 x (B, 4)]", "concat_blocks"),
    ),
    "output that is not there": (
        dense("abc", 2, "all") + '\nconcat_blocks: ["abd"]',
        "concat_blocks[0]",
        ("'abd' is not a block", "did you mean 'abc'?"),
    ),
    "both outputs": (
        dense("a", 2, "all") + 'output_blocks: ["a", "a"]\nconcat_blocks: ["a"]',
        "concat_blocks",
        ("is set, and so is output_blocks",),
    ),
    "three axes for a tower": (
        'blocks { name: "a" inputs { feature_group_name: "all" }\n'
        "input_layer { only_output_3d_tensor: true } }",
        "blocks[0]",
        ("(B, 3, 4)", "Flatten"),
    ),
    "another layer's settings": (
        'blocks { name: "a" inputs { feature_group_name: "all" } keras_layer '
        '{\nclass_name: "MLP" senet {} } }',
        "blocks[0].keras_layer.class_name",
        ("is 'MLP', but senet is set",),
    ),
    "unknown class": (
        'blocks { name: "a" inputs { feature_group_name: "all" } '
        'keras_layer {\nclass_name: "SENett" } }',
        "blocks[0].keras_layer.class_name",
        ("'SENett'", "did you mean 'SENet'?"),
    ),
    "a class of sequences": (
        'blocks { name: "a" inputs { feature_group_name: "all" } '
        'keras_layer {\nclass_name: "BST" } }',
        "blocks[0].keras_layer.class_name",
        ("'BST'", "MultiHeadAttention"),
    ),
    "no layer": (
        'blocks { name: "a" inputs { feature_group_name: "all" }\nkeras_layer {} }',
        "blocks[0].keras_layer",
        ("has no layer; give one of mlp",),
    ),
    "two forms": (
        'blocks { name: "a" inputs { feature_group_name: "all" }\nlambda { '
        'expression: "lambda x: x" } layers { lambda { expression: "lambda x: x" } } }',
        "blocks[0].lambda",
        ("is set, and so is layers",),
    ),
    "an unset field": (
        'blocks { name: "a" inputs { feature_group_name: "all" } keras_layer {\ndense {} } }',
        "blocks[0].keras_layer.dense.units",
        ("is not set",),
    ),
    "a fixed input of no list": (
        'blocks { name: "a" inputs { feature_group_name: "all" }\n'
        "recurrent { fixed_input_index: 0 keras_layer { cross {} } } }",
        "blocks[0].recurrent",
        ("block 'a' gets (B, 12) from 'all'; it needs a list", "[x, x]"),
    ),
    "no steps": (
        'blocks { name: "a" inputs { feature_group_name: "all" } recurrent '
        "{\nnum_steps: 0 keras_layer { flatten {} } } }",
        "blocks[0].recurrent.num_steps",
        ("is 0; give 1 or more",),
    ),
    "an index beyond the list": (
        block("l", "all", LIST)
        + 'blocks { name: "a" inputs { block_name: "l"\ninput_slice: "[3]" } }',
        "blocks[1].inputs[0]",
        ("block 'a' gets [3 x (B, 4)] from 'l'", "[3]"),
    ),
    "a package without its input": (
        'packages { name: "p" blocks { name: "x"\ninputs { use_package_input: true } } }'
        'blocks { name: "a" inputs { package_name: "p" } }',
        "packages[0].blocks[0].inputs[0].use_package_input",
        ("without package_input",),
    ),
    "a package's input in the model": (
        'blocks { name: "a"\ninputs { use_package_input: true } }',
        "blocks[0].inputs[0].use_package_input",
        ("package_input",),
    ),
    "in a package": (
        'packages { name: "p" blocks { name: "x" inputs { feature_group_name: '
        '"all" } keras_layer {\nsenet {} } } }'
        'blocks { name: "a" inputs { package_name: "p" } }',
        "packages[0].blocks[0].keras_layer.senet",
        ("block 'x' gets (B, 12) from 'all'; it needs a list",),
    ),
    "a reset that does not fit": (
        'packages { name: "p" blocks { name: "x" inputs { '
        'feature_group_name: "mixed" } input_layer {} } }'
        'blocks { name: "a" inputs { package_name: "p"\nreset_input { '
        "only_output_3d_tensor: true } } }",
        "blocks[0].inputs[0].reset_input.only_output_3d_tensor",
        ("item 4, age 2",),
    ),
    "a reset of no package": (
        'blocks { name: "a" inputs { feature_group_name: "all"\nreset_input {} } }',
        "blocks[0].inputs[0].reset_input",
        ("no effect without package_name",),
    ),
    "a package's name": (
        'packages {\nname: "p q" blocks { name: "x" inputs { feature_group_name: "all" } } }'
        'blocks { name: "a" inputs { package_name: "p q" } }',
        "packages[0].name",
        ("is 'p q'; use letters",),
    ),
    "initializer": (
        'blocks { name: "a" inputs { feature_group_name: "all" } keras_layer { '
        'mlp { hidden_units: [2]\ninitializer: "he" } } }',
        "blocks[0].keras_layer.mlp.initializer",
        ("'he'", "he_uniform"),
    ),
    "no blocks": ("", "blocks", ("is empty; give blocks",)),
}
LAMBDAS = {
    "lambda x: __import__('os').system('true')": "not a function that may be called",
    "lambda x: __import__('os')": "not a function that may be called",
    "lambda x: x.shape": "reads an attribute",
    "lambda x, y: x": "has 2 arguments, but takes 1",
    "lambda x: tf.reduce_sum(x, axis=0)": "the axis of the rows",
    "lambda x: x[0]": "indexes the rows",
    "lambda x: tf.reshape(x, [3, -1])": "write -1 first",
    "lambda x: tf.transpose(x)": "not a function that may be called",
    "lambda x: 3": "must give a tensor",
    "x[0]": "is not a lambda",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_fault_has_its_line_its_path_and_what_to_do(tmp_path: Path, name: str) -> None:
    text, path, words = WRONG[name]
    [line] = faults(tmp_path, text)
    number, _, rest = line.removeprefix("my.config:").partition(": ")
    assert rest.startswith(f"model_config.backbone.{path}: "), line
    for word in words:
        assert word in rest, line
    if "\n" in text:
        marked = 14 + text[: text.rindex("\n")].count("\n") + 1
        assert int(number) in (marked, marked - 1), line


@pytest.mark.parametrize("text", LAMBDAS)
def test_a_function_that_may_not_be_used_is_refused_with_its_line(tmp_path, text) -> None:
    blocks = 'blocks { name: "a" inputs { feature_group_name: "all" }\nlambda {\n'
    [line] = faults(tmp_path, f'{blocks} expression: "{text}" }} }}')
    assert line.startswith(("my.config:15: ", "my.config:16: ")), line
    assert "model_config.backbone.blocks[0].lambda" in line
    assert LAMBDAS[text] in line


def test_faults_of_blocks_that_do_not_depend_on_each_other_are_told_at_once(tmp_path) -> None:
    bad = "keras_layer { senet {} }"
    text = block("a", "all", bad) + block("b", "a", bad) + block("c", "pair", bad)
    first, second = faults(tmp_path, text)
    assert "block 'a' gets (B, 12)" in first
    assert "block 'c' gets (B, 8)" in second
