"""Checkpoints: a folder of safetensors files and JSON, written aside and renamed.

``model.ckpt-<step>/`` holds ``tensors/`` (see tensorfiles), ``state.json`` (everything that is no
tensor, and the format's version), ``pipeline.config`` and ``checksums.json``. Of several processes
each writes its share of the tensors, and the first commits all. Nothing in it is ever unpickled.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from torch.distributed.checkpoint.api import CheckpointException

from tzmmoe.errors import CheckpointError, did_you_mean
from tzmmoe.system import tensorfiles
from tzmmoe.system.digest import inside, sha256
from tzmmoe.system.durable import Aside, sync
from tzmmoe.system.tensorfiles import Named, Scattered
from tzmmoe.system.world import World

T = TypeVar("T")

FORMAT = 1
NAME = re.compile(r"model\.ckpt-(\d+)")
POINTER = "best.json"
UNREADABLE = (OSError, CheckpointException, SafetensorError)
NOT_SHARED = (
    "the processes do not see the same model_dir; put it on storage that all machines share"
)


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
            return tensorfiles.sizes(self.path / "tensors")
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{self.path / 'tensors'} is damaged: {error}") from error

    def read(self, targets: Named) -> None:
        """Fill tensors in place, or what this process has of them.

        Raises:
            CheckpointError: tensors that are missing or have another shape, all of them by name; a
                file that cannot be read.
        """
        there, faults = self.shapes(), []
        for name, target in targets.items():
            size = target.size if isinstance(target, Scattered) else tuple(target.shape)
            if name not in there:
                faults.append(f"{name}: not in the checkpoint{did_you_mean(name, there)}")
            elif there[name] != size:
                found = list(there[name])
                faults.append(f"{name}: {found} in the checkpoint, {list(size)} in the model")
        if faults:
            listed = "\n  ".join(faults)
            raise CheckpointError(f"{self.path} does not fit the model:\n  {listed}")
        try:
            tensorfiles.read(self.path / "tensors", targets)
        except UNREADABLE as error:
            raise CheckpointError(f"{self.path} could not be read: {_reason(error)}") from error


@dataclass(frozen=True)
class Content:
    """What is saved of a run after ``step``: tensors, the rest of its state, and its config."""

    step: int
    tensors: Named
    state: dict[str, Any]
    config: str


def save(model_dir: Path, content: Content, world: World | None = None) -> Path:
    """Write ``model.ckpt-<step>``: complete, or not there. All processes of a ``world`` do so
    together, and their model_dir must be the same folder.

    Raises:
        CheckpointError: it could not be written, for example because the disk is full.
    """
    world, final = world or World(), model_dir / f"model.ckpt-{content.step}"
    aside = Aside(final)
    try:
        world.first(lambda: _told(final, aside.make))
        files = tensorfiles.shared_out(content.tensors, world.rank, world.size)
        counts = world.gather(len(files))
        first = sum(counts[: world.rank])
        folder = aside.path / "tensors"

        def write() -> dict[str, str]:
            if not aside.path.is_dir():
                raise FileNotFoundError(NOT_SHARED)
            tensorfiles.write(folder, files, first, sum(counts))
            pattern = "*-model-{:05d}-of-*"  # of torch.distributed.checkpoint
            numbers = range(first + 1, first + 1 + len(files))
            own = [file for number in numbers for file in folder.glob(pattern.format(number))]
            if len(own) < len(files):
                raise FileNotFoundError("files of it are gone")
            return {f"tensors/{file.name}": sha256(file) for file in own}

        sums = world.gather(world.each(lambda: _told(final, write)))
        world.first(lambda: _told(final, lambda: _commit(aside, content, sums)))
    finally:
        if world.is_first:
            aside.remove()
    return final


def _commit(aside: Aside, content: Content, sums: Sequence[dict[str, str]]) -> None:
    """Add what is no tensor, and give the folder its name. ``sums``: of what each process wrote."""
    folder, known = aside.path, {name: each for own in sums for name, each in own.items()}
    if any(not (folder / name).is_file() for name in known):
        raise FileNotFoundError(NOT_SHARED)
    header = {"format": FORMAT, "step": content.step}
    (folder / "state.json").write_text(json.dumps({**header, **content.state}, indent=1))
    (folder / "pipeline.config").write_text(content.config)
    known |= {name: sha256(folder / name) for name in ("state.json", "pipeline.config")}
    (folder / "checksums.json").write_text(json.dumps(known, indent=1))
    if aside.final.exists():
        shutil.rmtree(aside.final)
    aside.commit()


def _told(final: Path, act: Callable[[], T]) -> T:
    """What ``act`` gives. Raises CheckpointError for what cannot be written."""
    try:
        return act()
    except UNREADABLE as error:
        raise CheckpointError(f"{final} could not be written: {_reason(error)}") from error


def open_checkpoint(path: Path, world: World | None = None) -> Checkpoint:
    """Open and verify one checkpoint; of the processes of a ``world`` each verifies its share.

    Raises:
        CheckpointError: it is not there, is damaged, or has a later format.
    """
    if not path.is_dir():
        raise CheckpointError(f"{path}: no checkpoint there")
    sums = _facts(path / "checksums.json")
    _verify(path, sums, world or World())
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


def _verify(path: Path, sums: Mapping[str, str], world: World) -> None:
    """Raise CheckpointError unless the files are those that were written, and no others."""
    for number, (name, expected) in enumerate({"state.json": None, **sums}.items()):
        file = inside(path, name, "checksums.json")
        if not file.is_file():
            raise CheckpointError(f"{file} is missing; {_earlier(path)}")
        if number % world.size == world.rank and sha256(file) != expected:
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
    return (
        f"delete this folder to go on from the one before, {before[-1].name}; to read that one, "
        "name it by --checkpoint_path"
    )
