"""Signs that a model is measured by what it was told, said before training."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tzmmoe.batch import Column
from tzmmoe.data.frames.frame import Frame
from tzmmoe.errors import few
from tzmmoe.features import Feature

log = logging.getLogger(__name__)


def warn_of_labels(features: Iterable[Feature], columns: Iterable[Column]) -> None:
    """Warn of features that read a label, themselves or as others' helpers."""
    labels = {column.name for column in columns if column.role == "label"}
    for feature in features:
        for origin in feature.origins:
            if origin.kind == "column" and origin.name in labels:
                log.warning(
                    "feature %r reads the column %r, which is a label: the model would be told "
                    "what it is to predict; leave the feature out unless that is meant",
                    feature.name,
                    origin.name,
                )


def warn_of_shared_files(
    training: Sequence[str], evaluation: Sequence[str], field: str, frames: Mapping[str, Frame]
) -> None:
    """Warn of files that are trained on and named by ``field`` too, under whatever names.
    ``frames``: those files that are frames in memory."""
    trained = {_identity(file, frames) for file in training}
    shared = [file for file in evaluation if _identity(file, frames) in trained]
    if shared:
        log.warning(
            "%s names files that are trained on (%s), so its metrics say nothing of new rows; name "
            "other files, or hold rows out with data_config.eval_split",
            field,
            few(shared),
        )


def _identity(file: str, frames: Mapping[str, Frame]) -> tuple[int, int] | str:
    if file in frames:
        return frames[file].digest
    status = Path(file).stat()
    return status.st_dev, status.st_ino
