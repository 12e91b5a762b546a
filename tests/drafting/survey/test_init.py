"""`python -m tzmmoe.init`: what it drafts, and that the draft trains."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drafting.survey.columns import (
    CITIES,
    CLICK,
    COLUMNS,
    HEAT,
    LABELS,
    NO_FEATURES,
    RANDOM,
    ROWS,
    draft,
    draft_of,
)
from pyarrow import csv
from written import load, notes

import tzmmoe
from tzmmoe.data.reading.parquet import ParquetSource
from tzmmoe.data.reading.split import EVALUATION, Split, SplitSource
from tzmmoe.drafting.survey.columns.buckets import BUCKETS
from tzmmoe.drafting.survey.feature import HASH_ROWS
from tzmmoe.errors import UserError
from tzmmoe.pipeline import Pipeline


def features(config: Path) -> dict:
    """{feature name: its message}."""
    entries = load(config).pipeline.feature_configs
    found = [getattr(entry, entry.WhichOneof("feature")) for entry in entries]
    return {feature.feature_name: feature for feature in found}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A draft of all kinds of columns, whose data evaluates it too."""
    folder = tmp_path_factory.mktemp("everything")
    file = str(folder / "train.parquet")
    flags = ["--weights", "weight", "--eval_data", file]
    return draft(folder, COLUMNS, ",".join(LABELS), *flags)


def test_a_draft_of_every_kind_of_column_has_no_faults_and_no_setting_without_effect(everything):
    config = load(everything)
    assert not config.faults
    assert not notes(config)


def test_every_column_is_a_feature_or_is_said_to_be_none(everything):
    pipeline, text = load(everything).pipeline, everything.read_text()
    drafted = features(everything)
    names = {each.expression.removeprefix("context:") or name for name, each in drafted.items()}
    assert names == set(COLUMNS) - {*LABELS, "weight", *NO_FEATURES}
    assert list(pipeline.model_config.feature_groups[0].feature_names) == list(drafted)
    for name in NO_FEATURES:
        assert f"#   {name}: " in text


