"""Feature groups with layers of their own: ESMM's group_networks against loops over rows."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import parts
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from written import changed, loaded, said_of_all

from tzmmoe.errors import ConfigError
from tzmmoe.models.esmm import ESMM
from tzmmoe.models.esmm.grouped_input import GroupedInput
from tzmmoe.nn.mlp import StackedLinear
from tzmmoe.tables.penalties import penalized, regularization

WIDTHS = {"user": 5, "item": 3, "ad": 2}
GROUPS = {name: parts.group(**{f"f_{name}": width}) for name, width in WIDTHS.items()}
UNITS: dict[str, list[int]] = {"item": [4, 3], "ad": [], "user": [6]}


def networks(*names: str) -> list[dict[str, Any]]:
    """As the schema gives them; the group ``ad`` has no layers."""
    return [
        {"input": name, "mlp": parts.PLAIN | {"hidden_units": UNITS[name]} if UNITS[name] else None}
        for name in names
    ]


def esmm(*names: str, l2: float = 0.0) -> ESMM:
    """In float64, every parameter off its start."""
    torch.manual_seed(0)
    bottom = parts.PLAIN | {"hidden_units": [4]}
    made = ESMM(
        GROUPS,
        parts.specs(ctr=1, cvr=1),
        bottom_mlp=bottom,
        share_bottom=False,
        group_networks=networks(*names),
        l2_regularization=l2,
    )
    return parts.shaken(made)


def rows(count: int) -> dict[str, Tensor]:
    return {n: parts.normal(count, w, seed=i) for i, (n, w) in enumerate(WIDTHS.items())}


def network(weights: Mapping[str, Tensor], prefix: str, x_D: Tensor) -> Tensor:
    layer = 0
    while f"{prefix}.layers.{layer}.linear.weight" in weights:
        own = f"{prefix}.layers.{layer}.linear"
        x_D = (weights[f"{own}.weight"][0] @ x_D + weights[f"{own}.bias"][0]).relu()
        layer += 1
    return x_D


@pytest.mark.parametrize("names", [("item", "ad", "user"), ("user", "item"), ("ad",)], ids=str)
def test_each_groups_layers_read_its_group_and_the_bottoms_read_all_in_order(names) -> None:
    model, inputs = esmm(*names), rows(4)
    weights = dict(model.named_parameters())
    found, wanted = model(inputs), ([], [])
    for row in range(4):
        joined = torch.cat(
            [network(weights, f"input.networks.{i}", inputs[n][row]) for i, n in enumerate(names)]
        )
        for task, outputs in enumerate(wanted):
            outputs.append(network(weights, f"bottoms.{task}", joined))
    assert_close(list(found.hidden), [torch.stack(outputs) for outputs in wanted])
    assert list(model.groups) == list(names)
    loss = [sum(each.square().sum() for each in ys) for ys in (found.hidden, map(stack, wanted))]
    grads = [torch.autograd.grad(each, list(weights.values())) for each in loss]
    assert_close(grads[0], grads[1])


def stack(outputs: list[Tensor]) -> Tensor:
    return torch.stack(outputs)


def test_the_groups_layers_are_penalized_too() -> None:
    model = esmm("item", "user", l2=0.3)
    kernels = [p.weight for p in model.modules() if isinstance(p, (nn.Linear, StackedLinear))]
    assert len(kernels) == 2 + 1 + 2
    wanted = 0.3 * sum(kernel.detach().square().sum() for kernel in kernels) / 2
    assert_close(regularization(penalized(model)).detach(), wanted)


def test_groups_that_are_not_read_are_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        GroupedInput(GROUPS, networks("ad"), "here")
    [line] = caplog.messages
    assert "does not read these feature groups: user, item" in line


def test_all_faults_are_told_at_once_at_their_fields() -> None:
    bad = [
        *networks("ad"),
        {"input": "ad", "mlp": None},
        {"input": "itm", "mlp": None},
        {"input": None, "mlp": None},
        {"input": "user", "mlp": parts.PLAIN | {"hidden_units": [0]}},
    ]
    with pytest.raises(ConfigError) as error:
        GroupedInput(GROUPS, bad, "nets")
    told = {fault.path: fault.text for fault in error.value.faults}
    assert list(told) == ["nets[1].input", "nets[2].input", "nets[3].input",
                          "nets[4].mlp.hidden_units"]  # fmt: skip
    assert "'ad' is listed twice" in told["nets[1].input"]
    assert "did you mean 'item'?" in told["nets[2].input"]
    assert "is not set; give one of user, item, ad" in told["nets[3].input"]


def test_a_group_that_there_is_not_is_told_with_the_line_of_easyrecs_words(tmp_path: Path) -> None:
    towers = 'ctr_tower { label_name: "click" } cvr_tower { label_name: "buy" } } }'
    before, _, _ = changed().partition("mmoe {")
    model = f'esmm {{\n groups {{ input: "al" dnn {{ hidden_units: [2] }} }}\n {towers}\n'
    [line] = said_of_all(loaded(tmp_path, before + model))
    place = "my.config:21: model_config.esmm.groups[0].input: 'al' is not a feature group"
    assert line.startswith(place)
    assert "give one of all; did you mean 'all'?" in line
