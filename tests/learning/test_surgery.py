"""PCGrad against algorithm 1 of the paper, carried out on one dense vector for each task."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from parts import normal, task
from pcgrad import all_orders, by_loops
from ranks import Ranks
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from tzmmoe.learning.surgery import Surgery, coefficients
from tzmmoe.nn.mlp import Layer, Network
from tzmmoe.system.world import World
from tzmmoe.tasks.taskset import TaskSet

ROWS, TRAINED, WIDTH = 9, 7, 3
Losses = Callable[[Mapping[str, nn.Parameter]], list[Tensor]]


def key(number: int) -> str:
    return f"binary_cross_entropy_{number}"


def parameters(num_tasks: int) -> dict[str, nn.Parameter]:
    """A kernel and a scale that all tasks share, a table, and a head for each task; float64."""
    shapes = {"kernel": (WIDTH, 2), "scale": (), "pair": (2,)}
    shapes |= {f"head{number}": (2,) for number in range(num_tasks)}
    made = {n: nn.Parameter(normal(*s, seed=i)) for i, (n, s) in enumerate(shapes.items())}
    return made | {"table": nn.Parameter(normal(ROWS, WIDTH, seed=99))}


def losses_of(num_tasks: int, *, sparse: Sequence[bool] | None = None) -> Losses:
    """Of three tasks at most, each against each other one. A task looks up its own ids, of which
    some repeat and some are of rows that are not trained; unless it is ``sparse``, its gradient is
    dense. The first two share ``pair``."""
    sparse = sparse or [True] * num_tasks

    def losses(named: Mapping[str, nn.Parameter]) -> list[Tensor]:
        found = []
        for number in range(num_tasks):
            source = np.random.default_rng(number)
            ids = torch.from_numpy(source.integers(ROWS, size=12))
            x = F.embedding(ids, named["table"], sparse=sparse[number])
            logits = (x @ named["kernel"]).tanh() @ named[f"head{number}"] * named["scale"]
            if number < 2:
                logits = logits + named["pair"].sum() * (1 if number else -2)
            labels = torch.from_numpy(source.integers(2, size=12)).double()
            push = named["kernel"].sum(dim=1) @ (torch.eye(WIDTH)[number] - 0.5).double()
            loss = F.binary_cross_entropy_with_logits(logits, labels) + push
            found.append(loss * (1 + number))
        return found

    return losses


def surgery(named: Mapping[str, nn.Parameter], num_tasks: int) -> Surgery:
    tasks = TaskSet([task(str(number)) for number in range(num_tasks)])
    trained = {named["table"]: TRAINED} if "table" in named else {}
    return Surgery(tasks, list(named.values()), trained, {})


def operated(
    named: Mapping[str, nn.Parameter],
    losses: Sequence[Tensor],
    rest: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The gradients that surgery gives, as they are."""
    for parameter in named.values():
        parameter.grad = None
    keyed = {key(number): loss for number, loss in enumerate(losses)}
    surgery(named, len(losses)).backward(keyed | dict(rest or {}))
    return {name: p.grad for name, p in named.items() if p.grad is not None}


def own(named: Mapping[str, nn.Parameter], losses: Sequence[Tensor]) -> list[dict[str, Tensor]]:
    """Of each task, its dense gradients; those of rows that are not trained are left out."""
    found = []
    for loss in losses:
        grads = torch.autograd.grad(
            loss, list(named.values()), retain_graph=True, allow_unused=True
        )
        dense = {n: g.to_dense() for n, g in zip(named, grads, strict=True) if g is not None}
        if "table" in dense:
            dense["table"] = dense["table"][:TRAINED]
        found.append(dense)
    return found


def distance(grads: Mapping[str, Tensor], expected: Mapping[str, np.ndarray]) -> float:
    assert grads.keys() == expected.keys()
    far = 0.0
    for name, grad in grads.items():
        dense = grad.to_dense()
        dense = dense[:TRAINED] if name == "table" else dense
        far = max(far, float((dense - torch.from_numpy(expected[name])).abs().max()))
    return far


