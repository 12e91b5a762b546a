"""An export scores rows as evaluation does, anywhere, and tells what is wrong with a request."""

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from messages import fails
from serving.small import Small, assert_same
from serving.sums import edit_signature, seal_up

from tzmmoe.errors import CheckpointError, DataError
from tzmmoe.serving.scorer import Scorer

# For each fg_mode: settings of the data, features, and rows with the columns that the mode reads.
CHAINED = [
    'id_feature { feature_name: "city" expression: "user:town" hash_bucket_size: 7 '
    'embedding_dim: 4 default_value: "5" }',
    'id_feature { feature_name: "again" expression: "feature:city" num_buckets: 9 embedding_dim: 3 '
    "out_of_range: MODULO }",
    'raw_feature { feature_name: "scale" expression: "item:cm" '
    'normalizer: "method=expression,expr=x / 100" default_value: "1.5" }',
    'raw_feature { feature_name: "bucket" expression: "feature:scale" boundaries: [1, 2] '
    "embedding_dim: 4 }",
    'id_feature { feature_name: "fixed" expression: "const:7" num_buckets: 8 embedding_dim: 4 }',
]
PLAIN = [
    'id_feature { feature_name: "tags" vocab_file: "words.txt" default_bucketize_value: 0 '
    'embedding_dim: 4 separator: "|" pooling: "mean" }',
    'id_feature { feature_name: "scores" num_buckets: 9 embedding_dim: 4 weighted: true '
    'separator: "|" }',
    'raw_feature { feature_name: "size" expression: "item:size" value_dim: 2 separator: "|" }',
]
ENCODED = [
    'id_feature { feature_name: "tags" hash_bucket_size: 9 embedding_dim: 4 '
    'fg_encoded_default_value: "3" }',
    'raw_feature { feature_name: "bucket" boundaries: [1, 2] embedding_dim: 4 }',
    'raw_feature { feature_name: "size" value_dim: 2 fg_encoded_default_value: "0" }',
]
MODES: dict[str, tuple[list[str], str, pa.Table]] = {
    "FG_DAG": (
        CHAINED,
        "fg_mode: FG_DAG",
        pa.table({"town": ["3", "11", None, ""] * 3, "cm": [50.0, 150.0, None, 250.0] * 3}),
    ),
    "FG_NORMAL": (
        PLAIN,
        "fg_mode: FG_NORMAL hash_function: FARM_HASH",
        pa.table(
            {
                "tags": ["red|blue", "green", None, "red|none|red"] * 3,
                "scores": ["1:0.5|2:2", None, "8:1", ""] * 3,
                "size": ["1|2", "0.5|0", None, "3|4"] * 3,
            }
        ),
    ),
    "FG_BUCKETIZE": (
        PLAIN,
        "fg_mode: FG_BUCKETIZE",
        pa.table(
            {
                "tags": pa.array([["red", "blue"], [], None, ["none"]] * 3),
                "scores": pa.array(
                    [[("1", 0.5)], [], None, [("8", 1.0), ("2", 3.0)]] * 3,
                    pa.map_(pa.string(), pa.float64()),
                ),
                "size": pa.array([[1.0, 2.0], None, [0.0, 0.0], [3.0, 4.0]] * 3),
            }
        ),
    ),
    "FG_NONE": (
        ENCODED,
        'fg_mode: FG_NONE fg_encoded_multival_sep: ";"',
        pa.table(
            {
                "tags": ["1;2", "8", None, ""] * 3,
                "bucket": pa.array([0, 1, 2, None] * 3),
                "size": ["1;2", "0;0", None, "3;4"] * 3,
            }
        ),
    ),
}
TOWERS = """
task_towers { tower_name: "ctr" label_name: "label" }
task_towers {
  tower_name: "kind" label_name: "label" num_class: 3 losses { softmax_cross_entropy {} }
}
"""


def build(mode: str, folder: Path) -> Small:
    features, data, _ = MODES[mode]
    (folder / "words.txt").write_text("red\ngreen\nblue\n")
    names = [feature.split('"')[1] for feature in features]
    return Small.build(folder, features, names=names, data=data, towers=TOWERS)


@pytest.fixture(scope="module", params=MODES)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Scorer, pa.Table, Mapping[str, torch.Tensor]]:
    """A scorer, rows, and what evaluation gives for them. What the export was made from is gone,
    and the process has moved elsewhere before the scorer is made."""
    training = tmp_path_factory.mktemp("training")
    rows = MODES[request.param][2]
    small = build(request.param, training)
    expected = small.evaluated(rows, training)
    export = small.export(tmp_path_factory.mktemp("exports") / "export")
    shutil.rmtree(training)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        return Scorer.load(export), rows, expected


