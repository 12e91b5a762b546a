"""Every norm, activation and switch tried together, against torch's own layers in float64."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import oracles
import parts
import pytest
import torch
from cases import some
from ranks import Ranks
from torch import Tensor, nn
from torch.testing import assert_close

from tzmmoe.nn.mlp import MLP
from tzmmoe.nn.norms import BatchNorm
from tzmmoe.system.world import World

NORMS = {"none": {}, "batch": {"use_bn": True}, "layer": {"use_ln": True}}
EVERY_ACTIVATION = pytest.mark.parametrize("activation", oracles.ACTIVATIONS)
EVERY_NORM = pytest.mark.parametrize("norm", NORMS)
STEPS, INPUTS = 2, 6


class Shape(NamedTuple):
    """Networks side by side, and what else layers may differ in."""

    copies: int
    widths: list[int]
    bias: bool
    momentum: float


SHAPES = [
    Shape(1, [5], bias=True, momentum=0.1),
    Shape(3, [5, 4], bias=False, momentum=0.01),
    Shape(2, [7, 1, 5], bias=True, momentum=1.0),
]


class Switches(NamedTuple):
    """Settings of a small MLP in float64, each parameter and statistic off its start."""

    activation: str
    norm: str
    shape: Shape
    training: bool = True
    synced: bool = False
    dropout: float = 0.0

    def network(self) -> MLP:
        torch.manual_seed(0)
        layers = parts.PLAIN | {"activation": self.activation, "bias": self.shape.bias}
        layers |= {"dropout_ratio": [self.dropout], **NORMS[self.norm]}
        copies, widths, *_ = self.shape
        mlp = parts.shaken(MLP(INPUTS, hidden_units=widths, copies=copies, **layers))
        for module in mlp.modules():
            if isinstance(module, BatchNorm):
                module.synced, module.momentum = self.synced, self.shape.momentum
        return mlp.train(self.training)

    def apart(self, *, by_batch: bool) -> nn.ModuleList:
        """The same networks one by one in torch's own layers; ``by_batch``: batch norm by the
        batch's moments, else by the running ones."""
        made = nn.ModuleList(oracles.networks(self.network(), self.activation)).train(by_batch)
        for module in made.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.momentum = self.shape.momentum
        return made


def rows(count: int, step: int, rank: int) -> tuple[Tensor, Tensor]:
    """Inputs far from 0, and what the loss multiplies the outputs by."""
    seed = 10 * step + rank
    return 5 + 3 * parts.normal(count, INPUTS, seed=seed), parts.normal(
        count, 1, 1, seed=100 + seed
    )


