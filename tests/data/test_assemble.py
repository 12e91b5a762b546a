"""From a chunk of Arrow rows to batches: each row keeps its own values, wherever it goes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from features import oracles_values as oracles
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import features

from tzmmoe.batch import Batch, Column, Ragged
from tzmmoe.data.assemble import Assembler, RaggedRows, Rows, interleave
from tzmmoe.data.base import Chunk, Piece
from tzmmoe.data.order import Order
from tzmmoe.errors import DataError
from tzmmoe.features import Setting
from tzmmoe.features.base import Ids, Tally

Pairs = list[tuple[int, float]]  # ids with weights


@st.composite
def ragged(draw: st.DrawFn, num_rows: int) -> list[list[Pairs]]:
    """For each feature, for each row, its ids with weights. Sometimes all have one id."""
    single = draw(st.booleans())
    num_features = draw(st.integers(1, 4))
    least, most = (1, 1) if single else (0, 3)
    ids = st.tuples(st.integers(0, 99), st.integers(1, 9).map(float))
    cells = st.lists(ids, min_size=least, max_size=most)
    rows = st.lists(cells, min_size=num_rows, max_size=num_rows)
    return [draw(rows) for _ in range(num_features)]


def as_ids(rows: list[Pairs], weighted: bool) -> Ids:
    flat = [pair for row in rows for pair in row]
    lengths = None if all(len(row) == 1 for row in rows) else [len(row) for row in rows]
    return Ids(
        np.array([each for each, _ in flat], np.int64),
        None if lengths is None else np.array(lengths, np.int64),
        np.array([weight for _, weight in flat], np.float32) if weighted else None,
    )


def cells(values: Sequence, lengths: Sequence | None, num_features: int) -> list[list[list]]:
    """Row by row, feature by feature, the values."""
    flat = list(values)
    if lengths is None:
        lengths = [[1] * num_features] * (len(flat) // num_features)
    rows = []
    for counts in np.asarray(lengths).reshape(-1, num_features).tolist():
        rows.append([])
        for count in counts:
            rows[-1].append(flat[:count])
            flat = flat[count:]
    assert not flat
    return rows


def cells_of(part: RaggedRows | Ragged, num_features: int) -> list[list[Pairs]]:
    """Row by row, feature by feature, ids with weights."""
    weights = np.ones(len(part.values)) if part.weights is None else part.weights
    pairs = zip(part.values.tolist(), weights.tolist(), strict=True)
    return cells(pairs, part.lengths, num_features)


@st.composite
def parts(draw: st.DrawFn, num_rows: int) -> tuple[list[Ids], list[list[Pairs]]]:
    """Ids of some features, and the same row by row. A feature without weights has weight 1."""
    by_feature = draw(ragged(num_rows))
    weighted = [draw(st.booleans()) for _ in by_feature]
    ids = [as_ids(rows, w) for rows, w in zip(by_feature, weighted, strict=True)]
    by_row = [
        [
            pairs if w else [(each, 1.0) for each, _ in pairs]
            for pairs, w in zip(row, weighted, strict=True)
        ]
        for row in zip(*by_feature, strict=True)
    ]
    return ids, by_row


SOME_PARTS = st.integers(0, 7).flatmap(parts)


@settings(deadline=None, max_examples=80)
@given(SOME_PARTS)
def test_interleaved_ids_lie_row_by_row_and_in_a_row_feature_by_feature(
    made: tuple[list[Ids], list[list[Pairs]]],
) -> None:
    ids, by_row = made
    together = interleave(ids)
    assert cells_of(together, len(ids)) == by_row
    assert together.values.dtype == np.int64
    if all(part.weights is None for part in ids):
        assert together.weights is None
    else:
        assert together.weights.dtype == np.float32


@settings(deadline=None, max_examples=80)
@given(SOME_PARTS, st.randoms(use_true_random=False))
def test_permuted_rows_are_the_rows_in_another_order(
    made: tuple[list[Ids], list[list[Pairs]]], random: object
) -> None:
    """Also with rows twice or left out."""
    ids, by_row = made
    order = [random.randrange(len(by_row)) for _ in by_row]
    for some in (order, sorted(set(order)), list(reversed(range(len(by_row))))):
        moved = interleave(ids).permuted(np.array(some, np.int64))
        assert cells_of(moved, len(ids)) == [by_row[place] for place in some]


def rows_of(ids: list[Ids], num_rows: int) -> Rows:
    """With numbers, a label and a reserved column that tell each row's number."""
    number = np.arange(num_rows)
    return Rows(
        num_rows,
        {4: interleave(ids)},
        np.stack([number, -number], axis=1).astype(np.float32),
        {"label": number.astype(np.float32), "shares": np.stack([number, number], axis=1) / 2.0},
        pa.RecordBatch.from_arrays([pa.array([f"row {n}" for n in number])], names=["name"]),
        {},
    )


