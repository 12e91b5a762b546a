"""train_args.losses -> the losses of the towers."""

import pytest
from drafting.tencent.documents import (
    LABELS,
    MODEL,
    REMOVED,
    TRAINING,
    UNMEASURED,
    convert,
    refused,
)
from google.protobuf import text_format

from tzmmoe.protos.loss_pb2 import Loss


def losses(found) -> list[Loss]:
    return [tower.losses[0] for tower in found.model.task_towers]


def parsed(kind: type, text: str):
    return text_format.Parse(text, kind())


LOSSES = {
    "bce binary_crossentropy binary_cross_entropy bin_cross_entropy BinaryCrossentropy": (
        "binary_cross_entropy { label_smoothing: 0 }"
    ),
    "mse mean_squared_error mean_square_error MeanSquaredError": "l2_loss {}",
    "mae mean_absolute_error mean_abs_error MeanAbsoluteError": "l1_loss {}",
    "huber Huber": "huber_loss { delta: 1 }",
    "msle mean_squared_logarithmic_error mean_squared_log_error": "msle_loss {}",
    "hinge Hinge": "hinge_loss {}",
    "kld kullback_leibler_divergence KLDivergence": "kld_loss {}",
}


@pytest.mark.parametrize("names", LOSSES)
def test_one_loss_is_that_of_every_task(tmp_path, names):
    """S0.63: by its short and its long names."""
    expected = [parsed(Loss, LOSSES[names])] * 3
    for name in names.split():
        for value in (name, [name], {"type": name}, [{"type": name, "args": None}]):
            assert losses(convert(tmp_path, {f"{TRAINING}.losses": value})) == expected


@pytest.mark.parametrize("name", ["cce", "scce", "sparse_categorical_crossentropy"])
def test_losses_of_classes_have_a_logit_for_each(tmp_path, name):
    """S0.63, S0.11: the last width is the number of classes."""
    changes = {f"{TRAINING}.losses": name, f"{MODEL}.task_structs": [[8, 3], [8, 2], [5]]}
    changes[f"{MODEL}.task_output_act"] = "softmax"
    found = convert(tmp_path, changes | UNMEASURED, labels=LABELS)
    expected = parsed(Loss, "softmax_cross_entropy { label_smoothing: 0 }")
    assert losses(found) == [expected] * 3
    assert [tower.num_class for tower in found.model.task_towers] == [3, 2, 5]


def test_losses_by_label_are_those_of_their_towers_whatever_their_order(tmp_path):
    """S0.63, S0.79: as metrics are; what no tower learns is reported."""
    value = {"is_favor": "mse", "play_num5": "mae", "is_click": {"type": "bce", "weight": 2}}
    value["play_num1"] = "bce"
    found = convert(tmp_path, {f"{TRAINING}.losses": value})
    words = [loss.WhichOneof("loss") for loss in losses(found)]
    assert words == ["binary_cross_entropy", "binary_cross_entropy", "l2_loss"]
    assert [tower.weight for tower in found.model.task_towers] == [2, 1, 1]
    assert f"{TRAINING}.losses.play_num5: no tower learns this label" in found.plain
    assert f"# {TRAINING.partition('.')[2]}.losses.is_favor" in found.text


@pytest.mark.parametrize("key", ["losses", "metrics"])
def test_a_misspelt_label_is_named_with_the_nearest_even_when_towers_have_no_labels(tmp_path, key):
    """S0.63, S0.64: the towers of the seed take the labels that have metrics."""
    value = {"is_clik": "bce", "play_num1": "bce", "is_favor": "bce"}
    changes = {f"{TRAINING}.{key}": value, "job_detail.eval_args.metrics": REMOVED}
    said = refused(tmp_path, changes)
    wrong = f"job.json: {TRAINING}.{key}.is_clik: 'is_clik' is not a label of the inputs"
    assert f"{wrong}; did you mean 'is_click'?" in said


