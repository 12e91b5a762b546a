"""Tables sharded by TorchRec: its planner, its sharder, its DistributedModelParallel.

The only file that imports TorchRec; it is imported only when tables are to be sharded.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from tzmmoe.errors import ConfigError
from tzmmoe.registry import Choice
from tzmmoe.system.tensorfiles import Scattered
from tzmmoe.system.world import World
from tzmmoe.tables.constraints import BY_COLUMNS, ON_A_CPU, SHARDING_TYPES, Constraints
from tzmmoe.tables.optimizers import EPS
from tzmmoe.tables.sharded import read_bags
from tzmmoe.tables.table import Table, Tables


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings, and log lines below an error, while the block runs."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


with quiet():
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor, PoolingType
    from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
    from torchrec.distributed.model_parallel import DistributedModelParallel
    from torchrec.distributed.planner import EmbeddingShardingPlanner, Topology
    from torchrec.distributed.planner.stats import NoopEmbeddingStats
    from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
    from torchrec.distributed.planner.types import ParameterConstraints, PlannerError
    from torchrec.distributed.types import ShardingEnv, ShardingPlan

KEPT_FREE = 0.15  # of the memory, for what the planner does not know about
TYPES = {"cpu": {*SHARDING_TYPES} & ON_A_CPU, "cuda": {*SHARDING_TYPES} - {"grid_shard"}}
OPTIMIZERS = {
    "sgd_optimizer": EmbOptimType.EXACT_SGD,
    "adagrad_optimizer": EmbOptimType.EXACT_ADAGRAD,
    "rowwise_adagrad_optimizer": EmbOptimType.EXACT_ROWWISE_ADAGRAD,
}


@dataclass(frozen=True)
class ShardingRequest:
    """What TorchRec is asked to do. ``optimizer``: None if nothing is trained; ``free``: bytes of
    a process's memory; ``neighbours``: the number of processes on this machine."""

    optimizer: Choice | None
    constraints: Constraints
    batch_size: int
    free: int | None
    neighbours: int


