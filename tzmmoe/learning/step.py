"""One training step: a batch to new parameters, in five stages that are chosen once."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from tzmmoe.batch import Batch, Inputs
from tzmmoe.errors import Faults, within
from tzmmoe.learning.optimizers import dense_optimizer
from tzmmoe.learning.replicas import Replicas
from tzmmoe.learning.schedules import Rates
from tzmmoe.learning.settings import LearningSettings, OptimizerSettings
from tzmmoe.learning.surgery import Surgery
from tzmmoe.models.rank import RankModel
from tzmmoe.registry import Choice
from tzmmoe.system.world import World
from tzmmoe.tables.optimizers import SparseOptimizer, sparse_optimizer
from tzmmoe.tables.penalties import penalized, regularization
from tzmmoe.tables.sharded import ShardedTables
from tzmmoe.tables.table import Tables
from tzmmoe.tasks.task import TaskSet

P = ParamSpec("P")
T = TypeVar("T")

DTYPES = {"BF16": torch.bfloat16, "FP16": torch.float16}


class Precision:
    """Full precision, or one of ``DTYPES`` by its ``word``.

    ``scaler`` is disabled, and then leaves everything as it is, unless the word is FP16.
    ``scaling``: its settings; None: torch's, which are those of the schema.
    """

    def __init__(self, word: str, scaling: Mapping[str, Any] | None, device: torch.device) -> None:
        self._device, self._dtype = device, DTYPES.get(word)
        self.scaler = torch.amp.GradScaler(device.type, enabled=word == "FP16", **(scaling or {}))

    def within(self, forward: Callable[P, T]) -> Callable[P, T]:
        """The same function in this arithmetic; itself in full precision."""
        if self._dtype is None:
            return forward

        def cast(*arguments: P.args, **named: P.kwargs) -> T:
            with torch.autocast(self._device.type, self._dtype):
                return forward(*arguments, **named)

        return cast

    def scale(self) -> Tensor:
        """What an enabled scaler multiplies the gradients of this step by."""
        return self.scaler.scale(torch.ones((), device=self._device))


log = logging.getLogger(__name__)

Logits = dict[str, Tensor]  # {task: (B,) or (B, C)}
Losses = dict[str, Tensor]  # {key: scalar}; the objective is their sum


@dataclass
class TrainStep:
    """What is done with a batch, stage by stage. Each stage knows of the others only what it is
    handed, so that one which is compiled or written by hand takes the place of another alone.

    ``losses`` gets logits, the batch, and each task's sum of weights if the batch is a part of a
    larger one. ``backward`` leaves in the parameters the gradients of all processes. ``tables`` and
    ``dense`` move the parameters by them, at their rates.
    """

    forward: Callable[[Inputs], Logits]
    losses: Callable[[Logits, Batch, Tensor | None], Losses]
    backward: Callable[[Losses], None]
    tables: "TableUpdate"
    dense: "DenseUpdate"

    @classmethod
    def of(
        cls,
        model: RankModel,
        tasks: TaskSet,
        settings: LearningSettings,
        device: torch.device,
        world: World | None = None,
    ) -> "TrainStep":
        """The stages that the settings ask for."""
        world = world or World()
        precision = Precision(settings.precision, settings.scaler, device)
        tables = TableUpdate(model, settings, precision, world.size)
        dense = DenseUpdate(model, settings, precision)
        surgery = _surgery(model, tasks, settings)
        replicas, forward = None, model
        if world.size > 1:
            replicas = Replicas(model, world, device, exchanges_dense=surgery is None)
            forward = replicas.forward
        return cls(
            forward=precision.within(forward),
            losses=_losses(model, tasks),
            backward=_backward(precision.scaler.scale, surgery, replicas),
            tables=tables,
            dense=dense,
        )

    def __call__(
        self, batch: Batch, rates: Rates, totals: Tensor | None = None
    ) -> tuple[Logits, Losses]:
        """Learn from a batch; its logits and losses, from before."""
        self.tables.set_rate(rates.tables)  # before the backward pass, in which some tables move
        self.dense.set_rate(rates.dense)
        logits = self.forward(batch.inputs)
        losses = self.losses(logits, batch, totals)
        self.backward(losses)
        self.tables.step()
        self.dense.step()
        return logits, losses


class TableUpdate:
    """Moves the embedding tables, on every batch. ``sharded`` ones move in the backward pass.

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
        self._spreads = {part.store for part in self.sharded}
        self._scale = precision.scale if precision.scaler.is_enabled() else lambda: None
        bound = settings.gradient_bound()
        # A process's losses are those of the global batch, times the number of processes.
        for part in (*self.modules.values(), *self.sharded):
            part.gradient_bound = bound and bound * num_processes

    def set_rate(self, rate: float) -> None:
        """For the steps to come."""
        for optimizer in self.optimizers:
            _set_rate(optimizer, rate)
        for spread in self._spreads:
            spread.set_rate(rate)

    def step(self) -> None:
        """Move the rows of the batch."""
        for optimizer in self.optimizers:
            optimizer.step(self._scale())
            optimizer.zero_grad(set_to_none=True)


