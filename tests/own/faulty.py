"""Classes of a user's that raise an error in the method, or the constructor, of their name."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tzmmoe.features.id import IdFeature
from tzmmoe.models.mmoe import MMoE
from tzmmoe.tasks.losses.cross_entropy import BinaryCrossEntropy
from tzmmoe.tasks.metrics import Metric

NOTHING: Mapping[str, Any] = {}


def look_up(key: str) -> Any:
    return NOTHING[key]


class LossForward(BinaryCrossEntropy):
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().forward(logits, labels) * look_up("gamma")


class LossShape(BinaryCrossEntropy):
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().forward(logits, labels)[:, None]


class LossPredict(BinaryCrossEntropy):
    def predict(self, logits: Tensor) -> dict[str, Tensor]:
        return {"probs": logits / look_up("scale")}


class LossInit(BinaryCrossEntropy):
    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        look_up("weights")


class LossLabels(BinaryCrossEntropy):
    def label_kind(self, num_class: int) -> Any:
        return look_up("kind")


class Mean(Metric):
    consumes = ("probs",)
    larger_is_better = None

    def update(self, predictions: Tensor, labels: Tensor) -> None: ...

    def compute(self) -> float:
        return 0.5


class MetricUpdate(Mean):
    def update(self, predictions: Tensor, labels: Tensor) -> None:
        predictions.view(3, -1, 7, 11, 13)


class MetricCompute(Mean):
    def compute(self) -> float:
        return 1 / 0


class MetricInit(Mean):
    def __init__(self) -> None:
        raise RuntimeError("no state")


class FeatureEncode(IdFeature):
    def encode(self, arrays: Any) -> Any:
        return look_up("rows")


class FeatureInit(IdFeature):
    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        look_up("words")


class ModelForward(MMoE):
    def forward(self, inputs: Any) -> Any:
        return super().forward(inputs[0])


class ModelInit(MMoE):
    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        look_up("experts")


class ModelTower(MMoE):
    def tower(self, *given: Any) -> Any:
        return look_up("tower")
