"""Settings that have no effect, one line each. They are no faults: the run is what they wanted."""

from collections.abc import Iterator, Sequence

from google.protobuf.message import Message

from tzmmoe.config.check import features
from tzmmoe.config.dialects.torcheasyrec import messages
from tzmmoe.config.towers import further_labels, task_towers
from tzmmoe.errors import few
from tzmmoe.models.mmoe_v2 import rules
from tzmmoe.protos.data_pb2 import FG_BUCKETIZE, FG_DAG, FG_NONE, FG_NORMAL, FgMode
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.protos.train_pb2 import REPLICATED

# fg_mode: settings of features that it does not read.
UNREAD = {
    FG_NONE: ("expression", "default_value", "separator", "normalizer"),
    FG_BUCKETIZE: ("expression", "normalizer", "fg_encoded_default_value"),
    FG_NORMAL: ("fg_encoded_default_value",),
    FG_DAG: ("fg_encoded_default_value",),
}
OF_A_TABLE = ("embedding_name", "init_fn", "pooling", "trainable", "embedding_constraints")


def notes(pipeline: Pipeline) -> list[str]:
    """One line for each setting, or kind of setting, that changes nothing."""
    return [
        *_data(pipeline),
        *_features(pipeline),
        *_towers(pipeline),
        *_training(pipeline),
        *_evaluation(pipeline),
        *_layers(pipeline),
        *rules.notes(pipeline.model_config),
    ]


def _data(pipeline: Pipeline) -> Iterator[str]:
    config = pipeline.data_config
    if config.HasField("odps_data_quota_name"):
        yield "data_config.odps_data_quota_name has no effect: MaxCompute is not read"
    if config.HasField("fg_threads"):
        yield "data_config.fg_threads has no effect: num_workers does that work"
    if config.HasField("shuffle_buffer_size") and not config.shuffle:
        yield "data_config.shuffle_buffer_size has no effect without shuffle: true"
    if config.HasField("fg_encoded_multival_sep") and config.fg_mode != FG_NONE:
        yield "data_config.fg_encoded_multival_sep has no effect outside fg_mode: FG_NONE"
    masked = [f.feature_name for _, word, f in features(pipeline) if word and f.use_mask]
    if config.sample_mask_prob and not masked:
        yield "data_config.sample_mask_prob has no effect: no feature sets use_mask"
    if masked and not config.sample_mask_prob:
        yield f"use_mask of {few(masked)} has no effect without data_config.sample_mask_prob"
    if pipeline.eval_config.reserved_columns and not pipeline.eval_config.predictions_path:
        yield "eval_config.reserved_columns has no effect without predictions_path"


def _features(pipeline: Pipeline) -> Iterator[str]:
    mode = pipeline.data_config.fg_mode
    unread: dict[str, list[str]] = {}
    for _, word, feature in features(pipeline):
        for name in _set(feature, UNREAD[mode]) if word else ():
            if name != "expression" or _column(feature.expression) != feature.feature_name:
                unread.setdefault(name, []).append(feature.feature_name)
        if word == "raw_feature" and not feature.boundaries:
            for name in _set(feature, OF_A_TABLE):
                yield f"{name} of {feature.feature_name} has no effect without boundaries"
        if word == "id_feature" and mode != FG_NONE and not feature.num_buckets:
            for name in _set(feature, ["out_of_range"]):
                yield f"{name} of {feature.feature_name} has no effect without num_buckets"
    for name, owners in unread.items():
        yield f"{name} of {few(owners)} has no effect under fg_mode: {FgMode.Name(mode)}"


def _column(expression: str) -> str:
    return expression.rpartition(":")[2]


