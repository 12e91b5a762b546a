"""Lines on the speed of training, and on how well it goes. Shows S0.67 of the checklist."""

import logging
from collections import defaultdict
from collections.abc import Callable

import pytest
import torch
from e2e import tiny

from tzmmoe.batch import Batch
from tzmmoe.run import progress
from tzmmoe.run.progress import Progress, RunningEpoch, Speed

LOGGER = "train_config__train_speed_logger"
TOWERS = "model_config__mmoe__task_towers"
EXACT = {
    f"{TOWERS}[0]__metrics": "[{ auc { thresholds: 0 } }, { grouped_auc { grouping_key: 'user' }}]",
    f"{TOWERS}[1]__metrics": "[{ mean_squared_error {} }]",
}


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
    return lambda: [line for line in caplog.messages if line.startswith("speed |")]


def test_a_line_tells_the_speed_of_its_window_and_that_of_the_run(hand, lines) -> None:
    """1,000 batches of 256 rows in 10 s, then 1,000 in 40 s: 2,000 in 50 s."""
    with Progress(every=10**9, total_steps=lambda: None, folder=None) as shown:
        speed = Speed(every_batches=1000, progress=shown, epoch=None)
        for step in range(1, 2500):
            hand.now += 0.01 if step <= 1000 else 0.04
            speed.note(step, 256)
    assert lines() == [
        "speed | batch 1,000 | 1,000 batches in 10.0 s | 100.0 steps/s, 100.0 on average | "
        "25.6k rows/s",
        "speed | batch 2,000 | 1,000 batches in 40.0 s | 25.0 steps/s, 40.0 on average | "
        "6.4k rows/s",
    ]


def test_saving_and_evaluating_do_not_count_and_other_lines_do_not_matter(hand, lines) -> None:
    with Progress(every=1, total_steps=lambda: None, folder=None) as shown:
        hand.now += 3  # until the first batch comes
        speed = Speed(every_batches=2, progress=shown, epoch=None)
        for step in range(1, 5):
            hand.now += 1
            shown.note(step, {"loss": torch.tensor(1.0)}, 10, None)
            speed.note(step, 10)
            with shown.clock.paused():
                hand.now += 100
    assert [line.split(" | ")[2:4] for line in lines()] == [
        ["2 batches in 5.0 s", "0.4 steps/s, 0.4 on average"],
        ["2 batches in 2.0 s", "1.0 steps/s, 0.6 on average"],
    ]


def test_a_run_that_goes_on_counts_the_batches_of_the_run_and_times_its_own(hand, lines) -> None:
    """After 7 batches of an earlier run the first window has 3."""
    with Progress(every=100, total_steps=lambda: None, folder=None) as shown:
        speed = Speed(every_batches=5, progress=shown, epoch=None)
        for step in range(8, 16):
            hand.now += 0.5
            speed.note(step, 10)
    assert [line.split(" | ")[1:4] for line in lines()] == [
        ["batch 10", "3 batches in 1.5 s", "2.0 steps/s, 2.0 on average"],
        ["batch 15", "5 batches in 2.5 s", "2.0 steps/s, 2.0 on average"],
    ]


def test_lines_come_by_the_batches_of_the_run(tiny_folder, tmp_path, lines) -> None:
    """Over 2 epochs of 13 batches, and over a stop; none at the end."""
    changes = {LOGGER: "every_batches: 4"}
    for steps in (10, 26):
        made = tiny.pipeline(tiny_folder, tmp_path, **changes, train_config__num_steps=steps)
        made.fit(continue_train=steps > 10)
    parts = [line.split(" | ") for line in lines()]
    assert [part[1] for part in parts] == [f"batch {step}" for step in range(4, 26, 4)]
    assert [part[2].split(" in ")[0] for part in parts] == [
        f"{size} batches" for size in (4, 4, 2, 4, 4, 4)
    ]
    assert {len(part) for part in parts} == {5}


def pairs_auc(predictions: list[float], labels: list[float]) -> float:
    """The share of pairs of a positive and a negative that are in order; ties are half."""
    positives = [p for p, y in zip(predictions, labels, strict=True) if y > 0.5]
    negatives = [p for p, y in zip(predictions, labels, strict=True) if y <= 0.5]
    if not positives or not negatives:
        return float("nan")
    wins = sum((p > n) + (p == n) / 2 for p in positives for n in negatives)
    return wins / (len(positives) * len(negatives))


