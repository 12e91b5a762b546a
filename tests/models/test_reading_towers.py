"""Towers that read the hidden states of other towers."""

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import parts
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.models.base import Body, Group, TowerInputs, TowerSpec
from tzmmoe.models.encoder import Encoder
from tzmmoe.models.rank import RankModel
from tzmmoe.models.tower import Tower
from tzmmoe.tables.table import fill_tables
from tzmmoe.tasks.taskset import TaskSet


class Chain(Body):
    """All towers read the input."""

    def __init__(self, groups: Mapping[str, Group], towers: Sequence[TowerSpec]) -> None:
        super().__init__()
        self.groups = {name: list(group.widths) for name, group in groups.items()}
        self.out_features = [group.width for group in groups.values()] * len(towers)

    def forward(self, inputs: Mapping[str, Tensor]) -> TowerInputs:
        return TowerInputs([inputs["all"]] * len(self.out_features))


class Gated(Tower):
    """A user's tower: its state is scaled by those that it reads."""

    def state(self, x_BH: Tensor, read: Sequence[Tensor] = ()) -> Tensor:
        scale_B1 = sum(state.mean(dim=1, keepdim=True) for state in read)
        return super().state(x_BH) * scale_B1 if read else super().state(x_BH)


class Scaled(Chain):
    """A body that says itself what its towers read, and makes them."""

    def __init__(self, groups: Mapping[str, Group], towers: Sequence[TowerSpec]) -> None:
        super().__init__(groups, towers)
        self.reads = {"buy": ["click"]}

    def tower(self, index: int, spec: TowerSpec, read: Sequence[Tower] = ()) -> Tower:
        return Gated(self.out_features[index], spec.num_class, spec.mlp)


def layers(*units: int) -> dict[str, Any]:
    return parts.PLAIN | {"hidden_units": list(units)}


def spec(name: str, units: int | None, *reads: str, relation: int | None = None) -> TowerSpec:
    own, after = (layers(each) if each else None for each in (units, relation))
    return TowerSpec(name, 1, own, {}, relations=reads, relation_mlp=after)


# Towers in an order in which the first reads the later ones. One reads its own state once more; of
# those that read others, one has no layers for that.
SPECS = [
    spec("buy", 4, "cart", "click"),
    spec("cart", 3, "click", "seen", relation=2),
    spec("seen", None, "click"),
    spec("click", 5, relation=3),
]
LABELS = {"buy": 0.2, "cart": 0.5, "seen": 0.9, "click": 0.7}


def made(specs: Sequence[TowerSpec] = SPECS, kind: type[Body] = Chain) -> RankModel:
    """In float64, with the inputs of ``parts.model_inputs``."""
    torch.manual_seed(0)
    user = 'id_feature { feature_name: "user" num_buckets: 9 embedding_dim: 4 }'
    age = 'raw_feature { feature_name: "age" value_dim: 2 }'
    body = kind({"all": parts.group(user=4, age=2)}, specs)
    body.connect(specs)
    towers: dict[str, Tower] = {}
    places = {each.name: place for place, each in enumerate(specs)}
    for name in body.order(list(places)):
        read = [towers[other] for other in body.reads[name]]
        towers[name] = body.tower(places[name], specs[places[name]], read)
    encoder = Encoder(parts.features(user, age), body, seed=0)
    fill_tables(encoder)
    return parts.shaken(RankModel(encoder, body, {name: towers[name] for name in places}))


def layer(weights: Mapping[str, Tensor], name: str, x_D: Tensor) -> Tensor:
    return (weights[f"{name}.weight"][0] @ x_D + weights[f"{name}.bias"][0]).relu()


def by_rows(weights: Mapping[str, Tensor], x_BD: Tensor) -> dict[str, Tensor]:
    """The logits of SPECS."""
    found: dict[str, list[Tensor]] = {each.name: [] for each in SPECS}
    mlp, relation = (f"towers.tower_{{}}.{part}.layers.0.linear".format for part in PARTS)
    for x_D in x_BD:
        click = layer(weights, relation("click"), layer(weights, mlp("click"), x_D))
        seen = x_D
        cart = torch.cat([layer(weights, mlp("cart"), x_D), click, seen])
        cart = layer(weights, relation("cart"), cart)
        buy = layer(weights, mlp("buy"), x_D)
        ends = {
            "buy": torch.cat([buy, cart, click]),
            "cart": cart,
            "seen": torch.cat([seen, click]),
            "click": click,
        }
        for name, end in ends.items():
            linear = f"towers.tower_{name}.linear"
            [logit] = weights[f"{linear}.weight"] @ end + weights[f"{linear}.bias"]
            found[name].append(logit)
    return {name: torch.stack(logits) for name, logits in found.items()}


PARTS = ("mlp", "relation")


