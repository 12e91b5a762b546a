"""Where a feature's values come from, and in which order features are encoded."""

from itertools import permutations
from pathlib import Path

import pytest
from parts import features

from tzmmoe.errors import ConfigError
from tzmmoe.features import Feature, FeatureSettings, ordered
from tzmmoe.features.shared import Origin

SETTING = FeatureSettings("FG_DAG", "\x03", "MURMUR_HASH", Path())


@pytest.mark.parametrize(
    ("expression", "origin"),
    [
        ("", Origin("column", "own")),
        ("user:age", Origin("column", "age")),
        ("item:age", Origin("column", "age")),
        ("context:age", Origin("column", "age")),
        ("age", Origin("column", "age")),
        ("feature:age", Origin("feature", "age")),
        ("const:7", Origin("const", "7")),
        ("const:a:b", Origin("const", "a:b")),
        ("user:a:b", Origin("column", "a:b")),
    ],
)
def test_an_expression_names_a_column_a_feature_or_a_constant(
    expression: str, origin: Origin
) -> None:
    assert Origin.parse(expression, "own") == origin


@pytest.mark.parametrize("expression", ["user:", ":age", "usr:age", "feature:", "const:", ":"])
def test_an_expression_that_names_nothing_is_a_fault(expression: str) -> None:
    with pytest.raises(ConfigError, match=r"expression: is .*; write user:, item:, context:"):
        Origin.parse(expression, "own")


def reading(**expressions: str) -> dict[str, Feature]:
    texts = [
        f'id_feature {{ feature_name: "{name}" num_buckets: 3 embedding_dim: 4 '
        f'expression: "{expression}" }}'
        for name, expression in expressions.items()
    ]
    return {feature.name: feature for feature in features(*texts, setting=SETTING)}


@pytest.mark.parametrize("order", list(permutations("abcd")), ids="".join)
def test_a_feature_comes_after_the_one_it_reads_in_whatever_order_they_stand(
    order: tuple[str, ...],
) -> None:
    expressions = {"a": "feature:b", "b": "feature:c", "c": "user:x", "d": "feature:c"}
    found = [f.name for f in ordered(reading(**{name: expressions[name] for name in order}))]
    assert sorted(found) == ["a", "b", "c", "d"]
    assert found.index("c") < found.index("b") < found.index("a")
    assert found.index("c") < found.index("d")


@pytest.mark.parametrize(
    ("expressions", "ring"),
    [
        ({"a": "feature:a"}, "a -> a"),
        ({"a": "feature:b", "b": "feature:a"}, "a -> b -> a"),
        ({"a": "feature:b", "b": "feature:c", "c": "feature:b"}, "b -> c -> b"),
    ],
)
def test_features_that_read_each_other_in_a_ring_are_a_fault(
    expressions: dict[str, str], ring: str
) -> None:
    with pytest.raises(ConfigError, match=f"in a ring: .*{ring}"):
        ordered(reading(**expressions))
