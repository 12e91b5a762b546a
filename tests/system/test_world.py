"""Exchanges between processes, and how one that fails or disappears shows in all of them."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from messages import fails, says
from ranks import Ranks, ranks

from tzmmoe.errors import ConfigError, DataError, LostProcessError, UserError
from tzmmoe.system.world import World, gathering


@pytest.fixture(scope="module")
def three() -> Iterator[Ranks]:
    with ranks(3) as made:
        yield made


def totals(world: World) -> tuple[bytes, list[int], str]:
    torch.manual_seed(world.rank)
    own = torch.randn(1000, dtype=torch.float64)
    message = world.first(lambda: f"by {world.rank}")
    return world.total(own).numpy().tobytes(), world.gather(world.rank * 10), message


def test_sums_are_the_same_bits_everywhere_and_values_come_by_rank(three) -> None:
    found = three.run(totals)
    assert found[0] == found[1] == found[2]
    drawn = [torch.randn(1000, dtype=torch.float64, generator=seeded(rank)) for rank in range(3)]
    total = torch.frombuffer(bytearray(found[0][0]), dtype=torch.float64)
    torch.testing.assert_close(total, sum(drawn))
    assert found[0][1:] == ([0, 10, 20], "by 0")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def failing(world: World, failing_ranks: list[int], kind: type[UserError]) -> tuple[str, str, bool]:
    def act() -> int:
        if world.rank in failing_ranks:
            raise kind.saying("the file is broken")
        return world.rank

    try:
        return str(world.each(act)), "", False
    except UserError as error:
        return str(error), type(error).__name__, error.is_shared


@pytest.mark.parametrize("kind", [DataError, ConfigError])
def test_a_failure_of_one_process_ends_all_with_its_rank_and_message(three, kind) -> None:
    """A failure that all of them share has no rank."""
    outcome = ("rank 1: the file is broken", kind.__name__, True)
    assert three.run(failing, [1], kind) == [outcome] * 3
    assert three.run(failing, [1, 2], kind) == [outcome] * 3
    everywhere = ("the file is broken", kind.__name__, True)
    assert three.run(failing, [0, 1, 2], kind) == [everywhere] * 3
    assert three.run(failing, [], kind) == [(str(rank), "", False) for rank in range(3)]


def test_one_process_alone_needs_no_others() -> None:
    world = World()
    value = torch.ones(2)
    assert world.total(value) is value
    assert world.gather(7) == [7]
    assert world.first(lambda: 8) == world.each(lambda: 8) == 8
    with pytest.raises(DataError, match=r"^x$"):
        world.each(lambda: broken("x"))


def broken(text: str) -> None:
    raise DataError(text)


def gone(world: World, rank: int, seconds: float) -> str:
    """One process leaves for good, or for some time; what the others say, and when."""
    if world.rank == rank:
        if not seconds:
            os._exit(9)
        time.sleep(seconds)
        return ""
    begin = time.monotonic()
    try:
        world.total(torch.ones(3))
    except LostProcessError as error:
        return f"{time.monotonic() - begin:.0f} {error}"
    return "nothing"


def test_a_process_that_ends_is_noticed_at_once() -> None:
    with ranks(2) as made:
        for pipe in made._pipes:
            pipe.send((1, gone, (1, 0.0)))
        assert made._pipes[0].poll(20)
        _, ok, message = made._pipes[0].recv()
    assert ok
    seconds, text = message.split(" ", 1)
    assert int(seconds) < 5
    says(text, "rank 0: ", "another process", "while summing values: ")


@pytest.mark.long
def test_a_process_that_is_stuck_is_named_when_the_timeout_ends() -> None:
    with ranks(3, patience_s=3) as made:
        found = made.run(gone, 2, 14.0)
    seconds, text = found[0].split(" ", 1)
    assert 3 <= int(seconds) < 12
    says(text, "summing values", "Ranks 2 failed to pass monitoredBarrier")
    says(found[1], "rank 1: ", "another process")


def gathered(rank: int, size: int, port: int, wait_s: float) -> int:
    """As a process that torchrun started: the store is that of an agent, which stays."""
    store = dist.TCPStore("127.0.0.1", port, is_master=False, timeout=timedelta(seconds=wait_s))
    return gathering(store, rank, size, wait_s)


def test_restarted_processes_do_not_meet_those_that_are_gone() -> None:
    """Over one store: three come; then two, one of which is a rank that a lost one had; then three
    again, of which the first comes last."""
    kept = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with ThreadPoolExecutor(4) as pool:

        def meet(ranks: list[int], size: int) -> list[int]:
            found = []
            for rank in ranks:
                found.append(pool.submit(gathered, rank, size, kept.port, 20.0))
                time.sleep(0.2)
            return [each.result() for each in found]

        assert meet([0, 1, 2], 3) == [1, 1, 1]
        assert meet([1, 0], 2) == [2, 2]
        assert meet([2, 1, 0], 3) == [3, 3, 3]


def test_a_process_that_does_not_join_is_named() -> None:
    kept = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(gathered, rank, 3, kept.port, 2.0) for rank in (0, 2)]
        assert found[1].result() == 1
        with fails(LostProcessError, "rank 0: ", "2 s", ": rank 1"):
            found[0].result()
    with fails(LostProcessError, "rank 1: rank 0 "):
        gathered(1, 2, kept.port, 1.0)