class TorchRecTables:
    """A ``ShardedStore``. Each process makes the initial values of its own parts only."""

    def __init__(
        self,
        groups: Mapping[str, Tables],
        request: ShardingRequest,
        world: World,
        device: torch.device,
    ) -> None:
        _hush()
        self._world, self._device, self._groups = world, device, dict(groups)
        self._optimizer = request.optimizer
        all_tables = [table for tables in groups.values() for table in tables.tables]
        self._by_name = {f"t{number}": table for number, table in enumerate(all_tables)}
        self._names = {table.name: name for name, table in self._by_name.items()}
        self.uncut = []  # tables with too few rows for any of their constraints
        for table in all_tables:
            types = request.constraints.after(table.constraints).sharding_types
            if types and _too_small_for(table, world.size, request.neighbours) >= set(types):
                self.uncut.append(table.name)
        with quiet():
            bags = nn.ModuleDict({group: self._bags(tables) for group, tables in groups.items()})
            sharder = _Sharder(fused_params=_fused(request.optimizer))
            self.plan = self._planned(bags, sharder, request)
            self._parallel = DistributedModelParallel(
                bags,
                env=ShardingEnv.from_process_group(dist.group.WORLD),
                device=device,
                plan=self.plan,
                sharders=[sharder],
                init_data_parallel=False,
                init_parameters=False,
            )
        types = {part.sharding_type for group in self.plan.plan.values() for part in group.values()}
        # gloo gathers tensors of equal size only, as the backward pass of these types must.
        self._even = device.type == "cpu" and not types <= {"table_wise", "column_wise"}
        self._fill()

    def lookup(self, group: str, ids: Tensor, lengths_FB: Tensor, weights: Tensor | None) -> Tensor:
        num_features, rows = lengths_FB.shape
        if self._even:
            lengths_FB = F.pad(lengths_FB, (0, self._world.largest(rows) - rows))
        names = [f"f{place}" for place in range(num_features)]
        batch = KeyedJaggedTensor(
            names, ids, weights=weights, lengths=lengths_FB.flatten(), stride=lengths_FB.shape[1]
        )
        pooled = self._parallel.module[group](batch).wait()
        order = [pooled.keys().index(name) for name in names]
        width = self._groups[group].weight.shape[1]
        pooled_BFD = pooled.values()[:rows].view(rows, num_features, width)
        return pooled_BFD if order == sorted(order) else pooled_BFD[:, order]

    def set_rate(self, rate: float) -> None:
        optimizer = self._parallel.fused_optimizer
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()  # only hands over the rate: updates happen in the backward pass

    def weights(self, group: str) -> dict[str, Scattered]:
        with quiet():
            tensors = self._parallel.module[group].state_dict()
            return {
                table.name: _scattered(tensors[f"embedding_bags.{self._names[table.name]}.weight"])
                for table in self._groups[group].tables
            }

    def state(self, group: str) -> dict[str, dict[str, Scattered]]:
        tables = self._groups[group].tables
        if self._optimizer is None or self._optimizer.word == "sgd_optimizer":
            return {}
        if not any(table.trainable for table in tables):
            return {}
        with quiet():
            state = self._parallel.fused_optimizer.state_dict()["state"]
            return {"sum": {table.name: self._sums(state, group, table) for table in tables}}

    def _sums(self, state: Mapping[str, Any], group: str, table: Table) -> Scattered:
        """The sums of squares, one for each row or each number."""
        name = self._names[table.name]
        sums = state.get(f"{group}.embedding_bags.{name}.weight", {}).get(f"{name}.momentum1")
        if sums is not None:
            return _scattered(sums)
        by_row = self._optimizer.word == "rowwise_adagrad_optimizer"
        return Scattered((table.rows,) if by_row else (table.rows, table.dim), ())

    def placed(self, sizes: Mapping[str, int]) -> Iterator[tuple[Table, str, dict[int, int]]]:
        """Each table, its sharding type and its bytes by rank. ``sizes``: those of whole tables."""
        for name, tables in self._groups.items():
            for table in tables.tables:
                placed = self.plan.plan[name][self._names[table.name]]
                held: dict[int, int] = {}
                for shard in placed.sharding_spec.shards:
                    rank = shard.placement.rank()
                    share = torch.Size(shard.shard_sizes).numel() / (table.rows * table.dim)
                    held[rank] = held.get(rank, 0) + round(share * sizes[table.name])
                yield table, placed.sharding_type, held

    def _bags(self, tables: Tables) -> EmbeddingBagCollection:
        """The tables for TorchRec. They only sum; ``ShardedTables`` divides for a mean."""
        _, bags = read_bags(tables)
        configs = [
            EmbeddingBagConfig(
                name=self._names[table.name],
                embedding_dim=table.dim,
                num_embeddings=table.rows,
                feature_names=[f"f{i}" for i, s in enumerate(bags) if s.table == table.name],
                pooling=PoolingType.SUM,
            )
            for table in tables.tables
        ]
        meta = torch.device("meta")
        return EmbeddingBagCollection(configs, is_weighted=tables.weighted, device=meta)

    def _planned(
        self, bags: nn.Module, sharder: "_Sharder", request: ShardingRequest
    ) -> ShardingPlan:
        """The plan, which the first process makes for all."""
        cap = {"cuda": "hbm_cap", "cpu": "ddr_cap"}[self._device.type]
        topology = Topology(
            world_size=self._world.size,
            compute_device=self._device.type,
            local_world_size=request.neighbours,
            **({} if request.free is None else {cap: request.free}),
        )

        def plan() -> ShardingPlan:
            planner = EmbeddingShardingPlanner(
                topology=topology,
                batch_size=request.batch_size,
                constraints={
                    name: _constraints(table, request, self._device.type, topology)
                    for name, table in self._by_name.items()
                },
                storage_reservation=FixedPercentageStorageReservation(KEPT_FREE),
                stats=NoopEmbeddingStats(),
                debug=False,
            )
            try:
                return planner.plan(bags, [sharder])
            except (PlannerError, RuntimeError) as error:
                cause = str(error).strip().splitlines()[0]
                raise ConfigError.at(
                    "train_config.table_placement",
                    f"TorchRec cannot place the tables: {cause}; use more processes, fewer rows, "
                    "or other embedding_constraints",
                ) from error

        return self._world.first(plan)

    @torch.no_grad()
    def _fill(self) -> None:
        """Set the initial values of the tables and of the optimizer's state."""
        for group, tables in self._groups.items():
            for table, held in zip(tables.tables, self.weights(group).values(), strict=True):
                for (row, column), part in held.parts:
                    for begin, values in table.initial(tables.seed, row, row + len(part)):
                        since = begin - row
                        columns = values[:, column : column + part.shape[1]]
                        part[since : since + len(values)] = columns.to(part.device)
            for held in self.state(group).get("sum", {}).values():
                for _, part in held.parts:
                    part.fill_(self._optimizer.arguments.get("initial_accumulator_value", 0.0))


