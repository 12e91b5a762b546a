"""A body's factors against rows looked up one by one: how values are pooled, and which tables."""

from collections.abc import Sequence

import parts
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.batch import Inputs
from tzmmoe.jagged import Jagged
from tzmmoe.models.base import Body, Factor, Pooling, TowerInputs
from tzmmoe.models.encoder import Encoder
from tzmmoe.tables.initializers import table_initializer
from tzmmoe.tables.penalties import Penalty
from tzmmoe.tables.sharded import ShardedTables, read_bags
from tzmmoe.tables.table import Tables, fill_tables

TEXTS = {
    "user": 'id_feature { feature_name: "user" num_buckets: 7 embedding_dim: 4 }',
    "mean": 'id_feature { feature_name: "mean" num_buckets: 7 embedding_dim: 4 pooling: "mean" '
    'embedding_name: "user_emb" }',
    "score": 'id_feature { feature_name: "score" num_buckets: 5 embedding_dim: 4 weighted: true }',
    "plain": 'id_feature { feature_name: "plain" num_buckets: 3 embedding_dim: 8 pooling: "mean" }',
    "age": 'raw_feature { feature_name: "age" }',
    "pair": 'raw_feature { feature_name: "pair" value_dim: 2 }',
    "linear": 'raw_feature { feature_name: "linear" value_dim: 3 embedding_dim: 6 mlp {} }',
}
ROWS = {"user": 7, "mean": 7, "score": 5, "plain": 3}
NUMBERS = {"age": range(1), "pair": range(1, 3), "linear": range(3, 6)}
NAMES = list(TEXTS)
NONE, NUM_ROWS = Penalty(0.0, 0.0), 6


class Reader(Body):
    """Reads factors and plain numbers."""

    def __init__(self, factors: dict[str, Factor], **more: dict[str, Sequence[str]]) -> None:
        super().__init__()
        self.groups, self.factors = more.get("groups", {}), factors
        self.numbers = more.get("numbers", {})

    def forward(self, inputs: dict[str, Tensor]) -> TowerInputs:
        return TowerInputs(list(inputs.values()))


def encoder(names: Sequence[str], body: Body, regularization: float = 0.0) -> Encoder:
    features = parts.features(*(TEXTS[name] for name in names))
    made = Encoder(features, body, seed=3, regularization=regularization)
    fill_tables(made)
    return parts.shaken(made)


def drawn(names: Sequence[str]) -> tuple[dict[str, list[list[int]]], list, Tensor, Inputs]:
    """Ids, weights of ``score``, numbers, and the batch of them; some bags are empty, and the
    weights of one sum up to 0."""
    source = parts.generator(1)
    bags = {
        name: [torch.randint(rows, (n,), generator=source).tolist() for n in (2, 0, 1, 3, 2, 1)]
        for name, rows in ROWS.items()
    }
    weights = [
        torch.randn(len(ids), generator=source, dtype=torch.float64) for ids in bags["score"]
    ]
    weights[4] = torch.tensor([0.5, -0.5], dtype=torch.float64)
    numbers = torch.randn(NUM_ROWS, 6, generator=source, dtype=torch.float64)
    ids = {}
    for width, members in ((4, ("user", "mean", "score")), (8, ("plain",))):
        members = [name for name in names if name in members]
        bag = [bags[name][row] for row in range(NUM_ROWS) for name in members]
        own = [
            weights[row] if name == "score" else torch.ones(len(bags[name][row])).double()
            for row in range(NUM_ROWS)
            for name in members
        ]
        if members:
            values = torch.tensor([value for each in bag for value in each])
            lengths = torch.tensor([len(each) for each in bag]).view(NUM_ROWS, -1)
            ids[width] = Jagged(values, lengths, torch.cat(own) if "score" in members else None)
    columns = [numbers[:, list(NUMBERS[name])] for name in names if name in NUMBERS]
    joined = torch.cat([torch.zeros(NUM_ROWS, 0).double(), *columns], dim=1)
    return bags, weights, numbers, Inputs(ids, joined)


