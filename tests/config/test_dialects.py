"""Other names and old forms mean the same as the canonical ones; a contradiction is a fault."""

import pytest
from written import CONFIG, all_fields, changed, loaded, read, said, said_of_all

from tzmmoe.config.dialects.easyrec.models import WORDS
from tzmmoe.config.dialects.torcheasyrec import ALIASES
from tzmmoe.config.walk import messages

FG = "fg_mode: FG_DAG"
DENSE = "dense_optimizer { adam_optimizer { lr: 0.01 } constant_learning_rate {}"
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
        (DENSE, f"{DENSE} ema {{}}", f"{DENSE} }} ema {{"),
        (DENSE, f"{DENSE} ema {{ decay: 0.9 }}", f"{DENSE} }} ema {{ decay: 0.9"),
        (DENSE, f"{DENSE} ema {{}} }} ema {{", f"{DENSE} }} ema {{"),
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
         "num_expert is 2; keep num_expert"),
        ("auc {}", "auc { thresholds: 2 num_thresholds: 3 }",
         "model_config.mmoe.task_towers[0].metrics[0].auc.num_thresholds", "keep thresholds"),
        (FG, f"{FG} fg_encoded: true", "data_config.fg_encoded",
         "is true, which fg_mode: FG_DAG contradicts; keep fg_mode"),
        (FG, "fg_mode: FG_NONE fg_encoded: false", "data_config.fg_encoded",
         "is false, which fg_mode: FG_NONE contradicts; keep fg_mode"),
        (FG, "fg_mode: FG_BUCKETIZE fg_encoded: false", "data_config.fg_encoded", "FG_BUCKETIZE"),
        (FG, f"{FG} input_fields_str: 'a:INT' input_fields {{ input_name: 'a' input_type: INT32 }}",
         "data_config.input_fields_str", "is set, and so is input_fields; keep one"),
        (FG, f"{FG} input_fields_str: 'a:TEXT'", "data_config.input_fields_str",
         "unknown type 'TEXT'; give one of BIGINT, "),
        (FG, f"{FG} input_fields_str: 'a:INT;:INT'", "data_config.input_fields_str",
         "':INT' has no name; write name:TYPE"),
        (FG, f"{FG} input_fields_str: 'a:INT;a:INT'", "data_config.input_fields_str",
         "'a' is listed twice"),
        (DENSE, f"{DENSE} ema {{ decay: 0.9 }} }} ema {{", "train_config.dense_optimizer.ema",
         "is set, and so is train_config.ema; keep train_config.ema"),
    ],
)  # fmt: skip
def test_two_forms_that_contradict_each_other_are_a_fault(tmp_path, old, form, path, words):
    found = said(loaded(tmp_path, changed((old, form))))
    assert any(f": {path}: " in line and words in line for line in found), found


@pytest.mark.parametrize("part", ["eval_config", "export_config"])
def test_use_dense_ema_says_what_is_so_anyway_or_is_a_fault(tmp_path, part):
    switched = {
        value: f"{part} {{ use_dense_ema: {value} }} train_config {{" for value in ("true", "false")
    }
    averaged = (DENSE, f"{DENSE} }} ema {{")
    path = f": {part}.use_dense_ema: "
    for value, changes in (("true", [averaged]), ("false", [])):
        config = loaded(tmp_path, changed(("train_config {", switched[value]), *changes))
        assert said(config) == []
        assert not getattr(config.pipeline, part).HasField("use_dense_ema")
    [found] = said(loaded(tmp_path, changed(("train_config {", switched["true"]))))
    assert path in found
    assert "set train_config.ema {}" in found
    [found] = said(loaded(tmp_path, changed(("train_config {", switched["false"]), averaged)))
    assert path in found
    assert "averages are always used; remove this, or train_config.ema" in found


