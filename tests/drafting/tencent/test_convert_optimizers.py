"""train_args.optimizer -> the optimizers of tables and network."""

import pytest
from drafting.tencent.documents import (
    REMOVED,
    TRAINING,
    convert,
    refused,
)
from google.protobuf import text_format

from tzmmoe.protos.pipeline_pb2 import Pipeline


def written(found) -> Pipeline:
    """As it stands in the file, before short forms are spread."""
    return text_format.Parse(found.text, Pipeline())


def parsed(kind: type, text: str):
    return text_format.Parse(text, kind())


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
    assert "nesterov: momentum is not set" in found.plain


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
