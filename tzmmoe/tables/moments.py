"""Optimizers of embedding tables with a first moment: Adam and its kin.

Moments stand still for rows that are not in the batch, and t counts all steps, not those of a row.
"""

from torch import Tensor, maximum, zeros_like

from tzmmoe.tables.rows import SparseOptimizer, Tables


class SparseAdam(SparseOptimizer):
    """Adam: Kingma and Ba, ICLR 2015; the decay is decoupled from the gradient.

    m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
    w -= lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay w).
    """

    def __init__(
        self,
        tables: Tables,
        *,
        lr: float,
        beta1: float,
        beta2: float,
        weight_decay: float,
        eps: float,
    ) -> None:
        self._betas, self._decay, self._eps = (beta1, beta2), weight_decay, eps
        super().__init__(tables, lr=lr)

    def make_state(self, weight: Tensor) -> dict[str, Tensor]:
        return {"exp_avg": zeros_like(weight), "exp_avg_sq": zeros_like(weight)}

    def update(self, weight: Tensor, rows: Tensor, grad: Tensor, state: dict, lr: float) -> None:
        first, root = _moments(rows, grad, state, self._betas, self.steps)
        root.add_(self._eps)
        old = weight.index_select(0, rows)
        moved = first / (1 - self._betas[0] ** self.steps) / root + self._decay * old
        weight.index_copy_(0, rows, old - lr * moved)


class SparseNAdam(SparseOptimizer):
    """NAdam: Dozat, "Incorporating Nesterov Momentum into Adam", 2016; torch's momentum decay.

    With c_t = b1 (1 - 0.96^(0.004 t) / 2), C_t their product up to t, m and v as in Adam:
    w -= lr (c_{t+1} m / (1 - C_{t+1}) + (1 - c_t) g / (1 - C_t)) / (sqrt(v / (1 - b2^t)) + eps).
    """

    def __init__(
        self, tables: Tables, *, lr: float, beta1: float, beta2: float, eps: float
    ) -> None:
        self._betas, self._eps = (beta1, beta2), eps
        self._products = [1.0]
        super().__init__(tables, lr=lr)

    def make_state(self, weight: Tensor) -> dict[str, Tensor]:
        return {"exp_avg": zeros_like(weight), "exp_avg_sq": zeros_like(weight)}

    def update(self, weight: Tensor, rows: Tensor, grad: Tensor, state: dict, lr: float) -> None:
        first, root = _moments(rows, grad, state, self._betas, self.steps)
        now, following = self._momentum(self.steps), self._momentum(self.steps + 1)
        of_first = following / (1 - self._product(self.steps + 1))
        of_grad = (1 - now) / (1 - self._product(self.steps))
        moved = (of_first * first + of_grad * grad) / root.add_(self._eps)
        weight.index_add_(0, rows, moved, alpha=-lr)

    def _momentum(self, step: int) -> float:
        return self._betas[0] * (1 - 0.96 ** (0.004 * step) / 2)

    def _product(self, step: int) -> float:
        """C_t: by the step alone, so that no checkpoint needs to hold it.

        The list ends where the product is 0 in float64, after some thousand steps at most.
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
        self, tables: Tables, *, lr: float, beta1: float, beta2: float, eps: float
    ) -> None:
        self._betas, self._eps = (beta1, beta2), eps
        super().__init__(tables, lr=lr)

    def make_state(self, weight: Tensor) -> dict[str, Tensor]:
        return {"exp_avg": zeros_like(weight), "exp_inf": zeros_like(weight)}

    def update(self, weight: Tensor, rows: Tensor, grad: Tensor, state: dict, lr: float) -> None:
        beta1, beta2 = self._betas
        first = state["exp_avg"].index_select(0, rows).lerp_(grad, 1 - beta1)
        largest = state["exp_inf"].index_select(0, rows).mul_(beta2)
        largest = maximum(largest, grad.abs().add_(self._eps))
        state["exp_avg"].index_copy_(0, rows, first)
        state["exp_inf"].index_copy_(0, rows, largest)
        weight.index_add_(0, rows, first / largest, alpha=-lr / (1 - beta1**self.steps))


def _moments(
    rows: Tensor, grad: Tensor, state: dict, betas: tuple[float, float], step: int
) -> tuple[Tensor, Tensor]:
    """m and sqrt(v / (1 - b2^t)) of the rows, after moving both on."""
    beta1, beta2 = betas
    first = state["exp_avg"].index_select(0, rows).lerp_(grad, 1 - beta1)
    second = state["exp_avg_sq"].index_select(0, rows)
    second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    state["exp_avg"].index_copy_(0, rows, first)
    state["exp_avg_sq"].index_copy_(0, rows, second)
    return first, (second / (1 - beta2**step)).sqrt_()
