"""A training step: from a batch to new parameters, in five stages that are chosen once."""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tzmmoe import private_torch
from tzmmoe.batch import Batch, Inputs
from tzmmoe.errors import ConfigError, Faults, within
from tzmmoe.learning.averages import Averages
from tzmmoe.learning.optimizers import dense_optimizer
from tzmmoe.learning.replicas import Replicas
from tzmmoe.learning.schedules import Rates
from tzmmoe.learning.settings import LearningSettings, OptimizerSettings
from tzmmoe.learning.surgery import Surgery
from tzmmoe.models.rank import PENALTY, RankModel
from tzmmoe.nn.keras_moe.layer import MMoE
from tzmmoe.registry import Choice
from tzmmoe.system.world import World
from tzmmoe.tables.optimizers import SparseOptimizer, sparse_optimizer
from tzmmoe.tables.penalties import penalized, regularization
from tzmmoe.tables.sharded import ShardedTables
from tzmmoe.tables.table import Tables
from tzmmoe.tasks.taskset import TaskSet

log = logging.getLogger(__name__)

Logits = dict[str, Tensor]  # {task: (B,) or (B, C)}
Losses = dict[str, Tensor]  # {key: scalar}; the objective is their sum


@dataclass
class TrainStep:
    """The stages of a step. Each receives all that it needs, so that a compiled or hand-written
    stage replaces another without touching the rest.

    ``losses`` takes the logits, the batch, and what each loss is divided by if the batch is part of
    a larger one. ``backward`` leaves the mean gradients of all processes in the parameters.
    ``tables`` and ``dense`` update the parameters with them, at their learning rates. ``averages``
    of the weights, if they are kept, take in each update.
    """

    forward: Callable[[Inputs], Logits]
    losses: Callable[[Logits, Batch, Tensor | None], Losses]
    backward: Callable[[Losses], None]
    tables: "TableUpdate"
    dense: "DenseUpdate"
    averages: Averages | None = None

    @classmethod
    def of(
        cls,
        model: RankModel,
        tasks: TaskSet,
        settings: LearningSettings,
        device: torch.device,
        world: World | None = None,
    ) -> "TrainStep":
        """The stages that the settings select."""
        world = world or World()
        precision = Precision(settings.precision, settings.scaler, device)
        tables = TableUpdate(model, settings, precision, world.size)
        dense = DenseUpdate(model, settings, precision)
        averages = None
        if settings.ema is not None:
            averages = Averages(dense.parameters, trained_rows(model), settings.ema)
            for optimizer in tables.optimizers:
                optimizer.before_update = averages.before_update
        surgery = _surgery(model, tasks, settings)
        replicas, forward = None, model
        if world.size > 1:
            replicas = Replicas(model, world, device, exchanges_dense=surgery is None)
            forward = replicas.forward
        return cls(
            forward=precision.within(forward),
            losses=_losses(model, tasks, world.size),
            backward=_backward(precision.scaler.scale, surgery, replicas),
            tables=tables,
            dense=dense,
            averages=averages,
        )

    def averaged(self) -> AbstractContextManager[None]:
        """Within the block, the model has the averages of its weights, if they are kept."""
        return self.averages.shown() if self.averages else nullcontext()

    def parts(self) -> dict[str, tuple[str, str]]:
        """What has parameters to learn: by the name of its rate, the optimizer and what it updates,
        as a reader knows them."""
        parts = {}
        if self.tables.optimizers or self.tables.sharded:
            parts["tables"] = ("train_config.sparse_optimizer", "the embedding tables")
        if self.dense.parameters:
            parts["dense"] = ("train_config.dense_optimizer", "all weights but the tables")
        return parts

    def __call__(
        self, batch: Batch, rates: Rates, totals: Tensor | None = None
    ) -> tuple[Logits, Losses]:
        """Learn from a batch; its logits and losses from before the update."""
        if self.averages:
            self.averages.ready()
        self.tables.set_rate(rates.tables)  # before the backward pass, which updates sharded tables
        self.dense.set_rate(rates.dense)
        logits = self.forward(batch.inputs)
        losses = self.losses(logits, batch, totals)
        self.backward(losses)
        self.tables.step()
        self.dense.step()
        if self.averages:
            self.averages.advance()
        return logits, losses


