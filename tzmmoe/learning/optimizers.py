"""torch's optimizers for the dense part, and FTRL, with their state made at once."""

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
    """The optimizer that a word of the schema names, fused where torch has it. ConfigError."""
    check_ranges(arguments)
    settings = dict(arguments)
    if "beta1" in settings:
        settings["betas"] = (settings.pop("beta1"), settings.pop("beta2"))
    try:
        optimizer = OPTIMIZERS[word](parameters, **settings, **_way(OPTIMIZERS[word]))
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
# What such a step moves, and where it starts: counts, Adamax's max(b2 u, |g| + eps), and NAdam's
# product of momenta.
START = {"step": 0.0, "exp_inf": 0.0, "mu_product": 1.0}


def _way(optimizer: type[torch.optim.Optimizer]) -> dict[str, bool]:
    """How torch computes it: in one kernel where it can, else on lists of tensors."""
    known = inspect.signature(optimizer).parameters
    return next(({name: True} for name in ("fused", "foreach") if name in known), {})


def _make_state(optimizer: torch.optim.Optimizer) -> None:
    """Let torch make the state as it does at the first step, without stepping.

    A step with zero gradients and ``HARMLESS`` settings leaves weights and moments; what it moves
    goes back to its ``START``. Only SGD's momentum is special: its first step sets the momentum to
    the gradient, whatever the dampening, so its state must not be there before.
    """
    if isinstance(optimizer, torch.optim.SGD | Ftrl):
        return
    groups = optimizer.param_groups
    parameters = [parameter for group in groups for parameter in group["params"]]
    grads = [parameter.grad for parameter in parameters]
    settings = [{name: group[name] for name in HARMLESS} for group in groups]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    for group in groups:
        group.update(HARMLESS)
    optimizer.step()
    for group, kept in zip(groups, settings, strict=True):
        group.update(kept)
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = grad
        state = optimizer.state[parameter]
        for name in START.keys() & state.keys():
            state[name].fill_(START[name])
