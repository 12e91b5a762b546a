"""Evaluations of a session's weights: passes over files, while training and at the end."""

import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from tzmmoe.batch import Batch
from tzmmoe.config.dialects.keras import by_label
from tzmmoe.data.loader import Loader
from tzmmoe.errors import ConfigError, DataError
from tzmmoe.learning.lockstep import Lockstep
from tzmmoe.models.rank import RankModel
from tzmmoe.run import results as report
from tzmmoe.run.ends import Interruption
from tzmmoe.run.progress import shows_bars
from tzmmoe.run.session import Session
from tzmmoe.serving.predictions import PredictionWriter, output_file, prediction_columns
from tzmmoe.system.world import World
from tzmmoe.tables.penalties import penalized, regularization
from tzmmoe.tasks.task import TaskSet

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

    A loss is weight * sum(w l) / sum(w) over all rows, so it does not depend on the batch size;
    NaN, and left out of the sum, when no row counts. The sum of none is NaN too. ``most``: at most
    this many batches. ``sink`` gets the outputs and the batch (on the device) of each. In the
    processes of a ``world`` results are those of all their rows.
    """
    tasks.reset()
    for metric in tasks.named_metrics().values():
        metric.to(device)
    sums: dict[str, list[Tensor]] = {}
    weights = {task.name: task.weight for task in tasks.tasks}
    was_training = model.training
    model.eval()
    for each in _shown(islice(batches, most), bar_every):
        batch = each.to(device)
        logits = model(batch.inputs)
        outputs = tasks.predict(logits)
        tasks.update(outputs, batch)
        for task, word, weighted, total in tasks.loss_sums(logits, batch):
            known = sums.setdefault(f"{word}_{task.name}", [0.0, 0.0, weights[task.name]])
            known[0] = known[0] + weighted.double()
            known[1] = known[1] + total.double()
        if sink:
            sink(outputs, batch)
    model.train(was_training)
    sums = {key: _added(known, world or World()) for key, known in sums.items()}
    results = tasks.compute()
    tasks.reset()  # some keep every row
    losses = {key: float(weight * part / whole) for key, (part, whole, weight) in sums.items()}
    counted = [losses[key] for key, (_, whole, _) in sums.items() if whole > 0]
    penalty = regularization(penalized(model))
    if penalty is not None:
        losses["regularization"] = float(penalty)
        counted += [float(penalty)] * bool(counted)
    return {**results, **losses, "val_loss": sum(counted) if counted else math.nan}


def _added(sums: list[Tensor], world: World) -> list[Tensor]:
    """Sum of losses and sum of weights over all processes; the tower's weight as it is."""
    part, whole, weight = sums
    return [*world.total(torch.stack([part, whole])), weight]


def _shown(batches: Iterable[Batch], every: int) -> tqdm:
    """The batches, counted by a bar on a terminal."""
    return tqdm(
        batches,
        desc="evaluating",
        unit="batch",
        miniters=every,
        disable=not shows_bars(),
        leave=False,
    )


