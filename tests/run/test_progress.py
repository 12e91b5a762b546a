"""What a person sees: means, speed and waiting, by a clock that the test turns."""

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tzmmoe.learning.schedules import Rates
from tzmmoe.run import progress
from tzmmoe.run.progress import Clock, Progress


class Hand:
    """The time in seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def hand(monkeypatch) -> Hand:
    made = Hand()
    monkeypatch.setattr(progress, "time", made)
    return made


@pytest.fixture
def lines(caplog) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO)
    return lambda: caplog.messages


def losses(ctr: float, cvr: float) -> dict[str, torch.Tensor]:
    return {"bce_ctr": torch.tensor(ctr), "bce_cvr": torch.tensor(cvr)}


def test_waiting_is_the_time_until_an_item_comes_and_not_that_of_its_use(hand) -> None:
    def items() -> Iterator[int]:
        for number in range(3):
            hand.now += 2
            yield number

    clock = Clock()
    for _ in clock.waiting(items()):
        hand.now += 5
    assert clock.waited_s == 6
    assert clock.elapsed_s() == 21


def test_pauses_do_not_count_not_even_when_they_end_with_an_error(hand) -> None:
    clock = Clock()
    hand.now += 3
    with suppress(KeyError), clock.paused():
        hand.now += 100
        raise KeyError
    assert clock.elapsed_s() == 3
    clock.reset()
    assert clock.elapsed_s() == 0


def test_a_line_has_the_means_and_the_speed_since_the_last_one(hand, lines) -> None:
    made = Progress(every=2, total_steps=lambda: 1000, folder=None, epochs=3)
    for step, (ctr, cvr) in enumerate([(0.2, 1.0), (0.4, 2.0), (7.0, 7.0), (9.0, 9.0)], 1):
        hand.now += 0.5
        made.clock.waited_s += 0.125
        made.note(step, losses(ctr, cvr), 640, Rates(0.1, 0.2), epoch=step // 3)
    assert lines() == [
        "step 2 of 1,000 | epoch 1 of 3 | loss 1.8000 | bce_ctr 0.3000 | bce_cvr 1.5000 | "
        "1.3k rows/s | waiting for data 25% | ETA 8:19",
        "step 4 of 1,000 | epoch 2 of 3 | loss 16.0000 | bce_ctr 8.0000 | bce_cvr 8.0000 | "
        "1.3k rows/s | waiting for data 25% | ETA 8:18",
    ]


def test_what_is_left_at_the_end_gets_its_line_once(hand, lines) -> None:
    made = Progress(every=10, total_steps=lambda: None, folder=None)
    hand.now += 2
    made.note(1, losses(1.0, 2.0), 5, None)
    made.flush(1)
    made.flush(1)
    assert lines() == [
        "step 1 | epoch 1 | loss 3.0000 | bce_ctr 1.0000 | bce_cvr 2.0000 | 2 rows/s | "
        "waiting for data 0%"
    ]


def test_losses_that_are_always_0_are_left_out(hand, lines) -> None:
    made = Progress(every=1, total_steps=lambda: None, folder=None, hidden={"bce_cvr"})
    made.note(1, losses(1.5, 0.0), 5, None)
    assert "loss 1.5000 | bce_ctr 1.5000 | " in lines()[0]
    assert "bce_cvr" not in lines()[0]


@pytest.mark.parametrize(
    ("rows", "seconds", "speed", "eta"),
    [
        (1_000, 1.0, "1.0k rows/s", "ETA 0:09"),
        (2_500_000, 1.0, "2.50M rows/s", "ETA 0:09"),
        (90, 60.0, "2 rows/s", "ETA 9:00"),
        (100, 3600.0, "0 rows/s", "ETA 9:00:00"),
    ],
)
def test_large_numbers_are_short(hand, lines, rows, seconds, speed, eta) -> None:
    made = Progress(every=1, total_steps=lambda: 10, folder=None)
    hand.now += seconds
    made.note(1, losses(0.0, 0.0), rows, None)
    parts = lines()[0].split(" | ")
    assert parts[5] == speed
    assert parts[-1] == eta


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_tensorboard_shows_losses_rates_and_evaluations_by_the_number_of_the_step(
    hand, tmp_path
) -> None:
    """Steps are counted from 0 there, as in the names of checkpoints."""
    with Progress(every=2, total_steps=lambda: None, folder=tmp_path) as made:
        for step in (1, 2):
            hand.now += 1
            made.note(step, losses(0.25 * step, 1.0), 10, Rates(0.5, 0.125))
        made.evaluated(1, {"auc_ctr": 0.75})
    assert scalars(tmp_path) == {
        "loss/bce_ctr": [(1, 0.375)],
        "loss/bce_cvr": [(1, 1.0)],
        "loss/total": [(1, 1.375)],
        "lr/g0": [(1, 0.5)],
        "lr/g1": [(1, 0.125)],
        "speed/rows_per_s": [(1, 10.0)],
        "eval/auc_ctr": [(1, 0.75)],
    }


def test_without_tensorboard_nothing_is_written(hand, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Progress(every=1, total_steps=lambda: None, folder=None) as made:
        made.note(1, losses(0.0, 0.0), 1, None)
        made.evaluated(0, {"auc_ctr": 0.5})
    assert list(tmp_path.iterdir()) == []
