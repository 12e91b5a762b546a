"""A request above a limit is refused before anything is made of it, in every form alike."""

import pickle
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from messages import fails
from serving.small import Small

from tzmmoe import predict
from tzmmoe.errors import CheckpointError, ConfigError, DataError, TimeLimitError
from tzmmoe.serving.scorer import Scorer
from tzmmoe.serving.service import clock as clock_module
from tzmmoe.serving.service.faults import RowFaults
from tzmmoe.serving.service.limits import Limits

FEATURES = [
    'id_feature { feature_name: "word" hash_bucket_size: 97 embedding_dim: 4 }',
    'id_feature { feature_name: "tags" hash_bucket_size: 50 embedding_dim: 4 weighted: true }',
    'raw_feature { feature_name: "size" }',
]
NAMES = ["word", "tags", "size"]
ROW = {"word": "red", "tags": {"a": 0.5}, "size": 1.0}
LIMITS = Limits(rows=3, values=4, text_bytes=10, request_bytes=100)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("limits")
    return Small.build(folder, FEATURES, names=NAMES).export(folder / "export")


@pytest.fixture(scope="module")
def scorer(export: Path) -> Scorer:
    return Scorer.load(export, limits=LIMITS)


@pytest.mark.parametrize("limits", [{"rows": 3}, 5, Limits])
def test_limits_of_another_type_are_refused_on_load(export: Path, limits: Any) -> None:
    with fails(ConfigError, "limits", "pass Limits(...)"):
        Scorer.load(export, limits=limits)


def table(words: Any, tags: Any = None) -> pa.Table:
    size = len(words)
    tags = pa.nulls(size) if tags is None else tags
    return pa.table({"word": words, "tags": tags, "size": [1.0] * size})