class DenseUpdate:
    """Moves all parameters but the tables, once in ``accumulation`` batches, by the mean of their
    gradients.

    ``pending`` counts the batches since its last step. What is pending when a run ends waits in its
    checkpoint, so that training on is the same as never having stopped.
    """

    def __init__(self, model: nn.Module, settings: LearningSettings, precision: Precision) -> None:
        self.word = settings.dense.optimizer.word
        self.parameters = dense_parameters(model)
        self.optimizer = _dense(list(self.parameters.values()), settings.dense)
        self.scaler = precision.scaler
        self.accumulation, self.pending = settings.accumulation, 0
        self._clip = _clipping(settings.clipping)

    def set_rate(self, rate: float) -> None:
        """For the steps to come."""
        _set_rate(self.optimizer, rate)

    def step(self) -> None:
        """Count the batch, and move where that is due."""
        self.pending += 1
        if self.pending < self.accumulation:  # it is more after a resume with a smaller one
            return
        self.scaler.unscale_(self.optimizer)
        if self.pending > 1:
            grads = [p.grad for p in self.parameters.values() if p.grad is not None]
            torch._foreach_div_(grads, self.pending)
        self._clip(self.parameters.values())
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.pending = 0


def check(settings: LearningSettings, faults: Faults) -> None:
    """Add the faults of optimizers and schedules, which need no model to show."""
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
    """The parameters of tables in this process, with how many rows of each are trained."""
    tables = [part for part in model.modules() if isinstance(part, Tables)]
    return {part.weight: part.trained_rows for part in tables if part.trained_rows}


def dense_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """By name, all parameters but the tables."""
    tables = {id(part.weight) for part in model.modules() if isinstance(part, Tables)}
    return {n: each for n, each in model.named_parameters() if id(each) not in tables}


def _losses(model: nn.Module, tasks: TaskSet) -> Callable[[Logits, Batch, Tensor | None], Losses]:
    """The tasks' losses, and the penalty of the weights if there is one."""
    parts = penalized(model)
    if not parts:
        return tasks.losses

    def losses(logits: Logits, batch: Batch, totals: Tensor | None) -> Losses:
        return tasks.losses(logits, batch, totals) | {"regularization": regularization(parts)}

    return losses


def _surgery(model: nn.Module, tasks: TaskSet, settings: LearningSettings) -> Surgery | None:
    if settings.grad_process != "pcgrad":
        return None
    if len(tasks.learned()) == 1:
        log.warning("train_config.grad_process has no effect with one task")
        return None
    tables = trained_rows(model)
    # A parameter that holds a part for each task, which this task alone reaches.
    by_task = [part for part in model.modules() if getattr(part, "by_task", False)]
    alone = {parameter for part in by_task for parameter in part.parameters()}
    return Surgery(tasks, [*dense_parameters(model).values(), *tables], tables, alone)


def _backward(
    scale: Callable[[Tensor], Tensor], surgery: Surgery | None, replicas: Replicas | None
) -> Callable[[Losses], None]:
    """Losses to gradients. ``scale``: as half precision needs it."""
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
    """What bounds the gradients of the dense part."""
    if choice.word == "norm":
        bound, order = choice.arguments["max_gradient"], choice.arguments["norm_type"]
        return partial(nn.utils.clip_grad_norm_, max_norm=bound, norm_type=order)
    if choice.word == "value":
        return partial(nn.utils.clip_grad_value_, clip_value=choice.arguments["max_gradient"])
    return lambda parameters: None


def _sparse(pairs: list[tuple[nn.Parameter, int]], settings: OptimizerSettings) -> SparseOptimizer:
    with within(settings.optimizer.word):
        return sparse_optimizer(pairs, settings.optimizer.word, settings.optimizer.arguments)


def _dense(parameters: list[nn.Parameter], settings: OptimizerSettings) -> torch.optim.Optimizer:
    with within(settings.optimizer.word):
        return dense_optimizer(parameters, settings.optimizer.word, settings.optimizer.arguments)


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
