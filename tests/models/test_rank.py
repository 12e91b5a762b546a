"""Towers, and the whole model from ids and numbers to logits."""

import oracles
import parts
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.batch import Inputs
from tzmmoe.jagged import Jagged
from tzmmoe.models.rank import RankModel
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


@torch.no_grad()
def logits_by_loops(whole: RankModel, rows: Inputs) -> dict[str, Tensor]:
    """A lookup and the numbers side by side, the mixture, the tower's layers and its linear map,
    row by row and class by class."""
    [table] = whole.encoder.tables.values()
    ids, numbers = rows.ids[4].values.tolist(), rows.numbers.tolist()
    x = torch.tensor(
        [[*table.weight[i].tolist(), *r] for i, r in zip(ids, numbers, strict=True)],
        dtype=torch.float64,
    ).view(len(ids), -1)
    found = {}
    for name, mixed in zip(whole.names, oracles.mmoe_by_loops(whole.body, x), strict=True):
        tower = whole.towers[f"tower_{name}"]
        [network] = oracles.networks(tower.mlp, "nn.ReLU")
        weight, bias = tower.linear.weight, tower.linear.bias
        of_rows = [
            [
                sum(w * h for w, h in zip(weight[c], hidden, strict=True)) + bias[c]
                for c in range(len(bias))
            ]
            for hidden in network(mixed)
        ]
        logits = torch.tensor(of_rows, dtype=torch.float64).view(len(ids), len(bias))
        found[name] = logits[:, 0] if len(bias) == 1 else logits
    return found


@pytest.mark.parametrize("num_rows", [1, 7])
@pytest.mark.parametrize("use_bn", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_logits_are_those_of_loops_over_rows_experts_and_classes(
    num_rows: int, use_bn: bool, training: bool
) -> None:
    """Batch norm goes by the rows of the batch while training, and one row by the statistics."""
    whole, rows = (
        parts.rank_model({"ctr": 1, "kind": 3}, use_bn=use_bn),
        parts.model_inputs(num_rows),
    )
    wanted = logits_by_loops(whole.train(training and num_rows > 1), rows)
    logits = whole.train(training)(rows)
    assert list(logits) == ["ctr", "kind"]
    for name, of_rows in wanted.items():
        assert_close(logits[name], of_rows)


def test_no_rows_have_no_logits() -> None:
    whole = parts.rank_model({"ctr": 1, "kind": 3})
    shapes = {name: tuple(logits.shape) for name, logits in whole(parts.model_inputs(0)).items()}
    assert shapes == {"ctr": (0,), "kind": (0, 3)}


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
