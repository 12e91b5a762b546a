"""Steps in time with each other: with unequal work, with errors, with requests."""

from collections.abc import Iterator, Sequence

import pytest
import torch
from ranks import Ranks, ranks
from torch import Tensor

from tzmmoe.errors import DataError
from tzmmoe.learning.lockstep import Lockstep
from tzmmoe.system.world import World

IDLE = 1000


@pytest.fixture(scope="module")
def three() -> Iterator[Ranks]:
    with ranks(3) as made:
        yield made


def weight(item: int) -> Tensor:
    return torch.tensor([item, 1], dtype=torch.float64)


def steps(world: World, counts: Sequence[int]) -> list[tuple[int, list[float]]]:
    """Of items 0, 1, ... as many as ``counts`` says."""
    made = Lockstep(world).steps(iter(range(counts[world.rank])), lambda: IDLE, weight)
    return [(item, total.tolist()) for item, total in made]


@pytest.mark.parametrize("counts", [(3, 3, 3), (0, 4, 2), (5, 0, 0), (0, 0, 0)])
def test_all_take_as_many_steps_as_the_one_with_the_most(three, counts) -> None:
    """Idle ones take part; each step tells the sum of what all weigh."""
    found = three.run(steps, counts)
    expected = []
    for step in range(max(counts)):
        items = [step if step < count else IDLE for count in counts]
        expected.append((items, [float(sum(items)), 3.0]))
    for rank in range(3):
        assert found[rank] == [(items[rank], total) for items, total in expected]


def breaking(world: World, rank: int, at: int, refused: bool) -> tuple[int, str]:
    """How many steps were begun, and the error."""
    made, begun = Lockstep(world), 0

    def items() -> Iterator[int]:
        for item in range(10):
            if not refused and (world.rank, item) == (rank, at):
                raise DataError("f.csv, row 7: broken")
            yield item

    try:
        for item, _ in made.steps(items(), lambda: IDLE):
            begun += 1
            if refused and (world.rank, item) == (rank, at):
                made.refuse(DataError("f.csv, row 7: broken"))
    except DataError as error:
        return begun, str(error)
    return begun, "no error"


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize(("rank", "at"), [(0, 0), (1, 4), (2, 9)])
def test_an_error_in_one_ends_all_before_the_same_step_with_its_rank(
    three, rank, at, refused
) -> None:
    """A step that is begun is ended by all: what a step brings is told before the next one."""
    begun = at + 1 if refused else at
    assert (
        three.run(breaking, rank, at, refused)
        == [(begun, f"rank {rank}: f.csv, row 7: broken")] * 3
    )


def requesting(world: World, rank: int, at: int) -> list[bool]:
    """Whether it is granted, at each step; one process makes it within one step."""
    asked = []
    made = Lockstep(world, {"stop": lambda: bool(asked), "other": lambda: False})
    found = []
    for item, _ in made.steps(iter(range(6)), lambda: IDLE):
        if (world.rank, item) == (rank, at):
            asked.append(True)
        found.append(made.granted("stop"))
        assert not made.granted("other")
    return found


@pytest.mark.parametrize("rank", [0, 2])
def test_a_request_of_one_is_granted_to_all_at_their_next_step(three, rank) -> None:
    """And stays granted."""
    assert three.run(requesting, rank, 3) == [[False] * 4 + [True] * 2] * 3


def test_alone_steps_requests_and_errors_take_effect_at_once() -> None:
    assert requesting(World(), 0, 3) == [False] * 3 + [True] * 3
    assert steps(World(), [3]) == [(item, [float(item), 1.0]) for item in range(3)]
    assert breaking(World(), 0, 4, refused=True) == (5, "f.csv, row 7: broken")
    assert breaking(World(), 0, 4, refused=False) == (4, "f.csv, row 7: broken")
