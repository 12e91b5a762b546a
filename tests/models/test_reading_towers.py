"""A tower that reads another tower's hidden state, by a body of the test's own."""

from collections.abc import Mapping, Sequence
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
from tzmmoe.nn.mlp import MLP
from tzmmoe.tables.table import fill_tables
from tzmmoe.tasks.taskset import TaskSet


class Related(Tower):
    """Its layers, then those of the relation over its state and the states that it reads.

    As in Wang et al., "Deep Bayesian Multi-Target Learning for Recommender Systems", 2019.
    """

    def __init__(self, width: int, read: int, spec: TowerSpec) -> None:
        super().__init__(width, spec.num_class, spec.mlp)
        self.relation = MLP(self.state_features + read, **spec.further["relation_mlp"])
        self.state_features = self.relation.out_features
        self.linear = torch.nn.Linear(self.state_features, spec.num_class)

    def state(self, x_BH: Tensor, read: Sequence[Tensor] = ()) -> Tensor:
        return self.relation(torch.cat([super().state(x_BH), *read], dim=1)).squeeze(1)


class Chain(Body):
    """All towers read the input; by its specification one may read the states of others."""

    def __init__(self, groups: Mapping[str, Group], towers: Sequence[TowerSpec]) -> None:
        super().__init__()
        self.groups = {name: list(group.widths) for name, group in groups.items()}
        self.out_features = [group.width for group in groups.values()] * len(towers)
        self.reads = {spec.name: spec.further.get("relation_tower_names", ()) for spec in towers}

    def forward(self, inputs: Mapping[str, Tensor]) -> TowerInputs:
        return TowerInputs([inputs["all"]] * len(self.out_features))

    def tower(self, index: int, spec: TowerSpec, read: Sequence[Tower] = ()) -> Tower:
        if "relation_mlp" not in spec.further:
            return super().tower(index, spec, read)
        width = sum(tower.state_features for tower in read)
        return Related(self.out_features[index], width, spec)


def layers(*units: int) -> dict[str, Any]:
    return parts.PLAIN | {"hidden_units": list(units)}


def spec(name: str, units: int | None, *reads: str, relation: int | None = None) -> TowerSpec:
    further: dict[str, Any] = {"relation_tower_names": reads} if reads else {}
    if relation:
        further["relation_mlp"] = layers(relation)
    return TowerSpec(name, 1, layers(units) if units else None, further)


# Towers in an order in which the first reads the later ones.
SPECS = [
    spec("buy", 4, "cart", "click"),
    spec("cart", 3, "click", relation=2),
    spec("click", 5),
]
LABELS = {"buy": 0.2, "cart": 0.5, "click": 0.7}


def made(specs: Sequence[TowerSpec] = SPECS) -> RankModel:
    """In float64, with the inputs of ``parts.model_inputs``."""
    torch.manual_seed(0)
    user = 'id_feature { feature_name: "user" num_buckets: 9 embedding_dim: 4 }'
    age = 'raw_feature { feature_name: "age" value_dim: 2 }'
    body = Chain({"all": parts.group(user=4, age=2)}, specs)
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
    for x_D in x_BD:
        mlp = "towers.tower_{}.mlp.layers.0.linear".format
        click = layer(weights, mlp("click"), x_D)
        own = layer(weights, mlp("cart"), x_D)
        relation = "towers.tower_cart.relation.layers.0.linear"
        cart = layer(weights, relation, torch.cat([own, click]))
        buy = layer(weights, mlp("buy"), torch.cat([x_D, cart, click]))
        for name, state in (("buy", buy), ("cart", cart), ("click", click)):
            linear = f"towers.tower_{name}.linear"
            [logit] = weights[f"{linear}.weight"] @ state + weights[f"{linear}.bias"]
            found[name].append(logit)
    return {name: torch.stack(logits) for name, logits in found.items()}


def test_logits_and_gradients_equal_those_of_each_row() -> None:
    model, inputs = made(), parts.model_inputs(6)
    weights = dict(model.towers.named_parameters(prefix="towers"))
    x_BD = model.encoder(inputs)["all"].detach()
    found, wanted = model(inputs), by_rows(weights, x_BD)
    assert list(found) == ["buy", "cart", "click"]
    assert_close(found, wanted)
    grads = [
        torch.autograd.grad(sum(each.values()).square().sum(), weights.values())
        for each in (found, wanted)
    ]
    assert_close(grads[0], grads[1])


def test_a_tower_learns_through_those_that_read_it() -> None:
    """The click alone has no loss, and its layers learn from the others' for 20 steps."""
    model, inputs = made(), parts.model_inputs(60)
    labels = {n: (parts.normal(60, seed=i) < p).float() for i, (n, p) in enumerate(LABELS.items())}
    tasks = TaskSet([parts.task("buy"), parts.task("cart"), parts.task("click", weight=0.0)])
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
    names = [each.name for each in specs]
    with pytest.raises(ConfigError, match=words):
        Chain({"all": parts.group(x=3)}, specs).order(names)
