"""Whole numbers that name things against those that measure, whatever the column is called."""

import csv
from pathlib import Path

import numpy as np
import pytest
from drafting.survey.columns import draft, draft_of
from written import load

from tzmmoe.drafting.survey.columns import power
from tzmmoe.drafting.survey.columns.buckets import boundaries
from tzmmoe.drafting.survey.columns.rows import SAMPLED, ValueSample
from tzmmoe.errors import ConfigError

ROWS = 12_000


def drawn(scores: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return (random.random(len(scores)) < 1 / (1 + np.exp(-scores))).astype(int)


def rating(seed: int = 0) -> dict:
    """Customers and films whose numbers mean nothing, and an age that means something."""
    random = np.random.default_rng(seed)
    customer, film = random.integers(1, 600, ROWS), 7 * random.zipf(1.3, ROWS) % 2801
    age = random.integers(0, 400, ROWS)
    taste, fame = random.normal(size=600), random.normal(size=2801)
    scores = taste[customer] + fame[film] + np.sin(age / 80)
    return {"click": drawn(scores, random), "customer": customer, "film": film, "age": age}


def kinds(config: Path) -> dict[str, str]:
    """{column: id_feature or raw_feature}."""
    entries = load(config).pipeline.feature_configs
    words = [each.WhichOneof("feature") for each in entries]
    found = zip(entries, words, strict=True)
    return {getattr(entry, word).feature_name: word for entry, word in found}


IDS = {"customer": "id_feature", "film": "id_feature", "age": "raw_feature"}


@pytest.mark.parametrize("form", ["whole", "float with gaps", "csv", "csv with gaps"])
def test_ids_are_told_from_quantities_by_what_they_do(tmp_path, form):
    columns = rating()
    if form == "float with gaps":
        columns["customer"] = [
            None if row % 9 == 0 else float(c) for row, c in enumerate(columns["customer"])
        ]
    if not form.startswith("csv"):
        assert kinds(draft(tmp_path, columns, "click")) == IDS
        return
    gap = form == "csv with gaps"
    with open(tmp_path / "train.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row, values in enumerate(zip(*columns.values(), strict=True)):
            writer.writerow(
                "" if gap and row % 9 == 0 and each else v for each, v in enumerate(values)
            )
    assert kinds(draft_of(tmp_path / "train.csv", "click")) == IDS


def test_a_renumbering_that_keeps_no_order_makes_a_quantity_an_id_and_back(tmp_path):
    """The same values, permuted: only what neighbours have in common is lost."""
    random = np.random.default_rng(1)
    size = random.integers(0, 500, ROWS)
    columns = {"click": drawn(np.sin(size / 60) * 2, random), "x": size}
    assert kinds(draft(tmp_path, columns, "click")) == {"x": "raw_feature"}
    columns["x"] = random.permutation(500)[size]
    assert kinds(draft(tmp_path, columns, "click")) == {"x": "id_feature"}


def test_rare_ids_are_told_among_many_rows(tmp_path):
    """Of 60,000 ids with five rows each, a sample of rows would hold hardly two of any."""
    random = np.random.default_rng(2)
    who = random.permutation(np.repeat(np.arange(60_000), 5))
    columns = {"click": drawn(2 * random.normal(size=60_000)[who], random), "who": who}
    assert kinds(draft(tmp_path, columns, "click")) == {"who": "id_feature"}


def test_what_the_data_leave_open_is_said_first_with_the_flag_that_settles_it(tmp_path, capsys):
    random = np.random.default_rng(3)
    columns = {"click": random.integers(0, 2, ROWS), "age": random.integers(0, 3000, ROWS)}
    assert kinds(draft(tmp_path, columns, "click")) == {"age": "raw_feature"}
    said = capsys.readouterr().out
    assert "age: whole numbers" in said[: said.index("tasks:")]
    assert "--ids age" in said
    assert kinds(draft(tmp_path, columns, "click", "--ids", "age")) == {"age": "id_feature"}
    assert "--ids age" not in capsys.readouterr().out


def test_flags_say_what_columns_are(tmp_path):
    random = np.random.default_rng(4)
    columns = rating() | {
        "day": np.array(["2024-01-01", "2024-02-01"])[random.integers(0, 2, ROWS)],
        "tags": np.array(["a b", "c", "b c a"])[random.integers(0, 3, ROWS)],
        "pipes": np.array(["a|b", "c", "b|c"])[random.integers(0, 3, ROWS)],
    }
    flags = ["--ids", "age,day", "--numbers", "customer", "--lists", "tags", "--text", "pipes"]
    config = draft(tmp_path, columns, "click", *flags)
    found = kinds(config)
    assert found["customer"] == "raw_feature"
    assert found["age"] == found["day"] == "id_feature"
    entries = {
        e.id_feature.feature_name: e.id_feature for e in load(config).pipeline.feature_configs
    }
    assert entries["tags"].separator == " "
    assert not entries["pipes"].HasField("separator")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--numbers", "word"], ["--numbers", "'word'", "'x'"]),
        (["--lists", "age"], ["--lists", "'age'", "one value"]),
        (["--lists", "word"], ["--lists", "'word'", "split"]),
        (["--ids", "age", "--numbers", "age"], ["--numbers", "'age'", "--ids"]),
        (["--text", "agee"], ["--text", "'agee'", "did you mean 'age'"]),
        (["--ids", "click"], ["--ids", "'click'", "--labels"]),
    ],
)
def test_flags_that_the_data_contradict_are_refused(tmp_path, flags, words):
    columns = {name: values[:500] for name, values in rating().items()}
    columns["word"] = ["x", "y"] * 250
    with pytest.raises(ConfigError, match=".*".join(words)):
        draft(tmp_path, columns, "click", *flags)


