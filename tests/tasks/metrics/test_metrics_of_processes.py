"""Metrics of two and four processes are those of one that has all rows."""

import math
from collections.abc import Iterator

import pytest
from ranks import Ranks, ranks
from tasks.metrics.test_metric_laws import BINARY, fed, rows

from tzmmoe.system.world import World
from tzmmoe.tasks.metrics import Metric

NUM_ROWS = 3000
CUTS = {  # how many rows each process has
    "even": {2: [1500, 1500], 4: [750] * 4},
    "uneven": {2: [2999, 1], 4: [1, 1200, 1798, 1]},
    "some have none": {2: [0, 3000], 4: [0, 1300, 0, 1700]},
}


@pytest.fixture(scope="module", params=[2, 4])
def processes(request: pytest.FixtureRequest) -> Iterator[Ranks]:
    with ranks(request.param) as made:
        yield made


def value(metric: Metric) -> float:
    with metric.sync_context():
        return float(metric.compute())


def of_part(world: World, text: str, sizes: list[int]) -> float:
    """What this process says after batches of seven of its own rows; of none it has an empty batch,
    as a loader gives it."""
    first = sum(sizes[: world.rank])
    mine = [column[first : first + sizes[world.rank]].split(7) for column in rows(NUM_ROWS)]
    return value(fed(text, list(zip(*mine, strict=True))))


def sums_fractions(metric: Metric) -> bool:
    """Whether a state is a sum of floats that are not whole, so that the order of adding shows."""
    states = [getattr(metric, name) for name in metric._reductions]
    sums = [each for each in states if not isinstance(each, list) and each.is_floating_point()]
    return any(bool((each != each.round()).any()) for each in sums)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("text", BINARY)
def test_metrics_of_processes_are_those_of_all_rows(processes, text, cut) -> None:
    """Exactly where states are counts or the rows themselves, within 1e-12 where they are sums of
    floats."""
    metric = fed(text, [rows(NUM_ROWS)])
    whole = value(metric)
    found = processes.run(of_part, text, CUTS[cut][processes.size])
    assert found == [found[0]] * processes.size
    apart = 1e-12 * abs(whole) if sums_fractions(metric) else 0
    assert abs(found[0] - whole) <= apart


@pytest.mark.parametrize("text", BINARY)
def test_processes_without_any_rows_have_nothing_to_tell(processes, text) -> None:
    assert all(map(math.isnan, processes.run(of_part, text, [0] * processes.size)))
