"""Mistakes and files that newcomers bring to `python -m tzmmoe.init`."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drafting.survey.columns import CITIES, CLICK, HEAT, draft, draft_of
from messages import fails
from pyarrow import csv, feather, orc
from written import load, notes

import tzmmoe
from tzmmoe.errors import ConfigError, DataError
from tzmmoe.pipeline import Pipeline

TABLE = pa.table({"click": CLICK, "city": CITIES, "heat": np.round(HEAT, 3)})


def written(name: str, folder: Path) -> Path:
    file = folder / name
    if name.endswith((".feather", ".arrow")):
        feather.write_feather(TABLE, file)
    elif name.endswith(".orc"):
        orc.write_table(TABLE, file)
    elif name.endswith(".jsonl"):
        file.write_text("".join(json.dumps(row) + "\n" for row in TABLE.to_pylist()))
    elif name.endswith(".pkl"):
        TABLE.to_pandas().to_pickle(file)
    return file


@pytest.mark.parametrize("name", ["x.feather", "x.arrow", "x.orc", "x.jsonl", "x.pkl", "x'y.jsonl"])
def test_a_file_of_another_format_comes_with_the_command_that_converts_it(tmp_path, name):
    file = written(name, tmp_path)
    with pytest.raises(DataError, match="write it as Parquet") as failed:
        draft_of(file, "click")
    command = str(failed.value).splitlines()[-1].strip().replace("python", sys.executable, 1)
    subprocess.run(command, shell=True, check=True)
    assert draft_of(file.with_suffix(".parquet"), "click")


@pytest.mark.parametrize("name", ["x.inter", "x.dat", "x.data", "plain"])
@pytest.mark.parametrize("delimiter", [",", "\t", " "])
def test_text_of_any_suffix_is_read_as_csv_and_the_config_says_so(tmp_path, name, delimiter):
    csv.write_csv(TABLE, tmp_path / name, csv.WriteOptions(delimiter=delimiter))
    config = draft_of(tmp_path / name, "click")
    assert load(config).pipeline.data_config.delimiter == delimiter
    Pipeline.load(config, device="cpu").check()


def test_parquet_without_a_suffix_is_read(tmp_path):
    pq.write_table(TABLE, tmp_path / "part-0")
    Pipeline.load(draft_of(tmp_path / "part-0", "click"), device="cpu").check()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04 ...", "zip archive"),
        (b"1::2::5\n3::4::1\n", "'::'.*sed"),
        (b"\x1f\x8b...", r"\.csv\.gz"),
        (b"\x00\x01\x02", "neither Parquet nor text"),
    ],
)
def test_other_files_are_told_what_to_do(tmp_path, content, words):
    (tmp_path / "x.dat").write_bytes(content)
    with pytest.raises(DataError, match=f"x.dat: .*{words}"):
        draft_of(tmp_path / "x.dat", "click")


@pytest.mark.parametrize("count", [1, 2])
def test_columns_without_a_name_are_used_where_they_tell_more_than_the_row(tmp_path, capsys, count):
    """The first one counts rows, as an index of pandas does."""
    lines = [",".join([""] * (count + 1) + ["click", "heat"])]
    for row, (click, heat) in enumerate(zip(CLICK, HEAT, strict=True)):
        lines.append(",".join([str(row), *[str(row % 7)] * count, str(click), str(heat)]))
    (tmp_path / "x.csv").write_text("\n".join(lines) + "\n")
    config = draft_of(tmp_path / "x.csv", "click")
    said = capsys.readouterr().out
    assert "Unnamed: 0: 1,200 distinct" in said[said.index("left out:") :]
    assert "--ignore 'Unnamed: 1'" in said[: said.index("tasks:")]
    entries = load(config).pipeline.feature_configs
    expressions = [entry.id_feature.expression for entry in entries][:count]
    assert expressions == [f"context:Unnamed: {place}" for place in range(1, count + 1)]
    assert not notes(load(config))
    Pipeline.load(config, device="cpu").check()


def test_columns_that_are_all_ignored_are_told(tmp_path):
    with pytest.raises(DataError, match="every column is a label, a weight or ignored"):
        draft(tmp_path, {"click": CLICK, "heat": HEAT}, "click", "--ignore", "heat")


@pytest.mark.parametrize("name", ["user_id", "session"])
def test_a_label_of_ids_is_asked_about(tmp_path, capsys, name):
    random = np.random.default_rng(0)
    values = random.integers(0, 500, len(CLICK)) if name == "user_id" else np.arange(len(CLICK))
    draft(tmp_path, {name: values, "heat": HEAT}, name)
    said = capsys.readouterr().out
    assert f"{name}: is it to be predicted?" in said[: said.index("tasks:")]


def test_labels_of_one_and_two_are_asked_about(tmp_path, capsys):
    draft(tmp_path, {"click": CLICK + 1, "heat": HEAT}, "click")
    assert "click: two values; make them 0 and 1" in capsys.readouterr().out


def test_what_evaluation_has_that_training_has_not_is_told_with_its_share(tmp_path, capsys):
    random = np.random.default_rng(1)
    rows = 4000

    def columns(first_user: int, first_day: int) -> dict:
        days = random.integers(first_day, first_day + 20, rows)
        return {
            "click": random.integers(0, 2, rows),
            "user_id": random.integers(first_user, first_user + 400, rows),
            "day": [f"2024-{1 + day // 28:02d}-{1 + day % 28:02d}" for day in days],
            "stamp": 1_700_000_000 + 86_400 * days,
            "city": random.choice(["a", "b"], rows),
            "heat": random.normal(size=rows),
        }

    train, valid = columns(0, 0), columns(300, 10)
    pq.write_table(pa.table(valid), tmp_path / "valid.parquet")
    draft(tmp_path, train, "click", "--eval_data", str(tmp_path / "valid.parquet"))
    said = capsys.readouterr().out
    said = said[: said.index("tasks:")]
    expected = {
        "user_id": np.mean(~np.isin(valid["user_id"], train["user_id"])),
        "day": np.mean(np.array(valid["day"]) > max(train["day"])),
        "stamp": np.mean(valid["stamp"] > train["stamp"].max()),
    }
    for name, part in expected.items():
        assert f"{name}: {part:.1%} of the evaluated" in said
    assert "city" not in said
    assert "heat" not in said


def test_ids_never_seen_are_counted_among_more_values_than_are_kept(tmp_path, capsys):
    """A sketch of 300,000 values: a third of the evaluated ones are new."""
    random = np.random.default_rng(2)
    train, valid = np.arange(300_000), np.arange(200_000, 350_000)
    for name, values in (("train", train), ("valid", valid)):
        click = random.integers(0, 2, len(values))
        table = pa.table({"click": click, "user_id": random.permutation(values)})
        pq.write_table(pa.concat_tables([table] * 2), tmp_path / f"{name}.parquet")
    flags = ["--eval_data", str(tmp_path / "valid.parquet")]
    draft_of(tmp_path / "train.parquet", "click", *flags)
    (line,) = [x for x in capsys.readouterr().out.splitlines() if "never seen" in x]
    assert abs(float(line.split("user_id: ")[1].split("%")[0]) - 100 / 3) < 1


def test_words_of_a_list_in_text_are_not_taken_for_one(tmp_path, capsys) -> None:
    """All eight words occur in training, but hardly any list of evaluation does."""
    random = np.random.default_rng(3)
    for name in ("train", "valid"):
        rows = [f"{'|'.join(random.permutation([*'abcdefgh'])[:4])},{n % 2}" for n in range(400)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["tags,click", *rows]) + "\n")
    flags = ["--lists", "tags", "--eval_data", str(tmp_path / "valid.csv")]
    draft_of(tmp_path / "train.csv", "click", *flags)
    assert "never seen" not in capsys.readouterr().out


def test_python_takes_several_files_and_refuses_rows(tmp_path) -> None:
    rows = "".join(f"{row % 7},{row % 3},{row % 2}\n" for row in range(200))
    for name in ("a.csv", "b,c.csv"):
        (tmp_path / name).write_text("u,x,click\n" + rows)
    files = [tmp_path / "a.csv", str(tmp_path / "b,c.csv")]
    pipeline = tzmmoe.draft(files, ["click"], tmp_path / "x.config")
    pipeline.check()
    with fails(ConfigError, "data", "dict", "path"):
        tzmmoe.draft([{"click": 0, "u": 3}], ["click"], tmp_path / "y.config")


def decisions(said: str) -> str:
    return said[said.index("to decide:") : said.index("tasks:")]


def test_the_range_of_small_whole_numbers_is_that_of_the_data(tmp_path, capsys):
    ages = np.random.default_rng(3).permutation(np.resize(np.arange(18, 81), len(CLICK)))
    config = draft(tmp_path, {"click": CLICK, "age": ages}, "click")
    assert "age (id_feature): whole numbers 18 to 80" in capsys.readouterr().out
    assert load(config).pipeline.feature_configs[0].id_feature.num_buckets == 81


@pytest.mark.parametrize(
    ("cells", "separator", "words"),
    [
        (["comedy|drama", "drama", "comedy"], "|", "--text kind"),
        (["a|b", "c|d", "e"], "", "--lists kind"),  # no part comes again
        (["red,blue", "red", "blue"], "", "--lists kind"),
        (["x;y", "y", "z"], "", "--lists kind"),
        (["Smith, John", "Doe, Jane", "Roe"], "", ""),
        (["plain", "words"], "", ""),
    ],
)
def test_texts_that_may_be_lists_are_asked_about(tmp_path, capsys, cells, separator, words):
    config = draft(tmp_path, {"click": CLICK, "kind": np.resize(cells, len(CLICK))}, "click")
    feature = load(config).pipeline.feature_configs[0].id_feature
    assert (feature.separator if feature.HasField("separator") else "") == separator
    said = decisions(capsys.readouterr().out)
    assert words in said
    assert ("kind: " in said) == bool(words)


def test_the_column_that_splits_the_rows_is_decided(tmp_path, capsys):
    random = np.random.default_rng(4)
    columns = {"click": CLICK, "who": random.integers(0, 3000, len(CLICK)), "heat": HEAT}
    flags = ["--eval_fraction", "0.2", "--split_by", "who"]
    config = draft(tmp_path, columns, "click", *flags)
    said = capsys.readouterr().out
    assert "to decide:" not in said or "who" not in decisions(said)
    assert load(config).pipeline.feature_configs[0].HasField("id_feature")


def test_blanks_in_a_header_are_said_to_be_there(tmp_path):
    (tmp_path / "x.csv").write_text("a, click\n1, 0\n2, 1\n")
    with fails(ConfigError, "--labels", "' click'", "blanks", "header"):
        draft_of(tmp_path / "x.csv", "click")
    pq.write_table(TABLE, tmp_path / "train.parquet")
    pipeline = Pipeline.load(draft_of(tmp_path / "train.parquet", "click"), device="cpu")
    pipeline.check()
    csv.write_csv(TABLE.rename_columns(["click ", "city", "heat"]), tmp_path / "y.csv")
    settings = {"train_input_path": str(tmp_path / "y.csv"), "data_config.with_header": True}
    config = tmp_path / "parquet.config"
    with fails(DataError, "'click '", "blanks"):
        Pipeline.load(config, settings=settings, device="cpu").check()
