"""Rows shared out among processes: each is read once, in equal parts, and on from any position."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numbered import COUNTS, KINDS, Memory, flat, folder, loader, read, small_chunks

from tzmmoe.batch import Position
from tzmmoe.data.loader import Loader
from tzmmoe.data.plan.order import Order, Pass
from tzmmoe.data.plan.sharing import share
from tzmmoe.data.plan.span import Span, rows_of
from tzmmoe.data.reading.base import Source
from tzmmoe.errors import DataError

WORLDS = st.sampled_from([1, 2, 3, 4, 8])


def ranks(source: Source, world: int, **changes: object) -> list[Loader]:
    """A loader for each of ``world`` processes."""
    counts = {file: source.num_rows(file) for file in source.files} if world > 1 else None
    return [loader(source, counts=counts, rank=r, world=world, **changes) for r in range(world)]


def taken(
    loaders: Sequence[Loader], steps: int | None = None, since: Sequence[Position] | None = None
) -> tuple[list[int], list[tuple[Order, Position]]]:
    """The rows of the first ``steps`` batches of each, and where they then stand."""
    rows, stands = [], []
    for each, at in zip(loaders, since or [Position()] * len(loaders), strict=True):
        batches = read(each, at)[:steps]
        rows += flat(batches)
        order = Order.from_json(each.order.to_json())
        stands.append((order, batches[-1][1] if batches else at))
    return rows, stands


@given(
    counts=COUNTS,
    world=WORLDS,
    shuffle=st.booleans(),
    size=st.integers(1, 7),
    epoch=st.integers(0, 3),
)
def test_each_row_is_read_by_one_process_and_their_rows_differ_by_one_at_most(
    counts, world, shuffle, size, epoch
) -> None:
    """Any number of files and rows, also fewer than processes."""
    made = ranks(Memory(counts), world, shuffle=shuffle, batch_size=size)
    parts = [flat(read(each, Position(epoch))) for each in made]
    assert sorted(row for part in parts for row in part) == sorted(Memory(counts).all_rows())
    lengths = [len(part) for part in parts]
    assert max(lengths) - min(lengths) <= 1


def test_four_processes_read_one_file_in_the_order_of_its_rows() -> None:
    made = ranks(Memory([22]), 4)
    assert [flat(read(each)) for each in made] == [
        list(range(6)),
        list(range(6, 12)),
        list(range(12, 17)),
        list(range(17, 22)),
    ]


def test_processes_permute_their_rows_in_different_ways() -> None:
    """Or rows at equal places would meet in every epoch."""
    made = ranks(Memory([40]), 2, shuffle=True, batch_size=20, shuffle_batches=1)
    first, second = (flat(read(each)) for each in made)
    assert [row + 20 for row in first] != second
    again = ranks(Memory([40]), 2, shuffle=True, batch_size=20, shuffle_batches=1)
    assert [flat(read(each)) for each in again] == [first, second]


@settings(deadline=None, max_examples=150)
@given(
    counts=COUNTS.filter(any),
    worlds=st.tuples(WORLDS, WORLDS, WORLDS),
    shuffle=st.booleans(),
    chunk=st.integers(1, 12),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    steps=st.tuples(st.integers(0, 6), st.integers(0, 6)),
)
def test_another_number_of_processes_reads_exactly_the_rows_that_are_left(
    counts, worlds, shuffle, chunk, sizes, steps
) -> None:
    """Stopped in the middle of chunks, twice, each time with other processes and batch sizes."""
    with small_chunks(chunk):
        first = ranks(Memory(counts), worlds[0], shuffle=shuffle, batch_size=sizes[0])
        found, stands = taken(first, steps[0])
        second = ranks(Memory(counts), worlds[1], shuffle=shuffle, batch_size=sizes[1])
        rows, stands = taken(second, steps[1], [each.resume(stands) for each in second])
        found += rows
        third = ranks(Memory(counts), worlds[2], shuffle=shuffle, batch_size=sizes[0])
        rows, _ = taken(third, None, [each.resume(stands) for each in third])
    assert Counter(found + rows) == Counter(Memory(counts).all_rows())


@settings(deadline=None, max_examples=60)
@given(
    counts=COUNTS.filter(any),
    world=st.sampled_from([2, 3, 4]),
    shuffle=st.booleans(),
    chunk=st.integers(1, 12),
    steps=st.integers(0, 5),
)
def test_as_many_processes_go_on_as_if_they_had_not_stopped(
    counts, world, shuffle, chunk, steps
) -> None:
    with small_chunks(chunk):
        whole = [read(each) for each in ranks(Memory(counts), world, shuffle=shuffle)]
        first = ranks(Memory(counts), world, shuffle=shuffle)
        _, stands = taken(first, steps)
        second = ranks(Memory(counts), world, shuffle=shuffle)
        left = [read(each, each.resume(stands)) for each in second]
    assert left == [batches[steps:] for batches in whole]


def test_what_is_left_is_shared_out_evenly_again() -> None:
    """Two processes of 500 rows each stop after 100; five go on with 160 each."""
    first = ranks(Memory([1000]), 2, batch_size=10, shuffle=True, shuffle_batches=3)
    _, stands = taken(first, 10)
    second = ranks(Memory([1000]), 5, batch_size=10, shuffle=True, shuffle_batches=3)
    parts = [flat(read(each, each.resume(stands))) for each in second]
    assert [len(part) for part in parts] == [160] * 5


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_any_kind_are_read_in_stretches(kind) -> None:
    with folder() as where:
        files = KINDS[kind](where, [23, 0, 41, 9])
        opened = loader(files).source
        parts = [flat(read(each)) for each in ranks(opened, 3)]
    assert [row for part in parts for row in part] == list(range(73))
    assert [len(part) for part in parts] == [25, 24, 24]


@given(
    counts=COUNTS, world=st.sampled_from([2, 3]), size=st.integers(1, 5), most=st.integers(1, 80)
)
def test_an_epoch_of_so_many_rows_holds_those_of_one_process(counts, world, size, most) -> None:
    """With as large a global batch."""
    alone = loader(Memory(counts), batch_size=size * world, epoch_rows=most)
    made = ranks(Memory(counts), world, batch_size=size, epoch_rows=most)
    parts = [read(each) for each in made]
    assert sorted(row for part in parts for row in flat(part)) == sorted(flat(read(alone)))
    assert max(len(part) for part in parts) == made[0].steps(None, 1) == alone.steps(None, 1)


def test_files_that_are_named_later_are_shared_out_too() -> None:
    first = ranks(Memory([10, 7]), 2)
    found, stands = taken(first, 1)
    for world in (2, 3):
        second = ranks(Memory([10, 7, 30]), world)
        rows, _ = taken(second, None, [each.resume(stands) for each in second])
        assert Counter(found + rows) == Counter(Memory([10, 7, 30]).all_rows())


def test_a_file_that_is_shorter_than_when_it_was_shared_out_is_an_error() -> None:
    source = Memory([30])
    made = ranks(source, 2)
    source._counts["file0"] = 20
    assert flat(read(made[0])) == list(range(15))
    with pytest.raises(DataError, match=r"file0: .* 20 rows.* 30 .*restore"):
        read(made[1])


@pytest.mark.long
def test_sharing_ten_thousand_files_among_512_processes_is_exact_and_quick() -> None:
    counts = {f"file{number}": (number * 7919) % 100_000 for number in range(10_000)}
    whole = Pass(0, tuple(Span(file) for file in counts), True, 0, 4096)
    shares = share([whole], counts, 512)
    sizes = [sum(rows_of(each.spans) for each in passes) for passes in shares]
    assert sum(sizes) == sum(counts.values())
    assert max(sizes) - min(sizes) <= 1


Row = tuple[str, int]


def rows_in(each: Pass, counts: Mapping[str, int]) -> list[Row]:
    """The rows of a pass one by one, consumed ones too; a file may have become shorter."""
    ends = [counts[span.file] if span.end is None else span.end for span in each.spans]
    pairs = zip(each.spans, ends, strict=True)
    return [(span.file, row) for span, end in pairs for row in range(span.begin, end)]


@st.composite
def begun_passes(draw: st.DrawFn) -> tuple[list[Pass], dict[str, int]]:
    """Passes of files of their own, many with a chunk of which a part is consumed, and the rows of
    the files, of which one may end before the place where reading goes on."""
    passes, counts = [], {}
    for number in range(draw(st.integers(1, 5))):
        spans = []
        for part in range(draw(st.integers(1, 2))):
            name = f"{number}-{part}"
            begin, counts[name] = draw(st.integers(0, 4)), draw(st.integers(0, 12))
            has_end = draw(st.booleans()) and begin <= counts[name]
            spans.append(Span(name, begin, counts[name] if has_end else None))
        each = Pass(2, tuple(spans), True, 7, draw(st.integers(1, 9)), first_chunk=number + 1)
        chunk = len(rows_in(each, counts)[: each.chunk_rows])
        used = draw(st.integers(0, chunk))
        passes.append(Pass(**vars(each) | {"used": used, "part": draw(st.integers(0, 3))}))
    return passes, counts


def begun(*lengths: int) -> tuple[list[Pass], dict[str, int]]:
    """Chunks of which the first of so many rows and one is consumed."""
    counts = {f"{number}-0": length + 1 for number, length in enumerate(lengths)}
    passes = [Pass(0, (Span(file),), True, 7, 9, part=0, used=1) for file in counts]
    return passes, counts


@settings(deadline=None, max_examples=300)
@given(begun_passes(), st.integers(1, 3), st.none() | st.integers(0, 20))
@example(begun(1, 1, 1, 1, 4), 2, None)  # the longest chunk must not come last
@example(begun(8, 0, 1), 2, None)
@example(([*begun(6)[0], Pass(0, (Span("fresh"),), True, 7, 9)], {"0-0": 7, "fresh": 1}), 2, None)
def test_begun_chunks_stay_whole_and_other_rows_fill_up_the_least_loaded(
    drawn, world, limit
) -> None:
    """By enumeration of rows. The sizes are those of handing one row after the other to whoever
    has the fewest; the begun chunks alone keep to Graham's bound for the longest first."""
    passes, counts = drawn
    chunks, others = [], []
    for each in passes:
        rows = rows_in(each, counts)
        cut = each.chunk_rows if each.used else 0
        if rows[each.used : cut]:
            chunks.append((rows[:cut], each.used, each.first_chunk, each.part))
        others += rows[cut:]
    shares = share(passes, counts, world, limit)
    kept, fresh, loads, sizes = [], [], [], []
    for rank, taken_by_rank in enumerate(shares):
        read = [(each, rows_in(each, counts)) for each in taken_by_rank]
        assert all(rows[each.used :] for each, rows in read), "a pass without rows"
        own = [(rows, e.used, e.first_chunk, e.part) for e, rows in read if e.used]
        stretches = [each for each, _ in read if not each.used]
        assert len(stretches) <= 1
        for each in stretches:
            assert (each.part, each.first_chunk) == (None if world == 1 else rank, 0)
            assert (each.epoch, each.seed) == (passes[0].epoch, passes[0].seed)
            fresh += rows_in(each, counts)
        kept += own
        loads.append(sum(len(rows) - used for rows, used, *_ in own))
        sizes.append(sum(len(rows) - each.used for each, rows in read))
    assert sorted(kept) == sorted(chunks)
    assert fresh == others[:limit]
    by_one = list(loads)
    for _ in fresh:
        by_one[by_one.index(min(by_one))] += 1
    assert sorted(sizes) == sorted(by_one)
    lengths = [len(rows) - used for rows, used, *_ in chunks]
    assert max(loads) <= (4 / 3 - 1 / (3 * world)) * least_maximum(lengths, world) + 1e-9


def least_maximum(lengths: Sequence[int], world: int) -> int:
    """The largest load of a process under the best of all assignments."""
    best = sum(lengths)
    for ranks_of in product(range(world), repeat=len(lengths)):
        loads = [0] * world
        for rank, length in zip(ranks_of, lengths, strict=True):
            loads[rank] += length
        best = min(best, max(loads))
    return best