@pytest.mark.parametrize("sparse", [(True, True, True), (False, False, False), (True, False, True)])
@pytest.mark.parametrize("num_tasks", [2, 3])
def test_the_update_is_that_of_the_algorithm_in_some_order_and_every_order_comes(
    num_tasks, sparse
) -> None:
    """Tables too, whatever their gradients are; each seed gives one order, and gives it again."""
    named, losses = parameters(num_tasks), losses_of(num_tasks, sparse=sparse)
    found = own(named, losses(named))
    expected = [by_loops(found, orders) for orders in all_orders(num_tasks)]
    plain = {n: sum(g[n] for g in found if n in g) for n in expected[0]}
    assert distance(plain, expected[0]) > 1e-3, "there is a conflict"
    came = []
    for seed in range(60):
        torch.manual_seed(seed)
        grads = operated(named, losses(named))
        near = [distance(grads, each) < 1e-12 for each in expected]
        assert any(near)
        came.append(near)
        torch.manual_seed(seed)
        again = operated(named, losses(named))
        assert all(torch.equal(grads[n].to_dense(), again[n].to_dense()) for n in grads)
    assert np.any(came, axis=0).all()
    assert num_tasks == 2 or not all(came[0])


def plane(*grads: Sequence[float]) -> Tensor:
    """The update of tasks with these gradients of one shared parameter."""
    weight = nn.Parameter(torch.zeros(len(grads[0])).double())
    fixed = torch.tensor(grads, dtype=torch.float64)
    return operated({"weight": weight}, [weight @ grad for grad in fixed])["weight"]


def test_two_tasks_by_hand() -> None:
    """(1, 0) + (-1, 1) / 2 and (-1, 1) + (1, 0)."""
    assert plane([1.0, 0.0], [-1.0, 1.0]).tolist() == [0.5, 1.5]


@pytest.mark.parametrize("factor", [1.0, 1e-8, 1e8])
def test_tasks_of_opposite_directions_stand_still(factor) -> None:
    found = plane([3.0, -4.0], [-3.0 * factor, 4.0 * factor])
    assert_close(found, torch.zeros(2).double(), rtol=0, atol=1e-14 * max(1, factor))


@pytest.mark.parametrize(
    ("dtype", "size"),
    [(torch.float32, 1e-25), (torch.float32, 1e15), (torch.float64, 1e-20), (torch.float64, 1e20)],
)
def test_gradients_whose_squares_single_precision_cannot_hold_conflict_all_the_same(
    dtype: torch.dtype, size: float
) -> None:
    """(1, 0) / 2 + (0, 1.5), as by hand, of gradients of any size: 1e-25 squared is 0 in float32,
    1e15 squared four times over is near its end."""
    weight = nn.Parameter(torch.zeros(2, dtype=dtype))
    tasks = torch.tensor([[size, 0.0], [-size, size]], dtype=dtype)
    update = operated({"weight": weight}, [weight @ grad for grad in tasks])["weight"]
    assert update.dtype == dtype
    assert_close(update / size, torch.tensor([0.5, 1.5], dtype=dtype))


def test_without_conflict_the_update_is_the_sum_to_the_last_bit() -> None:
    named = parameters(3)
    found = [normal(WIDTH, 2, seed=seed).abs() for seed in range(3)]
    losses = [(named["kernel"] * grad).sum() for grad in found]
    assert torch.equal(operated(named, losses)["kernel"], found[0] + found[1] + found[2])


def test_what_one_task_alone_reaches_keeps_its_gradient() -> None:
    named, losses = parameters(3), losses_of(3)
    grads, found = operated(named, losses(named)), own(named, losses(named))
    for number in range(3):
        assert torch.equal(grads[f"head{number}"], found[number][f"head{number}"])