class Seen:
    """What the batches of an epoch gave, row by row."""

    def __init__(self) -> None:
        self.rows: dict[str, list[list[float]]] = defaultdict(list)
        self.losses: dict[str, list[float]] = defaultdict(list)
        self.sizes: list[int] = []

    def add(self, logits: dict, losses: dict, batch: Batch) -> None:
        self.sizes.append(len(batch))
        for key, loss in losses.items():
            self.losses[key].append(float(loss.detach()))
        for task, label in (("ctr", "click"), ("cvr", "buy")):
            columns = logits[task].detach().sigmoid(), batch.columns[label]
            users = batch.columns["user"]
            for row in zip(*(column.tolist() for column in (*columns, users)), strict=True):
                if row[1] == row[1]:
                    self.rows[task].append(row)

    def expected(self) -> dict[str, float]:
        total = sum(self.sizes)
        means = {
            key: sum(loss * size for loss, size in zip(losses, self.sizes, strict=True)) / total
            for key, losses in self.losses.items()
        }
        ctr, cvr = self.rows["ctr"], self.rows["cvr"]
        groups = [[row for row in ctr if row[2] == user] for user in {row[2] for row in ctr}]
        areas = [pairs_auc(*list(zip(*group, strict=True))[:2]) for group in groups]
        known = [area for area in areas if area == area]
        return {
            "loss": sum(means.values()),
            **means,
            "auc_ctr": pairs_auc(*list(zip(*ctr, strict=True))[:2]),
            "grouped_auc_ctr": sum(known) / len(known) if known else float("nan"),
            "mean_squared_error_cvr": sum((p - y) ** 2 for p, y, _ in cvr) / len(cvr),
        }


def test_losses_and_metrics_are_those_of_the_training_rows_of_the_epoch_so_far(
    tiny_folder, tmp_path, lines, monkeypatch
) -> None:
    """After every batch of two epochs, by loops over rows and pairs. The evaluations in between,
    which begin the model's own metrics anew, take nothing from them."""
    epochs: dict[int, Seen] = defaultdict(Seen)
    expected = []
    original = RunningEpoch.add

    def add(self: RunningEpoch, epoch: int, logits, losses, batch: Batch, rows: int) -> None:
        assert rows == len(batch), "of one process"
        original(self, epoch, logits, losses, batch, rows)
        epochs[epoch].add(logits, losses, batch)
        expected.append(epochs[epoch].expected())

    monkeypatch.setattr(RunningEpoch, "add", add)
    changes = {LOGGER: "every_batches: 1 with_metrics: true"} | EXACT
    tiny.pipeline(tiny_folder, tmp_path, **changes).fit()
    assert len(lines()) == len(expected) == 26
    for line, known in zip(lines(), expected, strict=True):
        found = dict(part.rsplit(" ", 1) for part in line.split(" | ")[5:])
        assert found.keys() == known.keys()
        for key, value in known.items():
            undefined = found[key] == "undefined"
            assert undefined == (value != value)
            assert undefined or float(found[key]) == pytest.approx(value, abs=6e-5), (line, key)


def test_a_run_that_goes_on_within_an_epoch_begins_its_metrics_anew(
    tiny_folder, tmp_path, lines
) -> None:
    """The last batch of an epoch alone, after a stop before it: as many rows as it has."""
    changes = {LOGGER: "every_batches: 13 with_metrics: true"}
    tiny.pipeline(tiny_folder, tmp_path / "run", **changes, train_config__num_steps=12).fit()
    assert lines() == []
    made = tiny.pipeline(tiny_folder, tmp_path / "run", **changes, train_config__num_steps=13)
    made.fit(continue_train=True)
    [line] = lines()
    *_, last = tiny.batches(tiny.session(tiny_folder), 13)
    assert len(last) == 8
    assert "1 batches in" in line
    shown = dict(part.rsplit(" ", 1) for part in line.split(" | ")[5:])
    assert set(shown) == {"loss", "auc_ctr", "auc_cvr"} | {
        f"binary_cross_entropy_{task}" for task in ("ctr", "cvr")
    }
    clicks = last.columns["click"].tolist()
    positives, negatives = clicks.count(1.0), clicks.count(0.0)
    area = float(shown["auc_ctr"]) * positives * negatives * 2
    assert area == pytest.approx(round(area), abs=0.02), "an area of that few pairs"


@pytest.mark.parametrize("logger", ["every_batches: 3", "every_batches: 3 with_metrics: true"])
def test_the_lines_change_nothing_of_what_is_learned(tiny_folder, tmp_path, logger) -> None:
    tiny.pipeline(tiny_folder, tmp_path / "plain").fit()
    tiny.pipeline(tiny_folder, tmp_path / "told", **{LOGGER: logger}).fit()
    assert tiny.end(tmp_path / "told") == tiny.end(tmp_path / "plain")


def test_without_metrics_none_are_made_and_none_of_their_columns_are_read(
    tiny_folder, tmp_path, lines, monkeypatch
) -> None:
    """The training files need no column that only groups rows."""
    monkeypatch.setattr(RunningEpoch, "add", pytest.fail)
    groups = {f"{TOWERS}[0]__metrics": '[{ grouped_auc { grouping_key: "session" } }]'}
    evaluated = tiny.rows(100_000, 40)
    evaluated = evaluated.append_column("session", evaluated["user"])
    changes = groups | {"eval_input_path": tiny.write(evaluated, tmp_path / "eval.parquet")}
    made = tiny.pipeline(tiny_folder, tmp_path / "run", **changes, **{LOGGER: "every_batches: 9"})
    made.fit()
    assert len(lines()) == 2
