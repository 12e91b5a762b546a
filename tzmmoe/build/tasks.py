"""task_towers -> tasks with their losses and metrics."""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tzmmoe.build.features import check_name
from tzmmoe.config.walk import features, missing_towers, task_towers
from tzmmoe.data.labels import class_texts, group_of
from tzmmoe.errors import ConfigError, Faults, did_you_mean, few, within
from tzmmoe.features.shared import Origin
from tzmmoe.models import MODELS, Body
from tzmmoe.protos import loss_pb2, metric_pb2
from tzmmoe.protos.data_pb2 import FG_DAG, FG_NORMAL
from tzmmoe.protos.model_pb2 import ModelConfig, Random, TaskTower
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.registry import Modules, OwnErrors, Registry
from tzmmoe.registry.modules import NO_MODULES
from tzmmoe.tasks.losses import LOSSES, Loss
from tzmmoe.tasks.metrics import METRICS
from tzmmoe.tasks.task import Task, TaskSpace
from tzmmoe.tasks.taskset import TaskSet, fixed_weights
from tzmmoe.tasks.weighting import RandomWeighting, Uncertainty, Weighting


def build_tasks(pipeline: Pipeline, faults: Faults, modules: Modules = NO_MODULES) -> list[Task]:
    """The tasks; what is wrong with their towers is added to ``faults``."""
    config, labels = pipeline.model_config, pipeline.data_config.label_fields
    towers, tasks = task_towers(config), []
    for index, (path, tower) in enumerate(towers):
        label = tower.label_name or (labels[index] if index < len(labels) else "")
        with faults.under(path), OwnErrors(modules, ConfigError):
            if tower.tower_name:
                check_name("tower_name", tower.tower_name)
            tasks.append(_task(tower, label, pipeline, modules))
    word = config.WhichOneof("model")
    if word is None or len(tasks) < len(towers) or any(missing_towers(config)):
        return tasks
    _check_shared_labels([path for path, _ in towers], tasks, faults)
    with faults.under(f"model_config.{word}"), OwnErrors(modules, ConfigError):
        model, arguments = chosen_model(config, modules)
        return model.relate(tasks, {name: arguments.get(name) for name in model.of_tasks})
    return tasks


def _check_shared_labels(paths: Sequence[str], tasks: Sequence[Task], faults: Faults) -> None:
    """Add a fault for each tower that learns numbers of a label that holds texts for another."""
    listing = {task.label: task for task in reversed(tasks) if task.label_classes}
    for path, task in zip(paths, tasks, strict=True):
        other = listing.get(task.label)
        of_numbers = [word for word, loss in task.losses.items() if "y" in loss.outputs]
        if other and other is not task and of_numbers:
            words = f"is {task.label!r}, which is texts by label_classes of {other.name!r}, but "
            words += f"{of_numbers[0]} learns a number; give another column, or another loss"
            faults.add(f"{path}.label_name", words)


def chosen_model(config: ModelConfig, modules: Modules) -> tuple[type[Body], dict[str, Any]]:
    """The class of the model, and its fields; of a class of the user's, its arguments.

    Raises ConfigError if that cannot be had.
    """
    word, arguments = MODELS.chosen(config)
    kind = MODELS.kind(word, arguments, modules)
    return kind, (arguments["args"] or {}) if word == MODELS.custom else arguments


def task_sets(
    pipeline: Pipeline, faults: Faults, modules: Modules = NO_MODULES
) -> tuple[TaskSet, TaskSet]:
    """The tasks, and those of the final evaluation, with every fault that they have together."""
    built = build_tasks(pipeline, faults, modules)
    tasks = TaskSet(built, _weighting(built, pipeline))
    final = final_tasks(pipeline, tasks, faults, modules)
    for check in (tasks.columns, tasks.check):
        with faults.under("model_config"):
            check()
    if built and all(task.auxiliary for task in built):
        words = "every tower is auxiliary, so exports and predictions would have no outputs"
        path = f"model_config.{pipeline.model_config.WhichOneof('model')}"
        faults.add(path, f"{words}; remove auxiliary from one")
    if final is not tasks:  # then a fault is one of their metrics
        with faults.under("eval_config.task_metrics"):
            final.columns()
    return tasks, final


