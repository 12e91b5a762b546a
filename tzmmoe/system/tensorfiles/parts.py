"""Parts of tensors, and the files in which they lie."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

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
