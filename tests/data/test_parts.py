"""Batches are joined to parts that are alike and not too large, without a row more or less."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from tzmmoe.data.reading.parts import PART_BYTES, parts

MIB = 1 << 20


def numbers(num_rows: int, begin: int = 0) -> pa.RecordBatch:
    return pa.record_batch({"number": pa.array(np.arange(begin, begin + num_rows))})


def words(begin: int, num_rows: int) -> pa.RecordBatch:
    """About 1 KiB a row, in a dictionary of the batch's own."""
    texts = pa.array([f"{number:01000d}" for number in range(begin, begin + num_rows)])
    return pa.record_batch({"word": texts.dictionary_encode()})


def rows(batches: tuple[pa.RecordBatch, ...], name: str) -> list:
    return [value for batch in batches for value in batch.column(name).to_pylist()]


@pytest.mark.parametrize("sizes", [[5], [3, 4, 5], [0, 2, 0], [MIB // 8] * 33, [3 * MIB, 1, 1]])
def test_rows_keep_their_order_and_parts_their_size(sizes) -> None:
    edges = np.cumsum([0, *sizes])
    found = parts(numbers(size, begin) for size, begin in zip(sizes, edges, strict=False))
    assert rows(found, "number") == list(range(edges[-1]))
    largest = max(8 * max(sizes), PART_BYTES)
    assert all(part.nbytes <= largest for part in found)
    assert len(found) <= 1 + 2 * sum(sizes) * 8 / PART_BYTES


def test_words_count_and_shared_dictionaries_count_once() -> None:
    own = parts(words(1000 * number, 1000) for number in range(40))
    assert rows(own, "word") == rows((words(0, 40_000),), "word")
    assert 4 <= len(own) <= 8
    whole = words(0, 6000)
    shared = parts(whole.slice(begin, 100) for begin in range(0, 6000, 100))
    assert len(shared) == 1
    assert rows(shared, "word") == rows((whole,), "word")


def test_batches_of_other_types_stay_apart() -> None:
    small = pa.record_batch({"number": pa.array([1, 2], pa.int8())})
    found = parts([numbers(2), numbers(2), small, small, numbers(1)])
    assert [(part.num_rows, str(part.schema.types[0])) for part in found] == [
        (4, "int64"),
        (4, "int8"),
        (1, "int64"),
    ]
    assert parts([]) == ()


def test_what_is_joined_is_let_go_before_the_stream_goes_on() -> None:
    """So a stream of 64 MiB takes that much, and not twice as much."""
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    most = 0

    def stream() -> Iterator[pa.RecordBatch]:
        nonlocal most
        for _ in range(64):
            buffers = [None, pa.allocate_buffer(MIB)]
            yield pa.record_batch([pa.Array.from_buffers(pa.int64(), MIB // 8, buffers)], ["a"])
            most = max(most, pool.bytes_allocated() - before)

    found = parts(stream())
    assert sum(part.num_rows for part in found) == 64 * MIB // 8
    assert most <= 64 * MIB + 2 * PART_BYTES