def test_scores_of_a_batch_equal_evaluation_in_every_mode(served: tuple) -> None:
    scorer, rows, expected = served
    batch = rows.combine_chunks().to_batches()[0]
    assert_same(scorer.score(batch), expected)
    assert_same(scorer.score(rows), expected)
    assert len(expected["probs_kind"].unique(dim=0)) > 2, "rows that differ should score apart"


def test_scores_do_not_depend_on_how_the_rows_come(served: tuple) -> None:
    """In chunks, as a slice, with columns that nobody asked for, in another order, or encoded."""
    scorer, rows, expected = served
    chunks = pa.concat_tables([rows.slice(0, 5), rows.slice(5, 1), rows.slice(6)])
    more = rows.append_column("label", pa.array(range(len(rows))))
    shuffled = more.select(sorted(more.column_names, reverse=True))
    coded = pa.table(
        {
            name: column.dictionary_encode() if pa.types.is_string(column.type) else column
            for name, column in zip(chunks.column_names, chunks.columns, strict=True)
        }
    )
    for same in (chunks, shuffled, shuffled.combine_chunks().to_batches()[0], coded):
        assert_same(scorer.score(same), expected)
    part = {name: values[3:8] for name, values in expected.items()}
    assert_same(scorer.score(rows.slice(3, 5)), part)
    assert_same(scorer.score(rows.combine_chunks().to_batches()[0].slice(3, 5)), part)


def test_a_request_may_be_a_list_of_dicts(served: tuple) -> None:
    """Maps are dicts, too."""
    scorer, rows, expected = served
    listed = rows.to_pylist(maps_as_pydicts="strict")
    assert_same(scorer.score(listed), expected)
    assert_same(scorer.score(tuple(listed)), expected)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ([{"user": 1}, 3], "request, row 2: a row is a int; pass a dict"),
        (["user"], "request, row 1: a row is a str; pass a dict"),
        ({"user": 1}, "request: its type is dict; pass a list of dicts"),
        ("user", "request: its type is str; pass a list of dicts"),
        (3, "request: its type is int; pass a list of dicts"),
    ],
)
def test_a_request_that_is_not_a_list_of_dicts_is_an_error(
    scorer: Scorer, request_: object, said: str
) -> None:
    with fails(DataError, said):
        scorer.score(request_)


def test_no_rows_give_no_scores(served: tuple) -> None:
    scorer, rows, expected = served
    empty = {name: values[:0] for name, values in expected.items()}
    for none in (rows.slice(0, 0), rows.schema.empty_table(), []):
        assert_same(scorer.score(none), empty)
    assert_same(scorer.score(pa.RecordBatch.from_pylist([], schema=rows.schema)), empty)


def test_columns_that_lack_in_a_request_are_named_all_at_once(served: tuple) -> None:
    scorer, rows, _ = served
    needed = scorer.assembler.needed
    others = rows.rename_columns([f"{name}s" for name in rows.column_names])
    with pytest.raises(DataError) as lacking:
        scorer.score(others)
    for name in needed:
        assert f"request: no column '{name}'; did you mean '{name}s'?" in str(lacking.value)
    assert str(lacking.value).count("\n") == len(needed) - 1


def test_requests_are_scored_side_by_side_as_one_after_the_other(served: tuple) -> None:
    scorer, rows, expected = served
    parts = [rows.slice(row % len(rows), 1) for row in range(60)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(scorer.score, parts))
    for row, scores in enumerate(found):
        place = row % len(rows)
        assert_same(scores, {name: values[place : place + 1] for name, values in expected.items()})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = build("FG_NORMAL", tmp_path_factory.mktemp("normal"))
    return small.export(tmp_path_factory.mktemp("exports") / "export")


@pytest.fixture
def export(exported: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(exported, tmp_path / "export"))


@pytest.fixture(scope="module")
def scorer(exported: Path) -> Scorer:
    return Scorer.load(exported)


def request(**columns: list) -> pa.RecordBatch:
    values = {"tags": ["red", "blue"], "scores": ["1:1", "2:1"], "size": ["1|2", "3|4"], **columns}
    return pa.RecordBatch.from_pydict(values)