def test_a_label_without_loss_is_named_together_with_the_misspelt_one(tmp_path):
    """S0.63."""
    said = refused(tmp_path, {f"{TRAINING}.losses": {"is_clik": "bce", "is_favor": "bce"}})
    assert said == [
        f"job.json: {TRAINING}.losses.is_clik: 'is_clik' is not a label of the inputs; "
        "did you mean 'is_click'?",
        f"job.json: {TRAINING}.losses: has none of is_click, play_num1; give a loss for the label "
        "of each tower",
    ]


def test_losses_in_a_list_are_the_tasks_own_with_arguments_and_weights(tmp_path):
    """S0.63: in the order of the towers."""
    value = [
        {"type": "bce", "args": {"label_smoothing": 0.1}, "weight": 2},
        "mse",
        {"type": "huber", "args": {"delta": 0.5, "reduction": "auto", "name": "h"}, "weight": 0.5},
    ]
    found = convert(tmp_path, {f"{TRAINING}.losses": value})
    assert losses(found) == [
        parsed(Loss, "binary_cross_entropy { label_smoothing: 0.1 }"),
        parsed(Loss, "l2_loss {}"),
        parsed(Loss, "huber_loss { delta: 0.5 }"),
    ]
    assert [tower.weight for tower in found.model.task_towers] == [2, 1, 0.5]
    assert [tower.label_name for tower in found.model.task_towers][1] == "play_num1"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("bpr", "'bpr' is not supported"),
        ("mape", "'mape' is not supported"),
        ("bec", "did you mean 'bce'"),
        (["bce", "bce"], "has 2 losses for 3 towers"),
        ({"tpe": "bce"}, "losses.tpe: 'tpe' is not a label of the inputs; did you mean 'type'?"),
        ({"type": "bce", "args": {"delta": 1}}, "args.delta: no such key"),
        ({"type": "bce", "weight": -1}, "weight: is -1"),
        ({"weight": 1}, "losses.weight: 'weight' is not a label of the inputs"),
        ({"type": "", "weight": 1}, "losses.type: is not set"),
        ({"type": "bce", "args": {"from_logits": True}}, "task_output_act is sigmoid"),
        ({"type": "mse", "args": {"reduction": "sum"}}, "'sum', which is not supported"),
        ("scce", "task_structs[0][2]: is 1; softmax_cross_entropy takes 2 logits or more"),
        (["bce", "bce", ""], "losses[2].type: is not set"),
        (["bce", "bce", None], "losses[2]: is null; give an object"),
        ("", "is not set; give one, such as bce"),
    ],
)
def test_losses_that_there_are_not_are_refused(tmp_path, value, words):
    """S0.63."""
    assert words in "\n".join(refused(tmp_path, {f"{TRAINING}.losses": value}))


KLD = "kld of one logit is of two classes, p and 1 - p; in Keras it is y log(y / p) alone"


@pytest.mark.parametrize(
    ("loss", "last", "differs"),
    [("kld", 1, True), (["bce", "KLDivergence", "bce"], 1, True), ("kld", 3, False)],
)
def test_a_distance_of_one_logit_is_told_to_differ_from_keras(tmp_path, loss, last, differs):
    """S0.63, S0.79."""
    changes = {f"{TRAINING}.losses": loss, f"{MODEL}.task_structs": [[8, last]] * 3}
    changes[f"{MODEL}.task_output_act"] = None
    found = convert(tmp_path, changes | UNMEASURED, labels=LABELS)
    assert found.plain.count(KLD) == differs
    assert KLD not in convert(tmp_path).plain


def test_a_loss_of_one_logit_needs_a_tower_of_one(tmp_path):
    """S0.11, S0.63."""
    (said,) = refused(tmp_path, {f"{MODEL}.task_structs": [[8, 1], [8, 3], [8, 1]]})
    assert said.startswith(
        f"job.json: {MODEL}.task_structs[1][1]: is 3; binary_cross_entropy takes 1"
    )
