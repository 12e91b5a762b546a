"""Where rows of CSV files begin, by the standard library's reader and by Arrow's."""

import csv as standard
import io
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyarrow import csv

from tzmmoe.data.reading.lines import (
    STRIDE,
    Index,
    QuoteFault,
    Quoting,
    line_ends,
    line_number,
    row_blocks,
)

PIECES = st.lists(st.sampled_from(["a", "bc", ",", '"', "\n", "\r\n", "\r", "\\", " "]), max_size=8)
CELLS = PIECES.map("".join)
TABLES = st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=12)
DIALECTS = {
    "DOUBLED": {"quoting": standard.QUOTE_ALL},
    "ESCAPED": {"quoting": standard.QUOTE_ALL, "doublequote": False, "escapechar": "\\"},
    "OFF": {"quoting": standard.QUOTE_NONE, "quotechar": None},
}


def written(table: list[list[str]], word: str, line_end: str) -> bytes:
    text = io.StringIO(newline="")
    if word == "OFF":  # nothing can be quoted, so a cell holds no delimiter or line break
        table = [[c.translate({ord(m): "x" for m in ",\r\n"}) for c in row] for row in table]
        return "".join(",".join(row) + line_end for row in table).encode()
    standard.writer(text, lineterminator=line_end, **DIALECTS[word]).writerows(table)
    return text.getvalue().encode()


def blocks(data: bytes, size: int) -> Callable[[int], bytes]:
    """A reader of ``data`` that gives at most ``size`` bytes at once."""
    stream = io.BytesIO(data)
    return lambda most: stream.read(min(most, size))


@settings(deadline=None, max_examples=200)
@given(
    TABLES,
    st.sampled_from(list(DIALECTS)),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(2, 40),
)
def test_rows_are_those_of_the_standard_librarys_writer_whatever_the_blocks(
    table, word, line_end, size
) -> None:
    data = written(table, word, line_end)
    quoting = Quoting(word, ",")
    # Rows begin where the text of the rows before them ends.
    begins = [len(written(table[:row], word, line_end)) for row in range(len(table) + 1)]
    assert [0, *quoting.row_ends(data, is_last=True).tolist()] == begins
    assert Index.of(blocks(data, size), size, quoting).num_rows == len(table)
    assert b"".join(row_blocks(blocks(data, size), size, quoting, 2)) == data


@settings(deadline=None, max_examples=200)
@given(TABLES, st.sampled_from(["DOUBLED", "ESCAPED"]), st.integers(2, 40))
@example([["a\r\n", "b"]], "DOUBLED", 4)
def test_no_block_ends_between_a_carriage_return_and_its_line_feed(table, word, size) -> None:
    data = written(table, word, "\r\n")
    parts = list(row_blocks(blocks(data, size), size, Quoting(word, ","), 2))
    places = np.cumsum([len(part) for part in parts])[:-1]
    assert all(data[place - 1 : place + 1] != b"\r\n" for place in places)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(["a", "1", ",", "\n", "\r\n", "\r", 'b"', '"a"']), max_size=30))
def test_lines_with_quotes_within_cells_are_arrows_rows(pieces) -> None:
    """Also lines of other line breaks, empty ones and a last one without its end."""
    data = ("h\n" + "".join(pieces)).encode()
    try:
        quoted = Quoting("DOUBLED", "\x01")
        count = Index.of(io.BytesIO(data).read, 1 << 20, quoted).num_rows
    except QuoteFault:
        return
    parse = csv.ParseOptions(delimiter="\x01", newlines_in_values=True)
    assert csv.read_csv(pa.py_buffer(data), parse_options=parse).num_rows == count - 1


@pytest.mark.parametrize(
    ("text", "begin", "reason"),
    [
        ('a,b\n1,"x" y\n', 6, "text after"),
        ('a,b\n1,"x\n2,"y\n', 6, "text after"),
        ('a,b\n"1,x\n2,y\n', 4, "never closed"),
        ('a,b\n1,"x\n2,y"\n', 6, "2 lines"),
        ('a,b\n1,5" x\n2,"y\n', 13, "never closed"),
    ],
)
@pytest.mark.parametrize("size", [3, 5, 1 << 20])
def test_a_stray_quote_is_found_at_its_place(text, begin, reason, size) -> None:
    data = text.encode()
    with pytest.raises(QuoteFault, match=reason) as caught:
        list(row_blocks(blocks(data, size), size, Quoting("DOUBLED", ",", is_chosen=True), 2))
    assert caught.value.begin == begin


@pytest.mark.parametrize(
    "text", ['a,b\n1,5" x\n2,6" y\n', 'a,b\n"1\n2","x\n\ny"\n', 'a,b\n"",""""\n']
)
def test_quotes_that_enclose_cells_or_stand_within_them_are_no_fault(text) -> None:
    data = text.encode()
    quoting = Quoting("DOUBLED", ",", is_chosen=True)
    assert b"".join(row_blocks(io.BytesIO(data).read, 4, quoting, 2)) == data


@pytest.mark.parametrize("num_rows", [1, STRIDE - 1, STRIDE, 3 * STRIDE + 7])
def test_an_index_points_at_the_row_that_it_names(num_rows) -> None:
    rows = [f'{row},"{"x" * (row % 5)}\n"\n\n'.encode() for row in range(num_rows)]
    data = b"".join(rows)
    index = Index.of(io.BytesIO(data).read, 1 << 12, Quoting("DOUBLED", ","))
    assert index.num_rows == num_rows
    for row in {0, num_rows // 2, num_rows - 1}:
        first, offset = index.before(row)
        assert first <= row < first + STRIDE
        assert data[offset:].lstrip(b"\n").startswith(b"%d," % first)


@given(st.text("a\r\n", max_size=40), st.integers(1, 7))
def test_lines_are_numbered_as_the_standard_library_counts_them(text, size) -> None:
    data = text.encode()
    for place in range(len(data)):
        before = len((text[:place] + "x").splitlines())
        if text[place - 1 : place + 1] != "\r\n":
            assert line_number(io.BytesIO(data).read, size, place) == before
    assert len(line_ends(data, is_last=True)) == len(text.splitlines())
