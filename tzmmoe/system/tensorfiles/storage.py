"""Writes and reads the files.

torch.distributed.checkpoint takes a second to import, so that happens at the first use.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path

import torch

from tzmmoe import private_torch
from tzmmoe.system.tensorfiles.parts import NamedTensors, Part


class StorageError(Exception):
    """torch could not write or read a file."""


def write(folder: Path, files: Sequence[Sequence[Part]], first: int, count: int) -> None:
    """Write ``files`` as numbers ``first`` + 1 onwards of a total of ``count``.

    Raises:
        OSError, StorageError, SafetensorError: a file could not be written.
    """
    import torch.distributed.checkpoint as dcp

    from tzmmoe.system.tensorfiles.plans import Writes

    for number, parts in enumerate(files, start=first + 1):
        names = dict.fromkeys((part.name for part in parts), number)
        # torch takes "-of-00005" in the files' names from the largest number of its mapping, so
        # an entry without a tensor brings in the files of the other processes.
        writer = private_torch.storage_writer()(
            str(folder), fqn_to_index_mapping={"": count} | names, save_distributed=True
        )
        with _quiet(), torch.no_grad():
            dcp.save({}, storage_writer=writer, planner=Writes(parts), no_dist=True)


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
    begin with what the files hold; the rest stays as it is.

    Raises:
        OSError, StorageError, SafetensorError: a file could not be read.
    """
    import torch.distributed.checkpoint as dcp

    from tzmmoe.system.tensorfiles.plans import Reads

    with _quiet(), torch.no_grad():
        dcp.load(
            {},
            storage_reader=private_torch.storage_reader()(str(folder)),
            planner=Reads(targets),
            no_dist=True,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress torch's warning that it saves and loads as a single process, which is intended.

    Its exception becomes a StorageError with the causes.
    """
    from torch.distributed.checkpoint import CheckpointException

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            yield
    except CheckpointException as error:
        causes = [failure[0] for failure in error.failures.values()]
        words = "; ".join(str(cause) or type(cause).__name__ for cause in causes)
        raise StorageError(words) from error
