"""Requests in all their forms are read alike, and each row alike whatever comes beside it."""

import collections
import datetime
import decimal
import enum
import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import fails, says
from serving.small import Small, assert_same
from serving.sums import seal_up

from tzmmoe.errors import DataError
from tzmmoe.serving.scorer import Scorer

FEATURES = [
    'id_feature { feature_name: "hash" hash_bucket_size: 97 embedding_dim: 4 }',
    'id_feature { feature_name: "row" num_buckets: 90 embedding_dim: 4 out_of_range: MODULO }',
    'id_feature { feature_name: "word" vocab_list: ["red", "5", "0.5"] embedding_dim: 4 }',
    'id_feature { feature_name: "tags" hash_bucket_size: 50 embedding_dim: 4 weighted: true }',
    'raw_feature { feature_name: "bucket" boundaries: [0.1, 0.7, 5] embedding_dim: 4 }',
    'raw_feature { feature_name: "pair" value_dim: 2 default_value: "0" separator: "|" }',
]
NAMES = [feature.split('"')[1] for feature in FEATURES]
NONE = dict.fromkeys(NAMES)
TRAINED = {
    "rows": 10,
    "features": {
        name: {"missing": 5, "defaulted": 0, "unknown": 1, "outside": 2} for name in NAMES
    },
    "types": {"bucket": ["float"], "pair": ["null", "halffloat", "float"], "row": ["int64"]},
}


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a model whose training files had the columns bucket and pair in float32."""
    folder = tmp_path_factory.mktemp("requests")
    small = Small.build(folder, FEATURES, names=NAMES)
    return small.export(folder / "export", quality=TRAINED)


@pytest.fixture(scope="module")
def scorer(export: Path) -> Scorer:
    return Scorer.load(export)


@pytest.fixture(scope="module")
def before(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """Of an export that does not know what training saw."""
    folder = tmp_path_factory.mktemp("before") / "export"
    folder.mkdir()
    for file in export.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    signature = json.loads((folder / "signature.json").read_text())
    del signature["training"]
    (folder / "signature.json").write_text(json.dumps(signature))
    seal_up(folder)
    return Scorer.load(folder)


class Text(str):
    def __str__(self) -> str:
        return "something else"


class Level(enum.IntEnum):
    five = 5


# Cells, each with the Arrow form of the same value.
SAME: dict[str, tuple[str, Any, pa.Array]] = {
    "uint64": ("hash", 2**63 + 5, pa.array([2**63 + 5], pa.uint64())),
    "beyond 64 bits": ("hash", 2**80, pa.array([str(2**80)])),
    "far below 64 bits": ("hash", -(2**80), pa.array([str(-(2**80))])),
    "a large identity": ("row", 2**63 + 5, pa.array([2**63 + 5], pa.uint64())),
    "true": ("row", True, pa.array([True])),
    "subclass of str": ("word", Text("red"), pa.array(["red"])),
    "subclass of int": ("word", Level.five, pa.array([5])),
    "bytes": ("word", b"red", pa.array(["red"])),
    "bytearray": ("word", bytearray(b"red"), pa.array(["red"])),
    "numpy text": ("word", np.str_("red"), pa.array(["red"])),
    "numpy int8": ("word", np.int8(5), pa.array([5])),
    "numpy uint64": ("hash", np.uint64(2**64 - 1), pa.array([2**64 - 1], pa.uint64())),
    "numpy bool": ("row", np.bool_(True), pa.array([1])),
    "numpy float64": ("word", np.float64(0.5), pa.array([0.5])),
    "numpy float32": ("hash", np.float32(0.7), pa.array([0.7], pa.float32())),
    "numpy float16": ("hash", np.float16(0.7), pa.array([np.float16(0.7)], pa.float16())),
    "numpy scalar array": ("word", np.array(5), pa.array([5])),
    "tensor": ("word", torch.tensor(5), pa.array([5])),
    "Arrow scalar": ("word", pa.scalar("red"), pa.array(["red"])),
    "decimal": ("word", decimal.Decimal("0.500"), pa.array([0.5])),
    "list": ("hash", ["a", 7, 0.5, None], pa.array([["a", "7", "0.5"]])),
    "list of numbers": ("hash", [7, 0.5, float("nan")], pa.array([[7, 0.5]])),
    "huge ids in a list": (
        "hash",
        [2**64 - 1, 3],
        pa.array([[2**64 - 1, 3]], pa.list_(pa.uint64())),
    ),
    "huge and negative": ("hash", [2**64, -3], pa.array([[str(2**64), "-3"]])),
    "tuple": ("hash", ("a", "b"), pa.array([["a", "b"]])),
    "set": ("hash", {"a"}, pa.array([["a"]])),
    "deque": ("hash", collections.deque(["a", "b"]), pa.array([["a", "b"]])),
    "numpy array": (
        "pair",
        np.array([0.7, 1.5], np.float32),
        pa.array([[0.7, 1.5]], pa.list_(pa.float32())),
    ),
    "array of objects": ("hash", np.array(["a", 7], object), pa.array([["a", "7"]])),
    "dict": ("tags", {"a": 0.5}, pa.array([[("a", 0.5)]], pa.map_(pa.string(), pa.float64()))),
    "dict of numbers": ("tags", {7: 2}, pa.array([[(7, 2.0)]], pa.map_(pa.int64(), pa.float64()))),
    "dict of both": ("tags", {7: 2, "a": 1}, pa.array([["7:2", "a:1"]])),
    "pairs": ("tags", [("a", 0.5), ("b", 2)], pa.array([["a:0.5", "b:2"]])),
    "pairs of JSON": ("tags", [["a", 0.5], ["b", 2]], pa.array([["a:0.5", "b:2"]])),
    "numpy weight": ("tags", {"a": np.float32(0.5)}, pa.array([["a:0.5"]])),
    "text with weights": ("tags", "a:0.5\x1db:2", pa.array([["a:0.5", "b:2"]])),
    "float as in training": ("bucket", 0.699999988079071, pa.array([0.7], pa.float32())),
    "whole number as in training": ("bucket", 5, pa.array([5], pa.float32())),
    "text of a number": ("bucket", "0.7", pa.array(["0.7"])),
}
MISSING: list[Any] = [
    *(None, float("nan"), np.float32("nan"), np.float64("nan"), pd.NA, pd.NaT, "", []),
    *((), set(), {}, [None], [float("nan")], decimal.Decimal("nan"), np.array([])),
    pa.scalar(None, pa.int64()),
]  # fmt: skip


def probabilities(scorer: Scorer, rows: Any) -> torch.Tensor:
    return scorer.score(rows)["probs_ctr"]


def arrow(scorer: Scorer, **columns: pa.Array) -> torch.Tensor:
    nulls = {name: pa.nulls(1) for name in NAMES}
    return probabilities(scorer, pa.table(nulls | columns))


@pytest.mark.parametrize("case", SAME)
def test_a_python_value_is_read_as_its_arrow_form(scorer: Scorer, case: str) -> None:
    name, cell, array = SAME[case]
    assert torch.equal(probabilities(scorer, [NONE | {name: cell}]), arrow(scorer, **{name: array}))


@pytest.mark.parametrize("name", NAMES)
def test_all_forms_of_a_missing_value_are_one(scorer: Scorer, name: str) -> None:
    nothing = probabilities(scorer, [NONE])
    for cell in MISSING:
        assert torch.equal(probabilities(scorer, [NONE | {name: cell}]), nothing), cell
    both = probabilities(scorer, [NONE | {name: cell} for cell in MISSING])
    assert_same({"": both}, {"": nothing.expand(len(MISSING))})


@pytest.mark.parametrize("cell", [0.7, 0.1, 0.05, 5, 4.9])
def test_numbers_are_read_in_the_precision_of_training_in_every_form(
    scorer: Scorer, cell: float
) -> None:
    """0.7 of float32 lies at a boundary of .7, though as a double it is below: as in training."""
    narrow = float(np.float32(cell))
    expected = arrow(scorer, bucket=pa.array([cell], pa.float32()))
    frame = pd.DataFrame([NONE | {"bucket": narrow}])
    for rows in (frame, pl.from_pandas(frame), [NONE | {"bucket": narrow}]):
        assert torch.equal(probabilities(scorer, rows), expected)
    for array in (pa.array([narrow]), pa.array([[narrow]]), pa.array([narrow]).dictionary_encode()):
        assert torch.equal(arrow(scorer, bucket=array), expected)


@pytest.mark.parametrize("first", [0, 1])
def test_a_key_that_lacks_in_some_rows_has_no_value_there(scorer: Scorer, first: int) -> None:
    rows = [NONE | {"word": "red"}, {name: None for name in NAMES if name != "word"}]
    rows = [rows[first], rows[1 - first]]
    found = probabilities(scorer, rows)
    assert torch.equal(found, probabilities(scorer, [NONE | row for row in rows]))
    assert found[0] != found[1]


def test_a_key_that_lacks_in_all_rows_is_an_error(scorer: Scorer) -> None:
    rows = [{name: None for name in NAMES if name != "word"} | {"words": "red"}]
    with fails(DataError, "request: no column 'word'", "did you mean 'words'?"):
        scorer.score(rows)


def test_columns_that_nobody_reads_may_hold_anything(scorer: Scorer) -> None:
    row = NONE | {"word": "red"}
    more = [row | {"other": object()}, row | {"other": "\ud800", 3: 4}]
    assert torch.equal(probabilities(scorer, more), probabilities(scorer, [row, row]))
    frame = pd.DataFrame({name: [None, None] for name in NAMES} | {"other": [object(), 1]})
    assert torch.equal(probabilities(scorer, frame), probabilities(scorer, [NONE, NONE]))


class Endless(list):
    """A list that holds itself."""

    def __init__(self) -> None:
        super().__init__([self])


REFUSED = {
    "surrogate": ("word", "\ud800"),
    "surrogate in a list": ("hash", ["a", "\ud800"]),
    "surrogate as a key": ("tags", {"\ud800": 1}),
    "nested list": ("hash", [["a"]]),
    "nested dict": ("hash", [{"a": 1}]),
    "itself": ("hash", Endless()),
    "matrix": ("pair", np.zeros((2, 2))),
    "object": ("word", object()),
    "type": ("word", int),
    "complex": ("word", 1j),
    "uuid": ("hash", uuid.UUID(int=7)),
    "date": ("hash", datetime.date(2024, 1, 1)),
    "time zone": ("hash", datetime.datetime(1, 1, 1, tzinfo=datetime.UTC)),
    "bytes": ("hash", b"\xff"),
    "a dict without weights": ("hash", {"a": 1}),
    "a text as a weight": ("tags", {"a": "x"}),
    "no weight": ("tags", {"a": None}),
    "infinite weight": ("tags", {"a": float("inf")}),
    "more digits than Python prints": ("hash", 10**5000),
    "large power": ("hash", decimal.Decimal("1E+100")),
    "a number where weights are": ("tags", 7),
    "infinity": ("pair", [float("inf"), 0.0]),
    "beyond 64 bits": ("row", 2**70),
    "not whole": ("row", 0.5),
    "too few": ("pair", [1.0]),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("place", [1, 2, 3])
def test_a_value_that_cannot_be_used_is_an_error_with_its_row_and_name(
    scorer: Scorer, case: str, place: int
) -> None:
    name, cell = REFUSED[case]
    usual = {"word": "red", "hash": "a", "tags": {"a": 1.0}, "pair": [1, 2], "row": 3}
    rows = [NONE | usual for _ in range(3)]
    rows[place - 1] = rows[place - 1] | {name: cell}
    with pytest.raises(DataError) as error:
        scorer.score(rows)
    says(error.value, f"request, row {place}, column '{name}' (feature '{name}'): ")
    assert str(error.value).isprintable()


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.floats(width=32).map(np.float32),
    st.text(st.characters(), max_size=6),
    st.text(st.characters(categories=["Cs"]), min_size=1, max_size=2),
    st.binary(max_size=4),
    st.decimals(),
    st.dates(),
    st.datetimes(),
    st.timedeltas(),
    st.uuids(),
    st.fractions(),
    st.complex_numbers(),
    st.sampled_from([pd.NA, pd.NaT, Level.five, Ellipsis, np.datetime64("2020", "Y"), range(3)]),
    st.sampled_from([0, 1, 5, 0.5, 0.7, "red", "5", "1:2", "a:0.5", "1|2", ""]),
)
CELLS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), inner, max_size=3),
        st.lists(st.floats(width=32), max_size=3).map(lambda v: np.array(v, np.float32)),
    ),
    max_leaves=6,
)
ROWS = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, CELLS)).map(lambda r: NONE | r)


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(NAMES), cell=CELLS)
def test_any_value_gives_an_answer_or_a_data_error(scorer: Scorer, name: str, cell: Any) -> None:
    said = f"row 1, column {name!r}"
    try:
        answer = probabilities(scorer, [NONE | {name: cell}])
    except DataError as error:
        said = str(error)
        answer = torch.zeros(1)
    assert answer.isfinite().all()
    says(said, f"row 1, column {name!r}")


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(NAMES), cells=st.lists(CELLS, min_size=2, max_size=6))
def test_the_answer_for_a_row_does_not_depend_on_the_others(
    scorer: Scorer, name: str, cells: list[Any]
) -> None:
    alone, good = [], []
    for cell in cells:
        try:
            alone.append(probabilities(scorer, [NONE | {name: cell}]))
            good.append(NONE | {name: cell})
        except DataError:
            with pytest.raises(DataError, match="row 2, column"):
                scorer.score([NONE, NONE | {name: cell}, NONE])
    if good:
        torch.testing.assert_close(probabilities(scorer, good), torch.cat(alone))


TABLE = pa.table(
    {
        "hash": pa.array([2**64 - 1, 9, 7, 7], pa.uint64()),
        "row": pa.array([1, None, 3, 100]),
        "word": pa.array(["red", None, "5", "blue"]),
        "tags": pa.array(
            [[("a", 0.5)], None, [], [("b", 2.0)]], pa.map_(pa.string(), pa.float32())
        ),
        "bucket": pa.array([0.7, None, 0.1, 4.9], pa.float32()),
        "pair": pa.array([[0.7, 2], None, [0.1, 1], [1.5, 3]], pa.list_(pa.float32())),
    }
)
FORMS: dict[str, Callable[[], Any]] = {
    "dicts": lambda: TABLE.to_pylist(maps_as_pydicts="strict"),
    "dicts with pairs": TABLE.to_pylist,
    "batch": lambda: TABLE.combine_chunks().to_batches()[0],
    "reader": TABLE.to_reader,
    "pandas": TABLE.to_pandas,
    "pandas of Arrow": lambda: TABLE.to_pandas(types_mapper=pd.ArrowDtype),
    "pandas of objects": lambda: TABLE.to_pandas().astype(object),
    "categories": lambda: TABLE.to_pandas().astype({"word": "category"}),
    "other index": lambda: TABLE.to_pandas().set_index(pd.Index([7, 7, 8, 9], name="key")),
    "polars": lambda: pl.from_arrow(TABLE.drop(["tags"])).with_columns(
        tags=pl.Series([["a:0.5"], None, [], ["b:2"]])
    ),
    "stream": lambda: Streamed(TABLE),
    "array": lambda: Exported(TABLE.combine_chunks().to_batches()[0]),
    "chunks": lambda: pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)]),
    "more columns": lambda: TABLE.append_column("other", pa.array([{}] * 4)),
}


class Streamed:
    """Another package's rows, of which only the stream is known."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


