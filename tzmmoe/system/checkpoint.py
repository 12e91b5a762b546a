"""Checkpoints: folders of safetensors files and JSON, written under a temporary name and renamed.

``model.ckpt-<step>/`` holds ``tensors/`` (see tensorfiles), ``state.json`` (everything that is not
a tensor, and the version of the format), ``pipeline.config`` and ``checksums.json``. Each process
writes its share of the tensors, then the first one commits the folder. Nothing is ever unpickled.
"""

import json
import re
import shutil
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError

from tzmmoe.errors import CheckpointError, did_you_mean
from tzmmoe.system import durable, tensorfiles
from tzmmoe.system.digest import inside, sha256
from tzmmoe.system.durable import StagedFolder
from tzmmoe.system.lock import Hold, unheld
from tzmmoe.system.tensorfiles import NamedTensors, Scattered
from tzmmoe.system.world import World

T = TypeVar("T")

FORMAT = 1
NAME = re.compile(r"model\.ckpt-(\d+)")
POINTER = "best.json"
HELD = "checksums.json"  # of a checkpoint that is being read
MOST_TRIES = 100  # to open one before a run deletes it
UNREADABLE = (OSError, tensorfiles.StorageError, SafetensorError)
NOT_SHARED = (
    "the processes do not see the same model_dir; put it on storage that all machines share"
)


class DamagedError(CheckpointError):
    """A checkpoint lacks files, or has others than it was saved with."""


