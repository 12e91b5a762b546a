"""Towers, and the whole model from ids and numbers to logits."""

import oracles
import parts
import pytest
import torch
from torch.testing import assert_close

from tzmmoe.batch import Inputs
from tzmmoe.jagged import Jagged
from tzmmoe.models.tower import Tower

MLP = parts.LAYERS


@pytest.mark.parametrize("mlp", [None, MLP, MLP | {"use_bn": True}])
@pytest.mark.parametrize("num_class", [1, 2, 5])
@pytest.mark.parametrize("num_rows", [0, 1, 6])
def test_a_tower_is_its_layers_and_a_linear_map_with_bias(
    mlp: dict | None, num_class: int, num_rows: int
) -> None:
    """Without activation; one logit gives (B,), of one row too."""
    torch.manual_seed(0)
    tower = parts.shaken(Tower(6, num_class, mlp)).eval()
    x = parts.normal(9, 6)[:num_rows]
    hidden = oracles.networks(tower.mlp, "nn.ReLU")[0](x) if mlp else x
    weight, bias = tower.linear.weight, tower.linear.bias
    wanted = torch.stack(
        [(hidden * weight[c]).sum(dim=1) + bias[c] for c in range(num_class)], dim=1
    )
    assert_close(tower(x), wanted[:, 0] if num_class == 1 else wanted)


@pytest.mark.parametrize("num_rows", [0, 1, 7])
def test_logits_are_those_of_encoder_mixture_and_tower_one_by_one(num_rows: int) -> None:
    whole, rows = parts.rank_model({"ctr": 1, "kind": 3}), parts.model_inputs(num_rows)
    table = whole.encoder.tables["width_4"].weight
    x = torch.cat([table[rows.ids[4].values], rows.numbers], dim=1)
    logits = whole(rows)
    assert list(logits) == ["ctr", "kind"]
    if num_rows:
        for name, part in zip(logits, oracles.mmoe_by_loops(whole.body, x), strict=True):
            assert_close(logits[name], whole.towers[f"tower_{name}"](part))
    assert logits["ctr"].shape == (num_rows,)
    assert logits["kind"].shape == (num_rows, 3)


def test_permuted_rows_give_permuted_logits_and_one_row_its_own() -> None:
    whole, rows = parts.rank_model({"ctr": 1, "kind": 3}), parts.model_inputs(8)
    logits = whole(rows)
    for order in (torch.tensor([5]), torch.randperm(8, generator=parts.generator(2))):
        taken = Inputs({4: Jagged(rows.ids[4].values[order])}, rows.numbers[order])
        for name, found in whole(taken).items():
            assert_close(found, logits[name][order])


def test_a_tasks_loss_teaches_its_own_tower_only() -> None:
    whole = parts.rank_model({"ctr": 1, "cvr": 1})
    whole(parts.model_inputs(8))["ctr"].square().sum().backward()
    for parameter in whole.towers["tower_ctr"].parameters():
        assert parameter.grad.abs().sum() > 0
    for parameter in whole.towers["tower_cvr"].parameters():
        assert parameter.grad is None


def test_every_parameter_learns_from_the_sum_of_all_tasks() -> None:
    whole = parts.rank_model({"ctr": 1, "kind": 3})
    sum(logits.square().sum() for logits in whole(parts.model_inputs(50)).values()).backward()
    for name, parameter in whole.named_parameters():
        grad = parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad
        assert grad.abs().sum() > 0, name


def test_names_of_towers_may_hold_hyphens_and_words_of_modules() -> None:
    names = {"train": 1, "a-b": 1, "forward": 1}
    model = parts.rank_model(names)
    assert list(model(parts.model_inputs(2))) == list(names)
