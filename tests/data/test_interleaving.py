"""Shuffled epochs: each chunk is a sample of all rows, whatever order the files are in."""

import errno
import tempfile
from collections import Counter
from unittest import mock

import numbered
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import fails
from numbered import flat, loader, read

from tzmmoe.batch import Position
from tzmmoe.data.plan import shelf
from tzmmoe.data.plan.lanes import LANES, Lanes
from tzmmoe.data.plan.order import Order, Pass
from tzmmoe.data.plan.shelf import Shelf
from tzmmoe.data.plan.span import Span
from tzmmoe.data.spool import compact
from tzmmoe.errors import DataError

SPANS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 50), st.integers(0, 40)), max_size=6
).map(lambda parts: [Span(name, begin, begin + rows) for name, begin, rows in parts])


def rows_of(spans) -> Counter:
    return Counter((span.file, row) for span in spans for row in range(span.begin, span.end))


@given(SPANS, st.integers(1, 9), st.integers(1, 30), st.integers(0, 12))
def test_chunks_of_lanes_are_all_rows_once_of_equal_size(spans, count, chunk_rows, stop) -> None:
    lanes = Lanes(spans, count, chunk_rows)
    chunks = [lanes.stretches(chunk) for chunk in range(lanes.num_chunks)]
    assert sum((rows_of(chunk) for chunk in chunks), Counter()) == rows_of(spans)
    assert all(rows_of(chunk).total() == chunk_rows for chunk in chunks[:-1])
    left = sum((rows_of(chunk) for chunk in chunks[stop:]), Counter())
    assert rows_of(lanes.rest(stop)) == left
    rest = Lanes(lanes.rest(stop), count, chunk_rows)
    if stop * chunk_rows % count == 0:  # each lane has given as many rows
        assert [rest.stretches(chunk) for chunk in range(rest.num_chunks)] == chunks[stop:]
    assert rows_of(lanes.rotated(np.random.default_rng(stop))) == rows_of(spans)


@pytest.mark.parametrize("kind", numbered.KINDS)
@pytest.mark.parametrize("counts", [[6400], [3200, 3200], [100] * 64])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5])
def test_each_chunk_of_sorted_files_has_about_the_share_of_all_rows(
    tmp_path, kind, counts, share
) -> None:
    """A label that the first rows have and the others have not, as files sorted by it."""
    files = numbered.KINDS[kind](tmp_path, counts)
    positives = share * sum(counts)
    made = loader(files, shuffle=True, batch_size=64, shuffle_batches=10)
    for epoch in range(2):
        order = flat(read(made, Position(epoch)))
        assert sorted(order) == list(range(sum(counts)))
        for first in range(0, len(order), 640):
            found = np.mean([row < positives for row in order[first : first + 640]])
            # A border lies within a single lane, or two where lanes wrap around; files that are
            # smaller than a lane come in random order.
            assert abs(found - share) <= (2 if len(counts) < LANES else 4) / LANES


def test_different_rows_meet_in_each_epoch(tmp_path) -> None:
    """Rows that share a chunk in one epoch do so by chance alone in the next."""
    files = numbered.write_parquet(tmp_path, [12_800], group=12_800)
    made = loader(files, shuffle=True, batch_size=64, shuffle_batches=10)
    of_row = []
    for epoch in range(2):
        order = flat(read(made, Position(epoch)))
        of_row.append(np.argsort(order) // 640)
    table = Counter(zip(*(chunks.tolist() for chunks in of_row), strict=True))
    assert max(table.values()) < 640 / 4


def test_an_epoch_that_an_older_version_began_is_finished_in_its_order(tmp_path) -> None:
    """Its passes name no lanes, and each chunk is a window of the files one after another."""
    files = numbered.write_parquet(tmp_path, [37, 5, 61, 20])
    value = {
        "epoch": 3,
        "files": files,
        "passes": [
            {
                "epoch": 3,
                "spans": [[file, 0, None] for file in (files[2], files[0], files[3], files[1])],
                "shuffle": True,
                "seed": 5,
                "chunk_rows": 12,
                "part": None,
                "first_chunk": 0,
                "used": 0,
            }
        ],
    }
    in_order = [*range(42, 103), *range(37), *range(103, 123), *range(37, 42)]
    recorded = Pass(3, (), True, 5, 12)
    expected = []
    for chunk, first in enumerate(range(0, len(in_order), 12)):
        window = in_order[first : first + 12]
        expected += [window[place] for place in recorded.permutation(chunk, len(window))]
    for done in (0, 5, 12, 29):
        made = loader(files, shuffle=True, batch_size=4, shuffle_batches=3)
        chunk, within = divmod(done, 12)
        begin = in_order[chunk * 12] - 42  # all in the first file of the epoch
        position = Position(3, done, 0, chunk, within, 0, begin)
        position = made.resume([(Order.from_json(value), position)])
        assert flat(read(made, position)) == expected[done:]


def memory_of(num_rows: int, words: int = 5) -> numbered.Memory:
    return numbered.Memory([num_rows], size=100)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), max_size=8),
    st.sampled_from([0, 1500, 1 << 20]),
    st.integers(1, 200),
)
def test_stretches_of_a_shelf_are_those_of_the_file_wherever_they_are_kept(
    stretches, memory, piece_rows
) -> None:
    source = memory_of(1000)
    file = source.files[0]
    with mock.patch.object(shelf, "MEMORY_BYTES", memory):
        kept = Shelf(source, ["row"], [Span(file, 0, 1000)], piece_rows)
        for begin, end in stretches:
            batches = kept.read(file, begin, end)
            read = [row for batch in batches for row in batch.column(0).to_pylist()]
            assert read == list(range(begin, end))
        kept.close()
    assert source.drawn <= 1000, "a block is read once"


def test_a_full_disk_is_an_error_with_what_to_do() -> None:
    source = memory_of(1000)
    file = source.files[0]
    full = mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    with (
        mock.patch.object(shelf, "MEMORY_BYTES", 0),
        mock.patch.object(tempfile, "TemporaryFile", full),
        fails(DataError, tempfile.gettempdir(), "No space left", "TMPDIR", "shuffle: false"),
    ):
        list(Shelf(source, ["row"], [Span(file, 0, 1000)], 10).read(file, 5, 8))


def test_a_dictionary_that_holds_more_than_a_stretch_needs_is_cut_down() -> None:
    column = pa.array([f"word {n}" for n in range(1000)]).dictionary_encode()
    batch = pa.record_batch({"x": column}).slice(10, 3)
    cut = compact(batch)
    assert cut.equals(pa.record_batch({"x": cut.column(0)}))
    assert cut.column(0).to_pylist() == batch.column(0).to_pylist()
    assert len(cut.column(0).dictionary) == 3
