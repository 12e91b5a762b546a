"""The synthetic data set: its probabilities are the truth, and nothing but the seed moves a row."""

import csv
import json
import math
import subprocess
import sys
import tracemalloc
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tzmmoe import Pipeline
from tzmmoe.data import population, synthetic, synthetic_files
from tzmmoe.data.population import Population, Sizes
from tzmmoe.errors import UserError

ROOT = Path(__file__).parents[2]
FEATURES = (
    "user_id segment item_id category hour position viewed_tags tag_scores price_ratio match_score"
).split()
IDS = FEATURES[:8]
TRUTH = ["click", "conversion", "p_click", "p_conversion"]
DEFAULTS = Sizes(users=1000, items=500, categories=50, tags=100, max_values=4)
PEOPLE = Population(DEFAULTS, seed=0)


def made(out: Path, *flags: str) -> Path:
    synthetic.main(["--out", str(out), *flags])
    return out


def table(out: Path, split: str = "train") -> pa.Table:
    return pq.read_table(sorted((out / split).iterdir()))


def column(rows: pa.Table, name: str) -> np.ndarray:
    return rows[name].to_numpy().astype(np.float64)


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
    assert all(name in synthetic.__doc__ for name in table(plain).column_names)


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


def by_hand(people: Population, row: dict) -> list[float]:
    """P(click) and P(conversion | click) of a row of a file, before they are rounded."""
    chances = []
    for task in range(2):
        logit = population.BASE[task]
        for name in IDS:
            if row[name] is None:
                continue
            pairs = row[name] if name == "tag_scores" else [(row[name], 1.0)]
            pairs = [(tag, 1.0) for tag in row[name]] if name == "viewed_tags" else pairs
            logit += sum(weight * people.effects[name][id_, task] for id_, weight in pairs)
        if None not in (row["segment"], row["category"]):
            logit += people.affinity[row["segment"], row["category"], task]
        if row["price_ratio"] is not None:
            logit += population.PRICE[task] * math.log10(row["price_ratio"])
        match = row["match_score"] or 0.0
        logit += population.MATCH[0][task] * match + population.MATCH[1][task] * match**2
        chances.append(1 / (1 + math.exp(-logit)))
    return chances


@pytest.mark.parametrize("missing", ["0", "0.3"])
def test_the_probabilities_are_the_documented_sum_over_the_cells(tmp_path, missing) -> None:
    out = made(tmp_path, "--rows", "300", "--eval_rows", "0", "--seed", "7", "--missing", missing)
    people = Population(DEFAULTS, seed=7)
    for row in table(out).to_pylist():
        given_click = row["p_conversion"] / row["p_click"]
        truth = np.clip(by_hand(people, row), 1 / 1024, 1023 / 1024)
        assert np.abs(truth - [row["p_click"], given_click]).max() <= 0.5 / 1024 + 1e-9


def test_every_kind_of_id_matters_by_more_than_models_are_held_to() -> None:
    """A ranking that knows all but one kind of id stays below the best AUC by more than 0.01, be
    it that of clicks or that of conversions after a click."""
    block = PEOPLE.rows("train", 0, 60_000)
    sizes = PEOPLE.sizes.ids()
    tasks = (
        (block.click_level, block.click, slice(None)),
        (block.conversion_level, block.conversion, block.click),
    )
    best = [ranked_auc(levels[rows], labels[rows]) for levels, labels, rows in tasks]
    for name in IDS:
        none = {name: np.full_like(block.ids[name], sizes[name])}
        logits = PEOPLE.logits({**block.ids, **none}, block.weights, block.numbers)
        losses = [
            best[task] - ranked_auc(logits[rows, task], labels[rows])
            for task, (_, labels, rows) in enumerate(tasks)
        ]
        assert max(losses) > 0.01, name


def pairs_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """By comparing each positive with each negative."""
    positives, negatives = scores[labels == 1][:, None], scores[labels == 0]
    return ((positives > negatives) + 0.5 * (positives == negatives)).mean()


def ranked_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    negatives = np.sort(scores[labels == 0])
    positives = scores[labels == 1]
    below = np.searchsorted(negatives, positives, "left")
    return (below + np.searchsorted(negatives, positives, "right")).mean() / (2 * len(negatives))


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


def test_the_printed_optimum_is_the_recorded_one(tmp_path, capsys) -> None:
    made(tmp_path, "--rows", "2000", "--eval_rows", "1")
    recorded = json.loads((tmp_path / "optimum.json").read_text())
    train, eval_, _ = capsys.readouterr().out.splitlines()
    for key in ("auc_ctr", "auc_cvr_in_space", "auc_ctcvr"):
        assert f"{key} {recorded['train'][key]:.4f}" in train
        assert recorded["eval"][key] is None  # one row has one class
        assert f"{key} undefined" in eval_


@settings(deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(0, 400), max_size=6), missing=st.sampled_from([0.0, 0.4]))
def test_a_row_is_the_same_in_whatever_block_it_is_made(cuts, missing) -> None:
    cells = synthetic_files.Cells(PEOPLE, words=False, as_text=True)
    edges = [0, *sorted(cuts), 400]
    blocks = [PEOPLE.rows("train", *span, missing) for span in pairwise(edges)]
    pieces = pa.Table.from_batches([cells.batch(block) for block in blocks])
    assert pieces.equals(
        pa.Table.from_batches([cells.batch(PEOPLE.rows("train", 0, 400, missing))])
    )