def assert_holds(batch: Batch, numbers: Sequence[int], cells_by_row: list, width: int) -> None:
    """The batch consists of the rows with these numbers, in this order."""
    assert len(batch) == len(numbers)
    expected = [cells_by_row[number] for number in numbers]
    assert cells_of(batch.inputs.ids[4], width) == expected
    assert batch.inputs.numbers.tolist() == [[number, -number] for number in numbers]
    assert batch.columns["label"].tolist() == list(numbers)
    assert batch.columns["shares"].tolist() == [[number / 2, number / 2] for number in numbers]
    assert batch.reserved.column("name").to_pylist() == [f"row {number}" for number in numbers]


@settings(deadline=None, max_examples=80)
@given(SOME_PARTS, st.integers(1, 9), st.integers(0, 8), st.booleans())
def test_batches_hold_each_row_once_and_in_order(
    made: tuple[list[Ids], list[list[Pairs]]], size: int, begin: int, shuffled: bool
) -> None:
    ids, by_row = made
    rows = rows_of(ids, len(by_row))
    order = list(range(len(by_row)))
    if shuffled:
        order = np.random.default_rng(size).permutation(len(by_row)).tolist()
        rows = rows.permuted(np.array(order, np.int64))
    batches = list(rows.batches(size, begin))
    if not by_row:
        assert [len(batch) for batch in batches] == [0]
        assert_holds(batches[0], [], by_row, len(ids))
        return
    left = order[begin:]
    assert [len(batch) for batch in batches] == [
        len(left[at : at + size]) for at in range(0, len(left), size)
    ]
    for number, batch in enumerate(batches):
        assert_holds(batch, left[number * size : (number + 1) * size], by_row, len(ids))


def setting(mode: str = "FG_DAG") -> Setting:
    return Setting(mode, "\x03", "MURMUR_HASH", Path())


def chunk(columns: Mapping[str, object], pieces: Sequence[Piece] = ()) -> Chunk:
    arrays = {n: c if isinstance(c, pa.Array) else pa.array(c) for n, c in columns.items()}
    rows = pa.RecordBatch.from_pydict(arrays)
    return Chunk(0, rows, tuple(pieces) or (Piece("a.parquet", 0, 0, rows.num_rows),))


WIDE = [
    'id_feature { feature_name: "user" num_buckets: 50 embedding_dim: 4 default_value: "7" }',
    'raw_feature { feature_name: "price" }',
    'id_feature { feature_name: "city" hash_bucket_size: 100 embedding_dim: 2 }',
    'raw_feature { feature_name: "sizes" value_dim: 2 default_value: "-1" }',
    'id_feature { feature_name: "tags" hash_bucket_size: 100 embedding_dim: 4 weighted: true }',
    'raw_feature { feature_name: "age" boundaries: [18, 65] embedding_dim: 2 }',
]
CELLS = {
    "user": [3, None, 5, 60],
    "price": [0.5, None, -2.0, 1e6],
    "city": ["abc", "efg", None, "hij"],
    "sizes": [[1.0, 2.0], None, [3.0, 4.0], []],
    "tags": ["xyz:0.5\x1dabc:2", None, "", "efg:1"],
    "age": [17.9, 18.0, None, 65.0],
    "label": [1, 0, None, 1],
    "weight": [1.0, 2.0, 0.5, 0.0],
    "session": [9, 9, 8, 8],
    "name": ["a", "b", "c", "d"],
    "unread": ["x", "x", "x", "x"],
}
COLUMNS = [
    Column("label", "label", 0, 1),
    Column("weight", "weight", 0),
    Column("session", "group"),
]


