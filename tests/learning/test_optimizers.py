"""Dense optimizers are torch's own: making their state at once changes nothing. S0.62."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.learning.optimizers import dense_optimizer

STEPS = 20

ADAM = {"lr": 0.05, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.0, "eps": 1e-8, "amsgrad": False}
SGD = {"lr": 0.05, "momentum": 0.0, "weight_decay": 0.0, "dampening": 0.0, "nesterov": False}
ADAGRAD = {"lr": 0.05, "weight_decay": 0.0, "initial_accumulator_value": 0.0, "eps": 1e-10}
ADADELTA = {"lr": 0.05, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0}
RMSPROP = {"lr": 0.05, "alpha": 0.9, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.0}
MOMENTS = {"lr": 0.05, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.0, "eps": 1e-8}

CASES: list[tuple[str, dict[str, Any]]] = [
    ("sgd_optimizer", SGD),
    ("sgd_optimizer", SGD | {"weight_decay": 0.1}),
    ("sgd_optimizer", SGD | {"momentum": 0.9, "dampening": 0.5}),
    ("sgd_optimizer", SGD | {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("adagrad_optimizer", ADAGRAD),
    ("adagrad_optimizer", ADAGRAD | {"initial_accumulator_value": 0.3, "weight_decay": 0.2}),
    ("adam_optimizer", ADAM),
    ("adam_optimizer", ADAM | {"weight_decay": 0.2}),
    ("adam_optimizer", ADAM | {"amsgrad": True, "weight_decay": 0.2}),
    ("adamw_optimizer", ADAM | {"weight_decay": 0.2}),
    ("adamw_optimizer", ADAM | {"amsgrad": True}),
    ("adadelta_optimizer", ADADELTA),
    ("adadelta_optimizer", ADADELTA | {"rho": 0.0, "eps": 0.1, "weight_decay": 0.2}),
    ("rmsprop_optimizer", RMSPROP),
    ("rmsprop_optimizer", RMSPROP | {"momentum": 0.9}),
    ("rmsprop_optimizer", RMSPROP | {"momentum": 0.5, "weight_decay": 0.2, "eps": 0.1}),
    ("adamax_optimizer", MOMENTS),
    ("adamax_optimizer", MOMENTS | {"weight_decay": 0.2, "eps": 0.1}),
    ("nadam_optimizer", MOMENTS),
    ("nadam_optimizer", MOMENTS | {"weight_decay": 0.2, "beta1": 0.0}),
]

TORCH = {
    "sgd_optimizer": torch.optim.SGD,
    "adagrad_optimizer": torch.optim.Adagrad,
    "adam_optimizer": torch.optim.Adam,
    "adamw_optimizer": torch.optim.AdamW,
    "adadelta_optimizer": torch.optim.Adadelta,
    "rmsprop_optimizer": torch.optim.RMSprop,
    "adamax_optimizer": torch.optim.Adamax,
    "nadam_optimizer": torch.optim.NAdam,
}
FUSED = ("sgd_optimizer", "adagrad_optimizer", "adam_optimizer", "adamw_optimizer")


@pytest.fixture(params=CASES, ids=lambda case: str(case[0]) + str(sorted(case[1].items())))
def case(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return request.param


def ordinary(model: nn.Module, word: str, arguments: dict[str, Any], **how: bool):
    """torch's optimizer as its documentation uses it: its state comes with the first step."""
    renamed = dict(arguments)
    if "beta1" in renamed:
        renamed["betas"] = (renamed.pop("beta1"), renamed.pop("beta2"))
    return TORCH[word](model.parameters(), **renamed, **how)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))


def learn(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = STEPS) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        inputs = torch.randn(8, 4, generator=generator)
        optimizer.zero_grad()
        F.mse_loss(model(inputs), inputs[:, :2].sin()).backward()
        optimizer.step()


def learned(case: tuple[str, dict[str, Any]], **how: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """What each parameter comes to with our optimizer, and with torch's used in this way."""
    word, arguments = case
    ours, theirs = network(), network()
    learn(ours, dense_optimizer(list(ours.parameters()), word, arguments))
    learn(theirs, ordinary(theirs, word, arguments, **how))
    return zip(ours.parameters(), theirs.parameters(), strict=True)


def test_learning_equals_torchs_optimizer_bit_for_bit(case) -> None:
    for one, other in learned(case, **{"fused" if case[0] in FUSED else "foreach": True}):
        assert torch.equal(one, other)


def test_learning_equals_torchs_plain_loop_over_parameters(case) -> None:
    """The kernels of the optimizer compute what the readable one does."""
    for one, other in learned(case, foreach=False):
        assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_making_the_optimizer_leaves_weights_and_gradients(case) -> None:
    word, arguments = case
    model = network()
    model(torch.ones(1, 4)).sum().backward()
    before = copy.deepcopy(model)
    for one, other in zip(before.parameters(), model.parameters(), strict=True):
        one.grad = other.grad.clone()
    optimizer = dense_optimizer(list(model.parameters()), word, arguments)
    for one, other in zip(before.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one.grad, other.grad)
    assert {group["lr"] for group in optimizer.param_groups} == {arguments["lr"]}


def test_the_state_is_there_before_the_first_step(case) -> None:
    """What a checkpoint holds after one step can be read into an optimizer that took none."""
    word, arguments = case
    if word == "sgd_optimizer" and arguments["momentum"]:
        return  # its first step sets the momentum, so its state must not be there before
    model, stepped = network(), network()
    fresh = dense_optimizer(list(model.parameters()), word, arguments)
    used = ordinary(stepped, word, arguments)
    learn(stepped, used, steps=1)
    for one, other in zip(model.parameters(), stepped.parameters(), strict=True):
        assert {k: v.shape for k, v in fresh.state[one].items()} == {
            k: v.shape for k, v in used.state[other].items()
        }
        assert fresh.state[one].get("step", torch.zeros(())) == 0


def test_what_torch_refuses_is_an_error_of_the_config() -> None:
    with pytest.raises(ConfigError, match="Nesterov"):
        dense_optimizer(list(network().parameters()), "sgd_optimizer", SGD | {"nesterov": True})