def coded(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks().dictionary_encode()


FORMS: dict[str, Callable[[pa.Table], Any]] = {
    "dicts": lambda rows: rows.to_pylist(),
    "table": lambda rows: rows,
    "reader": lambda rows: rows.to_reader(),
    "coded": lambda rows: rows.set_column(0, "word", coded(rows["word"])),
    "pandas": lambda rows: rows.to_pandas(),
    "pandas of objects": lambda rows: rows.to_pandas().astype(object),
    "polars": pl.from_arrow,
}


@pytest.mark.parametrize("form", FORMS)
def test_too_many_rows_are_refused_and_as_many_as_allowed_are_not(
    scorer: Scorer, form: str
) -> None:
    assert len(scorer.score(FORMS[form](table(["a"] * 3)))["probs_ctr"]) == 3
    with fails(DataError, "request", "4 rows", "limit is 3", "limits.rows"):
        scorer.score(FORMS[form](table(["a"] * 4)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("long", ["y" * 11, "é" * 6])
def test_a_text_of_too_many_bytes_is_refused_with_its_row_and_feature(
    scorer: Scorer, form: str, long: str
) -> None:
    scorer.score(FORMS[form](table(["a", "é" * 5, "y" * 10])))
    place = "request, row 2, column 'word' (feature 'word')"
    size = str(len(long.encode()))
    with fails(DataError, place, f"{size} bytes", "limit is 10", "limits.text_bytes"):
        scorer.score(FORMS[form](table(["a", long, "b"])))


@pytest.mark.parametrize("form", [form for form in FORMS if form != "coded"])
def test_a_cell_of_too_many_values_is_refused_with_its_row_and_feature(
    scorer: Scorer, form: str
) -> None:
    scorer.score(FORMS[form](table(["a", "b"], [["a:1"] * 4, None])))
    place = "request, row 2, column 'tags' (feature 'tags')"
    with fails(DataError, place, "5 values", "limit is 4", "limits.values"):
        scorer.score(FORMS[form](table(["a", "b"], [["a:1"], ["a:1"] * 5])))


CELLS: dict[str, Any] = {
    "dict": dict.fromkeys("abcde", 1.0),
    "pairs": [(letter, 1.0) for letter in "abcde"],
    "array": np.array(["a:1"] * 5, object),
    "set": {f"{letter}:1" for letter in "abcde"},
    "longer than memory": range(10**15),
    "longer than any list": range(10**30),
}


@pytest.mark.parametrize("case", CELLS)
def test_cells_of_any_kind_have_the_same_limit(scorer: Scorer, case: str) -> None:
    with fails(DataError, "row 1, column 'tags'", "limit is 4"):
        scorer.score([ROW | {"tags": CELLS[case]}])


@pytest.mark.parametrize(
    "cell", [["a:1", "y" * 9 + ":1"], {"y" * 11: 1.0}, [("y" * 11, 1.0)], b"y" * 11, {"é" * 6}]
)
def test_a_text_within_a_cell_has_the_same_limit(scorer: Scorer, cell: Any) -> None:
    with fails(DataError, "row 1, column 'tags'", "bytes", "limit is 10"):
        scorer.score([ROW | {"tags": cell}])


def test_a_request_of_too_many_bytes_names_the_column_with_most_of_them(export: Path) -> None:
    scorer = Scorer.load(export, limits=Limits(request_bytes=100))
    rows = [ROW | {"tags": None, "word": "y" * 28}] * 2  # 56, 16 and 16 bytes
    assert len(scorer.score(rows)["probs_ctr"]) == 2
    for form in FORMS.values():
        with fails(DataError, "104 B", "72 B", "'word'", "limit is 100 B", "limits.request_bytes"):
            scorer.score(form(table(["y" * 28, "y" * 44])))


def test_nothing_is_made_of_a_text_that_many_rows_share(export: Path) -> None:
    """Six gigabytes, if each row had its own."""
    scorer = Scorer.load(export)
    rows = [ROW | {"word": "x" * 60_000}] * 100_000
    views = pa.array(["x" * 60_000]).dictionary_encode().take(pa.array([0] * 100_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for request in (rows, table(views)):
        with fails(DataError, "5.6 GiB", "'word'", "64.0 MiB"):
            scorer.score(request)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 100_000  # KiB


SHARED = {
    "lists": ["x" * 60] * 9_000,
    "texts in lists": ["x" * 60_000] * 2,
    "numbers": [1.5] * 9_000,
}


@pytest.mark.parametrize("case", SHARED)
def test_nothing_is_made_of_a_list_that_many_rows_share(export: Path, case: str) -> None:
    """From 3.6 to 54 gigabytes, if each row had its own."""
    scorer = Scorer.load(export)
    rows = [ROW | {"tags": SHARED[case]}] * (100_000 if case != "texts in lists" else 30_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with fails(DataError, "GiB", "'tags'", "64.0 MiB"):
        scorer.score(rows)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 100_000  # KiB


WORDS = st.text("aé", max_size=6)
WORD_CELLS = st.none() | WORDS | st.integers(0, 9) | st.just("\ud800")
TAG_CELLS = (
    st.none() | st.lists(WORDS | st.none(), max_size=4) | st.dictionaries(WORDS, st.floats())
)
SIZE_CELLS = st.none() | st.floats() | st.integers() | st.booleans() | st.lists(st.integers())
NEVER_PLAIN = {"is_plain": False, "has_room": lambda cells: False, "add": lambda array: None}
A_LIMIT = st.none() | st.integers(1, 30)


@settings(deadline=None, max_examples=200)
@given(
    cells=st.lists(st.tuples(WORD_CELLS, TAG_CELLS, SIZE_CELLS), min_size=1, max_size=4),
    limits=st.builds(Limits, values=A_LIMIT, text_bytes=A_LIMIT, request_bytes=A_LIMIT),
    collects=st.booleans(),
)
@example(cells=[(None, [None, None], None)], limits=Limits(values=1), collects=False)
def test_a_quick_look_at_sizes_decides_like_a_look_at_each_cell(
    scorer: Scorer, cells: list[tuple[Any, ...]], limits: Limits, collects: bool
) -> None:
    rows = [dict(zip(NAMES, row, strict=True)) for row in cells]

    def read(is_quick: bool) -> Any:
        faults = RowFaults(collects)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scorer._reader, "limits", limits)
            if not is_quick:
                patch.setattr(Limits, "tally", lambda limits: SimpleNamespace(**NEVER_PLAIN))
            try:
                request = scorer._reader.read(rows, faults)
            except DataError as error:
                return str(error)
        good = faults.good(len(rows))
        chunk = request.only(good).chunk if good.any() else None
        return faults.messages(len(rows)), chunk and [part.to_pydict() for part in chunk.parts]

    assert repr(read(True)) == repr(read(False))


def test_a_stream_is_not_read_beyond_the_limit(scorer: Scorer) -> None:
    asked = []

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(1000):
            asked.append(number)
            yield table(["a", "b"]).to_batches()[0]

    with fails(DataError, "4 rows", "limit is 3"):
        scorer.score(pa.RecordBatchReader.from_batches(table(["a"]).schema, batches()))
    assert len(asked) < 10


def test_without_limits_a_request_may_hold_anything(export: Path) -> None:
    rows = [ROW | {"word": "x" * 100_000, "tags": [f"{k}:1" for k in range(20_000)]}]
    assert Scorer.load(export, limits=None).score(rows)["probs_ctr"].isfinite().all()
    with fails(DataError, "limit is 65,536"):
        Scorer.load(export).score(rows)


def test_limits_have_no_effect_on_files(export: Path, tmp_path: Path) -> None:
    word = "x" * 100_000
    file, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pd.DataFrame({"word": [word], "tags": ["a:1"], "size": [1.0]}).to_parquet(file)
    flags = ("--saved_model_dir", "--predict_input_path", "--predict_output_path")
    paths = (str(export), str(file), str(out))
    predict.main([part for pair in zip(flags, paths, strict=True) for part in pair])
    found = pd.read_parquet(out)["probs_ctr"].tolist()
    rows = [{"word": word, "tags": "a:1", "size": 1.0}]
    assert found == Scorer.load(export, limits=None).score(rows)["probs_ctr"].tolist()


@pytest.mark.parametrize("limit", [0, -1, 1.5, "10", True])
def test_a_limit_that_is_not_a_count_is_an_error(limit: Any) -> None:
    with fails(ConfigError, "limits.values", repr(limit), "or None"):
        Limits(values=limit)


def test_a_pickled_scorer_keeps_its_limits(scorer: Scorer) -> None:
    assert pickle.loads(pickle.dumps(scorer)).limits == LIMITS


STAGES = {"reading the request": 1, "encoding": 2, "the program": 3}


@pytest.mark.parametrize("stage", STAGES)
def test_the_time_limit_names_the_stage_after_which_it_was_reached(
    export: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock jumps by two seconds at one of its readings; the first is the start."""
    scorer = Scorer.load(export)
    readings: list[float] = []

    def monotonic() -> float:
        readings.append(2.0 if len(readings) >= STAGES[stage] else 0.0)
        return readings[-1]

    monkeypatch.setattr(clock_module.time, "monotonic", monotonic)
    with fails(TimeLimitError, "request", "1.5 s", f"after {stage}", "2.000 s", "timeout_s"):
        scorer.score([ROW], timeout_s=1.5)
    assert scorer.quality()["rows"] == 0, "a request without an answer is not counted"


def test_a_request_within_its_time_has_the_usual_answer(scorer: Scorer) -> None:
    usual = scorer.score([ROW])
    timely = scorer.score([ROW], timeout_s=600)
    assert all(torch.equal(timely[name], output) for name, output in usual.items())


@pytest.mark.parametrize("timeout_s", [0, -1, "1", True, float("nan")])
def test_a_time_limit_that_is_not_a_time_is_an_error(scorer: Scorer, timeout_s: Any) -> None:
    with fails(ConfigError, "timeout_s", repr(timeout_s), "or None"):
        scorer.score([ROW], timeout_s=timeout_s)


OUT_OF_MEMORY = [
    MemoryError(),
    pa.ArrowMemoryError("malloc of size 64 failed"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 bytes"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("stage", ["reading", "program"])
def test_memory_that_runs_out_is_an_error_that_says_what_to_do(
    export: Path, stage: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer.load(export)

    def fail(*_: object) -> None:
        raise error

    if stage == "reading":
        monkeypatch.setattr(scorer._reader, "read", fail)
    else:
        monkeypatch.setattr(scorer, "_programs", [fail])
    with fails(DataError, "memory", "free"):
        scorer.score([ROW])


def test_other_errors_of_the_program_are_not_taken_for_lack_of_memory(
    export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer.load(export)

    def fail(_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(scorer, "_programs", [fail])
    with pytest.raises(CheckpointError, match="shapes do not match") as caught:
        scorer.score([ROW])
    assert "memory" not in str(caught.value)
