"""What predicting one number for all rows would reach, beside which metrics are read."""

import torch
from torch import Tensor

from tzmmoe.tasks.metrics.base import Metric, ratio


class LabelSpread(Metric):
    """The mean and spread of the labels, and the squared error of the predictions.

    The mean is the best constant both for squared error and for log loss. Mean and sum of squared
    deviations are merged as in Chan, Golub and LeVeque, "Algorithms for Computing the Sample
    Variance", 1983, so that labels far from 0 lose no digits.
    """

    def __init__(self) -> None:
        super().__init__()
        start = torch.zeros(3, dtype=torch.float64)
        self.add_state("moments", start, dist_reduce_fx=merged)  # rows, mean, squared deviations
        self.add_sum("squared_error")

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        predictions, labels = predictions.double(), labels.double()
        self.squared_error += (predictions - labels).square().sum()
        count = torch.tensor(float(len(labels)), dtype=torch.float64, device=labels.device)
        mean = ratio(labels.sum(), count).nan_to_num(0.0)
        batch = torch.stack([count, mean, (labels - mean).square().sum()])
        self.moments = merged(torch.stack([self.moments, batch]))

    def compute(self) -> dict[str, float]:
        """``base_logloss``, ``base_mse``, ``base_rmse`` and ``r2``, all NaN without rows."""
        count, mean, deviations = self.moments
        base_mse = ratio(deviations, count)
        entropy = torch.special.entr(mean) + torch.special.entr(1 - mean)
        values = {
            "base_logloss": torch.where(count > 0, entropy, torch.nan),
            "base_mse": base_mse,
            "base_rmse": base_mse.sqrt(),
            "r2": 1 - ratio(self.squared_error, deviations),
        }
        return {name: float(value) for name, value in values.items()}


def merged(parts: Tensor) -> Tensor:
    """Of parts (N, 3), the moments of all their rows (3,)."""
    counts, means, deviations = parts.unbind(1)
    count = counts.sum()
    share = ratio(counts, count).nan_to_num(0.0)
    mean = (share * means).sum()
    between = counts * (means - mean).square()
    return torch.stack([count, mean, (deviations + between).sum()])
