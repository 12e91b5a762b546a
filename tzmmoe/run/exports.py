"""What a run gives to others: the outputs that it predicts, and the weights that it exports, of one
checkpoint or of the best one for each task."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tzmmoe.run import folder
from tzmmoe.run.changes import report
from tzmmoe.run.ends import best_of_tasks
from tzmmoe.run.session import Session
from tzmmoe.serving.exporter import Export, ExportPart
from tzmmoe.serving.seal import Key
from tzmmoe.system.checkpoint import Checkpoint
from tzmmoe.tasks.taskset import TaskSet

log = logging.getLogger(__name__)


def chosen_outputs(
    session: Session, given: Sequence[str] | None, *, auxiliary: bool
) -> Sequence[str] | None:
    """The outputs to predict, those that are ``given``; None: all outputs of all tasks."""
    if auxiliary and given is not None:
        log.warning("auxiliary has no effect with output_columns, which name the outputs")
    served = session.served(auxiliary=auxiliary)
    if given is None and served is not session.built.tasks:
        return served.output_names()
    return given


def export_of(
    session: Session,
    served: TaskSet,
    checkpoint_path: str | None,
    key: Key | None,
    said: Callable[[str], str],
    *,
    accepts: bool,
) -> Export:
    """The model with the weights of ``checkpoint_path`` or, without it, of what export_config
    selects; ``served``: the tasks that have outputs. ``said``: a message in the caller's words.
    ``accepts``: changed meanings are a warning."""
    tasks: dict[Path, list[str]] = {}  # by their best checkpoint
    if session.settings.export.per_task_best and checkpoint_path is None:
        tasks = folder.best_of_tasks(session.model_dir, best_of_tasks(served))
    elif session.settings.export.per_task_best:
        words = "export_config.per_task_best has no effect with --checkpoint_path"
        log.warning("%s", said(words))
    opened = [session.restore(path) for path in tasks or [_source(session, checkpoint_path)]]
    for each in opened:
        report.report_changes(session, each, report.READING, accepts=accepts)
    built = session.built
    return Export(
        model=built.model,
        tasks=served,
        parts=_parts(session, served, list(zip(opened, tasks.values(), strict=False))),
        features=built.features,
        helpers=built.helpers,
        specs=built.specs,
        setting=built.setting,
        reading=session.reading,
        config=session.settings.text,
        quality=opened[-1].state.get("quality"),
        key=key,
    )


def _source(session: Session, checkpoint_path: str | None) -> Path:
    if checkpoint_path is None and session.settings.export.exporter_type == "best":
        return folder.best(session.model_dir, session.watch().best)
    return Path(checkpoint_path or session.model_dir)


def _parts(
    session: Session, tasks: TaskSet, opened: Sequence[tuple[Checkpoint, Sequence[str]]]
) -> list[ExportPart]:
    """The programs of an export: for each checkpoint, one of the tasks that it is best for."""
    return [
        ExportPart(
            tasks.part(names, further=place == 0),
            saved.step,
            partial(session.restore_weights, saved, averaged=True),
        )
        for place, (saved, names) in enumerate(opened)
    ]
