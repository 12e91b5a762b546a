"""Named tensors as safetensors files, by torch.distributed.checkpoint.

A tensor may lie in several files, and in the memory of several processes: everything here knows it
by its parts. A part of a file is found by its place in the whole tensor, so what was written by any
number of processes is read by any other.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed.checkpoint as dcp
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
from torch.distributed.checkpoint.planner_helpers import create_read_items_for_chunk_list

FILE_BYTES = 128 << 20  # of a file, which is built in memory, three times its size

Place = tuple[int, ...]  # the first index of a part, in each dimension of the whole


@dataclass(frozen=True)
class Scattered:
    """A tensor of ``size``, of which this process has these parts, perhaps none."""

    size: tuple[int, ...]
    parts: tuple[tuple[Place, Tensor], ...]


Named = Mapping[str, Tensor | Scattered]


class Part(NamedTuple):
    """What is written as one entry of a file."""

    name: str
    place: Place
    tensor: Tensor
    size: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return self.tensor.numel() * self.tensor.element_size()


def tensors(named: Named) -> Iterator[tuple[str, Tensor]]:
    """What of each tensor lies in this process."""
    for name, each in named.items():
        if isinstance(each, Scattered):
            yield from ((name, tensor) for _, tensor in each.parts)
        else:
            yield name, each


def shared_out(named: Named, rank: int, world: int) -> list[list[Part]]:
    """The files that process ``rank`` of ``world`` writes: its parts of scattered tensors, and its
    share of those that all processes hold."""
    own, loads = [], [0] * world
    for name, each in named.items():
        if isinstance(each, Scattered):
            for place, tensor in each.parts:
                own += _cut(Part(name, place, tensor, each.size))
            continue
        for part in _cut(Part(name, (0,) * each.dim(), each, tuple(each.shape))):
            writer = loads.index(min(loads))
            loads[writer] += part.size_bytes
            if writer == rank:
                own.append(part)
    return list(_packed(own))


def write(folder: Path, files: Sequence[Sequence[Part]], first: int, count: int) -> None:
    """Write each of the ``files``, which are number ``first`` + 1 and following of ``count``.

    Raises:
        OSError, CheckpointException, SafetensorError: what could not be written.
    """
    for number, parts in enumerate(files, start=first + 1):
        names = dict.fromkeys((part.name for part in parts), number)
        writer = dcp.HuggingFaceStorageWriter(
            str(folder), fqn_to_index_mapping={"": count} | names, save_distributed=True
        )
        with _quiet(), torch.no_grad():
            dcp.save({}, storage_writer=writer, planner=_Writes(parts), no_dist=True)


def sizes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor of which all parts are there."""
    known = dcp.HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    return {
        name: tuple(each.size)
        for name, each in known.items()
        if sum(prod(part.sizes) for part in each.chunks) == prod(each.size)
    }


def read(folder: Path, targets: Named) -> None:
    """Fill tensors, or what this process has of them, in place. Their sizes must agree."""
    with _quiet(), torch.no_grad():
        dcp.load(
            {},
            storage_reader=dcp.HuggingFaceStorageReader(str(folder)),
            planner=_Reads(targets),
            no_dist=True,
        )


def _cut(part: Part) -> Iterator[Part]:
    """By its first dimension, into parts of FILE_BYTES at most where that is possible."""
    name, place, tensor, size = part
    if part.size_bytes <= FILE_BYTES or len(tensor) < 2:
        yield part
        return
    rows = max(1, FILE_BYTES * len(tensor) // part.size_bytes)
    for begin in range(0, len(tensor), rows):
        yield Part(name, (place[0] + begin, *place[1:]), tensor[begin : begin + rows], size)


def _packed(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Parts that share a file, which can hold one part of a tensor."""
    file: list[Part] = []
    for part in parts:
        is_full = sum(each.size_bytes for each in file) + part.size_bytes > FILE_BYTES
        if file and (is_full or any(each.name == part.name for each in file)):
            yield file
            file = []
        file.append(part)
    if file:
        yield file


class _Writes(SavePlanner):
    """Tells torch.distributed.checkpoint to write these parts."""

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


class _Reads(LoadPlanner):
    """Tells torch.distributed.checkpoint to fill these tensors."""

    def __init__(self, targets: Named) -> None:
        self._parts = {}
        for name, each in targets.items():
            parts = each.parts if isinstance(each, Scattered) else [((0,) * each.dim(), each)]
            self._parts[name] = {torch.Size(place): tensor for place, tensor in parts}

    def set_up_planner(
        self, state_dict: dict, metadata: Metadata | None = None, is_coordinator: bool = False
    ) -> None:
        self._metadata = metadata

    def create_local_plan(self) -> LoadPlan:
        items: list[ReadItem] = []
        for name, parts in self._parts.items():
            known = self._metadata.state_dict_metadata[name]
            chunks = [ChunkStorageMetadata(place, part.shape) for place, part in parts.items()]
            items += create_read_items_for_chunk_list(name, known, chunks)
        return LoadPlan(items)

    def create_global_plan(self, global_plan: list[LoadPlan]) -> list[LoadPlan]:
        return global_plan

    def finish_plan(self, central_plan: LoadPlan) -> LoadPlan:
        return central_plan

    def load_bytes(self, read_item: ReadItem, value: object) -> None:
        raise NotImplementedError("there are tensors only")

    def resolve_tensor(self, read_item: ReadItem) -> Tensor:
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remark that there is one process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield
