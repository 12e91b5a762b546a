"""`tzmmoe.init --auxiliary`: columns that prediction will not have become tasks that help."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drafting.survey.columns import CITIES, CLICK, HEAT, RANDOM, ROWS, draft, draft_of, some
from drafting.survey.test_init_refusals import refused
from messages import fails, says
from pyarrow import csv
from written import load, notes

import tzmmoe
from tzmmoe.errors import UserError
from tzmmoe.pipeline import Pipeline
from tzmmoe.serving.scorer import Scorer

GRADES = np.array([10, 20, 35, 50])[RANDOM.integers(0, 4, ROWS)]
BOUGHT = CLICK * RANDOM.integers(0, 2, ROWS)
LENGTH = RANDOM.normal(2, 3, ROWS)
AUXILIARY = {
    "bought": (pa.array(some(BOUGHT)), [], 1, "binary_cross_entropy", 0.3),
    "said": (pa.array(some(np.where(BOUGHT, "yes", "no"))), ["no", "yes"], 1, None, 0.3),
    "pair": (pa.array(BOUGHT + 3), ["3", "4"], 1, "binary_cross_entropy", 0.3),
    "flag": (pa.array(BOUGHT == 1), [], 1, "binary_cross_entropy", 0.3),
    "city": (pa.array(CITIES), ["Lima", "Oslo", "Rome"], 3, "softmax_cross_entropy", 0.3),
    "grade": (pa.array(GRADES), ["10", "20", "35", "50"], 4, "softmax_cross_entropy", 0.3),
    "length": (pa.array(LENGTH), [], 1, "l2_loss", 0.3 / LENGTH.var()),
}
COLUMNS = {
    "click": CLICK,
    "heat": HEAT,
    "user": RANDOM.integers(0, 50, ROWS),
    **{name: case[0] for name, case in AUXILIARY.items()},
}
QUIET = ["train_config.use_tensorboard=false", "data_config.num_workers=0"]


def towers(config) -> dict:
    found = load(config).pipeline.model_config.mmoe.task_towers
    return {tower.tower_name: tower for tower in found}


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_each_column_becomes_the_task_that_its_values_suggest(tmp_path, kind) -> None:
    names = ",".join(AUXILIARY)
    if kind == "csv":
        csv.write_csv(pa.table(COLUMNS), tmp_path / "train.csv")
        config = draft_of(tmp_path / "train.csv", "click", "--auxiliary", names)
    else:
        config = draft(tmp_path, COLUMNS, "click", "--auxiliary", names)
    read, made = load(config), towers(config)
    assert not read.faults
    assert not notes(read)
    assert list(made) == ["click", *AUXILIARY]
    assert list(read.pipeline.data_config.label_fields) == ["click", *AUXILIARY]
    assert list(read.pipeline.model_config.feature_groups[0].feature_names) == ["heat", "user"]
    assert not made["click"].auxiliary
    for name, (_, classes, num_class, loss, weight) in AUXILIARY.items():
        tower = made[name]
        assert tower.auxiliary
        assert list(tower.label_classes) == classes, name
        assert tower.num_class == num_class, name
        assert tower.losses[0].WhichOneof("loss") == (loss or "binary_cross_entropy"), name
        assert tower.weight == pytest.approx(weight, rel=0.05), name


def test_the_draft_trains_and_its_export_scores_rows_without_these_columns(tmp_path) -> None:
    flags = ["--auxiliary", ",".join(AUXILIARY), "--eval_fraction", "0.2"]
    config = draft(tmp_path, COLUMNS, "click", *flags)
    settings = [*QUIET, "train_config.num_epochs=1", "data_config.batch_size=64"]
    pipeline = Pipeline.load(config, settings=settings, device="cpu")
    results = pipeline.fit()
    for name in AUXILIARY:
        assert any(key.endswith(f"_{name}") for key in results), name
    rows = [{"heat": 0.5, "user": 7}]
    found = Scorer.load(pipeline.export(str(tmp_path / "export"))).score(rows)
    assert set(found) == {"logits_click", "probs_click"}


def test_classes_that_only_evaluation_has_are_classes_too(tmp_path) -> None:
    few = pa.table({"click": CLICK, "heat": HEAT, "city": pa.array(CITIES)})
    pq.write_table(few.filter(pa.array(CITIES != "Oslo")), tmp_path / "train.parquet")
    pq.write_table(few, tmp_path / "eval.parquet")
    flags = ["--auxiliary", "city", "--eval_data", str(tmp_path / "eval.parquet")]
    config = draft_of(tmp_path / "train.parquet", "click", *flags)
    assert list(towers(config)["city"].label_classes) == ["Lima", "Oslo", "Rome"]
    Pipeline.load(config, settings=QUIET, device="cpu").check()


MANY = pa.array([f"word {number % 60}" for number in range(ROWS)])
BAD = {
    "unknown": ("citty", {}, ["--auxiliary", "no column 'citty'", "did you mean 'city'"]),
    "a label": ("click", {}, ["--auxiliary", "'click' is already in --labels", "remove one"]),
    "ignored": ("city", {"ignore": "city"}, ["'city' is already in --", "remove one"]),
    "a feature": ("city", {"ids": "city"}, ["--ids", "'city' is already in --auxiliary"]),
    "one value": ("one", {}, ["'one'", "same value", "nothing to learn"]),
    "one text": ("same", {}, ["'same'", "same value", "nothing to learn"]),
    "no value": ("none", {}, ["'none'", "no value", "nothing to learn"]),
    "many texts": ("many", {}, ["'many'", "60 different texts", "at most 50", "--ignore"]),
    "lists": ("list", {}, ["'list'", "list<", "one text or number in each row"]),
    "large": ("large", {}, ["'large'", "mean 5", "divide", "--ignore"]),
    "huge": ("huge", {}, ["--auxiliary", "'huge'", "squares are too large", "divide"]),
    "infinite": ("endless", {}, ["'endless'", "infinite", "finite"]),
}
BAD_COLUMNS = {
    **{name: COLUMNS[name] for name in ("click", "heat", "city")},
    "one": pa.array([3.5] * ROWS),
    "same": pa.array(["x"] * ROWS),
    "none": pa.nulls(ROWS, pa.string()),
    "many": MANY,
    "list": pa.array([[1, 2]] * ROWS),
    "large": pa.array(HEAT * 3 + 5000),
    "huge": pa.array(HEAT * 1e200),
    "endless": pa.array([np.inf, *HEAT[1:]]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_column_that_cannot_help_is_refused_with_the_reason(
    tmp_path, monkeypatch, capsys, case
) -> None:
    name, others, parts = BAD[case]
    file = tmp_path / "train.parquet"
    pq.write_table(pa.table(BAD_COLUMNS), file)
    flags = ["--data", str(file), "--labels", "click", "--out", str(tmp_path / "x.config")]
    flags += ["--auxiliary", name]
    for flag, column in others.items():
        flags += [f"--{flag}", column]
    says(refused(monkeypatch, capsys, *flags), *parts)
    assert not (tmp_path / "x.config").exists()


def test_fifty_texts_are_classes(tmp_path) -> None:
    texts = pa.array([f"word {number % 50:02d}" for number in range(ROWS)])
    config = draft(
        tmp_path, {"click": CLICK, "heat": HEAT, "t": texts}, "click", "--auxiliary", "t"
    )
    assert list(towers(config)["t"].label_classes) == [f"word {n:02d}" for n in range(50)]


def test_a_leak_comes_with_the_flag_that_makes_it_auxiliary(tmp_path, capsys) -> None:
    columns = {"click": CLICK, "heat": HEAT, "city": CITIES, "a copy": CLICK * 2 + 5}
    draft(tmp_path, columns, "click", "--auxiliary", "city")
    said = capsys.readouterr().out
    says(said, "--ignore 'a copy'", "--auxiliary 'city,a copy'")
    config = draft(tmp_path, columns, "click", "--auxiliary", "city,a copy")
    assert list(towers(config)["a_copy"].label_classes) == ["5", "7"]
    assert "leaks?" not in capsys.readouterr().out


def test_python_drafts_the_same(tmp_path) -> None:
    flags = ["--auxiliary", "city,length"]
    expected = load(draft(tmp_path, COLUMNS, "click", *flags)).pipeline
    arguments = {"auxiliary": ["city", "length"], "model_dir": tmp_path / "model"}
    data, out = tmp_path / "train.parquet", tmp_path / "python.config"
    pipeline = tzmmoe.draft(data, ["click"], out, **arguments)
    assert pipeline.config.pipeline == expected
    with fails(UserError, "auxiliary: ", "'citty'"):
        tzmmoe.draft(data, ["click"], out, force=True, auxiliary="citty")
