"""Penalties: terms of the loss that keep weights small."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from tzmmoe.errors import ConfigError, exactly
from tzmmoe.nn.keras_moe.layer import MMoE
from tzmmoe.nn.mlp import StackedLinear
from tzmmoe.tables.table import Tables, Vectors


@dataclass(frozen=True)
class Penalty:
    """l1 sum |w| + l2 sum w^2, as Keras's L1L2. ``part``: the prefix of the fields' names."""

    l1: float
    l2: float
    part: str = ""

    @classmethod
    def of(cls, part: str, l1: float, l2: float) -> "Penalty":
        """From the fields ``<part>_l1_reg`` and ``<part>_l2_reg``. Raises ConfigError below 0."""
        for name, value in (("l1", l1), ("l2", l2)):
            if value < 0:
                raise ConfigError.at(f"{part}_{name}_reg", f"is {exactly(value)}; give 0 or more")
        return cls(l1, l2, part)

    def names(self) -> list[str]:
        """The fields that are above 0."""
        values = {"l1": self.l1, "l2": self.l2}
        return [f"{self.part}_{name}_reg" for name, value in values.items() if value]

    def each_of(self, num_networks: int) -> "Penalty":
        """The penalty of each network, so that the sum is the mean of what one alone would have."""
        return replace(self, l1=self.l1 / num_networks, l2=self.l2 / num_networks)

    def __bool__(self) -> bool:
        return bool(self.l1 or self.l2)

    def __call__(self, weight: Tensor) -> Tensor:
        total = weight.new_zeros(())
        if self.l1:
            total = total + self.l1 * weight.abs().sum()
        if self.l2:
            total = total + self.l2 * weight.square().sum()
        return total


def half_of_squares(l2_regularization: float) -> Penalty:
    """s sum w^2 / 2, as TensorFlow's l2_regularizer. Raises ConfigError, at the field of this name,
    below 0."""
    if l2_regularization < 0:
        words = f"is {exactly(l2_regularization)}; give 0 or more"
        raise ConfigError.at("l2_regularization", words)
    return Penalty(0.0, l2_regularization / 2)


def penalize(module: nn.Module, penalty: Penalty) -> None:
    """Penalize every kernel and table within a module, but no biases and norms.

    A table then has a gradient in each of its rows, at every step.
    """
    if not penalty:
        return
    for part in module.modules():
        if isinstance(part, (nn.Linear, StackedLinear, Tables, Vectors)):
            part.penalty = penalty
        if isinstance(part, Tables):
            part.sparse = False


def penalized(model: nn.Module) -> list[nn.Module]:
    """The modules whose weights have a penalty."""
    return [
        part
        for part in model.modules()
        if hasattr(part, "penalty") or (isinstance(part, MMoE) and part.weight_penalties())
    ]


def regularization(parts: Sequence[nn.Module]) -> Tensor | None:
    """The sum of the penalties of ``penalized`` modules; None if there are none."""
    terms = [term for part in parts for term in _terms(part)]
    return sum(terms) if terms else None


def _terms(part: nn.Module) -> list[Tensor]:
    if isinstance(part, MMoE):
        return part.weight_penalties()
    return [part.penalty(part.trained if isinstance(part, Tables) else part.weight)]
