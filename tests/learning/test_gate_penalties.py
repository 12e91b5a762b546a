"""The penalties of mmoe's gates in a training step."""

import copy

import oracles
import pytest
from e2e import tiny


@pytest.mark.parametrize("members", [1, 3])
def test_a_step_adds_the_penalties_of_the_gates_to_its_loss(tiny_folder, members: int) -> None:
    made = tiny.session(
        tiny_folder,
        model_config__mmoe__gate_balance_weight=0.7,
        model_config__mmoe__gate_entropy_weight=0.3,
        model_config__mmoe__num_members=members,
    )
    [batch] = tiny.batches(made, 1)
    gates, read = made.built.model.body.gates, []
    hook = gates.register_forward_hook(lambda _, inputs, found: read.append((inputs[0], found)))
    before = copy.deepcopy(gates)
    schedules = made.settings.learning.schedules()
    _, losses = tiny.train_step(made)(batch, schedules.at(0, epoch=0))
    hook.remove()
    [(x_BD, weights_BTE)] = read
    if members == 1:
        weights_BTE = oracles.gates_by_loops(before, x_BD.detach(), "")
    wanted = 0.0
    for weights_BE in weights_BTE.detach().double().unbind(1):
        means = weights_BE.mean(dim=0)
        wanted += 0.7 * float(means.var(correction=0) / means.mean() ** 2)
        wanted += 0.3 * float((weights_BE * weights_BE.log()).sum(dim=1).mean())
    assert losses["regularization"].item() == pytest.approx(wanted, rel=1e-4)
