"""One learning step: gradients to new parameters, for the tables and for the dense part."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError, Faults, within
from tzmmoe.learning.dense import dense_optimizer
from tzmmoe.learning.replicas import Replicas
from tzmmoe.learning.schedules import Schedule, schedule
from tzmmoe.learning.settings import Learning, Settings
from tzmmoe.learning.surgery import Surgery
from tzmmoe.models import RankModel
from tzmmoe.system.world import World
from tzmmoe.tables.optimizers import SparseOptimizer, sparse_optimizer
from tzmmoe.tables.sharded import ShardedTables
from tzmmoe.tables.table import Tables
from tzmmoe.tasks.task_set import TaskSet

log = logging.getLogger(__name__)

DTYPES = {"BF16": torch.bfloat16, "FP16": torch.float16}
SCALER = {
    "init_scale": 65536.0,
    "growth_factor": 2.0,
    "backoff_factor": 0.5,
    "growth_interval": 2000,
}


class Optimization:
    """Both optimizers with their schedules, clipping, accumulation and precision.

    Tables step on every batch, ``sharded`` ones within the backward pass. The dense part steps once
    in ``accumulation`` batches, with the mean of their gradients; ``pending`` counts the batches
    since its last step. What is pending when a run ends waits in its checkpoint, so that training
    on is the same as never having stopped.

    ``forward`` is the model to be called in training. In several processes it lets each step use
    the mean of their gradients.
    """

    def __init__(
        self,
        model: RankModel,
        tasks: TaskSet,
        settings: Settings,
        device: torch.device,
        world: World | None = None,
    ) -> None:
        self.world = world or World()
        self.settings = settings
        self.device = device
        self.pending = 0
        modules = dict(model.named_modules())
        self.tables = {n: part for n, part in modules.items() if isinstance(part, Tables)}
        self.sharded = [part for part in modules.values() if isinstance(part, ShardedTables)]
        in_tables = {id(part.weight) for part in self.tables.values()}
        self.dense_parameters = {
            name: parameter
            for name, parameter in model.named_parameters()
            if id(parameter) not in in_tables
        }
        trained = [part for part in self.tables.values() if part.trained_rows]
        bound = _bound(settings)
        # A process's losses are those of the global batch, times their number.
        for part in [*trained, *self.sharded]:
            part.gradient_bound = bound and bound * self.world.size
        pairs = [(part.weight, part.trained_rows) for part in trained]
        self.sparse = _sparse(pairs, settings.sparse) if pairs else None
        self.dense = _dense(list(self.dense_parameters.values()), settings.dense)
        self.sparse_rate, self.dense_rate = _rate(settings.sparse), _rate(settings.dense)
        self.surgery = None
        if settings.grad_process == "pcgrad" and len(tasks.learned()) == 1:
            log.warning("train_config.grad_process has no effect with one task")
        elif settings.grad_process == "pcgrad":
            shared = [*self.dense_parameters.values(), *dict(pairs)]
            self.surgery = Surgery(tasks, shared, dict(pairs), _by_task(model))
        self.replicas, self.forward = None, model
        if self.world.size > 1:
            in_backward = self.surgery is None
            self.replicas = Replicas(model, self.world, device, exchanges_dense=in_backward)
            self.forward = self.replicas.forward
        self.scaler = None
        if settings.precision == "FP16":
            scaling = settings.scaler or SCALER
            self.scaler = torch.amp.GradScaler(device.type, **scaling)

    @staticmethod
    def check(settings: Settings, faults: Faults) -> None:
        """Add the faults of optimizers and schedules, which need no model to show."""
        parameter = nn.Parameter(torch.zeros(1, 1))
        with faults.under("train_config.sparse_optimizer"):
            _bound(settings)
            _sparse([(parameter, 1)], settings.sparse)
        with faults.under("train_config.dense_optimizer"):
            _dense([parameter], settings.dense)
        for name in ("sparse", "dense"):
            with faults.under(f"train_config.{name}_optimizer"):
                _rate(getattr(settings, name))

    def autocast(self) -> AbstractContextManager:
        """The arithmetic of the forward pass."""
        if not self.settings.precision:
            return nullcontext()
        return torch.autocast(self.device.type, DTYPES[self.settings.precision])

    def rates(self, step: int, epoch: int) -> dict[str, float]:
        """Learning rates of a step, g0 of the tables, g1 of the rest."""
        return {"g0": self.sparse_rate.at(step, epoch), "g1": self.dense_rate.at(step, epoch)}

    def begin(self, step: int, epoch: int) -> None:
        """Before the forward pass, which hands their rate to tables that step in the backward
        pass."""
        for spread in {part.spread for part in self.sharded}:
            spread.set_rate(self.rates(step, epoch)["g0"])

    def step(self, losses: Mapping[str, Tensor], step: int, epoch: int) -> None:
        """Backward, and the update of what is due. ``step`` and ``epoch`` count those done."""
        rates = self.rates(step, epoch)
        self._backward(losses)
        self.pending += 1
        if self.sparse:
            _set_rate(self.sparse, rates["g0"])
            scale = self.scaler.scale(torch.ones((), device=self.device)) if self.scaler else None
            self.sparse.step(scale)
            self.sparse.zero_grad(set_to_none=True)
        if self.pending >= self.settings.accumulation:  # more after a resume with fewer
            self._step_dense(rates["g1"])

    def _backward(self, losses: Mapping[str, Tensor]) -> None:
        scale = self.scaler.scale if self.scaler else lambda loss: loss
        if self.surgery:
            scaled = {key: scale(loss) for key, loss in losses.items()}
            self.surgery.backward(scaled, self.replicas)
            return
        scale(sum(losses.values())).backward()
        if self.replicas:
            self.replicas.exchange()

    def _step_dense(self, rate: float) -> None:
        _set_rate(self.dense, rate)
        grads = [p.grad for p in self.dense_parameters.values() if p.grad is not None]
        if self.scaler:
            self.scaler.unscale_(self.dense)
        if self.pending > 1:
            torch._foreach_div_(grads, self.pending)
        clipping = self.settings.clipping
        if clipping.word == "norm":
            nn.utils.clip_grad_norm_(
                self.dense_parameters.values(),
                clipping.arguments["max_gradient"],
                clipping.arguments["norm_type"],
            )
        elif clipping.word == "value":
            nn.utils.clip_grad_value_(
                self.dense_parameters.values(), clipping.arguments["max_gradient"]
            )
        if self.scaler:
            self.scaler.step(self.dense)
            self.scaler.update()
        else:
            self.dense.step()
        self.dense.zero_grad(set_to_none=True)
        self.pending = 0

    def words(self) -> dict[str, str]:
        """Which optimizers these are, by their words of the schema."""
        chosen = {"sparse": self.settings.sparse, "dense": self.settings.dense}
        return {name: learning.optimizer.word for name, learning in chosen.items()}

    def named_state(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Name of each dense parameter and its optimizer state."""
        for name, parameter in self.dense_parameters.items():
            yield name, self.dense.state[parameter]


