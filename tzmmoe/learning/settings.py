"""train_config and its neighbours as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tzmmoe.errors import ConfigError
from tzmmoe.registry import Choice

RATES = "_learning_rate"


@dataclass(frozen=True)
class Learning:
    """An optimizer and its schedule."""

    optimizer: Choice
    schedule: Choice

    @classmethod
    def of(cls, fields: Mapping[str, Any] | None, path: str) -> "Learning":
        """From the fields of a sparse_optimizer or dense_optimizer; a schedule may be unset."""
        if fields is None:
            one = "optimizer { adam_optimizer { lr: 0.001 } }"
            words = f"is not set; set sparse_optimizer and dense_optimizer, or only {one}"
            raise ConfigError.at(path, words)
        chosen = {word: value for word, value in fields.items() if value is not None}
        rates = [Choice(word, value) for word, value in chosen.items() if word.endswith(RATES)]
        optimizers = [Choice(w, v) for w, v in chosen.items() if not w.endswith(RATES)]
        if not optimizers:
            known = ", ".join(word for word in fields if not word.endswith(RATES))
            raise ConfigError.at(path, f"has no optimizer; give one of {known}")
        return cls(optimizers[0], rates[0] if rates else Choice(None, {}))


@dataclass(frozen=True)
class Settings:
    """How long, how, and what is kept. Names are those of the schema."""

    sparse: Learning
    dense: Learning
    num_steps: int | None
    num_epochs: int | None
    save_steps: int | None  # None: by epochs
    save_epochs: int | None
    log_every: int
    keep: int
    accumulation: int
    clipping: Choice  # word: norm, value or none
    precision: str
    scaler: dict[str, Any] | None
    speed: dict[str, Any] | None
    profiled: tuple[int, ...]  # the first batch and the last one, or one of them
    grad_process: str  # pcgrad, or nothing
    loss_mean: str  # GLOBAL_BATCH or LOCAL_BATCH

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Settings":
        """From the fields of train_config. Raises ConfigError when an optimizer is missing."""
        clipping = fields["grad_clipping"] or {}
        by_epochs = fields["save_checkpoints_epochs"]
        steps = fields["num_steps"]
        return cls(
            sparse=Learning.of(fields["sparse_optimizer"], "train_config.sparse_optimizer"),
            dense=Learning.of(fields["dense_optimizer"], "train_config.dense_optimizer"),
            num_steps=steps,
            num_epochs=fields["num_epochs"] or (None if steps else 1),
            save_steps=None if by_epochs else fields["save_checkpoints_steps"],
            save_epochs=by_epochs,
            log_every=fields["log_step_count_steps"],
            keep=fields["keep_checkpoint_max"],
            accumulation=fields["gradient_accumulation_steps"],
            clipping=Choice(clipping.get("clipping_type", "none"), clipping),
            precision=fields["mixed_precision"],
            scaler=fields["grad_scaler"],
            speed=fields["train_speed_logger"],
            profiled=(fields["tensorboard"] or {}).get("profile_batch", ()),
            grad_process=fields["grad_process"],
            loss_mean=fields["loss_mean"],
        )