def rows_of(model: Encoder, factor: str, table: str) -> Tensor:
    for tables in model.factors[factor].tables.values():
        if table in tables.spans:
            return tables.rows_of(table, tables.weight)
    raise KeyError(table)


def pooled(pooling: Pooling, feature: str, rows: Tensor, weights: Tensor) -> Tensor:
    """By its definition; ``rows``: those of the values, in float64."""
    one = torch.ones(len(rows), dtype=torch.float64)
    w = weights if feature == "score" else one
    total = (w[:, None] * rows).sum(0)
    if pooling is Pooling.BY_FEATURE:
        return total if feature == "score" else rows.sum(0) / max(len(rows), 1)
    if pooling is Pooling.WEIGHTED_SUM:
        return total
    if pooling is Pooling.WEIGHTED_MEAN:
        return total / w.sum() if len(w) and w.sum() != 0 else total
    return rows.sum(0) / (max(len(rows), 1) if pooling is Pooling.MEAN else 1)


@pytest.mark.parametrize("pooling", Pooling)
@pytest.mark.parametrize("names", [NAMES, ["plain", "user", "mean"], ["score"]])
def test_the_values_of_a_category_are_pooled_as_the_factor_says(pooling, names) -> None:
    members = [name for name in reversed(names) if name in ROWS]
    factor = Factor(members, 2, table_initializer(None, 4), NONE, pooling=pooling)
    model = encoder(names, Reader({"own": factor}))
    bags, weights, _, batch = drawn(names)
    found = model(batch)["own"]
    for place, name in enumerate(members):
        rows = rows_of(model, "own", f"{name}.own")
        for row, ids in enumerate(bags[name]):
            wanted = pooled(pooling, name, rows[ids], weights[row])
            assert_close(found[row, place], wanted)


def test_by_feature_the_vectors_of_a_features_numbers_are_summed() -> None:
    members = ["pair", "user", "linear", "age"]
    factors = {
        "summed": Factor(members, 2, None, NONE, by_feature=True),
        "single": Factor(members, 2, None, NONE),
    }
    model = encoder(NAMES, Reader(factors))
    with torch.no_grad():  # "summed" has age, linear and pair, "single" pair, linear and age
        weight = model.factors["summed"].vectors.weight[[4, 5, 1, 2, 3, 0]]
        model.factors["single"].vectors.weight.copy_(weight)
    numbers, batch = drawn(NAMES)[2:]
    found = model(batch)
    terms = numbers[:, [1, 2, 3, 4, 5, 0], None] * weight
    assert_close(found["summed"][:, 0], terms[:, :2].sum(1))
    assert_close(found["summed"][:, 2], terms[:, 2:5].sum(1))
    assert_close(found["summed"][:, 3], terms[:, 5])
    assert found["single"].shape == (NUM_ROWS, 7, 2)
    assert_close(found["single"][:, [0, 1, 3, 4, 5, 6]], terms)


def test_a_feature_listed_twice_is_given_twice_from_one_row() -> None:
    members = ["age", "user", "pair", "user", "age"]
    model = encoder(NAMES, Reader({"own": Factor(members, 2, None, NONE, by_feature=True)}))
    found = model(drawn(NAMES)[3])["own"]
    assert_close(found[:, 0], found[:, 4], rtol=0, atol=0)
    assert_close(found[:, 1], found[:, 3], rtol=0, atol=0)
    assert len(model.factors["own"].vectors.weight) == 3
    assert list(model.factors["own"].tables["width_4"].spans) == ["user.own"]


def test_features_that_share_a_table_share_its_counterpart_only_if_the_factor_says_so() -> None:
    members = ["user", "mean"]
    factors = {
        "shared": Factor(members, 2, None, NONE, pooling=Pooling.WEIGHTED_SUM, shared=True),
        "apart": Factor(members, 2, None, NONE, pooling=Pooling.WEIGHTED_SUM),
    }
    model = encoder(NAMES, Reader(factors))
    bags, *_, batch = drawn(NAMES)
    found = model(batch)
    assert list(model.factors["shared"].tables["width_4"].spans) == ["user_emb.shared"]
    assert list(model.factors["apart"].tables["width_4"].spans) == ["user.apart", "mean.apart"]
    rows = rows_of(model, "shared", "user_emb.shared")
    for place, name in enumerate(members):
        for row, ids in enumerate(bags[name]):
            assert_close(found["shared"][row, place], rows[ids].sum(0))


