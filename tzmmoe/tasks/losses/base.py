"""What a loss is: the loss of each row, and what the logits mean."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from tzmmoe.errors import ConfigError
from tzmmoe.protos import loss_pb2
from tzmmoe.registry import Registry

LOSSES: Registry[type["Loss"]] = Registry(loss_pb2.Loss, "loss")


@dataclass(frozen=True)
class LabelKind:
    """Which labels a loss takes: numbers within [low, high], or one of ``num_classes`` classes."""

    low: float = float("-inf")
    high: float = float("inf")
    num_classes: int = 0


class Loss(ABC):
    """A loss of one tower with ``num_class`` logits."""

    outputs: tuple[str, ...]  # of predict, without the tower's name

    @abstractmethod
    def label_kind(self, num_class: int) -> LabelKind:
        """The labels it takes. Raises ConfigError when it cannot have so many logits."""

    def link(self, num_class: int) -> str:
        """The activation that the loss itself applies to its logits, so that a tower's
        output_activation of that name changes nothing: ``sigmoid``, ``softmax``, or ``""``."""
        return ""

    @abstractmethod
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of each row (B,). logits: (B,), or (B, C) for several classes."""

    @abstractmethod
    def predict(self, logits: Tensor) -> dict[str, Tensor]:
        """What the logits mean: ``logits``, ``probs``, ``probs1``, ``y``."""


def one_logit(num_class: int, loss: str) -> None:
    if num_class != 1:
        raise ConfigError.at("num_class", f"is {num_class}; {loss} takes 1 logit")


def smoothing(value: float) -> float:
    if not 0 <= value < 1:
        raise ConfigError.at("label_smoothing", f"is {value:g}; give 0 to below 1")
    return value
