"""Gates against the softmax of a linear map, by hand."""

import copy
import math

import oracles
import parts
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.func import functional_call
from torch.testing import assert_close

from tzmmoe.nn.gates import Gates

MLPS = {
    "linear": None,
    "mlp": parts.PLAIN | {"hidden_units": [5, 4]},
    "mlp with batch norm": parts.PLAIN | {"hidden_units": [4], "use_bn": True},
}


def made(num_tasks: int, num_experts: int, mlp: str, **settings: float) -> Gates:
    torch.manual_seed(0)
    gates = Gates(6, num_tasks=num_tasks, num_experts=num_experts, mlp=MLPS[mlp], **settings)
    return parts.shaken(gates)


@pytest.mark.parametrize("mlp", MLPS)
@pytest.mark.parametrize(("num_tasks", "num_experts"), [(1, 1), (2, 3), (4, 6)])
def test_gates_equal_the_softmax_of_a_linear_map_by_hand(
    num_tasks: int, num_experts: int, mlp: str
) -> None:
    gates, x = made(num_tasks, num_experts, mlp), parts.normal(7, 6)
    assert_close(gates(x), oracles.gates_by_loops(gates, x, "nn.ReLU"))


@pytest.mark.parametrize("mlp", MLPS)
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_each_gate_is_a_distribution_over_the_experts(mlp: str, scale: float) -> None:
    """In single precision and with scores in the ten thousands too."""
    gates = made(3, 4, mlp).float()
    weights_BTE = gates(scale * parts.normal(50, 6, dtype=torch.float32))
    assert (weights_BTE >= 0).all()
    assert_close(weights_BTE.sum(dim=-1), torch.ones(50, 3))


def test_a_bias_alone_decides_where_the_input_is_zero() -> None:
    """The linear map has a bias: softmax of it, the same for every row."""
    gates = made(2, 3, "linear")
    wanted = gates.final.bias.exp() / gates.final.bias.exp().sum(dim=-1, keepdim=True)
    zeros = torch.zeros(4, 6, dtype=torch.float64)
    assert_close(gates(zeros), wanted.expand(4, 2, 3))


@pytest.mark.parametrize("mlp", MLPS)
def test_a_tasks_gate_has_parameters_of_its_own(mlp: str) -> None:
    """Only the task's part of every parameter, of its MLP too, gets a gradient from its gate."""
    num_tasks = 3
    gates, x = made(num_tasks, 4, mlp), parts.normal(6, 6)
    for t in range(num_tasks):
        gates.zero_grad()
        gates(x)[:, t].square().sum().backward()
        for name, parameter in gates.named_parameters():
            of_tasks = parameter.grad.unflatten(0, (num_tasks, -1)).flatten(1).abs().sum(dim=1)
            others = of_tasks[[other for other in range(num_tasks) if other != t]]
            assert of_tasks[t] > 0, name
            assert (others == 0).all(), name


@pytest.mark.parametrize("mlp", MLPS)
def test_gradients_equal_finite_differences(mlp: str) -> None:
    gates = made(2, 3, mlp)
    names, values = zip(*gates.named_parameters(), strict=True)

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        return functional_call(gates, dict(zip(names, parameters, strict=True)), x)

    assert gradcheck(run, (parts.normal(4, 6).requires_grad_(), *values))


@pytest.mark.parametrize("mlp", MLPS)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_temperature_divides_the_scores(mlp: str, temperature: float) -> None:
    """As if the last linear map, by which the oracle computes, were divided by it."""
    gates, x = made(2, 3, mlp, temperature=temperature), parts.normal(7, 6)
    found = gates(x)
    with torch.no_grad():
        for parameter in gates.final.parameters():
            parameter.div_(temperature)
    assert_close(found, oracles.gates_by_loops(gates, x, "nn.ReLU"))


