"""``model_config``: the choice of a model, and the towers of any model."""

from collections.abc import Iterator

from tzmmoe.config.rulebook import Rules
from tzmmoe.config.rules.values import OWN_NAME, at_least, defined, unique
from tzmmoe.config.walk import (
    Tower,
    further_labels,
    missing_towers,
    name_towers,
    task_towers,
    tower_fields,
)
from tzmmoe.errors import Faults, few
from tzmmoe.protos.data_pb2 import DataConfig
from tzmmoe.protos.model_pb2 import ModelConfig
from tzmmoe.protos.pipeline_pb2 import Pipeline


def rewrite(pipeline: Pipeline, faults: Faults) -> dict[str, str]:
    name_towers(pipeline.model_config)
    return {}


def check(pipeline: Pipeline, faults: Faults) -> None:
    model, data = pipeline.model_config, pipeline.data_config
    at_least(0, model, "model_config", ["embedding_regularization"], faults)
    if model.WhichOneof("model") is None:
        models = ModelConfig.DESCRIPTOR.oneofs_by_name["model"].fields
        forms = " or ".join(f"{field.name} {{ ... }}" for field in models)
        faults.add("model_config", f"has no model; give {forms}")
        return
    if missing := list(missing_towers(model)):
        for path, words in missing:
            faults.add(path, words)
        return
    towers, whole = task_towers(model), _path(model)
    unique([tower.tower_name for _, tower in towers], whole, faults, OWN_NAME)
    unnamed = [path for path, tower in towers if not tower.label_name]
    if 0 < len(unnamed) < len(towers):
        words = "is not set, but other towers have one; name a label of data_config.label_fields"
        faults.add(f"{unnamed[0]}.label_name", words)
    if len(unnamed) == len(towers) != len(data.label_fields):
        faults.add(
            whole,
            f"has {len(towers)} towers without label_name, which cannot be bound in order to "
            f"{len(data.label_fields)} label_fields; set label_name",
        )
    for path, tower in towers:
        _tower(path, tower, data, faults)
    for path, label in further_labels(model):
        defined(label, data.label_fields, path, "data_config.label_fields", faults)


def _path(model: ModelConfig) -> str:
    """The path of the towers as a whole: their field, or the model if it has several such."""
    word = model.WhichOneof("model")
    path, fields = f"model_config.{word}", tower_fields(getattr(model, word).DESCRIPTOR)
    return f"{path}.{fields[0].name}" if len(fields) == 1 else path


def _tower(path: str, tower: Tower, data: DataConfig, faults: Faults) -> None:
    if not tower.tower_name:
        faults.add(f"{path}.tower_name", "is not set; give the task a name")
    columns = {
        "label_name": "label_fields",
        "sample_weight_name": "sample_weight_fields",
        "task_space_indicator_label": "label_fields",
    }
    for name, fields in columns.items():
        if column := getattr(tower, name):
            names, place = getattr(data, fields), f"data_config.{fields}"
            defined(column, names, f"{path}.{name}", place, faults)
    indicator = tower.task_space_indicator_label
    spaces = ("in_task_space_weight", "out_task_space_weight")
    at_least(0, tower, path, ["weight", *spaces], faults)
    for name in spaces if not indicator else ():
        if tower.HasField(name):
            words = "has no effect without task_space_indicator_label; set that, or remove this"
            faults.add(f"{path}.{name}", words)
    if indicator and tower.in_task_space_weight == tower.out_task_space_weight == 0:
        words = "is 0, and so is out_task_space_weight, so no row counts; raise one"
        faults.add(f"{path}.in_task_space_weight", words)
    at_least(1, tower, path, ["num_class"], faults)


def notes(pipeline: Pipeline) -> Iterator[str]:
    towers, data = task_towers(pipeline.model_config), pipeline.data_config
    weights = {tower.sample_weight_name for _, tower in towers}
    unused = [name for name in data.sample_weight_fields if name not in weights]
    if unused:
        yield f"no tower uses these sample_weight_fields: {few(unused)}"
    labels = {tower.label_name for _, tower in towers}
    read = labels | {tower.task_space_indicator_label for _, tower in towers}
    read |= {label for _, label in further_labels(pipeline.model_config)}
    spare = [name for name in data.label_fields if name not in read]
    if any(labels) and spare:
        yield f"no tower uses these label_fields: {few(spare)}"
    for path, tower in towers:
        if tower.weight == 0:
            yield f"{path}.weight is 0: the task {tower.tower_name!r} is not learned"
        for metric in tower.metrics:
            if metric.accuracy.top_k > 1 and metric.accuracy.top_k >= tower.num_class:
                classes = "class" if tower.num_class == 1 else "classes"
                count = f"{tower.num_class} {classes}"
                yield f"{path}.metrics: accuracy.top_k says nothing about {count}"


RULES = Rules(rewrite, check, notes)
