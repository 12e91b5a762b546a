"""Small checkpoints: saved, read again, and what is said of one that cannot be opened."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tzmmoe.errors import CheckpointError
from tzmmoe.system import checkpoint

STATE = {"steps": 10, "position": {"epoch": 1, "row": 3}, "note": "a: ü"}


def save(folder: Path, step: int = 9, tensors: dict[str, Tensor] | None = None) -> Path:
    tensors = {"a.weight": torch.arange(6.0).view(2, 3)} if tensors is None else tensors
    return checkpoint.save(folder, checkpoint.Content(step, tensors, STATE, 'model_dir: "x"\n'))


def read(path: Path, like: dict[str, Tensor]) -> dict[str, Tensor]:
    targets = {name: torch.full_like(tensor, 1) for name, tensor in like.items()}
    checkpoint.open_checkpoint(path).read(targets)
    return targets


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def message(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        checkpoint.open_checkpoint(path)
    return str(caught.value)
