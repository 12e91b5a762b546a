"""What optimizers of embedding tables share: they update rows, and only those of the batch.

Gradients of repeated ids are added first, then each row is updated once. A parameter may hold
several tables; its last rows, from ``trained_rows`` on, are left alone.
"""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

Tables = Sequence[tuple[nn.Parameter, int]]


class SparseOptimizer(torch.optim.Optimizer):
    """Takes ``torch.sparse_coo`` gradients whose ids may repeat, and dense ones.

    ``tables``: each parameter (R, D) with its number of trained rows. State is made at once, not at
    first use. ``steps`` counts the steps, for definitions that need it.
    """

    def __init__(self, tables: Tables, *, lr: float) -> None:
        super().__init__([parameter for parameter, _ in tables], {"lr": lr})
        self.steps = 0
        self._trained = dict(tables)
        for parameter, _ in tables:
            self.state[parameter] = self.make_state(parameter.detach())

    @abstractmethod
    def make_state(self, weight: Tensor) -> dict[str, Tensor]:
        """State with one row for each row of the parameter."""

    @abstractmethod
    def update(self, weight: Tensor, rows: Tensor, grad: Tensor, state: dict, lr: float) -> None:
        """Update the rows (U,), each there once, by their gradients (U, D), which stay."""

    @torch.no_grad()
    def step(self, scale: Tensor | None = None) -> None:
        """One step. With ``scale``, gradients are divided by it, and left out when not finite."""
        self.steps += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                rows, grad = self._merged(parameter)
                if scale is not None:
                    grad = grad / scale
                    if not bool(grad.isfinite().all()):
                        continue
                self.update(parameter, rows, grad, self.state[parameter], group["lr"])

    def _merged(self, parameter: nn.Parameter) -> tuple[Tensor, Tensor]:
        """Each row of the batch once, with the sum of its gradients.

        A term over the whole table makes the gradient dense: then that is every trained row.
        """
        gradient, trained = parameter.grad, self._trained[parameter]
        if not gradient.is_sparse:
            return torch.arange(trained, device=gradient.device), gradient[:trained]
        ids = gradient._indices()[0]
        values = gradient._values()
        if trained < len(parameter):
            kept = ids < trained
            ids, values = ids[kept], values[kept]
        return _added(ids, values)


def merged(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The rows (U,) of a sparse gradient, each once, and the sums of their values (U, D)."""
    return _added(gradient._indices()[0], gradient._values())


def _added(ids: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    rows, place = torch.unique(ids, return_inverse=True)
    return rows, values.new_zeros(len(rows), values.shape[1]).index_add_(0, place, values)
