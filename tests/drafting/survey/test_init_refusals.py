"""What `python -m tzmmoe.init` refuses, with the reason and exit code 2."""

import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drafting.survey.columns import CLICK, COLUMNS, HEAT, ROWS, draft
from pyarrow import csv

from tzmmoe.init import main
from tzmmoe.system import cli


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
        ([1e300, *[1.0] * (ROWS - 1)], "at most 3.4e+38"),
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


def csv_refused(tmp_path, monkeypatch, capsys, text: str | bytes, *flags: str) -> str:
    """What the command says to a CSV file of this content."""
    file = tmp_path / "train.csv"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    plain = ["--data", str(file), "--labels", "click", "--out", str(tmp_path / "x.config")]
    said = refused(monkeypatch, capsys, *plain, *flags)
    assert not (tmp_path / "x.config").exists()
    return said


@pytest.mark.parametrize("delimiter", ["||", "§", "\\n", "\n", "\r", '"', "\0"])
def test_a_delimiter_that_cannot_be_one_is_refused_by_its_flag(
    tmp_path, monkeypatch, capsys, delimiter
):
    said = csv_refused(tmp_path, monkeypatch, capsys, "click,x\n1,2\n", "--delimiter", delimiter)
    assert said.startswith(f"--delimiter: is {delimiter!r}; give one ASCII character")


def test_a_delimiter_that_is_not_the_files_is_refused_with_the_files_own(
    tmp_path, monkeypatch, capsys
):
    said = csv_refused(tmp_path, monkeypatch, capsys, "click;x\n1;2\n", "--delimiter", ",")
    assert said.startswith("--delimiter: is ','")
    assert "give ';', or leave it out" in said


@pytest.mark.parametrize("flags", [[], ["--no_header"], ["--columns", "click,x"]])
def test_a_file_in_utf16_is_said_to_be(tmp_path, monkeypatch, capsys, flags):
    content = "click,x\n1,2\n".encode("utf-16")
    said = csv_refused(tmp_path, monkeypatch, capsys, content, *flags)
    assert "train.csv: is UTF-16; save it as UTF-8" in said


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_a_ragged_row_is_told_and_not_taken_for_a_file_of_one_column(
    tmp_path, monkeypatch, capsys, mark
):
    """Also beside numbers with commas, by which every row but the first differs in width."""
    other = "," if mark != "," else "."
    lines = ["click", *(f"x{number}" for number in range(11))], [f"1{other}5"] * 12
    rows = [mark.join(lines[0]), *[mark.join(lines[1])] * 4, mark.join("123"), ""]
    said = csv_refused(tmp_path, monkeypatch, capsys, "\n".join(rows))
    assert "train.csv, row 5: expected 12 columns, got 3" in said


def test_names_of_columns_that_are_there_twice_are_refused_by_their_flag(
    tmp_path, monkeypatch, capsys
):
    said = csv_refused(tmp_path, monkeypatch, capsys, "1,2,3\n", "--columns", "x,x,click")
    assert said.startswith("--columns: 'x' is listed 2 times; rename")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--label click", "flag --label; did you mean '--labels'?"),
        ("--labels click --eval_dat x", "flag --eval_dat; did you mean '--eval_data'?"),
        ("--labels click", "--data and --out must be given"),
        ("--data", "expected one argument"),
        ("--labels click --weights=", "--weights is empty"),
    ],
)
def test_a_misspelt_flag_is_told_before_what_it_stands_for_is_missed(
    monkeypatch, capsys, flags, said
):
    assert said in refused(monkeypatch, capsys, *flags.split())


@pytest.mark.parametrize("size", [1e16, -1e16, 1e300])
def test_a_label_too_large_for_a_loss_is_refused(tmp_path, monkeypatch, capsys, size):
    file = tmp_path / "train.parquet"
    pq.write_table(pa.table({"big": HEAT * size, "heat": HEAT}), file)
    flags = ["--data", str(file), "--labels", "big", "--out", str(tmp_path / "x.config")]
    assert "divide them, or take their logarithm" in refused(monkeypatch, capsys, *flags)