def test_files_and_blocks_do_not_change_the_rows(plain, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(synthetic_files, "BLOCK_ROWS", 777)
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


def peaks(out: Path, rows: int) -> tuple[int, int]:
    """Most bytes of Python and numpy, and of Arrow between two blocks, while rows are written."""
    pool, count, arrow = pa.default_memory_pool(), synthetic_files.Tally.add, []
    before = pool.bytes_allocated()

    def add(tally: synthetic_files.Tally, block: population.Block) -> None:
        arrow.append(pool.bytes_allocated() - before)
        count(tally, block)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic_files, "BLOCK_ROWS", 1000)
        patch.setattr(synthetic_files.Tally, "add", add)
        tracemalloc.start()
        made(out, "--rows", str(rows), "--eval_rows", "0")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak, max(arrow)


def test_memory_does_not_grow_with_the_rows(tmp_path) -> None:
    """50,000 more rows take 1.6 MB in one column of float64 and ids alone."""
    few, many = peaks(tmp_path, 5_000), peaks(tmp_path, 55_000)
    assert many[0] < few[0] + 100_000
    assert many[1] < few[1] + 100_000


def test_a_new_data_set_replaces_the_old_one(tmp_path) -> None:
    small = ("--rows", "100", "--eval_rows", "10")
    made(tmp_path, *small, "--files", "3")
    made(tmp_path, "--rows", "100", "--eval_rows", "0", "--format", "csv")
    names = [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()]
    assert sorted(names) == ["optimum.json", "train/part-000.csv"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--rows 0", "--rows is 0; give 1 or more"),
        ("--rows 10 --files 11", "--files is 11, more than --rows"),
        ("--missing 1", "--missing is 1; give a share within [0, 1)"),
        ("--missing nan", "--missing is nan"),
        ("--tags 3", "--max_values is 4, more than --tags"),
        ("--seed -1", "--seed is -1; give 0 or more"),
        ("--users 0 --items 0", "--items is 0; give 1 or more"),
        (f"--users {10**15}", "give 100,000,000 or fewer"),
        (f"--users {2**70}", f"--users is {2**70}; give 100,000,000 or fewer"),
        (f"--items {2**70}", "--items is"),
        (f"--tags {10**15}", "--tags is"),
        (f"--categories {10**9}", "--categories is"),
        ("--tags 5000 --max_values 5000", "--max_values is 5000; give 1,000 or fewer"),
        (f"--rows {2**70}", "--rows is"),
        (f"--eval_rows {2**70}", "--eval_rows is"),
        ("--format orc", "'orc'"),
        ("--row 10", "--row"),
        ("--rows many", "'many'"),
    ],
)
def test_a_bad_argument_ends_with_code_2_and_says_what_to_do(tmp_path, capsys, flags, said) -> None:
    with pytest.raises(SystemExit) as ended:
        made(tmp_path / "out", *flags.split())
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_ids_that_memory_does_not_hold_end_with_what_to_lower(tmp_path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(synthetic_files, "Population", full)
    with pytest.raises(UserError, match="give fewer --users"):
        made(tmp_path)


def test_all_bad_arguments_are_named_at_once(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit):
        made(tmp_path, *"--rows 0 --users 0 --missing 2 --tags 2".split())
    error = capsys.readouterr().err
    assert all(f"--{name} is" in error for name in ("rows", "users", "missing", "max_values"))


def test_files_of_others_are_not_touched_and_end_the_command_with_code_2(tmp_path) -> None:
    foreign = tmp_path / "train/part-000.parquet"
    foreign.parent.mkdir()
    foreign.write_text("precious")
    command = [sys.executable, "-m", "tzmmoe.data.synthetic", "--rows", "10", "--out"]
    for out, said in ((tmp_path, "name another --out"), (foreign, "cannot be written")):
        done = subprocess.run(
            [*command, str(out)], capture_output=True, text=True, check=False, cwd=ROOT
        )
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert foreign.read_text() == "precious"


def test_the_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from tzmmoe.data import synthetic; synthetic.parser().format_help(); "
        "sys.exit(','.join({'numpy', 'pyarrow', 'torch', 'google'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["parquet", "csv", "text"])
def test_the_shipped_config_fits_what_the_command_writes(tmp_path, kind) -> None:
    """In each form of the cells; each table has as many rows as there are ids by default."""
    flags = {"parquet": (), "csv": ("--format", "csv"), "text": ("--text_cells",)}
    made(tmp_path, "--rows", "3000", "--eval_rows", "100", *flags[kind])
    changes = [
        f"train_input_path={tmp_path}/train",
        f"eval_input_path={tmp_path}/eval",
        f"model_dir={tmp_path}/model",
        f"data_config.with_header={'true' if kind == 'csv' else 'false'}",
    ]
    shipped = Pipeline.load(ROOT / "configs/synthetic_mmoe.config", settings=changes, device="cpu")
    shipped.check()
    tables = {
        each.id_feature.feature_name: each.id_feature.num_buckets
        for each in shipped.config.pipeline.feature_configs
        if each.HasField("id_feature")
    }
    assert tables == DEFAULTS.ids()
    defaults = vars(synthetic.parser().parse_args(["--out", "x"]))
    assert Sizes(*(defaults[name] for name in vars(DEFAULTS))) == DEFAULTS
