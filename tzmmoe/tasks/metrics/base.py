"""What a metric is: torchmetrics' Metric, with the outputs and columns that it takes."""

import numpy as np
import torch
import torchmetrics
from torch import Tensor

from tzmmoe.protos import metric_pb2
from tzmmoe.registry import Registry

METRICS: Registry[type["Metric"]] = Registry(metric_pb2.Metric, "metric")


@METRICS.base
class Metric(torchmetrics.Metric):
    """A metric over the rows that have a label. Sums are float64; states add up or join.

    ``consumes`` names the outputs of a tower that it can take, the preferred one first; with
    ``several_classes`` also those of more than one class (B, C), without ``one_class`` only those.
    ``columns`` are further columns of the data, which ``update`` gets by name; ``column_field`` is
    the field of the config that names them. ``update`` may get no rows. ``compute`` returns NaN
    where the metric is undefined, such as an AUC without positives. NaN predictions do not reach
    ``update``: they are counted, and make the metric undefined.
    """

    full_state_update = False
    consumes: tuple[str, ...]
    several_classes = False
    one_class = True
    larger_is_better: bool | None  # None: neither, so it cannot choose a checkpoint
    columns: tuple[str, ...] = ()
    column_field: str = ""

    def __init__(self) -> None:
        super().__init__(sync_on_compute=False)  # TaskSet.compute syncs all states at once
        self.add_sum("nan_predictions", dtype=torch.int64)

    def add_sum(self, name: str, *size: int, dtype: torch.dtype = torch.float64) -> None:
        """A state that starts at 0 and adds up over batches and processes."""
        self.add_state(name, torch.zeros(size, dtype=dtype), dist_reduce_fx="sum")

    def remark(self) -> str | None:
        """What makes the value of all rows so far less telling than it looks, if anything does."""
        return None

    def set_dtype(self, dst_type: torch.dtype) -> "Metric":
        return self  # sums stay float64


def joined(parts: list[Tensor] | Tensor) -> Tensor:
    """The rows of a list state, which torchmetrics has already joined if it has synced."""
    if isinstance(parts, Tensor):
        return parts
    return torch.cat(parts) if parts else torch.zeros(0)


def ascending(values: Tensor) -> Tensor:
    """The values (N,) in order. On a CPU by numpy, whose sort took a tenth of the time of torch's
    for 1,000,000 numbers (AVX-512)."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.numpy()))
    return values.sort().values


def ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, NaN where whole is 0."""
    return torch.where(whole == 0, torch.nan, part / torch.where(whole == 0, 1, whole))
