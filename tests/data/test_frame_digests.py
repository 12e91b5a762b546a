"""The digest of a frame follows its content, and nothing else."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from containers import CONTAINERS
from e2e import tiny

from tzmmoe.data.frames import frame
from tzmmoe.data.frames.frame import Frame
from tzmmoe.data.recorded import Fate, FileRecords, fate, from_json, to_json

ROWS = tiny.rows(0, 90)


def digest(rows: object) -> str:
    return Frame.of(rows, "train").digest


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_same_rows_have_one_digest_in_every_container(container) -> None:
    assert digest(CONTAINERS[container](ROWS)) == digest(ROWS)


def test_neither_an_index_nor_the_order_of_columns_nor_a_name_plays_a_role() -> None:
    data = ROWS.to_pandas()
    mixed = data[[*data.columns[::-1]]].set_index(np.arange(90)[::-1])
    assert digest(mixed) == digest(data) == Frame.of(data, "eval").digest


@pytest.mark.parametrize("name", ROWS.schema.names)
@pytest.mark.parametrize("row", [0, 44, 89])
def test_another_value_in_any_cell_gives_another_digest(name, row) -> None:
    columns = ROWS.to_pydict()
    before = columns[name][row]
    columns[name][row] = "other" if isinstance(before, str) or name == "city" else 77
    assert before != columns[name][row]
    assert digest(columns) != digest(ROWS)


def test_rows_in_another_order_or_number_and_other_names_give_another_digest() -> None:
    others = [
        ROWS.slice(0, 89),
        ROWS.take(pa.array([*range(88), 89, 88])),
        ROWS.rename_columns([name.replace("price", "cost") for name in ROWS.schema.names]),
        ROWS.drop_columns(["price"]),
        pa.concat_tables([ROWS, ROWS.slice(0, 1)]),
    ]
    assert len({digest(rows) for rows in [ROWS, *others]}) == 6


def test_a_value_and_the_lack_of_one_differ_even_where_the_values_hash_alike() -> None:
    assert digest({"a": [0, None]}) != digest({"a": [None, 0]})


def test_a_digest_of_many_rows_covers_stretches_from_the_first_row_to_the_last(
    monkeypatch,
) -> None:
    """Of 1,000 rows 64 in 8 stretches: a column that is new in full is always noticed, and a cell
    if it lies in one of them."""
    monkeypatch.setattr(frame, "SAMPLE_ROWS", 64)
    monkeypatch.setattr(frame, "STRETCH_ROWS", 8)
    values = np.arange(1000)
    before, noticed = digest({"x": values}), set()
    for row in range(1000):
        changed = values.copy()
        changed[row] = -1
        if digest({"x": changed}) != before:
            noticed.add(row)
    assert len(noticed) == 64
    assert {0, 7, 992, 999} <= noticed
    gaps = np.diff(sorted(noticed))
    assert gaps.max() <= 1000 / 7
    assert digest({"x": values + 1}) != before


def test_a_column_whose_type_has_no_hash_counts_by_its_name() -> None:
    structs = pa.table({"s": pa.array([{"a": 1}]), "x": [1]})
    assert digest(structs) != digest(structs.drop_columns(["s"]))
    assert digest(structs) != digest(structs.set_column(1, "x", pa.array([2])))


def test_a_record_of_a_frame_survives_being_saved_and_tells_what_became_of_it() -> None:
    one, other = Frame.of(ROWS, "train"), Frame.of(ROWS.slice(1), "train")
    records = FileRecords([one.path], stat=lambda _: one.record()).until([one.path], {one.path})
    [(name, saved)] = from_json(to_json(records)).items()
    assert name == "memory:train"
    assert saved.is_read
    assert fate(name, saved, lambda _: one.record())[0] is Fate.SAME
    assert fate(name, saved, lambda _: other.record())[0] is Fate.OTHER
    assert "90 rows" in str(saved)


def test_infinities_and_extremes_have_digests_of_their_own() -> None:
    extremes = [0.0, 1e308, -1e308, np.inf, -np.inf, 5e-324, np.nan]
    found = {digest(pd.DataFrame({"x": [1.0, each]})) for each in extremes}
    assert len(found) == len(extremes)
