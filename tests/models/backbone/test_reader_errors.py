"""Faults of WIDE groups, raw_input and embedding_layer: line, block, and what to do."""

from pathlib import Path

import pytest
from models.backbone.blocks import FRAME
from models.backbone.tiny_blocks import block
from written import built, changed, loaded, said, said_of_all

FEATURES = """\
feature_configs { id_feature { feature_name: "user" num_buckets: 9 embedding_dim: 4 } }
feature_configs { raw_feature { feature_name: "age" boundaries: [1, 2] embedding_dim: 4 } }
feature_configs { raw_feature { feature_name: "price" } }
feature_configs { raw_feature { feature_name: "pair" value_dim: 2 } }"""
GROUPS = """\
  feature_groups { group_name: "deep" feature_names: ["user", "price"] }
  feature_groups { group_name: "wide" feature_names: ["user", "price"] group_type: WIDE }
  feature_groups { group_name: "numbers" feature_names: ["price", "pair"] }
  feature_groups { group_name: "ids" feature_names: ["user", "age"] }"""
FIRST = 15  # line of the blocks


def faults(folder: Path, blocks: str, groups: str = GROUPS) -> list[str]:
    """What a user is told."""
    config = loaded(folder, FRAME.format(features=FEATURES, groups=groups, blocks=blocks))
    return said(config) or said_of_all(config)


def wide(name: str, settings: str) -> str:
    return block(name, "wide", f"\ninput_layer {{ {settings} }}")


def reader(word: str, settings: str = "", group: str = "deep") -> str:
    source = f'inputs {{ feature_group_name: "{group}" }}'
    return f'blocks {{ name: "r" {source}\n{word} {{ {settings} }} }}'