def wide() -> Assembler:
    return Assembler(features(*WIDE, setting=setting()), COLUMNS, reserved=["name", "label"])


def test_a_batch_has_the_ids_numbers_labels_and_reserved_cells_of_its_rows() -> None:
    """Worked out by hand; the hashes modulo 100 are those of torcheasyrec.md 3.6."""
    (batch,) = wide().assemble(chunk(CELLS)).batches(10)
    four = cells_of(batch.inputs.ids[4], 2)
    assert [row[0] for row in four] == [[(3, 1.0)], [(7, 1.0)], [(5, 1.0)], [(0, 1.0)]]
    assert [row[1] for row in four] == [[(13, 0.5), (33, 2.0)], [], [], [(44, 1.0)]]
    two = cells_of(batch.inputs.ids[2], 2)
    assert [[each for each, _ in row[0]] for row in two] == [[33], [44], [], [66]]
    assert [[each for each, _ in row[1]] for row in two] == [[0], [1], [0], [2]]
    assert batch.inputs.numbers.tolist() == [
        [0.5, 1.0, 2.0],
        [0.0, -1.0, -1.0],
        [-2.0, 3.0, 4.0],
        [1e6, -1.0, -1.0],
    ]
    np.testing.assert_array_equal(batch.columns["label"], [1.0, 0.0, np.nan, 1.0])
    assert batch.columns["weight"].tolist() == [1.0, 2.0, 0.5, 0.0]
    assert batch.columns["session"].tolist() == [9, 9, 8, 8]
    assert batch.reserved.to_pydict() == {"name": CELLS["name"], "label": CELLS["label"]}


def test_what_is_missing_unknown_or_outside_is_counted_by_feature() -> None:
    assert wide().assemble(chunk(CELLS)).tallies == {
        "user": Tally(missing=1, defaulted=1, outside=1),
        "price": Tally(missing=1, defaulted=1),
        "city": Tally(missing=1),
        "sizes": Tally(missing=2, defaulted=2),
        "tags": Tally(missing=2),
        "age": Tally(missing=1, defaulted=1),
    }


def whole(rows: Rows) -> dict[str, object]:
    """Everything that a batch of all rows holds, to compare."""
    (batch,) = rows.batches(max(rows.num_rows, 1))
    inputs = {width: cells_of(each, 2) for width, each in batch.inputs.ids.items()}
    columns = {name: np.nan_to_num(c.numpy(), nan=-9).tolist() for name, c in batch.columns.items()}
    return {
        **{f"ids {width}": each for width, each in inputs.items()},
        **columns,
        "numbers": batch.inputs.numbers.tolist(),
        **batch.reserved.to_pydict(),
    }


@pytest.mark.parametrize("order", [[3, 2, 1, 0], [2, 0, 3, 1], [1, 1, 2], [0], []])
def test_the_values_of_a_row_do_not_depend_on_the_rows_around(order: list[int]) -> None:
    """Encoding some rows gives what encoding all of them gives for these."""
    everything = whole(wide().assemble(chunk(CELLS)))
    some = chunk(CELLS).rows.take(pa.array(order, pa.int64()))
    found = whole(wide().assemble(Chunk(0, some, (Piece("a", 0, 0, len(order)),))))
    assert found == {name: [rows[place] for place in order] for name, rows in everything.items()}


