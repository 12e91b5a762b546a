"""Weights that hold a part for each task, without those of some tasks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def keep_tasks(module: nn.Module, num_tasks: int, kept: Sequence[int]) -> None:
    """Keep the parts of the tasks at the places ``kept``, in that order.

    Every parameter and buffer with a dimension consists of ``num_tasks`` equal parts along its
    first one, as in a network of ``copies`` (``nn/mlp.py``).
    """

    def part(whole: Tensor) -> Tensor:
        by_task = whole.unflatten(0, (num_tasks, -1))
        return by_task[list(kept)].flatten(0, 1).clone()

    for inner in module.modules():
        for name, parameter in list(inner.named_parameters(recurse=False)):
            setattr(inner, name, nn.Parameter(part(parameter), parameter.requires_grad))
        for name, buffer in list(inner.named_buffers(recurse=False)):
            if buffer.dim():
                setattr(inner, name, part(buffer))
