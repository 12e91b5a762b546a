"""Where the embedding tables lie when several processes work together."""

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

SHARE = 0.25  # of a process's memory: AUTO shards tables that need more, with their optimizer
FUSED = ("sgd_optimizer", "adagrad_optimizer", "rowwise_adagrad_optimizer")
MULTIPLE = 4  # of which FBGEMM wants the width of a table
NONE_FITS = (
    "takes tables whose width is a multiple of 4, without l1_reg or l2_reg, and there is none"
)
MISSING = (
    "needs TorchRec, which is not installed: `make torchrec` on a machine without GPU, "
    "`pip install tzmmoe[torchrec]` on one with CUDA; or set table_placement: REPLICATED"
)


@dataclass(frozen=True)
class PlacementRequest:
    """Where a run wants its tables. ``optimizer``: None where nothing is trained; ``unfit``: the
    faults of constraints that cannot be met."""

    placement: str  # AUTO, REPLICATED or SHARDED
    constraints: Constraints
    batch_size: int
    optimizer: Choice | None = None
    grad_process: str = ""
    precision: str = ""
    unfit: tuple[Fault, ...] = ()

    def obstacle(self) -> str:
        """Why tables cannot be sharded; nothing if they can."""
        if self.unfit:
            return f"cannot be, since {self.unfit[0]}"
        optimizer = self.optimizer
        if optimizer is None:
            return ""
        if optimizer.word not in FUSED:
            return f"does not go with {optimizer.word}; of these, TorchRec has {', '.join(FUSED)}"
        if optimizer.arguments.get("weight_decay"):
            return "does not go with weight_decay, which FBGEMM silently ignores on a CPU"
        if self.grad_process == "pcgrad":
            return 'does not go with grad_process: "pcgrad", since tables move in the backward pass'
        if self.precision == "FP16":
            return "does not go with FP16's scaled gradients; use BF16"
        return ""

    def check(self) -> None:
        """Raise ConfigError where SHARDED asks for what cannot be."""
        obstacle = self.obstacle()
        if self.placement == "SHARDED" and obstacle:
            words = f"{obstacle}; or set table_placement: REPLICATED"
            raise ConfigError.at("train_config.table_placement", words)


@dataclass(frozen=True)
class Machine:
    """What a process works with. ``free``: bytes of memory before the tables were made, if known;
    ``neighbours``: how many processes share the machine."""

    world: World = field(default_factory=World)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    free: int | None = None
    neighbours: int = 1


def place(model: nn.Module, request: PlacementRequest, machine: Machine) -> None:
    """Give the model's tables their values, here or over all processes; says which, and why.

    Raises:
        ConfigError: SHARDED where that cannot be, or no place for the tables.
    """
    every = {name: part for name, part in model.named_modules() if isinstance(part, Tables)}
    sizes = {table.name: _bytes(table, request) for table in _tables(every)}
    known = [free for free in machine.world.gather(machine.free) if free is not None]
    machine = replace(machine, free=min(known, default=None))
    fitting = {name: part for name, part in every.items() if _fits(part)}
    world, needed = machine.world, sum(sizes.values())
    reason, is_sharded = world.each(lambda: _decided(request, machine, needed, bool(fitting)))
    whole = {name: part for name, part in every.items() if not (is_sharded and name in fitting)}
    in_each = sum(sizes[table.name] for table in _tables(whole))
    if world.size > 1:
        world.each(lambda: _check_memory(in_each, reason, machine.free))
    for part in whole.values():
        if part.weight.is_meta:
            part.fill()
    if not is_sharded:
        if world.size > 1 or request.optimizer or request.placement == "SHARDED":
            where = "in each process" if world.size > 1 else "in it"
            log.info("tables: REPLICATED (%s); %s %s", reason, short_bytes(in_each), where)
        return
    left = None if machine.free is None else machine.free - in_each
    made = _spread(model, fitting, request, replace(machine, free=left))
    for line in _lines(made, sizes, reason, world):
        log.info("%s", line)


