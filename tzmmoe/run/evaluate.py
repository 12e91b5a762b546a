"""Evaluation of a session's weights: passes over files, during training and at the end."""

import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from tzmmoe.batch import Batch
from tzmmoe.config.dialects.keras import by_label
from tzmmoe.data.leaks import warn_of_labels, warn_of_shared_files
from tzmmoe.data.loader import Loader
from tzmmoe.data.quality import Quality
from tzmmoe.errors import ConfigError, DataError
from tzmmoe.learning.lockstep import Lockstep
from tzmmoe.models.rank import RankModel
from tzmmoe.run.ends import Interruption
from tzmmoe.run.progress import shows_bars
from tzmmoe.run.results import (
    EVALUATION_RESULTS,
    TRAINING_RESULTS,
    baselines,
    is_output,
    results_table,
    write_results,
)
from tzmmoe.run.session import Session
from tzmmoe.serving.predictions import PredictionWriter, check_form, output_file, prediction_columns
from tzmmoe.system.durable import check_writable, claimed, unwritable
from tzmmoe.system.lock import BusyError
from tzmmoe.system.world import World
from tzmmoe.tables.penalties import penalized, regularization
from tzmmoe.tasks.members import MemberMetrics, named_sums
from tzmmoe.tasks.taskset import TaskSet

log = logging.getLogger(__name__)

Sink = Callable[[dict[str, Tensor], Batch], None]


@torch.no_grad()
def evaluate(
    model: RankModel,
    tasks: TaskSet,
    batches: Iterable[Batch],
    device: torch.device,
    *,
    most: int | None = None,
    bar_every: int = 10,
    sink: Sink | None = None,
    world: World | None = None,
) -> dict[str, float]:
    """Metrics and losses by key, ``regularization`` if weights are penalized, and the sum of all
    losses, ``val_loss``.

    A loss is weight * sum(w l) / sum(w) over all rows, so it does not depend on the batch size. If
    no row counts, it is NaN and left out of the sum; a sum without terms is NaN too. ``most``: the
    maximum number of batches. ``sink`` receives the outputs of each batch and the batch, on the
    device. If the model has members, results and outputs are those of their average, and keys that
    end in ``_members`` hold the means of the members' own metrics and losses. In the processes of a
    ``world``, results are those of all their rows.
    """
    tasks.reset()
    tasks.move(device)
    sums: dict[tuple[str, str], Tensor] = {}  # by key and suffix of a loss: sum(w l) and sum(w)
    count = model.body.num_members
    members = MemberMetrics(tasks, count, device)
    was_training = model.training
    model.eval()
    with tasks.comparisons.counted_apart():
        for host_batch in _with_bar(islice(batches, most), bar_every):
            batch = host_batch.to(device)
            logits = model(batch.inputs)
            outputs = tasks.predict(logits)
            tasks.update(outputs, batch)
            members.update(logits, batch)
            for name, pair in named_sums(tasks, logits, batch, members=count):
                sums[name] = sums.get(name, 0.0) + pair
            if sink:
                sink(outputs, batch)
        for line in tasks.idle_comparisons("evaluation", "the evaluation", world or World()):
            log.warning("%s", line)
    model.train(was_training)
    sums = {name: (world or World()).total(pair) for name, pair in sums.items()}
    results = tasks.compute() | members.compute()
    tasks.release()
    return results | _losses(model, tasks, sums)


def _losses(
    model: RankModel, tasks: TaskSet, sums: Mapping[tuple[str, str], Tensor]
) -> dict[str, float]:
    """The losses by key, ``regularization`` and ``val_loss``. ``sums``: sum(w l) and sum(w) by key
    and suffix, as ``named_sums`` gives them."""
    losses = {
        f"{key}{suffix}": tasks.weighting.evaluated(key, float(part / whole))
        for (key, suffix), (part, whole) in sums.items()
    }
    # Losses of members are reported, but val_loss is that of their average.
    counted = [losses[key] for (key, of), (_, whole) in sums.items() if whole > 0 and not of]
    penalty = regularization(penalized(model))
    if penalty is not None:
        losses["regularization"] = float(penalty)
        counted += [float(penalty)] * bool(counted)
    return {**losses, "val_loss": sum(counted) if counted else math.nan}


def _with_bar(batches: Iterable[Batch], every: int) -> tqdm:
    """The batches, counted by a bar on a terminal."""
    bar = {"desc": "evaluating", "unit": "batch", "leave": False}
    return tqdm(batches, miniters=every, disable=not shows_bars(), **bar)