@dataclass(frozen=True)
class Evaluation:
    """Passes over the files at ``path``, which the command line calls ``flag``, with the weights at
    hand. ``most``: at most this many batches."""

    session: Session
    tasks: TaskSet
    path: str | None
    flag: str
    batch_size: int | None
    most: int | None

    @classmethod
    def of_training(cls, session: Session) -> "Evaluation":
        """On eval_input_path, by the towers' metrics."""
        settings = session.settings
        most, rows = settings.evaluation.num_steps, settings.training.num_val_samples
        if rows is not None:
            enough = -(-rows // settings.eval_delivery.batch_size)
            most = enough if most is None else min(most, enough)
        path = settings.files.eval_input_path
        return cls(session, session.built.tasks, path, "--eval_input_path", None, most)

    @classmethod
    def final(cls, session: Session) -> "Evaluation":
        """On test_input_path, or else on eval_input_path, as eval_config says."""
        files, settings = session.settings.files, session.settings.evaluation
        flag = "--test_input_path" if files.test_input_path else "--eval_input_path"
        path = files.test_input_path or files.eval_input_path
        size, most = settings.batch_size or None, settings.num_steps
        return cls(session, session.built.final_tasks, path, flag, size, most)

    def agrees(self, other: "Evaluation") -> bool:
        """Gives the same results; they do not depend on the batch size."""
        whole = self.most is None and other.most is None
        return whole and self.path == other.path and self.tasks is other.tasks

    @cached_property
    def loader(self) -> Loader:
        """The files are looked up once. Raises DataError for what they lack."""
        return self._loader()

    def _loader(self, reserved: Sequence[str] = ()) -> Loader:
        columns, size = self.tasks.columns(), self.batch_size
        loader = self.session.loader(
            self.path, self.flag, columns, reserved=reserved, batch_size=size, most=self.most
        )
        if not loader.source.has_rows():
            file = loader.source.files[0]
            raise DataError(
                f"{file}: the files to evaluate on hold no rows; check {self.flag.lstrip('-')}"
            )
        return loader

    def run(
        self, predictions_path: str | None = None, interruption: Interruption | None = None
    ) -> dict[str, float]:
        """One pass; prints the results.

        With ``predictions_path`` the outputs, labels and reserved columns are written there.

        Raises:
            Interrupted: a signal came, as ``interruption`` tells between two batches.
        """
        if not predictions_path:
            return self._pass(self.loader, None, interruption)
        labels = [c.name for c in self.tasks.columns() if c.role == "label"]
        wanted = [*self.session.settings.evaluation.reserved_columns, *labels]
        loader = self._loader(list(dict.fromkeys(wanted)))
        world = self.session.runtime.world
        with PredictionWriter(predictions_path, self.session.inputs(), world) as writer:
            results = self._pass(loader, _into(writer), interruption)
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
        log.info("evaluation of %s\n%s", self.path, report.table(self.tasks, results))
        return results

    def check_output(self) -> None:
        """Raise ConfigError when eval_config.output_file would replace what is no result."""
        settings, where = self.session.settings.evaluation, "eval_config.output_file"
        if not settings.output_file:
            return
        path = Path(settings.output_file)
        if path.is_dir():
            raise ConfigError.at(where, f"{path} is a folder; choose a file")
        read = [file for file in self.session.inputs() if os.path.exists(file)]
        if path.exists() and any(os.path.samefile(file, path) for file in read):
            raise ConfigError.at(
                where, f"{path} is read and would be replaced; choose another file"
            )
        if settings.predictions_path and path == Path(settings.predictions_path):
            raise ConfigError.at(where, "is predictions_path too; choose another file")

    def write_output(self, results: dict[str, float], model: Path) -> None:
        """eval_config.output_file, if that is set."""
        settings = self.session.settings
        if not (settings.evaluation.output_file and self.session.runtime.world.is_first):
            return
        path = Path(settings.evaluation.output_file)
        labelled = by_label(self.tasks.tasks, results)
        report.write_output(path, settings.model_name, model, labelled)
        log.info("wrote the results to %s", path)


class Evaluations:
    """Those of a run of training: after its checkpoints, and of its result.

    A signal that ``interruption`` caught ends one after a checkpoint.
    """

    def __init__(self, session: Session, interruption: Interruption) -> None:
        self.session, self._interruption = session, interruption
        self.validation, self.final = Evaluation.of_training(session), Evaluation.final(session)
        self.same = self.final.agrees(self.validation)
        self._predictions = session.settings.evaluation.predictions_path
        self._results: dict[int, dict[str, float]] = {}  # of this process, by step
        self._predicted_at: int | None = None  # the step whose predictions are written

    def check(self) -> None:
        """Raise UserError for what is wrong with their files, which should not show after hours."""
        for each in (self.validation,) if self.same else (self.validation, self.final):
            if each.path:
                _ = each.loader
        if self.final.path and self._predictions:
            output_file(self._predictions, self.session.inputs(), self.session.runtime.world)
        self.final.check_output()

    def after(self, step: int, *, is_last: bool) -> dict[str, float]:
        """Results of a checkpoint; with predictions if it is the last one and they are those."""
        path = self._predictions if is_last and self.same else None
        results = self.validation.run(path, self._interruption)
        self._results[step] = results
        self._predicted_at = step if path else None
        self.session.append(report.TRAINING, step, results)
        return results

    def finish(self, step: int) -> dict[str, float]:
        """The results of the run, whose weights are those of ``step``; empty without files."""
        if not self.final.path:
            return {}
        results = self._results.get(step) if self.same else None
        if results is None or (self._predictions and self._predicted_at != step):
            results = self.final.run(self._predictions)
            if not self.same:
                self.session.append(report.EVALUATION, step, results)
        self.final.write_output(results, self.session.model_dir / f"model.ckpt-{step}")
        return results


def _until(interruption: Interruption | None, batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches; raises Interrupted before one when a signal came."""
    for batch in batches:
        if interruption:
            interruption.stop_if_asked()
        yield batch


def _into(writer: PredictionWriter) -> Sink:
    """Writes outputs beside a batch's reserved columns."""

    def write(outputs: dict[str, Tensor], batch: Batch) -> None:
        writer.write(prediction_columns(outputs, batch.reserved, None), len(batch))

    return write
