"""Reports what differs from a checkpoint: as an error, a warning if accepted, or a note."""

import logging
from collections.abc import Collection, Sequence

from tzmmoe.build.changes import Change, Kind, changes
from tzmmoe.errors import CheckpointError
from tzmmoe.run.changes.files import FileChanges
from tzmmoe.run.session import Session
from tzmmoe.system.checkpoint import Checkpoint

log = logging.getLogger(__name__)

# Of which kinds a command notes changes, beside those that are errors.
RESUMING = (Kind.RESULTS, Kind.LEARNING)
EVALUATING = (Kind.RESULTS,)
READING: tuple[Kind, ...] = ()  # weights only: exports and predictions
NEW_START = "start a new model_dir with --fine_tune_checkpoint"


class ChangedError(CheckpointError):
    """The config or the files differ from those that a checkpoint was trained with."""


def report_changes(
    session: Session,
    saved: Checkpoint,
    notes: Collection[Kind],
    *,
    accepts: bool,
    files: FileChanges | None = None,
) -> None:
    """Tell what differs between a session and its checkpoint, whose weights fit. ``files``: what
    became of those that it has read; ``accepts``: neither files that changed nor settings that
    change the meaning of weights are an error.

    Raises:
        ChangedError: all that is one.
    """
    found, files = _found(session, saved), files or FileChanges()
    lines = {kind: [change.line for change in found if change.kind is kind] for kind in Kind}
    shapes, meanings = lines[Kind.SHAPE], [*lines[Kind.MEANING], *files.errors]
    if shapes:
        raise ChangedError(
            f"{saved.path} was trained with other layers:{_listed(shapes)}\n{misfit_advice(saved)}"
        )
    if meanings and not accepts:
        raise ChangedError(
            f"{saved.path} was trained with {_what(lines[Kind.MEANING], files.errors)}:"
            f"{_listed(meanings)}\nrestore what differs, {NEW_START}, or pass --accept_changes to "
            "continue anyway"
        )
    if meanings:
        log.warning("continuing despite changes since %s:%s", saved.path, _listed(meanings))
    if noted := [change.line for change in found if change.kind in notes]:
        log.info("the config differs from that of %s:%s", saved.path, _listed(noted))
    if files.notes:
        log.info("files that differ from those of %s:%s", saved.path, _listed(files.notes))
    for line in files.doubts:
        log.warning("%s", line)


def misfit_advice(saved: Checkpoint) -> str:
    """What to do if the weights of a checkpoint do not fit the model."""
    return (
        f"restore these settings, or {NEW_START} and train_config.partial_restore: true, which "
        f"takes what fits from {saved.path}"
    )


def _what(settings: Sequence[str], files: Sequence[str]) -> str:
    parts = [
        *(["settings that give values or weights a different meaning"] if settings else []),
        *(["files that have changed"] if files else []),
    ]
    return ", and with ".join(parts)


def _listed(lines: Sequence[str]) -> str:
    return "".join(f"\n  {line}" for line in lines)


def _found(session: Session, saved: Checkpoint) -> list[Change]:
    """What differs in the config; nothing if the saved one cannot be read."""
    built = session.built
    read = {feature.name for feature in (*built.features, *built.helpers)}
    file = saved.path / "pipeline.config"
    try:
        return changes(file.read_text(encoding="utf-8"), session.settings.text, read)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        log.warning("%s cannot be compared with the config: %s", file, reason)
        return []
