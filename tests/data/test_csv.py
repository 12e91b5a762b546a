"""CSV files: texts as they stand, any resume, and errors with file and row."""

import csv as standard
import gzip
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numbered import csv_source

from tzmmoe.data import csv
from tzmmoe.errors import DataError


def write(path: Path, text: str | bytes) -> str:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def rows(file: str, columns: list[str], skip: int = 0, **changes: object) -> list[dict]:
    read = csv_source([file], **changes).read(file, columns, skip)
    return [row for batch in read for row in batch.to_pylist()]


CELLS = st.text(alphabet='ab7 ,"\n|', min_size=1, max_size=6)


@settings(deadline=None, max_examples=80)
@given(
    cells=st.lists(st.tuples(CELLS, CELLS), max_size=30),
    blanks=st.sets(st.integers(0, 29)),
    skip=st.integers(0, 32),
    block=st.sampled_from([64, 100, 1 << 20]),
    compressed=st.booleans(),
)
def test_cells_come_back_as_they_were_written_from_any_row_on(
    cells, blanks, skip, block, compressed
) -> None:
    """Also cells with quotes, delimiters and line ends, among empty lines, block after block."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv, "BLOCK_BYTES", block)
        path = Path(folder) / ("a.csv.gz" if compressed else "a.csv")
        with gzip.open(path, "wt", newline="") if compressed else path.open("w", newline="") as to:
            writer = standard.writer(to, quoting=standard.QUOTE_ALL, lineterminator="\n")
            writer.writerow(["x", "y"])
            for number, row in enumerate(cells):
                writer.writerow(row)
                to.write("\n" * (number in blanks))
        expected = [{"x": x, "y": y} for x, y in cells[skip:]]
        assert rows(str(path), ["x", "y"], skip) == expected
        assert csv_source([str(path)]).num_rows(str(path)) == len(cells)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.bz2", ".csv.zst", ".csv.lz4"])
def test_compression_is_told_by_the_name(tmp_path, suffix) -> None:
    file = str(tmp_path / f"a{suffix}")
    with pa.output_stream(file, compression="detect") as stream:
        stream.write(b"x,y\n1,2\n3,4\n")
    assert rows(file, ["y"]) == [{"y": "2"}, {"y": "4"}]


def test_what_is_no_column_of_a_type_stays_text(tmp_path) -> None:
    """007 stays 007, and an empty cell is a missing value, quoted or not."""
    file = write(tmp_path / "a.csv", 'code,name\n007,NA\n,""\n1e3,null\n')
    assert rows(file, ["code", "name"]) == [
        {"code": "007", "name": "NA"},
        {"code": None, "name": None},
        {"code": "1e3", "name": "null"},
    ]


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("INT32", "7", 7),
        ("INT64", "-9000000000", -9_000_000_000),
        ("FLOAT", "0.5", 0.5),
        ("DOUBLE", "1e300", 1e300),
        ("STRING", "007", "007"),
        ("BOOL", "true", True),
        (None, "007", "007"),
    ],
)
def test_a_column_of_a_type_has_it(tmp_path, kind, cell, value) -> None:
    file = write(tmp_path / "a.csv", f"x,y\n{cell},1\n,2\n")
    assert rows(file, ["x"], types={"x": kind}) == [{"x": value}, {"x": None}]


def test_a_cell_that_is_not_of_its_columns_type_is_told_with_its_row(tmp_path) -> None:
    file = write(tmp_path / "a.csv", "x\n1\n2\nthree\n")
    with pytest.raises(DataError, match=r"a\.csv: cannot be read: .*Row #4: .*'three'"):
        rows(file, ["x"], types={"x": "INT64"})


@pytest.mark.parametrize("line", ["3", "3,4,5"])
def test_a_row_with_too_few_or_too_many_cells_is_told(tmp_path, line) -> None:
    file = write(tmp_path / "a.csv", f"x,y\n1,2\n{line}\n5,6\n")
    with pytest.raises(DataError, match=r"a\.csv: cannot be read: .*Row #3: Expected 2 columns"):
        rows(file, ["x"])


def test_without_header_the_names_come_from_the_config(tmp_path) -> None:
    file = write(tmp_path / "a.csv", "1,2\n3,4\n")
    plain = {"with_header": False, "names": ("x", "y")}
    assert rows(file, ["y", "x"], **plain) == [{"y": "2", "x": "1"}, {"y": "4", "x": "3"}]
    assert rows(file, ["y"], 1, **plain) == [{"y": "4"}]


def test_without_header_equal_cells_in_the_first_line_are_no_columns_of_one_name(tmp_path) -> None:
    file = write(tmp_path / "a.csv", "5,5\n6,7\n")
    assert rows(file, ["y"], with_header=False, names=("x", "y")) == [{"y": "5"}, {"y": "7"}]


def test_a_file_to_predict_for_may_lack_all_labels_and_weights(tmp_path) -> None:
    file = write(tmp_path / "a.csv", "1,2\n")
    names = {"names": ("click", "x", "weight", "y"), "targets": ("click", "weight")}
    assert rows(file, ["x", "y"], with_header=False, **names) == [{"x": "1", "y": "2"}]


def test_names_that_do_not_fit_the_number_of_columns_are_an_error(tmp_path) -> None:
    file = write(tmp_path / "a.csv", "1,2\n")
    with pytest.raises(DataError, match=r"a\.csv: has 2 columns, but .*input_fields names 3"):
        rows(file, ["x"], with_header=False, names=("x", "y", "z"))


def test_no_header_and_no_names_are_an_error_that_tells_both_ways_out(tmp_path) -> None:
    with pytest.raises(DataError, match=r"input_fields .*with_header: true"):
        csv_source([write(tmp_path / "a.csv", "1,2\n")], with_header=False)


def test_any_character_may_delimit(tmp_path) -> None:
    file = write(tmp_path / "a.tsv", "x\ty\n1,5\t2\n")
    assert rows(file, ["x", "y"], delimiter="\t") == [{"x": "1,5", "y": "2"}]


def test_a_mark_of_byte_order_and_line_ends_of_windows_are_no_part_of_the_data(tmp_path) -> None:
    file = write(tmp_path / "a.csv", b"\xef\xbb\xbfx,y\r\n1,2\r\n3,4\r\n")
    assert rows(file, ["x", "y"], 1) == [{"x": "3", "y": "4"}]


def test_bytes_that_are_no_utf8_are_told_with_their_row(tmp_path) -> None:
    file = write(tmp_path / "a.csv", b"x,y\n1,a\n2,\xff\n")
    with pytest.raises(DataError, match=r"a\.csv: cannot be read: .*Row #3: .*UTF8"):
        rows(file, ["y"])


def test_a_header_alone_is_a_file_of_no_rows(tmp_path) -> None:
    file = write(tmp_path / "a.csv", "x,y\n")
    assert rows(file, ["x"]) == rows(file, ["x"], 3) == []


def test_rows_without_columns_are_still_counted(tmp_path) -> None:
    file = write(tmp_path / "a.csv", "x,y\n1,2\n3,4\n5,6\n")
    batches = csv_source([file]).read(file, [], 1)
    assert sum(batch.num_rows for batch in batches) == 2


def test_a_file_that_cannot_be_read_is_named(tmp_path) -> None:
    whole = gzip.compress(b"x,y\n" + b"1,2\n" * 100_000)
    contents = {
        "empty.csv": b"",
        "cut.csv.gz": whole[: len(whole) // 2],
        "plain.csv.gz": b"x,y\n1,2\n",
    }
    for name, content in contents.items():
        with pytest.raises(DataError, match=rf"{name}: cannot be read: \w"):
            rows(write(tmp_path / name, content), ["x"])


def test_a_column_that_is_not_there_and_one_that_is_there_twice_are_both_named(tmp_path) -> None:
    file = write(tmp_path / "a.csv", "click,x,x\n1,2,3\n")
    with pytest.raises(DataError) as caught:
        rows(file, ["clik", "x"])
    assert str(caught.value).splitlines() == [
        f"{file}: no column 'clik'; did you mean 'click'?",
        f"{file}: 2 columns 'x'; names must differ",
    ]


def test_memory_stays_bounded_while_a_large_file_is_read(tmp_path) -> None:
    """32 MB of cells in a small compressed file, 64 KB at a time."""
    with gzip.open(tmp_path / "a.csv.gz", "wb", compresslevel=1) as to:
        to.write(b"x,y\n")
        for _ in range(32):
            to.write(b"0123456789,0123456789\n" * 47_662)
    file = str(tmp_path / "a.csv.gz")
    before, most = pa.total_allocated_bytes(), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv, "BLOCK_BYTES", 1 << 16)
        for _ in csv_source([file]).read(file, ["x", "y"], 0):
            most = max(most, pa.total_allocated_bytes() - before)
    assert most < 32_000_000 / 4
