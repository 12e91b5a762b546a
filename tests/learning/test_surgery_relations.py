"""PCGrad where a tower reads another: a tower's own part of a stack is then of several tasks."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from e2e import tiny
from models import models_of_tiny
from parts import normal, task
from pcgrad import all_orders, by_loops
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from tzmmoe.learning.surgery import Surgery
from tzmmoe.run.session import Session
from tzmmoe.tasks.taskset import TaskSet

READS = {
    "mmoe": 'relation_tower_names: "ctr" relation_mlp { hidden_units: [3] }',
    "ple": 'relation_tower_names: "ctr"',
}
SETTINGS = {
    "train_config__grad_process": "pcgrad",
    "train_config__gradient_accumulation_steps": 1,
}
# Not the experts of PLE's first level, which reach both tasks by the shared experts above them.
STACKS = (".gates.", ".task_gates.", ".levels.1.task_experts.")


@pytest.fixture(scope="module", params=READS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set; the conversion's tower reads the click's, without its layers in PLE."""
    made = tmp_path_factory.mktemp(request.param)
    if request.param == "mmoe":
        tiny.write_all(made)
    else:
        models_of_tiny.write(request.param, made)
    path, reads = made / "tiny.config", READS[request.param]
    text = path.read_text()
    text = text.replace("dropout_ratio: [0.2]", "")  # no randomness
    path.write_text(text.replace('tower_name: "cvr"', f'tower_name: "cvr" {reads}'))
    assert text.count('tower_name: "cvr"') == 1
    return made


def apart(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """With each of both tasks' parts in place of the parameter that holds them."""
    found = {}
    for name, whole in named.items():
        if any(stack in name for stack in STACKS):
            first, second = whole.chunk(2)
            found |= {f"{name}[ctr]": first, f"{name}[cvr]": second}
        else:
            found[name] = whole
    return found


def dense(session: Session, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """In float64; of tables the trained rows."""
    found = {}
    for name, grad in named.items():
        module = session.built.model.get_submodule(name.rpartition(".")[0])
        trained = getattr(module, "trained_rows", None)
        found[name] = grad.to_dense().double()[:trained] if trained else grad.double()
    return found


def test_the_update_is_that_of_networks_that_are_not_stacked(folder: Path) -> None:
    """The click's gates and experts have the gradients of both tasks, the conversion's of one."""
    session = tiny.session(folder, **SETTINGS)
    stages, model = tiny.train_step(session), session.built.model
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    conflicts = 0
    for batch in tiny.batches(session, 12):
        losses, found = session.built.tasks.losses(model(batch.inputs), batch), []
        for each in session.built.tasks.tasks:
            loss = sum(losses[f"{word}_{each.name}"] for word in each.losses)
            grads = torch.autograd.grad(loss, named.values(), retain_graph=True, allow_unused=True)
            there = {n: g for n, g in zip(named, grads, strict=True) if g is not None}
            parts = apart(dense(session, there))
            found.append({n: g for n, g in parts.items() if "[" not in n or g.any()})
        both = {n.rpartition("[")[2] for n in found[0].keys() & found[1].keys() if "[" in n}
        alone = {n.rpartition("[")[2] for n in found[0].keys() ^ found[1].keys() if "[" in n}
        assert both == {"ctr]"}
        assert alone == {"cvr]"}
        model.zero_grad()
        stages.backward(session.built.tasks.losses(model(batch.inputs), batch))
        moved = apart(dense(session, {n: p.grad for n, p in named.items() if p.grad is not None}))
        expected = by_loops(found, all_orders(2)[0])
        for name, grad in expected.items():
            assert_close(moved[name], torch.from_numpy(grad), rtol=1e-4, atol=1e-6)
        plain = {name: sum(g[name] for g in found if name in g) for name in expected}
        conflicts += any((moved[n] - plain[n]).abs().max() > 1e-4 for n in plain if "ctr]" in n)
    assert conflicts


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dim", [0, 1])
def test_parts_along_either_dimension_are_those_of_parameters_of_their_own(
    dim: int, sparse: bool
) -> None:
    """Of towers a, b and c, b reads a, and c has no loss of its own; a table's parts are its
    columns, and its last rows are not trained."""
    rows, trained = (6, 4) if dim else (3, 3)
    stack = torch.nn.Parameter(normal(rows, 3, seed=1))
    common = torch.nn.Parameter(normal(4, seed=2))
    ids = torch.tensor([[0, 2, 5], [2, 1, 0]]) if dim else torch.tensor([[0, 1, 2], [1, 2, 0]])

    def losses() -> dict[str, Tensor]:
        by_id = [F.embedding(each, stack, sparse=sparse) for each in ids]  # (3, 3) of each task
        if dim:
            a, b = by_id[0][:, 0].sum(), by_id[1][:, 0].prod() - 2 * by_id[1][:, 1].sum()
        else:
            a, b = by_id[0][0].sum(), by_id[1][2].square().sum() - 2 * by_id[1][0].sum()
        pulls = common[:2].sum() - common[2], 20 * common[2] - 3 * common[0]
        keys = ("binary_cross_entropy_a", "binary_cross_entropy_b")
        return dict(zip(keys, (a + pulls[0], b * 3 + pulls[1]), strict=True))

    found = []
    for loss in losses().values():
        grads = torch.autograd.grad(loss, [stack, common], retain_graph=True)
        parts = grads[0].to_dense()[:trained].chunk(3, dim)
        named = {f"stack[{place}]": part for place, part in enumerate(parts) if part.any()}
        found.append(named | {"common": grads[1]})
    assert [len(each) for each in found] == [2, 3]
    tasks = TaskSet([task("a"), task("b")])
    table = {stack: trained} if dim else {}
    surgery = Surgery(tasks, [stack, common], table, {stack: dim}, [{0, 1}, {1}, set()])
    surgery.backward(losses())
    assert stack.grad.is_sparse == sparse
    moved = dict(enumerate(stack.grad.to_dense()[:trained].chunk(3, dim)))
    expected = by_loops(found, all_orders(2)[0])
    assert_close(common.grad, torch.from_numpy(expected["common"]))
    assert not torch.allclose(common.grad, sum(each["common"] for each in found))
    for place, part in moved.items():
        wanted = expected.get(f"stack[{place}]")
        assert_close(part, torch.zeros_like(part) if wanted is None else torch.from_numpy(wanted))
