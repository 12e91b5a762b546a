"""task_towers -> tasks with their losses and metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tzmmoe.build.features import check_name
from tzmmoe.config.walk import missing_towers, task_towers
from tzmmoe.errors import ConfigError, Faults, did_you_mean, few, within
from tzmmoe.models import MODELS
from tzmmoe.protos import loss_pb2, metric_pb2
from tzmmoe.protos.model_pb2 import TaskTower
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.registry import Registry, fields
from tzmmoe.tasks.losses import LOSSES, Loss
from tzmmoe.tasks.metrics import METRICS
from tzmmoe.tasks.task import Task, TaskSet, TaskSpace


def build_tasks(pipeline: Pipeline, faults: Faults) -> list[Task]:
    config, labels = pipeline.model_config, pipeline.data_config.label_fields
    towers, tasks = task_towers(config), []
    for index, (path, tower) in enumerate(towers):
        bound = tower.label_name or (labels[index] if index < len(labels) else "")
        with faults.under(path):
            if tower.tower_name:
                check_name("tower_name", tower.tower_name)
            tasks.append(_task(tower, bound))
    word = config.WhichOneof("model")
    if word is None or len(tasks) < len(towers) or any(missing_towers(config)):
        return tasks
    with faults.under(f"model_config.{word}"):
        model, arguments = MODELS[word], fields(getattr(config, word))
        return model.relate(tasks, {name: arguments[name] for name in model.of_tasks})
    return tasks


def final_tasks(pipeline: Pipeline, tasks: TaskSet, faults: Faults) -> TaskSet:
    """The tasks with the metrics of eval_config.task_metrics; the same object when it has none."""
    found = {task.name: task for task in tasks.tasks}
    if len(found) < len(task_towers(pipeline.model_config)):
        return tasks  # a tower is faulty, and says so itself
    seen: set[str] = set()
    for index, message in enumerate(pipeline.eval_config.task_metrics):
        path = f"eval_config.task_metrics[{index}]"
        named = [t.name for t in tasks.tasks if message.name in (t.name, t.label)]
        if len(named) != 1 or named[0] in seen:
            known = [task.name for task in tasks.tasks]
            what = "is there twice" if named and named[0] in seen else "is no tower"
            what = "is the label of several towers" if len(named) > 1 else what
            hint = did_you_mean(message.name, known)
            faults.add(f"{path}.name", f"{message.name!r} {what}{hint}; there are {few(known)}")
            continue
        seen.add(named[0])
        with faults.under(path):
            task = found[named[0]]
            made = _each("metrics", METRICS, message.metrics)
            spaced = _each("metrics", METRICS, message.metrics) if task.space else {}
            found[task.name] = replace(task, metrics=made, space_metrics=spaced)
            found[task.name].check()
    return TaskSet(list(found.values())) if seen else tasks


def _task(tower: TaskTower, label: str) -> Task:
    losses = list(tower.losses) or [loss_pb2.Loss(binary_cross_entropy={})]
    space = None
    if tower.task_space_indicator_label:
        space = TaskSpace(
            tower.task_space_indicator_label,
            tower.in_task_space_weight,
            tower.out_task_space_weight,
        )
    made = _each("losses", LOSSES, losses)
    metrics = list(tower.metrics) or _default_metrics(made, tower.num_class)
    task = Task(
        name=tower.tower_name,
        label=label,
        num_class=tower.num_class,
        weight=tower.weight,
        sample_weight=tower.sample_weight_name or None,
        space=space,
        losses=made,
        metrics=_each("metrics", METRICS, metrics),
        space_metrics=_each("metrics", METRICS, metrics) if space else {},
        activation=tower.output_activation,
    )
    task.check()
    return task


def _default_metrics(losses: Mapping[str, Loss], num_class: int) -> list[metric_pb2.Metric]:
    if any("y" in loss.outputs for loss in losses.values()):
        return [
            metric_pb2.Metric(mean_absolute_error={}),
            metric_pb2.Metric(mean_squared_error={}),
        ]
    if num_class > 2:
        return [metric_pb2.Metric(accuracy={})]
    return [metric_pb2.Metric(auc={})]


def _each(name: str, registry: Registry, messages: Sequence) -> dict:
    """Objects by word. A word that is there twice is a fault, since its results share a name."""
    found = {}
    for index, message in enumerate(messages):
        with within(f"{name}[{index}]"):
            word = message.WhichOneof(registry.schema.name)
            if word is None:
                raise ConfigError.at("", f"is empty; give one of {', '.join(registry.words)}")
            if word in found:
                raise ConfigError.at("", f"{word} is there twice; its results would share a name")
            with within(word):
                found[word] = registry.create(message)
    return found
