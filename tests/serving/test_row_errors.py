"""With ``errors="rows"`` a bad row fails alone: the others have the numbers that they have
without it."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import fails, says
from serving.small import Small

from tzmmoe.data.encode import Assembler
from tzmmoe.errors import ConfigError, DataError
from tzmmoe.serving.scorer import Scorer
from tzmmoe.serving.service.limits import Limits

FEATURES = [
    'id_feature { feature_name: "word" hash_bucket_size: 97 embedding_dim: 4 }',
    'id_feature { feature_name: "row" num_buckets: 90 embedding_dim: 4 out_of_range: ERROR }',
    'id_feature { feature_name: "tags" hash_bucket_size: 50 embedding_dim: 4 weighted: true }',
    'raw_feature { feature_name: "size" value_dim: 2 separator: "|" default_value: "0" }',
    'raw_feature { feature_name: "again" expression: "feature:number" boundaries: [1, 2] '
    "embedding_dim: 4 }",
    'raw_feature { feature_name: "number" expression: "item:number" }',
]
NAMES = ["word", "row", "tags", "size", "again"]
ROW = {"word": "red", "row": 7, "tags": "a:1", "size": "1|2", "number": "1.5"}
BAD: dict[str, tuple[str, Any]] = {
    "surrogate": ("word", "\ud800"),
    "nested": ("word", [["a"]]),
    "dict without weights": ("word", {"a": 1}),
    "long": ("word", "x" * 70_000),
    "outside": ("row", 90),
    "not whole": ("row", 0.5),
    "no weight": ("tags", "a"),
    "one number": ("size", "1"),
    "no number": ("size", "1|x"),
    "of a feature that another reads": ("number", "x"),
}


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    folder = tmp_path_factory.mktemp("rows")
    export = Small.build(folder, FEATURES, names=NAMES).export(folder / "export")
    return Scorer.load(export, limits=Limits(values=9))


def checked(scorer: Scorer, rows: list[Any], form: Callable = list) -> list[str | None]:
    """Score rows, compare with each alone and with the good ones only; the messages."""
    alone: list[str | None] = []
    for row in rows:
        try:
            scorer.score(form([row]))
            alone.append(None)
        except DataError as error:
            alone.append(str(error))
    good = [number for number, text in enumerate(alone) if text is None]
    expected = scorer.score(form([rows[number] for number in good]) if good else [])
    answer = scorer.score(form(rows), errors="rows")
    messages = answer.pop("errors")
    assert [text is None for text in messages] == [text is None for text in alone]
    for number, text in enumerate(messages):
        if text is not None:
            said = alone[number].replace("request, row 1", f"request, row {number + 1:,}")
            assert said in text.split("\n"), (said, text)
    assert list(answer) == list(expected)
    for name, output in answer.items():
        assert torch.equal(output[good], expected[name])
        assert len(output) == len(rows)
        assert output[[n for n in range(len(rows)) if n not in good]].isnan().all()
    return messages


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_bad_row_fails_alone(scorer: Scorer, case: str, place: int) -> None:
    rows = [ROW | {"word": f"w{number}", "row": number} for number in range(5)]
    name, cell = BAD[case]
    rows[place] = rows[place] | {name: cell}
    messages = checked(scorer, rows)
    says(messages[place], f"request, row {place + 1}, ", repr(name))


def test_rows_that_are_not_dicts_fail_alone(scorer: Scorer) -> None:
    messages = checked(scorer, [3, ROW, None, ROW | {"word": 5}, "x"])
    assert [message is None for message in messages] == [False, True, False, True, False]
    says(messages[0], "row 1", "is a int")


def test_all_faults_of_a_row_are_told(scorer: Scorer) -> None:
    messages = checked(scorer, [ROW, ROW | {"row": 90, "size": "1|x", "tags": "a"}])
    for name in ("row", "size", "tags"):
        says(messages[1], f"request, row 2, column '{name}'")
    assert messages[1].count("\n") == 2


def test_a_request_without_a_good_row_has_an_answer(scorer: Scorer) -> None:
    messages = checked(scorer, [ROW | dict([BAD[case]]) for case in BAD])
    assert None not in messages
    assert checked(scorer, []) == []


def test_a_type_that_only_bad_rows_have_does_not_fail_rows_without_a_value(
    scorer: Scorer,
) -> None:
    """The rows share a column of maps, which the feature cannot read."""
    messages = checked(scorer, [ROW | {"word": {"a": 1}}, ROW | {"word": None}, ROW])
    assert [message is None for message in messages] == [False, True, True]


CELLS = st.sampled_from(
    [
        *BAD.values(),
        *(("word", 5), ("word", None), ("word", 0.5), ("tags", {"a": 0.5}), ("size", None)),
        *(("row", 3), ("row", True), ("number", 2.5), ("number", None), ("tags", [("a", 2)])),
    ]
)


@settings(max_examples=100, deadline=None)
@given(cells=st.lists(CELLS, max_size=9))
def test_any_mixture_of_rows_has_the_answers_of_the_good_ones(
    scorer: Scorer, cells: list[tuple[str, Any]]
) -> None:
    checked(scorer, [ROW | dict([cell]) for cell in cells])


FORMS: dict[str, Callable[[list[dict]], Any]] = {
    "table": pa.Table.from_pylist,
    "coded": lambda rows: pa.table(
        {n: c.combine_chunks().dictionary_encode() for n, c in columns(rows).items()}
    ),
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
}


def columns(rows: list[dict]) -> dict[str, pa.ChunkedArray]:
    table = pa.Table.from_pylist(rows)
    return dict(zip(table.column_names, table.columns, strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_tables_and_frames_have_the_same_answers(scorer: Scorer, form: str) -> None:
    rows = [ROW | {"row": number, "word": f"w{number}"} for number in range(20)]
    cells = [("row", 90), ("size", "1|x"), ("tags", "a"), ("number", "x"), ("word", "y" * 70_000)]
    for place, (name, cell) in zip((0, 3, 4, 11, 19), cells, strict=True):
        rows[place] = rows[place] | {name: cell}
    messages = checked(scorer, rows, FORMS[form])
    assert [n for n, text in enumerate(messages) if text] == [0, 3, 4, 11, 19]
    assert messages == scorer.score(rows, errors="rows")["errors"]


def test_what_concerns_no_single_row_fails_the_request(scorer: Scorer) -> None:
    with fails(DataError, "no column 'word'"):
        scorer.score([{"words": "red"}], errors="rows")
    dates = pa.table({name: [cell] for name, cell in ROW.items()}).set_column(
        0, "word", pa.array([1], pa.date32())
    )
    with fails(DataError, "column 'word'", "date32"):
        scorer.score(dates, errors="rows")
    with fails(ConfigError, "errors", "'row'", "'rows'"):
        scorer.score([ROW], errors="row")


def test_only_rows_that_were_scored_are_counted(scorer: Scorer) -> None:
    before = scorer.quality()["rows"]
    scorer.score([ROW, ROW | {"row": 90}, ROW], errors="rows")
    assert scorer.quality()["rows"] == before + 2


def test_good_requests_are_encoded_once_and_bad_rows_found_without_a_pass_each(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    assemble = Assembler.assemble

    def counting(self: Assembler, chunk: Any) -> Any:
        encoded.append(chunk.num_rows * len(self.features))
        return assemble(self, chunk)

    monkeypatch.setattr(Assembler, "assemble", counting)
    rows = [ROW | {"row": number % 90} for number in range(1024)]
    scorer.score(rows, errors="rows")
    once = sum(encoded)
    assert len(encoded) == 1
    for bad in (1, 32):
        encoded.clear()
        for place in range(0, 1024, 1024 // bad):
            rows[place] = rows[place] | {"size": "1|x"}
        answer = scorer.score(rows, errors="rows")["errors"]
        assert sum(text is not None for text in answer) == bad
        assert sum(encoded) < 5 * once, bad
