"""What a pipeline's faults advise: where a field belongs, what is 0, what is listed twice."""

from pathlib import Path

import pytest
from drafting.easyrec.pipelines import BUILT_IN, line_of, refused
from messages import says
from written import changed

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
