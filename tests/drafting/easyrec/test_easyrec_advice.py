"""What the faults of a pipeline advise: where a field belongs, what to set, what to remove."""

from pathlib import Path

import pytest
from drafting.easyrec.component_forms import GROUP, components
from drafting.easyrec.pipelines import BUILT_IN, line_of, refused
from messages import fails, says
from written import changed

from tzmmoe import convert
from tzmmoe.errors import ConfigError

BATCH, CLASS, STEPS = "batch_size: 16", 'model_class: "MMoE"', "num_steps: 6"
MISPLACED = [  # what is moved, and where it belongs
    (BATCH, "num_steps: 3", "data_config.num_steps", "in train_config"),
    (STEPS, "batch_size: 3", "train_config.batch_size", "data_config"),
    ("model_dir:", "eval_batch_size: 4", "eval_batch_size", "in data_config"),
    (BATCH, "learning_rate: 0.1", "data_config.learning_rate", "train_config.optimizer_config"),
    (BATCH, "features {}", "data_config.features", "in feature_config"),
    ("eval_config {", "best_exporter_metric: 'auc'", "best_exporter_metric", "in export_config"),
    (CLASS, "optimizer_config {}", "model_config.optimizer_config", "in train_config"),
    (CLASS, "separator: ','", "model_config.separator", "data_config"),
    ("num_expert: 3", "feature_groups {}", "model_config.mmoe.feature_groups", "in model_config"),
    ("hash_bucket_size: 40", "group_name: 'a'", "group_name", "in model_config.feature_groups"),
]


def one(folder: Path, *changes: tuple[str, str]) -> str:
    [said] = refused(folder, changed(*changes, text=BUILT_IN))
    return said


@pytest.mark.parametrize(("beside", "moved", "path", "place"), MISPLACED)
def test_a_field_in_another_message_is_told_where_it_belongs(
    tmp_path: Path, beside: str, moved: str, path: str, place: str
) -> None:
    new = f"{moved} {beside}" if beside == "model_dir:" else f"{beside} {moved}"
    said = one(tmp_path, (beside, new))
    line = line_of(changed((beside, new), text=BUILT_IN), moved)
    says(said, f":{line}: ", path, "belongs", place)


def test_the_optimizers_are_listed_without_gaps(tmp_path: Path) -> None:
    said = one(tmp_path, ("use_moving_average: false", "zzz {}"))
    says(said, "adam_async_optimizer", "lazy_adam_optimizer", "sgd_optimizer", "ftrl_optimizer")


def test_a_feature_that_is_listed_twice_has_the_line_of_the_second(tmp_path: Path) -> None:
    again = 'features { input_names: "user" hash_bucket_size: 7 embedding_dim: 4 }\n  '
    old = 'features { input_names: "price"'
    said = one(tmp_path, (old, again + old))
    line = line_of(changed((old, again + old), text=BUILT_IN), again)
    says(said, f":{line}: feature_config.features[2]", "'user'", "features[0]", "keep one")


def test_early_stopping_without_a_metric_names_the_field_and_what_to_give(tmp_path: Path) -> None:
    stops = "export_config { enable_early_stop: true }\nmodel_config {"
    said = one(tmp_path, ("model_config {", stops))
    line = line_of(changed(("model_config {", stops), text=BUILT_IN), "export_config")
    says(said, f":{line}: export_config.enable_early_stop", "best_exporter_metric", "auc_ctr")


def test_a_label_without_a_name_is_refused(tmp_path: Path) -> None:
    label = 'label_fields: "buy"'
    said = one(tmp_path, (label, f'{label} label_fields: ""'))
    says(said, "data_config.label_fields[2]", "''", "remove it")


def test_a_metric_that_does_not_suit_its_loss_names_those_that_do(tmp_path: Path) -> None:
    said = one(tmp_path, ("loss_type: CLASSIFICATION", "loss_type: L2_LOSS"))
    says(said, "task_towers[0].metrics_set[0]", "auc", "mean_squared_error", "another loss")


LAYER = 'keras_layer { class_name: "MLP" mlp { hidden_units: [6] } }'
DEEP = components(f'blocks {{ name: "a" {GROUP} {LAYER} }}')
SETTINGS = [  # a setting of st_params, what is said of its value, and what it takes
    ("hidden_units", 'string_value: "x"', "'x'", "whole number"),
    ("hidden_units", "number_value: 2.5", "2.5", "whole number"),
    ("hidden_units", "number_value: -3", "-3", "0 or more"),
    ("hidden_units", 'list_value { values { string_value: "a" } }', "['a']", "whole number"),
    ("use_bn", 'string_value: "yes"', "'yes'", "true or false"),
    ("activation", "number_value: 3", "is 3", "a string"),
    ("dropout_ratio", 'string_value: "0.2"', "'0.2'", "number_value"),
]


@pytest.mark.parametrize(("key", "value", "shown", "wanted"), SETTINGS)
def test_a_setting_of_another_type_says_what_it_takes_in_words_of_the_config(
    tmp_path: Path, key: str, value: str, shown: str, wanted: str
) -> None:
    params = f'st_params {{ fields {{ key: "{key}" value {{ {value} }} }} }}'
    layer = f'keras_layer {{ class_name: "MLP" {params} }}'
    said = "\n".join(refused(tmp_path, changed((LAYER, layer), text=DEEP)))
    says(said, "st_params.fields[0].value", key, shown, wanted)
    for word in ("object", "argument type", "must be real", "out of range"):
        assert word not in said


def test_an_unknown_layer_may_be_one_of_the_users(tmp_path: Path) -> None:
    layer = 'keras_layer { class_name: "Squash" }'
    said = "\n".join(refused(tmp_path, changed((LAYER, layer), text=DEEP)))
    says(said, "'Squash'", "--allow_modules", "class_name")


def test_the_converter_takes_the_flag_that_it_names_for_a_dotted_path(
    tmp_path: Path, capsys
) -> None:
    theirs, out = tmp_path / "theirs.config", tmp_path / "ours.config"
    layer = 'keras_layer { class_name: "torch.nn.Identity" }'
    theirs.write_text(changed((LAYER, layer), text=DEEP))
    flags = ["easyrec", "--config", str(theirs), "--out", str(out)]
    with fails(ConfigError, "torch.nn.Identity", "--allow_modules torch.nn"):
        convert.main(flags)
    convert.main([*flags, "--allow_modules", "torch"])
    assert f"--pipeline_config {out} --allow_modules torch\n" in capsys.readouterr().out
    assert "torch.nn.Identity" in out.read_text()


ONE_TASK = ('model_class: "MultiTaskModel"', 'model_class: "RankModel"')


def test_a_rank_model_of_two_towers_says_what_to_write(tmp_path: Path) -> None:
    [said] = refused(tmp_path, changed(ONE_TASK, text=DEEP))
    says(said, "model_config.model_class", "one task", "2 task_towers", "'MultiTaskModel'")


def test_a_rank_model_of_two_labels_says_which_it_learns(tmp_path: Path, caplog) -> None:
    theirs = tmp_path / "theirs.config"
    without = DEEP[: DEEP.index("model_params")] + "model_params {}\n}\n"
    theirs.write_text(changed(ONE_TASK, text=without))
    convert.main(["easyrec", "--config", str(theirs), "--out", str(tmp_path / "ours.config")])
    [line] = {r.message for r in caplog.records if "RankModel" in r.message}
    says(line, "model_config.model_class", "clk", "buy", "label_name", "MultiTaskModel")