def learned(mlp: MLP, batches: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """Outputs, gradients (of the parameters summed over the steps), and buffers after them."""
    outputs, grads = [], []
    for x, direction in batches:
        x = x.clone().requires_grad_()
        y = mlp(x)
        (y * direction).sum().backward()
        outputs.append(y.detach())
        grads.append(x.grad)
    of_parameters = [p.grad for p in mlp.parameters()]
    buffers = {name: buffer.clone() for name, buffer in mlp.named_buffers()}
    return {"y": outputs, "x": grads, "parameters": of_parameters, "buffers": buffers}


def expected(switches: Switches, batches: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """The same by torch's own layers, network by network; one row has no variance."""
    by_batch = switches.training and len(batches[0][0]) > 1
    apart = switches.apart(by_batch=by_batch)
    outputs, grads = [], []
    for x, direction in batches:
        x = x.clone().requires_grad_()
        y = torch.stack([network(x) for network in apart], dim=1)
        (y * direction).sum().backward()
        outputs.append(y.detach())
        grads.append(x.grad)
    of_each = zip(*[network.parameters() for network in apart], strict=True)
    of_parameters = [torch.cat([p.grad.flatten() for p in each]) for each in of_each]
    buffers_of_each = zip(*[network.named_buffers() for network in apart], strict=True)
    buffers = [
        torch.cat([b for _, b in each]) if each[0][1].dim() else each[0][1]
        for each in buffers_of_each
    ]
    return {"y": outputs, "x": grads, "parameters": of_parameters, "buffers": buffers}


def assert_same(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    assert_close(found["y"], wanted["y"])
    assert_close(found["x"], wanted["x"])
    for grad, other in zip(found["parameters"], wanted["parameters"], strict=True):
        assert_close(grad.flatten(), other)
    for (name, buffer), other in zip(found["buffers"].items(), wanted["buffers"], strict=True):
        if name.endswith("num_batches_tracked"):
            assert buffer == other, name
        assert_close(buffer, other, msg=lambda text, name=name: f"{name}: {text}")


@EVERY_ACTIVATION
@EVERY_NORM
@pytest.mark.parametrize("count", some([0, 1, 2, 7], 0, 1, 7))
def test_one_process_learns_as_torchs_layers_do(activation: str, norm: str, count: int) -> None:
    """Outputs, gradients, running statistics and their count; evaluation drops nothing."""
    for shape, training in product(SHAPES, [True, False]):
        dropout = 0.0 if training else 0.5
        made = Switches(activation, norm, shape, training, dropout=dropout)
        batches = [rows(count, step, 0) for step in range(STEPS)]
        assert_same(learned(made.network(), batches), expected(made, batches))


def of_rank(world: World, chosen: Sequence[Switches], counts: Sequence[int]) -> list[dict]:
    batches = [rows(counts[world.rank], step, world.rank) for step in range(STEPS)]
    return [learned(switches.network(), batches) for switches in chosen]


@pytest.mark.long
@EVERY_ACTIVATION
@EVERY_NORM
@pytest.mark.parametrize("counts", [(4, 3), (0, 5), (1, 1), (1, 0), (0, 0)])
def test_two_processes_learn_as_one_with_all_their_rows_or_each_with_its_own(
    two: Ranks, activation: str, norm: str, counts: tuple[int, int]
) -> None:
    """``sync_batch_norm`` on and off, in training and not. A parameter's gradient is the sum over
    the processes; running statistics and their count are the same in both."""
    chosen = [
        Switches(activation, norm, shape, training, synced)
        for shape, training, synced in product(SHAPES, [True, False], [True, False])
    ]
    found = two.run(of_rank, chosen, counts)
    for switches, *of_ranks in zip(chosen, *found, strict=True):
        steps = [[rows(counts[rank], step, rank) for rank in (0, 1)] for step in range(STEPS)]
        if switches.synced:
            whole = [tuple(map(torch.cat, zip(*each, strict=True))) for each in steps]
            wanted = expected(switches, whole)
            for part in of_ranks:
                assert_same(joined(of_ranks) | {"buffers": part["buffers"]}, wanted)
        else:
            for rank, part in enumerate(of_ranks):
                assert_same(part, expected(switches, [each[rank] for each in steps]))


def joined(of_ranks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows of all processes, and gradients added up."""
    per_row = {
        name: [torch.cat(parts) for parts in zip(*(each[name] for each in of_ranks), strict=True)]
        for name in ("y", "x")
    }
    grads = zip(*(each["parameters"] for each in of_ranks), strict=True)
    return per_row | {"parameters": [sum(each) for each in grads]}


@EVERY_ACTIVATION
@EVERY_NORM
def test_an_optimizer_step_in_two_processes_is_that_of_one(
    two: Ranks, activation: str, norm: str
) -> None:
    """In single precision, over several steps, so that statistics feed into what follows."""
    switches = Switches(activation, norm, SHAPES[1], synced=True)
    first, second = two.run(stepped, switches, (5, 2))
    whole = stepped(World(), switches._replace(synced=False), (7,), ranks=(5, 2))
    for name, value in whole.items():
        assert torch.equal(first[name], second[name]), name
        assert_close(first[name], value, rtol=1e-5, atol=5e-6)  # 1.3e-6 was seen without AMX


def stepped(
    world: World, switches: Switches, counts: Sequence[int], ranks: Sequence[int] = ()
) -> dict[str, Tensor]:
    """State after three steps of SGD by the gradient of all rows. ``ranks``: how many rows each
    process would have."""
    mlp = switches.network().float()
    optimizer = torch.optim.SGD(mlp.parameters(), lr=0.01)
    for step in range(3):
        drawn = [rows(count, step, rank) for rank, count in enumerate(ranks or counts)]
        own = drawn if ranks else drawn[world.rank : world.rank + 1]
        x, direction = (torch.cat(each).float() for each in zip(*own, strict=True))
        optimizer.zero_grad()
        (mlp(x) * direction).sum().backward()
        for parameter in mlp.parameters():
            parameter.grad = world.total(parameter.grad)
        optimizer.step()
    return mlp.state_dict()


@pytest.mark.long
@EVERY_ACTIVATION
@EVERY_NORM
@pytest.mark.parametrize("count", [0, 1, 40])
def test_under_bf16_autocast_it_is_as_near_to_float64_as_torchs_layers_are(
    activation: str, norm: str, count: int
) -> None:
    """Parameters, gradients and statistics stay in single precision. Errors are means over all
    numbers; three times torch's, and an allowance where torch's happens to be 0."""
    for shape, training in product(SHAPES, [True, False]):
        switches = Switches(activation, norm, shape, training)
        x = rows(count, 0, 0)[0].float()
        by_batch = training and count > 1
        exact = torch.stack([net(x.double()) for net in switches.apart(by_batch=by_batch)], dim=1)
        mlp, theirs = switches.network().float(), switches.apart(by_batch=by_batch).float()
        with torch.autocast("cpu", torch.bfloat16):
            y = mlp(x)
            other = torch.stack([net(x) for net in theirs], dim=1)
        y.float().square().sum().backward()
        assert all(p.grad.dtype == torch.float32 for p in mlp.parameters())
        assert all(p.grad.isfinite().all() for p in mlp.parameters())
        assert all(b.dtype != torch.bfloat16 for b in mlp.buffers())
        assert y.shape == exact.shape
        if count:
            error, usual = ((each.double() - exact).abs().mean() for each in (y, other))
            assert error <= 3 * usual + 4e-3 * exact.abs().mean()


def of_rank_in_bf16(
    world: World, chosen: Sequence[Switches], counts: Sequence[int]
) -> list[Tensor]:
    x = rows(counts[world.rank], 0, world.rank)[0].float()
    found = []
    for switches in chosen:
        mlp = switches.network().float()
        with torch.autocast("cpu", torch.bfloat16):
            y = mlp(x)
        y.float().square().sum().backward()
        assert all(p.grad.isfinite().all() for p in mlp.parameters())
        found.append(y.detach())
    return found


@EVERY_ACTIVATION
@EVERY_NORM
def test_synced_rows_under_bf16_are_near_those_of_float64(
    two: Ranks, activation: str, norm: str
) -> None:
    """A process without rows too. bfloat16 has 8 bits: a mean error below 5 % of the outputs."""
    chosen = [Switches(activation, norm, shape, synced=True) for shape in SHAPES]
    for counts in ((20, 20), (0, 40)):
        found = two.run(of_rank_in_bf16, chosen, counts)
        whole = torch.cat([rows(count, 0, rank)[0] for rank, count in enumerate(counts)])
        for switches, *of_ranks in zip(chosen, *found, strict=True):
            exact = torch.stack([net(whole) for net in switches.apart(by_batch=True)], dim=1)
            error = (torch.cat(of_ranks).double() - exact).abs().mean()
            assert error <= 0.05 * exact.abs().mean()


class All(nn.Module):
    """Networks of all settings, one after another, for one export."""

    def __init__(self, networks: Sequence[MLP]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [network(x) for network in self.networks]


@pytest.mark.long
def test_an_export_of_every_combination_computes_what_torchs_layers_do() -> None:
    """With any number of rows, from 0 on."""
    chosen = [
        Switches(activation, norm, shape, training=False, dropout=0.5)
        for activation, norm, shape in product(oracles.ACTIVATIONS, NORMS, SHAPES)
    ]
    module = All([switches.network() for switches in chosen]).eval()
    batch = torch.export.Dim("batch", min=0)
    exported = torch.export.export(
        module, (rows(3, 0, 0)[0],), dynamic_shapes={"x": {0: batch}}, strict=False
    ).module()
    for count in (0, 1, 5):
        x = rows(count, 1, 0)[0]
        for switches, y in zip(chosen, exported(x), strict=True):
            assert_close(y, torch.stack([net(x) for net in switches.apart(by_batch=False)], dim=1))
