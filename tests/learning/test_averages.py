"""Averages of the weights against their definition, over whole tables in float64."""

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from e2e import tiny
from tables.row_definitions import CASES, LR
from torch import Tensor, nn
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.learning.averages import Averages, decay_of
from tzmmoe.run.session import Session
from tzmmoe.run.shown.summary import Memory
from tzmmoe.system.runtime import short_bytes
from tzmmoe.tables.optimizers import SparseOptimizer, sparse_optimizer

ROWS, TRAINED, WIDTH, STEPS = 12, 9, 3, 40
DECAY = 0.8  # so that the warm-up, which reaches .8 at step 35, ends within the test


class Defined:
    """The definition, in float64: every weight at every step."""

    def __init__(self, weights: Mapping[str, Tensor], decay: float) -> None:
        self.averages = {name: weight.double().numpy().copy() for name, weight in weights.items()}
        self._decay, self._step = decay, 0

    def add(self, weights: Mapping[str, Tensor]) -> None:
        self._step += 1
        kept = min(self._decay, (1 + self._step) / (10 + self._step))
        for name, weight in weights.items():
            self.averages[name] = kept * self.averages[name] + (1 - kept) * weight.double().numpy()


def gradient(step: int, weight: Tensor) -> Tensor:
    """Of 3 of the trained rows, with ids that repeat, and of one that is not trained. The first row
    is touched at the first step and at the last one only."""
    random = np.random.default_rng(step)
    there = random.choice(np.arange(1, TRAINED - 1), size=3, replace=False)
    ids = [*random.choice(there, size=7), TRAINED + step % (ROWS - TRAINED)]
    ids += [0, 0] * (step in (1, STEPS))
    values = torch.from_numpy(random.normal(size=(len(ids), WIDTH))).to(weight.dtype)
    return torch.sparse_coo_tensor(torch.tensor([ids]), values, weight.shape, check_invariants=True)


def a_table(word: str, dtype: torch.dtype) -> tuple[nn.Parameter, SparseOptimizer, Averages]:
    """A table with an optimizer of CASES, and its averages."""
    generator = torch.Generator().manual_seed(0)
    table = nn.Parameter(torch.randn(ROWS, WIDTH, generator=generator, dtype=dtype))
    name, arguments, _ = CASES[word]
    optimizer = sparse_optimizer([(table, TRAINED)], name, {"lr": LR, **arguments})
    averages = Averages({}, {table: TRAINED}, DECAY)
    optimizer.before_update = averages.before_update
    averages.ready()
    return table, optimizer, averages


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 5e-6)], ids=str
)
@pytest.mark.parametrize("word", CASES)
def test_the_averages_of_a_table_equal_the_definition_over_all_rows(word, dtype, tolerance) -> None:
    """Rows that no step touches (the last trained one), that two do, 39 steps apart, and others."""
    table, optimizer, averages = a_table(word, dtype)
    defined = Defined({"": table.detach()}, DECAY)
    for step in range(1, STEPS + 1):
        table.grad = gradient(step, table)
        optimizer.step()
        averages.advance()
        defined.add({"": table.detach()})
        if step % 10 == 0:  # looking at them changes nothing
            with averages.shown():
                found = table.detach().double()
            expected = torch.from_numpy(defined.averages[""])
            assert_close(found, expected, rtol=tolerance, atol=tolerance)
    assert not torch.equal(found[0], table[0].double())
    assert torch.equal(found[TRAINED - 1 :], table[TRAINED - 1 :].double())


@pytest.mark.parametrize("skipped", ["no gradient", "infinite"])
def test_a_table_that_a_step_skips_is_averaged_with_the_weights_that_it_kept(skipped) -> None:
    table, optimizer, averages = a_table("sgd", torch.float64)
    defined = Defined({"": table.detach()}, DECAY)
    for step in range(1, STEPS + 1):
        table.grad = gradient(step, table)
        scale = torch.tensor(1.0)
        if step % 3 == 0 and skipped == "infinite":
            scale = torch.tensor(0.0)
        elif step % 3 == 0:
            table.grad = None
        optimizer.step(scale)
        averages.advance()
        defined.add({"": table.detach()})
    with averages.shown():
        assert_close(table.detach(), torch.from_numpy(defined.averages[""]), rtol=0, atol=1e-12)