@dataclass(frozen=True)
class Evaluation:
    """Passes of the current weights over the files at ``path``, which is ``flag`` on the command
    line. ``most``: the maximum number of batches."""

    session: Session
    tasks: TaskSet
    path: str | None
    flag: str
    batch_size: int | None
    most: int | None

    @classmethod
    def of_training(cls, session: Session) -> "Evaluation":
        """On eval_input_path, with the towers' metrics."""
        settings = session.settings
        most, rows = settings.evaluation.num_steps, settings.training.num_val_samples
        if rows is not None:
            batches = math.ceil(rows / settings.eval_delivery.batch_size)
            most = batches if most is None else min(most, batches)
        path = settings.files.eval_input_path
        return cls(session, session.built.tasks, path, "--eval_input_path", None, most)

    @classmethod
    def final(cls, session: Session) -> "Evaluation":
        """On test_input_path, or eval_input_path if that is not set, as eval_config says."""
        files, settings = session.settings.files, session.settings.evaluation
        flag = "--test_input_path" if files.test_input_path else "--eval_input_path"
        path = files.test_input_path or files.eval_input_path
        size, most = settings.batch_size or None, settings.num_steps
        return cls(session, session.built.final_tasks, path, flag, size, most)

    def agrees(self, other: "Evaluation") -> bool:
        """Whether both give the same results, which do not depend on the batch size."""
        whole = self.most is None and other.most is None
        return whole and self.path == other.path and self.tasks is other.tasks

    @cached_property
    def loader(self) -> Loader:
        """Reads the files; they are looked up once. Raises DataError."""
        return self._loader()

    def _loader(self, reserved: Sequence[str] = ()) -> Loader:
        columns, size = self.tasks.columns(), self.batch_size
        loader = self.session.loader(
            self.path, self.flag, columns, reserved=reserved, batch_size=size, most=self.most
        )
        if not loader.source.has_rows():
            file = loader.source.files[0]
            name = self.flag.lstrip("-")
            raise DataError(f"{file}: the files of {name} have no rows; choose others")
        return loader

    def read_first(self) -> Quality:
        """Read the first batch; the counts of its values. Raises DataError if it cannot be used."""
        self.loader.quality = first = Quality(warns=False)
        with closing(self.loader.once()) as batches:
            next(batches)
        self.loader.quality = Quality(where=self.flag.lstrip("-"))
        return first

    def run(
        self, predictions_path: str | None = None, interruption: Interruption | None = None
    ) -> dict[str, float]:
        """One pass; its results, which are also logged.

        Outputs, labels and reserved columns are written to ``predictions_path`` if that is given.

        Raises:
            Interrupted: a signal arrived, which ``interruption`` checks before each batch.
        """
        if not predictions_path:
            return self._pass(self.loader, None, interruption)
        served = self.tasks.served(auxiliary=self.session.settings.export.auxiliary)
        chosen = None if served is self.tasks else served.output_names()
        labels = [c.name for c in served.columns() if c.role == "label"]
        columns = [*self.session.settings.evaluation.reserved_columns, *labels]
        loader = self._loader(list(dict.fromkeys(columns)))
        world = self.session.runtime.world
        with PredictionWriter(predictions_path, self.session.inputs(), world) as writer:

            def write(outputs: dict[str, Tensor], batch: Batch) -> None:
                writer.write(prediction_columns(outputs, batch.reserved, chosen), len(batch))

            results = self._pass(loader, write, interruption)
        num_rows = sum(world.gather(writer.num_rows))
        log.info("wrote %s predictions to %s", f"{num_rows:,}", writer.name)
        return results

    def _pass(
        self, loader: Loader, sink: Sink | None, interruption: Interruption | None
    ) -> dict[str, float]:
        world = self.session.runtime.world
        lockstep = interruption.lockstep if interruption else Lockstep(world)
        steps = lockstep.steps(loader.once(), loader.no_rows)
        results = evaluate(
            self.session.built.model,
            self.tasks,
            _until(interruption, (batch for batch, _ in steps)),
            self.session.runtime.device,
            most=self.most,
            bar_every=self.session.settings.evaluation.log_step_count_steps,
            sink=sink,
            world=world,
        )
        held_out = self.session.settings.split and self.flag == "--eval_input_path"
        of = f"rows held out of {self.path}" if held_out else self.path
        table = results_table(self.tasks, results, baselines(self.tasks))
        log.info("evaluation of %s\n%s", of, table)
        return results

    def check_output(self) -> None:
        """Raise ConfigError if eval_config.output_file would overwrite anything but results."""
        settings, where = self.session.settings.evaluation, "eval_config.output_file"
        if not settings.output_file:
            return
        path = Path(settings.output_file)
        check_writable(path, where)
        if path.is_dir():
            raise ConfigError.at(where, f"{path} is a folder; choose a file")
        inputs = [file for file in self.session.inputs() if os.path.exists(file)]
        if path.exists() and any(os.path.samefile(file, path) for file in inputs):
            words = f"{path} is an input and would be overwritten; choose another file"
            raise ConfigError.at(where, words)
        if path.exists() and not is_output(path):
            words = f"{path} already exists and is not an evaluation result; choose another file"
            raise ConfigError.at(where, words)
        if settings.predictions_path and path == Path(settings.predictions_path):
            words = f"{path} is also predictions_path; choose another file"
            raise ConfigError.at(where, words)

    @contextmanager
    def holding_output(self) -> Iterator[None]:
        """Keep others from eval_config.output_file. Raises DataError if somebody writes it now."""
        path, world = self.session.settings.evaluation.output_file, self.session.runtime.world

        def hold() -> None:
            try:
                held.enter_context(claimed(Path(path)))
            except BusyError as error:
                words = f"{path}: is being written by {error}; wait for it, or choose another file"
                raise DataError(words) from error
            except OSError as error:
                raise DataError(unwritable(path, error)) from error

        with ExitStack() as held:
            if path:
                world.first(hold)
            yield

    def write_output(self, results: dict[str, float], model: Path) -> None:
        """Write eval_config.output_file if it is set. Raises DataError if it cannot be written."""
        settings = self.session.settings
        if not (settings.evaluation.output_file and self.session.runtime.world.is_first):
            return
        path = Path(settings.evaluation.output_file)
        labelled = by_label(self.tasks.tasks, results)
        try:
            write_results(path, settings.model_name, model, labelled)
        except OSError as error:
            raise DataError(unwritable(path, error)) from error
        log.info("wrote the results to %s", path)


