"""Data files that are cut off, or have a flipped bit: read as before, or an error names them."""

import gzip
import random
import zlib
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from e2e import tiny
from faults.reading import Read, opened, reading
from messages import says

from tzmmoe.errors import DataError
from tzmmoe.run.session import Session

NUM_ROWS = 50
ENDS = 64  # bytes of both ends of a file at which it is cut, one by one


@pytest.fixture(scope="module")
def parquet(tiny_folder: Path) -> Session:
    return opened(tiny_folder, "x.parquet")


@pytest.fixture(scope="module")
def texts(tiny_folder: Path) -> Session:
    return opened(tiny_folder, "x.csv")


def lengths(size: int, stride: int) -> list[int]:
    """At which a file of a size is cut."""
    return sorted({*range(min(ENDS, size)), *range(0, size, stride), *range(size - ENDS, size)})


def write_parquet(file: Path, **how: object) -> bytes:
    """Row groups of 20 rows, each column with a dictionary and a page in each."""
    pq.write_table(tiny.rows(0, NUM_ROWS), file, row_group_size=20, **how)
    return file.read_bytes()


def flipped(content: bytes, place: int, bit: int) -> bytes:
    changed = content[place] ^ (1 << bit)
    return content[:place] + bytes([changed]) + content[place + 1 :]


LONG = pytest.param(1, marks=pytest.mark.long, id="every byte")
STRIDES = pytest.mark.parametrize("stride", [pytest.param(61, id="some bytes"), LONG])


@STRIDES
def test_a_parquet_file_that_was_cut_off_anywhere_is_rejected(parquet, tmp_path, stride) -> None:
    file = tmp_path / "cut.parquet"
    content = write_parquet(file)
    for length in lengths(len(content), stride):
        file.write_bytes(content[:length])
        assert isinstance(reading(parquet, file), DataError), length


@STRIDES
def test_a_compressed_csv_file_that_was_cut_off_anywhere_is_rejected(
    texts, tmp_path, stride
) -> None:
    file = tmp_path / "cut.csv.gz"
    content = gzip.compress(tiny.write(tiny.rows(0, NUM_ROWS), tmp_path / "x.csv").read_bytes())
    for length in lengths(len(content), stride):
        file.write_bytes(content[:length])
        assert isinstance(reading(texts, file), DataError), length


@STRIDES
def test_a_csv_file_that_was_cut_off_is_rejected_where_a_line_lacks_cells(
    texts, tmp_path, stride
) -> None:
    """A cut between two lines, or within the last cell of one, leaves a file like any other."""
    file = tmp_path / "cut.csv"
    content = tiny.write(tiny.rows(0, NUM_ROWS), file).read_bytes()
    width = content.splitlines()[0].count(b",")
    rejected = 0
    for length in lengths(len(content), stride):
        file.write_bytes(content[:length])
        lines = content[:length].splitlines()
        found = reading(texts, file)
        is_whole = lines and lines[-1].count(b",") == width
        if is_whole and isinstance(found, Read):
            assert found.rows == [str(row) for row in range(len(lines) - 1)]
            continue
        rejected += 1
        assert isinstance(found, DataError), length
        if len(lines) > 1 and content[:length].count(b'"') % 2:
            says(found, f"{file}, line {len(lines)}: ", "never closed")
        elif len(lines) > 1 and not is_whole:
            says(found, f"{file}, row {len(lines) - 1}: ", f"expected {width + 1} columns")
    assert rejected > len(lengths(len(content), stride)) / 2


@pytest.mark.parametrize(
    "bit", [0, *(pytest.param(bit, marks=pytest.mark.long) for bit in range(1, 3))]
)
def test_a_flipped_bit_of_a_parquet_file_is_harmless_or_reported_or_another_value(
    parquet, tmp_path, bit
) -> None:
    """Without checksums in the file, wrong values cannot be told from right ones."""
    file = tmp_path / "flipped.parquet"
    content = write_parquet(file)
    right = reading(parquet, file)
    places = random.Random(bit).sample(range(len(content)), 600 if bit == 0 else 2000)
    outcomes: Counter = Counter()
    for place in places:
        file.write_bytes(flipped(content, place, place % 8 ^ bit))
        found = reading(parquet, file)
        outcomes["error" if isinstance(found, DataError) else found == right] += 1
    assert min(outcomes["error"], outcomes[True]) > len(places) / 10, outcomes


