"""The metrics of training and evaluation -> those of the towers."""

import pytest
from drafting.tencent.documents import (
    LABELS,
    METRICS,
    MODEL,
    REMOVED,
    TRAINING,
    UNMEASURED,
    convert,
    refused,
)
from google.protobuf import text_format

from tzmmoe.protos.metric_pb2 import Metric


def metrics(found) -> list[list[Metric]]:
    return [list(tower.metrics) for tower in found.model.task_towers]


def parsed(kind: type, text: str):
    return text_format.Parse(text, kind())


@pytest.mark.parametrize("names", METRICS)
def test_a_metric_goes_by_its_names(tmp_path, names):
    """S0.64, S0.65, S0.66: bacc is binary accuracy at 0.5, not balanced accuracy."""
    expected = parsed(Metric, METRICS[names])
    for name in names.split():
        for value in (name, [name], {"type": name}, [[name]] * 3):
            found = convert(
                tmp_path,
                {f"{TRAINING}.metrics": value},
                labels=LABELS,
            )
            assert metrics(found) == [[expected]] * 3


def test_metrics_are_those_of_their_labels_whatever_their_order(tmp_path):
    """S0.64."""
    value = {
        "is_favor": "auc",
        "is_click": [{"type": "auc", "args": {"num_thresholds": 1000}}, "recall"],
        "play_num1": {"type": "precision", "args": {"thresholds": [0.25]}},
    }
    found = convert(tmp_path, {f"{TRAINING}.metrics": value})
    auc = "auc { thresholds: %d }"
    assert metrics(found) == [
        [parsed(Metric, auc % 1000), parsed(Metric, "recall { threshold: 0.5 }")],
        [parsed(Metric, "precision { threshold: 0.25 }")],
        [parsed(Metric, auc % 200)],
    ]


def test_metrics_in_a_list_of_lists_are_the_towers(tmp_path):
    """S0.64; a plain list is for every task, as in Keras."""
    value = [["auc", "bacc"], "mse", []]
    found = convert(tmp_path, {f"{TRAINING}.metrics": value}, labels=LABELS)
    words = [[metric.WhichOneof("metric") for metric in each] for each in metrics(found)]
    assert words == [["auc", "binary_accuracy"], ["mean_squared_error"], ["auc"]]
    found = convert(tmp_path, {f"{TRAINING}.metrics": ["auc", "mse"]}, labels=LABELS)
    words = [[metric.WhichOneof("metric") for metric in each] for each in metrics(found)]
    assert words == [["auc", "mean_squared_error"]] * 3


def test_towers_without_metrics_have_those_that_suit_their_loss_and_they_are_written(tmp_path):
    """S0.64."""
    changes = UNMEASURED | {f"{TRAINING}.losses": ["bce", "mse", "scce"]}
    changes[f"{MODEL}.task_structs"] = [[1], [1], [4]]
    changes[f"{MODEL}.task_output_act"] = None
    found = convert(tmp_path, changes, labels=LABELS)
    words = [[metric.WhichOneof("metric") for metric in each] for each in metrics(found)]
    assert words == [["auc"], ["mean_absolute_error", "mean_squared_error"], ["accuracy"]]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"is_clik": ["auc"]}, "'is_clik' is not a label of the inputs; did you mean 'is_click'"),
        ([["auc"], ["auc"]], "has 2 entries for 3 towers"),
        ("gauc", "'gauc' is not supported"),
        ("aucc", "metrics: is 'aucc'; give one of"),
        ("aucc", "did you mean 'auc'"),
        ([5], "metrics[0]: is 5; give the name of a metric"),
        ({"type": "auc", "args": {"curve": "PR"}}, 'is "PR"; only ROC is supported'),
        ({"type": "auc", "args": {"threshold": 1}}, "args.threshold: no such key"),
        ({"type": "recall", "args": {"thresholds": [0.1, 0.2]}}, "give one number"),
        ({"type": "recall", "args": {"top_k": 3}}, "args.top_k: is not supported"),
        (["auc", {"type": "auc", "args": {"num_thresholds": 5}}], "is another auc"),
        (["acc", {"type": "top_k_cacc"}], "is another accuracy"),
    ],
)
def test_metrics_that_there_are_not_are_refused(tmp_path, value, words):
    """S0.64."""
    said = refused(tmp_path, {f"{TRAINING}.metrics": value}, labels=LABELS)
    assert words in "\n".join(said)


def test_metrics_of_labels_without_tower_and_the_same_twice_are_reported(tmp_path):
    """S0.64, S0.79."""
    value = {"is_click": ["auc", "AUC"], "is_favor": [], "play_num5": ["auc"], "play_num1": "auc"}
    found = convert(tmp_path, {f"{TRAINING}.metrics": value}, labels=LABELS)
    assert f"{TRAINING}.metrics.play_num5: no tower learns this label" in found.plain
    assert f"{TRAINING}.metrics.is_click[1]: auc is already listed" in found.plain
    assert f"{TRAINING}.metrics has none of is_favor" in found.plain


def test_the_final_evaluation_has_its_own_metrics(tmp_path):
    """S0.71: named after the towers; without them, those of training serve."""
    changes = {"job_detail.eval_args.metrics": {"is_favor": ["rmse"], "is_click": "f1"}}
    found = convert(tmp_path, changes).pipeline.eval_config.task_metrics
    assert [each.name for each in found] == ["is_click", "is_favor"]
    assert list(found[0].metrics) == [parsed(Metric, "f1 { threshold: 0.5 }")]
    assert list(found[1].metrics) == [parsed(Metric, "root_mean_squared_error {}")]
    found = convert(tmp_path, {"job_detail.eval_args.metrics": REMOVED}).pipeline
    assert not found.eval_config.task_metrics