class Evaluations:
    """The evaluations of a training run: of its checkpoints, and of its final weights.

    A signal that ``interruption`` caught ends that of a checkpoint early.
    """

    def __init__(self, session: Session, interruption: Interruption) -> None:
        self.session, self._interruption = session, interruption
        self.validation, self.final = Evaluation.of_training(session), Evaluation.final(session)
        self.same = self.final.agrees(self.validation)
        self._predictions = session.settings.evaluation.predictions_path
        self._first: list[tuple[Evaluation, Quality]] = []  # counts of their first batches
        self._results: dict[int, dict[str, float]] = {}  # by step, since this process started
        self._predicted_at: int | None = None  # the step whose predictions were written

    def check(self) -> None:
        """Raise UserError if their files are unfit, now rather than after hours of training."""
        for evaluation in (self.validation,) if self.same else (self.validation, self.final):
            if evaluation.path:
                _ = evaluation.loader
        if self.final.path and self._predictions:
            check_form(self._predictions, "eval_config.predictions_path")
            output_file(self._predictions, self.session.inputs(), self.session.runtime.world)
        self.final.check_output()

    def files(self) -> list[str]:
        """The files of all evaluations that are not trained on."""
        files: dict[str, None] = {}  # each once, in order
        for evaluation in (self.validation,) if self.same else (self.validation, self.final):
            if evaluation.path and not self._held_out(evaluation):
                files |= dict.fromkeys(evaluation.loader.source.files)
        return list(files)

    def _held_out(self, evaluation: Evaluation) -> bool:
        """Whether its rows are held out of the files to train on."""
        return bool(self.session.settings.split) and evaluation.flag == "--eval_input_path"

    def read_first(self) -> None:
        """Read a batch of each. Raises DataError if it cannot be used."""
        for evaluation in (self.validation,) if self.same else (self.validation, self.final):
            if evaluation.path:
                first = self.session.runtime.world.each(evaluation.read_first)
                self._first.append((evaluation, first))

    def surprises(self, training: Loader) -> list[str]:
        """A line for each feature that has more values outside its table or vocabulary in the first
        rows to evaluate than in those that ``training`` has read; see ``Quality.surprises``. All
        processes must call it."""
        world, lines = self.session.runtime.world, {}
        trained = Quality.of_all(world.gather(training.quality.to_json()))
        for evaluation, first in self._first:
            rows = Quality.of_all(world.gather(first.to_json()))
            found = rows.surprises(trained, evaluation.flag.lstrip("-"))
            evaluation.loader.quality.told.update(found)
            lines |= dict.fromkeys(found.values())
        return list(lines)

    def warn_of_leaks(self, training: Loader) -> None:
        """Warn of labels among the features, and of files that are trained on."""
        built = self.session.built
        warn_of_labels([*built.features, *built.helpers], built.tasks.columns())
        for evaluation in (self.validation,) if self.same else (self.validation, self.final):
            if evaluation.path and not self._held_out(evaluation):
                files = evaluation.loader.source.files
                name = evaluation.flag.lstrip("-")
                warn_of_shared_files(training.source.files, files, name, self.session.frames)

    def after(self, step: int, *, is_last: bool) -> dict[str, float]:
        """Results of a checkpoint; predictions too if it is the last and no other pass follows."""
        path = self._predictions if is_last and self.same else None
        results = self.validation.run(path, self._interruption)
        self._results[step] = results
        self._predicted_at = step if path else None
        self.session.append(TRAINING_RESULTS, step, results)
        return results

    def finish(self, step: int) -> dict[str, float]:
        """The results of the run, whose weights are those of ``step``; empty without files."""
        if not self.final.path:
            return {}
        with self.final.holding_output():
            results = self._results.get(step) if self.same else None
            if results is None or (self._predictions and self._predicted_at != step):
                results = self.final.run(self._predictions)
                if not self.same:
                    self.session.append(EVALUATION_RESULTS, step, results)
            self.final.write_output(results, self.session.model_dir / f"model.ckpt-{step}")
        return results


def _until(interruption: Interruption | None, batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches. Raises Interrupted before one if a signal has arrived."""
    for batch in batches:
        if interruption:
            interruption.stop_if_asked()
        yield batch
