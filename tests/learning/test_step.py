"""One learning step: accumulation, clipping, rates and precision against plain torch."""

from pathlib import Path

import pytest
import torch
from e2e import tiny
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.batch import Batch
from tzmmoe.errors import ConfigError, Faults
from tzmmoe.run.session import Session
from tzmmoe.run.settings import RunSettings

SPARSE = "train_config__sparse_optimizer"
DENSE = "train_config__dense_optimizer"
CONSTANT = "constant_learning_rate {}"
PLAIN = {  # no randomness, and a loss that is the mean of its rows
    "model_config__mmoe__expert_mlp__dropout_ratio": "[]",
    "model_config__mmoe__task_towers[1]__mlp__use_bn": "false",
    "model_config__mmoe__task_towers[1]__sample_weight_name": "",
    "model_config__mmoe__task_towers[1]__label_name": "click",
    "data_config__shuffle": "false",
}


def session(folder: Path, *, sparse: str, dense: str, **changes: object) -> Session:
    """``sparse`` and ``dense``: an optimizer and a schedule in the text format."""
    return tiny.session(folder, **PLAIN, **{SPARSE: sparse, DENSE: dense}, **changes)


def sgd(lr: float) -> str:
    return f"sgd_optimizer {{ lr: {lr} }} {CONSTANT}"


def gradients(session: Session, batch: Batch) -> dict[str, Tensor]:
    """By plain autograd; those of the tables made dense."""
    model = session.built.model
    loss = sum(session.built.tasks.losses(model(batch.inputs), batch).values())
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss, list(parameters.values()))
    return {n: g.to_dense() for n, g in zip(parameters, found, strict=True)}


def weights(session: Session) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in session.built.model.named_parameters()}


def is_table(name: str) -> bool:
    return ".tables." in name


def trained(session: Session, name: str, grad: Tensor) -> Tensor:
    """The gradient of a table's parameter, 0 in the rows that are not trained."""
    module = session.built.model.get_submodule(name.removesuffix(".weight"))
    return torch.cat([grad[: module.trained_rows], torch.zeros_like(grad[module.trained_rows :])])


@pytest.mark.parametrize("micro_batches", [2, 4])
@pytest.mark.parametrize(
    "dense",
    [
        sgd(0.5),
        f"sgd_optimizer {{ lr: 0.1 momentum: 0.9 }} {CONSTANT}",
        f"adam_optimizer {{ lr: 0.01 weight_decay: 0.1 }} {CONSTANT}",
        f"adagrad_optimizer {{ lr: 0.05 }} {CONSTANT}",
    ],
)
def test_accumulated_batches_are_one_large_batch_for_the_dense_part(
    tiny_folder, dense, micro_batches
) -> None:
    """The tables stand still, since they would step on every one of the small batches."""
    size, steps = 48, 3
    both = [
        session(
            tiny_folder,
            sparse=sgd(0.0),
            dense=dense,
            data_config__batch_size=size // parts,
            train_config__gradient_accumulation_steps=parts,
        )
        for parts in (1, micro_batches)
    ]
    for each, parts in zip(both, (1, micro_batches), strict=True):
        tiny.learn(each, tiny.train_step(each), tiny.batches(each, steps * parts))
    whole, parted = map(weights, both)
    before = weights(session(tiny_folder, sparse=sgd(0.0), dense=dense))
    for name in whole:
        assert_close(parted[name], whole[name], rtol=1e-5, atol=1e-6)
        assert is_table(name) or not torch.equal(whole[name], before[name])


def test_tables_step_on_every_batch_and_the_dense_part_once_in_three(tiny_folder) -> None:
    made = session(
        tiny_folder,
        sparse=sgd(0.1),
        dense=sgd(0.1),
        train_config__gradient_accumulation_steps=3,
    )
    train_step = tiny.train_step(made)
    moved = []
    for step, batch in enumerate(tiny.batches(made, 7)):
        before = weights(made)
        tiny.learn(made, train_step, [batch], step)
        after = weights(made)
        moved.append({is_table(n) for n in after if not torch.equal(after[n], before[n])})
    assert moved == [{True}, {True}, {True, False}, {True}, {True}, {True, False}, {True}]


