"""PLE against loops over levels, tasks and experts, and its laws."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import parts
import pytest
import torch
from google.protobuf import text_format
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.func import functional_call
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.models.ple import PLE
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.tables.penalties import penalized, regularization

WIDTH = 6
Weights = Mapping[str, Tensor]
# For each level: experts of a task, shared experts, and the widths of their layers.
Shape = tuple[int, int, list[int]]
SHAPES: dict[str, list[Shape]] = {
    "one expert": [(1, 1, [4])],
    "one level": [(3, 2, [5, 4])],
    "nothing shared": [(2, 0, [4])],
    "two levels": [(2, 3, [5]), (1, 2, [4, 3])],
    "nothing shared first": [(2, 0, [5]), (2, 1, [4])],
    "nothing shared last": [(2, 1, [5]), (2, 0, [4])],
    "nothing shared at all": [(2, 0, [5]), (3, 0, [4])],
    "three levels": [(2, 1, [5]), (1, 2, [4]), (2, 2, [3])],
    "nothing shared between": [(1, 2, [5]), (2, 0, [4]), (1, 1, [4])],
}
ALL = pytest.mark.parametrize("name", SHAPES)


def network(shape: Shape, **changes: Any) -> dict[str, Any]:
    """As the schema gives it."""
    of_task, shared, units = shape
    net = parts.PLAIN | {"hidden_units": units}
    given = {
        "network_name": None,
        "expert_num_per_task": of_task,
        "share_num": shared,
        "task_expert_net": net,
        "share_expert_net": net if shared else None,
    }
    return given | changes


def made(shapes: Sequence[Shape], num_tasks: int, **of_nets: Any) -> PLE:
    """In float64, every parameter off its start."""
    torch.manual_seed(0)
    networks = [network(shape) for shape in shapes]
    for each in networks:
        for name in ("task_expert_net", "share_expert_net"):
            each[name] = each[name] and each[name] | of_nets
    towers = parts.specs(**{f"t{t}": 1 for t in range(num_tasks)})
    groups = {"all": parts.group(a=WIDTH)}
    made = PLE(groups, towers, extraction_networks=networks, num_members=1, l2_regularization=0.0)
    return parts.shaken(made)


def expert(weights: Weights, prefix: str, number: int, layers: int, x_D: Tensor) -> Tensor:
    for layer in range(layers):
        own = f"{prefix}.layers.{layer}.linear"
        x_D = (weights[f"{own}.weight"][number] @ x_D + weights[f"{own}.bias"][number]).relu()
    return x_D


def mixture(weights: Weights, prefix: str, number: int, x_D: Tensor, experts: list) -> Tensor:
    """The experts' outputs by the shares of one gate."""
    scores = weights[f"{prefix}.final.weight"][number] @ x_D
    scores = scores + weights[f"{prefix}.final.bias"][number]
    assert len(scores) == len(experts)
    total = sum(score.exp() for score in scores)
    return sum(score.exp() / total * each for score, each in zip(scores, experts, strict=True))


def by_loops(weights: Weights, shapes: Sequence[Shape], num_tasks: int, x_BD: Tensor) -> list:
    """Of each task (B, H), row by row: eq. 1-8 of the paper."""
    outputs: list[list[Tensor]] = [[] for _ in range(num_tasks)]
    for x_D in x_BD:
        tasks, shared = [x_D] * num_tasks, x_D
        for place, (of_task, of_all, units) in enumerate(shapes):
            level, depth = f"levels.{place}", len(units)
            own = [
                [
                    expert(weights, f"{level}.task_experts", t * of_task + e, depth, tasks[t])
                    for e in range(of_task)
                ]
                for t in range(num_tasks)
            ]
            common = [
                expert(weights, f"{level}.shared_experts", s, depth, shared) for s in range(of_all)
            ]
            mixed = [
                mixture(weights, f"{level}.task_gates", t, tasks[t], own[t] + common)
                for t in range(num_tasks)
            ]
            if any(later for _, later, _ in shapes[place + 1 :]):
                every = [each for experts in own for each in experts] + common
                shared = mixture(weights, f"{level}.shared_gate", 0, shared, every)
            tasks = mixed
        for t, hidden in enumerate(tasks):
            outputs[t].append(hidden)
    return [torch.stack(rows) for rows in outputs]


def run(model: PLE, x_BD: Tensor) -> list[Tensor]:
    inputs = model({"all": x_BD})
    assert inputs.addends is None
    return list(inputs.hidden)