class Exported:
    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch

    def __arrow_c_array__(self, requested_schema: object = None) -> object:
        return self.batch.__arrow_c_array__(requested_schema)


@pytest.mark.parametrize("form", FORMS)
def test_the_same_rows_in_any_form_score_the_same_to_the_bit(scorer: Scorer, form: str) -> None:
    expected = probabilities(scorer, TABLE)
    assert len(expected.unique()) == 4
    assert torch.equal(probabilities(scorer, FORMS[form]()), expected)


def test_rows_without_a_common_type_keep_their_order(scorer: Scorer) -> None:
    cells = [5, "red", None, ["red", 5], 0.5, "5", b"red", np.float32(0.5), [5]]
    found = probabilities(scorer, [NONE | {"word": cell} for cell in cells])
    alone = [probabilities(scorer, [NONE | {"word": cell}]) for cell in cells]
    torch.testing.assert_close(found, torch.cat(alone))


EMPTY: dict[str, Callable[[], Any]] = {
    "list": list,
    "tuple": tuple,
    "table": lambda: TABLE.slice(0, 0),
    "pandas": lambda: TABLE.slice(0, 0).to_pandas(),
    "polars": lambda: pl.DataFrame({name: [] for name in NAMES}),
    "numbers": lambda: pa.table({name: pa.array([], pa.float32()) for name in NAMES}),
}


