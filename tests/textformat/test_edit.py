"""--set and --edit_config_json: the same as writing it into the text, or a fault with the path."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import all_say
from written import (
    CONFIG,
    all_fields,
    changed,
    loaded,
    message_types,
    raises,
    read,
    said,
    said_of_all,
)

from tzmmoe.config.facts import FACTS
from tzmmoe.errors import ConfigError, Faults
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.textformat import edit as edits


def edit(message: Message, path: str, value: Any) -> list[str]:
    return edits.edit(message, path, value, FACTS)


CTR = "model_config.mmoe.task_towers[0]"
USER = "feature_configs[0].id_feature"
PRICE = "feature_configs[2].raw_feature"

# A path, a value as text, the same as JSON, and what stands in the text instead of what.
EDITS = [
    ("model_dir", "a b=c", "a b=c", '"model"', '"a b=c"'),
    ("model_dir", '"quoted"', "quoted", '"model"', '"quoted"'),
    ("model_dir", "7", 7, '"model"', '"7"'),
    ("model_dir", '"a"b"', '"a"b"', '"model"', '\'"a"b"\''),
    ("model_dir", '"a\\"', '"a\\"', '"model"', "'\"a\\\\\"'"),
    ("model_dir", "'", "'", '"model"', '"\'"'),
    ("data_config.batch_size", "16", 16, "batch_size: 8", "batch_size: 16"),
    ("data_config.batch_size", "0x10", 16.0, "batch_size: 8", "batch_size: 16"),
    ("data_config.shuffle", "true", True, "batch_size: 8", "batch_size: 8 shuffle: true"),
    ("data_config.shuffle", "False", 0, "batch_size: 8", "batch_size: 8 shuffle: false"),
    ("data_config.fg_mode", "FG_NONE", "FG_NONE", "FG_DAG", "FG_NONE"),
    ("data_config.delimiter", '"\\x1d"', "\x1d", "FG_DAG", 'FG_DAG delimiter: "\\x1d"'),
    ("runtime_config.seed", "7", 7, "train_config {", "runtime_config { seed: 7 } train_config {"),
    (f"{CTR}.weight", "1e-3", 0.001, '"ctr"', '"ctr" weight: 0.001'),
    ("data_config.label_fields", "a, b", ["a", "b"], '["click", "buy"]', '["a", "b"]'),
    ("data_config.label_fields", '["a,b", "c"]', ["a,b", "c"], '["click", "buy"]', '["a,b", "c"]'),
    ("data_config.label_fields", "a", "a", '["click", "buy"]', '["a"]'),
    ("data_config.label_fields", "[]", [], '["click", "buy"]', "[]"),
    ("data_config.label_fields[1]", "b,c", "b,c", '"buy"]', '"b,c"]'),
    ("data_config.label_fields[-1]", "'b'", "b", '"buy"]', '"b"]'),
    (f"{PRICE}.boundaries", "[1, 2.5,3]", [1, 2.5, 3], "[1, 2]", "[1, 2.5, 3]"),
    (f"{PRICE}.boundaries", "5", 5, "[1, 2]", "[5]"),
    (f"{PRICE}.boundaries[0]", "-1", -1, "[1, 2]", "[-1, 2]"),
    (f"{USER}.num_buckets", "7", 7, "hash_bucket_size: 10", "num_buckets: 7"),
    (f"{USER}.vocab_list", "a,b", ["a", "b"], "hash_bucket_size: 10", 'vocab_list: ["a", "b"]'),
    (
        f"{USER}.vocab_dict",
        '{"a": 2, "b": 3}',
        {"a": 2, "b": "3"},
        "hash_bucket_size: 10",
        'vocab_dict { key: "a" value: 2 } vocab_dict { key: "b" value: 3 }',
    ),
    (
        f"{USER}.vocab_dict",
        '{key: "a" value: 2}',
        {"a": 2},
        "hash_bucket_size: 10",
        'vocab_dict { key: "a" value: 2 }',
    ),
    (
        "train_config.sparse_optimizer.adagrad_optimizer",
        "{lr: 0.5 gradient_clipping: true}",
        {"lr": 0.5, "gradientClipping": True},
        "adagrad_optimizer { lr: 0.01 }",
        "adagrad_optimizer { lr: 0.5 gradient_clipping: true }",
    ),
    (
        "train_config.sparse_optimizer",
        "sgd_optimizer { lr: 1 } constant_learning_rate {}",
        {"sgd_optimizer": {"lr": 1}, "constant_learning_rate": {}},
        "{ adagrad_optimizer { lr: 0.01 } constant_learning_rate {} }",
        "{ sgd_optimizer { lr: 1 } constant_learning_rate {} }",
    ),
    (
        "train_config.sparse_optimizer.sgd_optimizer.lr",
        "0.1",
        0.1,
        "adagrad_optimizer { lr: 0.01 }",
        "sgd_optimizer { lr: 0.1 }",
    ),
    (
        "train_config.sparse_optimizer.sgd_optimizer",
        "{}",
        {},
        "adagrad_optimizer { lr: 0.01 }",
        "sgd_optimizer {}",
    ),
    (f"{CTR}.metrics", "logloss {}", [{"logloss": {}}], "{ auc {} }", "{ logloss {} }"),
    (f"{CTR}.metrics", "", [], "metrics { auc {} }", ""),
    (
        f"{CTR}.metrics",
        '{auc {thresholds: 3}} {grouped_auc {grouping_key: "}"}}',
        [{"auc": {"thresholds": 3}}, {"grouped_auc": {"grouping_key": "}"}}],
        "metrics { auc {} }",
        'metrics { auc { thresholds: 3 } } metrics { grouped_auc { grouping_key: "}" } }',
    ),
    (
        f"{CTR}.metrics",
        "[{auc {}}, {logloss {}}]",
        [{"auc": {}}, {"logloss": {}}],
        "metrics { auc {} }",
        "metrics { auc {} } metrics { logloss {} }",
    ),
    (f"{CTR}.metrics[0]", "{logloss {}}", {"logloss": {}}, "{ auc {} }", "{ logloss {} }"),
    (f"{CTR}.metrics[0].logloss.eta", "0.1", 0.1, "auc {}", "logloss { eta: 0.1 }"),
    (
        "feature_configs",
        '{id_feature {feature_name: "z"}}',
        [{"id_feature": {"feature_name": "z"}}],
        CONFIG[CONFIG.index("feature_configs") : CONFIG.index("model_config")],
        'feature_configs { id_feature { feature_name: "z" } }\n',
    ),
]


@pytest.mark.parametrize(("path", "text", "value", "old", "new"), EDITS)
def test_setting_a_field_is_the_same_as_writing_it_in_the_config(path, text, value, old, new):
    expected = read(changed((old, new)))
    by_text, by_json = read(CONFIG), read(CONFIG)
    edit(by_text, path, text)
    edit(by_json, path, value)
    assert by_text == expected
    assert by_json == expected


@pytest.mark.parametrize(
    ("index", "numbers"),
    [
        ("[0]", [0]),
        ("[-1]", [3]),
        ("[:]", [0, 1, 2, 3]),
        ("[1:3]", [1, 2]),
        ("[2:]", [2, 3]),
        ("[:-3]", [0]),
        ("[feature_name=b]", [1]),
        ("[embedding_dim=4]", [0, 2]),
        ("[embedding_dim=4;hash_bucket_size=10]", [0]),
        ("[pooling=mean]", [3]),
        ("[use_mask=true]", [2]),
        ("[out_of_range=MODULO]", [1]),
    ],
)
def test_an_index_chooses_elements_by_number_or_by_what_their_fields_hold(index, numbers):
    parts = [
        "hash_bucket_size: 10 embedding_dim: 4",
        "hash_bucket_size: 10 embedding_dim: 8 out_of_range: MODULO",
        "num_buckets: 10 embedding_dim: 4 use_mask: true",
        'num_buckets: 10 embedding_dim: 8 pooling: "mean"',
    ]
    text = " ".join(
        f'feature_configs {{ id_feature {{ feature_name: "{name}" {part} }} }}'
        for name, part in zip("abcd", parts, strict=True)
    )
    pipeline = read(text)
    where = edit(pipeline, f"feature_configs{index}.id_feature.value_dim", "3")
    found = [n for n, f in enumerate(pipeline.feature_configs) if f.id_feature.value_dim == 3]
    assert found == numbers
    assert where == [f"feature_configs[{n}].id_feature.value_dim" for n in numbers]


def test_a_setting_of_many_leaves_elements_of_another_kind_alone():
    pipeline = read(CONFIG)
    edit(pipeline, "feature_configs[:].id_feature.embedding_dim", "16")
    ids = CONFIG.replace("embedding_dim: 4", "embedding_dim: 16", 2)
    assert pipeline == read(ids)
    edit(pipeline, "feature_configs[feature_name=price].raw_feature.embedding_dim", "2")
    assert pipeline == read(changed(("embedding_dim: 4", "embedding_dim: 2"), text=ids))


def test_edits_of_json_follow_settings_and_all_apply_in_order(tmp_path):
    config = loaded(
        tmp_path,
        CONFIG,
        settings=["data_config.batch_size=1", "data_config.batch_size=2", "model_dir=a"],
        edits_json=json.dumps({"model_dir": "b", "data_config.shuffle": True}),
    )
    assert config.pipeline == read(
        changed(("batch_size: 8", "batch_size: 2 shuffle: true"), ('"model"', '"b"'))
    )


VALUES = {"input_fields": "{input_name: 'a'}", "vocab_dict": '{"a": 2}', "fg_mode": "FG_NONE"}
PAIRS = [
    (kind, first, second)
    for kind, groups in FACTS.exclusive.items()
    for group in groups
    for first in sorted(group)
    for second in sorted(group - {first})
]


@pytest.mark.parametrize(("kind", "first", "second"), PAIRS)
def test_setting_one_of_two_fields_that_exclude_each_other_clears_the_other(kind, first, second):
    message = message_types()[f"tzmmoe.protos.{kind}"]._concrete_class()
    for name in (first, second):
        is_message = message.DESCRIPTOR.fields_by_name[name].message_type is not None
        edit(message, name, VALUES.get(name, "{}" if is_message else "1"))
    assert [field.name for field, _ in message.ListFields()] == [second]


def test_an_old_name_of_a_field_and_the_new_one_exclude_each_other(tmp_path):
    old = changed(("num_expert: 2", "expert_num: 2"))
    config = loaded(tmp_path, old, settings=["model_config.mmoe.num_expert=5"])
    assert said(config) == []
    assert config.pipeline.model_config.mmoe.num_expert == 5


def test_clearing_a_list_does_not_clear_what_it_excludes():
    pipeline = read(CONFIG)
    edit(pipeline, f"{USER}.vocab_list", "[]")
    assert pipeline == read(CONFIG)


def test_the_empty_text_unsets_a_message_and_empties_a_text():
    stopping = 'early_stopping { monitor: "val_loss" patience: 1 }'
    pipeline = read(changed(("num_epochs: 1", f"num_epochs: 1 {stopping}")))
    edit(pipeline, "train_config.early_stopping", "")
    assert not pipeline.train_config.HasField("early_stopping")
    assert pipeline == read(CONFIG)
    edit(pipeline, "model_dir", "")
    assert pipeline.model_dir == ""


def applied(*settings: str, text: str = CONFIG) -> tuple[Pipeline, list[str]]:
    """A pipeline after ``--set`` settings, and what is wrong with them."""
    pipeline, faults = read(text), Faults()
    made = edits.from_flags(settings, {}, None, faults)
    edits.apply(made, pipeline, FACTS, faults)
    return pipeline, [str(fault) for fault in faults]


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        (["feature_configs[0]="], [1, 2]),
        (["feature_configs[2]="], [0, 1]),
        (["feature_configs[-1]="], [0, 1]),
        (["feature_configs[0]=", "feature_configs[0]="], [2]),
        (["feature_configs[:2]="], [2]),
        (["feature_configs[:]="], []),
        (["feature_configs[feature_name=item]="], [0, 2]),
    ],
)
def test_an_empty_value_removes_elements_of_a_list_of_messages(settings, left) -> None:
    pipeline, faults = applied(*settings)
    assert not faults
    kept = [read(CONFIG).feature_configs[index] for index in left]
    assert list(pipeline.feature_configs) == kept


@pytest.mark.parametrize(("index", "left"), [("0", ["buy"]), ("-1", ["click"]), (":", [])])
def test_an_empty_value_removes_elements_of_a_list_of_scalars(index, left) -> None:
    pipeline, faults = applied(f"data_config.label_fields[{index}]=")
    assert not faults
    assert list(pipeline.data_config.label_fields) == left
    units = "model_config.mmoe.expert_mlp.hidden_units"
    pipeline, faults = applied(f"{units}=[8, 4, 2]", f"{units}[1]=")
    assert list(pipeline.model_config.mmoe.expert_mlp.hidden_units) == [8, 2]


def test_a_quoted_empty_text_is_a_value() -> None:
    pipeline, _ = applied('data_config.label_fields[0]=""')
    assert list(pipeline.data_config.label_fields) == ["", "buy"]


def test_null_in_json_removes_too(tmp_path) -> None:
    pipeline, faults = read(CONFIG), Faults()
    text = '{"feature_configs[0]": null, "data_config.label_fields[1]": null}'
    edits.apply(edits.from_flags([], {}, text, faults), pipeline, FACTS, faults)
    assert not faults
    assert len(pipeline.feature_configs) == 2
    assert list(pipeline.data_config.label_fields) == ["click"]


def test_what_cannot_be_removed_is_a_fault_and_stays() -> None:
    for setting in (
        "feature_configs[3]=",
        "feature_configs[feature_name=x]=",
        "feature_config[0]=",
    ):
        pipeline, faults = applied(setting)
        assert len(faults) == 1
        assert pipeline == read(CONFIG)


def test_faults_keep_the_lines_of_the_text_when_elements_are_removed_before_them(tmp_path) -> None:
    """And the flag that set a field, by its new place."""
    text = changed(('"price" boundaries: [1, 2]', '"price" boundaries: [2, 1]'))
    line = 1 + next(i for i, each in enumerate(text.splitlines()) if "[2, 1]" in each)
    gone = ["feature_configs[0]=", "model_config.feature_groups[0].feature_names[0]="]
    found = said_of_all(loaded(tmp_path, text, settings=gone))
    assert [each for each in found if each.startswith(f"my.config:{line}: feature_configs[2].raw")]
    dim = "feature_configs[2].raw_feature.embedding_dim=0"
    found = said_of_all(loaded(tmp_path, CONFIG, settings=[dim, *gone]))
    assert [each for each in found if each.startswith("--set: feature_configs[1].raw_feature.emb")]


ONEOFS = [
    (field.containing_type.full_name, other.name, field.name)
    for field in all_fields()
    if field.containing_oneof is not None
    for other in field.containing_oneof.fields
    if other != field
]


@pytest.mark.parametrize("kind", sorted({kind for kind, _, _ in ONEOFS}))
def test_setting_a_member_of_a_oneof_clears_the_others(kind):
    for _, first, second in (each for each in ONEOFS if each[0] == kind):
        message = message_types()[kind]._concrete_class()
        for name in (first, second):
            is_message = message.DESCRIPTOR.fields_by_name[name].message_type is not None
            edit(message, name, "{}" if is_message else "1")
        assert [field.name for field, _ in message.ListFields()] == [second]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("data_config.batch_sise", "1", "'batch_sise': no such field; did you mean 'batch_size'?"),
        ("batch_size", "1", "'batch_size': no such field here; it belongs in eval_config or"),
        (
            "model_config.pepnet.x",
            "1",
            "'pepnet': a word of TorchEasyRec .*not support",
        ),
        ("data_config.batch_size", "", "is empty; .*whole number"),
        ("data_config.batch_size", "many", "is many; .*whole number"),
        ("data_config.batch_size", "1.5", "is 1.5; .*whole number"),
        ("data_config.batch_size", "-1", "is -1; give 1 or more"),
        ("data_config.batch_size", 1.5, "is 1.5; .*whole number"),
        ("data_config.batch_size", None, "is null; .*one value"),
        ("data_config.batch_size", True, "is true, .*bool"),
        ("data_config.batch_size", [1], "is a list; .*one value"),
        ("data_config.batch_size", {"a": 1}, "is an object; .*one value"),
        ("model_dir", "caf\udce9", "is not valid UTF-8"),  # as Python gives a file name in Latin-1
        ("data_config.label_fields", ["caf\udce9"], "is not valid UTF-8"),
        (f"{USER}.vocab_dict", {"caf\udce9": 3}, "is not valid UTF-8"),
        ("data_config.shuffle", "yes", "is yes; give true or false"),
        ("data_config.shuffle", 2, "is 2; give true or false"),
        ("data_config.fg_mode", "FG_DOG", "is FG_DOG; give one of FG_NONE, .*mean 'FG_DAG'?"),
        ("data_config.fg_mode", 9, "is 9; give one of FG_NONE"),
        ("data_config.label_fields", {"a": 1}, r"\[0\]: is an object; .*one value"),
        ("data_config.label_fields[0]", ["a", "b"], "is a list; .*one value"),
        (f"{CTR}.weight", "heavy", "is heavy; give a number"),
        (f"{CTR}.metrics", "auc {} logloss {}", r"\[0\].logloss: is set, and so is auc; keep one"),
        (f"{CTR}.metrics[0]", "{auc {}} {logloss {}}", "element; .*one value"),
        (f"{CTR}.metrics", [{"auc": 3}], r"\[0\].auc: is 3; give an object"),
        (
            f"{CTR}.metrics[0]",
            "{auc {threshold: 3}}",
            "auc.threshold: no such field; .*'thresholds'?",
        ),
        ("data_config", "3", r"\.3: is a number .*without commas"),
        ("data_config", "x", r"\.x: no such field; .*batch_size, .* and [0-9]+ more"),
        ("train_config.optimizer", "adam", r"\.adam: no such field; did you mean 'adam_optimizer'"),
        ("data_config", [3], "is a list; give an object"),
        ("data_config", "{batch_size: 3} model_dir: 'x'", "one field; remove model_dir"),
        ("data_config", "{batch_size: 3} modle_dir: 'x'", ": modle_dir: no such field; did you"),
        ("data_config", "{batch_size: 3", "is not closed"),
        ("data_config", {"batch_sise": 3}, r"\.batch_sise: no such field; did you mean"),
        (f"{USER}.vocab_dict", {"a": "x"}, r"\.a: is x; .*whole number"),
        (f"{USER}.vocab_dict", [3], "is a list; give an object"),
        (f"{USER}.vocab_dict[0]", "3", "vocab_dict is a map; give it whole"),
        ("feature_configs", [4], r"\[0\]: is 4; give an object"),
        (f"{USER}.feature_name.x", "3", "feature_name has no fields"),
        ("model_dir[0]", "3", "model_dir is not repeated; leave out its index"),
        ("feature_configs.id_feature.x", "3", r"is repeated; .* feature_configs\[0"),
        ("feature_configs[3].id_feature.value_dim", "3", r"\[3\] .* 3 elements"),
        ("feature_configs[-4].id_feature.value_dim", "3", r"\[-4\] .* 3 elements"),
        (
            "feature_configs[].id_feature.value_dim",
            "3",
            r"\[\] is not an index; write \[0\], ",
        ),
        (
            "feature_configs[a].id_feature.value_dim",
            "3",
            r"\[a\] is not an index; write \[0\], ",
        ),
        ("feature_configs[3:].id_feature.value_dim", "3", "no element .* index"),
        ("feature_configs[feature_name=x].id_feature.value_dim", "3", "no element .* index"),
        ("feature_configs[feature_name=price].id_feature.value_dim", "3", "no element .* index"),
        ("data_config.label_fields[x=1]", "3", "no element .* index"),
        ("", "3", "is not a path; write names joined by dots"),
        ("model_dir.", "3", "is not a path; write names joined by dots"),
        ("data_config..batch_size", "3", "is not a path; write names joined by dots"),
        ("data_config[0", "3", "is not a path; write names joined by dots"),
    ],
)
def test_a_wrong_edit_names_the_path_and_changes_nothing(path, value, words):
    pipeline = read(CONFIG)
    escaped = "".join(f"\\{each}" if each in "[]" else each for each in path)
    with raises(escaped, words):
        edit(pipeline, path, value)
    assert pipeline == read(CONFIG)


def test_every_wrong_setting_is_told_at_once_after_its_flag(tmp_path):
    config = loaded(
        tmp_path,
        CONFIG,
        settings=["data_config.batch_size", "data_config.batch_size=x", "modeldir=3"],
        edits_json='{"data_config.shuffle": 7, "a[": 1}',
    )
    all_say(
        said(config),
        ("--set: 'data_config.batch_size' ", "PATH=VALUE"),
        ("--set data_config.batch_size: is x; ", "whole number"),
        ("--set modeldir: 'modeldir': ", "did you mean 'model_dir'?"),
        ("--edit_config_json data_config.shuffle: is 7; ", "true or false"),
        ("--edit_config_json a[: ", "names joined by dots", "a.b[0].c"),
    )


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ("{", "is not JSON: Expecting property name"),
        ("[]", "not a JSON object"),
        ("3", "not a JSON object"),
        ('{"model_dir": "a", "model_dir": "b"}', "one object has 'model_dir' 2 times"),
        ("[" * 100_000, "too deep"),
    ],
)
def test_edits_that_are_no_object_say_what_to_write(tmp_path: Path, edits, words):
    (only,) = said(loaded(tmp_path, CONFIG, edits_json=edits))
    assert only.startswith("--edit_config_json: ")
    assert words in only
    assert '{"path": value, ...}' in only


def test_an_edit_can_be_made_to_an_empty_config():
    pipeline = Pipeline()
    edit(pipeline, "model_config.mmoe.expert_mlp.hidden_units", "[8, 4]")
    assert pipeline == read("model_config { mmoe { expert_mlp { hidden_units: [8, 4] } } }")


NAMES = sorted({field.name for field in all_fields()})
INDICES = [
    "",
    "[0]",
    "[-1]",
    "[:]",
    "[1:]",
    "[9]",
    "[]",
    "[-:]",
    "[feature_name=user]",
    "[weight=0]",
]
SIMPLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
ANY_VALUE = st.recursive(
    SIMPLE
    | st.sampled_from(["{}", "{", "[", "[]", "{auc {}}", "{a: 1}", "[{}]", '{"a": 1}', "a,b"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*NAMES, ""]), inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def any_path(draw: st.DrawFn) -> str:
    """Mostly a way through the schema, now and then a step that leaves it."""
    steps, here = [], Pipeline.DESCRIPTOR
    for _ in range(draw(st.integers(1, 6))):
        known = [field.name for field in here.fields] if here else []
        name = draw(st.sampled_from(known or NAMES) if draw(st.integers(0, 19)) else st.text())
        field = here.fields_by_name.get(name) if here else None
        likely = ["[0]", "[:]"] if field is not None and field.is_repeated else [""]
        steps.append(name + draw(st.sampled_from(likely * 9 + INDICES)))
        here = field.message_type if field is not None else None
    return ".".join(steps)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(any_path(), ANY_VALUE)
def test_any_edit_is_made_or_raises_a_config_error_and_then_changes_nothing(path, value):
    pipeline, refused = read(CONFIG), False
    try:
        edit(pipeline, path, value)
    except ConfigError:
        refused = True
    assert not refused or pipeline == read(CONFIG)


def test_an_edit_of_the_length_of_a_run_replaces_the_other_length_unless_that_is_edited_too():
    """A config may have both; a flag that gives one means that one."""
    steps, epochs = "train_config.num_steps", "train_config.num_epochs"
    for flags, wanted in [
        ([f"{steps}=5"], (5, 0)),
        ([f"{epochs}=3"], (0, 3)),
        ([f"{steps}=5", f"{epochs}=3"], (5, 3)),
        ([f"{epochs}=3", f"{steps}=5"], (5, 3)),
    ]:
        pipeline = read(changed(("num_epochs: 1", "num_epochs: 1 num_steps: 9")))
        faults = Faults()
        edits.apply(edits.from_flags(flags, {}, None, faults), pipeline, FACTS, faults)
        train = pipeline.train_config
        assert (train.num_steps, train.num_epochs) == wanted
        assert not faults
