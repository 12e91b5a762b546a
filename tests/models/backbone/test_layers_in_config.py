"""Each layer in a config: trained, evaluated, exported, scored; and laws of whole models."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from e2e import tiny
from models.backbone import tiny_blocks
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.models.backbone import Backbone
from tzmmoe.models.backbone.layers import LAYERS
from tzmmoe.models.backbone.steps import Slot
from tzmmoe.serving.scorer import Scorer

STEPS = {"train_config.num_steps": 2, "train_config.save_checkpoints_steps": 2}
MODELS = {**tiny_blocks.MODELS, "everything": tiny_blocks.EVERYTHING}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Backbone]:
    """The model of a name, a new copy each time; of another ``number``, one that was built anew."""

    @cache
    def once(name: str, number: int) -> Backbone:
        folder = tiny_blocks.write(MODELS[name], tmp_path_factory.mktemp("model"))
        return tiny.session(folder).built.model.body.double().eval()

    return lambda name, number=0: deepcopy(once(name, number))


def inputs(model: Backbone, num_rows: int, seed: int = 0) -> dict[str, Tensor]:
    widths = {"all": 12, "mixed": 10, "numbers": 1}
    generator = torch.Generator().manual_seed(seed)
    return {
        group: torch.randn(num_rows, widths[group], generator=generator, dtype=torch.float64)
        for group in model.groups
    }


def test_the_models_have_every_layer_of_the_schema(built) -> None:
    words = set()
    for name in MODELS:
        slots = [part for part in built(name).modules() if isinstance(part, Slot)]
        words |= {slot.word for slot in slots}
    assert words == set(LAYERS.words)


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_layers_train_and_what_is_exported_predicts_what_is_evaluated(tmp_path, name) -> None:
    folder = tiny_blocks.write(MODELS[name], tmp_path)
    run = tiny.pipeline(folder, tmp_path / "model", **STEPS)
    results = run.fit()
    assert np.isfinite(results["val_loss"])
    predicted = tmp_path / "evaluated.parquet"
    assert run.evaluate(predictions_path=str(predicted)) == pytest.approx(results)
    export = run.export(str(tmp_path / "export"))
    rows = pq.read_table(folder / "eval.parquet")
    whole = pq.read_table(predicted)
    for few in (rows, rows.slice(0, 1)):
        scored = Scorer.load(str(export)).score(few)
        for tower in ("ctr", "cvr"):
            wanted = whole[f"probs_{tower}"].to_numpy()[: len(few)]
            np.testing.assert_allclose(scored[f"probs_{tower}"].numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_a_row_is_the_same_in_any_batch(built, name: str) -> None:
    model = built(name)
    x = inputs(model, 7)
    whole = model(x).hidden
    order = torch.tensor([4, 0, 6])
    for chosen in (order, order[:1], order[:0]):
        part = model({group: each[chosen] for group, each in x.items()}).hidden
        assert_close(list(part), [each[chosen] for each in whole])


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_learns_or_is_frozen_also_without_rows(built, name: str) -> None:
    """A process whose files are at their end has no rows, and its gradients are waited for."""
    model = built(name).train()
    for num_rows in (0, 1, 4):
        total = sum(each.sum() for each in model(inputs(model, num_rows)).hidden)
        learned = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        if not learned:  # none of the merging layers has weights
            continue
        grads = torch.autograd.grad(total, [p for _, p in learned], allow_unused=True)
        assert not [n for (n, _), grad in zip(learned, grads, strict=True) if grad is None]
        assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("name", MODELS)
def test_a_state_is_loaded_by_another_model_of_the_config(built, name: str) -> None:
    model, other = built(name), built(name, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    x = inputs(model, 3)
    if any(True for _ in model.parameters()):
        assert not torch.equal(model(x).hidden[0], other(x).hidden[0])
    other.load_state_dict(model.state_dict())
    assert_close(list(other(x).hidden), list(model(x).hidden), rtol=0, atol=0)


def test_a_resumed_run_leaves_the_same_bits(tmp_path: Path) -> None:
    folder = tiny_blocks.write(MODELS["everything"], tmp_path)
    whole = tiny.pipeline(folder, tmp_path / "whole").fit()
    tiny.pipeline(folder, tmp_path / "parts", **{"train_config.num_steps": 7}).fit()
    again = tiny.pipeline(folder, tmp_path / "parts").fit(continue_train=True)
    assert again == whole


def test_the_gates_of_the_last_mmoe_lie_by_task_and_no_others(built) -> None:
    """By the gradients of each task's input: surgery must not leave shared weights out."""
    model = built("mixtures")
    x = inputs(model, 6)
    named = dict(model.named_parameters())
    sums = [each.sum() for each in model(x).hidden]
    grads = [torch.autograd.grad(s, list(named.values()), retain_graph=True) for s in sums]
    split = {
        name
        for name, first, second in zip(named, *grads, strict=True)
        if first.any() and second.any() and not ((first != 0) & (second != 0)).any()
    }
    declared = {
        f"{name}.{own}"
        for name, part in model.named_modules()
        if getattr(part, "by_task", False)
        for own, _ in part.named_parameters()
    }
    assert declared == split
    assert split
    assert all("block_l1" in name for name in split)
