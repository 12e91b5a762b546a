"""train_args -> train_config: keys, reports, and when to stop."""

import pytest
from drafting.tencent.documents import (
    LABELS,
    METRICS,
    MODEL,
    REMOVED,
    TRAINING,
    convert,
    refused,
)


@pytest.mark.parametrize(
    ("key", "field", "value"),
    [
        ("epochs", "num_epochs", 7),
        ("num_samples", "num_samples", 2**40),
        ("num_val_samples", "num_val_samples", 1),
        ("grad_process", "grad_process", "pcgrad"),
    ],
)
def test_a_key_of_training_becomes_its_field(tmp_path, key, field, value):
    """S0.59, S0.60, S0.61, S0.62."""
    assert getattr(convert(tmp_path, {f"{TRAINING}.{key}": value}).train, field) == value


def test_the_numbers_of_rows_are_optional(tmp_path):
    """S0.60, S0.61."""
    changes = {f"{TRAINING}.num_samples": REMOVED, f"{TRAINING}.num_val_samples": None}
    train = convert(tmp_path, changes).train
    assert not train.HasField("num_samples")
    assert not train.HasField("num_val_samples")


def test_rows_of_a_batch_are_those_of_training_and_validation_and_evaluation_has_its_own(tmp_path):
    """S0.58, S0.71: 128 where the job does not say."""
    changes = {f"{TRAINING}.batch_size": 33, "job_detail.eval_args.batch_size": 44}
    found = convert(tmp_path, changes).pipeline
    assert (found.data_config.batch_size, found.data_config.eval_batch_size) == (33, 33)
    assert found.eval_config.batch_size == 44
    changes = {f"{TRAINING}.batch_size": REMOVED, f"{TRAINING}.epochs": REMOVED}
    found = convert(tmp_path, changes).pipeline
    assert found.data_config.batch_size == 128
    assert found.train_config.num_epochs == 1


def test_the_speed_logger_has_the_defaults_of_where_it_comes_from(tmp_path):
    """S0.67."""
    logger = convert(tmp_path, {f"{TRAINING}.train_speed_logger": {}}).train.train_speed_logger
    assert logger.HasField("every_batches")
    assert (logger.every_batches, logger.with_metrics) == (100, False)
    changes = {f"{TRAINING}.train_speed_logger": REMOVED}
    assert not convert(tmp_path, changes).train.HasField("train_speed_logger")


@pytest.mark.parametrize(
    ("value", "batches"),
    [
        ([200, 300], [200, 300]),
        (5, [5]),
        (0, [0]),
        ("2,4", [2, 4]),
        (REMOVED, [0]),
        ([7, 7], [7, 7]),
    ],
)
def test_the_traced_batches_of_tensorboard(tmp_path, value, batches):
    """S0.68: a pair, one, or none."""
    changes = {f"{TRAINING}.tensorboard.profile_batch": value}
    train = convert(tmp_path, changes).train
    assert train.use_tensorboard
    assert list(train.tensorboard.profile_batch) == batches


@pytest.mark.parametrize(
    "value", [[1], [3, 2], [0, 5], [1, 2, 3], -1, 1.5, "a", [1, "b"], True, {}]
)
def test_what_are_no_batches_to_trace_is_refused(tmp_path, value):
    """S0.68."""
    if value == [1]:
        assert convert(tmp_path, {f"{TRAINING}.tensorboard.profile_batch": value})
        return
    (said,) = refused(tmp_path, {f"{TRAINING}.tensorboard.profile_batch": value})
    assert said.startswith(f"job.json: {TRAINING}.tensorboard.profile_batch: is ")


def test_other_keys_of_tensorboard_have_no_effect_and_without_it_nothing_is_written(tmp_path):
    """S0.68."""
    value = {"log_dir": "summary", "histogram_freq": 1, "write_graph": True, "update_freq": "batch"}
    found = convert(tmp_path, {f"{TRAINING}.tensorboard": value})
    idle = found.report.partition("no effect here:")[2]
    assert all(f"{TRAINING}.tensorboard.{key}" in idle for key in value)
    train = convert(tmp_path, {f"{TRAINING}.tensorboard": REMOVED}).train
    assert train.HasField("use_tensorboard")
    assert not train.use_tensorboard
    assert not train.HasField("tensorboard")


def test_early_stopping_has_keras_defaults(tmp_path):
    """S0.69, S0.70."""
    stopping = convert(tmp_path, {f"{TRAINING}.early_stopping": {}}).train.early_stopping
    assert stopping.HasField("mode")
    assert (stopping.monitor, stopping.mode, stopping.patience) == ("val_loss", "auto", 0)
    assert (stopping.min_delta, stopping.restore_best_weights) == (0, True)
    changes = {f"{TRAINING}.early_stopping": REMOVED}
    assert not convert(tmp_path, changes).train.HasField("early_stopping")