def _bound(settings: Settings) -> float | None:
    """What the gradient of each number of an embedding is kept within, where it enters."""
    choice = settings.sparse.optimizer
    if not choice.arguments["gradient_clipping"]:
        return None
    with within(choice.word):
        bound = choice.arguments["max_gradient"]
        if bound <= 0:
            raise ConfigError.at("max_gradient", f"is {bound:g}; give more than 0")
        if settings.precision == "FP16":
            raise ConfigError.at(
                "gradient_clipping", "does not go with FP16's scaled gradients; use BF16"
            )
        if settings.grad_process == "pcgrad":
            raise ConfigError.at(
                "gradient_clipping",
                'bounds each task\'s gradient where it enters a table, and grad_process: "pcgrad" '
                "adds them afterwards; remove one of the two",
            )
    return bound


def _by_task(model: RankModel) -> set[nn.Parameter]:
    """Parameters that hold a part for each task, which this task alone reaches."""
    parts = (part for part in model.modules() if getattr(part, "by_task", False))
    return {parameter for part in parts for parameter in part.parameters()}


def _sparse(pairs: Sequence[tuple[nn.Parameter, int]], learning: Learning) -> SparseOptimizer:
    choice = learning.optimizer
    clipping = ("gradient_clipping", "max_gradient")
    with within(choice.word):
        arguments = {k: v for k, v in choice.arguments.items() if k not in clipping}
        return sparse_optimizer(pairs, choice.word, arguments)


def _dense(parameters: Sequence[nn.Parameter], learning: Learning) -> torch.optim.Optimizer:
    with within(learning.optimizer.word):
        return dense_optimizer(parameters, learning.optimizer.word, learning.optimizer.arguments)


def _rate(learning: Learning) -> Schedule:
    with within(learning.schedule.word or ""):
        lr = learning.optimizer.arguments["lr"]
        return schedule(lr, learning.schedule.word, learning.schedule.arguments)


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
