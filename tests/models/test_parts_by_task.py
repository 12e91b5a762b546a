"""Which parameters hold a part for each task: gradient surgery leaves them out."""

import pytest
import torch
from models.small_v2 import logits, rows, shaken_v2
from torch import nn

from tzmmoe.build import Built

CROSSES = {"feature_cross": 2, "output_cross": 0}  # FM's latents are seen by experts too
MODELS = [
    {"use_wide": False},
    {"use_wide": False, "share_gates": True},
    {"wide_type": "FM", "wide_per_task": True, **CROSSES},
    {"wide_type": "FM", "wide_per_task": False, **CROSSES},
    {"wide_type": "LR", "wide_per_task": True, "wide_use_bn": True, **CROSSES},
    {"wide_type": "LR", "wide_per_task": False, **CROSSES},
]


def split(built: Built) -> set[str]:
    """Parameters that both tasks reach, but in no number both."""
    named = dict(built.model.named_parameters())
    sums = [each.sum() for each in logits(built, rows(40)).values()]
    grads = [
        torch.autograd.grad(s, list(named.values()), retain_graph=True, allow_unused=True)
        for s in sums
    ]
    found = set()
    for name, *pair in zip(named, *grads, strict=True):
        if None in pair:
            continue
        first, second = (grad.to_dense() != 0 for grad in pair)
        if first.any() and second.any() and not (first & second).any():
            found.add(name)
    return found


def declared(model: nn.Module) -> set[str]:
    return {
        f"{name}.{parameter}"
        for name, part in model.named_modules()
        if getattr(part, "by_task", False)
        for parameter, _ in part.named_parameters()
    }


@pytest.mark.parametrize("settings", MODELS, ids=str)
def test_the_parameters_that_are_said_to_lie_by_task_are_those_that_do(settings) -> None:
    built = shaken_v2(**settings)
    assert declared(built.model) == split(built)
    assert bool(split(built)) == (not settings.get("share_gates", False))
