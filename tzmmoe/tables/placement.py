"""The placement of embedding tables in a run of several processes."""

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

SHARE = 0.25  # of a process's memory: AUTO shards tables that, with optimizer state, need more
FUSED = ("sgd_optimizer", "adagrad_optimizer", "rowwise_adagrad_optimizer")
MULTIPLE = 4  # FBGEMM takes tables whose width is a multiple of this
NONE_FITS = "needs a table whose width is a multiple of 4, without l1_reg or l2_reg"
MISSING = (
    "needs TorchRec, which is not installed: `make torchrec` on a machine without GPU, "
    "`pip install tzmmoe[torchrec]` on one with CUDA; or set table_placement: REPLICATED"
)


@dataclass(frozen=True)
class PlacementRequest:
    """Where a run wants its tables. ``optimizer``: None if nothing is trained; ``unfit``: the
    faults of constraints that cannot be met; ``averages``: whether the weights are averaged."""

    placement: str  # AUTO, REPLICATED or SHARDED
    constraints: Constraints
    batch_size: int
    optimizer: Choice | None = None
    grad_process: str = ""
    precision: str = ""
    unfit: tuple[Fault, ...] = ()
    averages: bool = False

    def obstacle(self) -> str:
        """Why tables cannot be sharded; empty if they can."""
        if self.unfit:
            return f"is impossible: {self.unfit[0]}"
        optimizer = self.optimizer
        if optimizer is None:
            return ""
        if optimizer.word not in FUSED:
            return f"does not work with {optimizer.word}; choose one of {', '.join(FUSED)}"
        if optimizer.arguments.get("weight_decay"):
            return "does not work with weight_decay, which FBGEMM silently ignores on a CPU"
        if self.grad_process == "pcgrad":
            return 'does not work with grad_process: "pcgrad": tables step in the backward pass'
        if self.precision == "FP16":
            return "does not work with FP16's scaled gradients; use BF16"
        if self.averages:
            return "does not work with train_config.ema: tables step in the backward pass"
        return ""

    def check(self) -> None:
        """Raise ConfigError if SHARDED is set but impossible."""
        obstacle = self.obstacle()
        if self.placement == "SHARDED" and obstacle:
            words = f"{obstacle}; or set table_placement: REPLICATED"
            raise ConfigError.at("train_config.table_placement", words)


@dataclass(frozen=True)
class Machine:
    """What a process has to work with. ``free``: bytes of memory before the tables are made, if
    known; ``neighbours``: the number of processes on the machine."""

    world: World = field(default_factory=World)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    free: int | None = None
    neighbours: int = 1


def place(model: nn.Module, request: PlacementRequest, machine: Machine) -> None:
    """Fill the model's tables, whole in each process or sharded over all; log which, and why.

    Raises:
        ConfigError: SHARDED where that is impossible, or too little memory for the tables.
    """
    parts = {name: part for name, part in model.named_modules() if isinstance(part, Tables)}
    sizes = {table.name: _bytes(table, request) for table in _tables(parts)}
    world, needed = machine.world, sum(sizes.values())
    free = [free for free in world.gather(machine.free) if free is not None]
    machine = replace(machine, free=min(free, default=None))
    # FBGEMM trains neither tables of some widths nor terms over a whole table.
    fitting = {
        name: part
        for name, part in parts.items()
        if part.sparse and part.weight.shape[1] % MULTIPLE == 0
    }
    reason, is_sharded = world.each(lambda: _decision(request, machine, needed, bool(fitting)))
    whole = {name: part for name, part in parts.items() if not (is_sharded and name in fitting)}
    in_each = sum(sizes[table.name] for table in _tables(whole))
    if world.size > 1:
        world.each(lambda: _check_memory(in_each, reason, machine.free))
    for part in whole.values():
        if part.weight.is_meta:
            part.fill()
    if not is_sharded:
        if world.size > 1 or request.optimizer or request.placement == "SHARDED":
            where = " in each process" if world.size > 1 else ""
            log.info("tables: REPLICATED (%s); %s%s", reason, short_bytes(in_each), where)
        return
    left = None if machine.free is None else machine.free - in_each
    store = _shard(model, fitting, request, replace(machine, free=left))
    for line in _lines(store, sizes, reason, world):
        log.info("%s", line)


