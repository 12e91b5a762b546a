"""Files of the synthetic rows: their probabilities hold, and nothing but the seed moves a row."""

import csv
import json
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from synthesized import FEATURES, IDS, TRUTH, column, made, ranked_auc, table

from tzmmoe.synthetic import __main__, files


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    return made(folder / "out", "--rows", "60000", "--eval_rows", "3000")


@pytest.fixture(scope="module")
def gappy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few ids, and many values missing, so that many rows look alike."""
    folder = tmp_path_factory.mktemp("gappy")
    few = "--users 2 --items 2 --categories 1 --tags 2 --max_values 1".split()
    return made(folder / "out", "--rows", "20000", "--eval_rows", "0", "--missing", "0.7", *few)


def test_the_columns_are_those_that_the_help_lists(plain) -> None:
    assert table(plain).column_names == [*FEATURES, *TRUTH]
    assert all(name in __main__.__doc__ for name in table(plain).column_names)


def test_labels_follow_the_probabilities(plain) -> None:
    """In each of ten parts by probability, as many labels as the probabilities sum to."""
    rows = table(plain)
    click, p_click, p_conversion = (column(rows, n) for n in ("click", "p_click", "p_conversion"))
    conversion, clicked = column(rows, "conversion"), click == 1
    for labels, chances in (
        (click, p_click),
        (conversion, p_conversion),
        (conversion[clicked], (p_conversion / p_click)[clicked]),
    ):
        parts = np.array_split(np.argsort(chances), 10)
        for part in parts:
            expected, variance = chances[part].sum(), (chances * (1 - chances))[part].sum()
            assert abs(labels[part].sum() - expected) < 4.5 * math.sqrt(variance)
        assert chances[parts[-1]].mean() > 5 * chances[parts[0]].mean()


def test_a_conversion_implies_a_click_and_both_labels_occur(plain) -> None:
    rows = table(plain)
    click, conversion = column(rows, "click"), column(rows, "conversion")
    assert set(zip(click, conversion, strict=True)) == {(0, 0), (1, 0), (1, 1)}


def test_rows_that_look_alike_have_one_probability(gappy) -> None:
    """So the probabilities are a function of the features, and the best ranking there is."""
    rows = table(gappy).to_pylist()
    seen: dict[str, set] = defaultdict(set)
    for row in rows:
        seen[repr([row[name] for name in FEATURES])].add((row["p_click"], row["p_conversion"]))
    assert len(rows) - len(seen) > 5_000
    assert all(len(truths) == 1 for truths in seen.values())


def pairs_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """By comparing each positive with each negative."""
    positives, negatives = scores[labels == 1][:, None], scores[labels == 0]
    return ((positives > negatives) + 0.5 * (positives == negatives)).mean()


@pytest.mark.parametrize(("split", "oracle"), [("eval", pairs_auc), ("train", ranked_auc)])
def test_the_recorded_optimum_is_the_auc_of_the_columns(plain, split, oracle) -> None:
    rows = table(plain, split)
    click, conversion = column(rows, "click"), column(rows, "conversion")
    p_click, p_conversion = column(rows, "p_click"), column(rows, "p_conversion")
    clicked = click == 1
    recorded = json.loads((plain / "optimum.json").read_text())[split]
    given_click = (p_conversion / p_click)[clicked]
    assert recorded == pytest.approx(
        {
            "rows": len(click),
            "click_rate": click.mean(),
            "conversion_rate": conversion.mean(),
            "auc_ctr": oracle(p_click, click),
            "auc_cvr_in_space": oracle(given_click, conversion[clicked]),
            "auc_ctcvr": oracle(p_conversion, conversion),
        },
        rel=1e-12,
    )


def test_files_and_blocks_do_not_change_the_rows(plain, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(files, "BLOCK_ROWS", 777)
    made(tmp_path, "--rows", "5000", "--eval_rows", "3000", "--files", "7")
    assert len(list((tmp_path / "train").iterdir())) == 7
    assert table(tmp_path).equals(table(plain).slice(0, 5000))
    assert table(tmp_path, "eval").equals(table(plain, "eval"))


def test_another_seed_and_the_other_split_give_other_rows(plain, tmp_path) -> None:
    made(tmp_path, "--rows", "3000", "--eval_rows", "0", "--seed", "1")
    first = table(plain).slice(0, 3000)
    for other in (table(tmp_path), table(plain, "eval")):
        assert (column(first, "user_id") == column(other, "user_id")).mean() < 0.01


def test_string_ids_are_the_int_ids_in_words(plain, tmp_path) -> None:
    made(tmp_path, "--rows", "2000", "--eval_rows", "0", "--ids", "string")
    words, numbers = table(tmp_path), table(plain).slice(0, 2000)
    for name in set(words.column_names) - set(IDS):
        assert words[name].equals(numbers[name])
    for name in IDS[:6]:
        assert words[name].to_pylist() == [f"{name}_{id_}" for id_ in numbers[name].to_pylist()]
    for name in IDS[6:]:
        cells = json.dumps(numbers[name].to_pylist())
        for cell, word in zip(json.loads(cells), words[name].to_pylist(), strict=True):
            expected = [
                (f"{name}_{each[0]}", each[1]) if isinstance(each, list) else f"{name}_{each}"
                for each in cell
            ]
            assert word == expected


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5])
def test_each_feature_misses_the_share_that_was_asked_for(tmp_path, share) -> None:
    count = 20_000
    made(tmp_path, "--rows", str(count), "--eval_rows", "0", "--missing", str(share))
    rows = table(tmp_path)
    for name in FEATURES:
        tolerance = 4.5 * math.sqrt(count * share * (1 - share))
        assert abs(rows[name].null_count - count * share) <= tolerance, name
    assert all(rows[name].null_count == 0 for name in TRUTH)


def test_cells_of_several_values_hold_one_to_the_most_and_none_twice(plain) -> None:
    rows = table(plain)
    lists = rows["viewed_tags"].to_pylist()
    maps = [[tag for tag, _ in cell] for cell in rows["tag_scores"].to_pylist()]
    for cells in (lists, maps):
        assert {len(cell) for cell in cells} == {1, 2, 3, 4}
        assert all(len(set(cell)) == len(cell) for cell in cells)
        assert {tag for cell in cells for tag in cell} == set(range(100))


def parsed(text: str) -> int | float | None:
    return None if not text else float(text) if "." in text else int(text)


@pytest.mark.parametrize("missing", ["0", "0.2"])
def test_csv_text_cells_and_parquet_hold_the_same_values(tmp_path, missing) -> None:
    flags = ("--rows", "2000", "--eval_rows", "0", "--missing", missing)
    native = table(made(tmp_path / "native", *flags)).to_pylist()
    text = table(made(tmp_path / "text", *flags, "--text_cells")).to_pylist()
    made(tmp_path / "csv", *flags, "--format", "csv", "--files", "2")
    lines = []
    for path in sorted((tmp_path / "csv/train").iterdir()):
        with path.open(newline="") as file:
            lines += csv.DictReader(file)
    for row, text_row, line in zip(native, text, lines, strict=True):
        for name in ("viewed_tags", "tag_scores"):
            assert line[name] == (text_row[name] or "")
        for name in (*FEATURES, *TRUTH):
            if name == "viewed_tags":
                value = [int(tag) for tag in line[name].split("|")] if line[name] else None
            elif name == "tag_scores":
                pairs = [pair.split(":") for pair in line[name].split("|") if pair]
                value = [(int(tag), float(weight)) for tag, weight in pairs] or None
            else:
                value = parsed(line[name])
            if isinstance(value, float):
                value = float(np.float32(value))
            assert value == row[name], name