def final_tasks(
    pipeline: Pipeline, tasks: TaskSet, faults: Faults, modules: Modules = NO_MODULES
) -> TaskSet:
    """The tasks with the metrics of eval_config.task_metrics; the same object if it has none."""
    by_name = {task.name: task for task in tasks.tasks}
    if len(by_name) < len(task_towers(pipeline.model_config)):
        return tasks  # a tower is faulty, which is a fault of its own
    seen: set[str] = set()
    for index, message in enumerate(pipeline.eval_config.task_metrics):
        path = f"eval_config.task_metrics[{index}]"
        matches = [t.name for t in tasks.tasks if message.name in (t.name, t.label)]
        if len(matches) != 1 or matches[0] in seen:
            words = "is listed twice" if seen.intersection(matches[:1]) else "is not a task"
            words = f"is the label of {' and '.join(matches)}" if len(matches) > 1 else words
            names = list(by_name)
            remedy = f"give one of {few(names)}, each once{did_you_mean(message.name, names)}"
            faults.add(f"{path}.name", f"{message.name!r} {words}; {remedy}")
            continue
        seen.add(matches[0])
        with faults.under(path), OwnErrors(modules, ConfigError):
            task = by_name[matches[0]]
            metrics = _by_word("metrics", METRICS, message.metrics, modules)
            in_space = copy.deepcopy(metrics) if task.space else {}
            by_name[task.name] = replace(task, metrics=metrics, space_metrics=in_space)
            by_name[task.name].check()
    return TaskSet(list(by_name.values()), tasks.weighting) if seen else tasks


def _weighting(tasks: Sequence[Task], pipeline: Pipeline) -> Weighting:
    """As model_config.loss_weight_strategy says."""
    weights, strategy = fixed_weights(tasks), pipeline.model_config.loss_weight_strategy
    if strategy == Random:
        return RandomWeighting(weights, pipeline.runtime_config.seed)
    learned = {
        f"{word}_{t.name}": t.losses[word].precision for t in tasks for word in t.learned_weights
    }
    return Uncertainty(weights, learned) if learned else Weighting(weights)


def _space(tower: TaskTower, pipeline: Pipeline) -> TaskSpace | None:
    factors = tower.in_task_space_weight, tower.out_task_space_weight
    if tower.task_space_indicator_label:
        return TaskSpace(tower.task_space_indicator_label, *factors)
    if not tower.task_space_indicator_name:
        return None
    with within("task_space_indicator_name"):
        column = _column_of(tower.task_space_indicator_name, pipeline)
    return TaskSpace(column, *factors, group_of(tower.task_space_indicator_value))


def _column_of(name: str, pipeline: Pipeline) -> str:
    """The column that the feature of this name reads; without one, the name is the column's."""
    if pipeline.data_config.fg_mode not in (FG_NORMAL, FG_DAG):
        return name
    for _, _, message in features(pipeline):
        expression = getattr(message, "expression", "")
        if message.feature_name == name and isinstance(expression, str):
            origin = Origin.parse(expression, name)
            if origin.kind == "column":
                return origin.name
            words = f"{name!r} reads {origin}; name a feature that reads a column, or a column"
            raise ConfigError.at("", words)
    return name


