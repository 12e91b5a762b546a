"""The settings of a training step: plain data, made from the fields of train_config."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tzmmoe.errors import ConfigError, exactly, within
from tzmmoe.learning.schedules import Schedule, Schedules, schedule
from tzmmoe.registry import Choice

RATES = "_learning_rate"


@dataclass(frozen=True)
class OptimizerSettings:
    """An optimizer and its schedule."""

    optimizer: Choice
    schedule: Choice

    @classmethod
    def of(cls, fields: Mapping[str, Any] | None, path: str) -> "OptimizerSettings":
        """From the fields of a sparse_optimizer or dense_optimizer; the schedule is optional."""
        if fields is None:
            joint = "optimizer { adam_optimizer { lr: 0.001 } }"
            words = f"is not set; set sparse_optimizer and dense_optimizer, or only {joint}"
            raise ConfigError.at(path, words)
        choices = [Choice(word, value) for word, value in fields.items() if value is not None]
        schedules = [choice for choice in choices if choice.word.endswith(RATES)]
        optimizers = [choice for choice in choices if choice not in schedules]
        if not optimizers:
            words = ", ".join(word for word in fields if not word.endswith(RATES))
            raise ConfigError.at(path, f"has no optimizer; give one of {words}")
        return cls(optimizers[0], schedules[0] if schedules else Choice(None, {}))

    def rate(self) -> Schedule:
        """The schedule of the learning rate. Raises ConfigError."""
        with within(self.schedule.word or ""):
            lr = self.optimizer.arguments["lr"]
            return schedule(lr, self.schedule.word, self.schedule.arguments)


@dataclass(frozen=True)
class LearningSettings:
    """What the stages of a step depend on."""

    sparse: OptimizerSettings
    dense: OptimizerSettings
    accumulation: int
    clipping: Choice  # word: norm, value or none
    precision: str
    scaler: dict[str, Any] | None
    grad_process: str  # pcgrad, or empty
    loss_mean: str  # GLOBAL_BATCH or LOCAL_BATCH
    ema: float | None  # the decay of the averages of the weights; None: none are kept

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "LearningSettings":
        """From the fields of train_config. Raises ConfigError when an optimizer is missing."""
        clipping = fields["grad_clipping"] or {}
        sparse, dense = (
            OptimizerSettings.of(fields[name], f"train_config.{name}")
            for name in ("sparse_optimizer", "dense_optimizer")
        )
        return cls(
            sparse=sparse,
            dense=dense,
            accumulation=fields["gradient_accumulation_steps"],
            clipping=Choice(clipping.get("clipping_type", "none"), clipping),
            precision=fields["mixed_precision"],
            scaler=fields["grad_scaler"],
            grad_process=fields["grad_process"],
            loss_mean=fields["loss_mean"],
            ema=fields["ema"] and fields["ema"]["decay"],
        )

    def schedules(self) -> Schedules:
        """The learning rates of the tables and of the dense part."""
        return Schedules(self.sparse.rate(), self.dense.rate())

    def gradient_bound(self) -> float | None:
        """The bound on each component of an embedding's gradient, applied where it enters a table;
        None if unset.

        Raises:
            ConfigError: the bound is not positive, or conflicts with another setting.
        """
        choice = self.sparse.optimizer
        if not choice.arguments["gradient_clipping"]:
            return None
        with within(choice.word):
            bound = choice.arguments["max_gradient"]
            if bound <= 0:
                raise ConfigError.at("max_gradient", f"is {exactly(bound)}; give more than 0")
            if self.precision == "FP16":
                raise ConfigError.at(
                    "gradient_clipping", "does not work with FP16's scaled gradients; use BF16"
                )
            if self.grad_process == "pcgrad":
                raise ConfigError.at(
                    "gradient_clipping",
                    "bounds each task's gradient where it enters a table, and grad_process: "
                    '"pcgrad" adds them afterwards; remove one of the two',
                )
        return bound