def test_a_table_gets_a_sparse_gradient_and_is_never_copied() -> None:
    """Its rows are those of all tasks, each once; nothing on the way is as large as the table."""
    named, num_rows, largest = parameters(3), 100_000, [0]

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
            made = func(*args, **(kwargs or {}))
            for each in made if isinstance(made, (list, tuple)) else [made]:
                if isinstance(each, Tensor) and not each.is_sparse and each is not weight:
                    largest[0] = max(largest[0], each.numel())
            return made

    named["table"] = weight = nn.Parameter(normal(num_rows, WIDTH))
    losses = losses_of(3)(named)
    looked_up = torch.cat(
        [g._indices()[0] for g in torch.autograd.grad(sum(losses), [weight], retain_graph=True)]
    )
    with Watching():
        grad = operated(named, losses)["table"]
    assert grad.is_sparse
    assert grad.is_coalesced()
    assert grad.indices()[0].tolist() == sorted(set(looked_up.tolist()))
    assert len(set(looked_up.tolist())) < len(looked_up)
    assert 0 < largest[0] < 1000


@pytest.mark.parametrize("silent", [0, 1, 2])
def test_a_task_without_rows_changes_nothing(silent) -> None:
    """Its gradient is 0 everywhere; the others are as without it. (``pair``, which another task
    would then be alone to reach, stands still.)"""
    named, losses = parameters(3), losses_of(3)
    named["pair"].requires_grad_(False)
    found = [loss * (n != silent) for n, loss in enumerate(losses(named))]
    kept = [loss for n, loss in enumerate(losses(named)) if n != silent]
    grads, expected = operated(named, found), operated(named, kept)
    for name, grad in expected.items():
        assert_close(grads[name].to_dense(), grad.to_dense(), rtol=1e-12, atol=1e-15)
    every = operated(named, [loss * 0 for loss in losses(named)])
    assert all(not grad.to_dense().any() for grad in every.values())