def _hush() -> None:
    """Silence what TorchRec logs, and torch's warnings about TorchRec's calls at every step."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    for name in ("torchrec", "torch.fx._symbolic_trace"):
        logging.getLogger(name).setLevel(logging.ERROR)


class _Sharder(EmbeddingBagCollectionSharder):
    """Offers row_wise on a CPU too; TorchRec's own does not, since gloo lacked reduce_scatter."""

    def sharding_types(self, compute_device_type: str) -> list[str]:
        return list({*super().sharding_types(compute_device_type), "row_wise"})


def _constraints(
    table: Table, request: ShardingRequest, kind: str, topology: Topology
) -> ParameterConstraints:
    """What the planner may choose from for a table, on a ``kind`` of device. No part may be without
    rows, which FBGEMM does not take on a CPU; a table that is too small stays in one piece."""
    own = request.constraints.after(table.constraints)
    types = set(own.sharding_types or TYPES[kind])
    types -= _too_small_for(table, topology.world_size, topology.local_world_size)
    if request.optimizer and request.optimizer.word == "rowwise_adagrad_optimizer":
        types -= BY_COLUMNS
    return ParameterConstraints(
        sharding_types=sorted(types) or ["table_wise"],
        compute_kernels=list(own.compute_kernels or ("fused",)),
        min_partition=4 if BY_COLUMNS & set(own.sharding_types) else None,
    )


def _too_small_for(table: Table, world: int, neighbours: int) -> set[str]:
    """The sharding types that would leave a process without rows of the table."""
    parts = {"row_wise": world, "table_row_wise": neighbours, "grid_shard": neighbours}
    return {word for word, n in parts.items() if -(-table.rows // n) * (n - 1) >= table.rows}


def _fused(optimizer: Choice | None) -> dict[str, Any]:
    """FBGEMM's parameters of the optimizer."""
    if optimizer is None:
        return {"optimizer": EmbOptimType.EXACT_SGD, "learning_rate": 0.0}
    lr = optimizer.arguments["lr"]
    parameters = {"optimizer": OPTIMIZERS[optimizer.word], "learning_rate": lr}
    if optimizer.word != "sgd_optimizer":
        parameters["eps"] = optimizer.arguments.get("eps", EPS)
    return parameters


def _scattered(tensor: Any) -> Scattered:
    """This process's part of a torch.distributed ShardedTensor."""
    shards = tensor.local_shards()
    parts = tuple((tuple(shard.metadata.shard_offsets), shard.tensor.detach()) for shard in shards)
    return Scattered(tuple(tensor.size()), parts)