@pytest.mark.parametrize("order", [[3, 2, 1, 0], [2, 0, 3, 1], [0, 1, 2, 3]])
def test_permuting_encoded_rows_is_encoding_permuted_rows(order: list[int]) -> None:
    moved = chunk(CELLS).rows.take(pa.array(order))
    found = wide().assemble(chunk(CELLS)).permuted(np.array(order))
    assert whole(found) == whole(wide().assemble(Chunk(0, moved, chunk(CELLS).pieces)))


def test_a_chunk_without_rows_gives_an_empty_batch_of_the_usual_shape() -> None:
    """Its columns have no type, as the loader makes them when the files hold no rows."""
    assembler = wide()
    rows = pa.RecordBatch.from_arrays([pa.nulls(0)] * len(assembler.needed), assembler.needed)
    (batch,) = assembler.assemble(Chunk(0, rows, (Piece("a", 0, 0, 0),))).batches(5)
    assert batch.inputs.numbers.shape == (0, 3)
    assert {width: len(ids.values) for width, ids in batch.inputs.ids.items()} == {2: 0, 4: 0}
    shapes = {name: tuple(column.shape) for name, column in batch.columns.items()}
    assert shapes == {"label": (0,), "weight": (0,), "session": (0,)}
    assert batch.reserved.schema.names == ["name", "label"]


@pytest.mark.parametrize("texts", [WIDE[:1], WIDE[1:2], []], ids=["ids", "numbers", "nothing"])
def test_features_without_ids_or_without_numbers_make_whole_batches(texts: list[str]) -> None:
    assembler = Assembler(features(*texts, setting=setting()), [COLUMNS[0]])
    (batch,) = assembler.assemble(chunk(CELLS)).batches(5)
    assert len(batch) == 4
    assert set(batch.inputs.ids) == ({4} if texts == WIDE[:1] else set())
    expected = [[0.5], [0.0], [-2.0], [1e6]] if texts == WIDE[1:2] else [[]] * 4
    assert batch.inputs.numbers.tolist() == expected


def ids_of(batch: Batch, place: int = 0, num_features: int = 1) -> list[list[int]]:
    """Of one of the features of width 4."""
    rows = cells_of(batch.inputs.ids[4], num_features)
    return [[each for each, _ in row[place]] for row in rows]


def encoded(texts: Sequence[str], columns: Mapping[str, object], mode: str = "FG_DAG") -> Batch:
    assembler = Assembler(features(*texts, setting=setting(mode)), ())
    (batch,) = assembler.assemble(chunk(columns)).batches(100)
    return batch


def id_text(name: str, expression: str = "", more: str = "hash_bucket_size: 100") -> str:
    named = f'feature_name: "{name}" embedding_dim: 4'
    return f'id_feature {{ {named} expression: "{expression}" {more} }}'


@pytest.mark.parametrize(
    ("mode", "needed"),
    [
        ("FG_NONE", ["f", "g", "c", "n", "label", "name"]),
        ("FG_BUCKETIZE", ["f", "g", "c", "n", "label", "name"]),
        ("FG_NORMAL", ["x", "y", "label", "name"]),
        ("FG_DAG", ["x", "y", "label", "name"]),
    ],
)
def test_only_the_columns_that_the_mode_names_are_read(mode: str, needed: list[str]) -> None:
    texts = [id_text("f", "user:x"), id_text("g", "item:x"), id_text("c", "const:5")]
    texts.append('raw_feature { feature_name: "n" expression: "context:y" }')
    made = features(*texts, setting=setting(mode))
    assembler = Assembler(made, [Column("label", "label")], reserved=["name", "label"])
    assert assembler.needed == needed


def test_a_mode_decides_which_column_a_feature_reads_and_what_it_holds() -> None:
    columns = {"f": ["1", "2\x033"], "x": ["abc", "efg\x1dhij"]}
    text = id_text("f", "user:x")
    assert ids_of(encoded([text], columns, "FG_DAG")) == [[33], [44, 66]]
    assert ids_of(encoded([text], columns, "FG_NORMAL")) == [[33], [44, 66]]
    assert ids_of(encoded([text], columns, "FG_NONE")) == [[1], [2, 3]]
    hashed = [[oracles.murmur(cell) % 100] for cell in columns["f"]]
    assert ids_of(encoded([text], columns, "FG_BUCKETIZE")) == hashed