def test_a_high_temperature_gives_equal_weights_and_a_low_one_a_single_expert() -> None:
    x = parts.normal(7, 6)
    assert_close(made(2, 4, "linear", temperature=1e9)(x), torch.full((7, 2, 4), 0.25).double())
    largest = made(2, 4, "linear", temperature=1e-9)(x)
    assert_close(largest.amax(dim=-1), torch.ones(7, 2, dtype=torch.float64))
    assert torch.equal(largest.argmax(dim=-1), made(2, 4, "linear")(x).argmax(dim=-1))


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_dropout_leaves_experts_out_and_scales_the_others_to_1(dropout: float) -> None:
    """Of 3 experts, each is left out with probability p (1 - p^2): not if all of them would be."""
    gates, x = made(2, 3, "linear", dropout=dropout), parts.normal(20_000, 6)
    whole = made(2, 3, "linear")(x)
    found = gates.train()(x)
    kept = found > 0
    wanted = torch.where(kept, whole, 0.0)
    assert_close(found, wanted / wanted.sum(dim=-1, keepdim=True))
    share = dropout * (1 - dropout**2)
    error = (share * (1 - share) / len(x)) ** 0.5
    assert ((~kept).double().mean(dim=0) - share).abs().max() < 4.5 * error
    of_both = (kept[:, 0] == kept[:, 1]).all(dim=-1).double().mean()
    assert of_both < 0.9, "tasks leave out experts independently"
    assert torch.equal(gates.eval()(x), whole)


def test_an_expert_that_is_left_out_gets_no_gradient() -> None:
    gates = made(1, 3, "linear", dropout=0.5).train()
    x = parts.normal(1, 6)
    for _ in range(20):
        gates.zero_grad()
        weights_BTE = gates(x)
        (weights_BTE * torch.tensor([1.0, 5.0, -3.0])).sum().backward()
        out = weights_BTE[0, 0] == 0
        assert not gates.final.bias.grad[0][out].any()
        assert torch.isfinite(gates.final.weight.grad).all()


@pytest.mark.parametrize(("entropy", "balance"), [(0.3, 0.0), (-0.3, 0.0), (0.0, 0.7), (0.3, 0.7)])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_penalties_of_a_batch_equal_their_formulas_by_loops(
    entropy: float, balance: float, dropout: float
) -> None:
    """Of the weights before dropout, task by task."""
    penalties = {"entropy": entropy, "balance": balance, "dropout": dropout}
    gates, x = made(2, 3, "mlp", temperature=2.0, **penalties), parts.normal(7, 6)
    gates(x)
    [found] = gates.activity_penalties
    wanted = 0.0
    for weights_BE in made(2, 3, "mlp", temperature=2.0).eval()(x).unbind(1):
        of_rows = [-sum(w * math.log(w) for w in row) for row in weights_BE.tolist()]
        means = [sum(column) / 7 for column in weights_BE.T.tolist()]
        variance = sum((mean - 1 / 3) ** 2 for mean in means) / 3
        wanted += balance * variance / (1 / 3) ** 2 - entropy * sum(of_rows) / 7
    assert found.item() == pytest.approx(wanted)


def test_penalties_draw_weights_towards_each_other() -> None:
    for penalty in ({"entropy": 1.0}, {"balance": 1.0}):
        gates, x = made(2, 3, "linear", **penalty), parts.normal(50, 6)
        optimizer = torch.optim.SGD(gates.parameters(), lr=0.5)
        before = gates(x).mean(dim=0).std(dim=-1)
        for _ in range(200):
            optimizer.zero_grad()
            gates(x)
            gates.activity_penalties[0].backward()
            optimizer.step()
        assert (gates(x).mean(dim=0).std(dim=-1) < 0.2 * before).all()


@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_penalties_and_their_gradients_are_finite_at_extremes(scale: float) -> None:
    gates = made(2, 3, "linear", entropy=1.0, balance=1.0, dropout=0.5).float()
    gates(scale * parts.normal(5, 6, dtype=torch.float32))
    gates.activity_penalties[0].backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in gates.parameters())


def test_gates_are_copied_after_a_batch_and_have_no_penalty_in_evaluation() -> None:
    gates = made(2, 3, "linear", entropy=1.0)
    gates.eval()(parts.normal(5, 6))
    assert gates.activity_penalties == []
    gates.train()(parts.normal(5, 6))
    other = copy.deepcopy(gates)
    assert other.activity_penalties == []
    assert torch.equal(other.eval()(parts.normal(5, 6)), gates.eval()(parts.normal(5, 6)))
