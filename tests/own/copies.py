"""Classes of a user's that do what some of the package do, and classes that no export can hold."""

import torch
from torch import Tensor

from tzmmoe.features.id import IdFeature
from tzmmoe.models.mmoe import MMoE
from tzmmoe.tasks.losses.cross_entropy import BinaryCrossEntropy
from tzmmoe.tasks.metrics import Metric

torch.library.define("tests_own::twice", "(Tensor x) -> Tensor")
torch.library.impl("tests_own::twice", "CPU", lambda x: 2 * x)
torch.library.register_fake("tests_own::twice", torch.empty_like)


class Entropy(BinaryCrossEntropy):
    pass


class Error(Metric):
    """Mean of |probability - label|^power."""

    consumes = ("probs",)
    larger_is_better = False

    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = power
        self.add_sum("error")
        self.add_sum("rows")

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        self.error += (predictions.double() - labels).abs().pow(self.power).sum()
        self.rows += len(labels)

    def compute(self) -> Tensor:
        return self.error / self.rows


class Mixture(MMoE):
    pass


class Category(IdFeature):
    file_fields = ("vocab_file",)


class WithOperator(BinaryCrossEntropy):
    def predict(self, logits: Tensor) -> dict[str, Tensor]:
        return super().predict(torch.ops.tests_own.twice(logits))


class Branching(MMoE):
    def forward(self, inputs):
        made = super().forward(inputs)
        return made if made.hidden[0].sum() > 0 else super().forward(inputs)
