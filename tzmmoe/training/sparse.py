"""Optimizers of embedding tables that touch only the rows of the batch.

Definitions are those of FBGEMM's table-batched embeddings (``EXACT_*``): gradients of repeated ids
are added first, then each row is updated once. A parameter may hold several tables; its last rows,
from ``trained_rows`` on, are left alone.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError

EPS = 1e-8  # FBGEMM's default, added to the root

Tables = Sequence[tuple[nn.Parameter, int]]


class SparseOptimizer(torch.optim.Optimizer):
    """Takes ``torch.sparse_coo`` gradients whose ids may repeat.

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
        """Update the rows (U,), each there once, by their gradients (U, D)."""

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
        """Each row of the batch once, with the sum of its gradients."""
        ids = parameter.grad._indices()[0]
        values = parameter.grad._values()
        if self._trained[parameter] < len(parameter):
            kept = ids < self._trained[parameter]
            ids, values = ids[kept], values[kept]
        rows, place = torch.unique(ids, return_inverse=True)
        grad = values.new_zeros(len(rows), parameter.shape[1]).index_add_(0, place, values)
        return rows, grad


class SparseSGD(SparseOptimizer):
    """w -= lr g."""

    def make_state(self, weight: Tensor) -> dict[str, Tensor]:
        return {}

    def update(self, weight: Tensor, rows: Tensor, grad: Tensor, state: dict, lr: float) -> None:
        weight.index_add_(0, rows, grad, alpha=-lr)


class SparseAdagrad(SparseOptimizer):
    """h += g^2; w -= lr g / (sqrt(h) + eps). Duchi et al., JMLR 2011."""

    def __init__(self, tables: Tables, *, lr: float, initial_accumulator_value: float) -> None:
        if initial_accumulator_value < 0:
            raise ConfigError.at("initial_accumulator_value", "is below 0")
        self._initial = initial_accumulator_value
        super().__init__(tables, lr=lr)

    def make_state(self, weight: Tensor) -> dict[str, Tensor]:
        return {"sum": torch.full_like(weight, self._initial)}

    def update(self, weight: Tensor, rows: Tensor, grad: Tensor, state: dict, lr: float) -> None:
        total = state["sum"].index_select(0, rows).addcmul_(grad, grad)
        state["sum"].index_copy_(0, rows, total)
        weight.index_add_(0, rows, grad / total.sqrt_().add_(EPS), alpha=-lr)


class SparseRowWiseAdagrad(SparseOptimizer):
    """h += mean of g^2 over the row; w -= lr g / (sqrt(h) + eps).

    ``L2`` decay adds weight_decay w to the gradient first, ``DECOUPLE`` takes lr weight_decay w off
    the weight.
    """

    def __init__(
        self, tables: Tables, *, lr: float, weight_decay: float, weight_decay_mode: str
    ) -> None:
        if weight_decay and weight_decay_mode == "NONE":
            raise ConfigError.at("weight_decay", "has no effect; set weight_decay_mode")
        self._decay, self._mode = weight_decay, weight_decay_mode
        super().__init__(tables, lr=lr)

    def make_state(self, weight: Tensor) -> dict[str, Tensor]:
        return {"sum": weight.new_zeros(len(weight))}

    def update(self, weight: Tensor, rows: Tensor, grad: Tensor, state: dict, lr: float) -> None:
        old = weight.index_select(0, rows)
        if self._mode == "L2":
            grad = grad + self._decay * old
        total = state["sum"].index_select(0, rows) + grad.square().mean(dim=1)
        state["sum"].index_copy_(0, rows, total)
        kept = 1 - lr * self._decay if self._mode == "DECOUPLE" else 1.0
        rate = lr / (total.sqrt() + EPS)
        weight.index_copy_(0, rows, kept * old - rate.unsqueeze(1) * grad)


class SparseAdam(SparseOptimizer):
    """Adam whose moments stand still for rows that are not in the batch.

    m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
    w -= lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay w), t counting all steps.
    """

    def __init__(
        self, tables: Tables, *, lr: float, beta1: float, beta2: float, weight_decay: float
    ) -> None:
        for name, beta in (("beta1", beta1), ("beta2", beta2)):
            if not 0 <= beta < 1:
                raise ConfigError.at(name, f"is {beta:g}; give 0 to below 1")
        self._betas, self._decay = (beta1, beta2), weight_decay
        super().__init__(tables, lr=lr)

    def make_state(self, weight: Tensor) -> dict[str, Tensor]:
        return {"exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}

    def update(self, weight: Tensor, rows: Tensor, grad: Tensor, state: dict, lr: float) -> None:
        beta1, beta2 = self._betas
        first = state["exp_avg"].index_select(0, rows).lerp_(grad, 1 - beta1)
        second = state["exp_avg_sq"].index_select(0, rows)
        second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        state["exp_avg"].index_copy_(0, rows, first)
        state["exp_avg_sq"].index_copy_(0, rows, second)
        root = (second / (1 - beta2**self.steps)).sqrt_().add_(EPS)
        old = weight.index_select(0, rows)
        moved = first / (1 - beta1**self.steps) / root + self._decay * old
        weight.index_copy_(0, rows, old - lr * moved)


OPTIMIZERS: dict[str, type[SparseOptimizer]] = {
    "sgd_optimizer": SparseSGD,
    "adagrad_optimizer": SparseAdagrad,
    "rowwise_adagrad_optimizer": SparseRowWiseAdagrad,
    "adam_optimizer": SparseAdam,
}


def sparse_optimizer(tables: Tables, word: str, arguments: dict[str, Any]) -> SparseOptimizer:
    """The optimizer that a word of the schema names. Raises ConfigError."""
    for name in ("lr", "weight_decay"):
        if not arguments.get(name, 0.0) >= 0:
            raise ConfigError.at(name, f"is {arguments[name]:g}; give 0 or more")
    return OPTIMIZERS[word](tables, **arguments)