def test_a_constant_is_the_same_in_every_row() -> None:
    texts = [
        id_text("c", "const:abc"),
        id_text("d", "const:7", "num_buckets: 9"),
        'raw_feature { feature_name: "e" expression: "const:2.5" }',
    ]
    batch = encoded(texts, {"x": [1, 2, 3]})
    assert ids_of(batch, place=0, num_features=2) == [[33]] * 3
    assert ids_of(batch, place=1, num_features=2) == [[7]] * 3
    assert batch.inputs.numbers.tolist() == [[2.5]] * 3


def chained(reader: str, helper: str, columns: Mapping[str, object]) -> Batch:
    """Of a feature that reads another, which does not enter the model."""
    made, read = (features(text, setting=setting()) for text in (reader, helper))
    (batch,) = Assembler(made, (), helpers=read).assemble(chunk(columns)).batches(100)
    return batch


def test_a_feature_that_reads_another_has_its_values_cut_and_defaulted() -> None:
    helper = id_text("h", "user:x", 'hash_bucket_size: 1 value_dim: 2 default_value: "xyz"')
    columns = {"x": ["abc\x1defg\x1dhij", None, "hij"]}
    batch = chained(id_text("r", "feature:h"), helper, columns)
    assert set(batch.inputs.ids) == {4}
    assert ids_of(batch) == [[33, 44], [13], [66]]


def test_a_feature_may_enter_the_model_and_be_read() -> None:
    texts = [id_text("r", "feature:h"), id_text("h", "user:x", "hash_bucket_size: 10")]
    batch = encoded(texts, {"x": ["abc", None]})
    assert ids_of(batch, place=0, num_features=2) == [[33], []]
    assert ids_of(batch, place=1, num_features=2) == [[3], []]


def test_numbers_of_a_feature_are_bucketed_and_hashed_by_others() -> None:
    """x / 10 is normalized once; the default is not."""
    helper = (
        'raw_feature { feature_name: "h" expression: "user:x" default_value: "0.7" '
        'normalizer: "method=minmax,min=0,max=10" }'
    )
    columns = {"x": [7, None, 10]}
    bucketed = (
        'raw_feature { feature_name: "r" expression: "feature:h" boundaries: [0.5, 0.7, 0.9] '
        "embedding_dim: 4 }"
    )
    assert ids_of(chained(bucketed, helper, columns)) == [[2], [2], [3]]
    hashed = [[oracles.murmur(text) % 100] for text in ("0.7", "0.7", "1")]
    assert ids_of(chained(id_text("r", "feature:h"), helper, columns)) == hashed


def test_weights_pass_only_to_a_weighted_feature() -> None:
    """Which also reads them from the text of a feature that is not weighted."""
    columns = {"x": ["abc:0.5\x1defg:2", None]}
    plain, weighted = "hash_bucket_size: 100", "hash_bucket_size: 100 weighted: true"
    expected = [[[(33, 0.5), (44, 2.0)]], [[]]]
    for helper in (plain, weighted):
        batch = chained(
            id_text("r", "feature:h", weighted), id_text("h", "user:x", helper), columns
        )
        assert cells_of(batch.inputs.ids[4], 1) == expected
    batch = chained(id_text("r", "feature:h", plain), id_text("h", "user:x", weighted), columns)
    assert batch.inputs.ids[4].weights is None
    assert ids_of(batch) == [[33, 44], []]


MASKED = [
    id_text("a", "user:x", 'hash_bucket_size: 100 use_mask: true default_value: "xyz"'),
    id_text("b", "user:x", "hash_bucket_size: 100 use_mask: true"),
    id_text("c", "user:x"),
    'raw_feature { feature_name: "n" expression: "user:y" use_mask: true default_value: "9" }',
    'raw_feature { feature_name: "m" expression: "user:y" }',
]