@pytest.mark.parametrize("form", EMPTY)
def test_no_rows_give_empty_tensors(scorer: Scorer, form: str) -> None:
    outputs = scorer.score(EMPTY[form]())
    assert {name: output.shape for name, output in outputs.items()} == {
        "logits_ctr": (0,),
        "probs_ctr": (0,),
    }


OTHERS = [
    *(pl.Series([1]), pd.Series([1]), pl.LazyFrame({"a": [1]})),
    *(3, {"word": ["red"]}, b"", iter([{}]), None),
]


@pytest.mark.parametrize("rows", OTHERS, ids=lambda rows: type(rows).__name__)
def test_other_things_than_rows_are_an_error(scorer: Scorer, rows: Any) -> None:
    with fails(DataError, "request"):
        scorer.score(rows)


def test_frames_with_two_columns_of_a_name_or_without_one_are_an_error(scorer: Scorer) -> None:
    frame = TABLE.to_pandas()
    with fails(DataError, "request: 2 columns named 'word'"):
        scorer.score(pd.concat([frame, frame[["word"]]], axis=1))
    for lacking in (frame.drop(columns="word"), pl.DataFrame({"a": [1]})):
        with fails(DataError, "request: no column 'word'"):
            scorer.score(lacking)


def test_what_to_do_about_a_missing_column_or_another_kind_of_row_is_said(scorer: Scorer) -> None:
    row = TABLE.to_pylist()[0]
    without = [{name: cell for name, cell in row.items() if name != "word"}]
    with fails(DataError, "request: no column 'word'", "give None where its value is missing"):
        scorer.score(without)
    with fails(DataError, "request, row 1", "Series", "pass its to_dict()"):
        scorer.score([pd.Series(row, dtype=object)])


