"""The best evaluation, and when to stop: as Keras does, evaluation by evaluation."""

import json
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tzmmoe.errors import ConfigError
from tzmmoe.run.ends import Best, Watch
from tzmmoe.tasks.keys import checked_key

VALUES = st.lists(st.floats(-10, 10) | st.just(math.nan), max_size=30)


def stops_at(values: Sequence[float], *, patience: int, **best: object) -> int | None:
    """The number of the evaluation that ends the run, from 0."""
    arguments = {"larger_is_better": True, "min_delta": 0.0} | best
    watch = Watch(stopping=Best("auc", **arguments), patience=patience)
    for number, value in enumerate(values):
        watch.note(number * 100, {"auc": value})
        if watch.stopped:
            return number
    return None


def keras(
    values: Sequence[float], *, patience: int, larger_is_better: bool, min_delta: float
) -> int | None:
    """keras.callbacks.EarlyStopping, with evaluations in the place of epochs."""
    sign = 1 if larger_is_better else -1
    best, wait = -math.inf, 0
    for number, value in enumerate(values):
        wait += 1
        if sign * value - min_delta > best or (best == -math.inf and not math.isnan(value)):
            best, wait = sign * value, 0
        if wait >= patience and wait > 0:
            return number
    return None


@given(
    values=VALUES,
    patience=st.integers(0, 5),
    larger_is_better=st.booleans(),
    min_delta=st.floats(0, 2),
)
def test_a_run_stops_where_keras_would_stop_it(
    values, patience, larger_is_better, min_delta
) -> None:
    settings = {"larger_is_better": larger_is_better, "min_delta": min_delta}
    found = stops_at(values, patience=patience, **settings)
    assert found == keras(values, patience=patience, **settings)


def test_patience_counts_evaluations_without_improvement() -> None:
    values = [0.5, 0.6, 0.6, 0.59, 0.61, 0.60, 0.60, 0.60, 0.9]
    assert stops_at(values, patience=3) == 7
    assert stops_at(values, patience=4) is None


def test_an_improvement_is_larger_than_min_delta() -> None:
    assert stops_at([0.5, 0.5625, 0.625], patience=1, min_delta=0.0625) == 1
    assert stops_at([0.5, 0.5626, 0.6252], patience=1, min_delta=0.0625) is None


def test_a_loss_improves_downwards() -> None:
    assert stops_at([1.0, 0.9, 0.95], patience=1, larger_is_better=False) == 2


def test_nan_never_improves_not_even_as_the_first() -> None:
    assert stops_at([math.nan, 0.5, math.nan, math.nan], patience=2) == 3
    assert stops_at([math.nan, math.nan], patience=2) == 1


@given(values=VALUES, larger_is_better=st.booleans())
def test_the_best_step_is_the_first_with_the_best_value(values, larger_is_better) -> None:
    best = Best("auc", larger_is_better)
    for number, value in enumerate(values):
        best.note(number, {"auc": value})
    known = [value for value in values if not math.isnan(value)]
    if not known:
        assert best.step is None
        return
    top = max(known) if larger_is_better else min(known)
    assert best.value == top
    assert best.step == values.index(top)


@given(values=VALUES, more=VALUES)
def test_a_watch_that_went_through_a_checkpoint_goes_on_as_if_it_had_not(values, more) -> None:
    def fresh() -> Watch:
        return Watch(Best("loss", False), Best("auc", True, 0.1), patience=3)

    whole, first = fresh(), fresh()
    for number, value in enumerate(values):
        for watch in (whole, first):
            watch.note(number, {"auc": value, "loss": -value})
    second = fresh()
    second.restore(json.loads(json.dumps(first.to_json())))
    for number, value in enumerate(more, len(values)):
        for watch in (whole, second):
            watch.note(number, {"auc": value, "loss": -value})
    assert second == whole


def test_another_key_than_before_begins_anew() -> None:
    saved = Watch(Best("auc_ctr", True, value=0.9, step=5)).to_json()
    watch = Watch(Best("auc_cvr", True))
    watch.restore(saved)
    assert watch.best == Best("auc_cvr", True)


def test_the_checkpoints_of_both_best_values_are_kept() -> None:
    watch = Watch(Best("auc", True), Best("loss", False), patience=9)
    assert watch.kept_steps() == set()
    for step, auc, loss in ((10, 0.5, 1.0), (20, 0.7, 1.1), (30, 0.6, 0.9), (40, 0.6, 0.95)):
        watch.note(step, {"auc": auc, "loss": loss})
    assert watch.kept_steps() == {20, 30}


def test_a_key_that_is_not_evaluated_is_told_with_those_that_are() -> None:
    natures = {"val_loss": False, "auc_ctr": True}
    assert checked_key("p", "auc_ctr", natures) is True
    assert checked_key("p", "val_loss", natures) is False
    words = (
        r"p: 'auc_crt' is not evaluated; choose from val_loss, auc_ctr; did you mean 'auc_ctr'\?$"
    )
    with pytest.raises(ConfigError, match=words):
        checked_key("p", "auc_crt", natures)


def test_a_key_without_a_better_direction_chooses_only_when_the_config_gives_one() -> None:
    natures = {"bias_ctr": None}
    with pytest.raises(ConfigError, match=r"p: .* better for 'bias_ctr'; choose"):
        checked_key("p", "bias_ctr", natures)
    assert checked_key("p", "bias_ctr", natures, forced=True) is True
