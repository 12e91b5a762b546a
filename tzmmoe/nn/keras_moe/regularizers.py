"""Keras 3's regularizers by name: penalties of a weight or of outputs.

Formulas: https://keras.io/api/layers/regularizers.
"""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from tzmmoe.errors import ConfigError
from tzmmoe.nn.keras_moe.lookup import by_names, check_choice, check_number, look_up

Regularizer = Callable[[Tensor], Tensor]
FACTOR = 0.01  # of a name without settings


class L1L2:
    """l1 sum |w| + l2 sum w^2."""

    def __init__(self, *, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = check_number("config.l1", l1, least=0)
        self.l2 = check_number("config.l2", l2, least=0)

    def __call__(self, weight: Tensor) -> Tensor:
        return self.l1 * weight.abs().sum() + self.l2 * weight.square().sum()


class L1(L1L2):
    """l1 sum |w|."""

    def __init__(self, *, l1: float = FACTOR) -> None:
        super().__init__(l1=l1)


class L2(L1L2):
    """l2 sum w^2."""

    def __init__(self, *, l2: float = FACTOR) -> None:
        super().__init__(l2=l2)


class OrthogonalRegularizer:
    """factor times the mean |cosine| of all pairs of a matrix's rows, or columns; 0 for one row."""

    def __init__(self, *, factor: float = FACTOR, mode: str = "rows") -> None:
        self.factor = check_number("config.factor", factor, least=0)
        self.mode = check_choice("config.mode", mode, ("rows", "columns"))

    def __call__(self, weight: Tensor) -> Tensor:
        if weight.ndim != 2:
            words = f"is for matrices, and the weight has the shape {tuple(weight.shape)}"
            raise ConfigError.saying(f"OrthogonalRegularizer {words}; give another regularizer")
        vectors = F.normalize(weight if self.mode == "rows" else weight.mT, dim=1)
        cosines = vectors @ vectors.mT
        count = len(vectors)
        pairs = max(count * (count - 1), 1)  # each is there twice
        return self.factor * (cosines - cosines.diag().diag()).abs().sum() / pairs


def _l1_l2() -> L1L2:
    """As Keras documents the name; a dict without settings has none of both."""
    return L1L2(l1=FACTOR, l2=FACTOR)


MAKERS = by_names(L1, L2, L1L2, OrthogonalRegularizer) | {"l1_l2": L1L2}
NAMES = MAKERS | dict.fromkeys(("L1L2", "l1l2", "l1_l2"), _l1_l2)


def get(identifier: object) -> Regularizer | None:
    """As ``keras.regularizers.get``; None is none. Raises ConfigError without a path."""
    return look_up(identifier, NAMES if isinstance(identifier, str) else MAKERS)
