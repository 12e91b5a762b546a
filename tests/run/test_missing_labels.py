"""A join that failed shows: labels that are missing are counted, doubted, and refused."""

import logging
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e import tiny
from run.runs import ONE_EPOCH

from tzmmoe.data.quality import NoLabelsError, Quality
from tzmmoe.errors import DataError
from tzmmoe.system import checkpoint

ROWS = sum(tiny.FILES)
QUIET = {"data_config__num_workers": 0, "eval_input_path": ""}


def with_labels(source: Path, folder: Path, kept: int, column: str = "buy") -> Path:
    """The tiny data with the first ``kept`` values of a label, all others missing."""
    shutil.copytree(source, folder)
    (folder / "tiny.config").write_text(
        (source / "tiny.config").read_text().replace(str(source), str(folder))
    )
    for file in sorted((folder / "train").iterdir()):
        rows = pq.read_table(file)
        values = [n % 2 for n in range(min(kept, rows.num_rows))]
        kept -= len(values)
        values += [None] * (rows.num_rows - len(values))
        place = rows.column_names.index(column)
        labels = pa.array(values, pa.int64())
        pq.write_table(rows.set_column(place, column, labels), file)
    return folder


def fit(folder: Path, model_dir: Path, **changes: object) -> None:
    resumes = bool(checkpoint.find(model_dir))
    made = tiny.pipeline(folder, model_dir, **ONE_EPOCH | QUIET | changes)
    made.fit(continue_train=resumes)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_label_that_is_missing_in_all_rows_is_an_error(
    tiny_folder, tmp_path, num_workers
) -> None:
    folder = with_labels(tiny_folder, tmp_path / "data", 0)
    with pytest.raises(NoLabelsError) as raised:
        fit(folder, tmp_path / "run", data_config__num_workers=num_workers)
    message = str(raised.value)
    assert f"label 'buy' of task 'cvr' is missing in all {ROWS} rows" in message
    assert "join" in message
    assert "weight" in message
    assert "click" not in message
    assert "continue_train" not in message


def test_a_label_that_more_than_99_percent_lack_is_doubted(tiny_folder, tmp_path, caplog) -> None:
    """1 of 200 rows has it; with 2 of 200, exactly 99 %, it is not."""
    for kept, doubted in ((1, True), (2, False)):
        folder = with_labels(tiny_folder, tmp_path / f"data{kept}", kept)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "tzmmoe"):
            fit(folder, tmp_path / f"run{kept}")
        lines = [r.message for r in caplog.records if "is missing in all but" in r.message]
        assert bool(lines) is doubted


def test_the_table_of_the_first_epoch_has_the_share_of_missing_labels(
    tiny_folder, tmp_path, caplog
) -> None:
    with caplog.at_level(logging.INFO, "tzmmoe"):
        fit(tiny_folder, tmp_path / "run")
    rows = pa.concat_tables(pq.read_table(f) for f in (tiny_folder / "train").iterdir())
    share = rows["buy"].null_count / rows.num_rows
    assert 0 < share < 0.9
    (table,) = [r.message for r in caplog.records if r.message.startswith("values of the first")]
    (line,) = [line for line in table.splitlines() if line.startswith("label ")]
    assert line.split() == ["label", "buy", f"{share:.2%}"]


def test_a_task_without_weight_needs_no_labels(tiny_folder, tmp_path) -> None:
    folder = with_labels(tiny_folder, tmp_path / "data", 0)
    fit(folder, tmp_path / "run", **{"model_config.mmoe.task_towers[1].weight": 0})
    assert checkpoint.find(tmp_path / "run")


def test_a_day_whose_join_failed_is_an_error_though_the_days_before_had_labels(
    tiny_folder, tmp_path
) -> None:
    fit(tiny_folder, tmp_path / "run")
    day = with_labels(tiny_folder, tmp_path / "day", 0, column="click")
    before = checkpoint.newest(tmp_path / "run")
    with pytest.raises(DataError, match="label 'click' of task 'ctr' is missing in all 200 rows"):
        fit(day, tmp_path / "run", train_config__save_checkpoints_steps=1000)
    assert checkpoint.newest(tmp_path / "run") == before


def test_the_rest_of_an_epoch_may_lack_labels_that_its_beginning_has(tiny_folder, tmp_path) -> None:
    """The run stops after 96 of 200 rows, and only the first 90 have the label."""
    folder = with_labels(tiny_folder, tmp_path / "data", 90)
    config = folder / "tiny.config"
    config.write_text(config.read_text().replace("num_epochs: 2", ""))
    ordered = {"data_config__shuffle": "false", "train_config__save_checkpoints_steps": 1000}
    for steps in (6, 13):
        changes = {**QUIET, **ordered, "train_config__num_steps": steps}
        made = tiny.pipeline(folder, tmp_path / "run", **changes)
        made.fit(continue_train=steps > 6)
    assert checkpoint.open_checkpoint(checkpoint.newest(tmp_path / "run")).step == 12


def test_missing_labels_of_all_parts_add_up() -> None:
    """Of processes, of earlier runs, and of checkpoints that have not counted any."""
    parts = [Quality() for _ in range(2)]
    parts[0].add({}, 10, {"click": 3})
    parts[1].add({}, 30, {"click": 0, "buy": 30})
    jsons = [part.to_json() for part in parts]
    before = {"rows": 60, "features": {}, "types": {}}
    assert Quality.of_all([*jsons, before]).to_json()["labels"] == {"click": 3, "buy": 30}
