"""Tables against one row after the other, and embeddings of numbers against loops."""

import math
from collections.abc import Sequence

import numpy as np
import oracles
import parts
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck
from torch.func import functional_call
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.nn.numbers import AutoDis, LinearEmbedding
from tzmmoe.tables import table as embedding
from tzmmoe.tables.table import Bag, Table, Tables

SIZES = {"user": 7, "item": 4, "shop": 1}
DIM = 3
Bags = list[list[list[int]]]


def made(slots: Sequence[tuple[str, bool]], frozen: frozenset[str] = frozenset()) -> Tables:
    """Tables in the order of SIZES, in float64."""
    names = [name for name in SIZES if name in {table for table, _ in slots}]
    tables = [parts.table(n, SIZES[n], DIM, trainable=n not in frozen) for n in names]
    return Tables(tables, [Bag(name, mean) for name, mean in slots], seed=5).fill().double()


SLOTS = st.lists(st.tuples(st.sampled_from(sorted(SIZES)), st.booleans()), min_size=1, max_size=4)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[tuple[str, bool]], Bags, frozenset[str]]:
    """Features on tables, some on the same one, some frozen, with up to 3 ids in each of 5 rows."""
    slots = draw(SLOTS)
    row = st.tuples(*[st.lists(st.integers(0, SIZES[n] - 1), max_size=3) for n, _ in slots])
    bags = draw(st.lists(row.map(list), max_size=5))
    return slots, bags, draw(st.frozensets(st.sampled_from(sorted(SIZES))))


@settings(deadline=None)
@given(cases(), st.booleans())
def test_pooled_embeddings_and_gradients_equal_those_of_one_row_after_the_other(
    case: tuple[list[tuple[str, bool]], Bags, frozenset[str]], weighted: bool
) -> None:
    """Sums, means, weights, empty bags, repeated ids, shared, several and frozen tables."""
    slots, bags, frozen = case
    tables = made(slots, frozen)
    ragged = parts.bagged(bags, len(slots))
    weights, of_bags = None, None
    if weighted:
        weights = parts.normal(len(ragged.values))
        rest = iter(weights.tolist())
        of_bags = [[[next(rest) for _ in ids] for ids in row] for row in bags]
    pooled = tables(ragged.values, ragged.lengths, weights)
    wanted = oracles.pooled_by_rows(tables, slots, bags, of_bags)
    assert_close(pooled, wanted)
    if not tables.weight.requires_grad or not ragged.values.numel():
        return
    direction = parts.normal(*pooled.shape, seed=1)
    [grad] = torch.autograd.grad((pooled * direction).sum(), tables.weight)
    [wanted_grad] = torch.autograd.grad((wanted * direction).sum(), tables.weight)
    assert grad.is_sparse
    assert_close(grad.to_dense(), wanted_grad)


@settings(deadline=None)
@given(SLOTS, st.integers(0, 6), st.randoms(use_true_random=False))
def test_one_id_for_each_feature_gives_the_same_without_lengths(
    slots: list[tuple[str, bool]], num_rows: int, random: object
) -> None:
    """The fast path, with its gradient, and with weights."""
    tables = made(slots)
    bags = [[[random.randrange(SIZES[name])] for name, _ in slots] for _ in range(num_rows)]
    ragged = parts.bagged(bags, len(slots))
    direction = parts.normal(num_rows, len(slots), DIM)
    found = []
    for lengths in (None, ragged.lengths):
        pooled = tables(ragged.values, lengths, None)
        [grad] = torch.autograd.grad((pooled * direction).sum(), tables.weight)
        found.append((pooled, grad.to_dense()))
    assert_close(found[0], found[1])
    assert_close(found[0][0], oracles.pooled_by_rows(tables, slots, bags, None))
    weights = parts.normal(len(ragged.values))
    assert_close(
        tables(ragged.values, None, weights), tables(ragged.values, ragged.lengths, weights)
    )


