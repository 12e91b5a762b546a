"""Tables that read some of a batch's features: as if the others were not in the batch."""

from collections.abc import Sequence

import parts
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from tzmmoe.run import state
from tzmmoe.tables import optimizers
from tzmmoe.tables.table import Bag, Tables

SIZES = {"user": 7, "item": 4, "shop": 1}
DIM = 3
UNREAD_IDS = 50  # of features without a table here; larger than any of SIZES
Bags = list[list[list[int]]]
Chosen = Sequence[tuple[str, bool] | None]
SGD = {"lr": 0.5}


def made(slots: Chosen, frozen: frozenset[str] = frozenset()) -> Tables:
    """In float64, on the tables that the slots name."""
    used = {slot[0] for slot in slots if slot}
    tables = [parts.table(n, SIZES[n], DIM, trainable=n not in frozen) for n in SIZES if n in used]
    return Tables(tables, [Bag(*slot) if slot else None for slot in slots], seed=5).fill().double()


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[tuple[str, bool] | None], Bags, frozenset[str]]:
    """Slots of which some are not read, one at the least is, with up to 3 ids in up to 5 rows."""
    slot = st.none() | st.tuples(st.sampled_from(sorted(SIZES)), st.booleans())
    slots = draw(st.lists(slot, min_size=1, max_size=5).filter(any))
    sizes = [SIZES[slot[0]] if slot else UNREAD_IDS for slot in slots]
    row = st.tuples(*[st.lists(st.integers(0, size - 1), max_size=3) for size in sizes])
    bags = draw(st.lists(row.map(list), max_size=5))
    return slots, bags, draw(st.frozensets(st.sampled_from(sorted(SIZES))))


def pooled(tables: Tables, bags: Bags, num_features: int, weights: Sequence | None) -> Tensor:
    ragged = parts.bagged(bags, num_features)
    of_ids = None
    if weights is not None:
        flat = [number for row in weights for bag in row for number in bag]
        of_ids = torch.tensor(flat, dtype=torch.float64)
    return tables(ragged.values, ragged.lengths, of_ids)


@settings(deadline=None)
@given(cases(), st.booleans())
def test_the_features_that_are_read_look_up_what_they_would_alone(
    case: tuple[list, Bags, frozenset[str]], weighted: bool
) -> None:
    """Sums, means, weights, empty bags, shared and frozen tables; with their gradients."""
    slots, bags, frozen = case
    read = [place for place, slot in enumerate(slots) if slot]
    few_bags = [[row[place] for place in read] for row in bags]
    weights = few_weights = None
    if weighted:
        weights = [[[float(1 + i + f) for i in range(len(ids))] for f, ids in enumerate(row)]
                   for row in bags]  # fmt: skip
        few_weights = [[row[place] for place in read] for row in weights]
    whole, alone = made(slots, frozen), made([slots[place] for place in read], frozen)
    found = pooled(whole, bags, len(slots), weights)
    wanted = pooled(alone, few_bags, len(read), few_weights)
    assert_close(found, wanted)
    if not (alone.weight.requires_grad and bags):
        return
    direction = parts.normal(*found.shape)
    [grad] = torch.autograd.grad((found * direction).sum(), whole.weight)
    [wanted_grad] = torch.autograd.grad((wanted * direction).sum(), alone.weight)
    rows = len(alone.weight)
    assert_close(grad.to_dense()[:rows], wanted_grad.to_dense())


@settings(deadline=None)
@given(cases(), st.integers(1, 6), st.randoms(use_true_random=False))
def test_so_they_do_without_lengths(
    case: tuple[list, Bags, frozenset[str]], num_rows: int, random: object
) -> None:
    """The fast path, whose gradient holds no row of the unread features."""
    slots, _, _ = case
    sizes = [SIZES[slot[0]] if slot else UNREAD_IDS for slot in slots]
    ids = [[random.randrange(size) for size in sizes] for _ in range(num_rows)]
    read = [place for place, slot in enumerate(slots) if slot]
    whole, alone = made(slots), made([slots[place] for place in read])
    found = whole(torch.tensor(ids).flatten(), None, None)
    wanted = alone(
        torch.tensor([[row[place] for place in read] for row in ids]).flatten(), None, None
    )
    assert_close(found, wanted)
    assert_close(found, pooled(whole, [[[i] for i in row] for row in ids], len(slots), None))
    [grad] = torch.autograd.grad(found.sum(), whole.weight)
    assert int(grad._indices().max()) < len(alone.weight)


@pytest.mark.parametrize("word", ["sgd_optimizer", "adam_optimizer", "adagrad_optimizer"])
@pytest.mark.parametrize("whole_table", [False, True])
@pytest.mark.parametrize("frozen", [frozenset(), frozenset({"item"})])
def test_the_row_of_the_unread_is_never_trained(
    word: str, whole_table: bool, frozen: frozenset[str]
) -> None:
    """By gradients of the batch's rows, and by those of whole tables, which a penalty leaves."""
    tables = made([("user", False), None, ("item", True)], frozen)
    tables.sparse = not whole_table
    defaults = {
        "sgd_optimizer": {},
        "adam_optimizer": {"beta1": 0.9, "beta2": 0.999, "weight_decay": 0.1, "eps": 1e-8},
        "adagrad_optimizer": {"initial_accumulator_value": 0.1, "eps": 1e-8},
    }
    pairs = [(tables.weight, tables.trained_rows)]
    optimizer = optimizers.sparse_optimizer(pairs, word, SGD | defaults[word])
    before = tables.weight.detach().clone()
    bags = [[[1, 2], [40, 3], [0]], [[3], [7], [1, 1]]]
    for _ in range(3):
        tables.weight.grad = None
        pooled(tables, bags, 3, None).square().sum().backward()
        optimizer.step()
    after = tables.weight.detach()
    assert torch.equal(after[-1], torch.zeros(DIM, dtype=torch.float64))
    begin, end = tables.spans["item"]
    assert torch.equal(after[begin:end], before[begin:end]) == ("item" in frozen)
    begin, _ = tables.spans["user"]
    assert (after[begin + 1 : begin + 4] != before[begin + 1 : begin + 4]).any(dim=1).all()


def test_no_checkpoint_holds_it() -> None:
    """A run whose model reads more, or fewer, features of a width finds its tables again."""
    tables = made([None, ("user", False), None, ("item", False)])
    model = nn.ModuleDict({"tables": tables})
    saved = state.weights(model)
    assert {name: tuple(each.shape) for name, each in saved.items()} == {
        "tables.user.weight": (7, DIM),
        "tables.item.weight": (4, DIM),
    }
    alone = state.weights(nn.ModuleDict({"tables": made([("item", False), ("user", False)])}))
    assert alone.keys() == saved.keys()
    for name, each in alone.items():
        assert torch.equal(each, saved[name])
