"""What `python -m tzmmoe.init` counts, samples, cuts and schedules, against oracles and laws."""

from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest

from tzmmoe.drafting.survey.columns.buckets import boundaries
from tzmmoe.drafting.survey.columns.profile import KEPT, Distinct, Numbers
from tzmmoe.drafting.survey.columns.rows import SEED, Sample
from tzmmoe.drafting.survey.draft import TrainingPlan
from tzmmoe.drafting.survey.feature import HASH_ROWS, hash_rows
from tzmmoe.drafting.survey.leaks import auc_of
from tzmmoe.drafting.survey.semantics import IDENTIFIER

RANDOM = np.random.default_rng(3)


@pytest.mark.parametrize("count", [1, 1000, KEPT, KEPT + 1, 400_000])
@pytest.mark.parametrize(
    "make",
    [
        lambda n: pa.array(n),
        lambda n: pa.array(n / 7),
        lambda n: pa.array(n).cast(pa.large_string()),
    ],
)
def test_distinct_values_are_counted_exactly_and_beyond_the_bound_within_two_percent(count, make):
    distinct = Distinct()
    for part in np.array_split(np.tile(np.arange(count), 2), 7):
        if len(part):
            distinct.add(make(part))
    assert distinct.exact == (count <= KEPT)
    assert distinct.count == (count if count <= KEPT else pytest.approx(count, rel=0.02))


def test_a_sample_holds_whole_rows_from_everywhere_in_order():
    sample = Sample()
    for part in np.array_split(np.arange(500_000), 9):
        sample.add({"row": pa.array(part), "twice": pa.array(2 * part)}, len(part))
    rows = sample.rows()
    numbers = rows["row"].to_numpy()
    assert (np.diff(numbers) > 0).all()
    assert (rows["twice"].to_numpy() == 2 * numbers).all()
    tenths = np.bincount(numbers // 50_000)
    assert abs(tenths / len(numbers) - 0.1).max() < 0.01


def test_a_value_that_fills_a_bucket_alone_gets_it_to_itself():
    amounts = np.concatenate([np.zeros(9000), np.arange(1, 1001)]).astype(float)
    cuts = boundaries(amounts, whole=True)
    assert cuts[0] == 1  # 0 alone below
    rows = np.bincount(np.searchsorted(cuts, amounts[amounts > 0], side="right"))[1:]
    assert len(rows) >= 20
    assert rows.max() <= 2 * rows.min()


@pytest.mark.parametrize("power", [-300, -150, -6, 0, 6, 150, 300, 307])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_moments_of_numbers_of_any_size_are_those_of_all_of_them_together(power, shift):
    """Block after block, the largest not first; the oracle counts in whole numbers' ratios."""
    numbers = (RANDOM.normal(size=600) + shift) * 0.1
    numbers[-1] *= 10
    counted = Numbers()
    for part in np.split(numbers, 6):
        counted.add(part * 10.0**power)
    exact = [Fraction(float(each)) for each in numbers * 10.0**power]
    mean = sum(exact) / len(exact)
    variance = sum((each - mean) ** 2 for each in exact) / len(exact)
    unit = Fraction(10) ** power
    assert counted.mean == pytest.approx(float(mean), rel=1e-9, abs=1e-12 * 10.0**power)
    assert Fraction(counted.deviation) ** 2 / unit**2 == pytest.approx(
        float(variance / unit**2), rel=1e-9
    )


@pytest.mark.parametrize("power", [-300, -6, 0, 6, 300, 307])
def test_cuts_divide_numbers_of_any_size_alike(power):
    """Rounding moves no cut by more than a hundredth of the distance to the next."""
    numbers = np.sort(RANDOM.normal(size=5000)) * 10.0**power
    cuts = np.array(boundaries(numbers, whole=False))
    rows = np.bincount(np.searchsorted(cuts, numbers, side="right"))
    assert len(rows) == 32
    assert rows.max() <= 1.2 * rows.min()


def test_few_values_get_a_bucket_each():
    assert boundaries(np.array([5.0, np.nan, 1.5, 5.0, -2.0]), whole=False) == [1.5, 5.0]


@pytest.mark.parametrize("distinct", [1, 99, 101, 5000, 100_000, 100_001, 3_000_000])
def test_a_hashed_table_has_rows_to_spare_but_not_without_bound(distinct):
    rows = hash_rows(distinct)
    wanted = distinct * (10 if distinct <= 100_000 else 2)
    assert wanted <= rows <= max(HASH_ROWS, 2.5 * wanted)
    assert str(rows).rstrip("0") in ("1", "2", "5")


def test_the_area_of_one_column_equals_a_loop_over_pairs():
    codes, truth = RANDOM.integers(0, 30, 400), (RANDOM.random(400) < 0.3).astype(float)
    half = np.random.default_rng(SEED).random(400) < 0.5
    prior = truth[half].mean()
    share = {
        c: (truth[half & (codes == c)].sum() + prior) / ((half & (codes == c)).sum() + 1)
        for c in range(30)
    }
    wins = [
        1.0 if share[p] > share[q] else 0.5 if share[p] == share[q] else 0.0
        for p in codes[~half & (truth == 1)]
        for q in codes[~half & (truth == 0)]
    ]
    assert auc_of(codes, truth) == pytest.approx(np.mean(wins), abs=1e-12)


@pytest.mark.parametrize("rows", [1, 50, 2000, 200_000, 10**7, 10**10])
def test_a_schedule_has_steps_enough_to_learn_and_no_more_passes_than_needed(rows):
    schedule = TrainingPlan.of(rows)
    steps = rows / schedule.batch_size
    assert 32 <= schedule.batch_size <= 4096
    assert schedule.num_epochs == 10 or steps * schedule.num_epochs >= 2000
    assert schedule.num_epochs == 1 or steps * (schedule.num_epochs - 1) < 2000


@pytest.mark.parametrize(
    ("names", "is_one"),
    [
        (("user_id", "userId", "item", "User", "zip", "sku", "campaign", "session_key"), True),
        (("price", "items", "user_age", "num_item", "paid", "width", "hour"), False),
    ],
)
def test_integers_are_taken_for_ids_by_names_that_mean_one_thing_each(names, is_one):
    assert [bool(IDENTIFIER.search(name)) for name in names] == [is_one] * len(names)
