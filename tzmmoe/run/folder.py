"""The model_dir of a run: who may write it, which checkpoint to use, and its log.

Only one run uses a model_dir at a time. Its log, ``train.log``, includes the lines from before the
model_dir was checked.
"""

import logging
import os
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from logging.handlers import MemoryHandler
from pathlib import Path

from tzmmoe.errors import CheckpointError, Faults, Interrupted, UserError
from tzmmoe.run.ends import Best
from tzmmoe.run.history import HISTORY
from tzmmoe.run.results import EVALUATION_RESULTS, TRAINING_RESULTS, read_results
from tzmmoe.system import checkpoint, durable
from tzmmoe.system.durable import check_writable, unwritable
from tzmmoe.system.localpath import MEMORY
from tzmmoe.system.lock import BusyError, Lock
from tzmmoe.system.pathkind import kind_of

log = logging.getLogger(__name__)


def check(model_dir: Path, faults: Faults) -> None:
    """Add a fault if the folder cannot be created or written."""
    with faults.under(""):
        check_writable(model_dir, "model_dir", is_folder=True)
    if (kind := kind_of(model_dir)) in ("an export", "a checkpoint"):
        faults.add("model_dir", f"{model_dir} is {kind}; choose another folder")


def newest(model_dir: Path, *, resumes: bool) -> Path | None:
    """The checkpoint to resume from. Raises CheckpointError if there is one but the run does not
    resume."""
    paths = checkpoint.find(model_dir)
    if paths and not resumes:
        raise CheckpointError(refusal(paths[-1]))
    return paths[-1] if paths else None


def refusal(newest: Path) -> str:
    """Why a run that does not resume from this checkpoint may not use its model_dir."""
    return (
        f"{newest.parent} already holds {newest.name}; to train, pass --continue_train to continue "
        "from it, or choose another --model_dir"
    )


def free_newest(model_dir: Path, *, resumes: bool) -> Path | None:
    """As ``newest``, of a model_dir that is not in use: a run there may write more checkpoints.
    Raises CheckpointError if it is."""
    if model_dir.is_dir():
        with locked(model_dir):
            pass
    return newest(model_dir, resumes=resumes)


class Ownership:
    """Keeps other runs out of a model_dir, and notices if it is taken away all the same.

    ``newest``: the newest checkpoint there, if any. Nothing is owned before ``taken``.
    """

    def __init__(self) -> None:
        self.newest: Path | None = None
        self._lock: Lock | None = None
        self._folder: os.stat_result | None = None

    @contextmanager
    def taken(self, model_dir: Path, expected: Path | None) -> Iterator[None]:
        """Own the model_dir, whose newest checkpoint must be ``expected``, during the block.

        Raises:
            CheckpointError: it cannot be made, another run uses it, or has written a checkpoint.
        """
        try:
            model_dir.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(model_dir)
        except OSError as error:
            raise CheckpointError(unwritable(model_dir, error)) from error
        self._folder = model_dir.stat()
        try:
            if newest(model_dir, resumes=True) != expected:
                words = f"{model_dir}: another run just wrote a checkpoint; try again"
                raise CheckpointError(words)
            checkpoint.clear_leftovers(model_dir)
            self.newest = expected
            yield
        finally:
            self._lock.release()
            self._lock = None

    def check(self) -> None:
        """Raise CheckpointError if others may write to the model_dir by now, before they meet what
        this run would write. A lock file that was deleted is made again if that is all."""
        if self._lock is None or self._lock.names_file():
            return
        model_dir, end = self._lock.path.parent, "stopping without writing to it"
        try:
            if not os.path.samestat(model_dir.stat(), self._folder):
                raise CheckpointError(f"{model_dir} was replaced while it was in use; {end}")
            lock = _lock(model_dir)
        except FileNotFoundError as error:
            words = f"{model_dir} was removed while it was in use; {end}"
            raise CheckpointError(words) from error
        except CheckpointError as error:
            words = f"{self._lock.path} was removed or replaced while it was in use; {end}"
            raise CheckpointError(f"{words}\n{error}") from error
        if newest(model_dir, resumes=True) != self.newest:
            lock.release()
            raise CheckpointError(
                f"{self._lock.path} was removed while it was in use, and another run wrote a "
                f"checkpoint; {end}"
            )
        log.warning("%s was deleted while in use; created it again", self._lock.path)
        self._lock.release()
        self._lock = lock


def best(model_dir: Path, watched: Best | None) -> Path:
    """The remaining checkpoint with the best evaluation.

    Raises:
        CheckpointError: none of them was evaluated, or the key was undefined in all evaluations.
    """
    paths = checkpoint.by_step(model_dir)
    lines = {line["global_step"]: line for line in read_results(model_dir / TRAINING_RESULTS)}
    for step in sorted(paths.keys() & lines.keys()):  # the last line of a step counts
        if watched and watched.key in lines[step]:
            watched.note(step, lines[step])
    if watched and watched.waited and watched.step is None:
        raise CheckpointError(
            f"{model_dir}: {watched.key} is undefined in the evaluations of all checkpoints; "
            "choose another metric, or the newest checkpoint by export_config "
            '{ exporter_type: "latest" per_task_best: false }'
        )
    if watched is None or watched.step is None:
        raise CheckpointError(
            f"{model_dir}: {TRAINING_RESULTS} has no evaluation of any checkpoint, so none is the "
            'best; set export_config { exporter_type: "latest" per_task_best: false }'
        )
    return paths[watched.step]