def test_a_batch_of_real_size_equals_sums_in_numpy() -> None:
    """4,096 rows, 8 features, up to 5 ids in tables of up to 100,000 rows, in single precision."""
    random = np.random.default_rng(0)
    sizes = [100_000, 10, 1000, 50_000]
    tables = Tables(
        [parts.table(str(place), size, 16) for place, size in enumerate(sizes)],
        [Bag(str(f % 4), mean=f >= 4) for f in range(8)],
        seed=0,
    ).fill()
    lengths = random.integers(0, 6, (4096, 8))
    size_of_each = np.repeat(np.array(sizes)[np.arange(8) % 4][None], 4096, 0).repeat(
        lengths.ravel()
    )
    ids = random.integers(0, size_of_each)
    first = np.cumsum([0, *sizes[:-1]])[np.arange(8) % 4]
    rows = ids + np.tile(first, 4096).repeat(lengths.ravel())
    wanted = np.zeros((4096 * 8, 16))
    bag = np.repeat(np.arange(4096 * 8), lengths.ravel())
    np.add.at(wanted, bag, tables.weight.detach().double().numpy()[rows])
    wanted = wanted.reshape(4096, 8, 16)
    wanted[:, 4:] /= np.maximum(lengths, 1)[:, 4:, None]
    pooled = tables(torch.from_numpy(ids), torch.from_numpy(lengths), None)
    assert_close(pooled.double(), torch.from_numpy(wanted), rtol=1e-6, atol=1e-6)


def test_an_empty_bag_is_a_vector_of_zeros() -> None:
    tables = made([("user", False), ("user", True)])
    ragged = parts.bagged([[[], []], [[1], []]], 2)
    pooled = tables(ragged.values, ragged.lengths, None)
    assert torch.equal(pooled[0], torch.zeros(2, DIM))
    assert torch.equal(pooled[1, 1], torch.zeros(DIM))


@pytest.mark.parametrize("lengths", [None, torch.zeros(0, 2, dtype=torch.int64)])
def test_no_rows_give_no_rows(lengths: Tensor | None) -> None:
    tables = made([("user", False), ("item", True)])
    assert tables(torch.zeros(0, dtype=torch.int64), lengths, None).shape == (0, 2, DIM)


def test_first_values_depend_on_the_seed_and_the_name_alone() -> None:
    """Not on other tables, their order, on freezing, on a former draw, or on being shared."""

    def values(of: str, tables: Sequence[Table], seed: int) -> Tensor:
        torch.manual_seed(len(tables))
        slots = [Bag(table.name, mean=False) for table in tables]
        made = Tables(tables, slots, seed=seed).fill()
        return made.rows_of(of, made.weight).detach().clone()

    user, item = parts.table("user", 50, 8), parts.table("item", 50, 8)
    alone = values("user", [user], seed=1)
    assert torch.equal(alone, values("user", [user, item], seed=1))
    assert torch.equal(alone, values("user", [item, user], seed=1))
    frozen = parts.table("user", 50, 8, trainable=False)
    assert torch.equal(alone, values("user", [frozen, item], seed=1))
    unrelated = [values("user", [user], seed=2), values("item", [item, user], seed=1)]
    for other in unrelated:
        assert (alone != other).double().mean() > 0.99


