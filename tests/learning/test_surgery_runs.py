"""PCGrad in a run: with tables, accumulation, half precision, and from where it stopped."""

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from e2e import tiny
from models import models_of_tiny
from pcgrad import all_orders, by_loops
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.batch import Batch
from tzmmoe.errors import ConfigError
from tzmmoe.learning.step import TrainStep
from tzmmoe.run.session import Session
from tzmmoe.tasks.taskset import TaskSet

STEPS = "train_config__num_steps"
SURGERY = {"train_config__grad_process": "pcgrad"}
ACCUMULATION = "train_config__gradient_accumulation_steps"
PLAIN = {  # no randomness, and a rate of 1, so that a step is the gradient
    "model_config__mmoe__expert_mlp__dropout_ratio": "[]",
    "train_config__sparse_optimizer": "sgd_optimizer { lr: 1 } constant_learning_rate {}",
    "train_config__dense_optimizer": "sgd_optimizer { lr: 1 } constant_learning_rate {}",
}
THIRD = """
    task_towers { tower_name: "both" label_name: "buy" mlp { hidden_units: [4] } weight: 2
      losses { binary_cross_entropy {} } losses { l2_loss {} } }
    task_towers {"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set with a third task, of two losses."""
    made = tiny.write_all(tmp_path_factory.mktemp("three"))
    text = (made / "tiny.config").read_text()
    (made / "tiny.config").write_text(text.replace("    task_towers {", THIRD, 1))
    return made


def weights(session: Session) -> dict[str, Tensor]:
    """Of what is trained: tables without the rows that are not."""
    named = {n: p.detach().clone() for n, p in session.built.model.named_parameters()}
    return {name: of_trained(session, name, weight) for name, weight in named.items()}