@pytest.mark.parametrize("mode", ["min", "max", "auto"])
def test_early_stopping_is_taken_over(tmp_path, mode):
    """S0.69, S0.70: the monitor as it is; the sign of min_delta means nothing to Keras."""
    value = {"monitor": "val_is_click_auc", "mode": mode, "patience": 2, "min_delta": -0.5}
    value |= {"restore_best_weights": False, "verbose": 1}
    found = convert(tmp_path, {f"{TRAINING}.early_stopping": value})
    stopping = found.train.early_stopping
    assert (stopping.monitor, stopping.mode) == ("val_is_click_auc", mode)
    assert (stopping.patience, stopping.min_delta) == (2, 0.5)
    assert stopping.restore_best_weights
    assert "restore_best_weights: the best weights are always restored" in found.plain


def test_early_stopping_needs_a_mode_that_there_is_and_something_to_watch(tmp_path):
    """S0.69, S0.70."""
    (said,) = refused(tmp_path, {f"{TRAINING}.early_stopping.mode": "mim"})
    assert said.endswith("early_stopping.mode: is 'mim'; give auto, min or max")
    (said,) = refused(tmp_path, {"job_detail.val_data_args": REMOVED})
    assert said.endswith(
        "early_stopping: needs val_data_args to watch; add it, or remove early_stopping"
    )


MONITORS = ("val_is_click_auc", "val_is_click_bacc", "auc_is_click", "val_is_click_loss")


@pytest.mark.parametrize("monitor", MONITORS)
def test_early_stopping_watches_what_is_measured(tmp_path, monitor):
    """S0.69: by Keras's names and by ours."""
    found = convert(tmp_path, {f"{TRAINING}.early_stopping.monitor": monitor})
    assert found.train.early_stopping.monitor == monitor


@pytest.mark.parametrize(
    "name", [name for names in METRICS for name in names.split() if name.islower()]
)
def test_a_metric_is_watched_by_each_name_that_it_goes_by(tmp_path, name):
    """S0.64, S0.69."""
    changes = {
        f"{TRAINING}.metrics": name,
        f"{TRAINING}.early_stopping.monitor": f"val_is_click_{name}",
    }
    changes |= {f"{MODEL}.task_structs": [[8, 1]] * 3}
    found = convert(tmp_path, changes, labels=LABELS)
    assert found.train.early_stopping.monitor == f"val_is_click_{name}"


@pytest.mark.parametrize("monitor", ["val_is_clik_auc", "val_los", "val_is_click_recall", "loss"])
def test_a_monitor_that_is_not_measured_is_refused_by_its_key(tmp_path, monitor):
    """S0.69."""
    (said,) = refused(tmp_path, {f"{TRAINING}.early_stopping.monitor": monitor})
    path = f"job.json: {TRAINING}.early_stopping.monitor"
    assert said.startswith(f"{path}: {monitor!r} is not evaluated; ")
    assert "choose from auc_is_click, " in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"losses": {"type": "bce", "args": {"label_smoothing": 1.5}}},
            "losses: binary_cross_entropy.label_smoothing: is 1.5; give 0 to below 1",
        ),
        (
            {"losses": ["bce", {"type": "huber", "args": {"delta": 0}}, "bce"]},
            "losses[1]: huber_loss.delta: is 0; give a number above 0",
        ),
        (
            {"optimizer": {"type": "adam", "args": {"beta_1": 1.5}}},
            "optimizer: adam_optimizer.beta1: is 1.5; give 0 to below 1",
        ),
        (
            {"metrics.is_click[1]": {"type": "recall", "args": {"thresholds": 5}}},
            "metrics.is_click[1]: recall.threshold: is 5; give a number within [0, 1]",
        ),
    ],
)
def test_what_training_would_refuse_is_refused_by_the_keys_of_the_job(tmp_path, changes, said):
    """S0.62, S0.63, S0.64: by the checks of what the config becomes."""
    changes = {f"{TRAINING}.{key}": value for key, value in changes.items()}
    assert f"job.json: {TRAINING}.{said}" in refused(tmp_path, changes)


def test_a_metric_that_cannot_measure_its_tower_is_refused_by_its_key(tmp_path):
    """S0.64, S0.71."""
    changes = {f"{TRAINING}.losses": ["mse", "bce", "bce"]}
    lines = refused(tmp_path, changes | {f"{MODEL}.task_output_act": None})
    words = "auc takes probs1 or probs, but the losses give y"
    assert any(
        line.startswith(f"job.json: {TRAINING}.metrics.is_click[0]: {words}") for line in lines
    )
    changes |= {f"{TRAINING}.metrics.is_click": "mae", f"{MODEL}.task_output_act": None}
    lines = refused(tmp_path, changes)
    place = "job_detail.eval_args.metrics.is_click[0]"
    assert any(line.startswith(f"job.json: {place}: {words}") for line in lines)


def test_other_keys_of_training_that_have_a_counterpart(tmp_path):
    found = convert(tmp_path, {f"{TRAINING}.mix_precision": True, f"{TRAINING}.ckpt_path": "ckpt"})
    assert found.train.mixed_precision == "FP16"
    assert found.pipeline.model_dir == f"{tmp_path}/ckpt"
    found = convert(tmp_path, {f"{TRAINING}.term_on_nan": True})
    assert "term_on_nan: a run always ends at a loss that is NaN" in found.plain