def _task(tower: TaskTower, label: str, pipeline: Pipeline, modules: Modules) -> Task:
    losses = list(tower.losses) or [loss_pb2.Loss(binary_cross_entropy={})]
    is_random = pipeline.model_config.loss_weight_strategy == Random
    faults, by_word, measured, space = Faults(), {}, {}, None
    with faults.under(""):
        space = _space(tower, pipeline)
    with faults.under(""):
        by_word = _by_word("losses", LOSSES, losses, modules)
    with faults.under(""):
        metrics = list(tower.metrics) or _default_metrics(by_word, tower.num_class)
        measured = _by_word("metrics", METRICS, metrics, modules)
    with faults.under("label_classes"):
        classes = _label_classes(tower, by_word)
    faults.stop()
    weights = dict(zip(by_word, (loss.weight for loss in losses), strict=True))
    learned = [word for word, loss in zip(by_word, losses, strict=True) if loss.learn_loss_weight]
    all_replaced = is_random or len(learned) == len(losses)
    task = Task(
        name=tower.tower_name,
        label=label,
        num_class=tower.num_class,
        weight=1.0 if all_replaced else tower.weight,
        loss_weights={} if all_replaced else weights,
        learned_weights=learned,
        sample_weight=(tower.sample_weight_name or None) if tower.use_sample_weight else None,
        space=space,
        losses=by_word,
        metrics=measured,
        space_metrics=copy.deepcopy(measured) if space else {},
        activation=tower.output_activation,
        label_classes=classes,
        auxiliary=tower.auxiliary,
    )
    task.check()
    return task


def _label_classes(tower: TaskTower, losses: Mapping[str, Loss]) -> tuple[str, ...]:
    """The texts of the label by class, in the form in which cells are compared with them."""
    if not tower.label_classes:
        return ()
    texts = class_texts(tower.label_classes)
    wanted = max(tower.num_class, 2)
    of_numbers = [word for word, loss in losses.items() if "y" in loss.outputs]
    if of_numbers:
        words = f"is set, but {of_numbers[0]} learns a number, not a class"
        raise ConfigError.at("", f"{words}; remove it, or choose another loss")
    if len(texts) != wanted:
        listed = f"has {len(texts)} text{'s' if len(texts) > 1 else ''}"
        state = f"{listed}, but num_class is {tower.num_class}"
        remedy = f"list {wanted}" if tower.num_class > 1 else "list 2, for 0 and 1"
        if len(texts) > 1:
            remedy += f", or set num_class: {len(texts)}"
        raise ConfigError.at("", f"{state}; {remedy}")
    faults = Faults()
    for text, count in Counter(texts).items():
        if not text:
            faults.add("", "has an empty text, which is a missing label in data; remove it")
        elif count > 1:
            faults.add("", f"{text!r} is listed {count} times; keep one")
    faults.stop()
    return texts


def _default_metrics(losses: Mapping[str, Loss], num_class: int) -> list[metric_pb2.Metric]:
    names = ["accuracy"] if num_class > 2 else ["auc"]
    if any("y" in loss.outputs for loss in losses.values()):
        names = ["mean_absolute_error", "mean_squared_error"]
    return [metric_pb2.Metric(**{name: {}}) for name in names]


def _by_word(field: str, registry: Registry, messages: Sequence, modules: Modules) -> dict:
    """Objects by their words, the names of the user's classes, or their own names. Each may occur
    once, since results are named after it."""
    by_word, faults = {}, Faults()
    for index, message in enumerate(messages):
        with faults.under(f"{field}[{index}]"), OwnErrors(modules, ConfigError):
            word = message.WhichOneof(registry.schema.name)
            if word is None:
                words = (*registry.words, registry.custom)
                raise ConfigError.at("", f"is empty; give one of {', '.join(words)}")
            with within(word):
                name = registry.name(message)
            if loss_name := getattr(message, "loss_name", ""):
                check_name("loss_name", loss_name)
                name = loss_name
            if name in by_word:
                remedy = ", or give it a loss_name" if field == "losses" else ""
                raise ConfigError.at("", f"{name} is listed twice; remove one{remedy}")
            with within(word):
                by_word[name] = registry.create(message, modules)
    faults.stop()
    return by_word