def _decided(
    request: PlacementRequest, machine: Machine, needed: int, fits: bool
) -> tuple[str, bool]:
    """Why, and whether tables are sharded; the same in all processes. ``needed``: bytes of all;
    ``fits``: whether TorchRec takes one of them."""
    asked, path = "as table_placement says", "train_config.table_placement"
    if machine.world.size == 1:
        vain = (
            ", so table_placement: SHARDED has no effect" if request.placement == "SHARDED" else ""
        )
        return f"one process has them all{vain}", False
    if request.placement == "REPLICATED":
        return asked, False
    has_torchrec = all(machine.world.gather(_has_torchrec()))
    if request.placement == "SHARDED":
        request.check()
        if not has_torchrec:
            raise ConfigError.at(path, f"SHARDED {MISSING}")
        if not fits:
            raise ConfigError.at(path, f"SHARDED {NONE_FITS}; or set table_placement: REPLICATED")
        return asked, True
    if machine.free is None:
        return "AUTO: the free memory is unknown", False
    words = f"AUTO: {short_bytes(needed)} with their optimizer's state is "
    if needed <= SHARE * machine.free:
        return f"{words}within {SHARE:.0%} of {short_bytes(machine.free)}", False
    words += f"more than {SHARE:.0%} of {short_bytes(machine.free)}"
    obstacle = (
        request.obstacle() or ("" if has_torchrec else MISSING) or ("" if fits else NONE_FITS)
    )
    if obstacle:
        return f"{words}, but SHARDED {obstacle}", False
    return words, True


def _check_memory(in_each: int, reason: str, free: int | None) -> None:
    """Raise ConfigError when what lies whole in each process is more than it has."""
    if free is not None and in_each > free:
        raise ConfigError.at(
            "train_config.table_placement",
            f"{short_bytes(in_each)} of tables with their optimizer's state would lie in each "
            f"process ({reason}), but only {short_bytes(free)} is free; reduce rows or "
            "embedding_dim, or choose settings with which SHARDED can spread them",
        )


def _has_torchrec() -> bool:
    return importlib.util.find_spec("torchrec") is not None


def _fits(tables: Tables) -> bool:
    """Whether FBGEMM can train them: some widths it cannot, nor terms over a whole table."""
    return tables.sparse and tables.weight.shape[1] % MULTIPLE == 0


def _tables(modules: Mapping[str, Tables]) -> list[Table]:
    return [table for part in modules.values() for table in part.tables]


def _bytes(table: Table, request: PlacementRequest) -> int:
    """Of a table with its optimizer's state."""
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
    """Let ShardedTables stand in the places of these."""
    from tzmmoe.tables.torchrec import ShardingRequest, TorchRecTables

    groups = {name.replace(".", "/"): part for name, part in tables.items()}
    sharding = ShardingRequest(
        optimizer=request.optimizer,
        constraints=request.constraints,
        batch_size=request.batch_size,
        free=machine.free,
        neighbours=machine.neighbours,
    )
    made = TorchRecTables(groups, sharding, machine.world, machine.device)
    for name, part in tables.items():
        parent, _, own = name.rpartition(".")
        sharded = ShardedTables(made, name.replace(".", "/"), part)
        setattr(model.get_submodule(parent), own, sharded)
    return made


def _lines(
    made: "TorchRecTables", sizes: Mapping[str, int], reason: str, world: World
) -> Iterator[str]:
    """What is told of tables that are spread."""
    ranks, placed = [0] * world.size, {}
    others = dict(sizes)
    for table, how, held in made.placed(sizes):
        others.pop(table.name)
        placed.setdefault(how, []).append(table.name)
        for rank, count in held.items():
            ranks[rank] += count
    every = ", ".join(f"{short_bytes(count)} in rank {rank}" for rank, count in enumerate(ranks))
    if world.size > 16:
        every = f"{short_bytes(min(ranks))} to {short_bytes(max(ranks))} in each rank"
    if len(set(ranks)) == 1:
        every = f"{short_bytes(ranks[0])} in each rank"
    yield f"tables: SHARDED ({reason}); {every}"
    for how, names in placed.items():
        yield f"  {how}: {few(names)}"
    if made.uncut:
        yield f"  too few rows to be cut by rows, as the constraints want: {few(made.uncut)}"
    if others:
        whole = short_bytes(sum(others.values()))
        yield (
            f"  whole in each rank, {whole}: {few(list(others))} (TorchRec takes widths that are "
            "multiples of 4, without l1_reg or l2_reg)"
        )
