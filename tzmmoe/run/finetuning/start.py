"""The weights that a new run starts from."""

import logging
from pathlib import Path

from tzmmoe.run import state
from tzmmoe.run.finetuning import mapped, partial_restore
from tzmmoe.run.session import Session

log = logging.getLogger(__name__)


def take_weights(session: Session) -> None:
    """Take the weights of train_config.fine_tune_checkpoint if that is set, or their averages if it
    has them, and log which.

    Raises:
        CheckpointError: it does not fit.
    """
    training, model = session.settings.training, session.built.model
    if not training.fine_tune_checkpoint:
        return
    path = Path(training.fine_tune_checkpoint)
    if training.fine_tune_ckpt_param_map:  # joins two models, whatever their fingerprints
        mapping = mapped.read_map(Path(training.fine_tune_ckpt_param_map))
        log.info("%s", mapped.take_mapped(session.opened(path), model, mapping))
    elif training.partial_restore:
        log.info("%s", partial_restore.restore_partially(session.opened(path), session.built))
    else:
        log.info("%s", _take_all(session, path))


def _take_all(session: Session, path: Path) -> str:
    hint = "to take what fits and list the rest, set train_config.partial_restore: true"
    with state.advising(hint):
        saved = session.matching_checkpoint(path)
        with state.explained(saved, session.settings.text):
            return mapped.take_all(saved, session.built.model)
