"""Keras's keys of an evaluation: ``val_<label>_auc`` for ``auc_<tower>``.

Other dialects are rewritten in the config. These keys are translated later, once the tasks exist,
because a tower without losses or metrics has the keys of its defaults.
"""

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, Protocol

# Word of the schema: Keras's names of the metric; result files use the first.
METRIC_NAMES = {
    word: tuple(names.split())
    for word, names in {
        "auc": "auc",
        "binary_accuracy": "bacc binary_accuracy bin_acc binary_acc",
        "accuracy": "acc accuracy cacc categorical_accuracy categorical_acc cate_accuracy cate_acc "
        "scacc sparse_categorical_accuracy sparse_categorical_acc sparse_cate_accuracy "
        "sparse_cate_acc top_k_cacc top_k_categorical_accuracy s_top_k_cacc "
        "sparse_top_k_categorical_accuracy",
        "logloss": "bce binary_crossentropy binary_cross_entropy bin_cross_entropy logloss",
        "mean_squared_error": "mse mean_squared_error mean_square_error",
        "mean_absolute_error": "mae mean_absolute_error mean_abs_error",
        "root_mean_squared_error": "rmse root_mean_squared_error root_mean_square_error",
        "precision": "precision prec",
        "recall": "recall",
        "f1": "f1 f1s f1_score",
        "balanced_accuracy": "balanced_accuracy balanced_acc",
    }.items()
}


class TaskKeys(Protocol):
    """The part of a task that its keys consist of; ``losses`` and ``metrics`` are by word."""

    name: str
    label: str
    weight: float
    losses: Mapping[str, Any]
    metrics: Mapping[str, Any]


def canonical_key(tasks: Sequence[TaskKeys], key: str, keys: Container[str]) -> str:
    """The key that Keras calls ``key``; unchanged if it is one of ``keys``, or unknown to Keras."""
    if key in keys:
        return key
    bare = key.removeprefix("val_")
    prefixes = _prefixes(tasks)
    for task in tasks:
        names = dict(_names(task))
        for prefix in (prefixes[task.name], task.name):
            name = bare.removeprefix(f"{prefix}_")
            if name != bare and name in names:
                return names[name]
    return dict(_names(tasks[0])).get(bare, key) if len(tasks) == 1 else key


def by_label(tasks: Sequence[TaskKeys], results: Mapping[str, float]) -> dict[str, float]:
    """Results under Keras's names: ``loss``, and for each task ``<label>_loss``, ``<label>_auc``.

    As in Keras, ``loss`` is the weighted sum and a task's own loss is unweighted. The latter is NaN
    for a task of weight 0, since it cannot be derived from the weighted loss.
    """
    renamed, prefixes = {"loss": results["val_loss"]}, _prefixes(tasks)
    for task in tasks:
        prefix = prefixes[task.name]
        if task.losses:
            weighted = sum(results[f"{word}_{task.name}"] for word in task.losses)
            renamed[f"{prefix}_loss"] = weighted / task.weight if task.weight else math.nan
        for word in task.metrics:
            name = METRIC_NAMES.get(word, (word,))[0]
            for end in ("", "_in_space"):
                if f"{word}_{task.name}{end}" in results:
                    renamed[f"{prefix}_{name}{end}"] = results[f"{word}_{task.name}{end}"]
    if "regularization" in results:
        renamed["regularization"] = results["regularization"]
    return renamed


def _prefixes(tasks: Sequence[TaskKeys]) -> dict[str, str]:
    """Tower -> its label, or the tower itself if several share the label."""
    labels = [task.label for task in tasks]
    return {task.name: task.name if labels.count(task.label) > 1 else task.label for task in tasks}


def _names(task: TaskKeys) -> Iterator[tuple[str, str]]:
    """Each of Keras's names for the losses and metrics of a task, with its key."""
    for word in task.metrics:
        for name in METRIC_NAMES.get(word, (word,)):
            yield name, f"{word}_{task.name}"
    if len(task.losses) == 1:
        yield "loss", f"{next(iter(task.losses))}_{task.name}"