def test_texts_among_numbers_are_shown_with_the_first_place(tmp_path, capsys):
    price = [f"{number / 7:.2f}" for number in range(2000)]
    price[1498:1530] = [f"abc {number}" for number in range(32)]
    click = np.random.default_rng(5).integers(0, 2, 2000)
    lines = [f"{c},{p}" for c, p in zip(click, price, strict=True)]
    (tmp_path / "train.csv").write_text("\n".join(["click,price", *lines]) + "\n")
    draft_of(tmp_path / "train.csv", "click", "--ids", "price")
    capsys.readouterr()
    with pytest.raises(ConfigError, match="row 1,499 is 'abc 0'"):
        draft_of(tmp_path / "train.csv", "click", "--numbers", "price")


def test_predictions_are_those_of_a_loop_over_other_folds():
    """Squared errors of shrunken means, one row after the other."""
    random = np.random.default_rng(6)
    codes, label = random.integers(0, 9, 300), random.normal(size=300)
    folds, pull = random.integers(0, power.FOLDS, 300), power._pull(codes, label)
    expected = []
    for row in range(300):
        others = folds != folds[row]
        alike = others & (codes == codes[row])
        mean = (label[alike].sum() + pull * label[others].mean()) / (alike.sum() + pull)
        expected.append((label[row] - mean) ** 2)
    assert power._errors(codes, label, folds) == pytest.approx(np.array(expected))


def test_neighbours_are_the_next_rows_that_hold_other_values():
    random = np.random.default_rng(7)
    numbers, label = random.integers(0, 40, 640).astype(float), random.normal(size=640)
    order = np.argsort(numbers, kind="stable")
    numbers, label = numbers[order], label[order]
    reach = 640 // power.HEAVY
    pull = power._pull(np.arange(640) // reach, label)
    for row, error in enumerate(power._errors_by_neighbours(numbers, label)):
        below = label[numbers < numbers[row]][-reach:]
        above = label[numbers > numbers[row]][:reach]
        beside = np.concatenate([below, above]) - label.mean()
        shift = beside.sum() / (len(beside) + pull)
        assert error == pytest.approx((label[row] - label.mean() - shift) ** 2)


def test_labels_of_noise_make_no_column_an_id():
    """Of 200 columns of every repetition, none is told by chance."""
    random = np.random.default_rng(8)
    for trial in range(200):
        numbers = random.integers(0, 3 ** (trial % 8 + 1), 3000).astype(float)
        label = random.integers(0, 2, 3000).astype(float)
        found = power.compare(numbers, boundaries(numbers, whole=True), {"y": label}, 3000)
        assert not found.names_things


def test_a_sample_of_values_holds_all_their_rows():
    random = np.random.default_rng(9)
    numbers = random.integers(0, 100_000, 8 * SAMPLED).astype(float)
    labels = random.normal(size=(len(numbers), 2))
    sample = ValueSample()
    for part in np.array_split(np.arange(len(numbers)), 11):
        sample.add(numbers[part], labels[part])
    kept, beside = sample.rows()
    assert SAMPLED / 2 < len(kept) <= 2 * SAMPLED
    values, counts = np.unique(kept, return_counts=True)
    assert (counts == np.bincount(numbers.astype(int))[values.astype(int)]).all()
    assert set(beside[:, 1]) == set(labels[np.isin(numbers, values), 1])


@pytest.mark.parametrize("share", [0.6, 0.99])
def test_a_value_in_most_rows_does_not_crowd_out_the_others(share):
    random = np.random.default_rng(10)
    for heavy in range(4):  # with a large hash or a small one
        numbers = random.integers(10, 5000, 6 * SAMPLED).astype(float)
        numbers[random.random(len(numbers)) < share] = heavy
        sample = ValueSample()
        for part in np.array_split(numbers, 6):
            sample.add(part, np.zeros((len(part), 1)))
        kept, _ = sample.rows()
        assert len(np.unique(kept)) > 300


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("sign", [1, -1])
def test_cuts_are_short_and_part_the_values_as_the_values_themselves_would(kind, sign):
    tenths = (sign * np.arange(1, 30) / 10).astype(kind).astype(np.float64)
    cuts = boundaries(np.repeat(tenths, 10), whole=False)
    exact = np.unique(tenths)[1:]
    assert (np.searchsorted(cuts, tenths, "right") == np.searchsorted(exact, tenths, "right")).all()
    assert max(len(repr(cut)) for cut in cuts) <= 7


def test_a_label_of_true_and_false_tells_ids_too(tmp_path):
    columns = rating()
    truth = np.where(columns.pop("click") == 1, "True", "False")
    rows = zip(truth, *columns.values(), strict=True)
    lines = ["truth,customer,film,age", *(",".join(map(str, row)) for row in rows)]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    assert kinds(draft_of(tmp_path / "train.csv", "truth")) == IDS
