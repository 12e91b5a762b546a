"""Values of the rows to evaluate that no table has a row for: told before training, once."""

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e import tiny
from messages import says

LISTED = 'feature_name: "city" embedding_dim: 3 vocab_list: [{}] default_bucketize_value: 0'
CITIES = ", ".join(f'"city{number}"' for number in range(6))
SET = {
    "feature_configs[3].id_feature": LISTED.format(CITIES),
    "train_config.num_epochs": 1,
    "train_config.gradient_accumulation_steps": 1,
}


def folder_with(tmp_path: Path, **columns: list) -> Path:
    """``columns`` of the rows to evaluate in place of those that are like training's."""
    folder = tiny.write_all(tmp_path)
    table = pq.read_table(folder / "eval.parquet")
    for name, values in columns.items():
        place = table.column_names.index(name)
        array = pa.array(values, table.schema.field(name).type)
        table = table.set_column(place, name, array)
    tiny.write(table, folder / "eval.parquet")
    return folder


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings about values."""
    words = ("not in its", "outside its")
    found = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    return [message for message in found if any(word in message for word in words)]


def act(folder: Path, how: str, **more: object) -> None:
    pipeline = tiny.pipeline(folder, folder / "model", **SET | more)
    pipeline.check() if how == "check" else pipeline.fit()


def users(share: float) -> list[int]:
    """Of the 60 rows to evaluate, so many have a user that the table of 20 rows does not hold."""
    outside = round(share * tiny.EVAL_ROWS)
    return [*range(20, 20 + outside), *np.arange(tiny.EVAL_ROWS - outside) % 20]


@pytest.mark.parametrize("how", ["check", "fit"])
def test_ids_outside_the_table_are_told_once_beside_their_share_in_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    act(folder_with(tmp_path, user=users(0.25)), how)
    [line] = warned(caplog)
    says(line, "user: 25.0% of the first 60 rows of eval_input_path", "table", "0.0%", "leave")


@pytest.mark.parametrize("how", ["check", "fit"])
def test_words_outside_the_vocabulary_are_told_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    cities = ["city1", "bergen", "city2", None] * (tiny.EVAL_ROWS // 4)
    act(folder_with(tmp_path, city=cities), how)
    [line] = warned(caplog)
    says(line, "city: 25.0% of the first 60 rows of eval_input_path", "vocabulary", "0.0%")


def test_it_is_told_before_the_first_step(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    act(folder_with(tmp_path, user=users(1)), "fit", train_config__log_step_count_steps=1)
    messages = [record.getMessage() for record in caplog.records]
    [told] = [n for n, message in enumerate(messages) if message.startswith("user: 100.0%")]
    assert told < min(n for n, message in enumerate(messages) if message.startswith("step 1 "))


@pytest.mark.parametrize("how", ["check", "fit"])
def test_rows_like_those_of_training_are_told_nothing_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    act(folder_with(tmp_path), how)
    assert not warned(caplog)


def test_what_training_lacks_as_often_does_not_surprise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A vocabulary of half the cities."""
    act(folder_with(tmp_path), "check", **{"feature_configs[3].id_feature": half_of_the_cities()})
    assert not warned(caplog)


def half_of_the_cities() -> str:
    return LISTED.format(", ".join(f'"city{number}"' for number in range(3)))


def test_a_few_ids_outside_the_table_are_told_where_they_are_met(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    act(folder_with(tmp_path, user=users(0.05)), "fit")
    [line] = warned(caplog)
    says(line, "user: 3 of 60 rows of eval_input_path", "num_buckets")


def test_the_files_of_the_final_evaluation_are_compared_as_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_with(tmp_path)
    table = tiny.rows(0, 40)
    place = table.column_names.index("user")
    tiny.write(table.set_column(place, "user", pa.array([99] * 40)), folder / "test.parquet")
    act(folder, "check", test_input_path=folder / "test.parquet")
    [line] = warned(caplog)
    says(line, "user: 100.0% of the first 40 rows of test_input_path", "0.0%")
