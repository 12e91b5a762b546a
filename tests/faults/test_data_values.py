"""Values of every kind in columns of every role: they work, or an error names their place."""

import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faults.odd_values import COLUMNS, FLOATS, TEXTS
from faults.roles import ROLES, good_texts, learn, session, write

from tzmmoe.errors import DataError, UserError
from tzmmoe.init import main as init
from tzmmoe.run.session import Session
from tzmmoe.serving.predictions import PredictionWriter, write_predictions

NUM_ROWS = 12
LONG = pytest.mark.long


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Session]:
    folder = tmp_path_factory.mktemp("roles")
    return {kind: session(folder, kind) for kind in ("parquet", "csv")}


def outcome(session: Session, file: Path) -> DataError | None:
    """The error that the user sees, None if all rows pass. Any other error is a bug of ours."""
    try:
        rows = learn(session, file)
    except DataError as error:
        return error
    assert rows == NUM_ROWS
    return None


def reported_row(error: DataError, file: Path, column: str) -> int | None:
    """The row that the message names, counted from 1, None if it is the column's type."""
    found = re.match(rf"{re.escape(str(file))}(?:, row (\d+))?, column '{column}'[: ]", str(error))
    assert found, error
    return found[1] and int(found[1])


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=LONG) for seed in range(1, 3))])
@pytest.mark.parametrize("role", ROLES)
def test_a_column_of_any_type_works_in_its_role_or_is_reported(
    sessions, tmp_path, role, seed
) -> None:
    outcomes: Counter = Counter()
    for number, (name, draw) in enumerate(COLUMNS.items()):
        random = np.random.default_rng([seed, number])
        array = draw(random, NUM_ROWS)
        file = write({**good_texts(NUM_ROWS), role: array}, tmp_path / "typed.parquet")
        error = outcome(sessions["parquet"], file)
        row = error and reported_row(error, file, role)
        assert row is None or 1 <= row <= NUM_ROWS, (name, error)
        outcomes["works" if error is None else "type" if row is None else "row"] += 1
    assert outcomes["works"] or role == "weight", "of which none may be missing"
    assert outcomes["type"], "dates and structs are no values, labels or groups"


PARTS = [pytest.param(part, marks=LONG if part else ()) for part in range(4)]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["csv", "parquet", "dictionary"])
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("part", PARTS)
def test_one_odd_text_among_good_ones_works_or_is_reported_with_its_row(
    sessions, tmp_path, role, kind, part
) -> None:
    suffix = "csv" if kind == "csv" else "parquet"
    for number, text in list(enumerate(TEXTS))[part::4]:
        row = number % NUM_ROWS
        columns = good_texts(NUM_ROWS)
        columns[role][row] = text
        if kind == "dictionary":
            columns[role] = pa.array(columns[role]).dictionary_encode()
        file = write(columns, tmp_path / f"planted.{suffix}")
        error = outcome(sessions[suffix], file)
        assert error is None or reported_row(error, file, role) == row + 1, text[:60]


@pytest.mark.parametrize("role", [role for role in ROLES if role not in ("weighted", "three")])
def test_one_odd_number_among_good_ones_works_or_is_reported_with_its_row(
    sessions, tmp_path, role
) -> None:
    for number, value in enumerate([*FLOATS, -1.0, 20.0, 2.0, None]):
        row = number % NUM_ROWS
        cells = [1.0] * row + [value] + [1.0] * (NUM_ROWS - row - 1)
        array = pa.array(cells, pa.float64())
        file = write({**good_texts(NUM_ROWS), role: array}, tmp_path / "planted.parquet")
        error = outcome(sessions["parquet"], file)
        assert error is None or reported_row(error, file, role) == row + 1, value


def same(one: object, other: object) -> bool:
    """Equal, where NaN is itself."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    both = isinstance(one, float) and isinstance(other, float)
    return one == other or (both and math.isnan(one) and math.isnan(other))


def unchecked(cells: list[bytes]) -> pa.Array:
    """Text, as some tools write it: whatever the bytes are."""
    return pa.array(cells, pa.binary()).view(pa.string())


@pytest.mark.parametrize("row", [0, 7, 11])
@pytest.mark.parametrize("form", ["plain", "list", "no dictionary"])
def test_text_that_is_not_utf8_is_reported_with_its_row(sessions, tmp_path, form, row) -> None:
    """The second of two columns, in a file of several row groups."""
    texts = unchecked([b"a"] * row + [b"\xffa"] + [b"a"] * (NUM_ROWS - row - 1))
    if form == "list":
        texts = pa.ListArray.from_arrays(pa.array(range(NUM_ROWS + 1), pa.int32()), texts)
    table = pa.table({**good_texts(NUM_ROWS), "hashed": texts})
    file = tmp_path / "bytes.parquet"
    pq.write_table(table, file, row_group_size=5, use_dictionary=form == "plain")
    error = outcome(sessions["parquet"], file)
    assert error is not None
    assert reported_row(error, file, "hashed") == row + 1


def kept_beside_predictions(session: Session, file: Path, output: Path) -> DataError | None:
    """Write the column ``other`` of a file beside predictions; the error that the user sees."""
    loader = session.loader(str(file), "--in", (), reserved=["other"])
    try:
        with PredictionWriter(output, loader.source.files) as writer:
            write_predictions(loader.once(), session.outputs, writer)
    except DataError as error:
        return error
    return None


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_column_of_any_type_is_kept_beside_predictions_or_reported(
    sessions, tmp_path, suffix
) -> None:
    """In Parquet it comes out as it went in."""
    kept = 0
    for number, (name, draw) in enumerate(COLUMNS.items()):
        array = draw(np.random.default_rng(number), NUM_ROWS)
        file = write({**good_texts(NUM_ROWS), "other": array}, tmp_path / "typed.parquet")
        output = tmp_path / f"out.{suffix}"
        error = kept_beside_predictions(sessions["parquet"], file, output)
        if error:
            assert str(error).startswith(f"{output}: "), name
            assert "'other'" in str(error), name
            continue
        kept += 1
        if suffix == "parquet":
            found, wanted = (pq.read_table(each)["other"].to_pylist() for each in (output, file))
            assert same(found, wanted), name
    assert kept > len(COLUMNS) / 2


def drafting(flags: list[str]) -> str | None:
    """The error that the user sees, None if there is a draft."""
    try:
        init(flags)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("as_label", [False, True])
def test_a_config_is_drafted_for_a_column_of_any_type_or_it_is_reported(tmp_path, as_label) -> None:
    drafted = 0
    for number, (name, draw) in enumerate(COLUMNS.items()):
        array = draw(np.random.default_rng(number), NUM_ROWS)
        file = write({**good_texts(NUM_ROWS), "other": array}, tmp_path / "typed.parquet")
        out = tmp_path / f"{number}.config"
        label = "other" if as_label else "binary"
        message = drafting([*("--data", str(file)), *("--labels", label), *("--out", str(out))])
        assert message is None or "other" in message, name
        drafted += message is None
    assert drafted > (0 if as_label else len(COLUMNS) / 2)
