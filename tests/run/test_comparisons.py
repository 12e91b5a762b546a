"""A loss that never has rows to compare is warned of: once in training, once in evaluation."""

import logging
from pathlib import Path

import pyarrow as pa
import pytest
from e2e import tiny
from messages import says
from run.runs import ONE_EPOCH

SESSION = 'session_name: "row"'  # each row is a session of its own
LOSSES = [
    "pair_wise_loss { SESSION }",
    "pairwise_logistic_loss { SESSION }",
    "pairwise_focal_loss { SESSION hinge_margin: -9 }",
    "pairwise_hinge_loss { SESSION ohem_ratio: 0.5 }",
    "jrc_loss { SESSION }",
    "jrc_loss { SESSION same_label_loss: false }",
]


def warned(folder: Path, place: Path, caplog, text: str, **changes: object) -> list[str]:
    """The warnings of a run whose first tower has the loss too, or for jrc_loss alone."""
    tower, other = 'tower_name: "ctr"', "      losses { binary_cross_entropy {} }\n"
    config = (folder / "tiny.config").read_text()
    if "jrc" in text:
        config = config.replace(tower, f"{tower} num_class: 2", 1).replace(other, "", 1)
    config = config.replace(tower, f"{tower} losses {{ {text} }}", 1)
    place.mkdir(exist_ok=True)
    (place / "tiny.config").write_text(config)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "tzmmoe"):
        tiny.pipeline(place, place / "run", data_config__num_workers=0, **changes).fit()
    return [r.message for r in caplog.records if "nothing to compare" in r.message]


@pytest.mark.parametrize("text", LOSSES)
def test_sessions_of_one_row_are_warned_of_once_in_training_and_once_in_evaluation(
    tiny_folder, tmp_path, caplog, text: str
) -> None:
    text = text.replace("SESSION", SESSION)
    lines = warned(tiny_folder, tmp_path, caplog, text, train_config__num_epochs=2)
    assert len(lines) == 2
    word = text.partition(" ")[0]
    for line in lines:
        says(line, "task 'ctr'", word, "'row'", "session_name", "data_config.batch_size", "'click'")
    assert sorted("13 batches of epoch 1" in line for line in lines) == [False, True]


@pytest.mark.parametrize("text", LOSSES)
def test_where_rows_are_compared_nothing_is_said(tiny_folder, tmp_path, caplog, text: str) -> None:
    text = text.replace("SESSION", 'session_name: "user"')
    assert not warned(tiny_folder, tmp_path, caplog, text, **ONE_EPOCH)


def test_a_label_with_one_value_only_is_warned_of_without_sessions_too(
    tiny_folder, tmp_path, caplog
) -> None:
    """Of the evaluation's files only: training has both."""
    rows = tiny.rows(0, 20)
    rows = rows.set_column(rows.column_names.index("click"), "click", pa.array([1] * 20))
    file = tiny.write(rows, tmp_path / "eval.parquet")
    changes = ONE_EPOCH | {"eval_input_path": file}
    [line] = warned(tiny_folder, tmp_path / "run", caplog, "pair_wise_loss {}", **changes)
    says(line, "pair_wise_loss", "evaluation", "'click'", "data_config.batch_size")
    assert "session" not in line


def test_a_loss_of_weight_0_is_not_warned_of(tiny_folder, tmp_path, caplog) -> None:
    text = f"pair_wise_loss {{ {SESSION} }}"
    changes = ONE_EPOCH | {"model_config.mmoe.task_towers[0].weight": 0}
    assert not warned(tiny_folder, tmp_path, caplog, text, **changes)
