"""The optimizers of embedding tables, by their words of the schema.

Where FBGEMM's table-batched embeddings have an optimizer (``EXACT_*``), its definition applies.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn, zeros_like

from tzmmoe import private_torch
from tzmmoe.errors import ConfigError
from tzmmoe.tables.ftrl import FtrlRule
from tzmmoe.tables.ranges import check_ranges

TrainedTables = Sequence[tuple[nn.Parameter, int]]  # (R, D), and how many of its rows are trained
EPS = 1e-8  # FBGEMM's default, added to the root
# Settings of the gradient where it enters a table, which no optimizer takes.
CLIPPING = ("gradient_clipping", "max_gradient")


class SparseOptimizer(torch.optim.Optimizer):
    """Takes ``torch.sparse_coo`` gradients, whose ids may repeat, and dense ones.

    State is made at once, not at first use. ``steps`` counts the steps, for definitions that need
    the number. ``before_update`` is called with each parameter and its distinct rows (U,) that are
    about to change.
    """

    def __init__(self, tables: TrainedTables, *, lr: float) -> None:
        super().__init__([parameter for parameter, _ in tables], {"lr": lr})
        self.steps = 0
        self.before_update: Callable[[nn.Parameter, Tensor], None] | None = None
        self._trained = dict(tables)
        for parameter, _ in tables:
            self.state[parameter] = self.make_state(parameter.detach())

    @abstractmethod
    def make_state(self, weight: Tensor) -> dict[str, Tensor]:
        """State with a row for each row of the parameter."""

    @abstractmethod
    def update(self, weight: Tensor, rows: Tensor, grad: Tensor, state: dict, lr: float) -> None:
        """Update the distinct rows (U,) by their gradients (U, D), which must not be changed."""

    @torch.no_grad()
    def step(self, scale: Tensor | None = None) -> None:
        """One step. With ``scale``, gradients are divided by it, and skipped if not finite."""
        self.steps += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                rows, grad = merged(parameter.grad, self._trained[parameter])
                if scale is not None:
                    grad = grad / scale
                    if not bool(grad.isfinite().all()):
                        continue
                if self.before_update:
                    self.before_update(parameter, rows)
                self.update(parameter, rows, grad, self.state[parameter], group["lr"])


def merged(gradient: Tensor, trained: int) -> tuple[Tensor, Tensor]:
    """The distinct rows (U,) of a gradient among the first ``trained``, and their sums (U, D).

    A term over the whole table makes the gradient dense: then these are all trained rows.
    """
    if not gradient.is_sparse:
        return torch.arange(trained, device=gradient.device), gradient[:trained]
    ids, values = private_torch.sparse_entries(gradient)
    if trained < len(gradient):
        kept = ids < trained
        ids, values = ids[kept], values[kept]
    rows, place = torch.unique(ids, return_inverse=True)
    return rows, values.new_zeros(len(rows), values.shape[1]).index_add_(0, place, values)


def _decayed(average: Tensor, rows: Tensor, values: Tensor, decay: float) -> Tensor:
    """Move rows of a running average to decay average + (1 - decay) values^2; the new rows."""
    moved = average.index_select(0, rows).mul_(decay).addcmul_(values, values, value=1 - decay)
    average.index_copy_(0, rows, moved)
    return moved


class SparseSGD(SparseOptimizer):
    """w -= lr g."""

    def make_state(self, weight: Tensor) -> dict[str, Tensor]:
        return {}

    def update(self, weight: Tensor, rows: Tensor, grad: Tensor, state: dict, lr: float) -> None:
        weight.index_add_(0, rows, grad, alpha=-lr)


class SparseAdagrad(SparseOptimizer):
    """h += g^2; w -= lr g / (sqrt(h) + eps). Duchi et al., JMLR 2011."""

    def __init__(
        self, tables: TrainedTables, *, lr: float, initial_accumulator_value: float, eps: float
    ) -> None:
        self._initial, self._eps = initial_accumulator_value, eps
        super().__init__(tables, lr=lr)

    def make_state(self, weight: Tensor) -> dict[str, Tensor]:
        return {"sum": torch.full_like(weight, self._initial)}

    def update(self, weight: Tensor, rows: Tensor, grad: Tensor, state: dict, lr: float) -> None:
        total = state["sum"].index_select(0, rows).addcmul_(grad, grad)
        state["sum"].index_copy_(0, rows, total)
        weight.index_add_(0, rows, grad / total.sqrt_().add_(self._eps), alpha=-lr)


class SparseRowWiseAdagrad(SparseOptimizer):
    """h += mean of g^2 over the row; w -= lr g / (sqrt(h) + eps).

    ``L2`` decay adds weight_decay w to the gradient first, ``DECOUPLE`` takes lr weight_decay w off
    the weight.
    """

    def __init__(
        self, tables: TrainedTables, *, lr: float, weight_decay: float, weight_decay_mode: str
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


class SparseAdadelta(SparseOptimizer):
    """Zeiler, "ADADELTA: An Adaptive Learning Rate Method", 2012, algorithm 1, with a rate.

    v = rho v + (1 - rho) g^2; d = sqrt(u + eps) / sqrt(v + eps) g; u = rho u + (1 - rho) d^2;
    w -= lr d.
    """

    def __init__(self, tables: TrainedTables, *, lr: float, rho: float, eps: float) -> None:
        self._rho, self._eps = rho, eps
        super().__init__(tables, lr=lr)

    def make_state(self, weight: Tensor) -> dict[str, Tensor]:
        return {"square_avg": torch.zeros_like(weight), "acc_delta": torch.zeros_like(weight)}

    def update(self, weight: Tensor, rows: Tensor, grad: Tensor, state: dict, lr: float) -> None:
        squares = _decayed(state["square_avg"], rows, grad, self._rho)
        moves = state["acc_delta"].index_select(0, rows)
        move = moves.add_(self._eps).sqrt_().div_(squares.add_(self._eps).sqrt_()).mul_(grad)
        _decayed(state["acc_delta"], rows, move, self._rho)
        weight.index_add_(0, rows, move, alpha=-lr)


class SparseRMSprop(SparseOptimizer):
    """v = alpha v + (1 - alpha) g^2; w -= lr g / (sqrt(v) + eps). Tieleman and Hinton, 2012."""

    def __init__(self, tables: TrainedTables, *, lr: float, alpha: float, eps: float) -> None:
        self._alpha, self._eps = alpha, eps
        super().__init__(tables, lr=lr)

    def make_state(self, weight: Tensor) -> dict[str, Tensor]:
        return {"square_avg": torch.zeros_like(weight)}

    def update(self, weight: Tensor, rows: Tensor, grad: Tensor, state: dict, lr: float) -> None:
        squares = _decayed(state["square_avg"], rows, grad, self._alpha)
        weight.index_add_(0, rows, grad / squares.sqrt_().add_(self._eps), alpha=-lr)


class SparseFtrl(SparseOptimizer):
    """``FtrlRule`` for the rows of the batch."""

    def __init__(
        self,
        tables: TrainedTables,
        *,
        lr: float,
        learning_rate_power: float,
        initial_accumulator_value: float,
        l1_reg: float,
        l2_reg: float,
    ) -> None:
        self._rule = FtrlRule(learning_rate_power, initial_accumulator_value, l1_reg, l2_reg)
        super().__init__(tables, lr=lr)

    def make_state(self, weight: Tensor) -> dict[str, Tensor]:
        return self._rule.make_state(weight)

    def update(self, weight: Tensor, rows: Tensor, grad: Tensor, state: dict, lr: float) -> None:
        whole = (weight, state["sum"], state["linear"])
        new, n, z = parts = [tensor.index_select(0, rows) for tensor in whole]
        self._rule.step_(new, grad, n, z, lr=lr)
        for tensor, part in zip(whole, parts, strict=True):
            tensor.index_copy_(0, rows, part)


class _WithMoments(SparseOptimizer):
    """Keeps m = b1 m + (1 - b1) g and v = b2 v + (1 - b2) g^2."""

    _betas: tuple[float, float]

    def make_state(self, weight: Tensor) -> dict[str, Tensor]:
        return {"exp_avg": zeros_like(weight), "exp_avg_sq": zeros_like(weight)}

    def _moments(self, rows: Tensor, grad: Tensor, state: dict) -> tuple[Tensor, Tensor]:
        """m and sqrt(v / (1 - b2^t)) of the rows, after moving both on."""
        beta1, beta2 = self._betas
        first = state["exp_avg"].index_select(0, rows).lerp_(grad, 1 - beta1)
        state["exp_avg"].index_copy_(0, rows, first)
        second = _decayed(state["exp_avg_sq"], rows, grad, beta2)
        return first, (second / (1 - beta2**self.steps)).sqrt_()


class SparseAdam(_WithMoments):
    """Adam: Kingma and Ba, ICLR 2015; the decay is decoupled from the gradient.

    m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
    w -= lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay w).
    """

    def __init__(
        self,
        tables: TrainedTables,
        *,
        lr: float,
        beta1: float,
        beta2: float,
        weight_decay: float,
        eps: float,
    ) -> None:
        self._betas, self._decay, self._eps = (beta1, beta2), weight_decay, eps
        super().__init__(tables, lr=lr)

    def update(self, weight: Tensor, rows: Tensor, grad: Tensor, state: dict, lr: float) -> None:
        first, root = self._moments(rows, grad, state)
        root.add_(self._eps)
        old = weight.index_select(0, rows)
        moved = first / (1 - self._betas[0] ** self.steps) / root + self._decay * old
        weight.index_copy_(0, rows, old - lr * moved)


class SparseNAdam(_WithMoments):
    """NAdam: Dozat, "Incorporating Nesterov Momentum into Adam", 2016; torch's momentum decay.

    With c_t = b1 (1 - 0.96^(0.004 t) / 2), C_t their product up to t, m and v as in Adam:
    w -= lr (c_{t+1} m / (1 - C_{t+1}) + (1 - c_t) g / (1 - C_t)) / (sqrt(v / (1 - b2^t)) + eps).
    """

    def __init__(
        self, tables: TrainedTables, *, lr: float, beta1: float, beta2: float, eps: float
    ) -> None:
        self._betas, self._eps = (beta1, beta2), eps
        self._products = [1.0]
        super().__init__(tables, lr=lr)

    def update(self, weight: Tensor, rows: Tensor, grad: Tensor, state: dict, lr: float) -> None:
        first, root = self._moments(rows, grad, state)
        now, following = self._momentum(self.steps), self._momentum(self.steps + 1)
        of_first = following / (1 - self._product(self.steps + 1))
        of_grad = (1 - now) / (1 - self._product(self.steps))
        moved = (of_first * first + of_grad * grad) / root.add_(self._eps)
        weight.index_add_(0, rows, moved, alpha=-lr)

    def _momentum(self, step: int) -> float:
        return self._betas[0] * (1 - 0.96 ** (0.004 * step) / 2)

    def _product(self, step: int) -> float:
        """C_t, a function of the step alone, so that no checkpoint has to hold it.

        The list ends where the product is 0 in float64, after a few thousand steps at most.
        """
        products = self._products
        while len(products) <= step and products[-1] > 0:
            products.append(products[-1] * self._momentum(len(products)))
        return products[min(step, len(products) - 1)]


class SparseAdamax(SparseOptimizer):
    """Adamax: Kingma and Ba, ICLR 2015, algorithm 2; eps as in torch.

    m = b1 m + (1 - b1) g; u = max(b2 u, |g| + eps); w -= lr m / ((1 - b1^t) u).
    """

    def __init__(
        self, tables: TrainedTables, *, lr: float, beta1: float, beta2: float, eps: float
    ) -> None:
        self._betas, self._eps = (beta1, beta2), eps
        super().__init__(tables, lr=lr)

    def make_state(self, weight: Tensor) -> dict[str, Tensor]:
        return {"exp_avg": zeros_like(weight), "exp_inf": zeros_like(weight)}

    def update(self, weight: Tensor, rows: Tensor, grad: Tensor, state: dict, lr: float) -> None:
        beta1, beta2 = self._betas
        first = state["exp_avg"].index_select(0, rows).lerp_(grad, 1 - beta1)
        largest = state["exp_inf"].index_select(0, rows).mul_(beta2)
        largest = torch.maximum(largest, grad.abs().add_(self._eps))
        state["exp_avg"].index_copy_(0, rows, first)
        state["exp_inf"].index_copy_(0, rows, largest)
        weight.index_add_(0, rows, first / largest, alpha=-lr / (1 - beta1**self.steps))


OPTIMIZERS: dict[str, type[SparseOptimizer]] = {
    "sgd_optimizer": SparseSGD,
    "adagrad_optimizer": SparseAdagrad,
    "rowwise_adagrad_optimizer": SparseRowWiseAdagrad,
    "adam_optimizer": SparseAdam,
    "adadelta_optimizer": SparseAdadelta,
    "rmsprop_optimizer": SparseRMSprop,
    "ftrl_optimizer": SparseFtrl,
    "adamax_optimizer": SparseAdamax,
    "nadam_optimizer": SparseNAdam,
}


def sparse_optimizer(
    tables: TrainedTables, word: str, settings: Mapping[str, Any]
) -> SparseOptimizer:
    """The optimizer that a word of the schema names, by the fields of its message.

    Raises ConfigError.
    """
    arguments = {name: value for name, value in settings.items() if name not in CLIPPING}
    check_ranges(arguments)
    return OPTIMIZERS[word](tables, **arguments)
