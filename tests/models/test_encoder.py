"""The encoder against features looked up and joined one by one."""

from collections.abc import Mapping, Sequence

import parts
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.batch import Inputs
from tzmmoe.jagged import Jagged
from tzmmoe.models.base import Body, TowerInputs
from tzmmoe.models.encoder import Encoder
from tzmmoe.tables.table import fill_tables

TEXTS = {
    "user": 'id_feature { feature_name: "user" num_buckets: 7 embedding_dim: 4 }',
    "item": 'id_feature { feature_name: "item" num_buckets: 5 embedding_dim: 4 pooling: "mean" }',
    "again": 'id_feature { feature_name: "again" num_buckets: 7 embedding_dim: 4'
    ' embedding_name: "user_emb" }',
    "wide": 'id_feature { feature_name: "wide" num_buckets: 3 embedding_dim: 8 }',
    "price": 'raw_feature { feature_name: "price" boundaries: [1, 2, 3] embedding_dim: 4 }',
    "age": 'raw_feature { feature_name: "age" }',
    "pair": 'raw_feature { feature_name: "pair" value_dim: 2 }',
    "linear": 'raw_feature { feature_name: "linear" value_dim: 3 embedding_dim: 6 mlp {} }',
    "disc": 'raw_feature { feature_name: "disc" value_dim: 2 embedding_dim: 3'
    " autodis { num_channels: 4 } }",
}
NUMBERS = {"age": 1, "pair": 2, "linear": 3, "disc": 2}
ROWS = {"user": 7, "item": 5, "again": 7, "wide": 3, "price": 4}
Bags = Mapping[str, list[list[int]]]


class Reader(Body):
    """Reads groups and no factors."""

    def __init__(self, groups: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, inputs: Mapping[str, Tensor]) -> TowerInputs:
        return TowerInputs(list(inputs.values()))


def encoder(order: Sequence[str], groups: Mapping[str, Sequence[str]]) -> Encoder:
    """Of the features in this order, which is that of the batch."""
    torch.manual_seed(0)
    features = parts.features(*(TEXTS[name] for name in order))
    made = Encoder(features, Reader(groups), seed=3)
    fill_tables(made)
    return made.double()


def drawn(num_rows: int, seed: int, *, most: int) -> tuple[Bags, dict[str, Tensor]]:
    """Up to ``most`` ids for each row of every id feature (one if it is 1), and the numbers."""
    source = parts.generator(seed)
    bags = {}
    for name, rows in ROWS.items():
        sizes = [int(torch.randint(most + 1, (), generator=source)) for _ in range(num_rows)]
        sizes = [1] * num_rows if most == 1 else sizes
        bags[name] = [torch.randint(rows, (n,), generator=source).tolist() for n in sizes]
    numbers = {
        name: torch.randn(num_rows, width, generator=source, dtype=torch.float64)
        for name, width in NUMBERS.items()
    }
    return bags, numbers


def inputs(order: Sequence[str], bags: Bags, numbers: Mapping[str, Tensor], *, one: bool) -> Inputs:
    """As the batch holds them: by width in the order of the features, and numbers side by side."""
    num_rows = len(next(iter(bags.values())))
    widths = {"user": 4, "item": 4, "again": 4, "wide": 8, "price": 4}
    ids = {}
    for width in sorted({widths[name] for name in order if name in widths}):
        members = [name for name in order if widths.get(name) == width]
        rows = [[bags[name][b] for name in members] for b in range(num_rows)]
        ragged = parts.bagged(rows, len(members))
        ids[width] = Jagged(ragged.values) if one else ragged
    columns = [numbers[name] for name in order if name in NUMBERS]
    return Inputs(ids, torch.cat([torch.zeros(num_rows, 0, dtype=torch.float64), *columns], dim=1))


def by_hand(model: Encoder, name: str, bags: Bags, numbers: Mapping[str, Tensor]) -> Tensor:
    """One feature's part (B, D)."""
    if name in ("age", "pair"):
        return numbers[name]
    if name in NUMBERS:
        return model.embedders[f"embed_{name}"](numbers[name])
    tables = model.tables["width_8" if name == "wide" else "width_4"]
    own = tables.rows_of("user_emb" if name == "again" else f"{name}_emb", tables.weight)
    rows = []
    for ids in bags[name]:
        total = sum((own[number] for number in ids), torch.zeros_like(own[0]))
        rows.append(total / len(ids) if name == "item" and ids else total)
    return torch.stack(rows) if rows else own[:0]


@settings(deadline=None, max_examples=60)
@given(
    st.permutations(sorted(TEXTS)),
    st.lists(
        st.lists(st.sampled_from(sorted(TEXTS)), min_size=1, unique=True), min_size=1, max_size=3
    ),
    st.integers(0, 4),
    st.sampled_from([1, 3]),
)
def test_groups_join_their_features_in_their_own_order_whatever_that_of_the_batch(
    order: list[str], groups: list[list[str]], num_rows: int, most: int
) -> None:
    named = {f"group{place}": members for place, members in enumerate(groups)}
    model = encoder(order, named)
    bags, numbers = drawn(num_rows, seed=num_rows, most=most)
    joined = model(inputs(order, bags, numbers, one=most == 1))
    assert list(joined) == list(named)
    for group, members in named.items():
        wanted = torch.cat([by_hand(model, name, bags, numbers) for name in members], dim=1)
        assert_close(joined[group], wanted)


def test_a_feature_in_two_groups_has_one_table_that_learns_from_both() -> None:
    order = ["user", "wide"]
    groups = {"first": ["user", "wide"], "second": ["wide", "user"]}
    model = encoder(order, groups)
    assert sum(parameter.numel() for parameter in model.parameters()) == 7 * 4 + 3 * 8
    bags, numbers = drawn(5, seed=1, most=1)
    batch = inputs(order, bags, numbers, one=True)
    grads = []
    for chosen in (["first"], ["second"], ["first", "second"]):
        model.zero_grad()
        joined = model(batch)
        sum(joined[name].square().sum() for name in chosen).backward()
        grads.append(model.tables["width_4"].weight.grad.to_dense())
    assert_close(grads[0] + grads[1], grads[2])
    assert_close(grads[0], grads[1])


def test_features_that_share_a_table_find_the_same_row() -> None:
    model = encoder(["user", "again"], {"all": ["user", "again"]})
    ids = {4: Jagged(torch.tensor([3, 3, 6, 6, 2, 5]))}
    joined = model(Inputs(ids, torch.zeros(3, 0)))["all"].unflatten(1, (2, 4))
    assert torch.equal(joined[:2, 0], joined[:2, 1])
    assert (joined[2, 0] != joined[2, 1]).all()
    assert model.tables["width_4"].weight.shape == (7, 4)


@pytest.mark.parametrize("others", [[], ["item"], ["item", "wide", "age"]])
def test_a_tables_first_values_do_not_depend_on_the_other_features(others: list[str]) -> None:
    alone = encoder(["user"], {"all": ["user"]}).tables["width_4"]
    beside = encoder([*others, "user"], {"all": [*others, "user"]}).tables["width_4"]
    values = [tables.rows_of("user_emb", tables.weight) for tables in (alone, beside)]
    assert torch.equal(*values)
