"""torch's optimizers for the dense part, with their state made at once."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tzmmoe.errors import ConfigError


def dense_optimizer(
    parameters: Sequence[nn.Parameter], word: str, arguments: dict[str, Any]
) -> torch.optim.Optimizer:
    """The optimizer that a word of the schema names, fused where torch has it. ConfigError."""
    settings = dict(arguments)
    if "beta1" in settings:
        settings["betas"] = (settings.pop("beta1"), settings.pop("beta2"))
    try:
        optimizer = OPTIMIZERS[word](parameters, **settings, fused=True)
    except ValueError as error:
        raise ConfigError.at("", str(error)) from error
    _make_state(optimizer)
    return optimizer


OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "sgd_optimizer": torch.optim.SGD,
    "adagrad_optimizer": torch.optim.Adagrad,
    "adam_optimizer": torch.optim.Adam,
    "adamw_optimizer": torch.optim.AdamW,
}

HARMLESS = {"lr": 0.0, "weight_decay": 0.0, "eps": 1.0}  # no decay in the gradient, no 0 / 0


def _make_state(optimizer: torch.optim.Optimizer) -> None:
    """Let torch make the state as it does at the first step, without stepping.

    A step with zero gradients and ``HARMLESS`` settings leaves weights and moments; the counts go
    back to 0. Only SGD's momentum is special: its first step sets the momentum to the gradient,
    whatever the dampening, so its state must not be there before.
    """
    if isinstance(optimizer, torch.optim.SGD):
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
        optimizer.state[parameter]["step"].zero_()