LAYER, RAW, EMBEDDING = "input_layer", "raw_input", "embedding_layer"
# Text, whose faulty part begins with a line of its own; path, and words of the message.
WRONG = {
    "two widths": (
        wide("a", "wide_output_dim: 4") + wide("b", "wide_output_dim: 8"),
        "blocks[1].input_layer.wide_output_dim",
        ("is 8 in block 'b', but 4 in block 'a'", "one width"),
    ),
    "two widths, one in a package": (
        f'packages {{ name: "p" {block("b", "wide", "input_layer { wide_output_dim: 8 }")} }}'
        + wide("a", "wide_output_dim: 4"),
        "packages[0].blocks[0].input_layer.wide_output_dim",
        ("is 8 in block 'b', but 4 in block 'a'",),
    ),
    "no width": (
        wide("a", ""),
        "blocks[0].input_layer",
        ("block 'a' reads the WIDE group 'wide'", "write input_layer { wide_output_dim: 4 }"),
    ),
    "no width of a group that is read directly": (
        'blocks { name: "a"\ninputs { feature_group_name: "wide" } }',
        "blocks[0].inputs[0].feature_group_name",
        ("block 'a' reads the WIDE group 'wide'", "write input_layer { wide_output_dim: 4 }"),
    ),
    "a width of a DEEP group": (
        reader(LAYER, "wide_output_dim: 4"),
        "blocks[0].input_layer.wide_output_dim",
        ("in block 'r'", "the group 'deep' that it reads is DEEP", "write group_type: WIDE"),
    ),
    "a width of 0": (
        reader(LAYER, "wide_output_dim: 0", "wide"),
        "blocks[0].input_layer.wide_output_dim",
        ("is 0; give 1 or more",),
    ),
    "a width in a reset": (
        f'packages {{ name: "p" {block("b", "wide", "input_layer { wide_output_dim: 8 }")} }}'
        'blocks { name: "a" inputs { package_name: "p"\nreset_input { wide_output_dim: 8 } } }',
        "blocks[0].inputs[0].reset_input.wide_output_dim",
        ("no effect in a reset_input", "in the input_layer"),
    ),
    "ids in raw_input": (
        reader(RAW),
        "blocks[0].raw_input",
        ("block 'r'", "'user' is an id", "write input_layer {}", "group of their own"),
    ),
    "buckets in raw_input": (
        reader(RAW, group="ids"),
        "blocks[0].raw_input",
        ("'user', 'age' are ids or have boundaries",),
    ),
    "numbers in embedding_layer": (
        reader(EMBEDDING, "embedding_dim: 4", "numbers"),
        "blocks[0].embedding_layer",
        ("block 'r'", "'price', 'pair' are plain numbers", "set boundaries"),
    ),
    "no embedding_dim": (
        reader(EMBEDDING, group="ids"),
        "blocks[0].embedding_layer.embedding_dim",
        ("is not set",),
    ),
    "embedding_dim 0": (
        reader(EMBEDDING, "embedding_dim: 0", "ids"),
        "blocks[0].embedding_layer.embedding_dim",
        ("is 0; give the width",),
    ),
    "largest": (
        reader(EMBEDDING, 'embedding_dim: 4 combiner: "max"', "ids"),
        "blocks[0].embedding_layer.combiner",
        ("is 'max', which is not supported", "'weight', 'mean', 'sum'"),
    ),
    "unknown combiner": (
        reader(EMBEDDING, 'embedding_dim: 4 combiner: "sqrtn"', "ids"),
        "blocks[0].embedding_layer.combiner",
        ("is 'sqrtn'; give one of 'weight', 'mean', 'sum'",),
    ),
    "two kinds": (
        reader(RAW, "} input_layer {", "numbers"),
        "blocks[0].",
        ("is set, and so is", "keep one"),
    ),
    "layers": (
        'blocks { name: "r" inputs { feature_group_name: "numbers" } raw_input {}\n'
        'layers { lambda { expression: "lambda x: x" } } }',
        "blocks[0].layers",
        ("is set, and so is raw_input; keep one",),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_fault_has_its_line_its_block_and_what_to_do(tmp_path: Path, name: str) -> None:
    text, path, words = WRONG[name]
    [line] = faults(tmp_path, text)
    number, _, rest = line.removeprefix("my.config:").partition(": ")
    assert rest.startswith(f"model_config.backbone.{path}"), line
    for word in words:
        assert word in rest, line
    if "in a package" not in name:
        marked = FIRST + text[: text.rindex("\n")].count("\n") + 1
        assert int(number) in (marked, marked - 1), line


@pytest.mark.parametrize("word", [LAYER, RAW, EMBEDDING])
@pytest.mark.parametrize(
    "inputs",
    [
        'inputs { feature_group_name: "ids" } inputs { feature_group_name: "numbers" }',
        'inputs { block_name: "other" }',
        'inputs { package_name: "p" }',
    ],
)
def test_a_block_of_these_kinds_reads_one_feature_group(tmp_path: Path, word, inputs) -> None:
    text = f'packages {{ name: "p" {block("x", "deep", "")} }}' + block("other", "deep", "")
    text += f'\nblocks {{ name: "r" {inputs} {word} {{ embedding_dim: 2 }} }}'
    text = text if word == EMBEDDING else text.replace(" embedding_dim: 2 ", "")
    [line] = faults(tmp_path, text)
    assert "model_config.backbone.blocks[1].inputs" in line
    assert f"block 'r' has a{'' if word == RAW else 'n'} {word}, which reads one" in line


def test_an_unknown_group_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    for word, more in ((RAW, ""), (EMBEDDING, "embedding_dim: 2")):
        [line] = faults(tmp_path, reader(word, more, "number"))
        assert "'number' is not in model_config.feature_groups; did you mean 'numbers'?" in line


def test_a_group_with_the_name_of_an_input_that_the_model_makes_is_refused(tmp_path: Path) -> None:
    groups = GROUPS.replace('"deep"', '"wide_columns"')
    text = block("a", "wide", "input_layer { wide_output_dim: 2 }")
    [line] = faults(tmp_path, text, groups)
    assert "'wide_columns'" in line
    assert "another group_name" in line


def test_a_wide_group_of_another_model_is_refused_at_its_group(tmp_path: Path) -> None:
    """In EasyRec, the built-in multi-task models cannot be built with one either."""
    own = 'feature_names: ["user", "item", "price"]'
    for more in (f"{own} group_type: WIDE", f"{own} wide_deep: WIDE"):
        [line] = said(loaded(tmp_path, changed((own, more))))
        assert "model_config.feature_groups[0]." in line
        assert "is WIDE, which only a backbone reads, but the model is mmoe" in line
        assert "write DEEP" in line


@pytest.mark.parametrize("field", ["group_type", "wide_deep"])
def test_a_misspelt_type_of_a_group_is_the_only_fault(tmp_path: Path, field: str) -> None:
    groups = GROUPS.replace("group_type: WIDE", f"{field}: WIDDE")
    blocks = block("a", "wide", "input_layer { wide_output_dim: 4 }")
    config = loaded(tmp_path, FRAME.format(features=FEATURES, groups=groups, blocks=blocks))
    [line] = said_of_all(config)
    assert f"feature_groups[1].{field}: is WIDDE; give one of DEEP, WIDE" in line


def test_a_wide_group_that_no_block_reads_is_named_in_a_warning(tmp_path: Path, caplog) -> None:
    blocks = block("a", "deep", "input_layer {}")
    text = FRAME.format(features=FEATURES, groups=GROUPS, blocks=blocks)
    _, lines = built(loaded(tmp_path, text))
    assert not lines
    assert "no block that reaches an output reads these feature groups: wide" in caplog.text


def test_an_embedding_layer_by_class_name_is_refused_with_what_to_write(tmp_path: Path) -> None:
    text = 'blocks { name: "a" inputs { feature_group_name: "ids" }\n'
    [line] = faults(tmp_path, text + 'keras_layer { class_name: "EmbeddingLayer" } }')
    assert "class_name: is 'EmbeddingLayer'" in line
    assert "write embedding_layer {}" in line


def test_a_vocabulary_size_has_no_effect_and_a_warning_says_so(tmp_path, caplog) -> None:
    assert not faults(tmp_path, reader(EMBEDDING, "embedding_dim: 4 vocab_size: 5", "ids"))
    assert "embedding_layer.vocab_size has no effect" in caplog.text


def test_a_faulty_feature_is_not_also_refused_by_raw_input(tmp_path: Path) -> None:
    text = FRAME.format(
        features=FEATURES.replace("value_dim: 2", "value_dim: 2 embedding_dim: 4"),
        groups=GROUPS.replace('["price", "pair"]', '["pair"]'),
        blocks=reader(RAW, group="numbers")
        + block("x", "r", "lambda { expression: 'lambda x: tf.concat(x, axis=1)' }"),
    )
    config = loaded(tmp_path, text)
    [line] = said(config) or said_of_all(config)
    assert "embedding_dim: has no effect without" in line