def best_of_tasks(model_dir: Path, watched: Mapping[str, Best]) -> dict[Path, list[str]]:
    """The tasks by the path of their best checkpoint, in the order of steps.

    Raises:
        CheckpointError: as ``best``.
    """
    found = {task: best(model_dir, own) for task, own in watched.items()}
    order = sorted(set(found.values()), key=lambda path: int(path.name.rpartition("-")[2]))
    return {path: [task for task, own in found.items() if own == path] for path in order}


def signpost(
    model_dir: Path,
    steps: range,
    step: int,
    best: Best | None,
    modules: Sequence[str],
    *,
    goes_on: bool,
    frames: Collection[str] = (),
) -> str:
    """What a run did, where its results are, and the next command: to continue a run that
    ``goes_on``, otherwise to export. ``steps`` are those that it took, and ``step`` is that of the
    final weights, all counted from 0; ``modules`` are allowed; ``frames``: those in memory that it
    read, which no command line can."""
    names = (TRAINING_RESULTS, EVALUATION_RESULTS, HISTORY)
    results = [str(model_dir / name) for name in names if (model_dir / name).exists()]
    checkpoint_line = str(model_dir / f"model.ckpt-{step}")
    if best and best.step is not None:
        others = "" if best.step == step else f"; the result of the run is {checkpoint_line}"
        path = model_dir / f"model.ckpt-{best.step}"
        checkpoint_line = f"{path}, the best by {best.key}, {best.value:.5f}{others}"
    config = f"--pipeline_config {shlex.quote(str(model_dir / 'pipeline.config'))}"
    target = model_dir / "export"
    target = model_dir / f"export-{step}" if target.exists() else target
    command = f"python -m tzmmoe.export {config} --export_dir {shlex.quote(str(target))}"
    if goes_on:
        command = f"python -m tzmmoe.train {config} --continue_train"
    if goes_on and frames:
        rows = ", ".join(f"{name.removeprefix(MEMORY)}=frame" for name in frames)
        path = str(model_dir / "pipeline.config")
        command = f"Pipeline.load({path!r}).fit({rows}, continue_train=True)"
    elif modules:
        command += f" --allow_modules {','.join(modules)}"
    lines = [_trained(steps, step)]
    lines += [f"  results     {', '.join(results)}"] if results else []
    lines += [f"  checkpoint  {checkpoint_line}"]
    lines += [f"  log         {model_dir / LOG}"] if (model_dir / LOG).exists() else []
    lines += [f"  next        {command}"]
    return "\n".join(lines)


def _trained(steps: range, step: int) -> str:
    """How many steps a run took, and those before it, if it resumed."""
    total = f"{steps.stop:,}"
    here = f"{len(steps):,} steps in this run, {total} in all" if steps.start else f"{total} steps"
    early = "" if step + 1 == steps.stop else f"; the result has the weights of step {step + 1:,}"
    return f"trained {here}{early}"


LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder while the block runs.

    The system releases the lock when the process ends, however it ends; the file stays.

    Raises:
        CheckpointError: another process holds the lock.
    """
    lock = _lock(folder)
    try:
        yield
    finally:
        lock.release()


def _lock(folder: Path) -> Lock:
    try:
        return Lock(folder / LOCK)
    except BusyError as error:
        words = "wait for it, or choose another --model_dir"
        raise CheckpointError(f"{folder} is in use by {error}; {words}") from error


LOG = "train.log"
LINE = "%(asctime)s %(levelname)s %(message)s"
CAPACITY = 10_000  # lines that wait for the folder


class RunLog:
    """Buffers the log lines of the block until ``open``, then writes them to a file.

    These are the lines that the process logs: of a command all, of a program those that pass its
    own level. An error that ends the block is the last line.
    """

    def __init__(self) -> None:
        self._handler = MemoryHandler(CAPACITY, flushLevel=logging.CRITICAL + 1)
        self._logger = logging.getLogger("tzmmoe")

    def open(self, folder: Path) -> None:
        """Write the lines to ``folder``/train.log, after those of earlier runs."""
        file = logging.StreamHandler(durable.opened_to_append(folder / LOG))
        file.setFormatter(logging.Formatter(LINE))
        file.handleError = lambda record: None  # a full disk shows where it matters more
        self._handler.setTarget(file)
        self._handler.flush()
        self._handler.capacity = 1

    def __enter__(self) -> "RunLog":
        self._logger.addHandler(self._handler)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        self._logger.removeHandler(self._handler)
        file = self._handler.target
        if file is None:
            return
        if error is not None:
            is_bug = not isinstance(error, (UserError, Interrupted, KeyboardInterrupt))
            trace = (kind, error, error.__traceback__) if is_bug else None
            words = str(error) or kind.__name__
            self._handler.handle(
                logging.LogRecord("tzmmoe", logging.ERROR, "", 0, words, None, trace)
            )
        with suppress(OSError):
            self._handler.close()
            file.stream.close()
            file.close()
