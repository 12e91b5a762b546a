"""Metrics of regression."""

from torch import Tensor

from tzmmoe.tasks.metrics.base import METRICS, Metric, ratio


class MeanError(Metric):
    """Mean of an error over the rows; ``update`` adds up the errors."""

    consumes = ("y", "probs1", "probs")
    larger_is_better = False

    def __init__(self) -> None:
        super().__init__()
        self.add_sum("error")
        self.add_sum("rows")

    def compute(self) -> Tensor:
        return ratio(self.error, self.rows)


@METRICS.register("mean_absolute_error")
class MeanAbsoluteError(MeanError):
    """Mean of |prediction - label|."""

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        self.error += (predictions.double() - labels.double()).abs().sum()
        self.rows += len(labels)


@METRICS.register("mean_squared_error")
class MeanSquaredError(MeanError):
    """Mean of (prediction - label)^2."""

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        self.error += (predictions.double() - labels.double()).square().sum()
        self.rows += len(labels)


@METRICS.register("root_mean_squared_error")
class RootMeanSquaredError(MeanSquaredError):
    """Root of the mean of (prediction - label)^2."""

    def compute(self) -> Tensor:
        return super().compute().sqrt()
