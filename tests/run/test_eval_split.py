"""Training and evaluating on two parts of the same files."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e import tiny
from run.runs import go_on, weights

from tzmmoe.data.reading.parquet import ParquetSource
from tzmmoe.data.reading.split import EVALUATION, Split, SplitSource
from tzmmoe.errors import CheckpointError, DataError
from tzmmoe.system import checkpoint

SPLIT = {"eval_input_path": "", "data_config__eval_split": "fraction: 0.3"}


def by_hand(folder: Path, by: str | None) -> None:
    """The files of a folder written as two, in their order."""
    for part in ("train", "held"):
        (folder / "by_hand" / part).mkdir(parents=True)
    for file in sorted((folder / "train").iterdir()):
        source = SplitSource(ParquetSource([str(file)]), Split(0.3, by), EVALUATION)
        table = pq.read_table(file)
        held = {source.row_number(str(file), n) for n in range(source.num_rows(str(file)))}
        for part, mask in (("train", False), ("held", True)):
            taken = [row for row in range(len(table)) if (row in held) == mask]
            pq.write_table(table.take(pa.array(taken)), folder / "by_hand" / part / file.name)


@pytest.mark.parametrize("by", [None, "user"])
@pytest.mark.parametrize("shuffle", ["true", "false"])
def test_a_split_gives_the_run_of_files_that_are_divided_by_hand(tmp_path, by, shuffle):
    folder = tiny.write_all(tmp_path)
    by_hand(folder, by)
    chosen = f'fraction: 0.3 by: "{by}"' if by else "fraction: 0.3"
    plain = {"data_config__shuffle": shuffle, "train_config__num_epochs": 1}
    split = SPLIT | {"data_config__eval_split": chosen}
    results = tiny.pipeline(folder, tmp_path / "split", **plain, **split).fit()
    files = {
        "train_input_path": folder / "by_hand/train",
        "eval_input_path": folder / "by_hand/held",
    }
    assert results == tiny.pipeline(folder, tmp_path / "files", **plain, **files).fit()
    first, second = (checkpoint.find(tmp_path / name)[-1] for name in ("split", "files"))
    assert weights(first) == weights(second)
    evaluated = tiny.pipeline(folder, tmp_path / "split", **plain, **split).evaluate()
    assert evaluated == pytest.approx(results)


def test_a_run_continues_on_its_own_rows_and_refuses_another_split(tiny_folder, tmp_path):
    two = {**SPLIT, "train_config__num_epochs": 2}
    whole = tiny.pipeline(tiny_folder, tmp_path / "whole", **two).fit()
    first = {**SPLIT, "train_config__num_steps": 7}
    tiny.pipeline(tiny_folder, tmp_path / "parts", **first).fit()
    other = {**two, "data_config__eval_split": "fraction: 0.4"}
    with pytest.raises(CheckpointError, match=r"eval_split.*0\.3.*0\.4"):
        go_on(tiny_folder, tmp_path / "parts", **other)
    assert go_on(tiny_folder, tmp_path / "parts", **two) == whole


def test_files_to_evaluate_take_the_place_of_the_split(tiny_folder, tmp_path, caplog):
    one = {"train_config__num_epochs": 1}
    plain = tiny.pipeline(tiny_folder, tmp_path / "plain", **one).fit()
    caplog.clear()
    both = {**one, "data_config__eval_split": "fraction: 0.3"}
    assert tiny.pipeline(tiny_folder, tmp_path / "both", **both).fit() == plain
    assert "eval_split has no effect" in caplog.text


def test_a_bad_cell_is_told_by_its_row_in_the_file(tmp_path):
    folder = tiny.write_all(tmp_path, suffix=".csv")
    file = folder / "train" / "1.csv"
    lines = file.read_text().splitlines()
    place = lines[0].split(",").index('"price"')
    for row in range(20, 30):  # some of them are trained on
        cells = lines[row].split(",")
        cells[place] = "cheap"
        lines[row] = ",".join(cells)
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"1\.csv, row (\d+)") as failed:
        tiny.pipeline(folder, tmp_path / "run", **SPLIT, data_config__num_workers=0).fit()
    row = int(str(failed.value).split("row ")[1].split(",")[0].split(":")[0])
    assert "cheap" in lines[row]