def masked(random: np.random.Generator | None, size: int, prob: float = 0.3) -> np.ndarray:
    """Which rows were masked, after checking that they lost exactly the values they should."""
    assembler = Assembler(features(*MASKED, setting=setting()), (), mask_prob=prob)
    rows = assembler.assemble(chunk({"x": ["abc"] * size, "y": [1.0] * size}), random)
    (batch,) = rows.batches(size)
    lost = batch.inputs.numbers[:, 0].numpy() == 9
    defaulted, emptied, kept = (ids_of(batch, place, 3) for place in range(3))
    assert defaulted == [[13] if gone else [33] for gone in lost]
    assert emptied == [[] if gone else [33] for gone in lost]
    assert kept == [[33]] * size
    assert batch.inputs.numbers[:, 1].tolist() == [1.0] * size
    return lost


def test_masked_rows_lose_the_values_of_the_features_that_say_so() -> None:
    order = Order.plan(0, ["a"], shuffle=True, seed=5, chunk_rows=1000)
    lost = masked(order.random(0, "mask"), 1000)
    assert abs(int(lost.sum()) - 300) < 6 * 14.5  # six standard deviations of 1000 draws


def test_the_mask_follows_from_seed_epoch_and_chunk_alone() -> None:
    def of(seed: int, epoch: int, number: int) -> tuple[bool, ...]:
        order = Order.plan(epoch, ["a"], shuffle=True, seed=seed, chunk_rows=50)
        return tuple(masked(order.random(number, "mask"), 50).tolist())

    assert of(5, 0, 0) == of(5, 0, 0)
    assert len({of(5, 0, 0), of(6, 0, 0), of(5, 1, 0), of(5, 0, 1)}) == 4


def test_nothing_is_masked_outside_training_or_without_a_chance() -> None:
    assert not masked(None, 50).any()
    assert not masked(np.random.default_rng(0), 50, prob=0.0).any()


PIECES = [Piece("a.parquet", 0, 7, 2), Piece("b.parquet", 1, 0, 1), Piece("b.parquet", 1, 1, 2000)]
PLACES = {
    0: "a.parquet, row 8",
    1: "a.parquet, row 9",
    2: "b.parquet, row 1",
    3: "b.parquet, row 2",
    2002: "b.parquet, row 2,001",
}


def spoilt(row: int, form: str, word: str) -> pa.Array:
    """2003 rows, one with a word in the place of a number, among rows with none and with two."""
    texts: list[str | None] = [
        None if number % 5 == 4 else f"{number % 7}" for number in range(2003)
    ]
    texts[row] = word
    if form == "list":
        return pa.array([None if text is None else ["1", "", text, "2"] for text in texts])
    if form == "separated":
        return pa.array([text if text is None else f"1\x1d\x1d{text}\x1d2" for text in texts])
    column = pa.array(texts)
    return column.dictionary_encode() if form == "dictionary" else column


@pytest.mark.parametrize("row", PLACES)
@pytest.mark.parametrize("form", ["text", "dictionary", "separated", "list"])
def test_a_bad_id_is_told_with_its_file_and_row(row: int, form: str) -> None:
    """Rows of a file count from 1, also where the chunk begins in its middle."""
    assembler = Assembler(features(id_text("f", "user:x", "num_buckets: 9"), setting=setting()), ())
    with pytest.raises(DataError) as raised:
        assembler.assemble(chunk({"x": spoilt(row, form, "oops")}, PIECES))
    found = f"{PLACES[row]}, column 'x' (feature 'f'): 'oops' is no whole number"
    assert str(raised.value) == found


