"""Config text -> message: as protobuf reads it, and with every fault at its place."""

import json
import math
import random
import re
from pathlib import Path

import pytest
from google.protobuf import json_format, text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import all_say, says
from written import CONFIG, all_fields, changed, loaded, read, said

from tzmmoe.config.facts import FACTS, WORDS
from tzmmoe.errors import Faults
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.textformat import reader
from tzmmoe.textformat.outline import TOKEN

MARKS = (
    '" \' { } < > [ ] , ; : = # \\ $ -1 1e3 0x1F 010 1.5f inf nan t True \'a"b\' "\\x41"'.split()
)
SCALARS = {
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    # The text of a NaN does not tell its sign.
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats().map(lambda x: math.nan if math.isnan(x) else x),
    FieldDescriptor.CPPTYPE_STRING: st.text(max_size=5),
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
}


def parsed(content: str, name: str = "my.config") -> tuple[Pipeline, Faults]:
    pipeline, faults = Pipeline(), Faults()
    reader.parse(Path(name), content, pipeline, FACTS, faults)
    return pipeline, faults


def same(one: Message, other: Message) -> bool:
    """Equal, where NaN equals NaN."""
    return one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


@st.composite
def messages(draw: st.DrawFn, descriptor=Pipeline.DESCRIPTOR) -> Message:
    """Any message of the schema, with about a third of its fields."""
    message = descriptor._concrete_class()
    for field in descriptor.fields:
        oneof = field.containing_oneof
        taken = oneof is not None and message.WhichOneof(oneof.name) is not None
        if taken or draw(st.integers(0, 2)):
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, field.name).update(
                draw(st.dictionaries(st.text(max_size=3), st.integers(0, 2**64 - 1), max_size=2))
            )
        elif field.message_type is not None:
            for _ in range(draw(st.integers(0, 2)) if field.is_repeated else 1):
                inner = draw(messages(field.message_type))
                if field.is_repeated:
                    getattr(message, field.name).add().CopyFrom(inner)
                else:
                    getattr(message, field.name).CopyFrom(inner)
                    getattr(message, field.name).SetInParent()
        else:
            known = [value.number for value in field.enum_type.values] if field.enum_type else []
            values = st.sampled_from(known) if known else SCALARS[field.cpp_type]
            if field.is_repeated:
                getattr(message, field.name).extend(draw(st.lists(values, max_size=2)))
            else:
                setattr(message, field.name, draw(values))
    return message


@settings(max_examples=40, deadline=None, derandomize=True)
@given(messages())
def test_every_message_is_read_back_from_its_text(message):
    if not message.ListFields():
        return
    back, faults = parsed(text_format.MessageToString(message))
    assert not faults
    assert same(back, message)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(messages(), st.booleans())
def test_every_message_is_read_back_from_its_json(message, snake_case):
    content = json_format.MessageToJson(message, preserving_proto_field_name=snake_case)
    if not json.loads(content):
        return
    back, faults = parsed(content, "my.json")
    assert not faults
    assert same(back, json_format.Parse(content, Pipeline()))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("data_config {", "data_config: {"),
        ("  mmoe {", "  mmoe { # } a brace in a comment {{"),
        ("hidden_units: [4]", "hidden_units: 4, hidden_units: 5;"),
        ("hidden_units: [4]", "hidden_units: [4] hidden_units: [5, 6]"),
        ("hidden_units: [4]", "hidden_units: []"),
        ('"click"', "'click'"),
        ('"click"', '"cl" \'ick\' "" '),
        ('"click"', '"cl\\x69ck\\n\\t\\"\\\'\\\\\\101"'),
        ('"click"', '"cl\\u00efck é 点击"'),
        ("batch_size: 8", "batch_size:8\t\r\n"),
        ("batch_size: 8", "batch_size: 0x10;"),
        ("batch_size: 8", "batch_size: 010,"),
        ("fg_mode: FG_DAG", "fg_mode: 3"),
        ("batch_size: 8", "batch_size: 8 shuffle: t with_header: True pin_memory: 0"),
        ("lr: 0.01", "lr: 1f"),
        ("lr: 0.01", "lr: .5e-3"),
        ("lr: 0.01", "lr: -inf"),
        ("lr: 0.01", "lr: nan"),
        ("metrics { auc {} }", "metrics < auc <> > metrics: [{ logloss {} }, < calibration {} >]"),
        ("hash_bucket_size: 10", 'vocab_dict { key: "a" value: 3 } vocab_dict < key: "b" >'),
    ],
)
def test_the_whole_grammar_is_read_as_protobuf_reads_it(old, new):
    content = changed((old, new))
    pipeline, faults = parsed(content)
    assert not faults
    assert same(pipeline, read(content))


