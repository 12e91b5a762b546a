"""Tensors in files: however they are spread over processes, any other spread reads the same."""

import subprocess
import sys
from itertools import pairwise
from math import prod
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tzmmoe.system import tensorfiles
from tzmmoe.system.tensorfiles import NamedTensors, Scattered, parts


@st.composite
def grids(draw: st.DrawFn, size: tuple[int, int]) -> list[tuple[slice, slice]]:
    """The blocks of a matrix that is cut at some rows and some columns."""
    cuts = [sorted(draw(st.sets(st.integers(1, max(1, n - 1)), max_size=3))) for n in size]
    edges = [[0, *(c for c in cut if c < n), n] for cut, n in zip(cuts, size, strict=True)]
    spans = [[slice(a, b) for a, b in pairwise(e)] for e in edges]
    return [(rows, columns) for rows in spans[0] for columns in spans[1]]


def scattered(whole: Tensor, blocks: list[tuple[slice, slice]], world: int) -> list[Scattered]:
    """A matrix whose blocks are dealt out to processes."""
    parts = [((rows.start, columns.start), whole[rows, columns]) for rows, columns in blocks]
    return [Scattered(tuple(whole.shape), tuple(parts[rank::world])) for rank in range(world)]


def write(folder: Path, held: list[NamedTensors]) -> None:
    """As processes that hold these tensors would."""
    world = len(held)
    files = [tensorfiles.files_of(named, rank, world) for rank, named in enumerate(held)]
    counts = [len(own) for own in files]
    for rank, own in enumerate(files):
        tensorfiles.write(folder, own, sum(counts[:rank]), sum(counts))
    assert len(list(folder.iterdir())) == sum(counts)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), size=st.tuples(st.integers(1, 9), st.integers(1, 6)))
def test_a_tensor_in_any_parts_is_read_into_any_others(tmp_path_factory, data, size) -> None:
    folder = tmp_path_factory.mktemp("files")
    whole = torch.arange(1.0, 1 + prod(size)).view(size)
    writers, readers = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    before = scattered(whole, data.draw(grids(size)), writers)
    everywhere = {"bias": torch.arange(7), "scale": torch.tensor(2.5), "none": torch.ones(0, 3)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "FILE_BYTES", data.draw(st.sampled_from([4, 20, 1000])))
        write(folder, [{"table": own, **everywhere} for own in before])
    shapes = {name: tuple(tensor.shape) for name, tensor in everywhere.items()}
    assert tensorfiles.sizes(folder) == {"table": size, **shapes}
    target = torch.zeros(size)
    for own in scattered(target, data.draw(grids(size)), readers):
        again = {name: torch.zeros_like(tensor) for name, tensor in everywhere.items()}
        tensorfiles.read(folder, {"table": own, **again})
        assert all(torch.equal(again[name], tensor) for name, tensor in everywhere.items())
    assert torch.equal(target, whole)


def test_what_all_hold_is_written_once_and_about_equally_by_each() -> None:
    named = {f"t{number}": torch.zeros(number) for number in range(100)}
    written = [tensorfiles.files_of(named, rank, 3) for rank in range(3)]
    names = [part.name for own in written for file in own for part in file]
    assert sorted(names) == sorted(named)
    loads = [sum(part.size_bytes for file in own for part in file) for own in written]
    assert max(loads) - min(loads) <= 99 * 4


def test_a_tensor_of_which_a_part_is_missing_is_not_listed(tmp_path) -> None:
    whole = torch.ones(4, 2)
    held = Scattered((4, 2), (((0, 0), whole[:2]), ((3, 0), whole[3:])))
    write(tmp_path, [{"table": held, "other": torch.ones(2)}])
    assert tensorfiles.sizes(tmp_path) == {"other": (2,)}


SAVES = """
import resource, sys, torch
from pathlib import Path
from tzmmoe.system import checkpoint
table = torch.ones(1 << 28)  # 1 GiB
checkpoint.save(Path(sys.argv[1]), checkpoint.Content(0, {"w": torch.ones(3)}, {}, ""))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
content = checkpoint.Content(1, {"tables.t.weight": table}, {}, "")
path = checkpoint.save(Path(sys.argv[1]), content)
saved = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
checkpoint.open_checkpoint(path).read({"tables.t.weight": table.zero_()})
assert table.min() == 1
read = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(saved - before, read - before)
"""


@pytest.mark.long
def test_a_table_of_a_gigabyte_is_saved_and_read_without_twice_its_memory(tmp_path) -> None:
    """Files are mapped when they are read, so their pages count until the system wants them."""
    done = subprocess.run(
        [sys.executable, "-c", SAVES, str(tmp_path)], capture_output=True, text=True, check=True
    )
    saved_kib, read_kib = map(int, done.stdout.split())
    assert saved_kib < 0.5 * (1 << 20)
    assert read_kib < 0.5 * (1 << 20)
