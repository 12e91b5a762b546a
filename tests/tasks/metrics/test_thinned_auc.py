"""The default AUC: exact for few rows, within its stated bound for many, whatever their order."""

import copy
from collections.abc import Iterator

import oracles
import parts
import pytest
import torch
from ranks import Ranks, ranks
from torch import Tensor

from tzmmoe.system.world import World
from tzmmoe.tasks.metrics.auc import AUC
from tzmmoe.tasks.metrics.thinning import CAPACITY, error_bound
from tzmmoe.tasks.taskset import TaskSet

DENORMAL = 2.0**-149


def uniform(num_rows: int, seed: int) -> Tensor:
    return torch.rand(num_rows, generator=parts.generator(seed))


def rows_of(kind: str, num_rows: int) -> tuple[Tensor, Tensor]:
    """Predictions and labels that a summary could get wrong."""
    u, v = uniform(num_rows, 0), uniform(num_rows, 1)
    positive = v < 0.3
    random = torch.where(positive, u.sqrt(), u)
    numbers = torch.arange(num_rows)
    predictions = {
        "random": random,
        "growing": random.sort().values,
        "falling": random.sort(descending=True).values,
        "negatives first": random[(order := positive.long().argsort(stable=True))],
        "from both ends": torch.stack([u.sort().values, -u.sort().values], 1).flatten()[:num_rows],
        "all equal": torch.full_like(u, 0.25),
        "ties": (random * 5).round() / 5,
        "denormals": ((random * 1e6).round() * DENORMAL).float(),
        "two clusters": 0.5 + (u > 0.5) * 0.25 + (random * 3000).round() * 2.0**-24,
        "a cluster among outliers": torch.where(u < 0.01, u, 0.5 + (random * 900).round() * 2**-24),
        "rare positives": u,
        "separated": positive * 0.5 + u / 3,
        "wrong way round": 0.5 - positive * 0.5 + u / 3,
        "one in each two": numbers / num_rows,
    }[kind]
    if kind in ("growing", "falling"):
        positive = v < predictions
    elif kind == "negatives first":
        positive = positive[order]
    elif kind == "rare positives":
        positive = v < 0.0008 * (0.5 + u)
    elif kind == "one in each two":
        positive = numbers % 2 == 0
    return predictions.float(), positive


KINDS = [
    "random",
    "growing",
    "falling",
    "negatives first",
    "from both ends",
    "all equal",
    "ties",
    "denormals",
    "two clusters",
    "a cluster among outliers",
    "rare positives",
    "separated",
    "wrong way round",
    "one in each two",
]


def small(capacity: int) -> AUC:
    """The default metric with a smaller capacity."""
    metric = parts.metric("auc {}")
    metric.capacity = capacity
    return metric


def fed(metric: AUC, predictions: Tensor, positive: Tensor, batch: int) -> AUC:
    for part, labels in zip(predictions.split(batch), positive.split(batch), strict=True):
        metric.update(part, labels.float())
    return metric


def exact(predictions: Tensor, positive: Tensor) -> float:
    return oracles.auc_by_pairs(predictions.numpy(), positive.numpy())


def bound_of(positive: Tensor, capacity: int) -> float:
    num_positives = int(positive.sum())
    return error_bound(num_positives, len(positive) - num_positives, capacity)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("batch", "capacity"),
    [
        pytest.param(7, 16, marks=pytest.mark.long),
        *[(7, 64), (7, 1024), (1000, 16), (1000, 64), (1000, 1024)],
    ],
)
def test_the_error_is_within_the_bound(kind: str, capacity: int, batch: int) -> None:
    predictions, positive = rows_of(kind, 20_000)
    found = fed(small(capacity), predictions, positive, batch).compute()
    assert abs(found - exact(predictions, positive)) <= bound_of(positive, capacity)


@pytest.mark.parametrize("kind", KINDS)
def test_up_to_its_capacity_the_area_is_exact(kind: str) -> None:
    predictions, positive = rows_of(kind, 4096)
    most = max(int(positive.sum()), int((~positive).sum()))
    found = fed(small(most + most % 2), predictions, positive, 100).compute()
    assert float(found) == exact(predictions, positive)


@pytest.mark.parametrize("kind", ["all equal", "denormals", "ties"])
def test_equal_predictions_remain_ties(kind: str) -> None:
    """An AUC of labels that do not depend on predictions of one value is 0.5, not nearly 0.5."""
    predictions, positive = rows_of(kind, 5000)
    found = fed(small(16), torch.full_like(predictions, float(predictions[0])), positive, 90)
    assert float(found.compute()) == 0.5


