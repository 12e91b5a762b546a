"""Plans that tell torch.distributed.checkpoint what to write and what to read."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
)
from torch.distributed.checkpoint.planner import (
    LoadPlan,
    LoadPlanner,
    ReadItem,
    SavePlan,
    SavePlanner,
    TensorWriteData,
    WriteItem,
    WriteItemType,
)

from tzmmoe import private_torch
from tzmmoe.system.tensorfiles.parts import NamedTensors, Part


class Writes(SavePlanner):
    """A plan that writes the given parts."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = {(part.name, torch.Size(part.place)): part for part in parts}

    def set_up_planner(
        self, state_dict: dict, storage_meta: object = None, is_coordinator: bool = False
    ) -> None:
        pass

    def create_local_plan(self) -> SavePlan:
        return SavePlan([_write_item(part) for part in self._parts.values()])

    def create_global_plan(self, all_plans: list[SavePlan]) -> tuple[list[SavePlan], Metadata]:
        return all_plans, Metadata({})

    def finish_plan(self, new_plan: SavePlan) -> SavePlan:
        return new_plan

    def resolve_data(self, write_item: WriteItem) -> Tensor:
        index = write_item.index
        return self._parts[index.fqn, index.offset].tensor.detach().contiguous()


class Reads(LoadPlanner):
    """A plan that fills the given tensors."""

    def __init__(self, targets: NamedTensors) -> None:
        self._parts = {}
        for name, target in targets.items():
            whole = isinstance(target, Tensor)
            parts = [((0,) * target.dim(), target)] if whole else target.parts
            self._parts[name] = {torch.Size(place): tensor for place, tensor in parts}

    def set_up_planner(
        self, state_dict: dict, metadata: Metadata | None = None, is_coordinator: bool = False
    ) -> None:
        self._metadata = metadata

    def create_local_plan(self) -> LoadPlan:
        items: list[ReadItem] = []
        for name, parts in self._parts.items():
            saved = self._metadata.state_dict_metadata[name]
            chunks = [ChunkStorageMetadata(place, part.shape) for place, part in parts.items()]
            # One item for each overlap of a saved part with a requested one.
            items += private_torch.overlaps()(name, saved, chunks)
        return LoadPlan(items)

    def create_global_plan(self, global_plan: list[LoadPlan]) -> list[LoadPlan]:
        return global_plan

    def finish_plan(self, central_plan: LoadPlan) -> LoadPlan:
        return central_plan

    def load_bytes(self, read_item: ReadItem, value: object) -> None:
        raise NotImplementedError("checkpoints hold nothing but tensors")

    def resolve_tensor(self, read_item: ReadItem) -> Tensor:
        # A view of the target, into which torch then copies the overlap.
        part = self._parts[read_item.dest_index.fqn][read_item.dest_index.offset]
        for dim, (begin, length) in enumerate(
            zip(read_item.dest_offsets, read_item.lengths, strict=True)
        ):
            part = part.narrow(dim, begin, length)
        return part

    def commit_tensor(self, read_item: ReadItem, tensor: Tensor) -> None:
        pass


def _write_item(part: Part) -> WriteItem:
    place, shape = torch.Size(part.place), part.tensor.shape
    return WriteItem(
        index=MetadataIndex(part.name, place),
        type=WriteItemType.SHARD,
        tensor_data=TensorWriteData(
            chunk=ChunkStorageMetadata(place, shape),
            properties=TensorProperties.create_from_tensor(part.tensor),
            size=torch.Size(part.size),
        ),
    )
