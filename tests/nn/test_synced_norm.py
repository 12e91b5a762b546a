"""Batch norm over the rows of all processes: as if they were one."""

from collections.abc import Iterator, Sequence

import pytest
import torch
from ranks import Ranks, ranks
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.nn.norms import BatchNorm
from tzmmoe.system.world import World

CHANNELS = 3


@pytest.fixture(scope="module")
def three() -> Iterator[Ranks]:
    with ranks(3) as made:
        yield made


def drawn(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 100 + torch.randn(count, CHANNELS, generator=generator, dtype=torch.float64)


def passed(x: Tensor, norm: BatchNorm) -> dict[str, Tensor]:
    """Two steps: outputs, gradients of a loss that differs from row to row, and statistics."""
    x = x.clone().requires_grad_()
    outputs = []
    for _ in range(2):
        y = norm(x)
        (y * torch.sin(x.detach()) + y**3).sum().backward()
        outputs.append(y.detach())
    found = {"y": torch.cat(outputs, dim=1), "x": x.grad}
    grads = {name: parameter.grad for name, parameter in norm.named_parameters()}
    kept = {"mean": norm.running_mean, "var": norm.running_var}
    return found | grads | kept | {"batches": norm.num_batches_tracked}


def made(dtype: torch.dtype, *, synced: bool, affine: bool = True) -> BatchNorm:
    norm = BatchNorm(CHANNELS, affine=affine).to(dtype)
    if affine:
        with torch.no_grad():
            norm.weight.copy_(weights())
    norm.synced = synced
    return norm


def over_ranks(
    world: World, counts: Sequence[int], dtype: torch.dtype, affine: bool = True
) -> dict[str, Tensor]:
    norm = made(dtype, synced=True, affine=affine)
    return passed(drawn(counts[world.rank], world.rank).to(dtype), norm)


@pytest.mark.parametrize("counts", [(4, 4, 4), (7, 0, 2), (1, 1, 0), (0, 0, 5)])
@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 1e-9), (torch.float32, 2e-4)])
@pytest.mark.parametrize("affine", [True, False])
def test_outputs_gradients_and_statistics_are_those_of_all_rows(
    three, counts, dtype, most, affine
) -> None:
    """However the rows are spread; a process may have none. The numbers lie far from 0."""
    parts = three.run(over_ranks, counts, dtype, affine)
    whole = torch.cat([drawn(count, rank) for rank, count in enumerate(counts)])
    expected = passed(whole, made(torch.float64, synced=False, affine=affine))
    for name in ("y", "x"):
        found = torch.cat([part[name] for part in parts]).double()
        assert_close(found, expected[name], rtol=most, atol=most)
    for name in ("weight", "bias") if affine else ():
        assert_close(
            sum(part[name] for part in parts).double(), expected[name], rtol=most, atol=1e-3
        )
    for part in parts:
        for name in ("mean", "var"):
            assert_close(part[name].double(), expected[name], rtol=1e-5, atol=1e-5)
        assert part["batches"] == 2


def test_one_row_in_all_processes_goes_by_the_running_statistics(three) -> None:
    parts = three.run(over_ranks, (0, 1, 0), torch.float64)
    assert_close(parts[1]["y"][:, :CHANNELS], drawn(1, 1) / (1 + 1e-5) ** 0.5 * weights())
    assert all(torch.equal(part["mean"], torch.zeros(CHANNELS)) for part in parts)


def weights() -> Tensor:
    return torch.tensor([0.5, 2.0, -1.0], dtype=torch.float64)