ONE = ("sparse_optimizer { adagrad_optimizer { lr: 0.01 } constant_learning_rate {} }", "")
TWO = "dense_optimizer { adam_optimizer { lr: 0.01 } constant_learning_rate {} }"
V2 = [
    ("mmoe {", "mmoe_v2 { mmoe_group: 'all' num_experts: 2 expert_layers: 3"),
    ("expert_mlp { hidden_units: [4] }", "task_structs { units: [4, 1] }"),
    ("num_expert: 2", "task_structs { units: 1 }"),
]


@pytest.mark.parametrize(
    ("changes", "line", "path", "words"),
    [
        ([("num_expert: 2", "expert_num: 0")], 22, "model_config.mmoe.expert_num",
         "is 0; give 1 or more"),
        ([("auc {}", "auc { num_thresholds: 1 }")], 27,
         "model_config.mmoe.task_towers[0].metrics[0].auc.num_thresholds", "is 1; give 0 for the"),
        ([(FG, f"{FG} input_fields_str: 'a:INT;:INT'")], 13, "data_config.input_fields_str",
         "':INT' has no name; write name:TYPE"),
        ([ONE, (TWO, "optimizer { adam_optimizer { lr: -1 } }")], 6,
         "train_config.optimizer.adam_optimizer.lr", "is -1; give 0 or more"),
        ([ONE, (TWO, "optimizer { sgd_optimizer {} cosine_annealing_learning_rate {} }")], 6,
         "train_config.optimizer.cosine_annealing_learning_rate.T_max", "is not set; give 1 or"),
        ([*V2, ("num_experts: 2", "num_experts: 2 task_output_act: 'rleu'")], 20,
         "model_config.mmoe_v2.task_output_act", "is 'rleu'; give one of relu, "),
        ([*V2, ("num_experts: 2", "num_experts: 2 task_output_act: 'softmax'")], 20,
         "model_config.mmoe_v2.task_output_act", "the tower has 1 logit; give 'sigmoid'"),
        ([*V2, ("units: [4, 1]", "units: [4, 3]")], 21,
         "model_config.mmoe_v2.task_structs[0].units[1]", "is 3; binary_cross_entropy takes 1"),
    ],
)  # fmt: skip
def test_a_fault_of_what_is_rewritten_is_told_once_where_it_was_written(
    tmp_path, changes, line, path, words
):
    [found] = said_of_all(loaded(tmp_path, changed(*changes)))
    assert found.startswith(f"my.config:{line}: {path}: ")
    assert words in found


def test_a_fault_of_what_is_rewritten_names_the_flag_that_set_it(tmp_path):
    [found] = said_of_all(
        loaded(
            tmp_path,
            changed(ONE, (TWO, "optimizer { adam_optimizer {} }")),
            settings=["train_config.optimizer.adam_optimizer.lr=-1"],
        )
    )
    assert found == "--set: train_config.optimizer.adam_optimizer.lr: is -1; give 0 or more"


def test_what_was_written_beside_a_rewritten_value_keeps_its_own_path(tmp_path):
    changes = (*V2, ('tower_name: "cvr"', 'tower_name: "cvr" num_class: 3'))
    [found] = said(loaded(tmp_path, changed(*changes)))
    assert ": model_config.mmoe_v2.task_towers[1].num_class: is 3, but task_structs[1]" in found


def test_the_schema_marks_every_other_name_as_deprecated_and_nothing_else():
    marked = {
        (field.containing_type.name, field.name)
        for field in all_fields()
        if field.GetOptions().deprecated
    }
    rewritten = {(name, alias) for name, pairs in ALIASES.items() for alias in pairs}
    of_easyrec = {(name, word) for name, words in WORDS.items() for word in words}
    averages = {("DenseOptimizer", "ema")}
    averages |= {(name, "use_dense_ema") for name in ("EvalConfig", "ExportConfig")}
    assert marked == rewritten | of_easyrec | averages | {("DataConfig", "fg_encoded")}


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