def test_an_export_that_does_not_know_what_training_saw_scores_as_it_did(
    before: Scorer, scorer: Scorer
) -> None:
    """Numbers of a request then have the precision that they come in."""
    assert torch.equal(probabilities(before, TABLE), probabilities(scorer, TABLE))
    rows = [NONE | {"bucket": float(np.float32(0.7))}]
    assert probabilities(before, rows) != probabilities(scorer, rows)
    assert before.quality()["features"]["word"]["unknown"]["training_share"] is None


def test_a_scorer_counts_what_it_scored_beside_the_shares_of_training(export: Path) -> None:
    scorer = Scorer.load(export)
    assert scorer.quality()["rows"] == 0
    rows = [NONE | {"word": word, "row": row} for word, row in [("red", 5), ("?", 95), (None, 1)]]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(scorer.score, [rows] * 8))
    found = json.loads(json.dumps(scorer.quality()))
    assert (found["rows"], found["training_rows"]) == (24, 10)
    word, row = found["features"]["word"], found["features"]["row"]
    assert word["missing"] == {"rows": 8, "share": pytest.approx(1 / 3), "training_share": 0.5}
    assert word["unknown"] == {"rows": 8, "share": pytest.approx(1 / 3), "training_share": 0.1}
    assert row["outside"] == {"rows": 8, "share": pytest.approx(1 / 3), "training_share": 0.2}
    assert set(found["features"]) == set(NAMES)
