"""What comes of reading a file: all its rows as a model gets them, or what the user is told."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from e2e import tiny

from tzmmoe.errors import DataError
from tzmmoe.run.session import Session


@dataclass(frozen=True)
class Read:
    """The cells of the column ``row``, and a digest of all that the rows became."""

    rows: list
    digest: str


def opened(folder: Path, name: str) -> Session:
    """The tiny config for files of a kind, which the name tells."""
    header = "true" if ".csv" in name else "false"
    changes = {"data_config__num_workers": 0, "data_config__with_header": header}
    return tiny.session(folder, **changes)


def reading(session: Session, file: Path) -> Read | DataError:
    """Any other error is a fault of ours; so is one that does not name the file."""
    try:
        return _read(session, file)
    except DataError as error:
        found = error
    assert str(file) in str(found)
    assert str(found).removeprefix(str(file)).strip(" :,\n"), "only the name"
    return found


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