def _decision(
    request: PlacementRequest, machine: Machine, needed: int, fits: bool
) -> tuple[str, bool]:
    """The reason, and whether tables are sharded; the same in all processes. ``needed``: bytes of
    all tables; ``fits``: whether TorchRec takes any of them."""
    by_config, path = "set by table_placement", "train_config.table_placement"
    if machine.world.size == 1:
        is_vain = request.placement == "SHARDED"
        note = ", so table_placement: SHARDED has no effect" if is_vain else ""
        return f"there is only one process{note}", False
    if request.placement == "REPLICATED":
        return by_config, False
    has_torchrec = all(machine.world.gather(_has_torchrec()))
    if request.placement == "SHARDED":
        request.check()
        if not has_torchrec:
            raise ConfigError.at(path, f"SHARDED {MISSING}")
        if not fits:
            raise ConfigError.at(path, f"SHARDED {NONE_FITS}; or set table_placement: REPLICATED")
        return by_config, True
    if machine.free is None:
        return "AUTO: the free memory is unknown", False
    words = f"AUTO: {short_bytes(needed)} with their optimizer's state is "
    if needed <= SHARE * machine.free:
        return f"{words}within {SHARE:.0%} of {short_bytes(machine.free)}", False
    words += f"more than {SHARE:.0%} of {short_bytes(machine.free)}"
    obstacle = request.obstacle()
    if not obstacle and not (has_torchrec and fits):
        obstacle = NONE_FITS if has_torchrec else MISSING
    return (f"{words}, but SHARDED {obstacle}", False) if obstacle else (words, True)


def _check_memory(in_each: int, reason: str, free: int | None) -> None:
    """Raise ConfigError if the tables that are whole in each process exceed its memory."""
    if free is not None and in_each > free:
        raise ConfigError.at(
            "train_config.table_placement",
            f"each process needs {short_bytes(in_each)} for tables and their optimizer's state "
            f"({reason}), but has only {short_bytes(free)} free; reduce rows or embedding_dim, or "
            "choose settings that allow SHARDED",
        )


def _has_torchrec() -> bool:
    return importlib.util.find_spec("torchrec") is not None


def _tables(modules: Mapping[str, Tables]) -> list[Table]:
    return [table for part in modules.values() for table in part.tables]


def _bytes(table: Table, request: PlacementRequest) -> int:
    """Of a table with its optimizer's state, its averages, and an evaluation's copy of these."""
    weight = nn.Parameter(torch.empty(table.rows, table.dim, device="meta"))
    tensors = [weight]
    if request.optimizer and table.trainable:
        word, arguments = request.optimizer.word, request.optimizer.arguments
        with within(word):
            optimizer = sparse_optimizer([(weight, table.rows)], word, arguments)
        tensors += optimizer.state[weight].values()
        if request.averages:
            log_decays = torch.empty(table.rows, dtype=torch.float64, device="meta")
            tensors += [weight, weight, log_decays]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _shard(
    model: nn.Module, tables: Mapping[str, Tables], request: PlacementRequest, machine: Machine
) -> "TorchRecTables":
    """Put ShardedTables in place of these tables."""
    from tzmmoe.tables.torchrec import ShardingRequest, TorchRecTables

    groups = {name.replace(".", "/"): part for name, part in tables.items()}
    sharding = ShardingRequest(
        optimizer=request.optimizer,
        constraints=request.constraints,
        batch_size=request.batch_size,
        free=machine.free,
        neighbours=machine.neighbours,
    )
    store = TorchRecTables(groups, sharding, machine.world, machine.device)
    for name, part in tables.items():
        parent, _, own = name.rpartition(".")
        sharded = ShardedTables(store, name.replace(".", "/"), part)
        setattr(model.get_submodule(parent), own, sharded)
    return store


def _lines(
    store: "TorchRecTables", sizes: Mapping[str, int], reason: str, world: World
) -> Iterator[str]:
    """The log lines about sharded tables."""
    ranks, by_type = [0] * world.size, {}
    whole = dict(sizes)
    for table, sharding_type, bytes_by_rank in store.placed(sizes):
        whole.pop(table.name)
        by_type.setdefault(sharding_type, []).append(table.name)
        for rank, count in bytes_by_rank.items():
            ranks[rank] += count
    shares = ", ".join(f"{short_bytes(count)} in rank {rank}" for rank, count in enumerate(ranks))
    if world.size > 16:
        shares = f"{short_bytes(min(ranks))} to {short_bytes(max(ranks))} in each rank"
    if len(set(ranks)) == 1:
        shares = f"{short_bytes(ranks[0])} in each rank"
    yield f"tables: SHARDED ({reason}); {shares}"
    for sharding_type, names in by_type.items():
        yield f"  {sharding_type}: {few(names)}"
    if store.uncut:
        yield f"  not cut by rows as the constraints ask, for lack of rows: {few(store.uncut)}"
    if whole:
        size = short_bytes(sum(whole.values()))
        yield (
            f"  whole in each rank, {size}: {few(list(whole))} (TorchRec takes widths that are "
            "multiples of 4, without l1_reg or l2_reg)"
        )