@pytest.mark.parametrize(
    "init_fn",
    [
        None,
        "nn.init.normal_,std=0.02",
        "nn.init.xavier_uniform_",
        "nn.init.xavier_normal_",
        "nn.init.kaiming_uniform_,mode='fan_out'",
        "nn.init.kaiming_normal_,mode='fan_in'",
        "nn.init.constant_,val=7",
    ],
)
def test_a_part_of_a_table_starts_as_it_does_within_the_whole(monkeypatch, init_fn) -> None:
    """Blocks are drawn one by one; together they spread like one draw of all rows by torch."""
    monkeypatch.setattr(embedding, "BLOCK_ROWS", 1000)
    table = parts.table("t", 4321, 8, init_fn=init_fn)
    whole = torch.cat([values for _, values in table.initial(3, 0, 4321)])
    assert whole.shape == (4321, 8)
    for begin, end in [(0, 1), (999, 1001), (1000, 3000), (4000, 4321), (4320, 4321), (7, 7)]:
        found = list(table.initial(3, begin, end))
        joined = torch.cat([whole[:0], *(values for _, values in found)])
        assert torch.equal(joined, whole[begin:end])
        assert all(torch.equal(rows, whole[first : first + len(rows)]) for first, rows in found)
    monkeypatch.setattr(embedding, "BLOCK_ROWS", 1 << 20)
    at_once = torch.cat([values for _, values in table.initial(3, 0, 4321)])
    if init_fn and "constant" in init_fn:
        assert torch.equal(whole, at_once)
    else:
        assert whole[:1000].ne(whole[1000:2000]).double().mean() > 0.99
        assert_close(whole.std(), at_once.std(), rtol=0.02, atol=0)
        assert_close(whole.mean(), at_once.mean(), rtol=0, atol=0.03 * float(at_once.std()))


def test_every_table_starts_within_the_bound_of_its_own_rows() -> None:
    tables = Tables(
        [parts.table("big", 10_000, 8), parts.table("small", 4, 8)],
        [Bag("small", mean=False), Bag("big", mean=False)],
        seed=0,
    ).fill()
    for name, rows in (("big", 10_000), ("small", 4)):
        bound = rows**-0.5
        values = tables.rows_of(name, tables.weight)
        assert oracles.uniform_distance(values, -bound - 1e-7, bound + 1e-7) < 1.95


def test_an_init_fn_fills_its_own_table_and_no_other() -> None:
    text = "nn.init.constant_,val=7"
    tables = [parts.table("a", 3, 2), parts.table("b", 4, 2, init_fn=text), parts.table("c", 5, 2)]
    made = Tables(tables, [Bag(table.name, mean=False) for table in tables], seed=0).fill()
    assert (made.rows_of("b", made.weight) == 7).all()
    assert int((made.weight == 7).sum()) == 4 * 2


@pytest.mark.parametrize("frozen", [(), ("item",), ("user",), ("user", "item"), tuple(SIZES)])
def test_frozen_tables_lie_behind_the_trained_rows(frozen: tuple[str, ...]) -> None:
    tables = made([(name, False) for name in SIZES], frozenset(frozen))
    trained = [name for name in SIZES if name not in frozen]
    assert tables.trained_rows == sum(SIZES[name] for name in trained)
    assert tables.weight.requires_grad == bool(trained)
    covered = []
    for name, (begin, end) in tables.spans.items():
        assert end - begin == SIZES[name]
        assert (begin >= tables.trained_rows) == (name in frozen)
        covered += range(begin, end)
    assert sorted(covered) == list(range(len(tables.weight)))