DTYPES = {"BF16": torch.bfloat16, "FP16": torch.float16}


class Precision:
    """Full precision, or one of ``DTYPES`` by its ``word``.

    ``scaler`` is enabled for FP16 only; otherwise it leaves everything unchanged. ``scaling``: its
    settings; None: torch's defaults, which are also those of the schema.
    """

    def __init__(self, word: str, scaling: Mapping[str, Any] | None, device: torch.device) -> None:
        self._device, self._dtype = device, DTYPES.get(word)
        self.scaler = torch.amp.GradScaler(device.type, enabled=word == "FP16", **(scaling or {}))

    def within(self, forward: Callable[[Inputs], Logits]) -> Callable[[Inputs], Logits]:
        """The same function in this precision."""
        if self._dtype is None:
            return forward
        return torch.autocast(self._device.type, self._dtype)(forward)

    def scale(self) -> Tensor:
        """The factor of this step's gradients, if the scaler is enabled."""
        return self.scaler.scale(torch.ones((), device=self._device))


class TableUpdate:
    """Updates the embedding tables on every batch; ``sharded`` ones update in the backward pass.

    ``modules``: the others by name. ``optimizers``: one for all of them that are trained, or none.
    """

    def __init__(
        self, model: nn.Module, settings: LearningSettings, precision: Precision, num_processes: int
    ) -> None:
        named = dict(model.named_modules())
        self.word = settings.sparse.optimizer.word
        self.modules = {n: part for n, part in named.items() if isinstance(part, Tables)}
        self.sharded = [part for part in named.values() if isinstance(part, ShardedTables)]
        self.optimizers: list[SparseOptimizer] = []
        if pairs := trained_rows(model):
            self.optimizers.append(_sparse(list(pairs.items()), settings.sparse))
        self._stores = {part.store for part in self.sharded}
        self._scale = precision.scale if precision.scaler.is_enabled() else lambda: None
        bound = settings.gradient_bound()
        # The losses of a process are those of the global batch times the number of processes.
        for part in (*self.modules.values(), *self.sharded):
            part.gradient_bound = bound and bound * num_processes

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the steps to come."""
        for optimizer in self.optimizers:
            _set_rate(optimizer, rate)
        for store in self._stores:
            store.set_rate(rate)

    def step(self) -> None:
        """Update the rows of the batch."""
        for optimizer in self.optimizers:
            optimizer.step(self._scale())
            optimizer.zero_grad(set_to_none=True)


class DenseUpdate:
    """Updates all parameters but the tables, once every ``accumulation`` batches, with the mean of
    their gradients.

    ``pending`` counts the batches since its last step. Gradients that are pending when a run ends
    are saved in its checkpoint, so that resuming gives the same result as never having stopped.
    """

    def __init__(self, model: nn.Module, settings: LearningSettings, precision: Precision) -> None:
        self.word = settings.dense.optimizer.word
        self.parameters = dense_parameters(model)
        self._constrained = [part for part in model.modules() if isinstance(part, MMoE)]
        self.optimizer = _dense(list(self.parameters.values()), settings.dense)
        self.scaler = precision.scaler
        self.accumulation, self.pending = settings.accumulation, 0
        self._clip = _clipping(settings.clipping)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the steps to come."""
        _set_rate(self.optimizer, rate)

    def step(self) -> None:
        """Count the batch, and update the parameters if that is due."""
        self.pending += 1
        if self.pending < self.accumulation:  # can be exceeded after resuming with a smaller one
            return
        self.scaler.unscale_(self.optimizer)
        if self.pending > 1:
            grads = [p.grad for p in self.parameters.values() if p.grad is not None]
            private_torch.divide(grads, self.pending)
        self._clip(self.parameters.values())
        self.scaler.step(self.optimizer)
        self.scaler.update()
        for layer in self._constrained:
            layer.constrain_()
        self.optimizer.zero_grad(set_to_none=True)
        self.pending = 0


def check(settings: LearningSettings, faults: Faults) -> None:
    """Add the faults of optimizers and schedules that show without a model."""
    parameter = nn.Parameter(torch.zeros(1, 1))
    with faults.under("train_config.sparse_optimizer"):
        settings.gradient_bound()
        _sparse([(parameter, 1)], settings.sparse)
    with faults.under("train_config.dense_optimizer"):
        _dense([parameter], settings.dense)
    for name in ("sparse", "dense"):
        with faults.under(f"train_config.{name}_optimizer"):
            getattr(settings, name).rate()


