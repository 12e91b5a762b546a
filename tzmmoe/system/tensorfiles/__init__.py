"""Named tensors in safetensors files, by torch.distributed.checkpoint.

A tensor may be spread over several files, and over the memory of several processes, so everything
here works on parts of tensors. A file records the place of each part in the whole tensor, so that
any number of processes can read what any other number has written.
"""

from tzmmoe.system.tensorfiles.parts import (
    NamedTensors,
    Part,
    Scattered,
    files_of,
    tensors,
)
from tzmmoe.system.tensorfiles.storage import StorageError, read, sizes, write

__all__ = [
    "NamedTensors",
    "Part",
    "Scattered",
    "StorageError",
    "files_of",
    "read",
    "sizes",
    "tensors",
    "write",
]