def by_gate(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """With a gate for each task in place of the parameter that holds them all."""
    gates = {n: part for n, part in named.items() if ".gates." in n}
    parts = {f"{n}[{task}]": gate for n, part in gates.items() for task, gate in enumerate(part)}
    return {n: part for n, part in named.items() if n not in gates} | parts


def of_trained(session: Session, name: str, of: Tensor) -> Tensor:
    module = session.built.model.get_submodule(name.rpartition(".")[0])
    return of[: getattr(module, "trained_rows", None)]


def own(session: Session, batch: Batch) -> list[dict[str, Tensor]]:
    """The gradients of each task by plain autograd."""
    model, tasks = session.built.model, session.built.tasks
    losses = tasks.losses(model(batch.inputs), batch)
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    found = []
    for task in tasks.tasks:
        loss = sum(losses[f"{word}_{task.name}"] for word in task.losses)
        grads = torch.autograd.grad(loss, named.values(), retain_graph=True, allow_unused=True)
        there = {n: g.to_dense() for n, g in zip(named, grads, strict=True) if g is not None}
        trained = {n: of_trained(session, n, grad).double() for n, grad in there.items()}
        found.append({n: g for n, g in by_gate(trained).items() if "[" not in n or g.any()})
    return found


def test_a_step_of_a_model_is_the_update_of_the_algorithm(folder) -> None:
    """Experts and tables are shared, gates and towers are not; a task's two losses are one."""
    session = tiny.session(folder, **PLAIN, **SURGERY, **{ACCUMULATION: 1})
    train_step = tiny.train_step(session)
    conflicts = 0
    for step, batch in enumerate(tiny.batches(session, 6)):
        before, found = weights(session), own(session, batch)
        tiny.learn(session, train_step, [batch], step)
        moved = {name: before[name] - weight for name, weight in weights(session).items()}
        moved = by_gate(moved)
        expected = [by_loops(found, orders) for orders in all_orders(3)]
        apart = [
            max(float((moved[n] - torch.from_numpy(each[n])).abs().max()) for n in each)
            for each in expected
        ]
        assert min(apart) < 1e-5
        conflicts += max(apart) > 1e-4
    assert conflicts, "the order made a difference"


def test_accumulated_batches_step_by_the_mean_of_their_updates(tiny_folder) -> None:
    still = {"train_config__sparse_optimizer": "sgd_optimizer { lr: 0 } constant_learning_rate {}"}
    session = tiny.session(tiny_folder, **PLAIN | still, **SURGERY, **{ACCUMULATION: 3})
    train_step = tiny.train_step(session)
    batches, before = tiny.batches(session, 3), weights(session)
    each = [by_loops(own(session, batch), [[1], [0]]) for batch in batches]
    for step, batch in enumerate(batches):
        tiny.learn(session, train_step, [batch], step)
    after = by_gate({name: weights(session)[name] for name in train_step.dense.parameters})
    for name, weight in after.items():
        mean = torch.from_numpy(sum(update[name] for update in each) / 3)
        moved = (by_gate(before)[name] - weight).double()
        assert_close(moved, mean, rtol=1e-4, atol=1e-6)


def test_scaled_gradients_that_overflow_are_left_out(tiny_folder) -> None:
    scaler = "init_scale: 1e38 backoff_factor: 0.25 growth_interval: 1"
    precision = {"train_config__mixed_precision": "FP16", "train_config__grad_scaler": scaler}
    session = tiny.session(tiny_folder, **PLAIN, **SURGERY, **precision, **{ACCUMULATION: 1})
    train_step = tiny.train_step(session)
    before, batch = weights(session), tiny.batches(session, 1)[0]
    tiny.learn(session, train_step, [batch])
    assert all(torch.equal(before[name], weight) for name, weight in weights(session).items())
    assert train_step.dense.scaler.get_scale() == pytest.approx(0.25e38)
    for step in range(60):
        tiny.learn(session, train_step, [batch], step)
    after = weights(session)
    assert all(weight.isfinite().all() for weight in after.values())
    assert not all(torch.equal(before[name], weight) for name, weight in after.items())


@pytest.mark.parametrize("stop", [6, 9])
def test_training_on_is_the_same_as_never_having_stopped(folder, tmp_path, stop) -> None:
    """Three tasks, whose random order goes on where it was, in the middle of an accumulation."""
    tiny.pipeline(folder, tmp_path / "whole", **SURGERY, **{STEPS: 14}).fit()
    for steps in (stop, 14):
        run = tiny.pipeline(folder, tmp_path / "parts", **SURGERY, **{STEPS: steps})
        run.fit(continue_train=steps == 14)
    ends = [tiny.tensors(tmp_path / run / "model.ckpt-13") for run in ("parts", "whole")]
    assert ends[0] == ends[1]
    tiny.pipeline(folder, tmp_path / "plain", **{STEPS: 14}).fit()
    assert tiny.tensors(tmp_path / "plain" / "model.ckpt-13") != ends[0]


def test_with_one_task_there_is_nothing_to_do_which_is_said(tiny_folder, caplog) -> None:
    session = tiny.session(tiny_folder, **PLAIN, **SURGERY, **{ACCUMULATION: 1})
    built, settings = session.built, session.settings.learning
    alone = TaskSet(built.tasks.tasks[:1])
    with caplog.at_level(logging.WARNING):
        train_step = TrainStep.of(built.model, alone, settings, session.runtime.device)
    assert caplog.messages == ["train_config.grad_process has no effect with one task"]
    before, batch = weights(session), tiny.batches(session, 1)[0]
    expected = own(session, batch)[0]
    tiny.learn(session, train_step, [batch])
    before, after = by_gate(before), by_gate(weights(session))
    for name, grad in expected.items():
        assert_close(before[name] - after[name], grad.float(), rtol=1e-4, atol=1e-6)


def test_a_bound_on_the_tables_gradients_does_not_go_with_it(tiny_folder) -> None:
    """Each task's gradient would be bounded, not the one that moves the table."""
    optimizer = "train_config__sparse_optimizer"
    bounded = "adam_optimizer { lr: 0.1 gradient_clipping: true } constant_learning_rate {}"
    with pytest.raises(ConfigError) as caught:
        tiny.pipeline(tiny_folder, tiny_folder / "no", **SURGERY, **{optimizer: bounded}).check()
    assert "train_config.sparse_optimizer.adam_optimizer.gradient_clipping" in str(caught.value)
    assert 'grad_process: "pcgrad"' in str(caught.value)


def test_it_is_refused_where_towers_of_members_read_each_other(tmp_path) -> None:
    """Their parts of a gate's layers do not follow each other."""
    text = models_of_tiny.text("members").replace(
        '"buy" }}', '"buy" relation_tower_names: "ctr" }}'
    )
    assert text != models_of_tiny.text("members")
    models_of_tiny.write("members", tmp_path)
    paths = {"train": tmp_path / "train", "eval": tmp_path / "eval.parquet"}
    (tmp_path / "tiny.config").write_text(text.format(**paths))
    refused = tiny.pipeline(tmp_path, tmp_path / "run", **SURGERY)
    with pytest.raises(ConfigError, match=r"grad_process.*relation_tower_names"):
        refused.check()
