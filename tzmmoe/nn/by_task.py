"""Removal of tasks from weights that hold a part for each."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tzmmoe.nn.mlp import StackedLinear


@torch.no_grad()
def keep_tasks(module: nn.Module, num_tasks: int, kept: Sequence[int], members: int = 1) -> None:
    """Keep the parts of the tasks at the places ``kept``, in that order.

    Every parameter and buffer with a dimension consists of ``num_tasks`` equal parts along its
    first one, as in a network of ``copies`` (``nn/mlp.py``). With ``members``, who share kernels,
    everything else holds such parts for each member, one member after the other.
    """

    def part(whole: Tensor, lead: int) -> Tensor:
        by_task = whole.reshape(lead, num_tasks, -1)[:, list(kept)]
        if whole.dim() > 2 and lead > 1:  # (k, T, E): members have a dimension of their own
            return by_task.clone()
        return by_task.reshape(-1, *whole.shape[1:]).clone()

    for inner in module.modules():
        for name, parameter in list(inner.named_parameters(recurse=False)):
            is_kernel = isinstance(inner, StackedLinear) and name == "weight"
            own = part(parameter, 1 if is_kernel else members)
            setattr(inner, name, nn.Parameter(own, parameter.requires_grad))
        for name, buffer in list(inner.named_buffers(recurse=False)):
            if buffer.dim():
                setattr(inner, name, part(buffer, members))
