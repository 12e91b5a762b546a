"""``train_config``: how long, how often, and with which gradients."""

from collections.abc import Iterator

from tzmmoe.config.rulebook import Rules
from tzmmoe.config.rules.values import above, at_least
from tzmmoe.errors import Faults
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.protos.train_pb2 import REPLICATED, TrainConfig

PATH = "train_config"
COUNTS = (
    *("num_steps", "num_epochs", "num_samples", "num_val_samples"),
    *("save_checkpoints_steps", "save_checkpoints_epochs"),
    *("log_step_count_steps", "gradient_accumulation_steps"),
)
EITHER = (("num_steps", "num_epochs"), ("save_checkpoints_steps", "save_checkpoints_epochs"))


def check(pipeline: Pipeline, faults: Faults) -> None:
    config = pipeline.train_config
    at_least(1, config, PATH, COUNTS, faults)
    for one, other in EITHER:
        if config.HasField(one) and config.HasField(other):
            faults.add(f"{PATH}.{one}", f"and {other} are both set; keep one")
    if config.mixed_precision not in ("", "BF16", "FP16"):
        faults.add(f"{PATH}.mixed_precision", f"is {config.mixed_precision!r}; give BF16 or FP16")
    if config.grad_process not in ("", "pcgrad"):
        words = f"is {config.grad_process!r}; give 'pcgrad', or remove it"
        faults.add(f"{PATH}.grad_process", words)
    _gradients(config, faults)
    _reports(config, faults)
    if config.fine_tune_ckpt_param_map and not config.fine_tune_checkpoint:
        words = "has no effect without fine_tune_checkpoint; set that, or remove this"
        faults.add(f"{PATH}.fine_tune_ckpt_param_map", words)
    stopping = config.early_stopping
    if stopping.mode not in ("auto", "min", "max"):
        faults.add(f"{PATH}.early_stopping.mode", f"is {stopping.mode!r}; give auto, min or max")
    if stopping.min_delta < 0:
        words = f"is {stopping.min_delta:g}; give 0 or more"
        faults.add(f"{PATH}.early_stopping.min_delta", words)


def _gradients(config: TrainConfig, faults: Faults) -> None:
    clipping, scaler, path = config.grad_clipping, config.grad_scaler, f"{PATH}.grad_scaler"
    if config.HasField("grad_scaler") and config.mixed_precision != "FP16":
        words = 'has no effect without mixed_precision: "FP16"; set that, or remove this'
        faults.add(path, words)
    above(0, scaler, path, ["init_scale"], faults)
    above(1, scaler, path, ["growth_factor"], faults)
    at_least(1, scaler, path, ["growth_interval"], faults)
    if not 0 < scaler.backoff_factor < 1:
        words = f"is {scaler.backoff_factor:g}; give more than 0 and less than 1"
        faults.add(f"{path}.backoff_factor", words)
    path = f"{PATH}.grad_clipping"
    if clipping.clipping_type not in ("none", "norm", "value"):
        words = f"is {clipping.clipping_type!r}; give norm, value or none"
        faults.add(f"{path}.clipping_type", words)
    above(0, clipping, path, ["max_gradient"], faults)
    if not clipping.norm_type > 0:  # infinity is the largest number
        faults.add(f"{path}.norm_type", f"is {clipping.norm_type:g}; give a number above 0")


def _reports(config: TrainConfig, faults: Faults) -> None:
    """Settings that report on the training without changing it."""
    at_least(1, config.train_speed_logger, f"{PATH}.train_speed_logger", ["every_batches"], faults)
    window = list(config.tensorboard.profile_batch)
    path = f"{PATH}.tensorboard.profile_batch"
    if len(window) > 2:
        words = f"has {len(window)} numbers; give the first batch and the last, or only one"
        faults.add(path, words)
    elif len(window) == 2 and not 1 <= window[0] <= window[1]:
        words = "give the first batch, counted from 1, and then the last, not before it"
        faults.add(path, f"is {window}; {words}")


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
        where = "no effect with table_placement: REPLICATED"
        yield f"{PATH}.global_embedding_constraints has {where}"
    if config.HasField("tensorboard") and not config.tensorboard.profile_batch:
        yield f"{PATH}.tensorboard has no effect without profile_batch"
    if config.gradient_accumulation_steps > 1:
        yield (
            f"{PATH}.gradient_accumulation_steps acts on the dense part; tables step on every batch"
        )
    if config.HasField("num_val_samples") and not pipeline.eval_input_path:
        yield f"{PATH}.num_val_samples has no effect without eval_input_path"


RULES = Rules(check=check, notes=notes)
