"""Tasks: named outputs, which rows a metric sees, and what does not fit together."""

import itertools
import math

import numpy as np
import oracles
import parts
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.batch import Column
from tzmmoe.errors import ConfigError
from tzmmoe.tasks.task import TaskSpace
from tzmmoe.tasks.taskset import TaskSet

NAN = math.nan
BCE = "binary_cross_entropy {}"
CLICKED = TaskSpace("click", inside=1.0, outside=0.0)


def test_outputs_and_metrics_are_the_reference_numbers_of_torcheasyrec() -> None:
    logits = {"t1": torch.tensor([0.2, 0.3]), "t2": torch.tensor([1.2, 1.3])}
    tasks = TaskSet(
        [
            parts.task("t1", label="label1", metric=["auc {}"]),
            parts.task("t2", label="label2", metric=["auc {}"]),
        ]
    )
    outputs = tasks.predict(logits)
    assert outputs["probs_t1"].tolist() == pytest.approx([0.5498, 0.5744], abs=5e-5)
    assert outputs["probs_t2"].tolist() == pytest.approx([0.7685, 0.7858], abs=5e-5)
    tasks.update(outputs, parts.batch({"label1": [0.0, 1.0], "label2": [1.0, 0.0]}))
    assert tasks.compute() == {"auc_t1": 1.0, "auc_t2": 0.0}


@pytest.mark.parametrize(
    ("loss", "num_class", "names"),
    [
        ([BCE], 1, ["logits_t", "probs_t"]),
        (["l2_loss {}"], 1, ["y_t"]),
        (["huber_loss {}", "l1_loss {}", "msle_loss {}"], 1, ["y_t"]),
        (["hinge_loss {}"], 1, ["logits_t", "probs_t"]),
        (["kld_loss {}"], 1, ["logits_t", "probs_t"]),
        (["kld_loss {}"], 2, ["logits_t", "probs_t", "probs1_t"]),
        (["kld_loss {}"], 5, ["logits_t", "probs_t"]),
        ([BCE, "l2_loss {}"], 1, ["logits_t", "probs_t", "y_t"]),
        (["softmax_cross_entropy {}"], 2, ["logits_t", "probs_t", "probs1_t"]),
        (["softmax_cross_entropy {}"], 5, ["logits_t", "probs_t"]),
    ],
)
def test_outputs_have_the_names_of_torcheasyrec_and_the_link_of_the_loss(
    loss: list[str], num_class: int, names: list[str]
) -> None:
    task = parts.task("t", loss=loss, num_class=num_class)
    logits = parts.normal(6, num_class, dtype=torch.float32)
    logits = logits.squeeze(1) if num_class == 1 else logits
    outputs = TaskSet([task]).predict({"t": logits})
    assert list(outputs) == names
    assert [f"{kind}_t" for kind in task.outputs()] == names
    for name, found in outputs.items():
        probs = logits.sigmoid() if num_class == 1 else logits.softmax(dim=1)
        link = {"logits_t": logits, "y_t": logits, "probs_t": probs}
        assert_close(found, probs[:, 1] if name == "probs1_t" else link[name])


METRICS = ["auc { thresholds: 0 }", "logloss {}", 'grouped_auc { grouping_key: "user" }']


def measured(tasks: TaskSet, logits: dict[str, Tensor], columns: dict[str, Tensor]) -> dict:
    """Metrics over batches of 13 rows."""
    tasks.reset()
    num_rows = len(columns["click"])
    for begin in range(0, num_rows, 13):
        part = slice(begin, begin + 13)
        outputs = tasks.predict({name: each[part] for name, each in logits.items()})
        tasks.update(outputs, parts.batch({n: column[part] for n, column in columns.items()}))
    return tasks.compute()


def wanted_metrics(logits: Tensor, columns: dict[str, Tensor], rows: Tensor) -> list[float]:
    probs = logits.sigmoid()[rows].numpy()
    labels, users = columns["buy"][rows].numpy(), columns["user"][rows].numpy()
    return [
        oracles.auc_by_pairs(probs, labels > 0.5),
        oracles.log_loss(probs.astype(np.float64), labels, 1e-12),
        oracles.grouped_auc_by_loop(probs, labels > 0.5, users),
    ]


def test_metrics_see_the_rows_with_a_label_and_those_in_space_the_part_within() -> None:
    """Whatever the weights; metrics in space have names of their own beside the plain ones."""
    logits, columns = parts.impressions(200)
    columns["click"][:9] = NAN
    task = parts.task(
        "cvr", label="buy", metric=METRICS, sample_weight="weight",
        space=TaskSpace("click", 0.3, 2.0), weight=5.0,
    )  # fmt: skip
    found = measured(TaskSet([task]), logits, columns)
    present = ~columns["buy"].isnan()
    inside = present & (columns["click"] > 0)
    words = ["auc", "logloss", "grouped_auc"]
    wanted = {}
    for word, plain, within in zip(
        words,
        wanted_metrics(logits["cvr"], columns, present),
        wanted_metrics(logits["cvr"], columns, inside),
        strict=True,
    ):
        wanted |= {f"{word}_cvr": plain, f"{word}_cvr_in_space": within}
    assert list(found) == list(wanted)
    assert found == pytest.approx(wanted, rel=1e-6)


