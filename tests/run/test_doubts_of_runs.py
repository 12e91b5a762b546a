"""Doubts about vocabularies and shared tables in whole checks and runs: before training, once."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from e2e import tiny
from messages import says

from tzmmoe.pipeline import Pipeline

CITIES = [f"city{number}" for number in range(6)]
CITY = 'feature_name: "city" hash_bucket_size: 9 embedding_dim: 3 trainable: false'
TAGS = 'feature_name: "tags" hash_bucket_size: 30 embedding_dim: 4'
USER = 'feature_name: "user" num_buckets: 20 embedding_dim: 4'
OF_FILE = CITY.replace("hash_bucket_size: 9", 'vocab_file: "words.txt" default_bucketize_value: 0')
TAG_WORDS = ", ".join(f'"t{number}"' for number in range(12))
TURNED = ", ".join(f'"t{number}"' for number in reversed(range(12)))
SHARED = 'embedding_name: "shared"'

Change = tuple[str, str]
# Without these settings, nothing is warned of for other reasons.
QUIET: list[Change] = [("gradient_accumulation_steps: 2", ""), ("with_header: true", "")]


def listed(feature: str, words: str) -> str:
    """The feature with a vocabulary in place of its hash."""
    old = "hash_bucket_size: 30"
    assert old in feature
    return feature.replace(old, f"vocab_list: [{words}] default_bucketize_value: 0")


SCORES = TAGS.replace("tags", "scores")
FILES: dict[str, tuple[str, list[list[str]]]] = {
    "a header, and numbers behind commas": (
        "word,row\n" + "".join(f"{word},{row}\n" for row, word in enumerate(CITIES)),
        [["city: 100%", "not in its vocabulary", "number"]],
    ),
    "a header over word<TAB>row": (
        "word\trow\n" + "".join(f"{word}\t{row}\n" for row, word in enumerate(CITIES)),
        [["words.txt", "word<TAB>row", "'word\\trow'"], ["city: 100%", "number"]],
    ),
    "counts behind tabs": (
        "".join(f"{word}\t{900 - 100 * row}\n" for row, word in enumerate(CITIES)),
        [["words.txt", "'city0\\t900'", "count"]],
    ),
    "trailing blanks": (
        "".join(f"{word} \n" for word in CITIES),
        [["city: 100%", "blanks"]],
    ),
    "rows from 1": ("".join(f"{word}\t{row}\n" for row, word in enumerate(CITIES, 1)), []),
    "words alone": ("".join(f"{word}\n" for word in CITIES), []),
}
TABLES: dict[str, tuple[list[Change], list[list[str]]]] = {
    "vocabularies in another order": (
        [
            (TAGS, f"{listed(TAGS, TAG_WORDS)} {SHARED}"),
            (SCORES, f"{listed(SCORES, TURNED)} {SHARED}"),
        ],
        [["tags and scores share the table shared", "embedding_name"]],
    ),
    "vocabularies in the same order": (
        [
            (TAGS, f"{listed(TAGS, TAG_WORDS)} {SHARED}"),
            (SCORES, f"{listed(SCORES, TAG_WORDS)} {SHARED}"),
        ],
        [],
    ),
    "a hash beside an identity": (
        [(USER, f"{USER} {SHARED}"), (TAGS, f"{TAGS.replace('30', '20')} {SHARED}")],
        [["user and tags share the table shared", "embedding_name"]],
    ),
}


def check(pipeline: Pipeline) -> None:
    pipeline.check()


def train(pipeline: Pipeline) -> None:
    pipeline.fit()


def records(
    folder: Path, changes: Sequence[Change], act: Callable[[Pipeline], None], caplog
) -> list[logging.LogRecord]:
    """What is logged, in order. Every step has a line, and an evaluation follows the last one."""
    tiny.write_all(folder)
    text = (folder / "tiny.config").read_text()
    for old, new in [*QUIET, *changes]:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "tiny.config").write_text(text)
    pipeline = tiny.pipeline(
        folder,
        folder / "model",
        train_config__log_step_count_steps=1,
    )
    with caplog.at_level(logging.INFO):
        act(pipeline)
    return caplog.records


def assert_said_first_and_once(
    said: Sequence[logging.LogRecord], doubts: Sequence[Sequence[str]]
) -> None:
    """Each doubt has one line, before any step, and nothing else is warned of."""
    steps = [n for n, each in enumerate(said) if each.getMessage().startswith("step ")]
    warnings = [n for n, each in enumerate(said) if each.levelno >= logging.WARNING]
    assert len(warnings) == len(doubts), [said[n].getMessage() for n in warnings]
    for place, words in zip(warnings, doubts, strict=True):
        says(said[place].getMessage(), *words)
        assert not steps or place < steps[0]


@pytest.mark.parametrize("act", [check, train])
@pytest.mark.parametrize(("text", "doubts"), FILES.values(), ids=FILES)
def test_a_doubt_about_a_vocabulary_comes_before_the_first_step_and_once(
    tmp_path, caplog, act, text, doubts
) -> None:
    (tmp_path / "words.txt").write_text(text)
    said = records(tmp_path, [(CITY, OF_FILE)], act, caplog)
    assert any(each.getMessage().startswith("step ") for each in said) == (act is train)
    assert_said_first_and_once(said, doubts)


@pytest.mark.parametrize("act", [check, train])
@pytest.mark.parametrize(("changes", "doubts"), TABLES.values(), ids=TABLES)
def test_a_doubt_about_a_shared_table_comes_before_the_first_step_and_once(
    tmp_path, caplog, act, changes, doubts
) -> None:
    assert_said_first_and_once(records(tmp_path, changes, act, caplog), doubts)