def trained_rows(model: nn.Module) -> dict[nn.Parameter, int]:
    """The parameters of the tables in this process, each with its number of trained rows."""
    tables = [part for part in model.modules() if isinstance(part, Tables)]
    return {part.weight: part.trained_rows for part in tables if part.trained_rows}


def dense_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """All parameters but the tables, by name."""
    tables = {id(part.weight) for part in model.modules() if isinstance(part, Tables)}
    return {name: p for name, p in model.named_parameters() if id(p) not in tables}


def _losses(
    model: RankModel, tasks: TaskSet, num_processes: int
) -> Callable[[Logits, Batch, Tensor | None], Losses]:
    """The tasks' losses, and the penalty of weights, embeddings and outputs of layers if any are
    penalized."""
    parts, layers = penalized(model), model.penalized_outputs()
    if not model.is_regularized:
        return tasks.losses

    def losses(logits: Logits, batch: Batch, totals: Tensor | None) -> Losses:
        terms = [regularization(parts)] if parts else []
        terms += [penalty for layer in layers for penalty in layer.activity_penalties]
        if PENALTY in logits:  # a sum over rows, where processes take the mean of their losses
            terms.append(num_processes * logits[PENALTY])
        return tasks.losses(logits, batch, totals) | {"regularization": sum(terms)}

    return losses


def _surgery(model: RankModel, tasks: TaskSet, settings: LearningSettings) -> Surgery | None:
    if settings.grad_process != "pcgrad":
        return None
    if len(tasks.learned()) == 1:
        log.warning("train_config.grad_process has no effect with one task")
        return None
    tables = trained_rows(model)
    modules = [part for part in model.modules() if getattr(part, "by_task", False)]
    by_task = {p: getattr(part, "task_dim", 0) for part in modules for p in part.parameters()}
    learned = [task.name for task in tasks.learned()]
    reached = [{i for i, name in enumerate(learned) if name in read} for read in model.readers()]
    if model.body.num_members > 1 and any(len(tasks) > 1 for tasks in reached):
        words = 'is "pcgrad", which does not support members whose towers read each other; remove '
        words += "it, num_members or relation_tower_names"
        raise ConfigError.at("train_config.grad_process", words)
    parameters = [*dense_parameters(model).values(), *tables]
    return Surgery(tasks, parameters, tables, by_task, reached)


def _backward(
    scale: Callable[[Tensor], Tensor], surgery: Surgery | None, replicas: Replicas | None
) -> Callable[[Losses], None]:
    """The stage from losses to gradients. ``scale`` scales a loss for half precision."""
    if surgery:
        return lambda losses: surgery.backward(
            {key: scale(loss) for key, loss in losses.items()}, replicas
        )

    def backward(losses: Losses) -> None:
        scale(sum(losses.values())).backward()

    if replicas is None:
        return backward

    def backward_in_all(losses: Losses) -> None:
        backward(losses)
        replicas.exchange()

    return backward_in_all


def _clipping(choice: Choice) -> Callable[[Iterable[nn.Parameter]], object]:
    """The function that bounds the gradients of the dense part."""
    if choice.word == "norm":
        bound, order = choice.arguments["max_gradient"], choice.arguments["norm_type"]
        return partial(nn.utils.clip_grad_norm_, max_norm=bound, norm_type=order)
    if choice.word == "value":
        return partial(nn.utils.clip_grad_value_, clip_value=choice.arguments["max_gradient"])
    return lambda parameters: None


def _sparse(pairs: list[tuple[nn.Parameter, int]], settings: OptimizerSettings) -> SparseOptimizer:
    choice = settings.optimizer
    with within(choice.word):
        return sparse_optimizer(pairs, choice.word, choice.arguments)


def _dense(parameters: list[nn.Parameter], settings: OptimizerSettings) -> torch.optim.Optimizer:
    with within(settings.optimizer.word):
        return dense_optimizer(parameters, settings.optimizer.word, settings.optimizer.arguments)


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
