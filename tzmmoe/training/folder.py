"""The model_dir of a run: the checkpoint that is in it, and that no other run has it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tzmmoe import checkpoint
from tzmmoe.errors import CheckpointError
from tzmmoe.lock import locked


def newest(model_dir: Path, *, goes_on: bool) -> Path | None:
    """The checkpoint to go on from. Raises CheckpointError when there is one unasked."""
    found = checkpoint.find(model_dir)
    if found and not goes_on:
        raise CheckpointError(
            f"{model_dir} holds {found[-1].name}; pass --continue_train to go on from it, or "
            "name another --model_dir"
        )
    return found[-1] if found else None


def begun(model_dir: Path, *, goes_on: bool) -> Path | None:
    """As ``newest``, of a model_dir that no other run has at this moment; its checkpoints would be
    none to go on from. Raises CheckpointError if one has."""
    if model_dir.is_dir():
        with locked(model_dir):
            pass
    return newest(model_dir, goes_on=goes_on)


@contextmanager
def own(model_dir: Path, found: Path | None) -> Iterator[None]:
    """Keep other runs out of the model_dir, whose newest checkpoint is still ``found``.

    Raises:
        CheckpointError: another run has it, or wrote a checkpoint since.
    """
    model_dir.mkdir(parents=True, exist_ok=True)
    with locked(model_dir):
        if newest(model_dir, goes_on=True) != found:
            raise CheckpointError(f"{model_dir}: another run wrote a checkpoint meanwhile")
        checkpoint.clear_leftovers(model_dir)
        yield
