"""Traces of some batches. Shows S0.68 of the checklist."""

import json
import logging
import os
import re
import signal
from bisect import bisect
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e import tiny
from messages import says

from tzmmoe.errors import Interrupted
from tzmmoe.run.shown.profile import Profile

WINDOW, STEPS = "train_config__tensorboard__profile_batch", "train_config__num_steps"


LEARNING = (
    "aten::addmm",
    "aten::binary_cross_entropy_with_logits",
    "autograd::engine::evaluate_function: AddmmBackward0",
)
EVALUATING = ("aten::bincount", "aten::linspace")  # of a binned AUC


def trace(model_dir: Path, first: int, last: int) -> list[dict]:
    """What took time in the only trace, of which the name tells the batches."""
    [file] = (model_dir / "profile").iterdir()
    assert file.name == f"batches_{first}_{last}.pt.trace.json"
    return events(file)


def events(file: Path) -> list[dict]:
    return [each for each in json.loads(file.read_text())["traceEvents"] if each["ph"] == "X"]


def marked(found: list[dict]) -> list[int]:
    """The numbers of the marked batches, in the order of time."""
    marks = [each for each in found if each["name"].startswith("ProfilerStep#")]
    marks.sort(key=lambda mark: mark["ts"])
    return [int(mark["name"].partition("#")[2]) for mark in marks]


def counts(found: list[dict], name: str) -> list[int]:
    """How often something was done in each marked batch, and last how often in none."""
    marks = [each for each in found if each["name"].startswith("ProfilerStep#")]
    marks.sort(key=lambda mark: mark["ts"])
    starts = [mark["ts"] for mark in marks]
    numbers = [0] * (len(marks) + 1)
    for each in found:
        if each["name"] == name:
            mark = bisect(starts, each["ts"]) - 1
            inside = mark >= 0 and each["ts"] <= starts[mark] + marks[mark]["dur"]
            numbers[mark if inside else -1] += 1
    return numbers


@pytest.fixture
def said(caplog) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO)
    return lambda: [
        line for line in caplog.messages if re.match(r"trace of|\S+profile_batch", line)
    ]


def test_the_trace_holds_the_batches_from_the_first_to_the_last_and_nothing_else(
    tiny_folder, tmp_path, said
) -> None:
    """Batches 5 to 8; the checkpoint and the evaluation after batch 6 are not in it."""
    tiny.pipeline(tiny_folder, tmp_path, **{WINDOW: "[5, 8]"}).fit()
    found = trace(tmp_path, 5, 8)
    assert marked(found) == [5, 6, 7, 8]
    for operation in LEARNING:
        first, *others, outside = counts(found, operation)
        assert first > 0, operation
        assert others == [first] * 3
        assert outside == 0
    assert not [each for each in found if each["name"] in EVALUATING]
    [line] = said()
    file = tmp_path / "profile" / "batches_5_8.pt.trace.json"
    says(line, "batches 5 to 8", str(file))


@pytest.mark.parametrize(
    ("window", "first", "last"),
    [("[1, 2]", 1, 2), ("4", 4, 4), ("[7, 7]", 7, 7), ("[13, 15]", 13, 15)],
)
def test_a_trace_may_begin_with_the_run_hold_one_batch_or_go_over_an_epoch(
    tiny_folder, tmp_path, window, first, last
) -> None:
    tiny.pipeline(tiny_folder, tmp_path, **{WINDOW: window, STEPS: 16}).fit()
    assert marked(trace(tmp_path, first, last)) == list(range(first, last + 1))


@pytest.mark.parametrize("window", ["0", "[]"])
def test_no_batch_or_0_is_no_trace(tiny_folder, tmp_path, said, window) -> None:
    tiny.pipeline(tiny_folder, tmp_path, **{WINDOW: window, STEPS: 7}).fit()
    assert not (tmp_path / "profile").exists()
    assert said() == []


def test_a_trace_changes_nothing_of_what_is_learned(tiny_folder, tmp_path) -> None:
    tiny.pipeline(tiny_folder, tmp_path / "plain").fit()
    tiny.pipeline(tiny_folder, tmp_path / "traced", **{WINDOW: "[3, 17]"}).fit()
    assert tiny.end(tmp_path / "traced") == tiny.end(tmp_path / "plain")


def test_a_run_that_ends_among_the_batches_writes_those_that_it_had(
    tiny_folder, tmp_path, said
) -> None:
    tiny.pipeline(tiny_folder, tmp_path, **{WINDOW: "[5, 300]", STEPS: 7}).fit()
    assert marked(trace(tmp_path, 5, 7)) == [5, 6, 7]
    assert [line.partition(": ")[0] for line in said()] == ["trace of batches 5 to 7"]


def test_a_run_that_is_stopped_among_the_batches_and_goes_on_leaves_both_parts(
    tiny_folder, tmp_path, monkeypatch
) -> None:
    def terminate(number: int) -> None:
        if number == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    changes = {WINDOW: "[5, 8]", STEPS: 10}
    with monkeypatch.context() as patched:
        tiny.after_each_step(patched, terminate)
        with pytest.raises(Interrupted):
            tiny.pipeline(tiny_folder, tmp_path, **changes).fit()
    assert marked(trace(tmp_path, 5, 6)) == [5, 6]
    tiny.pipeline(tiny_folder, tmp_path, **changes).fit(continue_train=True)
    files = sorted((tmp_path / "profile").iterdir())
    assert [marked(events(file)) for file in files] == [[5, 6], [7, 8]]
    assert [file.name for file in files] == [
        "batches_5_6.pt.trace.json",
        "batches_7_8.pt.trace.json",
    ]
    tiny.pipeline(tiny_folder, tmp_path, **changes | {STEPS: 12}).fit(continue_train=True)
    assert sorted((tmp_path / "profile").iterdir()) == files


def test_a_run_that_ends_before_the_batches_says_so(tiny_folder, tmp_path, said) -> None:
    """A run that goes on after them does not."""
    tiny.pipeline(tiny_folder, tmp_path, **{WINDOW: "[200, 300]", STEPS: 7}).fit()
    [line] = said()
    says(line, "train_config.tensorboard.profile_batch", "batch 7", "before batch 200")
    assert not (tmp_path / "profile").exists()
    made = tiny.pipeline(tiny_folder, tmp_path, **{WINDOW: "[2, 3]", STEPS: 9})
    made.fit(continue_train=True)
    assert len(said()) == 1


def test_an_error_within_a_batch_still_leaves_a_trace(tmp_path) -> None:
    made = Profile([2, 4], tmp_path)

    def run() -> None:
        with made:
            for number in range(1, 4):
                with made.batch(number):
                    if number == 3:
                        raise KeyError

    with pytest.raises(KeyError):
        run()
    [file] = tmp_path.iterdir()
    assert marked(events(file)) == [2, 3]
