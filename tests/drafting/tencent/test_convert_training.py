"""train_args, eval_args and the files -> train_config, eval_config, data_config."""

import math

import pytest
from drafting.tencent.documents import (
    INPUTS,
    JOB,
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
from tzmmoe.protos.metric_pb2 import Metric
from tzmmoe.protos.pipeline_pb2 import Pipeline

SETS = {
    "train_data_args": "train_input_path",
    "val_data_args": "eval_input_path",
    "test_data_args": "test_input_path",
}


def written(found) -> Pipeline:
    """As it stands in the file, before short forms are spread."""
    return text_format.Parse(found.text, Pipeline())


def losses(found) -> list[Loss]:
    return [tower.losses[0] for tower in found.model.task_towers]


def metrics(found) -> list[list[Metric]]:
    return [list(tower.metrics) for tower in found.model.task_towers]


def parsed(kind: type, text: str):
    return text_format.Parse(text, kind())


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


# Defaults of the constructors of tf.keras.optimizers (2.6).
KERAS = {
    "adam": "adam_optimizer { lr: 0.001 beta1: 0.9 beta2: 0.999 eps: 1e-7 }",
    "adamax": "adamax_optimizer { lr: 0.001 beta1: 0.9 beta2: 0.999 eps: 1e-7 }",
    "nadam": "nadam_optimizer { lr: 0.001 beta1: 0.9 beta2: 0.999 eps: 1e-7 }",
    "adadelta": "adadelta_optimizer { lr: 0.001 rho: 0.95 eps: 1e-7 }",
    "adagrad": "adagrad_optimizer { lr: 0.001 initial_accumulator_value: 0.1 eps: 1e-7 }",
    "rmsprop": "rmsprop_optimizer { lr: 0.001 alpha: 0.9 eps: 1e-7 }",
    "sgd": "sgd_optimizer { lr: 0.01 }",
    "ftrl": "ftrl_optimizer { lr: 0.001 learning_rate_power: -0.5 initial_accumulator_value: 0.1 "
    "l1_reg: 0 l2_reg: 0 }",
}


@pytest.mark.parametrize("name", KERAS)
@pytest.mark.parametrize("form", ["text", "capitals", "object", "list"])
def test_an_optimizer_has_keras_defaults(tmp_path, name, form):
    """S0.62: as a text or an object, in any case."""
    value = {
        "text": name,
        "capitals": name.upper(),
        "object": {"type": name},
        "list": [{"type": name, "args": {}}],
    }[form]
    train = written(convert(tmp_path, {f"{TRAINING}.optimizer": value})).train_config
    expected = f"{KERAS[name]} constant_learning_rate {{}}"
    assert train.optimizer == parsed(type(train.optimizer), expected)


ARGUMENTS = {
    "adam": ({"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3}, "beta1: 0.8 beta2: 0.99 eps: 1e-3"),
    "adamax": ({"beta_1": 0.8}, "beta1: 0.8 beta2: 0.999 eps: 1e-7"),
    "nadam": ({"epsilon": 0.1}, "beta1: 0.9 beta2: 0.999 eps: 0.1"),
    "adadelta": ({"rho": 0.5, "epsilon": 1e-6}, "rho: 0.5 eps: 1e-6"),
    "adagrad": ({"initial_accumulator_value": 0.5}, "initial_accumulator_value: 0.5 eps: 1e-7"),
    "rmsprop": ({"rho": 0.5, "momentum": 0.0, "centered": False}, "alpha: 0.5 eps: 1e-7"),
    "sgd": ({"momentum": 0.0, "nesterov": False}, ""),
    "ftrl": (
        {"l1_regularization_strength": 0.5, "l2_regularization_strength": 0.25},
        "learning_rate_power: -0.5 initial_accumulator_value: 0.1 l1_reg: 0.5 l2_reg: 0.25",
    ),
}


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("rate", ["learning_rate", "lr"])
def test_arguments_of_an_optimizer_go_by_keras_names(tmp_path, name, rate):
    """S0.62: lr is another name of learning_rate."""
    arguments, text = ARGUMENTS[name]
    value = {"type": name, "args": {rate: 0.5, **arguments}}
    train = written(convert(tmp_path, {f"{TRAINING}.optimizer": value})).train_config
    expected = f"{name}_optimizer {{ lr: 0.5 {text} }} constant_learning_rate {{}}"
    assert train.optimizer == parsed(type(train.optimizer), expected)
    assert not train.HasField("sparse_optimizer")


APART = {
    "momentum": ({"type": "sgd", "args": {"momentum": 0.9}}, "momentum: 0.9"),
    "nesterov": (
        {"type": "SGD", "args": {"momentum": 0.9, "nesterov": True}},
        "momentum: 0.9 nesterov: true",
    ),
    "weight_decay": ({"type": "sgd", "args": {"weight_decay": 0.1}}, "weight_decay: 0.1"),
}


@pytest.mark.parametrize("name", APART)
def test_what_tables_cannot_do_is_done_by_the_dense_part_alone_and_reported(tmp_path, name):
    """S0.62."""
    value, own = APART[name]
    found = convert(tmp_path, {f"{TRAINING}.optimizer": value})
    train = found.train
    sparse = "sgd_optimizer { lr: 0.01 } constant_learning_rate {}"
    dense = f"sgd_optimizer {{ lr: 0.01 {own} }} constant_learning_rate {{}}"
    assert not train.HasField("optimizer")
    assert train.sparse_optimizer == parsed(type(train.sparse_optimizer), sparse)
    assert train.dense_optimizer == parsed(type(train.dense_optimizer), dense)
    assert "tables take the plain sgd_optimizer" in found.plain
    assert "act on the dense part alone" in found.plain


@pytest.mark.parametrize(
    ("value", "decay"),
    [
        ("adamw", 0.004),
        ({"type": "AdamW", "args": {"weight_decay": 0.1}}, 0.1),
        ({"type": "adam", "args": {"weight_decay": 0.1}}, 0.1),
    ],
)
def test_decay_beside_adam_is_that_of_adamw(tmp_path, value, decay):
    """Keras decays weights apart from the gradient, as AdamW does, and unlike torch's Adam."""
    train = convert(tmp_path, {f"{TRAINING}.optimizer": value}).train
    plain = "lr: 0.001 beta1: 0.9 beta2: 0.999 eps: 1e-7"
    sparse = f"adam_optimizer {{ {plain} }} constant_learning_rate {{}}"
    dense = f"adamw_optimizer {{ {plain} weight_decay: {decay} }} constant_learning_rate {{}}"
    assert train.sparse_optimizer == parsed(type(train.sparse_optimizer), sparse)
    assert train.dense_optimizer == parsed(type(train.dense_optimizer), dense)


def test_other_arguments_of_the_dense_part_alone(tmp_path):
    """S0.62: amsgrad of adam, momentum of rmsprop; nesterov without momentum is nothing."""
    value = {"type": "adam", "args": {"amsgrad": True}}
    train = convert(tmp_path, {f"{TRAINING}.optimizer": value}).train
    assert train.dense_optimizer.adam_optimizer.amsgrad
    value = {"type": "rmsprop", "args": {"momentum": 0.5}}
    train = convert(tmp_path, {f"{TRAINING}.optimizer": value}).train
    assert train.dense_optimizer.rmsprop_optimizer.momentum == 0.5
    assert train.sparse_optimizer.rmsprop_optimizer.alpha == 0.9
    value = {"type": "sgd", "args": {"nesterov": True}}
    found = convert(tmp_path, {f"{TRAINING}.optimizer": value})
    assert not found.train.dense_optimizer.sgd_optimizer.nesterov
    assert "nesterov: there is no momentum" in found.plain


def test_a_job_without_optimizer_has_adam(tmp_path):
    """S0.62."""
    found = convert(tmp_path, {f"{TRAINING}.optimizer": REMOVED})
    train = written(found).train_config
    expected = f"{KERAS['adam']} constant_learning_rate {{}}"
    assert train.optimizer == parsed(type(train.optimizer), expected)
    assert "optimizer {  # default" in found.text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("proximaladagrad", "'proximaladagrad' is not supported"),
        ("adm", "did you mean 'adam'"),
        ({"type": "adam", "args": {"clipnorm": 1.0}}, "args.clipnorm: is not supported"),
        ({"type": "sgd", "args": {"decay": 0.1}}, "args.decay: is not supported"),
        ({"type": "ftrl", "args": {"momentum": 0.9}}, "args.momentum: is not supported"),
        ({"type": "ftrl", "args": {"weight_decay": 0.9}}, "args.weight_decay: is not supported"),
        ({"type": "adam", "args": {"lr": 1, "learning_rate": 1}}, "so is learning_rate; keep one"),
        ({"type": "adam", "args": {"learning_rate": {"class_name": "X"}}}, "is an object"),
        ({"type": "adam", "args": {"lr": -1}}, "is -1; give 0 or more"),
        ({"type": "sgd", "args": {"momentum": 0.9, "weight_decay": 0.1}}, "keep one"),
        ({"type": "adam", "lr": 0.1}, "optimizer.lr: no such key"),
        (["adam", "sgd"], "has 2 optimizers, which is not supported"),
        (5, "is 5; give an object"),
    ],
)
def test_optimizers_that_there_are_not_are_refused(tmp_path, value, words):
    """S0.62."""
    assert words in "\n".join(refused(tmp_path, {f"{TRAINING}.optimizer": value}))


def test_surgery_of_gradients_is_told_beside_the_optimizer_or_in_it(tmp_path):
    """S0.62."""
    value = {"type": "adam", "grad_process": "PCGrad"}
    assert convert(tmp_path, {f"{TRAINING}.optimizer": value}).train.grad_process == "pcgrad"
    (said,) = refused(tmp_path, {f"{TRAINING}.grad_process": "gradnorm"})
    assert "is 'gradnorm'; give pcgrad" in said
    changes = {f"{TRAINING}.optimizer": value, f"{TRAINING}.grad_process": "pcgrad"}
    assert "set beside the optimizer too; keep one" in "\n".join(refused(tmp_path, changes))


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


METRICS = {
    "auc AUC": "auc { thresholds: 200 }",
    "bacc binary_accuracy binary_acc bin_acc": "binary_accuracy { threshold: 0.5 }",
    "acc accuracy cacc categorical_accuracy scacc": "accuracy {}",
    "top_k_cacc sparse_top_k_categorical_accuracy": "accuracy { top_k: 5 }",
    "precision prec": "precision { threshold: 0.5 }",
    "recall": "recall { threshold: 0.5 }",
    "f1 f1s f1_score": "f1 { threshold: 0.5 }",
    "mse mean_squared_error mean_square_error": "mean_squared_error {}",
    "mae mean_absolute_error": "mean_absolute_error {}",
    "rmse root_mean_squared_error": "root_mean_squared_error {}",
    "bce binary_crossentropy bin_cross_entropy logloss": "logloss {}",
    "balanced_accuracy balanced_acc": "balanced_accuracy { threshold: 0.5 }",
}


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
    said = refused(tmp_path, changes | {f"{MODEL}.task_output_act": None})
    words = "auc takes probs1 or probs, but the losses give y"
    assert f"job.json: {TRAINING}.metrics.is_click[0]: {words}" in said
    changes |= {f"{TRAINING}.metrics.is_click": "mae", f"{MODEL}.task_output_act": None}
    said = refused(tmp_path, changes)
    assert f"job.json: job_detail.eval_args.metrics.is_click[0]: {words}" in said


def test_other_keys_of_training_that_have_a_counterpart(tmp_path):
    found = convert(tmp_path, {f"{TRAINING}.mix_precision": True, f"{TRAINING}.ckpt_path": "ckpt"})
    assert found.train.mixed_precision == "FP16"
    assert found.pipeline.model_dir == f"{tmp_path}/ckpt"
    found = convert(tmp_path, {f"{TRAINING}.term_on_nan": True})
    assert "term_on_nan: a run always ends at a loss that is NaN" in found.plain


@pytest.mark.parametrize("key", SETS)
def test_each_set_of_files_becomes_its_path(tmp_path, key):
    """S0.55, S0.56, S0.57: a file, a pattern, several by commas, or a list."""
    for value, expected in {
        "/a/x.csv": "/a/x.csv",
        "/a/*.csv": "/a/*.csv",
        "/a/x.csv,/a/y.csv": "/a/x.csv,/a/y.csv",
        "part-*.csv": f"{tmp_path}/part-*.csv",
    }.items():
        found = convert(tmp_path, {f"job_detail.{key}.data_file": value}).pipeline
        assert getattr(found, SETS[key]) == expected
    value = ["/a/x.csv", "${PACK_PATH}$/y.csv", "z.csv"]
    found = convert(tmp_path, {f"job_detail.{key}.data_file": value}).pipeline
    assert getattr(found, SETS[key]) == f"/a/x.csv,{tmp_path}/y.csv,{tmp_path}/z.csv"


def test_sets_that_a_job_does_not_have_are_not_in_the_config(tmp_path):
    """S0.55: only training must be."""
    changes = {f"job_detail.{key}": REMOVED for key in ("val_data_args", "test_data_args")}
    changes |= {f"{TRAINING}.early_stopping": REMOVED, "job_detail.eval_args": REMOVED}
    found = convert(tmp_path, changes).pipeline
    assert not found.HasField("eval_input_path")
    assert not found.HasField("test_input_path")
    assert not found.HasField("eval_config")
    assert not found.train_config.HasField("num_val_samples")
    found = convert(tmp_path, {"job_detail.test_data_args": REMOVED})
    assert "there is no test_data_args: eval_args measures val_data_args" in found.plain
    said = "\n".join(refused(tmp_path, {"job_detail.train_data_args": REMOVED}))
    assert "job_detail.train_data_args" in said


@pytest.mark.parametrize("key", ["val_data_args", "test_data_args"])
@pytest.mark.parametrize(
    ("name", "value"), [("field_delim", "\t"), ("with_headers", False), ("field_delim", REMOVED)]
)
def test_files_that_are_read_in_different_ways_are_refused(tmp_path, key, name, value):
    """S0.55: there is one data_config."""
    (said,) = refused(tmp_path, {f"job_detail.{key}.{name}": value})
    assert said.startswith(f"job.json: job_detail.{key}.{name}: is ")
    assert "but that of train_data_args is " in said
    assert said.endswith("give one for all")


def everywhere(name: str, value) -> dict:
    return {f"job_detail.{key}.{name}": value for key in SETS}


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|", " "])
def test_the_delimiter_is_taken_over(tmp_path, delimiter):
    """S0.55."""
    found = convert(tmp_path, everywhere("field_delim", delimiter)).pipeline
    assert found.data_config.delimiter == delimiter


def test_a_delimiter_that_cannot_be_one_is_refused(tmp_path):
    """S0.55."""
    said = refused(tmp_path, everywhere("field_delim", "||"))
    assert "job_detail.train_data_args.field_delim: is '||'; give one ASCII character" in said[0]


def names(found) -> list[str]:
    return [field.input_name for field in found.pipeline.data_config.input_fields]


def test_files_without_header_have_their_columns_named(tmp_path):
    """S0.55, S0.56: in the order of headers, or else of the definitions, unused ones too."""
    found = convert(tmp_path, everywhere("with_headers", False))
    assert not found.pipeline.data_config.with_header
    assert names(found) == [each["name"] for each in INPUTS["inputs"]["defs"]]
    for headers in (["b", " a "], "b, a"):
        changes = everywhere("with_headers", False) | everywhere("headers", headers)
        assert names(convert(tmp_path, changes)) == ["b", "a"]
    changes = everywhere("with_headers", None) | everywhere("headers", ["b", "a"])
    found = convert(tmp_path, changes)
    assert not found.pipeline.data_config.with_header
    assert names(found) == ["b", "a"]
    found = convert(tmp_path, everywhere("headers", ["b", "a"]))
    assert found.pipeline.data_config.with_header
    assert names(found) == []
    assert "headers: the files have their own" in found.plain


def test_rows_are_shuffled_only_when_asked(tmp_path):
    """S0.56."""
    assert not convert(tmp_path).pipeline.data_config.shuffle
    changes = {"job_detail.train_data_args.shuffle": True}
    config = convert(tmp_path, changes).pipeline.data_config
    assert config.shuffle
    assert config.shuffle_buffer_size == 2  # of 256 rows: twice the batch, as where it comes from
    changes["job_detail.train_data_args.shuffle_buffer_size"] = 1000
    config = convert(tmp_path, changes).pipeline.data_config
    assert config.shuffle_buffer_size == math.ceil(1000 / 256)
    found = convert(tmp_path, {"job_detail.val_data_args.shuffle": True})
    assert "val_data_args.shuffle: only training does so" in found.plain
    changes = {"job_detail.train_data_args.drop_remainder": True}
    assert convert(tmp_path, changes).pipeline.data_config.drop_remainder


def test_files_of_another_kind_are_refused(tmp_path):
    """S0.56."""
    assert convert(tmp_path, everywhere("file_type", "CSV"))
    said = refused(tmp_path, everywhere("file_type", "tfrecord"))
    assert "job_detail.train_data_args.file_type: 'tfrecord' is not supported; give csv" in said[0]
    found = convert(tmp_path, {"job_detail.train_data_args.cache": True})
    assert "train_data_args.cache: files are streamed" in found.plain


def test_the_final_evaluation_has_its_own_metrics(tmp_path):
    """S0.71: named after the towers; without them, those of training serve."""
    changes = {"job_detail.eval_args.metrics": {"is_favor": ["rmse"], "is_click": "f1"}}
    found = convert(tmp_path, changes).pipeline.eval_config.task_metrics
    assert [each.name for each in found] == ["is_click", "is_favor"]
    assert list(found[0].metrics) == [parsed(Metric, "f1 { threshold: 0.5 }")]
    assert list(found[1].metrics) == [parsed(Metric, "root_mean_squared_error {}")]
    found = convert(tmp_path, {"job_detail.eval_args.metrics": REMOVED}).pipeline
    assert not found.eval_config.task_metrics


def test_the_file_of_results_is_where_the_job_says(tmp_path):
    """S0.72."""
    found = convert(tmp_path, variables={"EXPORT_PATH": "/results"}).pipeline
    assert found.eval_config.output_file == "/results/mmoev2-fm-2-res.json"
    found = convert(tmp_path, {"job_detail.eval_args.output_file": REMOVED}).pipeline
    assert not found.eval_config.HasField("output_file")
    assert JOB["job_detail"]["eval_args"]["output_file"].startswith("$EXPORT_PATH$/")
