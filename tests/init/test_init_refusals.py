"""What `python -m tzmmoe.init` refuses, with the reason and exit code 2."""

import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from init.columns import CLICK, COLUMNS, HEAT, ROWS, draft
from pyarrow import csv

from tzmmoe import cli
from tzmmoe.init.__main__ import main


def refused(monkeypatch, capsys, *flags: str) -> str:
    """What the command says when it ends with exit code 2."""
    monkeypatch.setattr(sys, "argv", ["init", *flags])
    with pytest.raises(SystemExit) as ended:
        cli.run(main)
    assert ended.value.code == cli.USER_ERROR
    return capsys.readouterr().err


BAD_LABELS = {
    "clik": "did you mean 'click'",
    "constant": "'constant' is 3 in every row",
    "nothing": "'nothing' has no value in any row",
    "city": "'city' holds text such as",
    "ids": "one number in each row",
    "endless": "'endless' holds infinite numbers",
}


@pytest.mark.parametrize("label", BAD_LABELS)
def test_a_label_that_cannot_be_learned_is_refused_with_the_reason(
    tmp_path, monkeypatch, capsys, label
):
    file = tmp_path / "train.parquet"
    pq.write_table(pa.table(COLUMNS), file)
    out = tmp_path / "x.config"
    flags = ["--data", str(file), "--labels", f"click,{label}", "--out", str(out)]
    assert BAD_LABELS[label] in refused(monkeypatch, capsys, *flags)
    assert not out.exists()


def test_all_wrong_names_are_told_at_once(tmp_path, monkeypatch, capsys):
    file = tmp_path / "train.parquet"
    pq.write_table(pa.table({"click": CLICK, "heat": HEAT}), file)
    flags = ["--data", str(file), "--labels", "clik,click", "--ignore", "heet,click"]
    flags += ["--weights", "wait", "--out", str(tmp_path / "x.config")]
    said = refused(monkeypatch, capsys, *flags)
    for fault in ("'clik'", "'heet'", "'wait'", "'click' is already in --labels"):
        assert fault in said


def test_a_file_that_is_there_is_replaced_only_by_force(tmp_path, monkeypatch, capsys):
    out = draft(tmp_path, {"click": CLICK, "heat": HEAT}, "click")
    before = out.read_text()
    flags = ["--data", str(tmp_path / "train.parquet"), "--labels", "click", "--out", str(out)]
    assert "pass --force" in refused(monkeypatch, capsys, *flags, "--ignore", "x")
    assert out.read_text() == before


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ([-1.0, *[1.0] * (ROWS - 1)], "0 or more"),
        ([None, *[1.0] * (ROWS - 1)], "missing in 1 rows"),
        (["a"] * ROWS, "give numbers"),
    ],
)
def test_weights_that_training_would_stop_at_are_refused(
    tmp_path, monkeypatch, capsys, weights, reason
):
    file = tmp_path / "train.parquet"
    pq.write_table(pa.table({"click": CLICK, "heat": HEAT, "w": weights}), file)
    flags = ["--data", str(file), "--labels", "click", "--weights", "w", "--out"]
    assert reason in refused(monkeypatch, capsys, *flags, str(tmp_path / "x.config"))


def test_evaluation_files_that_lack_a_column_are_refused(tmp_path, monkeypatch, capsys):
    pq.write_table(pa.table({"click": CLICK, "heat": HEAT}), tmp_path / "train.parquet")
    pq.write_table(pa.table({"click": CLICK, "heap": HEAT}), tmp_path / "valid.parquet")
    flags = ["--data", str(tmp_path / "train.parquet"), "--labels", "click"]
    flags += ["--eval_data", str(tmp_path / "valid.parquet"), "--out", str(tmp_path / "x.config")]
    assert "no column 'heat'" in refused(monkeypatch, capsys, *flags)


def test_data_without_header_are_recognised(tmp_path, monkeypatch, capsys):
    table, bare = pa.table({"click": CLICK, "heat": HEAT}), csv.WriteOptions(include_header=False)
    csv.write_csv(table, tmp_path / "train.csv", bare)
    flags = ["--data", str(tmp_path / "train.csv"), "--labels", "click", "--out"]
    assert "pass --no_header" in refused(monkeypatch, capsys, *flags, str(tmp_path / "x.config"))
