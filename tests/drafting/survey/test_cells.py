"""Numbers with marks, printed lists and dates, from a draft to predictions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drafting.survey.columns import CLICK, ROWS, draft_of
from written import load, notes

from tzmmoe.errors import ConfigError
from tzmmoe.pipeline import Pipeline
from tzmmoe.serving.scorer import Scorer

RANDOM = np.random.default_rng(7)
PRICES = np.round(RANDOM.gamma(1.5, 900, ROWS), 2)
AMOUNTS = np.round(RANDOM.normal(0, 3000, ROWS), 1)
AGES = RANDOM.integers(18, 81, ROWS).astype(float)
AGES[RANDOM.random(ROWS) < 0.1] = np.nan
TIMES = pd.Series(
    pd.Timestamp("2022-11-03 05:00") + pd.to_timedelta(RANDOM.integers(0, 900 * 24, ROWS), "h")
)
LISTS = [list(RANDOM.choice(["a b", "c", "it's", "d,e"], RANDOM.integers(0, 4))) for _ in TIMES]
VECTORS = RANDOM.normal(size=(ROWS, 3)).round(3).tolist()


def german(number: float) -> str:
    return f"{number:,.1f}".translate(str.maketrans(",.", ".,")) + " €"


# Each column as it is written, and what pandas makes of it.
WRITTEN = {
    "price": (
        [f"${price:,.2f}" if price < 4000 else "N/A" for price in PRICES],
        lambda texts: pd.to_numeric(texts.str.replace(r"[$,]", "", regex=True), errors="coerce"),
    ),
    "amount": (
        list(map(german, AMOUNTS)),
        lambda texts: texts.str.replace(".", "").str.replace(",", ".").str[:-2].astype(float),
    ),
    "age": (
        ["?" if np.isnan(age) else f"{age:.0f}" for age in AGES],
        lambda texts: pd.to_numeric(texts, errors="coerce"),
    ),
    "when": (TIMES.dt.strftime("%Y-%m-%d %H:%M").tolist(), pd.to_datetime),
    "day": (TIMES.dt.strftime("%d.%m.%Y").tolist(), lambda x: pd.to_datetime(x, format="%d.%m.%Y")),
    "us": (
        TIMES.dt.strftime("%m/%d/%Y %I:%M %p").tolist(),
        lambda texts: pd.to_datetime(texts, format="%m/%d/%Y %I:%M %p"),
    ),
    "date": (TIMES.dt.strftime("%Y%m%d").tolist(), lambda x: pd.to_datetime(x, format="%Y%m%d")),
    "epoch": (
        [str(time.value // 10**9) for time in TIMES],
        lambda texts: pd.to_datetime(texts.astype("int64"), unit="s"),
    ),
    "offset": (
        [f"{time:%Y-%m-%dT%H:%M:%S}+05:30" for time in TIMES],
        lambda texts: pd.to_datetime(texts).dt.tz_localize(None),
    ),
    "clock": (
        TIMES.dt.strftime("%H:%M").tolist(),
        lambda texts: pd.to_datetime(texts, format="%H:%M").dt.time,
    ),
    "tags": (list(map(str, LISTS)), lambda _: pd.Series(LISTS)),
    "vector": (list(map(str, VECTORS)), lambda _: pd.Series(VECTORS)),
}
PARTS = ("year", "month", "weekday", "hour")


def frame() -> pd.DataFrame:
    return pd.DataFrame({"click": CLICK, **{name: cells for name, (cells, _) in WRITTEN.items()}})


def meant(texts: pd.DataFrame) -> pd.DataFrame:
    return texts.assign(**{name: parse(texts[name]) for name, (_, parse) in WRITTEN.items()})


def save(rows: pd.DataFrame, file: Path) -> None:
    rows.to_csv(file, index=False) if file.suffix == ".csv" else rows.to_parquet(file)


def kinds(config: Path) -> dict[str, str]:
    entries = load(config).pipeline.feature_configs
    return {
        getattr(e, e.WhichOneof("feature")).feature_name: e.WhichOneof("feature") for e in entries
    }


def trained(config: Path) -> Pipeline:
    quiet = {"train_config.use_tensorboard": False, "train_config.num_epochs": 1}
    pipeline = Pipeline.load(config, settings=quiet, device="cpu")
    pipeline.check()
    pipeline.fit()
    return pipeline


@pytest.fixture(scope="module", params=[".csv", ".parquet"])
def config(request, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("cells") / f"train{request.param}"
    save(frame(), file)
    return draft_of(file, "click")


def test_cells_are_drafted_as_what_they_mean(config):
    found = kinds(config)
    for name in ("price", "amount", "vector"):
        assert found[name] == "raw_feature"
    assert found["tags"] == found["age"] == "id_feature"
    for name in ("when", "us", "epoch", "offset"):
        assert {f"{name}_{part}" for part in PARTS} <= set(found)
    for name in ("day", "date"):
        assert {n for n in found if n.startswith(f"{name}_")} == {f"{name}_{p}" for p in PARTS[:3]}
    assert {n for n in found if n.startswith("clock")} == {"clock_hour"}
    assert not notes(load(config))


def test_predictions_of_texts_are_those_of_what_pandas_reads_in_them(config, tmp_path):
    pipeline = trained(config)
    file = config.with_suffix(f".{config.stem}").with_stem("train")
    pipeline.predict(str(file), str(tmp_path / "texts.parquet"))
    predicted = pd.read_parquet(tmp_path / "texts.parquet")["probs_click"].to_numpy()
    pipeline.export(str(tmp_path / "export"))
    scorer = Scorer.load(str(tmp_path / "export"), device="cpu")
    values = meant(frame())
    for rows in (frame(), values):
        scores = scorer.score(rows.drop(columns="click"))["probs_click"].numpy()
        np.testing.assert_allclose(scores, predicted, rtol=1e-6)
    for name in WRITTEN:  # each of them counts
        mixed = values.assign(**{name: values[name].iloc[::-1].to_numpy()})
        scores = scorer.score(mixed.drop(columns="click"))["probs_click"].numpy()
        assert np.abs(scores - predicted).max() > 1e-4


def draft_with(tmp_path: Path, name: str, cells: list, *flags: str) -> Path:
    rows = pd.DataFrame({"click": np.resize(CLICK, len(cells)), name: cells})
    rows.to_csv(tmp_path / "train.csv", index=False)
    return draft_of(tmp_path / "train.csv", "click", *flags)


def test_hours_of_points_in_time_are_those_of_their_zone_or_the_one_asked_for(tmp_path, capsys):
    zoned = TIMES.dt.tz_localize("UTC").dt.tz_convert("America/New_York")
    pd.DataFrame({"click": CLICK, "when": zoned}).to_parquet(tmp_path / "train.parquet")
    for flags, zone in ((), "America/New_York"), (("--time_zone", "Asia/Tokyo"), "Asia/Tokyo"):
        config = draft_of(tmp_path / "train.parquet", "click", *flags)
        (hour,) = [e.id_feature for e in load(config).pipeline.feature_configs if "HOUR" in str(e)]
        assert hour.time_zone == zone
        said = capsys.readouterr().out
        assert f"{zoned.min().tz_convert(zone):%Y-%m-%d %H:%M} to" in said


@pytest.mark.parametrize(
    ("zone", "column", "words"),
    [("Mars", "when", "Mars"), ("UTC", "local", "no effect")],
)
def test_a_time_zone_of_no_effect_or_that_does_not_exist_is_refused(tmp_path, zone, column, words):
    cells = TIMES.dt.strftime("%Y-%m-%d %H:%M" + ("Z" if column == "when" else ""))
    with pytest.raises(ConfigError, match=f"--time_zone.*{words}"):
        draft_with(tmp_path, column, cells.tolist(), "--time_zone", zone)


def test_days_that_may_be_months_are_asked_about(tmp_path, capsys):
    days = RANDOM.integers(1, 13, (ROWS, 2))
    draft_with(tmp_path, "day", [f"{a:02d}/{b:02d}/2024" for a, b in days])
    said = capsys.readouterr().out
    assert "'%m/%d/%Y', but they also fit '%d/%m/%Y'" in said[: said.index("tasks:")]


def test_codes_with_zeros_in_front_stay_texts(tmp_path, capsys):
    cells = [f"{code:03d}" if code else "N/A" for code in RANDOM.integers(0, 120, ROWS)]
    config = draft_with(tmp_path, "branch", cells)
    assert kinds(config) == {"branch": "id_feature"}
    assert "na_values" not in config.read_text()
    assert "begin with 0" in capsys.readouterr().out


def test_words_for_a_missing_value_are_found_in_every_row_that_is_looked_at(tmp_path):
    cells = [f"{price:.2f} €".replace(".", ",") for price in np.resize(PRICES, 90_000)]
    cells[77_123], cells[81_001] = "n/a", "-"
    config = draft_with(tmp_path, "price", cells)
    (feature,) = [e.raw_feature for e in load(config).pipeline.feature_configs]
    assert set(feature.na_values) == {"n/a", "-"}


def test_a_cell_that_is_written_otherwise_is_shown_and_taken_for_missing_on_demand(
    tmp_path, capsys
):
    cells = [f"${price:,.2f}" for price in np.resize(PRICES, 90_000)]
    cells[77_123] = "free"
    assert kinds(draft_with(tmp_path, "price", cells)) == {"price": "id_feature"}
    said = capsys.readouterr().out
    said = said[: said.index("tasks:")]
    assert "train.csv, row 77,124 is 'free'" in said or "'free' is not" in said
    assert "--numbers price" in said
    config = draft_with(tmp_path, "price", cells, "--numbers", "price")
    (feature,) = [e.raw_feature for e in load(config).pipeline.feature_configs]
    assert list(feature.na_values) == ["free"]
    Pipeline.load(config, device="cpu").check()


def test_evaluated_cells_that_training_does_not_write_are_told(tmp_path, capsys):
    pd.DataFrame({"click": CLICK, "age": ["?", *map(str, AGES[1:])]}).to_csv(
        tmp_path / "valid.csv", index=False
    )
    cells = ["18", "N/A", *("20", "34") * 600]
    draft_with(tmp_path, "age", cells, "--eval_data", str(tmp_path / "valid.csv"))
    said = capsys.readouterr().out
    assert "valid.csv, row 1 is '?'" in said[: said.index("tasks:")]


def test_whole_numbers_beside_words_are_ids_if_they_act_so(tmp_path):
    random = np.random.default_rng(8)
    quality = random.normal(size=400)
    who = random.integers(0, 400, 40_000)
    rows = pd.DataFrame(
        {
            "click": (random.normal(size=len(who)) < quality[who]).astype(int),
            "who": np.where(random.random(len(who)) < 0.05, "unknown", (7000 + who).astype(str)),
        }
    )
    rows.to_csv(tmp_path / "train.csv", index=False)
    config = draft_of(tmp_path / "train.csv", "click")
    (feature,) = [e.id_feature for e in load(config).pipeline.feature_configs]
    assert list(feature.na_values) == ["unknown"]
    assert feature.hash_bucket_size >= 400
