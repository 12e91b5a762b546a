"""A setting of an optimizer that is out of its range is named, for tables and the dense part."""

from typing import Any

import pytest
import torch
from torch import nn

from tzmmoe.errors import ConfigError
from tzmmoe.learning.optimizers import dense_optimizer
from tzmmoe.tables.optimizers import sparse_optimizer

LR, NO_DECAY = {"lr": 0.1}, {"weight_decay": 0.0}
BETAS = LR | {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
RHO, ALPHA = LR | {"rho": 0.9, "eps": 1e-6}, LR | {"alpha": 0.9, "eps": 1e-6}
ADAGRAD = LR | {"initial_accumulator_value": 0.0, "eps": 1e-8}
ROWWISE = LR | {"weight_decay": 0.1, "weight_decay_mode": "NONE"}
FTRL = LR | {
    "learning_rate_power": -0.5,
    "initial_accumulator_value": 0.1,
    "l1_reg": 0.0,
    "l2_reg": 0.0,
}
SGD = LR | {"momentum": 0.0, "dampening": 0.0, "nesterov": False}
RIGHT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # of both, and of the dense one alone
    "sgd_optimizer": (LR, SGD | NO_DECAY),
    "adagrad_optimizer": (ADAGRAD, NO_DECAY),
    "adam_optimizer": (BETAS | NO_DECAY, {"amsgrad": False}),
    "adadelta_optimizer": (RHO, NO_DECAY),
    "rmsprop_optimizer": (ALPHA, NO_DECAY | {"momentum": 0.0}),
    "ftrl_optimizer": (FTRL, {}),
    "adamax_optimizer": (BETAS, NO_DECAY),
    "nadam_optimizer": (BETAS, NO_DECAY),
}
WRONG = [
    ("lr", -0.1, "is -0.1; give 0 or more", RIGHT),
    ("lr", float("nan"), "is nan; give 0 or more", RIGHT),
    ("eps", 0.0, "is 0; give more than 0", RIGHT),
    ("eps", -1e-9, "is -1e-09; give more than 0", RIGHT),
    ("beta1", 1.0, "is 1; give 0 to below 1", RIGHT),
    ("beta1", -0.1, "is -0.1; give 0 to below 1", RIGHT),
    ("beta2", 1.0, "is 1; give 0 to below 1", RIGHT),
    ("rho", 1.0, "is 1; give 0 to below 1", RIGHT),
    ("alpha", -0.1, "is -0.1; give 0 to below 1", RIGHT),
    ("learning_rate_power", 0.1, "is 0.1; give 0 or less", RIGHT),
    ("l1_reg", -0.1, "is -0.1; give 0 or more", RIGHT),
    ("l2_reg", -0.1, "is -0.1; give 0 or more", RIGHT),
    ("initial_accumulator_value", -1.0, "is -1; give 0 or more", ["adagrad_optimizer"]),
    ("initial_accumulator_value", 0.0, "is 0; give more than 0", ["ftrl_optimizer"]),
    ("weight_decay", -0.1, "is -0.1; give 0 or more", RIGHT),
    ("momentum", -0.1, "is -0.1; give 0 or more", RIGHT),
]
CASES = [
    (kind, word, name, value, said)
    for name, value, said, words in WRONG
    for word in words
    for kind, settings in zip(("sparse", "dense"), RIGHT[word], strict=True)
    if name in settings or (kind == "dense" and name in RIGHT[word][0])
]


def make(kind: str, word: str, arguments: dict[str, Any]) -> torch.optim.Optimizer:
    parameter = nn.Parameter(torch.zeros(1, 1))
    if kind == "sparse":
        return sparse_optimizer([(parameter, 1)], word, arguments)
    return dense_optimizer([parameter], word, arguments)


def right(kind: str, word: str) -> dict[str, Any]:
    both, of_dense = RIGHT[word]
    return both if kind == "sparse" else both | of_dense


@pytest.mark.parametrize(("kind", "word", "name", "value", "said"), CASES)
def test_a_setting_out_of_range_is_named(kind, word, name, value, said) -> None:
    arguments = right(kind, word)
    make(kind, word, arguments)
    with pytest.raises(ConfigError) as caught:
        make(kind, word, arguments | {name: value})
    assert str(caught.value) == f"{name}: {said}"


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_all_settings_out_of_range_are_named_at_once(kind) -> None:
    arguments = right(kind, "adadelta_optimizer") | {"lr": -1.0, "rho": 2.0, "eps": 0.0}
    with pytest.raises(ConfigError) as caught:
        make(kind, "adadelta_optimizer", arguments)
    assert [fault.path for fault in caught.value.faults] == ["eps", "lr", "rho"]


def test_a_decay_of_rows_needs_its_mode() -> None:
    with pytest.raises(ConfigError, match="weight_decay: has no effect; set weight_decay_mode"):
        make("sparse", "rowwise_adagrad_optimizer", ROWWISE)
