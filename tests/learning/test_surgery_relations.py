"""PCGrad where a tower reads another: a tower's own part of a stack is then of several tasks."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from e2e import tiny
from models import models_of_tiny
from pcgrad import all_orders, by_loops
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.run.session import Session

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
        for task in session.built.tasks.tasks:
            loss = sum(losses[f"{word}_{task.name}"] for word in task.losses)
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
