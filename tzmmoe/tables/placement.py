"""Decides where the embedding tables of several processes lie: replicated or sharded."""

import importlib.util
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from tzmmoe.errors import ConfigError, Fault, few, within
from tzmmoe.registry import Choice
from tzmmoe.system.runtime import short_bytes
from tzmmoe.system.world import World
from tzmmoe.tables.constraints import Constraints
from tzmmoe.tables.optimizers import sparse_optimizer
from tzmmoe.tables.sharded import ShardedTables
from tzmmoe.tables.table import Table, Tables

if TYPE_CHECKING:
    from tzmmoe.tables.torchrec import TorchRecTables

log = logging.getLogger(__name__)

FRACTION = 0.25  # of a process's memory: AUTO shards tables that need more, optimizer included
FUSED = ("sgd_optimizer", "adagrad_optimizer", "rowwise_adagrad_optimizer")
MULTIPLE = 4  # FBGEMM requires the width of a table to be a multiple of this
NONE_FITS = "needs a table whose width is a multiple of 4, without l1_reg or l2_reg"
MISSING = (
    "needs TorchRec, which is not installed: `make torchrec` on a machine without GPU, "
    "`pip install tzmmoe[torchrec]` on one with CUDA"
)


@dataclass(frozen=True)
class PlacementRequest:
    """What decides where a run's tables lie. ``optimizer``: None if nothing is trained; ``unfit``:
    the faults of constraints that cannot be met."""

    placement: str  # AUTO, REPLICATED or SHARDED
    constraints: Constraints
    batch_size: int
    optimizer: Choice | None = None
    grad_process: str = ""
    precision: str = ""
    unfit: tuple[Fault, ...] = ()

    def obstacle(self) -> str:
        """Why tables cannot be sharded; empty if they can."""
        if self.unfit:
            return f"is impossible: {self.unfit[0]}"
        optimizer = self.optimizer
        if optimizer is None:
            return ""
        if optimizer.word not in FUSED:
            return f"does not work with {optimizer.word}; use one of {', '.join(FUSED)}"
        if optimizer.arguments.get("weight_decay"):
            return "does not work with weight_decay, which FBGEMM silently ignores on a CPU"
        if self.grad_process == "pcgrad":
            return 'does not work with grad_process: "pcgrad": tables move in the backward pass'
        if self.precision == "FP16":
            return "does not work with FP16's scaled gradients; use BF16"
        return ""

    def check(self) -> None:
        """Raise ConfigError if SHARDED is set but impossible."""
        obstacle = self.obstacle()
        if self.placement == "SHARDED" and obstacle:
            words = f"SHARDED {obstacle}; or set table_placement: REPLICATED"
            raise ConfigError.at("train_config.table_placement", words)


@dataclass(frozen=True)
class Machine:
    """What a process runs on. ``free``: bytes of memory before the tables were made, if known;
    ``neighbours``: the number of processes that share the machine."""

    world: World = field(default_factory=World)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    free: int | None = None
    neighbours: int = 1


def place(model: nn.Module, request: PlacementRequest, machine: Machine) -> None:
    """Give the model's tables their values, in each process or spread over all; log which, and why.

    Raises:
        ConfigError: SHARDED is impossible, or the tables do not fit into memory.
    """
    parts = {name: part for name, part in model.named_modules() if isinstance(part, Tables)}
    sizes = {t.name: _bytes(t, request) for part in parts.values() for t in part.tables}
    free = [count for count in machine.world.gather(machine.free) if count is not None]
    machine = replace(machine, free=min(free, default=None))
    # FBGEMM can train neither tables of other widths nor terms over a whole table.
    fitting = {n: p for n, p in parts.items() if p.sparse and not p.weight.shape[1] % MULTIPLE}
    world, needed = machine.world, sum(sizes.values())
    reason, is_sharded = world.each(lambda: _decision(request, machine, needed, bool(fitting)))
    whole = [part for name, part in parts.items() if not (is_sharded and name in fitting)]
    in_each = sum(sizes[table.name] for part in whole for table in part.tables)
    if world.size > 1:
        world.each(lambda: _check_memory(in_each, reason, machine.free))
    for part in whole:
        if part.weight.is_meta:
            part.fill()
    if not is_sharded:
        if world.size > 1 or request.optimizer or request.placement == "SHARDED":
            where = "in each process" if world.size > 1 else "in it"
            log.info("tables: REPLICATED (%s); %s %s", reason, short_bytes(in_each), where)
        return
    rest = None if machine.free is None else machine.free - in_each
    sharded = _spread(model, fitting, request, replace(machine, free=rest))
    for line in _lines(sharded, sizes, reason, world):
        log.info("%s", line)