def test_how_a_factor_starts_depends_on_the_seed_and_names_alone() -> None:
    def start(members: list[str]) -> tuple[Tensor, Tensor]:
        features = parts.features(*(TEXTS[name] for name in NAMES))
        body = Reader({"own": Factor(members, 2, None, NONE, by_feature=True)})
        made = Encoder(features, body, seed=3)
        fill_tables(made)
        return rows_of(made, "own", "user.own"), made.factors["own"].vectors.weight

    rows, vectors = start(["user", "pair"])
    more_rows, more_vectors = start(["age", "score", "pair", "user", "linear"])
    assert_close(rows, more_rows, rtol=0, atol=0)
    assert_close(vectors, more_vectors[4:], rtol=0, atol=0)
    assert rows.abs().max() <= 7**-0.5  # as the feature's own table
    assert vectors.abs().max() <= 2**-0.5


def test_plain_numbers_are_not_embedded_even_where_a_group_embeds_them() -> None:
    body = Reader({}, groups={"all": ["linear"]}, numbers={"raw": ["linear", "age"]})
    model = encoder(NAMES, body)
    _, _, numbers, batch = drawn(NAMES)
    found = model(batch)
    assert_close(found["raw"], numbers[:, [3, 4, 5, 0]], rtol=0, atol=0)
    assert_close(found["all"], model.embedders["embed_linear"](numbers[:, 3:]))


def test_the_penalty_is_half_the_squares_of_what_regularized_factors_give() -> None:
    """s sum e^2 / 2 after pooling; plain numbers and other factors have none."""
    factors = {
        "wide": Factor(["pair", "user", "user"], 2, None, NONE, by_feature=True),
        "free": Factor(["user"], 2, None, NONE, regularized=False),
    }
    model = encoder(NAMES, Reader(factors, numbers={"raw": ["age"]}), regularization=0.3)
    encoded = model(drawn(NAMES)[3])
    wanted = 0.3 / 2 * encoded["wide"].square().sum()
    assert_close(model.embedding_penalty(encoded).double(), wanted, rtol=1e-6, atol=0)
    none = encoder(NAMES, Reader({}, numbers={"raw": ["age"]}), regularization=0.3)
    assert float(none.embedding_penalty(none(drawn(NAMES)[3]))) == 0


class OneProcess:
    """A ``ShardedStore`` that holds all rows itself."""

    def __init__(self, tables: Tables) -> None:
        self.tables, self.bags = tables, read_bags(tables)[1]

    def lookup(self, group: str, ids: Tensor, lengths_FB: Tensor, weights: Tensor | None) -> Tensor:
        sums, first = [], 0
        for bag, lengths in zip(self.bags, lengths_FB.tolist(), strict=True):
            rows = self.tables.rows_of(bag.table, self.tables.weight)
            for count in lengths:
                own = rows[ids[first : first + count]]
                w = 1 if weights is None else weights[first : first + count, None]
                sums.append((w * own).sum(0))
                first += count
        return torch.stack(sums).view(*lengths_FB.shape, -1).transpose(0, 1)


@pytest.mark.parametrize("pooling", Pooling)
def test_tables_that_are_spread_over_processes_are_pooled_in_the_same_way(pooling) -> None:
    factor = Factor(NAMES, 2, None, NONE, pooling=pooling, by_feature=True, shared=True)
    model = encoder(NAMES, Reader({"own": factor}))
    batch = drawn(NAMES)[3]
    whole = model(batch)["own"]
    tables = model.factors["own"].tables
    for name, part in list(tables.items()):
        tables[name] = ShardedTables(OneProcess(part), name, part)
    assert_close(model(batch)["own"], whole)