def test_metrics_do_not_depend_on_weights() -> None:
    logits, columns = parts.impressions(100)
    tasks = TaskSet([parts.task("cvr", label="buy", metric=METRICS, sample_weight="weight")])
    before = measured(tasks, logits, columns)
    assert measured(tasks, logits, columns | {"weight": torch.zeros(100)}) == before


@pytest.mark.parametrize("num_rows", [0, 20])
def test_metrics_without_a_labelled_row_are_nan_without_a_warning(num_rows: int) -> None:
    """Warnings are errors in these tests."""
    logits, columns = parts.impressions(num_rows)
    columns["buy"] = torch.full((num_rows,), NAN)
    task = parts.task("cvr", label="buy", metric=METRICS, space=CLICKED)
    tasks = TaskSet([task])
    tasks.update(tasks.predict(logits | {"cvr": logits["cvr"]}), parts.batch(columns))
    assert len(tasks.compute()) == 6
    assert all(math.isnan(value) for value in tasks.compute().values())


def test_metrics_of_two_classes_read_the_probability_of_the_second() -> None:
    """Labels may be classes or distributions: these count by the share of the second class."""
    logits = parts.normal(50, 2, dtype=torch.float32)
    classes = (parts.normal(50, seed=1) + logits[:, 1] > 0).float()
    softmax = ["softmax_cross_entropy {}"]
    metrics = ["auc { thresholds: 0 }", "logloss {}", "accuracy {}", "calibration {}"]
    spread = torch.stack([1 - classes, classes], dim=1)
    found = []
    for labels in (classes, spread):
        tasks = TaskSet([parts.task("t", loss=softmax, num_class=2, metric=metrics)])
        tasks.update(tasks.predict({"t": logits}), parts.batch({"t": labels}))
        found.append(tasks.compute())
    assert found[0] == found[1]
    probs1 = logits.softmax(dim=1)[:, 1].numpy()
    positive = classes.numpy() > 0
    wanted = {
        "auc_t": oracles.auc_by_pairs(probs1, positive),
        "logloss_t": oracles.log_loss(probs1.astype(np.float64), classes.numpy(), 1e-12),
        "accuracy_t": ((probs1 > 0.5) == positive).mean(),
        "calibration_t": probs1.sum() / positive.sum(),
    }
    assert found[0] == pytest.approx(wanted, rel=1e-6)


def test_a_distribution_that_is_missing_in_part_is_left_out() -> None:
    probs = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.1, 0.2, 0.7]])
    labels = torch.tensor([[1.0, 0.0, 0.0], [NAN, NAN, NAN], [0.9, NAN, 0.1]])
    task = parts.task("t", loss=["softmax_cross_entropy {}"], num_class=3, metric=["accuracy {}"])
    tasks = TaskSet([task])
    tasks.update(tasks.predict({"t": probs.log()}), parts.batch({"t": labels}))
    assert tasks.compute() == {"accuracy_t": 1.0}


def test_metrics_take_the_best_output_that_the_losses_give() -> None:
    """The number rather than the probability for an error, where a tower has both."""
    logits, labels = parts.normal(30, dtype=torch.float32), torch.ones(30)
    for loss, predictions in (
        ([BCE], logits.sigmoid()),
        (["l2_loss {}"], logits),
        ([BCE, "l2_loss {}"], logits),
    ):
        tasks = TaskSet([parts.task("t", loss=loss, metric=["mean_absolute_error {}"])])
        tasks.update(tasks.predict({"t": logits}), parts.batch({"t": labels}))
        wanted = (predictions - labels).abs().double().mean()
        assert tasks.compute()["mean_absolute_error_t"] == pytest.approx(float(wanted), rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "num_class", "metric", "paths"),
    [
        ([BCE], 2, ["auc {}"], ["num_class"]),
        (["softmax_cross_entropy {}"], 1, [], ["num_class"]),
        (["l2_loss {}"], 1, ["accuracy {}", "auc {}"], ["metrics[0]", "metrics[1]"]),
        (["l1_loss {}"], 1, ["precision {}"], ["metrics[0]"]),
        (["hinge_loss {}"], 2, [], ["num_class"]),
        (["kld_loss {}"], 0, [], ["num_class"]),
        (["kld_loss {}"], 3, ["f1 {}"], ["metrics[0]"]),
        (["softmax_cross_entropy {}"], 3, ["accuracy {}", "auc {}"], ["metrics[1]"]),
        (["softmax_cross_entropy {}"], 3, ["mean_squared_error {}"], ["metrics[0]"]),
        (["softmax_cross_entropy {}"], 3, ["calibration {}"], ["metrics[0]"]),
    ],
)
def test_losses_metrics_and_number_of_logits_that_do_not_fit_are_named(
    loss: list[str], num_class: int, metric: list[str], paths: list[str]
) -> None:
    task = parts.task("t", loss=loss, num_class=num_class, metric=metric)
    with pytest.raises(ConfigError) as error:
        task.check()
    assert [fault.path for fault in error.value.faults] == paths