def test_more_pending_batches_than_asked_for_enter_with_the_next_one(tiny_folder) -> None:
    """As when a run goes on with fewer gradient_accumulation_steps than it began with."""
    arguments = {"sparse": sgd(0.0), "dense": sgd(0.5)}
    made = session(tiny_folder, **arguments, train_config__gradient_accumulation_steps=4)
    batches = tiny.batches(made, 4)
    before, grads = weights(made), [gradients(made, batch) for batch in batches]
    train_step = tiny.train_step(made)
    tiny.learn(made, train_step, batches[:3])
    train_step.dense.accumulation = 2
    tiny.learn(made, train_step, batches[3:])
    assert train_step.dense.pending == 0
    for name in filter(lambda name: not is_table(name), grads[0]):
        mean = torch.stack([each[name] for each in grads]).mean(dim=0)
        assert_close(weights(made)[name], before[name] - 0.5 * mean)


def test_each_part_steps_by_its_own_rate_and_clipping_bounds_the_dense_part_alone(
    tiny_folder,
) -> None:
    made = session(
        tiny_folder,
        sparse=f"sgd_optimizer {{ lr: 3.0 }} {CONSTANT}",
        dense="sgd_optimizer { lr: 0.8 } exponential_decay_learning_rate { decay_size: 1 "
        "decay_factor: 0.5 }",
        train_config__gradient_accumulation_steps=1,
        train_config__grad_clipping='clipping_type: "value" max_gradient: 0.003',
    )
    train_step = tiny.train_step(made)
    schedules = made.settings.learning.schedules()
    for step, batch in enumerate(tiny.batches(made, 3)):
        before, grads = weights(made), gradients(made, batch)
        tiny.learn(made, train_step, [batch], step)
        rate = 0.8 * 0.5**step
        after = weights(made)
        for name, grad in grads.items():
            clamped = grad.clamp(-0.003, 0.003)
            change = 3.0 * trained(made, name, grad) if is_table(name) else rate * clamped
            assert_close(after[name], before[name] - change, rtol=1e-5, atol=1e-7)
        assert any((g.abs() > 0.003).any() for n, g in grads.items() if not is_table(n))
        assert schedules.at(step, epoch=0) == (3.0, pytest.approx(rate))


@pytest.mark.parametrize(("kind", "order"), [("1", 1.0), ("2", 2.0), ("inf", float("inf"))])
@pytest.mark.parametrize("bound", [0.05, 1e6])
def test_the_norm_of_the_whole_gradient_is_bounded(tiny_folder, kind, order, bound) -> None:
    made = session(
        tiny_folder,
        sparse=sgd(0.0),
        dense=sgd(1.0),
        train_config__gradient_accumulation_steps=1,
        train_config__grad_clipping=f'clipping_type: "norm" max_gradient: {bound} '
        f"norm_type: {kind}",
    )
    train_step = tiny.train_step(made)
    batch = tiny.batches(made, 1)[0]
    before = weights(made)
    grads = {n: g for n, g in gradients(made, batch).items() if not is_table(n)}
    norm = torch.cat([grad.flatten() for grad in grads.values()]).norm(order)
    assert 0.05 < norm < 1e6
    tiny.learn(made, train_step, [batch])
    after = weights(made)
    for name, grad in grads.items():
        expected = grad * min(1.0, bound / norm)
        assert_close(before[name] - after[name], expected, rtol=1e-3, atol=1e-6)


def test_rates_follow_epochs_where_they_are_asked_to(tiny_folder) -> None:
    made = session(
        tiny_folder,
        sparse="adagrad_optimizer { lr: 1.0 } manual_step_learning_rate { schedule_sizes: [1] "
        "learning_rates: [0.1] by_epoch: true }",
        dense=sgd(0.5),
    )
    schedules = made.settings.learning.schedules()
    found = [schedules.at(step=1000, epoch=epoch).tables for epoch in range(4)]
    assert found == [1.0, 1.0, 0.1, 0.1]


