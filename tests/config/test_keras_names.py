"""Keras's keys of an evaluation and ours, both ways, on plain data."""

import math
from dataclasses import dataclass, field

import pytest

from tzmmoe.config.dialects.keras import METRIC_NAMES, by_label, canonical_key
from tzmmoe.tasks.metrics import METRICS


@dataclass(frozen=True)
class Words:
    """What a task says of itself."""

    name: str
    label: str
    metrics: dict[str, None] = field(default_factory=lambda: {"auc": None})
    losses: dict[str, None] = field(default_factory=lambda: {"binary_cross_entropy": None})
    weight: float = 1.0


CTR, CVR = Words("ctr", "click"), Words("cvr", "buy", {"auc": None, "accuracy": None})
TWO_LOSSES = Words("ctr", "click", losses={"l2_loss": None, "jrc_loss": None})
KNOWN = {"auc_ctr", "auc_cvr", "accuracy_cvr", "val_loss"}


@pytest.mark.parametrize(
    ("tasks", "spelled", "key"),
    [
        ([CTR, CVR], "auc_ctr", "auc_ctr"),
        ([CTR, CVR], "val_loss", "val_loss"),
        ([CTR, CVR], "val_click_auc", "auc_ctr"),
        ([CTR, CVR], "click_auc", "auc_ctr"),
        ([CTR, CVR], "val_cvr_auc", "auc_cvr"),
        ([CTR, CVR], "val_buy_sparse_categorical_acc", "accuracy_cvr"),
        ([CTR, CVR], "val_click_loss", "binary_cross_entropy_ctr"),
        ([CTR], "val_auc", "auc_ctr"),
        ([CTR], "loss", "binary_cross_entropy_ctr"),
        # Not a key: another task's metric, no task named, which of two losses, a slip.
        ([CTR, CVR], "val_click_acc", "val_click_acc"),
        ([CTR, CVR], "val_auc", "val_auc"),
        ([TWO_LOSSES, CVR], "val_click_loss", "val_click_loss"),
        ([CTR, CVR], "val_click_acu", "val_click_acu"),
        # Towers that share a label go by their own names.
        ([CTR, Words("ctr2", "click")], "val_ctr2_auc", "auc_ctr2"),
        ([CTR, Words("ctr2", "click")], "val_click_auc", "val_click_auc"),
    ],
)
def test_a_key_of_keras_becomes_ours_and_any_other_stays(tasks, spelled, key):
    assert canonical_key(tasks, spelled, KNOWN) == key


def test_a_key_of_ours_is_never_taken_for_one_of_keras():
    """A tower may be called like another's label, with a metric's name before."""
    odd = Words("val_click_auc", "x")
    assert canonical_key([CTR, odd], "val_click_auc", {"val_click_auc"}) == "val_click_auc"


@pytest.mark.parametrize("tasks", [[CTR, CVR], [CTR, Words("ctr2", "click")]])
def test_every_name_in_a_file_of_results_leads_back_to_its_key(tasks):
    keys = {f"{word}_{task.name}" for task in tasks for word in (*task.metrics, *task.losses)}
    results = {key: float(place) for place, key in enumerate(sorted(keys))}
    renamed = by_label(tasks, results | {"val_loss": -1.0})
    assert renamed.pop("loss") == -1.0
    assert {canonical_key(tasks, name, ()): value for name, value in renamed.items()} == results


def test_a_tasks_loss_is_told_without_its_weight_and_of_weight_0_not_at_all():
    tasks = [Words("ctr", "click", weight=4.0), Words("cvr", "buy", weight=0.0)]
    results = dict.fromkeys(["auc_ctr", "auc_cvr", "auc_ctr_in_space"], 0.5)
    losses = {"binary_cross_entropy_ctr": 2.0, "binary_cross_entropy_cvr": 0.0, "val_loss": 2.25}
    renamed = by_label(tasks, results | losses | {"regularization": 0.25})
    assert math.isnan(renamed.pop("buy_loss"))
    assert renamed == {
        "loss": 2.25,
        "click_loss": 0.5,
        "click_auc": 0.5,
        "click_auc_in_space": 0.5,
        "buy_auc": 0.5,
        "regularization": 0.25,
    }


def test_a_task_without_losses_has_no_loss_in_a_file_of_results():
    renamed = by_label([Words("cvr", "buy", losses={})], {"val_loss": 1.0, "auc_cvr": 0.5})
    assert renamed == {"loss": 1.0, "buy_auc": 0.5}


def test_every_metric_in_the_table_is_a_word_of_the_schema_and_no_name_means_two():
    assert set(METRIC_NAMES) <= set(METRICS.words)
    names = [name for several in METRIC_NAMES.values() for name in several]
    assert len(set(names)) == len(names)
