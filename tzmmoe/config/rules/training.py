"""``train_config``: how long, how often, and with which gradients."""

from collections.abc import Iterator

from tzmmoe.config.rulebook import Rules
from tzmmoe.config.rules.data import evaluates
from tzmmoe.config.rules.values import above, at_least, one_of
from tzmmoe.errors import Faults, exactly
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.protos.train_pb2 import REPLICATED, TrainConfig

PATH = "train_config"
COUNTS = (
    *("num_steps", "num_epochs", "num_samples", "num_val_samples"),
    *("save_checkpoints_steps", "save_checkpoints_epochs"),
    *("log_step_count_steps", "gradient_accumulation_steps"),
)


def check(pipeline: Pipeline, faults: Faults) -> None:
    config = pipeline.train_config
    at_least(1, config, PATH, COUNTS, faults)
    one, other = "save_checkpoints_steps", "save_checkpoints_epochs"
    if config.HasField(one) and config.HasField(other):
        faults.add(f"{PATH}.{one}", f"is set, and so is {other}; keep one")
    one_of(("", "BF16", "FP16"), config, PATH, "mixed_precision", faults)
    one_of(("", "pcgrad"), config, PATH, "grad_process", faults)
    _gradients(config, faults)
    _reports(config, faults)
    if config.fine_tune_ckpt_param_map and not config.fine_tune_checkpoint:
        words = "has no effect without fine_tune_checkpoint; set that, or remove this"
        faults.add(f"{PATH}.fine_tune_ckpt_param_map", words)
    if config.partial_restore and not config.fine_tune_checkpoint:
        words = "has no effect without fine_tune_checkpoint; set that, or remove this"
        faults.add(f"{PATH}.partial_restore", words)
    if config.partial_restore and config.fine_tune_ckpt_param_map:
        words = "is set, and so is fine_tune_ckpt_param_map, which says what to take; keep one"
        faults.add(f"{PATH}.partial_restore", words)
    if config.HasField("ema") and not 0 < config.ema.decay < 1:
        words = f"is {exactly(config.ema.decay)}; give more than 0 and less than 1, such as 0.999"
        faults.add(f"{PATH}.ema.decay", words)
    stopping, path = config.early_stopping, f"{PATH}.early_stopping"
    one_of(("auto", "min", "max"), stopping, path, "mode", faults)
    at_least(0, stopping, path, ["min_delta"], faults)


def _gradients(config: TrainConfig, faults: Faults) -> None:
    clipping, scaler, path = config.grad_clipping, config.grad_scaler, f"{PATH}.grad_scaler"
    if config.HasField("grad_scaler") and config.mixed_precision != "FP16":
        words = 'has no effect without mixed_precision: "FP16"; set that, or remove this'
        faults.add(path, words)
    above(0, scaler, path, ["init_scale"], faults)
    above(1, scaler, path, ["growth_factor"], faults)
    at_least(1, scaler, path, ["growth_interval"], faults)
    if not 0 < scaler.backoff_factor < 1:
        words = f"is {exactly(scaler.backoff_factor)}; give more than 0 and less than 1"
        faults.add(f"{path}.backoff_factor", words)
    path = f"{PATH}.grad_clipping"
    one_of(("norm", "value", "none"), clipping, path, "clipping_type", faults)
    above(0, clipping, path, ["max_gradient"], faults)
    if not clipping.norm_type > 0:  # NaN is not; infinity is the norm of the largest component
        faults.add(f"{path}.norm_type", f"is {exactly(clipping.norm_type)}; give a number above 0")


def _reports(config: TrainConfig, faults: Faults) -> None:
    """Settings that report on the training without changing it."""
    at_least(1, config.train_speed_logger, f"{PATH}.train_speed_logger", ["every_batches"], faults)
    window = list(config.tensorboard.profile_batch)
    path = f"{PATH}.tensorboard.profile_batch"
    if len(window) > 2:
        words = f"has {len(window)} numbers; give the first batch and the last, or only one"
        faults.add(path, words)
    elif len(window) == 2 and not 1 <= window[0] <= window[1]:
        words = f"is {window}; give the first batch, counted from 1, and a last one not before it"
        faults.add(path, words)


def notes(pipeline: Pipeline) -> Iterator[str]:
    config = pipeline.train_config
    clipping = config.grad_clipping
    if config.HasField("grad_clipping") and clipping.clipping_type == "none":
        yield f'{PATH}.grad_clipping has no effect; set clipping_type: "norm" or "value"'
    elif config.HasField("grad_clipping"):
        yield f"{PATH}.grad_clipping acts on the dense part; tables have gradient_clipping"
        if clipping.clipping_type == "value" and clipping.HasField("norm_type"):
            yield f'{PATH}.grad_clipping.norm_type has no effect with clipping_type: "value"'
    sgd = config.dense_optimizer.sgd_optimizer
    if sgd.dampening and not sgd.momentum:
        yield f"{PATH}.dense_optimizer: dampening has no effect without momentum"
    rowwise = config.sparse_optimizer.rowwise_adagrad_optimizer
    if rowwise.weight_decay_mode and not rowwise.weight_decay:
        yield f"{PATH}.sparse_optimizer: weight_decay_mode has no effect without weight_decay"
    if config.table_placement == REPLICATED and config.HasField("global_embedding_constraints"):
        name = f"{PATH}.global_embedding_constraints"
        yield f"{name} has no effect with table_placement: REPLICATED"
    if config.HasField("tensorboard") and not config.tensorboard.profile_batch:
        yield f"{PATH}.tensorboard has no effect without profile_batch"
    if config.gradient_accumulation_steps > 1:
        name = f"{PATH}.gradient_accumulation_steps"
        yield f"{name} acts on the dense part; tables are updated on every batch"
    if config.HasField("num_val_samples") and not evaluates(pipeline):
        yield f"{PATH}.num_val_samples has no effect without eval_input_path"


RULES = Rules(check=check, notes=notes)