@pytest.mark.parametrize("bound", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
def test_gradient_bound_clamps_the_gradient_of_every_pooled_number(
    bound: float, mean: bool, ragged: bool
) -> None:
    """Before it is divided among the ids and before those of one row are added."""
    tables = made([("user", mean), ("item", False)])
    lengths_BF = torch.tensor([[2, 1], [1, 1], [3, 0]]) if ragged else None
    ids = torch.tensor([1, 2, 3, 1, 0, 1, 1, 1] if ragged else [1, 3, 1, 0, 2, 2])
    direction = 2 * parts.normal(3, 2, DIM)
    grads = []
    for value, toward in ((bound, direction), (None, direction.clamp(-bound, bound))):
        tables.gradient_bound = value
        pooled = tables(ids, lengths_BF, None)
        grads.append(torch.autograd.grad((pooled * toward).sum(), tables.weight)[0].to_dense())
    assert (direction.abs() > 0.1).any()
    assert_close(grads[0], grads[1])


def test_gradient_bound_does_not_matter_where_nothing_is_learned() -> None:
    tables = made([("user", False)], frozenset(["user"]))
    tables.gradient_bound = 0.1
    ids = torch.tensor([1, 2])
    assert not tables(ids, None, None).requires_grad
    with torch.no_grad():
        learned = made([("user", False)])
        learned.gradient_bound = 0.1
        assert_close(learned(ids, None, None), tables(ids, None, None))


def auto_dis(num_numbers: int, num_channels: int = 4, dim: int = 3) -> AutoDis:
    torch.manual_seed(0)
    return AutoDis(num_numbers, dim, num_channels=num_channels, temperature=0.5, keep_prob=0.8)


@pytest.mark.parametrize("num_numbers", [1, 3])
def test_auto_dis_equals_its_paper_by_loops(num_numbers: int) -> None:
    layer = parts.shaken(auto_dis(num_numbers))
    numbers = torch.cat([parts.normal(6, num_numbers), 100 * parts.normal(2, num_numbers, seed=1)])
    numbers[0] = 0.0
    assert_close(layer(numbers), oracles.auto_dis_by_loops(layer, numbers))


def test_auto_dis_of_zero_is_the_mean_of_the_meta_embeddings() -> None:
    """All channels score 0, so that each has the same share."""
    layer = auto_dis(2)
    wanted = layer.meta.mean(dim=1).flatten()
    assert_close(layer(torch.zeros(3, 2)), wanted.expand(3, -1))


def test_auto_dis_takes_the_meta_embedding_of_the_best_channel_when_cold() -> None:
    layer = auto_dis(1).double()
    layer.temperature = 1e-9
    numbers = parts.normal(20, 1)
    layer.keep_prob = 0.0
    hidden = torch.nn.functional.leaky_relu(numbers * layer.input_weight[0])
    best = (hidden @ layer.mixing[0]).argmax(dim=1)
    assert_close(layer(numbers), layer.meta[0, best])


@pytest.mark.parametrize("num_numbers", [1, 50])
def test_auto_dis_of_many_numbers_starts_as_that_of_one(num_numbers: int) -> None:
    """Each number has its own w (1, C), W (C, C) and M (C, D), drawn as Glorot says for each."""
    torch.manual_seed(0)
    channels, dim = 64, 48
    layer = AutoDis(num_numbers, dim, num_channels=channels, temperature=1.0, keep_prob=0.8)
    for tensor, sides in (
        (layer.input_weight, 1 + channels),
        (layer.mixing, channels + channels),
        (layer.meta, channels + dim),
    ):
        bound = math.sqrt(6 / sides) + 1e-7
        assert oracles.uniform_distance(tensor, -bound, bound) < 1.95


def test_gradients_of_auto_dis_equal_finite_differences() -> None:
    layer = parts.shaken(auto_dis(2))
    names, values = zip(*layer.named_parameters(), strict=True)

    def run(numbers: Tensor, *parameters: Tensor) -> Tensor:
        return functional_call(layer, dict(zip(names, parameters, strict=True)), numbers)

    assert gradcheck(run, (parts.normal(3, 2).requires_grad_(), *values))


@pytest.mark.parametrize(
    ("settings", "path"),
    [({"num_channels": 0}, "num_channels"), ({"temperature": 0.0}, "temperature")],
)
def test_a_bad_setting_of_auto_dis_is_named(settings: dict, path: str) -> None:
    chosen = {"num_channels": 4, "temperature": 0.1, "keep_prob": 0.8} | settings
    with pytest.raises(ConfigError) as error:
        AutoDis(1, 4, **chosen)
    assert [fault.path for fault in error.value.faults] == [path]


def test_linear_embedding_is_linear_and_has_no_bias() -> None:
    """Zero to zero, sums to sums, and the unit vectors to the columns of its weight."""
    torch.manual_seed(0)
    layer = LinearEmbedding(3, 5).double()
    x, y = parts.normal(4, 3), parts.normal(4, 3, seed=1)
    assert torch.equal(layer(torch.zeros_like(x)), torch.zeros(4, 5, dtype=torch.float64))
    assert_close(layer(2 * x - y), 2 * layer(x) - layer(y))
    assert_close(layer(torch.eye(3, dtype=torch.float64)), layer.linear.weight.T)
    assert [name for name, _ in layer.named_parameters()] == ["linear.weight"]
