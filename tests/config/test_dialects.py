"""Other names and old forms mean the same as the canonical ones; a contradiction is a fault."""

import pytest
from written import CONFIG, all_fields, changed, loaded, read, said

from tzmmoe.config.dialects import ALIASES, messages

FG = "fg_mode: FG_DAG"
COLUMNS = "input_fields { input_name: 'a' input_type: %s } input_fields { input_name: 'b' }"


@pytest.mark.parametrize(
    ("old", "form", "canonical"),
    [
        ("num_expert: 2", "expert_num: 5", "num_expert: 5"),
        ("num_expert: 2", "expert_num: 5 num_expert: 5", "num_expert: 5"),
        ("auc {}", "auc { num_thresholds: 7 }", "auc { thresholds: 7 }"),
        ("auc {}", "auc { num_thresholds: 7 thresholds: 7 }", "auc { thresholds: 7 }"),
        (FG, "fg_encoded: true", "fg_mode: FG_NONE"),
        (FG, "fg_encoded: true fg_mode: FG_NONE", "fg_mode: FG_NONE"),
        (FG, "fg_encoded: false", "fg_mode: FG_DAG"),
        (FG, "fg_encoded: false fg_threads: 4", "fg_mode: FG_DAG fg_threads: 4"),
        (FG, "fg_encoded: false fg_threads: 0", "fg_mode: FG_NORMAL fg_threads: 0"),
        (FG, "fg_encoded: false fg_mode: FG_NORMAL", "fg_mode: FG_NORMAL"),
        (FG, "fg_encoded: false fg_mode: FG_DAG", "fg_mode: FG_DAG"),
        (FG, f"{FG} input_fields_str: 'a:BIGINT;b'", f"{FG} {COLUMNS % 'INT64'}"),
        (FG, f"{FG} input_fields_str: ' a : bigint ; b ; '", f"{FG} {COLUMNS % 'INT64'}"),
        (FG, f"{FG} input_fields_str: 'a:INT;b'", f"{FG} {COLUMNS % 'INT32'}"),
        (FG, f"{FG} input_fields_str: 'a:STRING;b'", f"{FG} {COLUMNS % 'STRING'}"),
        (FG, f"{FG} input_fields_str: 'a:DOUBLE;b'", f"{FG} {COLUMNS % 'DOUBLE'}"),
        (FG, f"{FG} input_fields_str: 'a:FLOAT;b'", f"{FG} {COLUMNS % 'FLOAT'}"),
        (FG, f"{FG} input_fields_str: 'a:BOOLEAN;b'", f"{FG} {COLUMNS % 'BOOL'}"),
    ],
)
def test_another_form_is_rewritten_into_the_canonical_one(tmp_path, old, form, canonical):
    config = loaded(tmp_path, changed((old, form)))
    assert said(config) == []
    assert config.pipeline == read(changed((old, canonical)))


@pytest.mark.parametrize(
    ("old", "form", "path", "words"),
    [
        ("num_expert: 2", "num_expert: 2 expert_num: 3", "model_config.mmoe.expert_num",
         "is 3, but num_expert, which means the same, is 2; keep num_expert"),
        ("auc {}", "auc { thresholds: 2 num_thresholds: 3 }",
         "model_config.mmoe.task_towers[0].metrics[0].auc.num_thresholds", "keep thresholds"),
        (FG, f"{FG} fg_encoded: true", "data_config.fg_encoded",
         "is true, which fg_mode: FG_DAG contradicts; keep fg_mode"),
        (FG, "fg_mode: FG_NONE fg_encoded: false", "data_config.fg_encoded",
         "is false, which fg_mode: FG_NONE contradicts; keep fg_mode"),
        (FG, "fg_mode: FG_BUCKETIZE fg_encoded: false", "data_config.fg_encoded", "FG_BUCKETIZE"),
        (FG, f"{FG} input_fields_str: 'a:INT' input_fields {{ input_name: 'a' input_type: INT32 }}",
         "data_config.input_fields_str", "and input_fields are both set; keep one"),
        (FG, f"{FG} input_fields_str: 'a:TEXT'", "data_config.input_fields_str",
         "'a:TEXT': no type 'TEXT'; give one of BIGINT, "),
        (FG, f"{FG} input_fields_str: 'a:INT;:INT'", "data_config.input_fields_str",
         "':INT' has no name; write name:TYPE"),
        (FG, f"{FG} input_fields_str: 'a:INT;a:INT'", "data_config.input_fields",
         "'a' is there 2 times"),
    ],
)  # fmt: skip
def test_two_forms_that_contradict_each_other_are_a_fault(tmp_path, old, form, path, words):
    found = said(loaded(tmp_path, changed((old, form))))
    assert any(f": {path}: " in line and words in line for line in found), found


def test_the_schema_marks_every_other_name_as_deprecated_and_nothing_else():
    marked = {
        (field.containing_type.name, field.name)
        for field in all_fields()
        if field.GetOptions().deprecated
    }
    rewritten = {(name, alias) for name, pairs in ALIASES.items() for alias in pairs}
    assert marked == rewritten | {("DataConfig", "fg_encoded")}


def test_no_other_name_is_left_in_a_canonical_config(tmp_path):
    content = changed(
        ("num_expert", "expert_num"),
        (FG, "fg_encoded: false"),
        ("auc {}", "auc { num_thresholds: 9 }"),
    )
    pipeline = loaded(tmp_path, content).pipeline
    for _, message in messages(pipeline):
        assert not [field for field, _ in message.ListFields() if field.GetOptions().deprecated]


def test_every_message_that_is_set_is_visited_with_its_path():
    found = {path: message.DESCRIPTOR.name for path, message in messages(read(CONFIG))}
    assert found[""] == "Pipeline"
    assert found["feature_configs[2].raw_feature"] == "RawFeature"
    assert found["model_config.mmoe.task_towers[0].metrics[0].auc"] == "AUC"
    assert found["train_config.sparse_optimizer.constant_learning_rate"] == "ConstantLR"
    assert "eval_config" not in found
