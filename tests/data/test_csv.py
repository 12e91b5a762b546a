"""CSV files: text as written, resuming anywhere, and errors with file and row."""

import csv as standard
import gzip
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import fails, says
from numbered import csv_source

from tzmmoe.data.reading import csv
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
        assert rows(str(path), ["x", "y"], skip, quoting="DOUBLED") == expected
        assert csv_source([str(path)]).num_rows(str(path)) == len(cells)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.bz2", ".csv.zst", ".csv.lz4"])
def test_the_suffix_decides_the_compression(tmp_path, suffix) -> None:
    file = str(tmp_path / f"a{suffix}")
    with pa.output_stream(file, compression="detect") as stream:
        stream.write(b"x,y\n1,2\n3,4\n")
    assert rows(file, ["y"]) == [{"y": "2"}, {"y": "4"}]


def test_a_column_without_a_type_stays_text(tmp_path) -> None:
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


def message(file: str, columns: list[str], **changes: object) -> str:
    """The message that reading fails with, without the folder."""
    with pytest.raises(DataError) as caught:
        rows(file, columns, **changes)
    return str(caught.value).replace(f"{Path(file).parent}/", "")


@pytest.fixture(params=[1, 4], ids="threads {}".format)
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """Arrow with so many threads: with several, its errors lack the row."""
    before = pa.cpu_count()
    pa.set_cpu_count(request.param)
    yield
    pa.set_cpu_count(before)


@pytest.mark.parametrize(
    ("kind", "cell"),
    [("INT32", "three"), ("INT64", "it's '3'"), ("FLOAT", "1,5"), ("DOUBLE", "x"), ("BOOL", "no")],
)
@pytest.mark.parametrize("header", [True, False])
def test_a_cell_that_is_not_of_its_columns_type_is_reported_with_its_row_and_column(
    tmp_path, monkeypatch, threads, kind, cell, header
) -> None:
    """Data rows are numbered from 1, also beyond the first block; empty lines do not count."""
    monkeypatch.setattr(csv, "BLOCK_BYTES", 64)
    good = "a,1\n\n" * 50
    file = write(tmp_path / "a.csv", "x,y\n" * header + good + f'b,"{cell}"\n' + good)
    names = {} if header else {"names": ("x", "y"), "with_header": False}
    found = message(file, ["y"], types={"y": kind}, **names)
    says(found, f"a.csv, row 51, column 'y': {cell!r} ", kind, "input_fields")


@pytest.mark.parametrize(("line", "count"), [("3", 1), ("3,4,5", 3)])
def test_a_row_with_too_few_or_too_many_cells_is_reported(tmp_path, threads, line, count) -> None:
    file = write(tmp_path / "a.csv", f"x,y\n1,2\n{line}\n5,6\n")
    says(message(file, ["x"]), "a.csv, row 2: ", "expected 2", f"got {count}", repr(line))


@pytest.mark.parametrize("columns", [["x"], []])
def test_a_column_that_nothing_reads_may_contain_anything(tmp_path, columns) -> None:
    """Neither its type nor its encoding is looked at, not even to count the rows."""
    file = write(tmp_path / "a.csv", b"free,x\n\xff,1\nthree,2\n")
    source = csv_source([file], types={"free": "INT64"})
    assert source.columns(file) == ["free", "x"]
    assert source.num_rows(file) == 2
    assert sum(batch.num_rows for batch in source.read(file, columns, 0)) == 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
@pytest.mark.parametrize("text", ["x,y\n1,2\n", "x\n1\n"])
def test_a_file_in_utf16_is_rejected_with_the_remedy(tmp_path, encoding, suffix, text) -> None:
    content = (text if encoding == "utf-16" else f"\ufeff{text}").encode(encoding)
    packed = gzip.compress(content) if suffix.endswith("gz") else content
    file = write(tmp_path / f"a{suffix}", packed)
    says(message(file, ["x"]), f"a{suffix}: ", "UTF-16", "UTF-8")


def test_column_names_that_are_not_utf8_are_reported(tmp_path) -> None:
    file = write(tmp_path / "a.csv", b"caf\xe9,y\n1,2\n")
    says(message(file, ["y"]), "a.csv: ", "first line", "save the file as UTF-8")