def _decision(
    request: PlacementRequest, machine: Machine, needed: int, fits: bool
) -> tuple[str, bool]:
    """The reason, and whether tables are sharded; the same in all processes. ``needed``: bytes of
    all tables; ``fits``: whether TorchRec can train any of them."""
    asked = "as table_placement says"
    if machine.world.size == 1:
        is_vain = request.placement == "SHARDED"
        vain = ", so table_placement: SHARDED has no effect" if is_vain else ""
        return f"one process has them all{vain}", False
    if request.placement == "REPLICATED":
        return asked, False
    has_torchrec = all(machine.world.gather(_has_torchrec()))
    missing = NONE_FITS if has_torchrec else MISSING
    if request.placement == "SHARDED":
        request.check()
        if not (has_torchrec and fits):
            words = f"SHARDED {missing}; or set table_placement: REPLICATED"
            raise ConfigError.at("train_config.table_placement", words)
        return asked, True
    if machine.free is None:
        return "AUTO: the free memory is unknown", False
    words = f"AUTO: {short_bytes(needed)} with their optimizer's state is "
    if needed <= FRACTION * machine.free:
        return f"{words}within {FRACTION:.0%} of {short_bytes(machine.free)}", False
    words += f"more than {FRACTION:.0%} of {short_bytes(machine.free)}"
    obstacle = request.obstacle() or ("" if has_torchrec and fits else missing)
    return (f"{words}, but SHARDED {obstacle}", False) if obstacle else (words, True)


def _check_memory(in_each: int, reason: str, free: int | None) -> None:
    """Raise ConfigError if the tables that each process holds whole exceed its memory."""
    if free is not None and in_each > free:
        raise ConfigError.at(
            "train_config.table_placement",
            f"{short_bytes(in_each)} of tables with their optimizer's state would lie in each "
            f"process ({reason}), but only {short_bytes(free)} is free; reduce rows or "
            "embedding_dim, or choose settings that allow SHARDED",
        )


def _has_torchrec() -> bool:
    return importlib.util.find_spec("torchrec") is not None


def _bytes(table: Table, request: PlacementRequest) -> int:
    """The size of a table with its optimizer's state."""
    weight = nn.Parameter(torch.empty(table.rows, table.dim, device="meta"))
    tensors = [weight]
    if request.optimizer and table.trainable:
        word, arguments = request.optimizer.word, request.optimizer.arguments
        with within(word):
            optimizer = sparse_optimizer([(weight, table.rows)], word, arguments)
        tensors += optimizer.state[weight].values()
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _spread(
    model: nn.Module, tables: Mapping[str, Tables], request: PlacementRequest, machine: Machine
) -> "TorchRecTables":
    """Replace these modules of the model by ShardedTables."""
    from tzmmoe.tables.torchrec import ShardingRequest, TorchRecTables

    groups = {name.replace(".", "/"): part for name, part in tables.items()}
    sharding = ShardingRequest(
        optimizer=request.optimizer,
        constraints=request.constraints,
        batch_size=request.batch_size,
        free=machine.free,
        neighbours=machine.neighbours,
    )
    spread = TorchRecTables(groups, sharding, machine.world, machine.device)
    for name, part in tables.items():
        parent, _, own = name.rpartition(".")
        sharded = ShardedTables(spread, name.replace(".", "/"), part)
        setattr(model.get_submodule(parent), own, sharded)
    return spread


def _lines(
    spread: "TorchRecTables", sizes: Mapping[str, int], reason: str, world: World
) -> Iterator[str]:
    """What is logged about sharded tables."""
    bytes_by_rank, names_by_type = [0] * world.size, {}
    whole = dict(sizes)
    for table, sharding_type, parts in spread.placed(sizes):
        whole.pop(table.name)
        names_by_type.setdefault(sharding_type, []).append(table.name)
        for rank, size in parts.items():
            bytes_by_rank[rank] += size
    shown = [short_bytes(size) for size in bytes_by_rank]
    ranks = ", ".join(f"{size} in rank {rank}" for rank, size in enumerate(shown))
    if world.size > 16:
        low, high = min(bytes_by_rank), max(bytes_by_rank)
        ranks = f"{short_bytes(low)} to {short_bytes(high)} in each rank"
    if len(set(bytes_by_rank)) == 1:
        ranks = f"{shown[0]} in each rank"
    yield f"tables: SHARDED ({reason}); {ranks}"
    for sharding_type, names in names_by_type.items():
        yield f"  {sharding_type}: {few(names)}"
    if spread.uncut:
        yield f"  too few rows to split by rows, as the constraints ask: {few(spread.uncut)}"
    if whole:
        size = short_bytes(sum(whole.values()))
        yield (
            f"  whole in each rank, {size}: {few(list(whole))} (TorchRec takes widths that are "
            "multiples of 4, without l1_reg or l2_reg)"
        )