def test_terms_of_no_task_are_added_as_they_are() -> None:
    """Such as the regularization of a kernel and of a whole table."""
    named, losses = parameters(2), losses_of(2)
    without = {n: g.to_dense() for n, g in operated(named, losses(named)).items()}
    rest = {"regularization": named["kernel"].abs().sum() + named["table"].square().sum()}
    grads = operated(named, losses(named), rest)
    added = {"kernel": named["kernel"].sign(), "table": 2 * named["table"]}
    for name, grad in grads.items():
        assert_close(grad.to_dense(), without[name] + added.get(name, 0), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("has_rest", [True, False])
def test_terms_of_no_task_may_share_the_forward_pass_which_is_freed_afterwards(has_rest) -> None:
    """As a penalty on what was looked up does; the last of them frees the memory of the graph."""
    named, inputs = {"kernel": nn.Parameter(normal(WIDTH, 2))}, normal(5, WIDTH)

    def terms() -> tuple[list[Tensor], Tensor]:
        hidden = (inputs @ named["kernel"]).tanh()
        return [hidden.sum(), hidden.square().sum()], hidden.pow(4).sum()

    [penalty] = torch.autograd.grad(terms()[1], [named["kernel"]])
    expected = operated(named, terms()[0])["kernel"] + penalty * has_rest
    losses, rest = terms()
    grads = operated(named, losses, {"regularization": rest} if has_rest else None)
    assert_close(grads["kernel"], expected)
    with pytest.raises(RuntimeError, match="second time"):
        losses[0].backward()


def shares_of(world: World, products: Tensor) -> tuple[Tensor, Tensor]:
    """What this process gets, and what the orders of its own generator would give."""
    torch.manual_seed(world.rank)
    got = coefficients(products, world)
    torch.manual_seed(world.rank)
    return got, coefficients(products, World())


def test_all_processes_go_by_the_orders_of_the_first(two: Ranks) -> None:
    """Whatever their own generators hold; or replicas would drift apart."""
    grads = normal(4, 3, seed=3)
    (first, alone), (second, other) = two.run(shares_of, grads @ grads.T)
    assert torch.equal(first, second)
    assert torch.equal(first, alone)
    assert not torch.equal(other, alone), "the orders of the second process make a difference"


def test_gradients_that_are_there_are_added_to() -> None:
    """As when batches are accumulated."""
    named, losses = parameters(2), losses_of(2)
    once = {n: g.to_dense().clone() for n, g in operated(named, losses(named)).items()}
    surgery(named, 2).backward({key(n): loss for n, loss in enumerate(losses(named))})
    for name, grad in once.items():
        assert torch.equal(named[name].grad.to_dense(), 2 * grad)


def test_scaled_losses_give_the_scaled_update() -> None:
    """To the last bit for a power of two, so that half precision can scale its losses."""
    named, losses = parameters(3), losses_of(3)
    torch.manual_seed(0)
    plain = operated(named, losses(named))
    torch.manual_seed(0)
    scaled = operated(named, [1024 * loss for loss in losses(named)])
    for name, grad in plain.items():
        assert torch.equal(1024 * grad.to_dense(), scaled[name].to_dense())


@pytest.mark.parametrize("seed", range(20))
def test_the_update_of_two_tasks_works_against_neither(seed) -> None:
    """A law: g . g_1 >= 0 and g . g_2 >= 0, where their plain sum may break it."""
    one, other = normal(2, 6, seed=seed)
    other = other - 2 * (other @ one).clamp(min=0) / (one @ one) * one
    assert one @ other <= 0
    found = plane(one.tolist(), (5 * other).tolist())
    assert found @ one >= -1e-12
    assert found @ other >= -1e-12


@pytest.mark.parametrize("apart", [0.0, pytest.param(1.0, marks=pytest.mark.long)])
def test_on_two_convex_tasks_the_loss_falls_at_each_step_to_where_no_direction_is_left(
    apart,
) -> None:
    """Theorem 1, at a rate of 1 / L: to the optimum, or to gradients of opposite directions."""
    curvatures = torch.tensor([[40.0, 1.0], [1.0, 25.0]]).double()
    centres = torch.tensor([[0.0, 0.0], [apart, apart]]).double()
    weight = nn.Parameter(torch.tensor([2.0, -3.0]).double())
    rate, before, conflicts = 1 / float(curvatures.sum(dim=0).max()), float("inf"), 0
    for _ in range(1500):
        found = [
            (c * (weight - centre) ** 2).sum() / 2
            for c, centre in zip(curvatures, centres, strict=True)
        ]
        one, other = (torch.autograd.grad(loss, weight, retain_graph=True)[0] for loss in found)
        conflicts += bool(one @ other < 0)
        now = float(sum(found).detach())
        assert now <= before + 1e-15
        before = now
        grad = operated({"weight": weight}, found)["weight"]
        weight.data -= rate * grad
    if not apart:
        assert before < 1e-12
    else:
        assert conflicts > 1000
        assert grad.norm() < 1e-6
        assert F.cosine_similarity(one, other, dim=0) < -1 + 1e-6


def test_a_step_of_a_fused_optimizer_goes_along_the_gradient_of_stacked_layers() -> None:
    """The gradient of a stack may be transposed in memory, which fused steps do not look at."""
    torch.manual_seed(3)
    layers = [Layer(5, "nn.Tanh", "", 0.0, True), Layer(4, "", "", 0.0, True)]
    network = Network(6, layers, copies=3).double()
    by_name = dict(network.named_parameters())
    before = {name: weight.detach().clone() for name, weight in by_name.items()}
    mixtures = torch.bmm(normal(8, 2, 3).softmax(-1), network(normal(8, 6))).unbind(1)
    surgery(by_name, 2).backward({key(t): m.square().mean() for t, m in enumerate(mixtures)})
    grads = {name: weight.grad.clone() for name, weight in by_name.items()}
    torch.optim.SGD([*by_name.values()], lr=0.5, fused=True).step()
    for name, weight in by_name.items():
        assert_close(weight.detach(), before[name] - 0.5 * grads[name])
