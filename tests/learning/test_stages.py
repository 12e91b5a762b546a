"""The stages of a step: each may be replaced alone, and the others do as before."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from e2e import tiny
from torch import Tensor

from tzmmoe.batch import Batch
from tzmmoe.learning.schedules import Rates
from tzmmoe.learning.step import TrainStep
from tzmmoe.run.session import Session

SETTINGS = {
    "plain": {},
    "half precision": {"train_config__mixed_precision": "FP16"},
    "surgery": {"train_config__grad_process": "pcgrad"},
    "clipped": {"train_config__grad_clipping": 'clipping_type: "norm" max_gradient: 0.01'},
}
RATES = Rates(0.1, 0.2)
EXACT = {
    "feature_configs[feature_name=city]__id_feature__trainable": "true",
    "model_config__mmoe__expert_mlp__dropout_ratio": "[]",
    "train_config__gradient_accumulation_steps": 1,
    "train_config__sparse_optimizer": "sgd_optimizer { lr: 0.1 }",
    "train_config__dense_optimizer": "sgd_optimizer { lr: 0.2 }",
}
STAGES = ("forward", "losses", "backward", "tables", "dense")


class Recorded:
    """Does as a stage does, and notes that it was asked."""

    def __init__(self, name: str, stage: object, asked: list[str]) -> None:
        self._name, self._stage, self._asked = name, stage, asked

    def __call__(self, *arguments: object) -> object:
        self._asked.append(self._name)
        return self._stage(*arguments)

    def set_rate(self, rate: float) -> None:
        self._asked.append(f"rate of {self._name}")
        self._stage.set_rate(rate)

    def step(self) -> None:
        self._asked.append(self._name)
        self._stage.step()


class ByHand:
    """Plain gradient descent, in the place of an update of the dense part or the tables."""

    def __init__(self, weights: Mapping[str, Tensor], scale: Callable[[], float]) -> None:
        self._weights, self._scale = weights, scale

    def set_rate(self, rate: float) -> None:
        self._rate = rate

    @torch.no_grad()
    def step(self) -> None:
        scale = self._scale()
        for weight in self._weights.values():
            if weight.grad is not None:
                weight -= self._rate * weight.grad.to_dense() / scale
                weight.grad = None


def made(folder: Path, settings: str) -> tuple[Session, TrainStep, list[Batch]]:
    session = tiny.session(folder, **EXACT, **SETTINGS[settings])
    return session, tiny.train_step(session), tiny.batches(session, 4)


def weights(session: Session) -> dict[str, Tensor]:
    return {n: each.detach().clone() for n, each in session.built.model.named_parameters()}


def values(losses: Mapping[str, Tensor]) -> dict[str, float]:
    return {key: loss.item() for key, loss in losses.items()}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_that_another_replaces_leaves_the_other_objects_and_the_result_alone(
    tiny_folder, settings, name
) -> None:
    """The other four stages are the same objects; what is learned is bit for bit the same."""
    session, step, batches = made(tiny_folder, settings)
    before = {stage: getattr(step, stage) for stage in STAGES}
    asked: list[str] = []
    setattr(step, name, Recorded(name, before[name], asked))
    other, untouched, _ = made(tiny_folder, settings)
    for batch in batches:
        torch.manual_seed(7)  # of the order of surgery's projections
        _, losses = step(batch, RATES)
        torch.manual_seed(7)
        _, expected = untouched(batch, RATES)
        assert values(losses) == values(expected)
    assert all(getattr(step, stage) is before[stage] for stage in STAGES if stage != name)
    assert asked.count(name) == len(batches)
    for key, weight in weights(session).items():
        assert torch.equal(weight, weights(other)[key]), key


def test_the_stages_come_in_their_order_and_rates_before_the_backward_pass(tiny_folder) -> None:
    """Some tables move within the backward pass, so they must know their rate by then."""
    _, step, batches = made(tiny_folder, "plain")
    asked: list[str] = []
    for name in STAGES:
        setattr(step, name, Recorded(name, getattr(step, name), asked))
    step(batches[0], RATES)
    assert asked == ["rate of tables", "rate of dense", *STAGES]


@pytest.mark.parametrize("settings", ["plain", "half precision"])
@pytest.mark.parametrize("name", ["tables", "dense"])
def test_an_update_written_by_hand_takes_the_place_of_one(tiny_folder, settings, name) -> None:
    """Gradient descent of three lines is SGD; the other update is not told of it."""
    session, step, batches = made(tiny_folder, settings)
    other, whole, _ = made(tiny_folder, settings)
    replaced, scaler = getattr(step, name), step.dense.scaler
    parameters = {
        key: each
        for key, each in session.built.model.named_parameters()
        if each.requires_grad and (key in step.dense.parameters) == (name == "dense")
    }
    setattr(step, name, ByHand(parameters, lambda: scaler.get_scale()))
    for batch in batches:
        step(batch, RATES)
        whole(batch, RATES)
    assert replaced not in (step.tables, step.dense)
    for key, weight in weights(session).items():
        torch.testing.assert_close(weight, weights(other)[key], rtol=1e-4, atol=1e-5, msg=key)


def test_a_forward_pass_of_another_model_is_learned_by_the_same_stages(tiny_folder) -> None:
    """As that of a compiled one: the logits are another function of the same parameters."""
    session, step, batches = made(tiny_folder, "plain")
    before, model = weights(session), session.built.model
    untouched = copy.deepcopy(model)
    step.forward = lambda inputs: {name: 3 * each for name, each in model(inputs).items()}
    logits, losses = step(batches[0], RATES)
    tripled = {name: 3 * each for name, each in untouched(batches[0].inputs).items()}
    expected = session.built.tasks.losses(tripled, batches[0])
    assert values(losses) == values(expected)
    sum(expected.values()).backward()
    for name, parameter in untouched.named_parameters():
        if name in step.dense.parameters and parameter.grad is not None:
            moved = before[name] - RATES.dense * parameter.grad
            torch.testing.assert_close(weights(session)[name], moved, msg=name)
    assert set(logits) == {"ctr", "cvr"}


def test_rates_are_computed_once_a_step(tiny_folder, tmp_path, monkeypatch) -> None:
    """By the schedules, whatever reads them: the updates, the line of the log, TensorBoard."""
    from tzmmoe.learning.schedules import Schedules

    original, asked = Schedules.at, []

    def at(self: Schedules, step: int, epoch: int) -> Rates:
        asked.append(step)
        return original(self, step, epoch)

    monkeypatch.setattr(Schedules, "at", at)
    changes = {"train_config__num_steps": 9, "train_config__use_tensorboard": "true"}
    changes["train_config__log_step_count_steps"] = 2
    tiny.pipeline(tiny_folder, tmp_path, **changes).fit()
    assert asked == list(range(9))