class MisfitError(CheckpointError):
    """A checkpoint lacks tensors of the model, or holds them in other shapes."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose checksums have been verified. It is not pruned until ``release``, or while
    this exists."""

    path: Path
    state: dict[str, Any]
    _hold: Hold | None = field(default=None, repr=False, compare=False)

    @property
    def step(self) -> int:
        return int(self.state["step"])

    def release(self) -> None:
        """Let others prune it."""
        if self._hold:
            self._hold.release()

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each tensor."""
        try:
            return tensorfiles.sizes(self.path / "tensors")
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{self.path / 'tensors'} is damaged: {error}") from error

    def read(self, targets: NamedTensors, *, grown: Container[str] = ()) -> None:
        """Fill tensors in place, or the parts of them that this process holds. Of those that have
        ``grown``, only the rows that the checkpoint has.

        Raises:
            MisfitError: tensors are missing or differ in shape (all are listed).
            CheckpointError: a file cannot be read.
        """
        shapes, faults = self.shapes(), []
        for name, target in targets.items():
            size = target.size if isinstance(target, Scattered) else tuple(target.shape)
            if name not in shapes:
                faults.append(f"{name}: not in the checkpoint{did_you_mean(name, shapes)}")
            elif shapes[name] != size and name not in grown:
                saved = list(shapes[name])
                faults.append(f"{name}: {saved} in the checkpoint, {list(size)} in the model")
        if faults:
            listed = "\n  ".join(faults)
            raise MisfitError(f"{self.path} does not fit the model:\n  {listed}")
        try:
            tensorfiles.read(self.path / "tensors", targets)
        except UNREADABLE as error:
            raise CheckpointError(f"{self.path} could not be read: {error}") from error


@dataclass(frozen=True)
class Content:
    """What a checkpoint of a run after ``step`` steps holds: tensors, other state, and config."""

    step: int
    tensors: NamedTensors
    state: dict[str, Any]
    config: str


def save(model_dir: Path, content: Content, world: World | None = None) -> Path:
    """Write ``model.ckpt-<step>``, completely or not at all. All processes of ``world`` must call
    this together, with the same model_dir on shared storage.

    Raises:
        CheckpointError: the checkpoint could not be written, for example because the disk is full.
    """
    world, final = world or World(), model_dir / f"model.ckpt-{content.step}"
    staged = StagedFolder(final)
    try:
        world.first(lambda: _written(final, staged.make))
        files = tensorfiles.files_of(content.tensors, world.rank, world.size)
        counts = world.gather(len(files))
        first = sum(counts[: world.rank])  # files are numbered through all processes
        folder = staged.path / "tensors"

        def write() -> dict[str, str]:
            if not staged.path.is_dir():
                raise FileNotFoundError(NOT_SHARED)
            tensorfiles.write(folder, files, first, sum(counts))
            pattern = "*-model-{:05d}-of-*"  # as torch.distributed.checkpoint names its files
            numbers = range(first + 1, first + 1 + len(files))
            own = [file for number in numbers for file in folder.glob(pattern.format(number))]
            if len(own) < len(files):
                raise FileNotFoundError("some of its files have disappeared")
            return {f"tensors/{file.name}": sha256(file) for file in own}

        sums = world.gather(world.each(lambda: _written(final, write)))
        world.first(lambda: _written(final, lambda: _commit(staged, content, sums)))
    finally:
        if world.is_first:
            staged.remove()
    return final


def _commit(staged: StagedFolder, content: Content, sums: Sequence[dict[str, str]]) -> None:
    """Add everything but the tensors, and rename the folder. ``sums``: for each process, the
    checksums of the files that it wrote."""
    folder, checksums = staged.path, {name: digest for own in sums for name, digest in own.items()}
    if any(not (folder / name).is_file() for name in checksums):
        raise FileNotFoundError(NOT_SHARED)
    header = {"format": FORMAT, "step": content.step}
    (folder / "state.json").write_text(json.dumps({**header, **content.state}, indent=1))
    (folder / "pipeline.config").write_text(content.config, encoding="utf-8")
    checksums |= {name: sha256(folder / name) for name in ("state.json", "pipeline.config")}
    (folder / "checksums.json").write_text(json.dumps(checksums, indent=1))
    if staged.final.exists():
        shutil.rmtree(staged.final)
    staged.commit()


def _written(final: Path, act: Callable[[], T]) -> T:
    """What ``act`` returns. Raises CheckpointError if it fails to write."""
    try:
        return act()
    except UNREADABLE as error:
        raise CheckpointError(f"{final} cannot be written: {error}") from error


def open_checkpoint(path: Path, world: World | None = None) -> Checkpoint:
    """Open and verify a checkpoint; each process of ``world`` verifies its share of the files.

    Raises:
        DamagedError: files are missing, or are not as they were saved.
        CheckpointError: the checkpoint does not exist, or has another format.
    """
    if not path.is_dir():
        raise CheckpointError(f"{path}: checkpoint does not exist")
    hold = _held(path)
    sums = _json_object(path / "checksums.json")
    _verify(path, sums, world or World())
    state = _json_object(path / "state.json")
    if state.get("format") != FORMAT:
        saved = state.get("format")
        raise CheckpointError(f"{path} has format {saved}; this version reads format {FORMAT}")
    return Checkpoint(path, state, hold)


def open_result(path: Path, world: World | None = None) -> Checkpoint:
    """As ``open_checkpoint``, of a checkpoint or of the preferred one of a model_dir, in which a
    run may delete checkpoints meanwhile."""
    for _ in range(MOST_TRIES):
        chosen = resolved(path)
        try:
            return open_checkpoint(chosen, world)
        except CheckpointError:
            if chosen == path or (chosen / HELD).exists():
                raise
    return open_checkpoint(resolved(path), world)


def _held(path: Path) -> Hold | None:
    """None if there is nothing to hold, which is told by those who read the file."""
    try:
        return Hold(path / HELD)
    except OSError:
        return None


def _json_object(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DamagedError(f"{file} is missing; {_earlier(file.parent)}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{file} is damaged: {error}; {_earlier(file.parent)}") from error
    if not isinstance(content, dict):
        raise DamagedError(f"{file} is damaged: it is not a JSON object; {_earlier(file.parent)}")
    return content


def _verify(path: Path, sums: Mapping[str, str], world: World) -> None:
    """Raise CheckpointError unless the folder holds exactly the saved files, unchanged."""
    # state.json is checked even if the list lacks it: None equals no checksum.
    for number, (name, expected) in enumerate({"state.json": None, **sums}.items()):
        file = inside(path, name, "checksums.json")
        if not file.is_file():
            raise DamagedError(f"{file} is missing; {_earlier(path)}")
        if number % world.size == world.rank and sha256(file) != expected:
            raise DamagedError(f"{file} is damaged; {_earlier(path)}")
    for file in _files(path / "tensors"):
        if str(file.relative_to(path)) not in sums:
            raise CheckpointError(f"{file} does not belong to this checkpoint; remove it")


def is_checkpoint(path: Path) -> bool:
    """Whether a folder is a checkpoint, rather than a model_dir that holds several."""
    return (path / "checksums.json").is_file() or NAME.fullmatch(path.name) is not None


def by_step(model_dir: Path) -> dict[int, Path]:
    """The checkpoints of a model_dir by their steps, in ascending order."""
    if not model_dir.is_dir():
        return {}
    steps = {int(m[1]): path for path in model_dir.iterdir() if (m := NAME.fullmatch(path.name))}
    return {step: steps[step] for step in sorted(steps)}


def find(model_dir: Path) -> list[Path]:
    """The checkpoints of a model_dir in the order of their steps."""
    return list(by_step(model_dir).values())


def newest(model_dir: Path) -> Path:
    """The checkpoint with the highest step. Raises CheckpointError if there is none."""
    checkpoints = find(model_dir)
    if not checkpoints:
        raise CheckpointError(f"{model_dir}: no checkpoint found; train first, or choose another")
    return checkpoints[-1]


def preferred(model_dir: Path) -> Path:
    """The checkpoint that is a run's result: the best one if it stopped early, else the newest."""
    pointer = model_dir / POINTER
    if pointer.is_file():
        try:
            name = json.loads(pointer.read_text(encoding="utf-8"))["checkpoint"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CheckpointError(
                f"{pointer} is damaged: {error}; delete it to use the newest checkpoint"
            ) from error
        for path in find(model_dir):
            if path.name == name:
                return path
    return newest(model_dir)


def resolved(path: Path) -> Path:
    """A checkpoint itself, or the preferred one of a model_dir."""
    return path if is_checkpoint(path) else preferred(path)


def prefer(model_dir: Path, step: int | None) -> None:
    """Make the checkpoint of a step the run's result; None: whichever is the newest."""
    pointer = model_dir / POINTER
    if step is None:
        pointer.unlink(missing_ok=True)
        return
    durable.write_text(pointer, json.dumps({"checkpoint": f"model.ckpt-{step}"}))


def prune(model_dir: Path, keep: int, always: set[int]) -> None:
    """Delete all checkpoints but the newest ``keep`` ones and those of the steps in ``always``.

    ``keep`` 0 deletes none. One that is being read is kept until the next call.
    """
    for step, path in list(by_step(model_dir).items())[:-keep] if keep else ():
        if step in always:
            continue
        gone = durable.aside(path)
        with unheld(path / HELD) as is_free:
            if is_free:
                path.rename(gone)  # at once, for those who are about to open it
        durable.remove(gone)


def set_aside(path: Path) -> Path | None:
    """Rename a damaged checkpoint, so that the one before it is the newest, which is returned; but
    leave it if there is none before it."""
    earlier = [other for other in find(path.parent) if other != path]
    if not earlier:
        return None
    path.rename(durable.unused(path.with_name(f"{path.name}.damaged")))
    return earlier[-1]


def clear_leftovers(model_dir: Path) -> None:
    """Delete what an interrupted run has left behind, of a model_dir that no other run uses."""
    for path in model_dir.glob(".writing-model.ckpt-*"):
        durable.remove(path)
    for name in (POINTER, "pipeline.config", "history.jsonl"):
        for path in durable.leftovers(model_dir / name):
            durable.remove(path)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _earlier(path: Path) -> str:
    """The advice to use the checkpoint before a damaged one."""
    checkpoints = find(path.parent)
    earlier = checkpoints[: checkpoints.index(path)] if path in checkpoints else []
    if not earlier:
        return "there is no earlier checkpoint next to it"
    return (
        f"delete this folder to resume from the previous checkpoint, {earlier[-1].name}; to read "
        "that one, pass it as --checkpoint_path"
    )
