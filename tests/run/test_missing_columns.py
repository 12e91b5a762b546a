"""A column that the files lack is reported with the field of the config that reads it."""

import pytest
from e2e import tiny
from messages import fails

from tzmmoe.errors import DataError

TOWER = "model_config.mmoe.task_towers[0]"
METRICS = f"{TOWER}.metrics[0]"
PAIRS = "pair_wise_loss.session_name"
READ_BY = [  # a change to the config, and the field that then reads the column
    ({f"{METRICS}.gauc": '{ uid_field: "gone" }'}, "gauc.uid_field"),
    ({f"{METRICS}.session_auc": '{ session_id_field: "gone" }'}, "session_auc.session_id_field"),
    ({f"{METRICS}.grouped_auc": '{ grouping_key: "gone" }'}, "grouped_auc.grouping_key"),
    ({f"{TOWER}.losses[0].pair_wise_loss": '{ session_name: "gone" }'}, PAIRS),
    ({f"{TOWER}.task_space_indicator_label": "gone",
      "data_config.label_fields": '["click", "buy", "gone"]'}, "task_space_indicator_label"),
    ({f"{TOWER}.task_space_indicator_name": "gone",
      f"{TOWER}.task_space_indicator_value": "1"}, "task_space_indicator_name"),
    ({f"{TOWER}.sample_weight_name": "gone",
      "data_config.sample_weight_fields": '["importance", "gone"]'}, "sample_weight_name"),
    ({f"{TOWER}.label_name": "gone", "data_config.label_fields": '["gone", "buy"]'}, "label"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "field"), READ_BY, ids=lambda value: str(value))
def test_a_missing_column_names_the_field_and_the_task(
    tiny_folder, tmp_path, changes, field: str
) -> None:
    with fails(DataError, f"no column 'gone' ({'the ' * (field == 'label')}{field}", "task 'ctr'"):
        tiny.pipeline(tiny_folder, tmp_path, **changes).fit()


def test_a_missing_column_of_a_feature_names_the_feature(tiny_folder, tmp_path) -> None:
    changes = {"feature_configs[0].id_feature.expression": "user:member"}
    with fails(DataError, "no column 'member' (feature 'user')"):
        tiny.pipeline(tiny_folder, tmp_path, **changes).fit()


def test_a_missing_column_to_split_by_names_the_setting(tiny_folder, tmp_path) -> None:
    changes = {"data_config.eval_split": '{ fraction: 0.2 by: "gone" }', "eval_input_path": ""}
    with fails(DataError, "no column 'gone' (data_config.eval_split.by)"):
        tiny.pipeline(tiny_folder, tmp_path, **changes).fit()