@ALL
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_outputs_and_gradients_equal_loops_over_levels_tasks_and_experts(
    name: str, num_tasks: int
) -> None:
    model, x = made(SHAPES[name], num_tasks), parts.normal(4, WIDTH).requires_grad_()
    weights = dict(model.named_parameters())
    found, wanted = run(model, x), by_loops(weights, SHAPES[name], num_tasks, x)
    assert_close(found, wanted)
    assert all(float(each.detach().std()) > 1e-3 for each in wanted)
    loss = [
        sum((parts.normal(*y.shape, seed=t) * y).sum() for t, y in enumerate(ys))
        for ys in (found, wanted)
    ]
    grads = [torch.autograd.grad(each, [x, *weights.values()]) for each in loss]
    assert_close(grads[0], grads[1])


@pytest.mark.parametrize("norm", [{"use_bn": True}, {"use_ln": True}])
def test_an_expert_is_normalised_as_a_network_of_its_own(norm: dict[str, bool]) -> None:
    """Another task's experts make no difference to the statistics of a task's own."""
    model, x = made(SHAPES["two levels"], 2, **norm).train(), parts.normal(9, WIDTH)
    before = run(model, x)
    with torch.no_grad():
        weight = model.levels[-1].task_experts.layers[0].linear.weight
        weight[1] += parts.normal(*weight[1].shape, seed=5)  # the second task's
    after = run(model, x)
    assert_close(after[0], before[0])
    assert not torch.allclose(after[1], before[1])