def pages(content: bytes) -> Iterator[tuple[int, int]]:
    """Begin and end of what the pages hold, the header left out.

    A header is as long as it must be for the sum that it states to be that of the rest: Thrift
    writes the sum as a varint of a zigzag number.
    """
    metadata = pq.ParquetFile(BytesIO(content)).metadata
    for group in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(place)
            begin = chunk.dictionary_page_offset or chunk.data_page_offset
            edges = [begin, chunk.data_page_offset, begin + chunk.total_compressed_size]
            for start, end in pairwise(edges):
                if start < end:
                    yield _payload(content, start, end), end


def _payload(content: bytes, start: int, end: int) -> int:
    for place in range(start + 10, end + 1):
        if varint(zlib.crc32(content[place:end])) in content[start:place]:
            return place
    raise AssertionError("no sum fits; the page has none, or it is not one page")


def varint(crc: int) -> bytes:
    signed = crc - (1 << 32) if crc >> 31 else crc
    rest = (signed << 1) ^ (signed >> 31)
    found = b""
    while rest >= 128:
        found += bytes([rest & 127 | 128])
        rest >>= 7
    return found + bytes([rest])


@pytest.mark.long
def test_a_flipped_bit_in_a_page_with_a_checksum_is_always_reported(parquet, tmp_path) -> None:
    """In every third byte that the checksums are of."""
    file = tmp_path / "flipped.parquet"
    content = write_parquet(file, write_page_checksum=True)
    assert isinstance(reading(parquet, file), Read)
    found = list(pages(content))
    assert len(found) > 30
    for begin, end in found:
        for place in range(begin, end, 3):
            file.write_bytes(flipped(content, place, place % 8))
            assert isinstance(reading(parquet, file), DataError), place


@pytest.mark.long
def test_outside_of_its_pages_a_file_with_checksums_hardly_ever_gives_other_values(
    parquet, tmp_path
) -> None:
    """The headers of pages and the end of the file have no sum: less than one bit in 300."""
    file = tmp_path / "flipped.parquet"
    content = write_parquet(file, write_page_checksum=True)
    right = reading(parquet, file)
    covered = {place for begin, end in pages(content) for place in range(begin, end)}
    places = sorted(set(range(len(content))) - covered)[::3]
    other = 0
    for place in places:
        file.write_bytes(flipped(content, place, place % 8))
        found = reading(parquet, file)
        other += not isinstance(found, DataError) and found != right
    assert other < len(places) / 300


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 4))]
)
def test_a_flipped_bit_of_a_csv_file_is_reported_or_another_text(
    texts, tmp_path, suffix, seed
) -> None:
    """CSV has no checksums; gzip has one, of all of its content."""
    file = tmp_path / f"flipped{suffix}"
    content = tiny.write(tiny.rows(0, NUM_ROWS), file).read_bytes()
    right = reading(texts, file)
    source = random.Random(seed)
    errors = 0
    for place in source.sample(range(len(content)), 300):
        file.write_bytes(flipped(content, place, source.randrange(8)))
        found = reading(texts, file)
        errors += isinstance(found, DataError)
        assert suffix == ".csv" or isinstance(found, DataError) or found == right, place
    assert errors > 30


def test_a_damaged_file_ends_every_command_with_its_name(tiny_folder, tmp_path) -> None:
    """Training, evaluation and prediction raise the error of the loader."""
    model_dir = tmp_path / "model"
    good = tiny.pipeline(tiny_folder, model_dir, train_config__num_steps=1)
    good.fit()
    file = tmp_path / "bad.parquet"
    content = write_parquet(file, write_page_checksum=True)
    begin, end = list(pages(content))[2]  # of the second column, the user
    for bad in (content[:-1], flipped(content, (begin + end) // 2, 3), b""):
        file.write_bytes(bad)
        changes = {"train_input_path": file, "eval_input_path": file}
        with pytest.raises(DataError, match=str(file)):
            tiny.pipeline(tiny_folder, tmp_path / "new", **changes).fit()
        with pytest.raises(DataError, match=str(file)):
            tiny.pipeline(tiny_folder, model_dir, **changes).evaluate()
        with pytest.raises(DataError, match=str(file)):
            good.predict(str(file), str(tmp_path / "out.parquet"))
        assert not (tmp_path / "out.parquet").exists()