def test_logits_and_gradients_equal_those_of_each_row() -> None:
    """To others, a tower without layers of its own for the relation shows its own state alone."""
    model, inputs = made(), parts.model_inputs(6)
    weights = dict(model.towers.named_parameters(prefix="towers"))
    x_BD = model.encoder(inputs)["all"].detach()
    found, wanted = model(inputs), by_rows(weights, x_BD)
    assert list(found) == ["buy", "cart", "seen", "click"]
    assert_close(found, wanted)
    grads = [
        torch.autograd.grad(sum(each.values()).square().sum(), weights.values())
        for each in (found, wanted)
    ]
    assert_close(grads[0], grads[1])


@pytest.mark.parametrize("order", list(permutations(range(4)))[1::5])
def test_the_order_of_the_towers_in_the_config_makes_no_difference(order: tuple[int, ...]) -> None:
    model, other = made(), made([SPECS[place] for place in order])
    other.load_state_dict(model.state_dict())
    inputs = parts.model_inputs(6)
    assert list(other(inputs)) == [SPECS[place].name for place in order]
    assert_close(other(inputs), {name: model(inputs)[name] for name in other.names})


def test_the_order_of_the_names_is_that_of_the_columns() -> None:
    """So that the layers of the relation, with their columns moved alike, see the same."""
    turned = [
        spec("cart", 3, "seen", "click", relation=2) if s.name == "cart" else s for s in SPECS
    ]
    model, other = made(), made(turned)
    state = model.state_dict()
    weight = state["towers.tower_cart.relation.layers.0.linear.weight"]
    own, click, seen = weight.split([3, 3, 6], dim=-1)
    state["towers.tower_cart.relation.layers.0.linear.weight"] = torch.cat([own, seen, click], -1)
    other.load_state_dict(state)
    inputs = parts.model_inputs(6)
    assert_close(other(inputs), model(inputs))


def test_readers_are_those_that_read_a_tower_through_however_many_others() -> None:
    assert made().readers() == [{"buy"}, {"cart", "buy"}, {"seen", "cart", "buy"}, {*LABELS}]


def test_a_bodys_own_towers_read_what_it_says_and_what_the_config_says() -> None:
    own = [spec("buy", 4, "cart"), spec("cart", 3), spec("click", 5)]
    model, inputs = made(own, Scaled), parts.model_inputs(6)
    assert model.body.reads["buy"] == ["click", "cart"]
    x_BD = model.encoder(inputs)["all"]
    states = {name: model.towers[f"tower_{name}"].mlp(x_BD).squeeze(1) for name in model.names}
    scale_B1 = sum(states[name].mean(dim=1, keepdim=True) for name in ("click", "cart"))
    wanted = model.towers["tower_buy"].linear(states["buy"] * scale_B1).squeeze(1)
    assert_close(model(inputs)["buy"], wanted)


def test_a_tower_learns_through_those_that_read_it() -> None:
    """The click alone has no loss, and its layers learn from the others' for 20 steps."""
    model, inputs = made(), parts.model_inputs(60)
    labels = {n: (parts.normal(60, seed=i) < p).float() for i, (n, p) in enumerate(LABELS.items())}
    tasks = TaskSet(
        [parts.task("buy"), parts.task("cart"), parts.task("seen"), parts.task("click", weight=0.0)]
    )
    batch, first = parts.batch(labels, inputs), model.towers["tower_click"].mlp
    before = [parameter.detach().clone() for parameter in first.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    course = []
    for _ in range(20):
        loss = sum(tasks.losses(model(inputs), batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        course.append(float(loss.detach()))
    assert course[-1] < course[0]
    pairs = zip(before, first.parameters(), strict=True)
    assert all(not torch.equal(old, new) for old, new in pairs)


def test_a_tower_that_no_other_reads_leaves_the_others_as_they_are() -> None:
    model, inputs = made(), parts.model_inputs(6)
    before = model(inputs)
    with torch.no_grad():
        model.towers["tower_buy"].linear.weight += 1.0
    after = model(inputs)
    assert_close(after["click"], before["click"], rtol=0, atol=0)
    assert_close(after["cart"], before["cart"], rtol=0, atol=0)
    assert_close(after["seen"], before["seen"], rtol=0, atol=0)
    assert not torch.equal(after["buy"], before["buy"])


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ([spec("a", 3, "b"), spec("b", 3, "a")], "read each other.*: "),
        ([spec("a", 3, "a")], "read each other.*: a <- a"),
        ([spec("a", 3, "c"), spec("b", 3)], "reads c; .*a, b"),
    ],
)
def test_towers_that_cannot_be_put_in_an_order_are_refused(
    specs: list[TowerSpec], words: str
) -> None:
    body = Chain({"all": parts.group(x=3)}, specs)
    with pytest.raises(ConfigError, match=words):
        body.connect(specs)