@pytest.mark.parametrize("row", PLACES)
@pytest.mark.parametrize("form", ["text", "dictionary"])
def test_a_bad_number_is_told_with_its_file_and_row(row: int, form: str) -> None:
    text = 'raw_feature { feature_name: "f" expression: "user:x" }'
    assembler = Assembler(features(text, setting=setting()), ())
    for word, what in (
        ("oops", "'oops' is no number"),
        ("inf", "inf is no finite number of 32 bits"),
    ):
        with pytest.raises(DataError) as raised:
            assembler.assemble(chunk({"x": spoilt(row, form, word)}, PIECES))
        assert str(raised.value) == f"{PLACES[row]}, column 'x' (feature 'f'): {what}"


@pytest.mark.parametrize("row", PLACES)
def test_a_bad_weight_of_a_value_is_told_with_its_file_and_row(row: int) -> None:
    text = id_text("f", "user:x", "hash_bucket_size: 9 weighted: true")
    cells = [None if number % 5 == 4 else "a:1\x1d\x1db:2" for number in range(2003)]
    cells[row] = "a:1\x1db\x1dc:3"
    with pytest.raises(DataError) as raised:
        Assembler(features(text, setting=setting()), ()).assemble(chunk({"x": cells}, PIECES))
    found = f"{PLACES[row]}, column 'x' (feature 'f'): 'b' is not of the form value:weight"
    assert str(raised.value) == found


@pytest.mark.parametrize("row", PLACES)
@pytest.mark.parametrize(
    ("column", "good", "bad", "text"),
    [
        (Column("y", "label", 0, 1), 1, 2, "label): 2 is no label within [0, 1] for its loss"),
        (Column("y", "label"), "1", "oops", "label): 'oops' is no number"),
        (Column("y", "weight", 0), 1, -1, "weight): -1 is no weight"),
    ],
    ids=["range", "text", "weight"],
)
def test_a_bad_label_or_weight_is_told_with_its_file_and_row(
    row: int, column: Column, good: object, bad: object, text: str
) -> None:
    cells = [good] * 2003
    cells[row] = bad
    with pytest.raises(DataError) as raised:
        Assembler([], [column]).assemble(chunk({"y": cells}, PIECES))
    assert str(raised.value).startswith(f"{PLACES[row]}, column 'y' ({text}")


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        (
            id_text("f", "user:x"),
            {"x": [{"a": 1}] * 3},
            "a.parquet, column 'x' (feature 'f'): struct<a: int64> cannot be used as values",
        ),
        (
            id_text("f", "user:x"),
            {"x": pa.array([1, 2, 3], pa.date32())},
            "a.parquet, column 'x' (feature 'f'): date32[day] cannot be used as values",
        ),
        (
            'raw_feature { feature_name: "f" expression: "user:x" }',
            {"x": [[[1.0]]] * 3},
            "a.parquet, column 'x' (feature 'f'): list<item: list<item: double>> cannot be used "
            "as values",
        ),
        (
            id_text("f", "const:a", "num_buckets: 3"),
            {"x": [1, 2, 3]},
            "a.parquet, row 8, const 'a' (feature 'f'): 'a' is no whole number",
        ),
    ],
    ids=["struct", "date", "list of list", "constant"],
)
def test_a_type_or_constant_that_cannot_be_used_is_told_with_file_column_and_feature(
    text: str, columns: Mapping[str, object], expected: str
) -> None:
    assembler = Assembler(features(text, setting=setting()), ())
    with pytest.raises(DataError) as raised:
        assembler.assemble(chunk(columns, PIECES[:2]))
    assert str(raised.value) == expected


def test_a_bad_value_that_came_through_a_feature_names_that_feature() -> None:
    with pytest.raises(DataError) as raised:
        chained(id_text("r", "feature:h", "num_buckets: 9"), id_text("h", "user:x"), {"x": ["a"]})
    assert "row 1, feature 'h' (feature 'r'): 'a' is no whole number" in str(raised.value)


def test_a_label_type_that_cannot_be_used_is_told_with_file_and_column() -> None:
    with pytest.raises(DataError, match=r"a.parquet, column 'y' \(label\): date32\[day\] cannot"):
        Assembler([], [Column("y", "label")]).assemble(chunk({"y": pa.array([1], pa.date32())}))
