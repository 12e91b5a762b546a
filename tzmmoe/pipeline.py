"""The Python interface: a config, which can be fitted, evaluated, exported and used to predict.

Rows may be given in memory, as a frame: a DataFrame of pandas or polars, an Arrow table, batch,
dataset or stream, or a dict of arrays.
"""

import functools
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from tzmmoe.build import rules
from tzmmoe.config import Config, load
from tzmmoe.data.frames.container import check_kept, filled
from tzmmoe.data.frames.frame import Frame
from tzmmoe.errors import ConfigError
from tzmmoe.registry import Modules, OwnErrors
from tzmmoe.run import folder
from tzmmoe.run.changes import report
from tzmmoe.run.evaluate import Evaluation
from tzmmoe.run.exports import chosen_outputs, export_of
from tzmmoe.run.fit import TrainRun
from tzmmoe.run.frames.given import (
    check_for_files,
    check_for_frame,
    check_kinds,
    frames_of,
    is_path,
    paths_of,
    predictions,
)
from tzmmoe.run.results import EVALUATION_RESULTS, append_results
from tzmmoe.run.session import Session, check_config
from tzmmoe.run.shown.picture import check_path, picture
from tzmmoe.serving.exporter import check_directory
from tzmmoe.serving.predictions import PredictionWriter, check_form, write_predictions
from tzmmoe.serving.seal import Key
from tzmmoe.system import cli, spoken
from tzmmoe.system.checkpoint import Checkpoint, is_checkpoint
from tzmmoe.system.durable import naming
from tzmmoe.system.localpath import local
from tzmmoe.system.runtime import borrowed, flushed_denormals, keep_memory
from tzmmoe.textformat.edit import Settings

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


def _spoken(method: Callable[P, T]) -> Callable[P, T]:
    """A method of Pipeline whose errors speak the language of its caller."""

    @functools.wraps(method)
    def wrapped(self: "Pipeline", *arguments: P.args, **keywords: P.kwargs) -> T:
        with borrowed(), spoken.speaking(self._translate), OwnErrors(self.config.modules):
            return method(self, *arguments, **keywords)

    return wrapped


def _read(path: str | Path, edits: Mapping[str, Any], allow_modules: str | Sequence[str]) -> Config:
    modules = Modules.of(allow_modules)
    with OwnErrors(modules):
        return load(path, rules=rules(modules), modules=modules, **edits)


def names(given: str | Sequence[str]) -> Sequence[str]:
    """Names that may also be one text with commas, as on the command line."""
    return cli.names(given) if isinstance(given, str) else given


def _checkpoint(path: str | None) -> str | None:
    return None if path is None else local(path, "--checkpoint_path")


