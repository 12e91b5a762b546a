"""Named tensors in safetensors files, by torch.distributed.checkpoint.

A tensor may be spread over several files, and over the memory of several processes, so everything
here works on parts of tensors. A file records the place of each part in the whole tensor, so that
any number of processes can read what any other number has written.
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

from tzmmoe import private_torch

FILE_BYTES = 128 << 20  # largest size of a file; building one takes three times as much memory

Place = tuple[int, ...]  # where a part begins in the whole tensor, in each dimension


@dataclass(frozen=True)
class Scattered:
    """A tensor of shape ``size``, and the parts of it that this process holds, perhaps none."""

    size: tuple[int, ...]
    parts: tuple[tuple[Place, Tensor], ...]


NamedTensors = Mapping[str, Tensor | Scattered]


class Part(NamedTuple):
    """An entry of a file: part of a tensor whose whole shape is ``size``."""

    name: str
    place: Place
    tensor: Tensor
    size: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return self.tensor.numel() * self.tensor.element_size()


def tensors(named: NamedTensors) -> Iterator[tuple[str, Tensor]]:
    """The tensors, or parts of tensors, that this process holds."""
    for name, value in named.items():
        if isinstance(value, Scattered):
            yield from ((name, tensor) for _, tensor in value.parts)
        else:
            yield name, value


def files_of(named: NamedTensors, rank: int, world: int) -> list[list[Part]]:
    """The files that process ``rank`` of ``world`` writes: its parts of scattered tensors, and its
    share of the tensors that all processes hold."""
    own, loads = [], [0] * world
    for name, value in named.items():
        if isinstance(value, Scattered):
            for place, tensor in value.parts:
                own += _cut(Part(name, place, tensor, value.size))
            continue
        for part in _cut(Part(name, (0,) * value.dim(), value, tuple(value.shape))):
            # The process with the fewest bytes so far. Every process sees the same names in the
            # same order, so all arrive at the same assignment without an exchange.
            writer = loads.index(min(loads))
            loads[writer] += part.size_bytes
            if writer == rank:
                own.append(part)
    return list(_packed(own))


def write(folder: Path, files: Sequence[Sequence[Part]], first: int, count: int) -> None:
    """Write ``files`` as numbers ``first`` + 1 onwards of a total of ``count``.

    Raises:
        OSError, CheckpointException, SafetensorError: a file could not be written.
    """
    for number, parts in enumerate(files, start=first + 1):
        names = dict.fromkeys((part.name for part in parts), number)
        # torch takes "-of-00005" in the files' names from the largest number of its mapping, so
        # an entry without a tensor brings in the files of the other processes.
        writer = private_torch.storage_writer()(
            str(folder), fqn_to_index_mapping={"": count} | names, save_distributed=True
        )
        with _quiet(), torch.no_grad():
            dcp.save({}, storage_writer=writer, planner=_Writes(parts), no_dist=True)


def sizes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of which no part is missing."""
    metadata = private_torch.storage_reader()(str(folder)).read_metadata().state_dict_metadata
    return {
        name: tuple(tensor.size)
        for name, tensor in metadata.items()
        # Parts never overlap, so they make up the tensor if their elements add up to its size.
        if sum(prod(part.sizes) for part in tensor.chunks) == prod(tensor.size)
    }


def read(folder: Path, targets: NamedTensors) -> None:
    """Fill tensors in place, or the parts that this process holds. Shapes must match the files', or
    begin with what the files hold; the rest stays as it is."""
    with _quiet(), torch.no_grad():
        dcp.load(
            {},
            storage_reader=private_torch.storage_reader()(str(folder)),
            planner=_Reads(targets),
            no_dist=True,
        )


def _cut(part: Part) -> Iterator[Part]:
    """A part cut along its first dimension into parts of at most FILE_BYTES.

    A single row that is larger stays whole.
    """
    name, place, tensor, size = part
    if part.size_bytes <= FILE_BYTES or len(tensor) < 2:
        yield part
        return
    rows = max(1, FILE_BYTES * len(tensor) // part.size_bytes)
    for begin in range(0, len(tensor), rows):
        yield Part(name, (place[0] + begin, *place[1:]), tensor[begin : begin + rows], size)


def _packed(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Parts grouped into files of at most FILE_BYTES, one part of a tensor in each.

    The format identifies an entry by its tensor's name, so two parts of one cannot share a file.
    """
    file: list[Part] = []
    for part in parts:
        is_full = sum(entry.size_bytes for entry in file) + part.size_bytes > FILE_BYTES
        if file and (is_full or any(entry.name == part.name for entry in file)):
            yield file
            file = []
        file.append(part)
    if file:
        yield file


class _Writes(SavePlanner):
    """A plan for torch.distributed.checkpoint that writes the given parts."""

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
    """A plan for torch.distributed.checkpoint that fills the given tensors."""

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


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress torch's warning that it saves and loads as a single process, which is intended."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield
