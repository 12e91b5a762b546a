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
from tzmmoe.protos.model_pb2 import LossWeightStrategy, ModelConfig, Random, Uncertainty
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
    _check_learned_weights(model, faults)
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
    has_space = bool(indicator or tower.task_space_indicator_name)
    for name in spaces if not has_space else ():
        if tower.HasField(name):
            words = "has no effect without task_space_indicator_label; set that, or remove this"
            faults.add(f"{path}.{name}", words)
    _check_named_space(path, tower, faults)
    if has_space and tower.in_task_space_weight == tower.out_task_space_weight == 0:
        words = "is 0, and so is out_task_space_weight, so no row counts; raise one"
        faults.add(f"{path}.in_task_space_weight", words)
    at_least(1, tower, path, ["num_class"], faults)
    for index, loss in enumerate(tower.losses):
        at_least(0, loss, f"{path}.losses[{index}]", ["weight"], faults)


def _check_named_space(path: str, tower: Tower, faults: Faults) -> None:
    """A task space by name needs a value too, and excludes a label."""
    name, value = "task_space_indicator_name", "task_space_indicator_value"
    for field, other in ((name, value), (value, name)):
        if getattr(tower, field) and not getattr(tower, other):
            words = f"is {getattr(tower, field)!r}, but {other} is not set; set both"
            faults.add(f"{path}.{field}", words)
    if tower.task_space_indicator_name and tower.task_space_indicator_label:
        words = f"is {tower.task_space_indicator_name!r}, beside task_space_indicator_label"
        faults.add(f"{path}.{name}", f"{words} {tower.task_space_indicator_label!r}; remove one")


def _check_learned_weights(model: ModelConfig, faults: Faults) -> None:
    """``learn_loss_weight`` needs the strategy Uncertainty."""
    if model.loss_weight_strategy == Uncertainty:
        return
    strategy = LossWeightStrategy.Name(model.loss_weight_strategy)
    for path, tower in task_towers(model):
        for index, loss in enumerate(tower.losses):
            if loss.learn_loss_weight:
                words = f"is true, but model_config.loss_weight_strategy is {strategy}"
                remedy = "set that to Uncertainty, or remove this"
                faults.add(f"{path}.losses[{index}].learn_loss_weight", f"{words}; {remedy}")


def notes(pipeline: Pipeline) -> Iterator[str]:
    towers, data = task_towers(pipeline.model_config), pipeline.data_config
    weights = {tower.sample_weight_name for _, tower in towers if tower.use_sample_weight}
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
        yield from _weight_notes(path, tower, pipeline.model_config.loss_weight_strategy)
        if not tower.use_sample_weight and not tower.sample_weight_name:
            yield f"{path}.use_sample_weight has no effect: sample_weight_name is not set"
        if tower.weight == 0 and not any(loss.learn_loss_weight for loss in tower.losses):
            yield f"{path}.weight is 0: the task {tower.tower_name!r} is not learned"
        for metric in tower.metrics:
            if metric.accuracy.top_k > 1 and metric.accuracy.top_k >= tower.num_class:
                classes = "class" if tower.num_class == 1 else "classes"
                count = f"{tower.num_class} {classes}"
                yield f"{path}.metrics: accuracy.top_k says nothing about {count}"

    learns = any(loss.learn_loss_weight for _, tower in towers for loss in tower.losses)
    if pipeline.model_config.loss_weight_strategy == Uncertainty and not learns:
        words = "is Uncertainty, but no loss has learn_loss_weight, so all weights are fixed"
        yield f"model_config.loss_weight_strategy {words}"


def _weight_notes(path: str, tower: Tower, strategy: int) -> Iterator[str]:
    """A line for each weight that the strategy replaces."""
    by = "a random one" if strategy == Random else "a learned one"
    replaced = [strategy == Random or loss.learn_loss_weight for loss in tower.losses]
    for index, loss in enumerate(tower.losses):
        if replaced[index] and loss.weight != 1:
            yield f"{path}.losses[{index}].weight has no effect: {by} replaces it"
    if all(replaced or [strategy == Random]) and tower.weight != 1:
        yield f"{path}.weight has no effect: {by} replaces it"


RULES = Rules(rewrite, check, notes)