def _towers(pipeline: Pipeline) -> Iterator[str]:
    placed = task_towers(pipeline.model_config)
    towers = [tower for _, tower in placed]
    weights = {tower.sample_weight_name for tower in towers}
    unused = [name for name in pipeline.data_config.sample_weight_fields if name not in weights]
    if unused:
        yield f"no tower uses these sample_weight_fields: {few(unused)}"
    labels = {tower.label_name for tower in towers}
    labels |= {tower.task_space_indicator_label for tower in towers}
    labels |= {label for _, label in further_labels(pipeline.model_config)}
    spare = [name for name in pipeline.data_config.label_fields if name not in labels]
    if any(tower.label_name for tower in towers) and spare:
        yield f"no tower uses these label_fields: {few(spare)}"
    for path, tower in placed:
        if tower.weight == 0:
            yield f"{path}.weight is 0: the task {tower.tower_name!r} is not learned"


def _training(pipeline: Pipeline) -> Iterator[str]:
    config = pipeline.train_config
    clipping = config.grad_clipping
    if config.HasField("grad_clipping") and clipping.clipping_type == "none":
        yield 'train_config.grad_clipping has no effect; set clipping_type: "norm" or "value"'
    elif config.HasField("grad_clipping"):
        yield "train_config.grad_clipping acts on the dense part; tables have gradient_clipping"
        if clipping.clipping_type == "value" and clipping.HasField("norm_type"):
            yield 'train_config.grad_clipping.norm_type has no effect with clipping_type: "value"'
    sgd, rowwise = (
        config.dense_optimizer.sgd_optimizer,
        config.sparse_optimizer.rowwise_adagrad_optimizer,
    )
    if sgd.dampening and not sgd.momentum:
        yield "train_config.dense_optimizer: dampening has no effect without momentum"
    if rowwise.weight_decay_mode and not rowwise.weight_decay:
        yield "train_config.sparse_optimizer: weight_decay_mode has no effect without weight_decay"
    if config.table_placement == REPLICATED:
        yield from _constraints(pipeline)
    if config.HasField("tensorboard") and not config.tensorboard.profile_batch:
        yield "train_config.tensorboard has no effect without profile_batch"
    if config.gradient_accumulation_steps > 1:
        yield (
            "train_config.gradient_accumulation_steps acts on the dense part; tables step on "
            "every batch"
        )


def _constraints(pipeline: Pipeline) -> Iterator[str]:
    """Of tables that no constraint can move."""
    where = "no effect with table_placement: REPLICATED"
    own = ["embedding_constraints"]
    owners = [f.feature_name for _, word, f in features(pipeline) if word and _set(f, own)]
    if owners:
        yield f"embedding_constraints of {few(owners)} have {where}"
    if pipeline.train_config.HasField("global_embedding_constraints"):
        yield f"train_config.global_embedding_constraints has {where}"


def _evaluation(pipeline: Pipeline) -> Iterator[str]:
    if not pipeline.eval_input_path:
        for owner, name in (
            ("export_config", "best_exporter_metric"),
            ("train_config", "num_val_samples"),
        ):
            if getattr(pipeline, owner).HasField(name):
                yield f"{owner}.{name} has no effect without eval_input_path"
    if not (pipeline.eval_input_path or pipeline.test_input_path):
        config = pipeline.eval_config
        for name in ("num_steps", "predictions_path", "batch_size", "output_file"):
            if config.HasField(name):
                yield f"eval_config.{name} has no effect without eval_input_path"
        if config.task_metrics:
            yield "eval_config.task_metrics has no effect without eval_input_path"
    for path, tower in task_towers(pipeline.model_config):
        for metric in tower.metrics:
            if metric.accuracy.top_k > 1 and metric.accuracy.top_k >= tower.num_class:
                classes = "class" if tower.num_class == 1 else "classes"
                found = f"{tower.num_class} {classes}"
                yield f"{path}.metrics: accuracy.top_k says nothing about {found}"


def _layers(pipeline: Pipeline) -> Iterator[str]:
    for path, message in messages(pipeline):
        if message.DESCRIPTOR.name == "MLP" and message.use_bn and message.HasField("bias"):
            yield f"{path}.bias has no effect with use_bn"


def _set(message: Message, names: Sequence[str]) -> list[str]:
    known = message.DESCRIPTOR.fields_by_name
    return [name for name in names if name in known and message.HasField(name)]