def mutated(content: str, chance: random.Random, marks: list[str]) -> str:
    """One to three tokens dropped, doubled, or replaced by others."""
    tokens = [match.group() for match in TOKEN.finditer(content)]
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(tokens))
        tokens[place : place + 1] = chance.choice(
            [[], [tokens[place]] * 2, [chance.choice(tokens)], [chance.choice(marks)]]
        )
    return "".join(tokens)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", range(4))
def test_what_protobuf_reads_is_read_the_same_and_what_it_refuses_has_a_fault(seed):
    chance = random.Random(seed)
    for _ in range(200):
        content = mutated(CONFIG, chance, MARKS)
        pipeline, faults = parsed(content)
        try:
            expected = read(content)
        except text_format.ParseError:
            comma_at_the_end = ",]" in "".join(content.split())  # is let pass
            assert faults or comma_at_the_end, content
        else:
            assert not faults, content
            assert same(pipeline, expected), content


def test_all_faults_show_at_once_each_with_line_and_path_in_the_order_of_the_text(tmp_path):
    content = changed(
        ("lr: 0.01 }", "lr: fast }"),
        ("batch_size: 8", "batch_sise: 8"),
        ('"buy"]', "buy, 3]"),
        ("FG_DAG", "FG_DAGG"),
        ("hash_bucket_size: 10", 'hash_bucket_size: "ten"'),
        ("num_buckets: 20", "num_buckets: -20"),
        ("boundaries: [1, 2]", "boundaries: [1, two, 3.5.5]"),
        ("num_expert: 2", "num_expert: 2 num_expert: 3 expert_mlp { use_bn: maybe }"),
        ('"ctr"', '"ctr" tower_name: "ctr2"'),
    )
    tower, twice = "model_config.mmoe.task_towers[0]", "set twice"
    all_say(
        said(loaded(tmp_path, content)),
        ("my.config:5: train_config.sparse_optimizer.adagrad_optimizer.lr: is fast; ", "a number"),
        ("my.config:10: data_config.batch_sise: no such field; ", "'batch_size'?"),
        ("my.config:11: data_config.label_fields[1]: is buy, without quotes; ", 'write "buy"'),
        ("my.config:11: data_config.label_fields[2]: is 3, without quotes; ", 'write "3"'),
        ("my.config:13: data_config.fg_mode: is FG_DAGG; ", "FG_NONE, ", "did you mean 'FG_DAG'?"),
        (
            'my.config:15: feature_configs[0].id_feature.hash_bucket_size: is "ten"; ',
            "whole number",
        ),
        ("my.config:16: feature_configs[1].id_feature.num_buckets: is -20; ", "1 or more"),
        ("my.config:17: feature_configs[2].raw_feature.boundaries[1]: is two; ", "a number"),
        ("my.config:17: feature_configs[2].raw_feature.boundaries[2]: is 3.5.5; ", "a number"),
        ("my.config:22: model_config.mmoe.num_expert: ", twice),
        ("my.config:22: model_config.mmoe.expert_mlp: ", twice),
        (f"my.config:24: {tower}.tower_name: ", twice),
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("batch_size: 8", "batch_size: ", ":10: data_config.batch_size: has no value"),
        ("batch_size: 8", "batch_size 8", ":10: data_config.batch_size: write batch_size: VALUE"),
        ("batch_size: 8", "batch_size = 8", ":10: data_config.batch_size: write batch_size: VALUE"),
        ("batch_size: 8", "batch_size: [8]", ":10: data_config.batch_size: is a list; .*one value"),
        ("batch_size: 8", "batch_size { }", ":10: data_config.batch_size: write batch_size: VALUE"),
        ("batch_size: 8", "batch_size: {}", ":10: data_config.batch_size: has no fields; write ba"),
        ("batch_size: 8", "batch_size: 8.5", ":10: data_config.batch_size: is 8.5; .*whole number"),
        ("data_config", "runtime_config { timeout: 30 } data_config", ":9: runtime_config.timeout: "
         'is 30, without quotes; write "30s"'),
        ("batch_size: 8", "batch_size: 4294967296", "is 4294967296; .*0 to 4294967295"),
        ("expert_mlp {", "expert_mlp = {", ":21: model_config.mmoe.expert_mlp: write expert_mlp {"),
        ("num_expert: 2", "gate_mlp: 2", ":22: model_config.mmoe.gate_mlp: has fields; write gate"),
        ("[4]", "[4 5]", r":21: model_config.mmoe.expert_mlp.hidden_units\[0\]: .*comma"),
        ('"train.parquet"', '"\\xff"', r':1: train_input_path: is "\\xff", .* UTF-8'),
        ("id_feature {", 'raw_feature { feature_name: "user" } id_feature {', r":15: feature_config"
         r"s\[0\].id_feature: is set, and so is raw_feature; keep one"),
        ("batch_size: 8", "batch_size: 1,024", ":10: data_config.024: is a number .*without comma"),
        ("num_epochs: 1", "batch_size: 1", ":7: train_config.batch_size: no such field here; .*"
         "eval_config or data_config"),
        ("group_name:", "group_type: SEQUENCE group_name:", r":19: model_config.feature_group"
         r"s\[0\].group_type: is SEQUENCE, .*not support yet; give one of DEEP, WIDE"),
    ],
)  # fmt: skip
def test_a_fault_says_where_what_and_how_to_repair_it(tmp_path, old, new, expected):
    (only,) = said(loaded(tmp_path, changed((old, new))))
    assert re.search(expected, only), only


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("  fg_mode: FG_DAG\n}", "  fg_mode: FG_DAG\n", ["9: data_config is not closed", "brace",
         "before feature_configs in line 15?"]),
        ("embedding_dim: 4 } }", "embedding_dim: 4 }", ["15: feature_configs is not closed",
         "brace", "before feature_configs in line 16?"]),
        ("{} }\n    }\n    task", "{} }\n    task", ["23: task_towers is not closed", "brace",
         "before task_towers in line 29?"]),
        ('      out_task_space_weight: 0\n    }', '      out_task_space_weight: 0',
         ["18: this { is not closed"]),
        ("  fg_mode: FG_DAG\n}", "  fg_mode: FG_DAG\n}}", ["14: this } ", "remove it"]),
        ("data_config {", "{", ["9: ", " {; ", "name missing"]),
        ("batch_size: 8", ": 8", ["10: ", " :; ", "name missing"]),
        ("data_config {", "data_config <", ["9: data_config is not closed", "brace",
         "before feature_configs in line 15?"]),
        ('["click", "buy"]', '["click", "buy"', ["11: this [ is not closed", "comma"]),
        ('["click", "buy"]', '["click, "buy"]', ["11: this quote is not closed"]),
    ],
)  # fmt: skip
def test_an_unpaired_mark_is_the_only_fault(tmp_path, old, new, parts):
    """Its consequences, such as all features being in data_config, are not reported."""
    (only,) = said(loaded(tmp_path, changed((old, new))))
    assert only.startswith("my.config:")
    says(only, *parts)


