"""What is required, what refers to what, and the ranges of settings that become no object.

Settings of a layer, loss, metric, feature or optimizer are checked where it is made.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tzmmoe.config import duration
from tzmmoe.config.dialects.torcheasyrec import messages
from tzmmoe.config.towers import (
    Tower,
    further_labels,
    missing_towers,
    task_towers,
    tower_fields,
)
from tzmmoe.errors import Faults, did_you_mean, join
from tzmmoe.models.mmoe_v2 import rules
from tzmmoe.protos.data_pb2 import DataConfig
from tzmmoe.protos.feature_pb2 import FeatureConfig
from tzmmoe.protos.model_pb2 import ModelConfig
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.protos.train_pb2 import TrainConfig

REAL = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)
MOST_WORKERS = 1024  # threads


def check(pipeline: Pipeline, faults: Faults) -> None:
    """Collect the faults of a canonical pipeline."""
    _data(pipeline.data_config, faults)
    _features(pipeline, faults)
    _groups(pipeline, faults)
    _model(pipeline, faults)
    _train(pipeline.train_config, faults)
    if pipeline.export_config.exporter_type not in ("latest", "best"):
        faults.add(
            "export_config.exporter_type",
            f"is {pipeline.export_config.exporter_type!r}; give 'latest' or 'best'",
        )
    for name in ("num_steps", "batch_size"):
        if pipeline.eval_config.HasField(name):
            _at_least(1, pipeline.eval_config, "eval_config", [name], faults)
    _at_least(1, pipeline.eval_config, "eval_config", ["log_step_count_steps"], faults)
    _at_least(0, pipeline.runtime_config, "runtime_config", ["seed"], faults)
    for name in ("timeout", "collective_timeout"):
        if pipeline.runtime_config.HasField(name):
            with faults.under(f"runtime_config.{name}"):
                duration.seconds(getattr(pipeline.runtime_config, name))
    _finite(pipeline, faults)


def _finite(pipeline: Pipeline, faults: Faults) -> None:
    """No number of the schema may be NaN or infinite, but the order of a norm."""
    for path, message in messages(pipeline):
        for field, value in message.ListFields():
            if field.cpp_type not in REAL or field.name == "norm_type":
                continue
            for number in value if field.is_repeated else [value]:
                if not math.isfinite(number):
                    faults.add(join(path, field.name), f"is {number}; give a finite number")


def _data(config: DataConfig, faults: Faults) -> None:
    path = "data_config"
    _at_least(1, config, path, ["batch_size", "shuffle_buffer_size"], faults)
    if config.HasField("eval_batch_size"):
        _at_least(1, config, path, ["eval_batch_size"], faults)
    if config.num_workers > MOST_WORKERS:
        words = f"is {config.num_workers:,}; give 0 to {MOST_WORKERS:,}, about as many as cores"
        faults.add(f"{path}.num_workers", words)
    if not config.label_fields:
        faults.add(f"{path}.label_fields", "is empty; name the label columns")
    _unique(config.label_fields, f"{path}.label_fields", faults)
    _unique(config.sample_weight_fields, f"{path}.sample_weight_fields", faults)
    _unique([field.input_name for field in config.input_fields], f"{path}.input_fields", faults)
    for index, field in enumerate(config.input_fields):
        if not field.input_name:
            faults.add(f"{path}.input_fields[{index}].input_name", "is not set; name the column")
    if words := delimiter_fault(config.delimiter):
        faults.add(f"{path}.delimiter", words)
    if not config.fg_encoded_multival_sep:
        words = "is empty; give the text between two values"
        faults.add(f"{path}.fg_encoded_multival_sep", words)
    if not 0 <= config.sample_mask_prob < 1:
        faults.add(f"{path}.sample_mask_prob", f"is {config.sample_mask_prob:g}; give 0 to < 1")


def delimiter_fault(delimiter: str) -> str:
    """What keeps a text from standing between the columns of CSV files; ``""`` for nothing."""
    if len(delimiter) == 1 and delimiter.isascii() and delimiter not in '\0\n\r"':
        return ""
    return f"is {delimiter!r}; give one ASCII character, but no quote, line end or NUL"


def _features(pipeline: Pipeline, faults: Faults) -> None:
    if not pipeline.feature_configs:
        faults.add("feature_configs", "is empty; describe the features")
    for path, word, _ in features(pipeline):
        if word is None:
            words = [field.name for field in FeatureConfig.DESCRIPTOR.fields]
            faults.add(path, f"is empty; choose {' or '.join(words)}")
    names = [feature.feature_name for _, word, feature in features(pipeline) if word]
    _unique(names, "feature_configs", faults)
    for path, word, feature in features(pipeline):
        if word and not feature.feature_name:
            faults.add(f"{path}.{word}.feature_name", "is not set; give the feature a name")


def features(pipeline: Pipeline) -> Iterator[tuple[str, str | None, FeatureConfig]]:
    """Path, word and message of each feature; the word is None when nothing is chosen."""
    for index, config in enumerate(pipeline.feature_configs):
        word = config.WhichOneof("feature")
        yield f"feature_configs[{index}]", word, getattr(config, word) if word else config


def _groups(pipeline: Pipeline, faults: Faults) -> None:
    known = {feature.feature_name for _, word, feature in features(pipeline) if word}
    groups = pipeline.model_config.feature_groups
    if not groups:
        faults.add("model_config.feature_groups", "is empty; give one group of features")
    _unique([group.group_name for group in groups], "model_config.feature_groups", faults)
    for index, group in enumerate(groups):
        path = f"model_config.feature_groups[{index}]"
        if not group.group_name:
            faults.add(f"{path}.group_name", "is not set; give the group a name")
        if not group.feature_names:
            faults.add(f"{path}.feature_names", "is empty; name the group's features")
        _unique(group.feature_names, f"{path}.feature_names", faults)
        for number, name in enumerate(group.feature_names):
            _known(name, known, f"{path}.feature_names[{number}]", "feature_configs", faults)


def _model(pipeline: Pipeline, faults: Faults) -> None:
    model = pipeline.model_config
    word = model.WhichOneof("model")
    if word is None:
        models = ModelConfig.DESCRIPTOR.oneofs_by_name["model"].fields
        forms = " or ".join(f"{field.name} {{ ... }}" for field in models)
        faults.add("model_config", f"has no model; give {forms}")
        return
    if lacking := list(missing_towers(model)):
        for place, words in lacking:
            faults.add(place, words)
        return
    path, data = f"model_config.{word}", pipeline.data_config
    fields = tower_fields(getattr(model, word).DESCRIPTOR)
    path = f"{path}.{fields[0].name}" if len(fields) == 1 else path
    towers = task_towers(model)
    _unique([tower.tower_name for _, tower in towers], path, faults)
    named = [bool(tower.label_name) for _, tower in towers]
    if any(named) and not all(named):
        place, _ = towers[named.index(False)]
        words = "is not set, but other towers set theirs; name a label of data_config.label_fields"
        faults.add(f"{place}.label_name", words)
    if not any(named) and len(towers) != len(data.label_fields):
        faults.add(
            path,
            f"no tower has a label_name, and {len(towers)} towers cannot take "
            f"{len(data.label_fields)} label_fields in order; set label_name",
        )
    for place, tower in towers:
        _tower(place, tower, data, faults)
    for place, label in further_labels(model):
        _known(label, data.label_fields, place, "data_config.label_fields", faults)
    rules.check(pipeline.model_config, faults)


def _tower(path: str, tower: Tower, data: DataConfig, faults: Faults) -> None:
    if not tower.tower_name:
        faults.add(f"{path}.tower_name", "is not set; give the task a name")
    labels, weights = data.label_fields, data.sample_weight_fields
    if tower.label_name:
        _known(tower.label_name, labels, f"{path}.label_name", "data_config.label_fields", faults)
    if tower.sample_weight_name:
        where = f"{path}.sample_weight_name"
        _known(tower.sample_weight_name, weights, where, "data_config.sample_weight_fields", faults)
    indicator = tower.task_space_indicator_label
    if indicator:
        where = f"{path}.task_space_indicator_label"
        _known(indicator, labels, where, "data_config.label_fields", faults)
    for name in ("weight", "in_task_space_weight", "out_task_space_weight"):
        value = getattr(tower, name)
        if value < 0:
            faults.add(f"{path}.{name}", f"is {value:g}; give 0 or more")
        if name != "weight" and tower.HasField(name) and not indicator:
            words = "has no effect without task_space_indicator_label; set that, or remove this"
            faults.add(f"{path}.{name}", words)
    if indicator and tower.in_task_space_weight == tower.out_task_space_weight == 0:
        words = "and out_task_space_weight are both 0, so that no row counts; raise one"
        faults.add(f"{path}.in_task_space_weight", words)
    _at_least(1, tower, path, ["num_class"], faults)


def _train(config: TrainConfig, faults: Faults) -> None:
    path = "train_config"
    if config.HasField("num_steps") and config.HasField("num_epochs"):
        faults.add(f"{path}.num_steps", "and num_epochs are both set; keep one")
    for name in ("num_steps", "num_epochs", "num_samples", "num_val_samples"):
        if config.HasField(name):
            _at_least(1, config, path, [name], faults)
    both = ("save_checkpoints_steps", "save_checkpoints_epochs")
    if all(config.HasField(name) for name in both):
        faults.add(f"{path}.save_checkpoints_steps", f"and {both[1]} are both set; keep one")
    for name in both:
        if config.HasField(name):
            _at_least(1, config, path, [name], faults)
    counts = ["log_step_count_steps", "gradient_accumulation_steps"]
    _at_least(1, config, path, counts, faults)
    if config.mixed_precision not in ("", "BF16", "FP16"):
        faults.add(f"{path}.mixed_precision", f"is {config.mixed_precision!r}; give BF16 or FP16")
    if config.grad_process not in ("", "pcgrad"):
        words = f"is {config.grad_process!r}; give 'pcgrad', or remove it"
        faults.add(f"{path}.grad_process", words)
    _gradients(config, path, faults)
    _looking_on(config, path, faults)
    if config.fine_tune_ckpt_param_map and not config.fine_tune_checkpoint:
        words = "has no effect without fine_tune_checkpoint; set that, or remove this"
        faults.add(f"{path}.fine_tune_ckpt_param_map", words)
    stopping = config.early_stopping
    if stopping.mode not in ("auto", "min", "max"):
        faults.add(f"{path}.early_stopping.mode", f"is {stopping.mode!r}; give auto, min or max")
    if stopping.min_delta < 0:
        words = f"is {stopping.min_delta:g}; give 0 or more"
        faults.add(f"{path}.early_stopping.min_delta", words)


def _looking_on(config: TrainConfig, path: str, faults: Faults) -> None:
    """What tells of the training without changing it."""
    speed = config.train_speed_logger
    _at_least(1, speed, f"{path}.train_speed_logger", ["every_batches"], faults)
    window = list(config.tensorboard.profile_batch)
    path = f"{path}.tensorboard.profile_batch"
    if len(window) > 2:
        words = f"has {len(window)} numbers; give the first batch and the last, or only one"
        faults.add(path, words)
    elif len(window) == 2 and not 1 <= window[0] <= window[1]:
        words = "give the first batch, counted from 1, and then the last, not before it"
        faults.add(path, f"is {window}; {words}")


def _gradients(config: TrainConfig, path: str, faults: Faults) -> None:
    clipping, scaler = config.grad_clipping, config.grad_scaler
    if config.HasField("grad_scaler") and config.mixed_precision != "FP16":
        words = 'has no effect without mixed_precision: "FP16"; set that, or remove this'
        faults.add(f"{path}.grad_scaler", words)
    _above(0, scaler, f"{path}.grad_scaler", ["init_scale"], faults)
    _above(1, scaler, f"{path}.grad_scaler", ["growth_factor"], faults)
    _at_least(1, scaler, f"{path}.grad_scaler", ["growth_interval"], faults)
    if not 0 < scaler.backoff_factor < 1:
        words = f"is {scaler.backoff_factor:g}; give more than 0 and less than 1"
        faults.add(f"{path}.grad_scaler.backoff_factor", words)
    path = f"{path}.grad_clipping"
    if clipping.clipping_type not in ("none", "norm", "value"):
        words = f"is {clipping.clipping_type!r}; give norm, value or none"
        faults.add(f"{path}.clipping_type", words)
    _above(0, clipping, path, ["max_gradient"], faults)
    if not clipping.norm_type > 0:  # infinity is the largest number
        faults.add(f"{path}.norm_type", f"is {clipping.norm_type:g}; give a number above 0")


def _at_least(least: int, config: Message, path: str, names: Iterable[str], faults: Faults) -> None:
    for name in names:
        if getattr(config, name) < least:
            faults.add(f"{path}.{name}", f"is {getattr(config, name)}; give {least} or more")


def _above(bound: float, config: Message, path: str, names: Iterable[str], faults: Faults) -> None:
    for name in names:
        value = getattr(config, name)
        if value <= bound:
            faults.add(f"{path}.{name}", f"is {value:g}; give a number above {bound:g}")


def _unique(names: Iterable[str], path: str, faults: Faults) -> None:
    for name, count in Counter(filter(None, names)).items():
        if count > 1:
            faults.add(path, f"{name!r} is there {count} times; each name may be there once")


def _known(name: str, known: Iterable[str], path: str, place: str, faults: Faults) -> None:
    if name not in known:
        faults.add(path, f"{name!r} is not in {place}{did_you_mean(name, known)}")
