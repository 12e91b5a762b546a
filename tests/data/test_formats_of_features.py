"""Features whose fields say how their cells are written, through the code that reads every row."""

import pyarrow as pa
import pytest
from assembled import encoded, id_text, ids_of

from tzmmoe.errors import DataError

SIZE = "num_buckets: 3000"


@pytest.mark.parametrize("coded", [False, True])
def test_cells_become_the_values_that_their_fields_describe(coded: bool) -> None:
    columns = {
        "l": ["[1, 2]", "[]", None, "[7]", "[7]"],
        "d": ["2024-01-31", "N/A", None, "1999-12-31 23:00", "N/A"],
        "p": ["$1,234.5", "?", None, "-$2", "?"],
    }
    arrays = {
        n: pa.array(c).dictionary_encode() if coded else pa.array(c) for n, c in columns.items()
    }
    texts = [
        id_text("l", more=f"{SIZE} list_format: PRINTED"),
        id_text("d", more=f'{SIZE} date_part: YEAR na_values: "N/A"'),
        'raw_feature { feature_name: "p" default_value: "9" na_values: "?" '
        'number_format { thousands: "," units: "$" } }',
    ]
    batch = encoded(texts, arrays)
    assert ids_of(batch, 0, 2) == [[1, 2], [], [], [7], [7]]
    assert ids_of(batch, 1, 2) == [[2024], [], [], [1999], []]
    assert batch.inputs.numbers[:, 0].tolist() == [1234.5, 9, 9, -2, 9]


def test_a_cell_of_another_form_is_named_with_its_row() -> None:
    text = id_text("d", more=f"{SIZE} date_part: YEAR")
    with pytest.raises(DataError, match=r"row 2, column 'd'.*'soon'.*date_format"):
        encoded([text], {"d": pa.array(["2024-01-31", "soon"])})


@pytest.mark.parametrize("kind", [pa.null(), pa.string(), pa.dictionary(pa.int8(), pa.string())])
def test_rows_may_all_lack_a_value(kind: pa.DataType) -> None:
    texts = [
        id_text("d", more=f"{SIZE} date_part: YEAR"),
        'raw_feature { feature_name: "p" default_value: "9" number_format { decimal: "," } }',
    ]
    batch = encoded(texts, {name: pa.array([None, None], kind) for name in ("d", "p")})
    assert ids_of(batch) == [[], []]
    assert batch.inputs.numbers.tolist() == [[9], [9]]
