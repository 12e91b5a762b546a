"""The outcome of reading a file: all its rows as a model gets them, or an error for the user."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from e2e import tiny

from tzmmoe.errors import DataError
from tzmmoe.run.session import Session


@dataclass(frozen=True)
class Read:
    """The cells of the column ``row``, and a digest of everything that the rows were encoded as."""

    rows: list
    digest: str


def opened(folder: Path, name: str) -> Session:
    """The tiny config, adapted to the kind of file that the name stands for."""
    header = "true" if ".csv" in name else "false"
    changes = {"data_config__num_workers": 0, "data_config__with_header": header}
    return tiny.session(folder, **changes)


def reading(session: Session, file: Path) -> Read | DataError:
    """Any other error is a bug of ours, and so is an error that does not name the file."""
    try:
        return _read(session, file)
    except DataError as error:
        raised = error
    assert str(file) in str(raised)
    assert str(raised).removeprefix(str(file)).strip(" :,\n"), "only the name"
    return raised


def _read(session: Session, file: Path) -> Read:
    columns = session.built.tasks.columns()
    loader = session.loader(str(file), "--train_input_path", columns, reserved=["row"])
    digest, rows = hashlib.sha256(), []
    for batch in loader.once():
        rows += batch.reserved.column("row").to_pylist()
        parts = [batch.inputs.numbers, *(batch.columns[name] for name in sorted(batch.columns))]
        for width in sorted(batch.inputs.ids):
            ragged = batch.inputs.ids[width]
            parts += [ragged.values, ragged.lengths, ragged.weights]
        for part in parts:
            digest.update(b"-" if part is None else part.numpy().tobytes())
    return Read(rows, digest.hexdigest())
