"""Keys of an evaluation as Keras spells them: ``val_<label>_auc`` for ``auc_<tower>``."""

import math
from collections.abc import Iterator, Mapping

from tzmmoe.tasks.task import Task
from tzmmoe.tasks.task_set import TaskSet

# Word of the schema: names of the metric in jobs for Keras, the first of them used in files.
SHORT = {
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


def owners(tasks: TaskSet) -> dict[str, str]:
    """Tower -> its label, or the tower itself where several have that label."""
    labels = [task.label for task in tasks.tasks]
    return {
        task.name: task.name if labels.count(task.label) > 1 else task.label for task in tasks.tasks
    }


def spelled(tasks: TaskSet, key: str) -> str:
    """Our key for one of Keras's; any other key as it is."""
    if key in tasks.natures():
        return key
    bare = key.removeprefix("val_")
    owned = owners(tasks)
    for task in tasks.tasks:
        found = dict(_names(task))
        for owner in (owned[task.name], task.name):
            name = bare.removeprefix(f"{owner}_")
            if name != bare and name in found:
                return found[name]
    if len(tasks.tasks) == 1:
        return dict(_names(tasks.tasks[0])).get(bare, key)
    return key


def _names(task: Task) -> Iterator[tuple[str, str]]:
    """Each other name with its key."""
    for word in task.metrics:
        for name in SHORT.get(word, (word,)):
            yield name, f"{word}_{task.name}"
    if len(task.losses) == 1:
        yield "loss", f"{next(iter(task.losses))}_{task.name}"


def by_label(tasks: TaskSet, results: Mapping[str, float]) -> dict[str, float]:
    """Results as Keras names them: ``loss``, and of each task ``<label>_loss``, ``<label>_auc``.

    As in Keras a task's own loss is without its weight, which only their sum has; NaN, since
    nothing tells it, for a task of weight 0.
    """
    found = {"loss": results["val_loss"]}
    for task in tasks.tasks:
        owner = owners(tasks)[task.name]
        if task.losses:
            weighted = sum(results[f"{word}_{task.name}"] for word in task.losses)
            found[f"{owner}_loss"] = weighted / task.weight if task.weight else math.nan
        for word in task.metrics:
            short = SHORT.get(word, (word,))[0]
            for end in ("", "_in_space"):
                if f"{word}_{task.name}{end}" in results:
                    found[f"{owner}_{short}{end}"] = results[f"{word}_{task.name}{end}"]
    if "regularization" in results:
        found["regularization"] = results["regularization"]
    return found