@pytest.mark.parametrize(
    ("columns", "place", "found"),
    [
        ({"size": ["1|2", "3|x"]}, "row 2, column 'size' (feature 'size')", "'x' "),
        ({"size": ["1", "3|4"]}, "row 1, column 'size' (feature 'size')", "has one number"),
        ({"scores": ["1:1", "2"]}, "row 2, column 'scores' (feature 'scores')", "'2' "),
        ({"scores": ["a:1", "2:1"]}, "row 1, column 'scores' (feature 'scores')", "'a' "),
        ({"tags": [{"a": 1}, None]}, "column 'tags' (feature 'tags')", "struct<a: int64> "),
    ],
)
def test_a_bad_value_of_a_request_is_an_error_with_row_column_and_feature(
    scorer: Scorer, columns: dict, place: str, found: str
) -> None:
    with fails(DataError, f"request, {place}: {found}"):
        scorer.score(request(**columns))


def test_two_columns_of_one_name_are_an_error(scorer: Scorer) -> None:
    batch = request()
    twice = pa.RecordBatch.from_arrays(
        [*batch.columns, batch.column("size")], names=[*batch.schema.names, "size"]
    )
    with fails(DataError, "request: ", "2 columns", "'size'", "remove"):
        scorer.score(twice)


def test_a_column_of_nulls_is_scored_as_missing_values(scorer: Scorer) -> None:
    nulls = scorer.score(request(tags=[None, None]))
    texts = scorer.score(request(tags=pa.array([None, None], pa.string())))
    assert_same(nulls, texts, tolerance=0)


def test_scores_carry_no_gradient(scorer: Scorer) -> None:
    assert not any(output.requires_grad for output in scorer.score(request()).values())


def rewrite(export: Path, **changes: object) -> None:
    edit_signature(export, changes)


@pytest.mark.parametrize("name", ["model.pt2", "vocab/tags.txt"])
def test_one_changed_byte_is_found_when_the_export_is_loaded(export: Path, name: str) -> None:
    content = bytearray((export / name).read_bytes())
    content[len(content) // 2] ^= 1
    (export / name).write_bytes(content)
    with fails(CheckpointError, str(export / name), "damaged", "export again"):
        Scorer.load(export)


@pytest.mark.parametrize("name", ["model.pt2", "vocab/tags.txt", "signature.json"])
def test_a_file_that_is_missing_is_named(export: Path, name: str) -> None:
    (export / name).unlink()
    with fails(CheckpointError, str(export), name):
        Scorer.load(export)


def test_an_export_of_a_later_version_is_an_error_that_says_so(export: Path) -> None:
    rewrite(export, format=3, features="in a form that nobody knows yet")
    with fails(
        CheckpointError, str(export), "format 3", "formats 1 and 2", "version that wrote it"
    ):
        Scorer.load(export)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"format": 1}', "null", b"\xff".decode("latin-1")]
)
def test_a_malformed_signature_is_an_error_with_the_folder(export: Path, content: str) -> None:
    (export / "signature.json").write_bytes(content.encode("latin-1"))
    seal_up(export)
    with fails(CheckpointError, f"{export}: ", "not an export"):
        Scorer.load(export)


def test_a_folder_that_is_not_an_export_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path, tmp_path / "missing", tmp_path / "file"):
        with fails(CheckpointError, f"{place}: ", "not an export"):
            Scorer.load(place)


@pytest.mark.parametrize("name", ["/etc/hostname", "../words.txt", "vocab/../../words.txt"])
def test_a_signature_cannot_name_files_outside_the_export(export: Path, name: str) -> None:
    signature = json.loads((export / "signature.json").read_text())
    rewrite(export, sha256=signature["sha256"] | {name: "0"})
    with fails(CheckpointError, str(export), "no checksum", name):
        Scorer.load(export)
    sums = json.loads((export / "seal.json").read_text())
    sums["sha256"][name] = "0"
    (export / "seal.json").write_text(json.dumps(sums))
    with pytest.raises(CheckpointError, match="outside its folder"):
        Scorer.load(export)
    features = signature["features"]
    features[0]["vocab_file"] = name
    rewrite(export, sha256=signature["sha256"], features=features)
    with pytest.raises(CheckpointError, match="no checksum"):
        Scorer.load(export)


def test_a_feature_that_this_version_does_not_know_is_an_error(export: Path) -> None:
    signature = json.loads((export / "signature.json").read_text())
    signature["features"][0]["kind"] = "sequence_feature"
    rewrite(export, features=signature["features"])
    with pytest.raises(CheckpointError, match="sequence_feature"):
        Scorer.load(export)