def test_a_gradient_of_all_rows_brings_all_up_to_date() -> None:
    """As a penalty of the table gives it, between gradients of some rows."""
    table, optimizer, averages = a_table("sgd", torch.float64)
    defined = Defined({"": table.detach()}, DECAY)
    for step in range(1, STEPS + 1):
        sparse = gradient(step, table)
        table.grad = sparse.to_dense() + 0.1 * table.detach() if step % 4 == 0 else sparse
        optimizer.step()
        averages.advance()
        defined.add({"": table.detach()})
    with averages.shown():
        assert_close(table.detach(), torch.from_numpy(defined.averages[""]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("decay", [0.9, 0.999, 0.99999])
def test_the_initial_weights_fade_with_the_product_of_the_decays(decay) -> None:
    """A weight that is 1 at first and 0 ever after, exactly: fractions by a loop."""
    weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
    averages = Averages({"w": weight}, {}, decay)
    averages.ready()
    weight.data.zero_()
    share = Fraction(1)
    for step in range(1, 201):
        averages.advance()
        share *= min(Fraction(decay), Fraction(1 + step, 10 + step))
        if step in (1, 10, 200):
            assert float(averages.dense["w"]) == pytest.approx(float(share), rel=1e-12)
    assert share < 1e-8, "after 200 steps, where decay^200 would be .82 at .999"


def test_the_decay_warms_up_to_what_is_set_and_stays() -> None:
    assert decay_of(1, 0.999) == 2 / 11
    assert decay_of(8_989, 0.999) < 0.999
    assert decay_of(8_991, 0.999) == decay_of(10**9, 0.999) == 0.999
    steps = [decay_of(step, 0.9) for step in range(1, 200)]
    assert steps == sorted(steps)


def test_a_small_share_keeps_its_digits_in_float32() -> None:
    """At a decay of .99999, 1 - decay has two digits left if it is rounded to float32 first."""
    table = nn.Parameter(torch.zeros(2, 1))
    averages = Averages({}, {table: 2}, 0.99999)
    averages.begin(10**7, log_decay=0.0)
    averages.rows[table].values.fill_(1.0)  # weights that were 1 until now
    averages.advance()
    with averages.shown():
        left = 1 - table.detach().double()
    assert_close(left, torch.full_like(left, 1e-5), rtol=0.004, atol=0)  # 6e-8 of rounding


SETTINGS = {
    "plain": {},
    "no accumulation": {"train_config__gradient_accumulation_steps": 1},
    "accumulation of 3": {"train_config__gradient_accumulation_steps": 3},
    "FP16 that skips": {
        "train_config__mixed_precision": "FP16",
        "train_config__grad_scaler": "init_scale: 1e38 backoff_factor: 0.25 growth_interval: 1",
    },
    "BF16": {"train_config__mixed_precision": "BF16"},
    "surgery": {"train_config__grad_process": "pcgrad"},
    "learned loss weights": {"model_config__loss_weight_strategy": "Uncertainty"},
    "penalized": {
        "model_config__embedding_regularization": 0.01,
        "model_config__mmoe__l2_regularization": 0.01,
    },
    "all tables frozen but one": {
        "feature_configs[feature_name=tags]__id_feature__trainable": "false",
        "feature_configs[feature_name=scores]__id_feature__trainable": "false",
        "feature_configs[feature_name=age]__raw_feature__trainable": "false",
    },
}


def made(folder: Path, **changes: object) -> Session:
    return tiny.session(folder, train_config__ema=f"decay: {DECAY}", **changes)


def weights(session: Session) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in session.built.model.named_parameters()}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_averages_of_a_model_equal_the_definition(tiny_folder, name) -> None:
    """A step is a batch, whether or not the dense part moves in it."""
    session = made(tiny_folder, **SETTINGS[name])
    step, defined = tiny.train_step(session), Defined(weights(session), DECAY)
    for number, batch in enumerate(tiny.batches(session, 24)):
        tiny.learn(session, step, [batch], number)
        defined.add(weights(session))
    trained = weights(session)
    with step.averaged():
        found = weights(session)
    assert found.keys() == defined.averages.keys()
    for key, average in found.items():
        expected = torch.from_numpy(defined.averages[key])
        assert_close(average.double(), expected, rtol=1e-5, atol=1e-6, msg=key)
    moved = {key for key in found if not torch.equal(found[key], trained[key])}
    assert len(moved) > 10 or name == "FP16 that skips"


def test_training_is_the_same_to_the_last_bit_with_and_without_averages(tiny_folder) -> None:
    """Also where they are looked at between the steps."""
    averaged, plain = made(tiny_folder), tiny.session(tiny_folder)
    for session in (averaged, plain):
        torch.manual_seed(5)
        step = tiny.train_step(session)
        for number, batch in enumerate(tiny.batches(session, 12)):
            tiny.learn(session, step, [batch], number)
            with step.averaged():
                weights(session)
    for key, weight in weights(plain).items():
        assert torch.equal(weight, weights(averaged)[key]), key


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_whatever_ends_an_evaluation_the_weights_are_back(tiny_folder, error) -> None:
    """The same numbers in the same memory, and training goes on with them."""
    session = made(tiny_folder)
    step, batches = tiny.train_step(session), tiny.batches(session, 8)
    tiny.learn(session, step, batches[:6])
    before, model = weights(session), session.built.model
    places = {name: p.data_ptr() for name, p in model.named_parameters()}

    def evaluate() -> None:
        with step.averaged():
            assert any(not torch.equal(p, before[n]) for n, p in model.named_parameters())
            raise error

    with pytest.raises(error):
        evaluate()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.data_ptr() == places[name]
    tiny.learn(session, step, batches[6:], 6)
    assert any(not torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_statistics_of_batch_norm_are_taken_as_they_are(tiny_folder) -> None:
    session = made(tiny_folder)
    step = tiny.train_step(session)
    tiny.learn(session, step, tiny.batches(session, 6))
    norms = {n: b.clone() for n, b in session.built.model.named_buffers() if "running" in n}
    assert norms
    with step.averaged():
        shown = dict(session.built.model.named_buffers())
        assert all(torch.equal(shown[name], own) for name, own in norms.items())


def test_a_step_touches_the_averages_of_its_rows_alone(tiny_folder) -> None:
    """Else its cost would grow with the tables."""
    session = made(tiny_folder, train_config__gradient_accumulation_steps=1)
    step, batches = tiny.train_step(session), tiny.batches(session, 3)
    tiny.learn(session, step, batches[:2])
    before = {t: (r.values.clone(), r.log_decays.clone()) for t, r in step.averages.rows.items()}
    old = {table: table.detach().clone() for table in before}
    tiny.learn(session, step, batches[2:], 2)
    untouched = 0
    for table, (values, log_decays) in before.items():
        still = (table.detach() == old[table]).all(dim=1)[: len(values)]
        own = step.averages.rows[table]
        assert not still.all()
        untouched += int(still.sum())
        assert torch.equal(own.values[still], values[still])
        assert torch.equal(own.log_decays[still], log_decays[still])
        assert (own.log_decays[~still] == step_sum(2)).all()
    assert untouched > 10


def step_sum(steps: int) -> float:
    """log(d_1 ... d_steps), in the warm-up."""
    total = 0.0
    for step in range(1, steps + 1):
        total += math.log((1 + step) / (10 + step))
    return total


@pytest.mark.parametrize("decay", ["0", "1", "-0.1", "1.5", "nan"])
def test_a_decay_that_is_no_share_is_refused_before_anything_is_read(tiny_folder, decay) -> None:
    with pytest.raises(ConfigError, match=r"train_config\.ema\.decay: is .*give ") as caught:
        tiny.pipeline(tiny_folder, "unused", train_config__ema__decay=decay)
    assert "finite" in str(caught.value) if decay == "nan" else "less than 1" in str(caught.value)


def test_the_memory_that_they_take_is_counted_and_told(tiny_folder) -> None:
    """The dense part once; trained tables twice, the second time while they are evaluated; and
    8 bytes for each of their rows."""
    with_averages, without = (
        Memory.of(tiny.train_step(session))
        for session in (made(tiny_folder), tiny.session(tiny_folder))
    )
    rows = {4: 20 + 30 + 30, 3: 4}  # by width; 9 cities of width 3 are not trained
    tables = sum(2 * 4 * width * count + 8 * count for width, count in rows.items())
    assert with_averages.averages == without.dense + tables
    assert with_averages.needed == without.needed + with_averages.averages
    assert f"averages {short_bytes(without.dense + tables)}" in with_averages.line(None)
    assert "averages" not in without.line(None)