def test_faults_before_a_missing_brace_are_told_with_it(tmp_path):
    content = changed(("batch_size", "batch_sise"), ("FG_DAG\n}", "FG_DAG"), ("embedding", "em"))
    brace, field = said(loaded(tmp_path, content))
    assert brace.startswith("my.config:9: data_config is not closed")
    assert field.startswith("my.config:10: data_config.batch_sise: no such field")


def test_all_open_quotes_are_told(tmp_path):
    content = changed(('"train.parquet"', '"train.parquet'), ('"model"', "'model"))
    assert [line.partition(": this quote")[0] for line in said(loaded(tmp_path, content))] == [
        "my.config:1",
        "my.config:3",
    ]


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ('["click", "buy"]', "[click, buy]", "data_config.label_fields"),
        ('feature_name: "user"', "feature_name: user", "feature_configs[0].id_feature.feature_na"),
        ("hidden_units: [4]", "hidden_units: [four]", "model_config.mmoe.expert_mlp.hidden_units"),
        ('group_name: "all"', "group_name: all", "model_config.feature_groups[0].group_name"),
        ("mmoe {", "ple {", "model_config.ple"),
        ("feature_names:", "features:", "model_config.feature_groups[0].features"),
        ("hidden_units:", "units:", "model_config.mmoe.expert_mlp.units: no such field; did you"),
        ("label_fields:", "labels:", "data_config.labels"),
        ('feature_names: ["user", ', "feature_names: [user, ", "model_config.feature_groups[0].fe"),
    ],
)
def test_what_cannot_be_read_is_not_also_said_to_be_missing(tmp_path, old, new, path):
    found = said(loaded(tmp_path, changed((old, new))))
    assert found
    assert all(f": {path}" in line for line in found)


