"""Checkpoints: a folder of safetensors files and JSON, written aside and renamed.

``model.ckpt-<step>/`` holds ``tensors/`` (written by torch.distributed.checkpoint, so that other
numbers of processes can read it), ``state.json`` (everything that is no tensor, and the format's
version), ``pipeline.config`` and ``checksums.json``. Nothing in it is ever unpickled.
"""

import json
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException

from tzmmoe.digest import sha256
from tzmmoe.durable import sync, written_aside
from tzmmoe.errors import CheckpointError, did_you_mean

FORMAT = 1
NAME = re.compile(r"model\.ckpt-(\d+)")
FILE_BYTES = 256 << 20  # tensors share a file up to this size; a file is built in memory
POINTER = "best.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose checksums were right when it was opened."""

    path: Path
    state: dict[str, Any]

    @property
    def step(self) -> int:
        return int(self.state["step"])

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each tensor."""
        try:
            known = dcp.HuggingFaceStorageReader(str(self.path / "tensors")).read_metadata()
        except SafetensorError as error:
            raise CheckpointError(f"{self.path / 'tensors'} is damaged: {error}") from error
        return {name: tuple(each.size) for name, each in known.state_dict_metadata.items()}

    def read(self, targets: Mapping[str, Tensor]) -> None:
        """Fill tensors in place.

        Raises:
            CheckpointError: a tensor that is missing or has another shape, all of them by name.
        """
        there = self.shapes()
        faults = [
            f"{name}: not in the checkpoint{did_you_mean(name, there)}"
            if name not in there
            else f"{name}: {list(there[name])} in the checkpoint, {list(target.shape)} in the model"
            for name, target in targets.items()
            if there.get(name) != tuple(target.shape)
        ]
        if faults:
            listed = "\n  ".join(faults)
            raise CheckpointError(f"{self.path} does not fit the model:\n  {listed}")
        with _quiet(), torch.no_grad():
            dcp.load(
                dict(targets),
                storage_reader=dcp.HuggingFaceStorageReader(str(self.path / "tensors")),
                no_dist=True,
            )


def save(
    model_dir: Path, step: int, tensors: Mapping[str, Tensor], state: dict, config: str
) -> Path:
    """Write ``model.ckpt-<step>``: complete, or not there.

    Raises:
        CheckpointError: it could not be written, for example because the disk is full.
    """
    final = model_dir / f"model.ckpt-{step}"
    try:
        with written_aside(final) as folder:
            _write_tensors(folder / "tensors", tensors)
            header = {"format": FORMAT, "step": step}
            (folder / "state.json").write_text(json.dumps({**header, **state}, indent=1))
            (folder / "pipeline.config").write_text(config)
            sums = {str(file.relative_to(folder)): sha256(file) for file in _files(folder)}
            (folder / "checksums.json").write_text(json.dumps(sums, indent=1))
            if final.exists():
                shutil.rmtree(final)
    except (OSError, CheckpointException, SafetensorError) as error:
        raise CheckpointError(f"{final} could not be written: {_reason(error)}") from error
    return final


def open_checkpoint(path: Path) -> Checkpoint:
    """Open and verify one checkpoint.

    Raises:
        CheckpointError: it is not there, is damaged, or has a later format.
    """
    if not path.is_dir():
        raise CheckpointError(f"{path}: no checkpoint there")
    sums = _facts(path / "checksums.json")
    _verify(path, sums)
    state = _facts(path / "state.json")
    if state.get("format") != FORMAT:
        found = state.get("format")
        raise CheckpointError(f"{path} has format {found}; this version reads format {FORMAT}")
    return Checkpoint(path, state)


def _facts(file: Path) -> dict[str, Any]:
    try:
        facts = json.loads(file.read_text())
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} is missing; {_earlier(file.parent)}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is damaged: {error}; {_earlier(file.parent)}") from error
    if not isinstance(facts, dict):
        raise CheckpointError(f"{file} is damaged: it names nothing; {_earlier(file.parent)}")
    return facts


def _verify(path: Path, sums: Mapping[str, str]) -> None:
    """Raise CheckpointError unless the files are those that were written, and no others."""
    for name, expected in {"state.json": None, **sums}.items():
        file = path / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise CheckpointError(f"{path}: checksums.json names {name!r}, outside its folder")
        if not file.is_file():
            raise CheckpointError(f"{file} is missing; {_earlier(path)}")
        if sha256(file) != expected:
            raise CheckpointError(f"{file} is damaged; {_earlier(path)}")
    for file in _files(path / "tensors"):
        if str(file.relative_to(path)) not in sums:
            raise CheckpointError(f"{file} is not of this checkpoint; remove it")


def is_checkpoint(path: Path) -> bool:
    """Whether a folder is one checkpoint, rather than a model_dir of several."""
    return (path / "checksums.json").is_file() or NAME.fullmatch(path.name) is not None


def by_step(model_dir: Path) -> dict[int, Path]:
    """The checkpoints of a model_dir, oldest step first."""
    if not model_dir.is_dir():
        return {}
    steps = {int(m[1]): path for path in model_dir.iterdir() if (m := NAME.fullmatch(path.name))}
    return {step: steps[step] for step in sorted(steps)}


def find(model_dir: Path) -> list[Path]:
    """The checkpoints of a model_dir, oldest step first."""
    return list(by_step(model_dir).values())


def newest(model_dir: Path) -> Path:
    """The checkpoint with the highest step. Raises CheckpointError when there is none."""
    found = find(model_dir)
    if not found:
        raise CheckpointError(f"{model_dir}: no checkpoint there; train first, or name one")
    return found[-1]


def preferred(model_dir: Path) -> Path:
    """What a finished run calls its result: the best one if it stopped early, else the newest."""
    pointer = model_dir / POINTER
    if pointer.is_file():
        try:
            named = json.loads(pointer.read_text())["checkpoint"]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{pointer} is damaged: {error}; without it the newest checkpoint is taken"
            ) from error
        for path in find(model_dir):
            if path.name == named:
                return path
    return newest(model_dir)


def resolved(path: Path) -> Path:
    """The checkpoint itself, or a model_dir's preferred one."""
    return path if is_checkpoint(path) else preferred(path)