EXPECTED = {
    "city": {"hash_bucket_size": HASH_ROWS, "embedding_dim": 8},
    "dictionary": {"hash_bucket_size": HASH_ROWS},
    "large": {"hash_bucket_size": HASH_ROWS},
    "view": {"hash_bucket_size": HASH_ROWS},
    "joined": {"hash_bucket_size": HASH_ROWS, "pooling": "mean"},
    "bytes": {"hash_bucket_size": HASH_ROWS},
    "bool": {"num_buckets": 2},
    "uint8": {"num_buckets": 40},
    "session": {"hash_bucket_size": 5000},
    "user_id": {"hash_bucket_size": 5000},
    "once": {"hash_bucket_size": HASH_ROWS},
    "tags": {"separator": "|", "pooling": "mean", "hash_bucket_size": HASH_ROWS},
    "ids": {"hash_bucket_size": 5000, "pooling": "mean"},
    "floats": {"hash_bucket_size": 5000, "pooling": "mean"},
    "words": {"hash_bucket_size": HASH_ROWS, "pooling": "mean"},
    "history": {"value_dim": 50, "pooling": "mean"},
    "map": {"weighted": True, "hash_bucket_size": HASH_ROWS},
    "vector": {"value_dim": 4, "embedding_dim": 0},
    "odd_name_": {"expression": "context:odd name: %"},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_column_becomes_the_feature_that_suits_it(everything, name):
    feature = features(everything)[name]
    assert {field: getattr(feature, field) for field in EXPECTED[name]} == EXPECTED[name]


@pytest.mark.parametrize(
    "name", ["heat", "int8", "int16", "uint32", "half", "single", "holes", "endless", "money"]
)
def test_numbers_are_cut_into_buckets_of_about_equally_many_rows(everything, name):
    feature = features(everything)[name]
    cuts = list(feature.boundaries)
    assert 10 < len(cuts) < 2 * BUCKETS
    numbers = np.array([float(v) for v in COLUMNS[name].to_pylist() if v is not None])
    rows = np.bincount(np.searchsorted(cuts, numbers[np.isfinite(numbers)], side="right"))
    assert rows.max() <= 3 * rows.mean()
    missing = any(value is None or value != value for value in COLUMNS[name].to_pylist())
    assert feature.HasField("default_value") == missing  # "0" would be the bucket of 0


def test_labels_get_the_loss_that_suits_them(everything):
    towers = {t.label_name: t for t in load(everything).pipeline.model_config.mmoe.task_towers}
    assert list(towers) == LABELS
    losses = {name: tower.losses[0].WhichOneof("loss") for name, tower in towers.items()}
    assert losses == {
        "click": "binary_cross_entropy",
        "buy": "binary_cross_entropy",
        "stars": "softmax_cross_entropy",
        "price": "l2_loss",
    }
    assert {name: tower.num_class for name, tower in towers.items() if tower.num_class > 1} == {
        "stars": 5
    }
    assert all(tower.sample_weight_name == "weight" for tower in towers.values())
    variance = np.var(COLUMNS["price"].to_numpy())
    assert towers["price"].weight == pytest.approx(1 / variance, rel=0.1)


def test_a_label_may_be_text_of_zeros_and_ones(tmp_path):
    config = draft(tmp_path, {"answer": pa.array(CLICK).cast(pa.string()), "heat": HEAT}, "answer")
    (tower,) = load(config).pipeline.model_config.mmoe.task_towers
    assert tower.losses[0].HasField("binary_cross_entropy")
    Pipeline.load(config, device="cpu").check()


QUIET = ["train_config.use_tensorboard=false", "data_config.num_workers=0"]


def test_the_draft_of_every_kind_of_column_trains(everything):
    settings = [*QUIET, "train_config.num_epochs=1", "data_config.batch_size=128"]
    metrics = Pipeline.load(everything, settings=settings, device="cpu").fit()
    assert {f"auc_{label}" for label in ("click", "buy")} < set(metrics)
    assert all(math.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize("evaluates", [True, False])
def test_a_draft_averages_its_weights_and_bears_one_bad_evaluation(tmp_path, evaluates):
    pq.write_table(pa.table({"click": CLICK, "heat": HEAT}), tmp_path / "valid.pq")
    flags = ["--eval_data", str(tmp_path / "valid.pq")] * evaluates
    config = draft(tmp_path, {"click": CLICK, "heat": HEAT}, "click", *flags)
    training = load(config).pipeline.train_config
    assert training.ema.decay == 0.999
    assert training.HasField("early_stopping") == evaluates
    assert training.early_stopping.patience == 2 * evaluates
    assert "averages of the weights: steadier, most of all for rare labels" in config.read_text()


def test_a_draft_learns_by_its_own_schedule(tmp_path):
    """From numbers and words of half of the rows what the other half holds."""
    half = ROWS // 2
    columns = {name: COLUMNS[name] for name in ("click", "city", "heat")}
    pq.write_table(pa.table({name: c[half:] for name, c in columns.items()}), tmp_path / "valid.pq")
    flags = ["--eval_data", str(tmp_path / "valid.pq")]
    config = draft(tmp_path, {name: c[:half] for name, c in columns.items()}, "click", *flags)
    best = binary_auc(3 * HEAT[half:] + 2 * (CITIES[half:] == "Rome"), CLICK[half:])
    reached = Pipeline.load(config, settings=QUIET, device="cpu").fit()["auc_click"]
    assert best - 0.03 < reached < best + 0.01


def binary_auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """The share of pairs in the right order."""
    return float((scores[truth == 1][:, None] > scores[truth == 0]).mean())


def test_every_line_that_sets_something_is_explained(everything):
    """A comment stands beside it or right above it."""
    free = {"group_name", "feature_names"}
    text = everything.read_text()
    head, _, rest = text.partition("\nfeature_configs {")
    model = rest[rest.index("\nmodel_config {") :]
    above = ""
    for line in (head + model).splitlines():
        word, colon, _ = line.strip().partition(":")
        if colon and word.isidentifier() and word not in free:
            assert "#" in line or above.lstrip().startswith("# "), line
        above = line


def as_csv(table: pa.Table, path: Path, delimiter: str, header: bool) -> None:
    options = csv.WriteOptions(include_header=header, delimiter=delimiter)
    csv.write_csv(table, path, options)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("header", [True, False])
def test_csv_files_give_the_draft_of_the_same_parquet_file(tmp_path, capsys, delimiter, header):
    names = ["click", "city", "heat", "uint8", "int16", "large"]
    table = pa.table({name: COLUMNS[name] for name in names})
    as_csv(table, tmp_path / "train.csv", delimiter, header)
    flags = [] if header else ["--columns", ",".join(names)]
    out = draft_of(tmp_path / "*.csv", "click", *flags)
    typed = draft(tmp_path, {name: table[name] for name in names}, "click")
    assert features(out) == features(typed)
    Pipeline.load(out, device="cpu").check()


def test_csv_texts_are_what_they_look_like(tmp_path):
    zips = [f"{RANDOM.integers(0, 60):05d}" for _ in range(ROWS)]
    truth = np.where(CLICK == 1, "true", "false")
    gaps = RANDOM.choice(["1.5", "nan", "", "3", "4"], ROWS)
    columns = {"truth": truth, "zip": zips, "gaps": gaps, "city": CITIES}
    csv.write_csv(pa.table(columns), tmp_path / "train.csv")
    out = draft_of(tmp_path / "train.csv", "truth")
    drafted = features(out)
    assert drafted["zip"].hash_bucket_size  # 00017 is a code
    assert list(drafted["gaps"].boundaries) == [3, 4]
    Pipeline.load(out, device="cpu").check()  # true and false are read as a label


HUGE = RANDOM.choice([-1.7e308, -1e300, 1e300, 1.5e308], ROWS) * RANDOM.random(ROWS)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_numbers_at_the_end_of_their_range_give_no_warning_and_a_draft_that_trains(tmp_path, kind):
    columns = {"click": CLICK, "huge": HUGE, "odd": np.where(CLICK, 1e300, HEAT), "small": HEAT}
    if kind == "csv":
        csv.write_csv(pa.table(columns), tmp_path / "train.csv")
        config = draft_of(tmp_path / "train.csv", "click")
    else:
        columns["pair"] = pa.array([[each, each / 2] for each in HUGE])
        config = draft(tmp_path, columns, "click")
    cuts = np.array(features(config)["huge"].boundaries)
    rows = np.bincount(np.searchsorted(cuts, HUGE, side="right"))
    assert len(cuts) > 20
    assert rows.max() <= 2 * rows.mean()
    settings = [*QUIET, "train_config.num_epochs=1", "data_config.batch_size=128"]
    assert Pipeline.load(config, settings=settings, device="cpu").fit() is not None


def test_a_column_that_tells_a_label_is_asked_about_and_one_that_hints_at_it_is_not(
    tmp_path, capsys
):
    noise = pa.array(RANDOM.integers(0, ROWS // 2, ROWS)).cast(pa.string())
    columns = {"click": CLICK, "copy": CLICK * 2 + 5, "hint": HEAT, "noise": noise}
    text = draft(tmp_path, columns, "click").read_text()
    assert text.count("leaks?") == 1
    assert "leaks? alone it predicts click" in text[text.index("whole numbers 5 to 7") :]
    assert "leaks? copy alone predicts click" in capsys.readouterr().out


def test_files_sorted_by_a_label_are_said_to_be(tmp_path, capsys):
    order = np.argsort(CLICK, kind="stable")
    draft(tmp_path, {"click": CLICK[order], "heat": HEAT[order]}, "click")
    assert "sorted by click?" in capsys.readouterr().out


def test_the_command_ends_with_the_exact_next_command(tmp_path, capsys):
    out = draft(tmp_path, {"click": CLICK, "heat": HEAT}, "click")
    last = capsys.readouterr().out.splitlines()[-1].strip()
    assert last == f"python -m tzmmoe.train --pipeline_config {out}"


def test_help_loads_nothing_slow():
    code = (
        "import sys, tzmmoe.init as command\n"
        "try: command.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'pyarrow', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_draft_that_holds_out_rows_trains_and_evaluates_on_the_others(tmp_path, capsys):
    columns = {name: COLUMNS[name] for name in ("click", "city", "heat", "user_id")}
    flags = ["--eval_fraction", "0.3", "--split_by", "user_id"]
    config = draft(tmp_path, columns, "click", *flags)
    assert not notes(load(config))
    split = load(config).pipeline.data_config.eval_split
    assert (split.fraction, split.by) == (0.3, "user_id")
    assert "will not evaluate" not in capsys.readouterr().out
    results = Pipeline.load(config, settings=[*QUIET, "train_config.num_epochs=1"]).fit()
    assert 0 < results["auc_click"] < 1


def test_what_a_draft_learns_from_is_not_what_it_is_evaluated_on(tmp_path, capsys):
    """The held out users alone have heat above 100, which no boundary and no comment knows."""
    columns = {"click": CLICK, "user_id": COLUMNS["user_id"], "heat": HEAT.copy()}
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    source = ParquetSource([str(tmp_path / "train.parquet")])
    held = SplitSource(source, Split(0.3, "user_id"), EVALUATION)
    file = held.files[0]
    columns["heat"][[held.row_number(file, row) for row in range(held.num_rows(file))]] = 7777
    flags = ["--eval_fraction", "0.3", "--split_by", "user_id"]
    config = draft(tmp_path, columns, "click", *flags)
    assert max(features(config)["heat"].boundaries) < 100
    assert "7,777" not in config.read_text()


def test_python_drafts_what_the_command_drafts(tmp_path, caplog):
    columns = {name: COLUMNS[name] for name in ("click", "city", "heat", "int16")}
    flags = ["--eval_fraction", "0.3", "--ids", "int16", "--ignore", "city"]
    config = draft(tmp_path, columns, "click", *flags)
    caplog.set_level("INFO")
    pipeline = tzmmoe.draft(
        tmp_path / "train.parquet",
        labels=["click"],
        out=tmp_path / "python.config",
        eval_fraction=0.3,
        ids=["int16"],
        ignore=["city"],
        model_dir=tmp_path / "model",
        device="cpu",
    )
    there, here = (load(path).pipeline for path in (config, tmp_path / "python.config"))
    assert here == there
    assert "int16 (id_feature)" in caplog.text
    pipeline.check()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"labels": ["clik"]}, "labels.*'clik'.*did you mean 'click'"),
        ({"labels": "click", "ids": ["nope"]}, "ids.*'nope'"),
        ({"labels": ["click"], "split_by": "heat"}, "split_by.*eval_fraction"),
        ({"labels": ["click"], "eval_fraction": 1.5}, "eval_fraction.*less than 1"),
        ({"labels": ["click"], "eval_fraction": 0.2, "split_by": "het"}, "split_by.*'heat'"),
        ({"labels": ["click"], "eval_fraction": 0.2, "eval_data": "x"}, "eval_fraction.*eval_data"),
        ({"labels": []}, "labels.*name one to predict"),
    ],
)
def test_faults_of_a_draft_in_python_name_its_arguments(tmp_path, arguments, words):
    pq.write_table(pa.table({"click": CLICK, "heat": HEAT}), tmp_path / "train.parquet")
    with pytest.raises(UserError, match=words) as failed:
        tzmmoe.draft(tmp_path / "train.parquet", out=tmp_path / "x.config", **arguments)
    assert "--" not in str(failed.value)
    assert not (tmp_path / "x.config").exists()
