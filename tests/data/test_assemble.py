"""From a chunk of Arrow rows to a batch: each row has its own values, whatever the rows around."""

import numpy as np
import pyarrow as pa
import pytest
from assembled import cells_of, chained, chunk, encoded, id_text, ids_of, setting
from features import oracles_values as oracles
from parts import features

from tzmmoe.batch import Column
from tzmmoe.data.encode import Assembler, Rows
from tzmmoe.data.reading.base import Chunk, FileRows
from tzmmoe.features.shared import Tally

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
    some = chunk(CELLS).parts[0].take(pa.array(order, pa.int64()))
    found = whole(wide().assemble(Chunk(0, (some,), (FileRows("a", 0, len(order)),))))
    assert found == {name: [rows[place] for place in order] for name, rows in everything.items()}


@pytest.mark.parametrize("order", [[3, 2, 1, 0], [2, 0, 3, 1], [0, 1, 2, 3]])
def test_permuting_encoded_rows_is_encoding_permuted_rows(order: list[int]) -> None:
    moved = chunk(CELLS).parts[0].take(pa.array(order))
    found = wide().assemble(chunk(CELLS)).permuted(np.array(order))
    assert whole(found) == whole(wide().assemble(Chunk(0, (moved,), chunk(CELLS).file_rows)))


def test_a_chunk_without_rows_gives_an_empty_batch_of_the_usual_shape() -> None:
    """Its columns have no type, as the loader makes them when the files hold no rows."""
    assembler = wide()
    rows = pa.RecordBatch.from_arrays([pa.nulls(0)] * len(assembler.needed), assembler.needed)
    (batch,) = assembler.assemble(Chunk(0, (rows,), (FileRows("a", 0, 0),))).batches(5)
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
