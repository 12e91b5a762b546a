"""Optimizers of the dense part: torch's, and FTRL. Their state is made with them, not lazily."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tzmmoe.errors import ConfigError
from tzmmoe.tables.ftrl import Ftrl
from tzmmoe.tables.ranges import check_ranges


def dense_optimizer(
    parameters: Sequence[nn.Parameter], word: str, arguments: dict[str, Any]
) -> torch.optim.Optimizer:
    """The optimizer behind a word of the schema, fused if torch can. Raises ConfigError."""
    check_ranges(arguments)
    settings = dict(arguments)
    if "beta1" in settings:
        settings["betas"] = (settings.pop("beta1"), settings.pop("beta2"))
    accepted = inspect.signature(OPTIMIZERS[word]).parameters
    faster = next(({way: True} for way in ("fused", "foreach") if way in accepted), {})
    try:
        optimizer = OPTIMIZERS[word](parameters, **settings, **faster)
    except ValueError as error:
        raise ConfigError.at("", str(error)) from error
    _make_state(optimizer)
    return optimizer


OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "sgd_optimizer": torch.optim.SGD,
    "adagrad_optimizer": torch.optim.Adagrad,
    "adam_optimizer": torch.optim.Adam,
    "adamw_optimizer": torch.optim.AdamW,
    "adadelta_optimizer": torch.optim.Adadelta,
    "rmsprop_optimizer": torch.optim.RMSprop,
    "adamax_optimizer": torch.optim.Adamax,
    "nadam_optimizer": torch.optim.NAdam,
    "ftrl_optimizer": Ftrl,
}

HARMLESS = {"lr": 0.0, "weight_decay": 0.0, "eps": 1.0}  # no decay in the gradient, no 0 / 0
# What such a step still changes, and its initial value: counts, Adamax's max(b2 u, |g| + eps), and
# NAdam's product of momenta.
START = {"step": 0.0, "exp_inf": 0.0, "mu_product": 1.0}


def _make_state(optimizer: torch.optim.Optimizer) -> None:
    """Let torch make the state that it would make in the first step.

    A step with zero gradients and ``HARMLESS`` settings leaves weights and moments as they are; the
    rest is reset to its ``START``. SGD is the exception: its first step sets the momentum to the
    gradient, whatever the dampening, so that its state must not exist before.
    """
    if isinstance(optimizer, torch.optim.SGD | Ftrl):
        return
    [group] = optimizer.param_groups
    settings = {name: group[name] for name in HARMLESS}
    grads = [parameter.grad for parameter in group["params"]]
    for parameter in group["params"]:
        parameter.grad = torch.zeros_like(parameter)
    group.update(HARMLESS)
    optimizer.step()
    group.update(settings)
    for parameter, grad in zip(group["params"], grads, strict=True):
        parameter.grad = grad
        state = optimizer.state[parameter]
        for name in START.keys() & state.keys():
            state[name].fill_(START[name])
