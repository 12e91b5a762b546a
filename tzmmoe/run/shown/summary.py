"""A summary of what will be trained: tables, parameters, memory."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from tzmmoe.errors import few
from tzmmoe.learning.step import TrainStep
from tzmmoe.models.parts import Part, part_of, trained
from tzmmoe.models.rank import RankModel
from tzmmoe.system import tensorfiles
from tzmmoe.system.runtime import short_bytes


@dataclass(frozen=True)
class Memory:
    """Bytes of tables, of the dense part, of the state of both optimizers, and of the averages, in
    this process."""

    tables: int
    dense: int
    optimizers: int
    averages: int

    @classmethod
    def of(cls, step: TrainStep) -> "Memory":
        states = [
            tensor
            for optimizer in (*step.tables.optimizers, step.dense.optimizer)
            for state in optimizer.state.values()
            for tensor in state.values()
            if isinstance(tensor, Tensor)
        ]
        tables = [module.weight for module in step.tables.modules.values()]
        for part in step.tables.sharded:
            tables += (t for _, t in tensorfiles.tensors(part.store.weights(part.group)))
            for state in part.store.state(part.group).values():
                states += (tensor for _, tensor in tensorfiles.tensors(state))
        return cls(
            tables=sum(map(_size, tables)),
            dense=sum(map(_size, step.dense.parameters.values())),
            optimizers=sum(map(_size, states)),
            averages=step.averages.size_bytes if step.averages else 0,
        )

    @property
    def needed(self) -> int:
        """Including the gradients of the dense part; those of tables grow with the batch."""
        return self.tables + 2 * self.dense + self.optimizers + self.averages

    def line(self, free_bytes: int | None) -> str:
        """``free_bytes``: the free memory before any of it was allocated."""
        free = f" of {short_bytes(free_bytes)} free" if free_bytes is not None else ""
        averages = f", averages {short_bytes(self.averages)}" if self.averages else ""
        return (
            f"memory: tables {short_bytes(self.tables)}, dense part {short_bytes(self.dense)}, "
            f"optimizers {short_bytes(self.optimizers)}{averages}; with gradients "
            f"{short_bytes(self.needed)}{free}, plus the batches"
        )


def summary(model: RankModel, step: TrainStep) -> str:
    """Tables with rows, width and bytes, and the parts of the dense part."""
    lines = [f"{'table':32} {'rows':>12} {'width':>6} {'size':>10}"]
    for part in (*step.tables.modules.values(), *step.tables.sharded):
        for table in part.tables:
            frozen = "" if table.trainable else "  (not trained)"
            size = short_bytes(table.rows * table.dim * 4)
            lines.append(f"{table.name:32} {table.rows:>12,} {table.dim:>6} {size:>10}{frozen}")
    return "\n".join([*lines, *_penalty_lines(step), *_dense_lines(model)])


def _penalty_lines(step: TrainStep) -> Iterator[str]:
    """Penalties of tables, which slow a step down since they act on every row."""
    tables: dict[str, list[str]] = {}
    for module in step.tables.modules.values():
        if hasattr(module, "penalty"):
            tables.setdefault(" and ".join(module.penalty.names()), []).extend(module.spans)
    for settings, names in tables.items():
        yield f"{settings} updates all rows of {few(names)} at every step"


def _dense_lines(model: RankModel) -> Iterator[str]:
    """The parts of the body, the towers, and what else is dense."""
    parts = [*model.body.parts(), *towers(model)]
    for name, child in (*model.named_children(), *model.encoder.named_children()):
        if name not in ("encoder", "tables", "factors", "body", "towers") and trained(child):
            parts.append(part_of(name, child, ()))
    for name, factor in model.encoder.factors.items():
        if factor.vectors is not None:
            parts.append(part_of(f"vectors of {name}", factor.vectors, ()))
    rows = [("part", "reads", "gives", "parameters")]
    rows += [(part.name, few(part.reads, 3), part.gives, f"{part.parameters:,}") for part in parts]
    first, second, third = (max(len(row[place]) for row in rows) for place in range(3))
    for name, reads, gives, parameters in rows:
        yield f"{name:{first}}  {reads:{second}}  {gives:{third}}  {parameters:>12}"


def towers(model: RankModel) -> list[Part]:
    """The towers, each of which reads ends of the body, and perhaps other towers."""
    marked = {n: f"{n} (auxiliary)" if n in model.auxiliary else n for n in model.names}
    found = []
    for index, name in enumerate(model.names):
        reads = [
            *model.body.ends_of(index),
            *(f"tower {marked[other]}" for other in model.body.reads.get(name, ())),
        ]
        found.append(part_of(f"tower {marked[name]}", model.towers[f"tower_{name}"], reads))
    return found


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
