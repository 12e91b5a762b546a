"""Features that share a table by name should mean the same by a row; else a line says so."""

from pathlib import Path

import pytest
from messages import says
from written import load

from tzmmoe.build.features import build_features, feature_settings, feature_specs
from tzmmoe.errors import Faults

WORDS = 'vocab_list: ["a", "b", "c"] default_bucketize_value: 0'
TURNED = 'vocab_list: ["b", "a", "c"] default_bucketize_value: 0'
OTHER_UNKNOWN = 'vocab_list: ["a", "b", "c"] default_bucketize_value: 2'
DICT = 'vocab_dict: [{ key: "b" value: 1 }, { key: "a" value: 0 }, { key: "c" value: 2 }]'
FILE = 'vocab_file: "words.txt" default_bucketize_value: 0'
HASH, ROW = "hash_bucket_size: 3", "num_buckets: 3"


def warned(folder: Path, one: str, two: str, data: str, caplog: pytest.LogCaptureFixture) -> str:
    shared = 'embedding_dim: 4 embedding_name: "shared"'
    (folder / "words.txt").write_text("a\nb\nc\n")
    text = f"data_config {{ {data} }}"
    for name, fields in (("first", one), ("second", two)):
        kind = "raw_feature" if "boundaries" in fields else "id_feature"
        text += f' feature_configs {{ {kind} {{ feature_name: "{name}" {fields} {shared} }} }}'
    (folder / "shared.config").write_text(text)
    pipeline, faults = load(folder / "shared.config").pipeline, Faults()
    build_features(feature_specs(pipeline), feature_settings(pipeline.data_config, folder), faults)
    assert not faults
    return "\n".join(caplog.messages)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        *((WORDS, TURNED), (WORDS, OTHER_UNKNOWN), (WORDS, HASH), (WORDS, ROW), (HASH, ROW)),
        *((ROW, HASH), (FILE, TURNED), (ROW, "boundaries: [1, 2]")),
        ("boundaries: [1, 2]", "boundaries: [1, 3]"),
    ],
)
def test_a_row_that_stands_for_two_values_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, one: str, two: str
) -> None:
    message = warned(tmp_path, one, two, "fg_mode: FG_DAG", caplog)
    says(message, "first and second", "table shared", "embedding_name")


@pytest.mark.parametrize(
    ("one", "two"),
    [(WORDS, WORDS), (WORDS, f"{DICT} default_bucketize_value: 0"), (FILE, WORDS), (HASH, HASH)],
)
def test_lookups_that_agree_may_be_written_in_different_ways(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, one: str, two: str
) -> None:
    assert not warned(tmp_path, one, two, "fg_mode: FG_DAG", caplog)


def test_where_columns_hold_rows_the_lookup_does_not_matter(tmp_path: Path, caplog) -> None:
    assert not warned(tmp_path, WORDS, HASH, "fg_mode: FG_NONE", caplog)