def test_a_quote_that_is_never_closed_is_reported_with_its_line(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(csv, "BLOCK_BYTES", 1 << 10)
    file = write(tmp_path / "a.csv", "x,y\n\n" + "3,4\n" * 700 + '1,"2\n' + "3,4\n" * 1000)
    says(
        message(file, ["x"], quoting="DOUBLED"), "a.csv, line 703: ", "never closed", "quoting: OFF"
    )


@pytest.mark.parametrize("mark", [";", "\t", "|", ","])
def test_a_delimiter_that_is_not_the_files_is_reported_with_the_files_own(tmp_path, mark) -> None:
    file = write(tmp_path / "a.csv", f"user_id{mark}item_id{mark}click\n1{mark}2{mark}0\n")
    header = f"user_id{mark}item_id{mark}click"
    found = message(file, ["user_id", "click"], delimiter="\x1d")
    says(found, "a.csv: ", repr(header), "'\\x1d'", f"set data_config.delimiter to {mark!r}")
    bare = {"names": ("user_id", "item_id", "click"), "with_header": False}
    found = message(file, ["user_id"], delimiter="\x1d", **bare)
    says(found, "a.csv: ", "1 column", "lists 3", "set data_config.delimiter")


def test_a_few_of_the_columns_are_named_where_none_comes_close(tmp_path) -> None:
    file = write(tmp_path / "a.csv", "b1,b2,b3,b4,b5,b6,b7\n1,2,3,4,5,6,7\n")
    first, second, columns = message(file, ["xyz", "qrs"]).splitlines()
    says(first, "a.csv: ", "'xyz'")
    says(second, "a.csv: ", "'qrs'")
    says(columns, "a.csv: ", "b1, b2, b3, b4, b5 and 2 more")


def test_without_header_the_names_come_from_the_config(tmp_path) -> None:
    file = write(tmp_path / "a.csv", "1,2\n3,4\n")
    plain = {"with_header": False, "names": ("x", "y")}
    assert rows(file, ["y", "x"], **plain) == [{"y": "2", "x": "1"}, {"y": "4", "x": "3"}]
    assert rows(file, ["y"], 1, **plain) == [{"y": "4"}]


def test_without_header_equal_cells_in_the_first_line_are_not_names(tmp_path) -> None:
    file = write(tmp_path / "a.csv", "5,5\n6,7\n")
    assert rows(file, ["y"], with_header=False, names=("x", "y")) == [{"y": "5"}, {"y": "7"}]


def test_a_header_that_is_read_as_a_row_is_told_by_its_cell(tmp_path) -> None:
    file = write(tmp_path / "a.csv", "x,y\n6,7\n")
    found = message(file, ["y"], types={"y": "DOUBLE"}, with_header=False, names=("x", "y"))
    says(found, "a.csv, row 1, column 'y': 'y' is the name of the column", "with_header: true")


def test_a_file_to_predict_for_may_lack_all_labels_and_weights(tmp_path) -> None:
    file = write(tmp_path / "a.csv", "1,2\n")
    names = {"names": ("click", "x", "weight", "y"), "targets": ("click", "weight")}
    assert rows(file, ["x", "y"], with_header=False, **names) == [{"x": "1", "y": "2"}]


def test_names_that_do_not_fit_the_number_of_columns_are_an_error(tmp_path) -> None:
    file = write(tmp_path / "a.csv", "1,2\n")
    with fails(DataError, "a.csv: ", "2 columns", "data_config.input_fields lists 3", "in order"):
        rows(file, ["x"], with_header=False, names=("x", "y", "z"))


def test_no_header_and_no_names_are_an_error_with_both_remedies(tmp_path) -> None:
    with fails(DataError, "a.csv: ", "data_config.input_fields", "with_header: true"):
        csv_source([write(tmp_path / "a.csv", "1,2\n")], with_header=False)


def test_any_character_may_delimit(tmp_path) -> None:
    file = write(tmp_path / "a.tsv", "x\ty\n1,5\t2\n")
    assert rows(file, ["x", "y"], delimiter="\t") == [{"x": "1,5", "y": "2"}]


def test_byte_order_marks_and_windows_line_ends_are_not_data(tmp_path) -> None:
    file = write(tmp_path / "a.csv", b"\xef\xbb\xbfx,y\r\n1,2\r\n3,4\r\n")
    assert rows(file, ["x", "y"], 1) == [{"x": "3", "y": "4"}]


def test_bytes_that_are_not_utf8_are_reported_with_their_row_and_column(tmp_path, threads) -> None:
    file = write(tmp_path / "a.csv", b"x,y\n1,a\n2,\xff\n")
    says(message(file, ["y"]), "a.csv, row 2, column 'y': ", "save the file as UTF-8")


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
        with fails(DataError, f"{name}: cannot be read: "):
            rows(write(tmp_path / name, content), ["x"])


def test_a_missing_column_and_a_repeated_one_are_both_named(tmp_path) -> None:
    file = write(tmp_path / "a.csv", "click,x,x\n1,2,3\n")
    missing, repeated = message(file, ["clik", "x"]).splitlines()
    says(missing, "a.csv: ", "'clik'", "did you mean 'click'")
    says(repeated, "a.csv: ", "2 columns", "'x'", "rename")


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


@pytest.mark.parametrize("quoting", ["DOUBLED", "ESCAPED", "OFF"])
@pytest.mark.parametrize(
    "header", [",a,b", "a,,b", "a,b,", ",Unnamed: 0,b", "\ufeffa,,", ',"x y",b']
)
def test_columns_without_a_name_are_called_and_read_as_pandas_does(tmp_path, header, quoting):
    file = tmp_path / "x.csv"
    rows = "".join(f"{row},r{row},{row * 7 % 5}\n" for row in range(50))
    if quoting == "OFF":
        header = header.replace('"', "")
    blank = "" if header.startswith("\ufeff") else "\n"
    file.write_text(f"{blank}{header}\n{rows}", encoding="utf-8")
    expected = pd.read_csv(file, dtype=str)
    source = csv_source([str(file)], quoting=quoting)
    assert source.columns(str(file)) == list(expected.columns)
    table = pa.Table.from_batches(source.read(str(file), list(expected.columns), 0))
    assert table.to_pydict() == expected.to_dict("list")
    skipped = pa.Table.from_batches(source.read(str(file), [expected.columns[0]], 20))
    assert skipped.num_rows == source.num_rows(str(file)) - 20


def test_a_bad_row_below_a_header_without_names_has_its_number(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text(",a\n1,2\n3,4,5\n")
    source = csv_source([str(file)])
    with pytest.raises(DataError, match="row 2: expected 2 columns"):
        list(source.read(str(file), ["a"], 0))
