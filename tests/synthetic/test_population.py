"""The people behind the synthetic rows: their probabilities are the truth, block by block."""

import math
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthesized import DEFAULTS, IDS, made, ranked_auc, table

from tzmmoe.synthetic import files, population
from tzmmoe.synthetic.population import Population

PEOPLE = Population(DEFAULTS, seed=0)


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


@settings(deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(0, 400), max_size=6), missing=st.sampled_from([0.0, 0.4]))
def test_a_row_is_the_same_in_whatever_block_it_is_made(cuts, missing) -> None:
    cells = files.Cells(PEOPLE, words=False, as_text=True)
    edges = [0, *sorted(cuts), 400]
    blocks = [PEOPLE.rows("train", *span, missing) for span in pairwise(edges)]
    pieces = pa.Table.from_batches([cells.batch(block) for block in blocks])
    assert pieces.equals(
        pa.Table.from_batches([cells.batch(PEOPLE.rows("train", 0, 400, missing))])
    )
