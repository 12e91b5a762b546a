"""What the data hands to training: batches, the columns in them, and positions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa
import torch
from torch import Tensor

from tzmmoe.jagged import Jagged

NO_GROUP = -(2**63)  # the group of rows without a value


@dataclass(frozen=True)
class Inputs:
    """What the model reads.

    ids: the ids of the pooled features (B, F) by width of their embeddings. numbers: (B, R)
    float32. sequences: the ids of each other feature (B,).
    """

    ids: Mapping[int, Jagged]
    numbers: Tensor
    sequences: Mapping[str, Jagged] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """B rows. columns: labels, weights and groups, (B,) or (B, C); a missing label is NaN.
    reserved: columns that pass unchanged into the predictions."""

    inputs: Inputs
    columns: Mapping[str, Tensor]
    reserved: pa.RecordBatch | None = None

    def __len__(self) -> int:
        return len(self.inputs.numbers)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with ``change`` applied to every tensor."""
        inputs = Inputs(
            {width: ids.map(change) for width, ids in self.inputs.ids.items()},
            change(self.inputs.numbers),
            {name: ids.map(change) for name, ids in self.inputs.sequences.items()},
        )
        columns = {name: change(column) for name, column in self.columns.items()}
        return Batch(inputs, columns, self.reserved)

    def pinned(self) -> "Batch":
        """In page-locked memory, from which a GPU copies while the CPU goes on."""
        return self.map(Tensor.pin_memory)

    def to(self, device: torch.device) -> "Batch":
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))


@dataclass(frozen=True)
class Column:
    """A column that training needs in addition to the features.

    role: ``label`` (NaN where missing), ``weight`` or ``group``. Values lie within [low, high];
    with ``num_classes``, labels are classes or lists of that many probabilities. ``texts``: what
    the column holds for each class instead of a number; empty if it holds numbers. ``reader``: what
    reads the column, for messages.
    """

    name: str
    role: str
    low: float = float("-inf")
    high: float = float("inf")
    num_classes: int = 0
    texts: tuple[str, ...] = ()
    reader: str = field(default="", compare=False)

    def meet(self, other: "Column") -> "Column":
        """The column that satisfies both of two uses."""
        return replace(
            self,
            low=max(self.low, other.low),
            high=min(self.high, other.high),
            num_classes=max(self.num_classes, other.num_classes),
            texts=self.texts or other.texts,
        )


@dataclass(frozen=True)
class Position:
    """How far a process has consumed its part of the data: ``row`` rows of epoch ``epoch``.

    The rest says where to resume: in pass ``leg`` of the epoch's order, ``done`` rows of chunk
    ``chunk`` are consumed, and this chunk begins ``span_row`` rows into span ``span``. All count
    from 0.
    """

    epoch: int = 0
    row: int = 0
    leg: int = 0
    chunk: int = 0
    done: int = 0
    span: int = 0
    span_row: int = 0

    @property
    def reached(self) -> tuple[int, int, int, int]:
        """Sorts positions as they are reached."""
        return self.epoch, self.leg, self.chunk, self.done