@pytest.mark.parametrize("num_class", [1, 2, 3])
def test_every_metric_that_check_lets_pass_computes(num_class: int) -> None:
    """All metrics with all losses: what cannot be computed is refused before, not at evaluation."""
    losses = [[BCE], ["l2_loss {}"], [BCE, "l2_loss {}"], ["hinge_loss {}"]]
    losses = losses if num_class == 1 else [["softmax_cross_entropy {}"], ["kld_loss {}"]]
    metrics = [*METRICS, "accuracy {}", "normalized_entropy {}", "calibration {}"]
    metrics += ["mean_absolute_error {}", "mean_squared_error {}", "auc { thresholds: 9 }"]
    metrics += ["binary_accuracy {}", "precision {}", "recall {}", "balanced_accuracy {}", "f1 {}"]
    logits = parts.normal(40, num_class, dtype=torch.float32)
    logits = logits.squeeze(1) if num_class == 1 else logits
    labels = (torch.arange(40) % max(num_class, 2)).float()
    passed = 0
    for loss, metric in itertools.product(losses, metrics):
        task = parts.task("t", loss=loss, num_class=num_class, metric=[metric])
        try:
            task.check()
        except ConfigError:
            continue
        tasks = TaskSet([task])
        tasks.update(
            tasks.predict({"t": logits}), parts.batch({"t": labels, "user": labels.long()})
        )
        [value] = tasks.compute().values()
        assert math.isfinite(value) or "grouped" in metric
        passed += 1
    assert passed >= 1


def test_columns_are_read_once_with_what_all_uses_allow() -> None:
    tasks = [
        parts.task("ctr", label="click", sample_weight="weight"),
        parts.task("cvr", label="buy", space=CLICKED, sample_weight="weight", metric=METRICS),
        parts.task("price", label="buy", loss=["l2_loss {}"]),
        parts.task("kind", loss=["softmax_cross_entropy {}"], num_class=4),
    ]
    assert TaskSet(tasks).columns() == [
        Column("click", "label", 0, 1),
        Column("weight", "weight", low=0),
        Column("buy", "label", 0, 1),
        Column("user", "group"),
        Column("kind", "label", 0, 3, num_classes=4),
    ]


def test_a_column_of_two_roles_is_an_error() -> None:
    task = parts.task("ctr", label="click", sample_weight="click")
    with pytest.raises(ConfigError, match="'click' is used as label and as weight"):
        TaskSet([task]).columns()


def test_keys_tell_which_direction_is_better() -> None:
    tasks = TaskSet([parts.task("cvr", label="buy", metric=METRICS, space=CLICKED)])
    assert tasks.loss_keys() == ["binary_cross_entropy_cvr"]
    assert tasks.larger_is_better() == {
        "auc_cvr": True,
        "auc_cvr_in_space": True,
        "logloss_cvr": False,
        "logloss_cvr_in_space": False,
        "grouped_auc_cvr": True,
        "grouped_auc_cvr_in_space": True,
        "binary_cross_entropy_cvr": False,
        "val_loss": False,
    }


@pytest.mark.parametrize("thresholds", [0, 200])
def test_predictions_that_are_nan_make_a_metric_undefined_and_are_counted(
    thresholds: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when only one row of one batch is; without labels it does not count."""
    texts = [f"auc {{ thresholds: {thresholds} }}", "logloss {}"]
    tasks = TaskSet([parts.task("ctr", metric=texts), parts.task("cvr", metric=texts)])
    labels = {"ctr": [0.0, 1.0, 1.0, 0.0], "cvr": [0.0, 1.0, 1.0, math.nan]}
    good = torch.tensor([0.1, 0.2, 0.3, 0.4])
    bad = torch.tensor([0.1, 0.2, 0.3, math.nan])
    for probs in (good, bad, good):
        tasks.update({"probs_ctr": probs, "probs_cvr": probs}, parts.batch(labels))
    results = tasks.compute()
    assert math.isnan(results["auc_ctr"])
    assert math.isnan(results["logloss_ctr"])
    assert results["auc_cvr"] == 1.0
    assert "auc_ctr is undefined: 1 predictions are NaN" in caplog.text
    tasks.reset()
    tasks.update({"probs_ctr": good, "probs_cvr": good}, parts.batch(labels))
    assert results["auc_cvr"] == tasks.compute()["auc_cvr"]
    assert not math.isnan(tasks.compute()["auc_ctr"])
