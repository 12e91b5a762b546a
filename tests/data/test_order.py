"""The order of the rows: a pure function of seed and epoch."""

import json
from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numbered import Memory

from tzmmoe.batch import Position
from tzmmoe.data.plan.order import Order, Pass, chunks, sequence
from tzmmoe.data.plan.span import Span

FILES = [f"/data/{number}.parquet" for number in range(6)]


def plan(epoch: int = 0, *, shuffle: bool = True, seed: int = 3, chunk_rows: int = 8) -> Pass:
    files = sequence(epoch, FILES, shuffle=shuffle, seed=seed)
    return Pass(epoch, tuple(map(Span, files)), shuffle, seed, chunk_rows)


def files(order: Pass) -> tuple[str, ...]:
    return tuple(span.file for span in order.spans)


def test_files_stay_in_order_unless_they_are_shuffled() -> None:
    assert files(plan(shuffle=False)) == tuple(FILES)
    assert plan(shuffle=False).permutation(0, 10) is None


def test_shuffle_permutes_the_files_anew_in_each_epoch() -> None:
    orders = [files(plan(epoch)) for epoch in range(20)]
    assert all(sorted(each) == FILES for each in orders)
    assert len(set(orders)) > 15, "of 720 orders, 20 draws are hardly ever the same"


def test_every_order_of_the_files_comes_equally_often() -> None:
    """3 files have 6 orders; in 6000 epochs each comes 1000 times, give or take 4 sigma."""
    orders = [sequence(epoch, FILES[:3], shuffle=True, seed=1) for epoch in range(6000)]
    _, counts = np.unique(np.array(orders), axis=0, return_counts=True)
    assert len(counts) == 6
    assert (abs(counts - 1000) < 4 * np.sqrt(6000 * 1 / 6 * 5 / 6)).all()


@given(epoch=st.integers(0, 1000), seed=st.integers(0, 2**31), chunk=st.integers(0, 1000))
def test_the_order_follows_from_seed_epoch_and_chunk_alone(epoch, seed, chunk) -> None:
    one, other = plan(epoch, seed=seed), plan(epoch, seed=seed)
    assert one == other
    rows = one.permutation(chunk, 50)
    assert sorted(rows) == list(range(50))
    assert (rows == other.permutation(chunk, 50)).all()
    changed = [
        plan(epoch + 1, seed=seed).permutation(chunk, 50),
        plan(epoch, seed=seed + 1).permutation(chunk, 50),
        one.permutation(chunk + 1, 50),
    ]
    assert all((rows != each).any() for each in changed)


def test_two_uses_of_a_chunk_have_their_own_randomness() -> None:
    one, other = (plan().random(4, use).random(8) for use in ("rows", "mask"))
    assert (one != other).all()


def test_an_order_survives_a_checkpoint(tmp_path, monkeypatch) -> None:
    """With absolute paths, so that a later run may start in another folder."""
    monkeypatch.chdir(tmp_path)

    def order(folder: str) -> Order:
        spans = (Span(f"{folder}a.csv", 3), Span(f"{folder}b.csv", 0, 7))
        passes = (Pass(2, spans, True, 9, 64, 1, 5, 17), Pass(2, spans[:1], False, 9, 64))
        return Order(2, passes, (f"{folder}a.csv", f"{folder}b.csv", f"{folder}old.csv"))

    restored = Order.from_json(json.loads(json.dumps(order("").to_json())))
    assert restored == order(f"{tmp_path}/")


@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=5),
    size=st.integers(1, 7),
    chunk_rows=st.integers(1, 15),
)
def test_chunks_are_the_files_one_after_the_other_cut_at_equal_lengths(
    counts, size, chunk_rows
) -> None:
    source = Memory(counts, size=size)
    order = Pass(0, tuple(map(Span, source.files)), False, 0, chunk_rows)
    made = list(chunks(source, order, ["row"], Position()))
    expected = list(chain.from_iterable(range(count) for count in counts))
    assert [row for chunk in made for row in chunk.parts[0].column("row").to_pylist()] == expected
    assert all(chunk.num_rows == chunk_rows for chunk in made[:-1])
    assert [chunk.index for chunk in made] == list(range(len(made)))


@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=5).filter(any),
    size=st.integers(1, 7),
    chunk_rows=st.integers(1, 15),
    data=st.data(),
)
def test_a_chunk_knows_the_file_and_row_of_each_of_its_rows(counts, size, chunk_rows, data) -> None:
    source = Memory(counts, size=size)
    order = Pass(0, tuple(map(Span, source.files)), False, 0, chunk_rows)
    made = list(chunks(source, order, ["row"], Position()))
    chunk = data.draw(st.sampled_from(made))
    places = [
        f"{file}, row {row + 1}"
        for file, count in zip(source.files, counts, strict=True)
        for row in range(count)
    ]
    first = chunk.index * chunk_rows
    for row in range(chunk.num_rows):
        assert chunk.place(row) == places[first + row]


@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=5).filter(any),
    size=st.integers(1, 7),
    chunk_rows=st.integers(1, 15),
    data=st.data(),
)
def test_reading_on_after_a_chunk_gives_the_chunks_that_are_left(
    counts, size, chunk_rows, data
) -> None:
    source = Memory(counts, size=size)
    order = Pass(0, tuple(map(Span, source.files)), False, 0, chunk_rows)
    made = list(chunks(source, order, ["row"], Position()))
    place = data.draw(st.integers(0, len(made) - 1))
    done = data.draw(st.integers(1, made[place].num_rows))
    whole = done == made[place].num_rows
    at = (place + 1, 0, *made[place].then) if whole else (place, done, *made[place].begin)
    since = Position(0, place * chunk_rows + done, 0, *at)
    left = list(chunks(source, order, ["row"], since))
    assert [c.parts[0].to_pydict() for c in left] == [
        c.parts[0].to_pydict() for c in made[place + whole :]
    ]
    assert [c.index for c in left] == [c.index for c in made[place + whole :]]