def test_gradients_equal_finite_differences() -> None:
    model = made(SHAPES["two levels"], 2, activation="nn.Tanh")
    names, values = zip(*model.named_parameters(), strict=True)

    def outputs(x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        own = dict(zip(names, parameters, strict=True))
        return tuple(functional_call(model, own, {"all": x}).hidden)

    assert gradcheck(outputs, (parts.normal(3, WIDTH).requires_grad_(), *values))


@ALL
def test_rows_do_not_see_each_other(name: str) -> None:
    model, x = made(SHAPES[name], 2), parts.normal(9, WIDTH)
    order = torch.randperm(9, generator=parts.generator(1))
    assert_close(run(model, x[order]), [task[order] for task in run(model, x)])
    for rows in (slice(0, 0), slice(4, 5)):
        assert_close(run(model, x[rows]), [task[rows] for task in run(model, x)])


@ALL
def test_what_a_task_teaches_is_its_own_and_what_is_shared(name: str) -> None:
    """In the last level its experts and gate; below, all that the shared streams carry up."""
    shapes = SHAPES[name]
    model, x = made(shapes, 2), parts.normal(40, WIDTH)
    run(model, x)[0].square().sum().backward()
    for place, level in enumerate(model.levels):
        common = any(shared for _, shared, _ in shapes[place + 1 :])
        weight = level.task_experts.layers[0].linear.weight
        own, other = weight.grad.flatten(1).abs().sum(dim=1).unflatten(0, (2, -1))
        assert (own > 0).all()
        assert bool((other > 0).all()) == common
        assert (level.shared_gate is not None) == common
        carried = any(shared for _, shared, _ in shapes[place + 2 :])
        own, other = level.task_gates.final.weight.grad
        assert own.abs().sum() > 0
        assert bool(other.abs().sum() > 0) == carried


def split(model: nn.Module, outputs: Sequence[Tensor]) -> set[str]:
    """Parameters that both tasks reach, but in no number both."""
    named = dict(model.named_parameters())
    grads = [
        torch.autograd.grad(each.sum(), named.values(), retain_graph=True, allow_unused=True)
        for each in outputs
    ]
    found = set()
    for name, *pair in zip(named, *grads, strict=True):
        if None not in pair:
            first, second = (grad != 0 for grad in pair)
            if first.any() and second.any() and not (first & second).any():
                found.add(name)
    return found


@ALL
def test_the_parameters_that_are_said_to_lie_by_task_are_those_that_do(name: str) -> None:
    """Gradient surgery leaves them out."""
    model = made(SHAPES[name], 2, activation="nn.Tanh")
    declared = {
        f"{prefix}.{parameter}"
        for prefix, part in model.named_modules()
        if getattr(part, "by_task", False)
        for parameter, _ in part.named_parameters()
    }
    found = split(model, run(model, parts.normal(60, WIDTH)))
    assert found == declared != set()


def test_one_level_without_experts_of_its_own_use_is_a_mixture_of_shared_experts() -> None:
    """With gates that never choose a task's own expert, the shared expert is all that counts."""
    model, x = made([(1, 1, [4])], 2), parts.normal(5, WIDTH)
    with torch.no_grad():
        model.levels[0].task_gates.final.bias[:, 1] += 1e6
    wanted = model.levels[0].shared_experts(x).squeeze(1)
    assert_close(run(model, x), [wanted, wanted])


def test_more_levels_have_more_parameters_and_none_that_nothing_reads() -> None:
    counts = []
    for name in ("one level", "two levels", "three levels"):
        model = made(SHAPES[name], 2)
        sum(y.sum() for y in run(model, parts.normal(30, WIDTH))).backward()
        assert all(p.grad is not None for p in model.parameters())
        counts.append(len(list(model.parameters())))
    assert all(fewer < more for fewer, more in pairwise(counts))


def of_two(networks: Sequence[Mapping[str, Any]], l2: float = 0.0) -> PLE:
    groups, towers = {"all": parts.group(a=3)}, parts.specs(a=1, b=1)
    return PLE(groups, towers, extraction_networks=networks, num_members=1, l2_regularization=l2)


def test_regularization_is_half_of_the_squares_of_all_kernels() -> None:
    """Of experts, gates and towers; biases are left out."""
    model = of_two([network((2, 1, [4])), network((1, 2, [3]))], l2=0.3).double()
    parts_of_it = nn.ModuleList([model, model.tower(0, parts.specs(a=1)[0])]).double()
    kernels = [w for n, w in parts_of_it.named_parameters() if n.endswith("weight")]
    assert len(kernels) == 2 + 2 + 2 + 1 + 1  # experts of two kinds, gates of tasks, one shared
    wanted = 0.3 * sum(float(w.detach().square().sum()) for w in kernels) / 2
    found = regularization(penalized(parts_of_it))
    assert float(found.detach()) == pytest.approx(wanted, rel=1e-12)
    with pytest.raises(ConfigError, match="l2_regularization: is -1; give 0 or more"):
        of_two([network((1, 1, [4]))], l2=-1.0)


NET = parts.PLAIN | {"hidden_units": [4]}
FAULTS = [
    ({"expert_num_per_task": None}, "expert_num_per_task", "is not set; give 1"),
    ({"expert_num_per_task": 0}, "expert_num_per_task", "is 0; give 1"),
    ({"task_expert_net": None}, "task_expert_net", "give task_expert_net"),
    ({"share_expert_net": None}, "share_expert_net", "share_num: 0"),
    ({"share_expert_net": NET | {"hidden_units": [5]}}, "share_expert_net.hidden_units", "5 units"),
    ({"task_expert_net": NET | {"activation": "x"}}, "task_expert_net.activation", "'x'"),
    ({"share_expert_net": NET | {"use_bn": True, "use_ln": True}},
     "share_expert_net.use_ln", "keep"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "path", "words"), FAULTS)
@pytest.mark.parametrize("place", [0, 1])
def test_a_bad_setting_is_a_fault_at_its_field(
    change: dict[str, Any], path: str, words: str, place: int
) -> None:
    networks = [network((1, 1, [4])) for _ in range(2)]
    networks[place] = networks[place] | change
    with pytest.raises(ConfigError) as error:
        of_two(networks)
    [fault] = error.value.faults
    assert fault.path == f"extraction_networks[{place}].{path}"
    assert words in fault.text


def test_the_faults_of_all_levels_are_named_at_once() -> None:
    bad = network((1, 1, [4]), expert_num_per_task=0, task_expert_net=None)
    with pytest.raises(ConfigError) as error:
        of_two([bad, bad])
    assert len(error.value.faults) == 4
    with pytest.raises(ConfigError) as error:
        of_two([])
    assert [fault.path for fault in error.value.faults] == ["extraction_networks"]


def test_layers_of_shared_experts_without_any_are_noted() -> None:
    net = "task_expert_net { hidden_units: 4 } share_expert_net { hidden_units: 4 }"
    levels = "".join(
        f"extraction_networks {{ expert_num_per_task: 1 share_num: {number} {net} }}"
        for number in (1, 0)
    )
    pipeline = text_format.Parse(f"model_config {{ ple {{ {levels} }} }}", Pipeline())
    [line] = PLE.rules.notes(pipeline)
    assert "model_config.ple.extraction_networks[1].share_expert_net" in line
    assert "share_num: 0" in line