@pytest.mark.parametrize(
    ("old", "word", "system"),
    [
        ("mmoe {", "pepnet {", "TorchEasyRec"),
        ("expert_mlp {", "bias_tower {", "EasyRec"),
        ("{ id_feature {", "{ sequence_feature {", "TorchEasyRec"),
        ("{ auc {", "{ xauc {", "TorchEasyRec"),
        ("batch_size:", "batch_cost_size:", "TorchEasyRec"),
        ("losses {", "bottom_cmbf {} losses {", "EasyRec"),
        ("feature_groups {", "feature_groups { sequence_groups {}", "TorchEasyRec"),
        ("feature_names:", "tag_feature {} feature_names:", "EasyRec"),
    ],
)
def test_a_neighbours_word_is_not_supported_yet_rather_than_unknown(tmp_path, old, word, system):
    found = said(loaded(tmp_path, changed((old, word))))
    assert any(f"a word of {system} that tzmmoe does not support yet" in line for line in found)


def test_a_word_that_the_schema_has_learned_is_no_longer_listed_as_a_neighbours():
    assert not set(WORDS) & {field.name for field in all_fields()}


@pytest.mark.parametrize("name", ["my.config", "my.json"])
@pytest.mark.parametrize("content", ["", " \n\t\n", "# a comment alone", "{}"])
def test_a_config_without_fields_has_one_fault(tmp_path, name, content):
    assert len(said(loaded(tmp_path, content, name))) == 1


@pytest.mark.parametrize("opening", ["{", "a {", "a: [{", '{"a":', "["])
@pytest.mark.parametrize("name", ["my.config", "my.json"])
def test_braces_within_braces_without_end_are_a_fault_and_no_crash(tmp_path, opening, name):
    found = said(loaded(tmp_path, opening * 5000, name))
    assert 1 <= len(found) <= 2
    assert all(line.startswith(f"{name}:1: ") for line in found)


def test_faults_of_json_have_lines_and_paths_too(tmp_path):
    content = json_format.MessageToDict(read(CONFIG), preserving_proto_field_name=True)
    content["data_config"] |= {"batch_size": "many", "label_fields": "click", "shufle": True}
    content["model_config"]["mmoe"]["expert_mlp"]["hiddenUnits"] = [4, None, "x"]
    content["feature_configs"][1] = 7
    written = json.dumps(content, indent=1)

    def place(mark: str) -> str:
        return f"my.json:{1 + written[: written.index(mark)].count(chr(10))}: "

    units = "model_config.mmoe.expert_mlp.hidden_units"
    all_say(
        said(loaded(tmp_path, written, "my.json")),
        (place('"batch_size"') + "data_config.batch_size: is many; ", "whole number"),
        (place('"label_fields"') + 'data_config.label_fields: is "click"; ', "a list [...]"),
        (place('"shufle"') + "data_config.shufle: no such field; ", "'shuffle'?"),
        (place("  7,") + "feature_configs[1]: is 7; ", "an object {...}"),
        (place('"hidden_units"') + f"{units}: ", "set twice"),
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{\n"model_dir": 3,\n}', "my.json:3: is not JSON"),
        ("[]", "my.json:1: is not a JSON object; write"),
        ("3", "my.json:1: is not a JSON object; write"),
        ('{"model_dir": "a", "model_dir": "b"}', "my.json:1: one object has 'model_dir' 2 times"),
        ('{"data_config": []}', "my.json:1: data_config: is a list; give an object"),
        ('{"data_config": {"batch_size": true}}', "data_config.batch_size: is true"),
    ],
)
def test_json_that_is_no_config_says_why(tmp_path, content, words):
    assert words in said(loaded(tmp_path, content, "my.json"))[0]