@pytest.mark.parametrize("precision", ["BF16", "FP16"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_half_precision_stays_close_to_full_precision(tiny_folder, precision, accumulation) -> None:
    optimizers = {
        "sparse": f"adagrad_optimizer {{ lr: 0.05 }} {CONSTANT}",
        "dense": f"sgd_optimizer {{ lr: 0.05 }} {CONSTANT}",
        "train_config__gradient_accumulation_steps": accumulation,
    }
    full = session(tiny_folder, **optimizers)
    half = session(tiny_folder, **optimizers, train_config__mixed_precision=precision)
    start = weights(full)
    for each in (full, half):
        tiny.learn(each, tiny.train_step(each), tiny.batches(each, 10))
    for name, weight in weights(full).items():
        assert weights(half)[name].dtype == torch.float32
        moved, apart = (weight - start[name]).norm(), (weights(half)[name] - weight).norm()
        assert apart <= 0.1 * moved + 1e-3, name


@pytest.mark.parametrize(("precision", "dtype"), [("BF16", torch.bfloat16), ("FP16", torch.half)])
def test_half_precision_computes_in_its_type_and_sums_losses_in_single(
    tiny_folder, precision, dtype
) -> None:
    made = session(
        tiny_folder, sparse=sgd(0.1), dense=sgd(0.1), train_config__mixed_precision=precision
    )
    batch = tiny.batches(made, 1)[0]
    logits = tiny.train_step(made).forward(batch.inputs)
    assert {each.dtype for each in logits.values()} == {dtype}
    losses = made.built.tasks.losses(logits, batch)
    assert {each.dtype for each in losses.values()} == {torch.float32}


def test_a_scaled_gradient_that_overflows_is_left_out_and_the_scale_shrinks(tiny_folder) -> None:
    made = session(
        tiny_folder,
        sparse=sgd(0.1),
        dense=sgd(0.1),
        train_config__gradient_accumulation_steps=1,
        train_config__mixed_precision="FP16",
        train_config__grad_scaler="init_scale: 1e38 backoff_factor: 0.25 growth_interval: 1",
    )
    train_step = tiny.train_step(made)
    batch = tiny.batches(made, 1)[0]
    before = weights(made)
    tiny.learn(made, train_step, [batch])
    assert all(torch.equal(before[n], w) for n, w in weights(made).items())
    assert train_step.dense.scaler.get_scale() == pytest.approx(0.25e38)
    for _ in range(60):
        tiny.learn(made, train_step, [batch])
    assert all(w.isfinite().all() for w in weights(made).values())
    assert any(not torch.equal(before[n], w) for n, w in weights(made).items())
    assert train_step.dense.scaler.get_scale() < 1e37


def test_tables_that_are_not_trained_keep_their_bits(tiny_folder) -> None:
    """``city`` shares its parameter with ``age``, which is trained."""
    made = session(tiny_folder, sparse=sgd(0.5), dense=sgd(0.5))
    [shared] = [t for t in made.built.model.encoder.tables.values() if "city_emb" in t.spans]
    city, age = (shared.rows_of(n, shared.weight.detach()).clone() for n in ("city_emb", "age_emb"))
    tiny.learn(made, tiny.train_step(made), tiny.batches(made, 6))
    assert torch.equal(shared.rows_of("city_emb", shared.weight), city)
    assert not torch.equal(shared.rows_of("age_emb", shared.weight), age)


def test_all_faults_of_optimizers_and_schedules_show_at_once(tiny_folder) -> None:
    made = tiny.pipeline(
        tiny_folder,
        tiny_folder / "unused",
        **{
            SPARSE: "adam_optimizer { lr: 0.1 beta1: 1 gradient_clipping: true } "
            "cosine_annealing_learning_rate {}",
            DENSE: "sgd_optimizer { lr: 0.1 nesterov: true } "
            "manual_step_learning_rate { schedule_sizes: [3] }",
        },
    )
    faults = Faults()
    RunSettings.of(made.config.pipeline, faults, trains=True)
    assert sorted(fault.path for fault in faults) == [
        "train_config.dense_optimizer.manual_step_learning_rate.schedule_sizes",
        "train_config.dense_optimizer.sgd_optimizer",
        "train_config.sparse_optimizer.adam_optimizer.beta1",
        "train_config.sparse_optimizer.cosine_annealing_learning_rate.T_max",
    ]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({SPARSE: "sgd_optimizer { gradient_clipping: true max_gradient: 0 }"}, "max_gradient"),
        (
            {
                SPARSE: "sgd_optimizer { gradient_clipping: true }",
                "train_config__mixed_precision": "FP16",
            },
            "gradient_clipping",
        ),
        ({SPARSE: CONSTANT}, "sparse_optimizer"),
        ({DENSE: CONSTANT}, "dense_optimizer"),
    ],
)
def test_what_cannot_work_is_refused_before_the_first_step(tiny_folder, changes, path) -> None:
    with pytest.raises(ConfigError) as caught:
        tiny.pipeline(tiny_folder, tiny_folder / "unused", **changes).check()
    assert any(fault.path.endswith(path) for fault in caught.value.faults)