def prefer(model_dir: Path, step: int | None) -> None:
    """Make a checkpoint the run's result; None: the newest again."""
    pointer = model_dir / POINTER
    if step is None:
        pointer.unlink(missing_ok=True)
        return
    aside = model_dir / f".writing-{POINTER}"
    aside.write_text(json.dumps({"checkpoint": f"model.ckpt-{step}"}))
    sync(aside)
    aside.replace(pointer)


def prune(model_dir: Path, keep: int, always: set[int]) -> None:
    """Delete all but the newest ``keep`` checkpoints and those of the steps in ``always``."""
    for step, path in list(by_step(model_dir).items())[:-keep] if keep else ():
        if step not in always:
            shutil.rmtree(path)


def clear_leftovers(model_dir: Path) -> None:
    """Remove what an interrupted save left behind."""
    for path in model_dir.glob(".writing-model.ckpt-*"):
        shutil.rmtree(path)
    (model_dir / f".writing-{POINTER}").unlink(missing_ok=True)


def _write_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    files, size = {}, 0
    for name, tensor in tensors.items():
        size += tensor.numel() * tensor.element_size()
        files[name] = 1 + size // FILE_BYTES
    numbers = {number: place + 1 for place, number in enumerate(sorted(set(files.values())))}
    with _quiet(), torch.no_grad():
        writer = dcp.HuggingFaceStorageWriter(
            str(folder), fqn_to_index_mapping={name: numbers[n] for name, n in files.items()}
        )
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        dcp.save(whole, storage_writer=writer, no_dist=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remark that there is one process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _reason(error: BaseException) -> str:
    if isinstance(error, CheckpointException):
        causes = [failure[0] for failure in error.failures.values()]
        return "; ".join(str(cause) or type(cause).__name__ for cause in causes)
    return str(error)


def _earlier(path: Path) -> str:
    """Which checkpoint to take instead."""
    beside = find(path.parent)
    before = beside[: beside.index(path)] if path in beside else []
    if not before:
        return "there is no earlier checkpoint beside it"
    return f"delete this folder to go on from the one before, {before[-1].name}"
