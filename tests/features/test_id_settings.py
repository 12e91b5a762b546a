"""Fields of id_feature: what they mean for column and table, and which cannot work."""

from pathlib import Path

import parts
import pyarrow as pa
import pytest
from features.id_features import id_feature
from messages import says

from tzmmoe.errors import ConfigError
from tzmmoe.features import FeatureSettings, check_shared
from tzmmoe.features.column import read
from tzmmoe.features.shared import Origin

FAULTS = [
    ("", r"has none of hash_bucket_size, num_buckets, .*; give one"),
    ("hash_bucket_size: 0", "hash_bucket_size: is 0; give 1 or more"),
    ("num_buckets: 0", "num_buckets: is 0; give 1 or more"),
    ("hash_bucket_size: 3 num_buckets: 4", "has hash_bucket_size and num_buckets; give one"),
    ('num_buckets: 3 vocab_list: "a"', "has num_buckets and vocab_list; give one"),
    ("num_buckets: 3 default_bucketize_value: 1", "default_bucketize_value: has no effect"),
    ("hash_bucket_size: 3 default_bucketize_value: 1", "default_bucketize_value: has no effect"),
    ('vocab_file: "words.txt"', "default_bucketize_value: is not set"),
    ('vocab_list: "a" default_bucketize_value: 1', "default_bucketize_value: is 1"),
    ('num_buckets: 3 pooling: "max"', "pooling: is 'max'; give 'sum' or 'mean'"),
    ('num_buckets: 3 pooling: "mean" weighted: true', "pooling: is 'mean', but weighted"),
    ("num_buckets: 3 embedding_dim: 0", "embedding_dim: is 0"),
    ('num_buckets: 3 embedding_name: "a.b"', "embedding_name: is 'a.b'"),
    ('num_buckets: 3 separator: ""', "separator: is empty"),
    ('num_buckets: 3 default_value: "x"', "default_value: 'x' .*whole number"),
    ('num_buckets: 3 default_value: "3" out_of_range: ERROR', "default_value: 3 is outside"),
    ('num_buckets: 3 init_fn: "nn.init.uniforn_"', "init_fn: .*did you mean 'uniform_'"),
    ('num_buckets: 3 expression: "usr:a"', "expression: is 'usr:a'; write user:"),
    ('num_buckets: 3 expression: "user:"', "expression: is 'user:'"),
]


@pytest.mark.parametrize(("fields", "text"), FAULTS, ids=[fields for fields, _ in FAULTS])
def test_a_feature_that_cannot_work_is_refused_by_its_field(fields: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        id_feature(fields)


def test_the_width_of_the_embedding_must_be_given() -> None:
    with pytest.raises(ConfigError, match="embedding_dim: is not set"):
        parts.features('id_feature { feature_name: "a" num_buckets: 3 }')


@pytest.mark.parametrize("default", ["x", "1.5"])
def test_an_encoded_default_that_is_no_id_is_refused_by_its_field(default: str) -> None:
    with pytest.raises(ConfigError, match=r"fg_encoded_default_value: .* .*whole number"):
        id_feature(f'num_buckets: 3 fg_encoded_default_value: "{default}"', "FG_NONE")


def test_reading_a_feature_takes_the_mode_that_allows_it() -> None:
    fields = 'num_buckets: 3 expression: "feature:b"'
    assert id_feature(fields, "FG_DAG").origins == (Origin("feature", "b"),)
    with pytest.raises(ConfigError, match=r"expression: 'feature:b' .* fg_mode: FG_DAG"):
        id_feature(fields, "FG_NORMAL")


@pytest.mark.parametrize("mode", ["FG_NONE", "FG_BUCKETIZE"])
@pytest.mark.parametrize("expression", ["user:b", "feature:b", "const:b", "what:ever"])
def test_columns_of_the_features_own_name_need_no_expression(mode: str, expression: str) -> None:
    feature = id_feature(f'num_buckets: 3 expression: "{expression}"', mode)
    assert feature.origins == (Origin("column", "a"),)


def shared(*fields: str) -> list[tuple[str, object]]:
    features = [
        id_feature(f'feature_name: "f{number}" embedding_name: "item" {each}')
        for number, each in enumerate(fields)
    ]
    return [(feature.name, feature.table) for feature in features]


def test_a_table_has_the_rows_that_its_ids_need_and_the_name_that_is_given() -> None:
    assert id_feature("num_buckets: 9").table.name == "a_emb"
    (_, first), (_, second) = shared("num_buckets: 9", "hash_bucket_size: 9")
    assert (first.name, first.rows, first.dim) == ("item", 9, 4)
    assert first == second
    check_shared([("f0", first), ("f1", second), ("b", id_feature("num_buckets: 2").table)])


@pytest.mark.parametrize(
    "fields",
    [
        "num_buckets: 8",
        "num_buckets: 9 embedding_dim: 8",
        "num_buckets: 9 trainable: false",
        'num_buckets: 9 init_fn: "nn.init.zeros_"',
    ],
)
def test_features_that_share_a_table_must_agree_on_it(fields: str) -> None:
    with pytest.raises(ConfigError, match="'f0' and 'f2' share the table 'item', but differ"):
        check_shared(shared("num_buckets: 9", "num_buckets: 9 value_dim: 1", fields))


@pytest.mark.parametrize(
    ("cells", "settings", "told"),
    [
        (["a", "a|b"], "", True),
        (["a", "a|b"], 'separator: "|"', False),
        (["a", "a,b"], "", False),
        ([["a", "b"], ["c"]], "", False),
        ([1, 2], "", False),
    ],
)
def test_text_that_looks_like_a_list_is_told_once(cells, settings, told, caplog) -> None:
    """As CSV has lists: without a separator each would be one unknown value."""
    text = f'id_feature {{ feature_name: "tags" hash_bucket_size: 9 embedding_dim: 2 {settings} }}'
    setting = FeatureSettings("FG_DAG", "\x03", "MURMUR_HASH", Path())
    [feature] = parts.features(text, setting=setting)
    for _ in range(2):
        feature.encode([read(pa.array(cells), feature.separator, weighted=False)])
    assert len(caplog.messages) == told
    if told:
        says(caplog.text, "tags: 'a|b'", "separator")