def test_the_bound_is_the_sum_over_the_levels() -> None:
    """For every number of rows up to 5,000: the changes of all thinnings added up, by a loop."""
    for capacity in (2, 16, 64):
        for count in range(5000):
            changes, level = 0, 0
            while (thinnings := count // (capacity * 2**level)) and count > capacity:
                changes += (thinnings + 1) // 2 * 2**level
                level += 1
            assert changes <= count * error_bound(count, 0, capacity) + 1e-9
    assert error_bound(10**9, 10**9) < 1.3e-5
    assert error_bound(CAPACITY, CAPACITY) == 0


def test_rows_that_are_kept_are_few_and_stand_for_all() -> None:
    predictions, positive = rows_of("random", 50_000)
    metric = fed(small(64), predictions, positive, 50)
    kept = sum(map(len, metric.predictions))
    levels = int(torch.cat(metric.places).max()) // 2 + 1
    assert kept <= (2 * levels + 1) * 64 + 50
    places = torch.cat(metric.places).long()
    stands_for = torch.bincount(places % 2, (1 << places // 2).double(), minlength=2)
    assert stands_for.tolist() == [int((~positive).sum()), int(positive.sum())]


def test_a_reset_or_copied_metric_begins_anew() -> None:
    predictions, positive = rows_of("random", 3000)
    metric = fed(small(64), predictions, positive, 50)
    copied = copy.deepcopy(metric)
    first = float(metric.compute())
    metric.reset()
    assert float(fed(metric, predictions, positive, 50).compute()) == first
    assert float(copied.compute()) == first


def test_real_sizes_are_within_the_bound_of_the_schema() -> None:
    """Three million rows against ranks in float64, of which 2.1 million are negatives."""
    predictions, positive = rows_of("negatives first", 3_000_000)
    found = float(fed(parts.metric("auc {}"), predictions, positive, 4096).compute())
    wanted = float(
        fed(parts.metric("auc { thresholds: 0 }"), predictions, positive, 4096).compute()
    )
    assert 0 < bound_of(positive, CAPACITY) < 3e-6
    assert abs(found - wanted) <= bound_of(positive, CAPACITY)


@pytest.fixture(scope="module")
def processes() -> Iterator[Ranks]:
    with ranks(2) as made:
        yield made


def of_part(world: World, kind: str, capacity: int) -> tuple[float, float]:
    """By default and exactly, of all processes; the first has three rows of four."""
    columns = rows_of(kind, 20_000)
    mine = [column.split(15_000)[world.rank] for column in columns]
    values = []
    for metric in (small(capacity), parts.metric("auc { thresholds: 0 }")):
        fed(metric, *mine, 100)
        with metric.sync_context():
            values.append(float(metric.compute()))
    return tuple(values)


@pytest.mark.parametrize("kind", ["random", "growing", "two clusters", "rare positives"])
def test_several_processes_are_within_the_bound_and_agree(processes: Ranks, kind: str) -> None:
    predictions, positive = rows_of(kind, 20_000)
    found = processes.run(of_part, kind, 256)
    assert found[0] == found[1]
    default, whole = found[0]
    assert whole == exact(predictions, positive)
    assert abs(default - whole) <= bound_of(positive, 256)


def told(text: str, predictions: Tensor, caplog: pytest.LogCaptureFixture) -> str:
    tasks = TaskSet([parts.task("click", metric=[text])])
    [metric] = tasks.named_metrics().values()
    metric.update(predictions, torch.arange(len(predictions)) % 100 == 0)
    for _ in range(2):
        tasks.compute()
    return caplog.text


def test_bins_that_most_rows_share_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    text = told("auc { thresholds: 200 }", uniform(4000, 0) * 0.007, caplog)
    assert text.count("auc_click") == 1
    assert "of 4,000 rows" in text
    assert "thresholds" in text


@pytest.mark.parametrize("text", ["auc {}", "auc { thresholds: 0 }", "auc { thresholds: 200 }"])
def test_nothing_is_told_where_predictions_spread(text, caplog) -> None:
    assert told(text, uniform(4000, 0), caplog) == ""


@pytest.mark.parametrize("text", ["auc {}", "auc { thresholds: 0 }"])
def test_nothing_is_told_where_there_are_no_bins(text, caplog) -> None:
    assert told(text, uniform(4000, 0) * 0.001, caplog) == ""
