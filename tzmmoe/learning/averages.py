"""Exponential moving averages of the weights."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tzmmoe import private_torch


def decay_of(step: int, decay: float) -> float:
    """d_t of a step t, counted from 1: min(decay, (1 + t) / (10 + t)).

    With a constant decay, the initial weights would keep the share decay^t of the average: a third
    after 1,000 steps of .999. As in TensorFlow's ExponentialMovingAverage with num_updates.
    """
    return min(decay, (1 + step) / (10 + step))


@dataclass(frozen=True)
class RowAverages:
    """The averages of a table's trained rows, each as of the step s before its weight last changed.

    ``values`` (R, D): the averages. ``log_decays`` (R,), float64: log(d_1 ... d_s) of each row's s.
    While a weight w does not change, a_t - w = d_t (a_(t-1) - w). So the average of a row that no
    step touched can be brought up to date later, at once, and the cost of a step depends on the
    rows of its batch, not on the table.
    """

    values: Tensor
    log_decays: Tensor

    def at(self, weight: Tensor, log_decay: float) -> Tensor:
        """The averages (R, D) of all rows at a later step, in a new tensor."""
        return _moved(self.values, weight, self.log_decays, log_decay)

    def catch_up(self, rows: Tensor, weight: Tensor, log_decay: float) -> None:
        """Bring the distinct rows (U,), whose weights are about to change, up to a later step."""
        since, old = self.log_decays.index_select(0, rows), self.values.index_select(0, rows)
        moved = _moved(old, weight.index_select(0, rows), since, log_decay)
        self.values.index_copy_(0, rows, moved)
        self.log_decays.index_fill_(0, rows, log_decay)


def _moved(averages: Tensor, weights: Tensor, since: Tensor, log_decay: float) -> Tensor:
    """Averages (U, D) of unchanged weights, from the steps of ``since`` (U,) on to a later one."""
    shares = -torch.expm1(log_decay - since)  # in float64: 1 - decay would lose digits in float32
    return averages.lerp(weights, shares.to(weights.dtype).unsqueeze(1))


class Averages:
    """The averages of the trained weights: a_t = d_t a_(t-1) + (1 - d_t) w_t, where a_0 is the
    weight at ``begin``.

    After Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM J.
    Control Optim. 1992. d_t: see ``decay_of``. A step is a batch, even if it changes no weight of
    the dense part because gradients accumulate or FP16 skips it.

    ``dense``: the averages by the names of parameters. ``rows``: those of each table. ``steps``:
    how many are averaged. ``log_decay``: log(d_1 ... d_steps).
    """

    def __init__(
        self,
        dense: Mapping[str, nn.Parameter],
        tables: Mapping[nn.Parameter, int],
        decay: float,
    ) -> None:
        """``tables``: each with its number of trained rows."""
        self.decay, self.steps, self.log_decay = decay, 0, 0.0
        self._parameters = {name: p for name, p in dense.items() if p.requires_grad}
        self.dense = {name: torch.empty_like(p.data) for name, p in self._parameters.items()}
        self.rows = {}
        for table, trained in tables.items():
            values = torch.empty_like(table.data[:trained])
            log_decays = torch.empty(trained, dtype=torch.float64, device=table.device)
            self.rows[table] = RowAverages(values, log_decays)
        self._has_begun = False

    @torch.no_grad()
    def begin(self, steps: int = 0, log_decay: float = 0.0) -> None:
        """Start from the current weights, as if they had not changed for ``steps`` steps."""
        self.steps, self.log_decay, self._has_begun = steps, log_decay, True
        for name, average in self.dense.items():
            average.copy_(self._parameters[name])
        for table, own in self.rows.items():
            own.values.copy_(table[: len(own.values)])
            own.log_decays.fill_(log_decay)

    def ready(self) -> None:
        """``begin`` unless that is done; called before each step."""
        if not self._has_begun:
            self.begin()

    @torch.no_grad()
    def before_update(self, table: nn.Parameter, rows: Tensor) -> None:
        """Called within a step, when the distinct rows (U,) of a table are about to change."""
        self.rows[table].catch_up(rows, table, self.log_decay)

    @torch.no_grad()
    def advance(self) -> None:
        """Called after a step: count it. The averages of tables catch up when they are needed."""
        self.steps += 1
        decay = decay_of(self.steps, self.decay)
        self.log_decay += math.log(decay)
        if self.dense:
            weights = list(self._parameters.values())
            private_torch.move(list(self.dense.values()), weights, 1 - decay)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Within the block, the parameters hold the averages; after it, they have the memory that
        they had before, whatever the block raises."""
        self.ready()
        shown = {p: self.dense[name] for name, p in self._parameters.items()}
        for table, own in self.rows.items():
            trained = len(own.values)
            with torch.no_grad():
                average = own.at(table[:trained], self.log_decay)
                frozen = table.data[trained:]
                shown[table] = torch.cat([average, frozen]) if len(frozen) else average
        held = {parameter: parameter.data for parameter in shown}
        try:
            for parameter, average in shown.items():
                parameter.data = average
            yield
        finally:
            for parameter, weight in held.items():
                parameter.data = weight

    @property
    def size_bytes(self) -> int:
        """Of all averages, with the copy of the tables' that an evaluation makes."""
        tensors = list(self.dense.values())
        for own in self.rows.values():
            tensors += [own.values, own.values, own.log_decays]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
