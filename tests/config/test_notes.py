"""A setting without effect gives exactly one line; a config that uses all it sets gives none."""

import pytest
from written import CONFIG, SHIPPED, changed, load, loaded, notes, said

BATCH, EPOCHS, MODE = "batch_size: 8", "num_epochs: 1", "FG_DAG"
CVR = 'tower_name: "cvr"'
EVAL = 'eval_input_path: "eval.parquet"'
DENSE, SPARSE = "adam_optimizer { lr: 0.01 }", "adagrad_optimizer { lr: 0.01 }"

# Changes to the config, and a part of the one line that they make.
NOTES = [
    ([(BATCH, "odps_data_quota_name: 'x'")], "odps_data_quota_name has no effect: MaxCompute"),
    ([(BATCH, "fg_threads: 2")], "fg_threads has no effect: use num_workers"),
    ([(BATCH, "shuffle_buffer_size: 2")], "shuffle_buffer_size has no effect without shuffle: t"),
    ([(BATCH, "fg_encoded_multival_sep: '|'")], "fg_encoded_multival_sep has no effect outside"),
    ([("data_config", "eval_config { reserved_columns: 'x' } data_config")],
     "eval_config.reserved_columns has no effect without predictions_path"),
    ([('["importance"]', '["importance", "spare"]')], "no tower uses these sample_weight_fields:"),
    ([('"buy"]', '"buy", "spare"]')], "no tower uses these label_fields: spare"),
    ([(CVR, f"{CVR} weight: 0")], "task_towers[1].weight is 0: the task 'cvr' is not learned"),
    ([(EPOCHS, "grad_clipping {}")], "train_config.grad_clipping has no effect; set clipping_typ"),
    ([(EPOCHS, "grad_clipping { clipping_type: 'norm' }")], "grad_clipping acts on the dense part"),
    ([(EPOCHS, "table_placement: REPLICATED global_embedding_constraints {}")],
     "global_embedding_constraints has no effect with table_placement: REPLICATED"),
    ([(EPOCHS, "gradient_accumulation_steps: 2")], "gradient_accumulation_steps acts on the dense"),
    ([(DENSE, "sgd_optimizer { lr: 0.01 dampening: 0.5 }")], "dampening has no effect"),
    ([(SPARSE, "rowwise_adagrad_optimizer { weight_decay_mode: L2 }")],
     "weight_decay_mode has no effect without weight_decay"),
    *(([(EVAL, ""), ("data_config", f"{text} data_config")], f"{name} has no effect without eval_i")
      for text, name in [("eval_config { num_steps: 3 }", "eval_config.num_steps"),
                         ("eval_config { predictions_path: 'x' }", "eval_config.predictions_path"),
                         ("export_config { best_exporter_metric: 'auc_ctr' }",
                          "export_config.best_exporter_metric")]),
    ([(EVAL, ""), (EPOCHS, "num_val_samples: 9")], "train_config.num_val_samples has no effect "),
    ([(EPOCHS, "tensorboard {}")], "train_config.tensorboard has no effect without profile_batch"),
    ([(CVR, f"{CVR} metrics {{ accuracy {{ top_k: 2 }} }}")],
     "task_towers[1].metrics: accuracy.top_k says nothing about 1 class"),
    ([("[4]", "[4] use_bn: true bias: true")], "mmoe.expert_mlp.bias has no effect with use_bn"),
]  # fmt: skip

# Changes that have an effect, although something close to them has none.
QUIET = [
    [],
    [(BATCH, "shuffle: true shuffle_buffer_size: 2")],
    [(MODE, "FG_NONE fg_encoded_multival_sep: '|'")],
    [('["importance"]', "[]"), ('sample_weight_name: "importance"', "")],
    [('label_name: "click"', ""), ('label_name: "buy"', "")],
    [("[4]", "[4] use_bn: true"), ("num_expert: 2", "gate_mlp { hidden_units: 2 bias: false }")],
    [("data_config", "eval_config { reserved_columns: 'x' predictions_path: 'y' } data_config")],
    [(CVR, f"{CVR} weight: 0.001")],
    [(DENSE, "sgd_optimizer { lr: 0.01 dampening: 0.5 momentum: 0.9 }")],
    [(SPARSE, "rowwise_adagrad_optimizer { weight_decay_mode: L2 weight_decay: 0.1 }")],
    [(EVAL, "")],
    [(EPOCHS, "num_samples: 9 num_val_samples: 9 tensorboard { profile_batch: 0 }")],
    [(EPOCHS, "train_speed_logger {} tensorboard { profile_batch: [1, 1] }")],
    [("data_config", "runtime_config { timeout: '1.5h' } data_config")],
]


@pytest.mark.parametrize(("changes", "words"), NOTES)
def test_a_setting_without_effect_gives_exactly_one_line(tmp_path, changes, words):
    config = loaded(tmp_path, changed(*changes))
    assert said(config) == []  # it is no fault
    (only,) = notes(config)
    assert words in only


@pytest.mark.parametrize("changes", QUIET)
def test_a_setting_with_effect_gives_no_line(tmp_path, changes):
    config = loaded(tmp_path, changed(*changes))
    assert said(config) == []
    assert notes(config) == []


def test_settings_without_effect_give_a_line_each(tmp_path):
    alone = [changes for changes, _ in NOTES[:4]]
    joined = " ".join(new for ((_, new),) in alone)
    found = notes(loaded(tmp_path, changed((BATCH, joined))))
    assert len(found) == len(alone)


def test_a_norm_that_clipping_by_value_does_not_take_has_a_line_of_its_own(tmp_path):
    clipping = "grad_clipping { clipping_type: 'value' norm_type: 1 }"
    found = notes(loaded(tmp_path, changed((EPOCHS, clipping))))
    assert ["norm_type has no effect" in line for line in found] == [False, True]


def test_a_long_list_of_names_is_cut(tmp_path):
    names = ", ".join(f'"l{number}"' for number in range(9))
    (only,) = notes(loaded(tmp_path, changed(('"buy"]', f'"buy", {names}]'))))
    assert only == "no tower uses these label_fields: l0, l1, l2, l3, l4 and 4 more"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_config_sets_nothing_without_effect(path):
    assert notes(load(path)) == []


def test_the_small_config_of_these_tests_is_quiet(tmp_path):
    assert notes(loaded(tmp_path, CONFIG)) == []
