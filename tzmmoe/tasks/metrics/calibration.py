"""Whether predictions add up to what happens."""

from torch import Tensor

from tzmmoe.tasks.metrics.base import METRICS, Metric, ratio


@METRICS.register("calibration")
class Calibration(Metric):
    """Sum of predictions over sum of labels; 1 is calibrated, above 1 predicts too much."""

    consumes = ("probs1", "probs", "y")
    larger_is_better = None

    def __init__(self) -> None:
        super().__init__()
        self.add_sum("predicted")
        self.add_sum("happened")

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        self.predicted += predictions.double().sum()
        self.happened += labels.double().sum()

    def compute(self) -> Tensor:
        return ratio(self.predicted, self.happened)