class Pipeline:
    """A config. Its methods do the same as the command lines of these names.

    ``Pipeline.load("mmoe.config").fit()`` trains; afterwards ``evaluate``, ``predict`` and
    ``export`` use the weights in the config's model_dir, or those of a given checkpoint.
    """

    def __init__(
        self, config: Config, *, device: str | None = None, in_python: bool = True
    ) -> None:
        """``in_python``: messages speak of arguments rather than of flags."""
        self.config = config
        self.device = device
        self._translate = spoken.in_python if in_python else str

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        settings: Settings = (),
        flags: Mapping[str, str] | None = None,
        edits_json: str | None = None,
        device: str | None = None,
        allow_modules: str | Sequence[str] = (),
    ) -> "Pipeline":
        """Read a config.

        ``settings`` are edits: ``"data_config.batch_size=256"``, a list of such texts, or a dict
        such as ``{"data_config.batch_size": 256}``; ``flags`` are the values of fields that have a
        flag of the command line, by their paths. ``allow_modules`` are the modules that may be
        imported for classes that the config names, with all inside them.

        Raises:
            ConfigError: all faults at once, but for those that matter only to training.
        """
        with borrowed(), spoken.speaking(spoken.in_python):
            config = _read(
                path,
                {"settings": settings, "flags": flags, "edits_json": edits_json},
                allow_modules,
            )
            check_config(config)
        return cls(config, device=device)

    @classmethod
    def of_command(
        cls,
        path: str | Path,
        *,
        device: str | None = None,
        allow_modules: str | Sequence[str] = (),
        **edits: Any,
    ) -> "Pipeline":
        """As ``load`` with its ``edits``, for a command line: what it does next reports the faults,
        with those of its own, and messages speak of flags."""
        keep_memory()
        return cls(_read(path, edits, allow_modules), device=device, in_python=False)

    @_spoken
    def fit(
        self,
        *,
        train: Any = None,
        eval: Any = None,
        continue_train: bool = False,
        ignore_restore_optimizer: bool = False,
        accept_changes: bool = False,
        map_path: str | Sequence[str] = (),
    ) -> dict[str, float]:
        """Train as train_config says; the results of the last evaluation, by key.

        ``train`` and ``eval``: frames in place of the files of train_input_path, whose rows
        data_config.eval_split then divides, and of eval_input_path.

        ``accept_changes``: settings and files that mean something else than to the checkpoint from
        which the run resumes are a warning, not an error. So in the other methods. ``map_path``:
        texts ``OLD=NEW`` for files or folders that have moved since that checkpoint.

        Raises:
            UserError: the config, the files or the model_dir are at fault, or a loss or weight is
                not finite.
            Interrupted: a signal arrived; a checkpoint was saved.
        """
        began = time.monotonic()
        with folder.RunLog() as record, flushed_denormals():
            run = TrainRun(
                self._training(frames_of(train=train, eval=eval)),
                began=began,
                continue_train=continue_train,
                ignore_restore_optimizer=ignore_restore_optimizer,
                accept_changes=accept_changes,
                map_path=map_path,
            )
            with naming(run.session.model_dir):
                return run.run(record)

    @_spoken
    def check(
        self,
        *,
        train: Any = None,
        eval: Any = None,
        continue_train: bool = False,
        ignore_restore_optimizer: bool = False,
        accept_changes: bool = False,
        map_path: str | Sequence[str] = (),
        graph: str | None = None,
    ) -> None:
        """Build everything and read the first batch, without training. ``graph``: an SVG file to
        draw the model's parts to."""
        target = None if graph is None else Path(local(graph, "--graph"))
        if target:
            check_path(target)
        session = self._training(frames_of(train=train, eval=eval))
        TrainRun(
            session,
            began=time.monotonic(),
            continue_train=continue_train,
            ignore_restore_optimizer=ignore_restore_optimizer,
            accept_changes=accept_changes,
            map_path=map_path,
        ).check_only()
        if target and session.runtime.world.is_first:
            target.write_text(picture(session.built.model))
            log.info("drew the model to %s", target)

    @_spoken
    def evaluate(
        self,
        data: Any = None,
        predictions_path: str | None = None,
        *,
        checkpoint_path: str | None = None,
        accept_changes: bool = False,
    ) -> dict[str, float]:
        """Metrics and losses by key; also written to the model_dir and to eval_config.output_file.

        ``data``: a frame, all of whose rows are evaluated; without one, the files of
        test_input_path, or of eval_input_path if that is not set. A path here is that of a
        checkpoint.
        """
        if is_path(data):
            if checkpoint_path is not None:
                raise ConfigError.at("checkpoint_path", "is given twice; pass one checkpoint")
            checkpoint_path, data = data, None
        if predictions_path:
            predictions_path = local(predictions_path, "--predictions_path")
            check_form(predictions_path, "--predictions_path")
        checkpoint_path = _checkpoint(checkpoint_path)
        session = self._trained(checkpoint_path, "eval_input_path", frames=frames_of(test=data))
        evaluation = Evaluation.final(session)
        evaluation.check_output()
        model_dir = session.model_dir
        if not session.settings.files.model_dir:
            source = Path(checkpoint_path)
            model_dir = source.parent if is_checkpoint(source) else source
        is_kept = os.access(model_dir, os.W_OK) or not model_dir.exists()
        if not is_kept:
            log.warning("%s is read-only, so the results are not added to it", model_dir)
        with evaluation.holding_output():
            model = session.restore(Path(checkpoint_path or session.model_dir))
            report.report_changes(session, model, report.EVALUATING, accepts=accept_changes)
            if data is not None:
                check_kinds(evaluation.loader, model)
            results = evaluation.run(predictions_path)
            if session.runtime.world.is_first and is_kept:
                with naming(model_dir / EVALUATION_RESULTS):
                    append_results(model_dir / EVALUATION_RESULTS, model.step, results)
            evaluation.write_output(results, model.path)
        return results

    @_spoken
    def export(
        self,
        export_dir: str,
        checkpoint_path: str | None = None,
        *,
        accept_changes: bool = False,
        key_file: str | None = None,
        auxiliary: bool = False,
    ) -> Path:
        """Write the model for serving; the folder.

        Without ``checkpoint_path``, export_config selects the checkpoint. ``key_file``: holds a
        secret to sign the export with. ``auxiliary``: export the auxiliary towers too.
        """
        key = Key.read(key_file)
        folder_of_export = Path(local(export_dir, "--export_dir"))
        check_directory(folder_of_export)
        checkpoint_path = _checkpoint(checkpoint_path)
        session = self._trained(checkpoint_path, whole=True)
        served = session.served(auxiliary=auxiliary)
        how = {"accepts": accept_changes}
        export = export_of(session, served, checkpoint_path, key, self._translate, **how)
        session.runtime.world.first(lambda: export.write(folder_of_export))
        return folder_of_export

    @_spoken
    def predict(
        self,
        predict_input_path: Any,
        predict_output_path: str | None = None,
        *,
        keep: Sequence[str] = (),
        checkpoint_path: str | None = None,
        reserved_columns: Sequence[str] = (),
        output_columns: Sequence[str] | None = None,
        batch_size: int | None = None,
        accept_changes: bool = False,
        auxiliary: bool = False,
    ) -> Any:
        """Predict for rows, which need no labels.

        For files, write predictions, after ``reserved_columns`` of the input, to a file or folder;
        the number of rows. For a frame, return the outputs of its rows in their order and in the
        same kind of container, after the columns ``keep``. ``output_columns``: the outputs to give.
        None: all of them, those of auxiliary towers only with ``auxiliary``.
        """
        given = None if output_columns is None else names(output_columns)
        choose = partial(chosen_outputs, given=given, auxiliary=auxiliary)
        how = {"checkpoint_path": _checkpoint(checkpoint_path), "accept_changes": accept_changes}
        if not is_path(predict_input_path):
            check_for_frame(predict_output_path, reserved_columns)
            return self._predict_frame(predict_input_path, names(keep), choose, batch_size, **how)
        check_for_files(predict_output_path, keep)
        output = local(predict_output_path, "--predict_output_path")
        check_form(output, "--predict_output_path")
        session, _ = self._restored(**how)
        loader = session.loader(
            predict_input_path,
            "--predict_input_path",
            (),
            reserved=names(reserved_columns),
            batch_size=batch_size,
        )
        inputs = [*loader.source.files, *session.inputs()]
        world = session.runtime.world
        with PredictionWriter(output, inputs, world) as writer:
            write_predictions(session.batches(loader), session.outputs, writer, choose(session))
        return sum(world.gather(writer.num_rows))

    def _predict_frame(
        self,
        rows: Any,
        keep: Sequence[str],
        choose: Callable[[Session], Sequence[str] | None],
        batch_size: int | None,
        **how: Any,
    ) -> Any:
        frame = Frame.of(rows, "predict", may_be_empty=True)
        check_kept(frame, keep)
        session, restored = self._restored(**how, frames=[frame])
        loader = session.loader(frame.path, "--predict_input_path", (), batch_size=batch_size)
        check_kinds(loader, restored)
        outputs = predictions(session, loader, choose(session), keep)
        return filled(frame, outputs, keep)

    def __setstate__(self, state: dict[str, Any]) -> None:
        modules = state["config"].modules
        vars(self).update(state, config=replace(state["config"], rules=rules(modules)))

    def _training(self, frames: Sequence[Frame] = ()) -> Session:
        needs = ("train_input_path", "model_dir")
        return self._started(frames, needs=needs, trains=True)

    def _trained(
        self,
        checkpoint_path: str | None,
        *needs: str,
        whole: bool = False,
        frames: Sequence[Frame] = (),
    ) -> Session:
        needed = needs if checkpoint_path else (*needs, "model_dir")
        session = self._started(frames, needs=needed, whole=whole)
        session.read_as(Path(checkpoint_path or session.model_dir))
        return session

    def _restored(
        self, checkpoint_path: str | None, *, accept_changes: bool, frames: Sequence[Frame] = ()
    ) -> tuple[Session, Checkpoint]:
        """A session with the weights of a checkpoint, for predictions."""
        session = self._trained(checkpoint_path, frames=frames)
        restored = session.restore(Path(checkpoint_path or session.model_dir))
        report.report_changes(session, restored, report.READING, accepts=accept_changes)
        return session, restored

    def _started(self, frames: Sequence[Frame], **how: Any) -> Session:
        by_path = {frame.path: frame for frame in frames}
        config = self.config.reading(paths_of(frames))
        return Session.start(config, device=self.device, frames=by_path, **how)


def load_run(
    model_dir: str | Path, *, device: str | None = None, allow_modules: str | Sequence[str] = ()
) -> Pipeline:
    """The pipeline of a run, from its model_dir, wherever that lies now: ``evaluate``, ``predict``
    and ``export`` use its weights. Frames that it was trained on are not stored.

    Raises:
        ConfigError: the folder holds no run, or its config has faults.
    """
    model_dir = Path(local(model_dir, "model_dir"))
    config = model_dir / "pipeline.config"
    if not config.is_file():
        words = f"{model_dir} holds no pipeline.config; give the folder of a run"
        raise ConfigError.at("model_dir", words)
    settings = {"model_dir": str(model_dir)}
    return Pipeline.load(config, settings=settings, device=device, allow_modules=allow_modules)
