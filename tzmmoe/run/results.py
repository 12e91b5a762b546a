"""Results as a table for a person and as lines of JSON for a program."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from tzmmoe.system import durable
from tzmmoe.tasks.members import OF_MEMBERS
from tzmmoe.tasks.taskset import TaskSet

TRAINING_RESULTS = "train_eval_result_v2.txt"
EVALUATION_RESULTS = "eval_result.txt"
BASELINES = ("base_logloss", "base_mse", "base_rmse", "r2")  # columns of the table, after losses


def append_results(path: Path, step: int, results: Mapping[str, float]) -> None:
    """Add a line ``{"global_step": 99, "auc_ctr": 0.71, ...}``; NaN is null."""
    line = {"global_step": step} | {key: _json(results[key]) for key in sorted(results)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with durable.appending(path) as file:
        _mend(file)
        file.write((json.dumps(line) + "\n").encode())


def write_results(path: Path, name: str, model: Path, results: Mapping[str, float]) -> None:
    """A file ``{"eval_results": [[name, model, {"loss": 0.4, ...}]]}``; NaN is null.

    Raises:
        OSError: the file could not be written.
    """
    values = {key: _json(value) for key, value in results.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"eval_results": [[name, str(model), values]]}
    durable.write_text(path, json.dumps(content, indent=2) + "\n")


def is_output(path: Path) -> bool:
    """Whether a file is one that ``write_results`` wrote, which may be replaced."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and list(content) == ["eval_results"]


def _mend(file: BinaryIO) -> None:
    """Drop a truncated last line, or end it if only the line break is missing. The file is then at
    its end."""
    content = file.read()
    last = content.rpartition(b"\n")[2]
    if last and _parsed(last.decode(errors="replace")) is None:
        file.truncate(len(content) - len(last))
        file.seek(0, os.SEEK_END)
    elif last:
        file.write(b"\n")


def read_results(path: Path) -> list[dict[str, float]]:
    """All lines but truncated ones."""
    if not path.is_file():
        return []
    lines = [
        _parsed(text) for text in path.read_text(encoding="utf-8", errors="replace").splitlines()
    ]
    return [
        {key: math.nan if value is None else value for key, value in line.items()}
        for line in lines
        if line is not None
    ]


def _parsed(text: str) -> dict[str, float | None] | None:
    try:
        line = json.loads(text)
    except json.JSONDecodeError:
        return None
    return line if isinstance(line, dict) and "global_step" in line else None


def results_of_step(path: Path, step: int) -> dict[str, float] | None:
    """The results of a step, if there are any; its last line counts."""
    return next((line for line in read_results(path)[::-1] if line["global_step"] == step), None)


def _json(value: float) -> float | None:
    return value if math.isfinite(value) else None


def baselines(tasks: TaskSet) -> dict[str, float]:
    """``{"base_logloss_ctr": 0.35, "base_mse_price": ..., "r2_price": ...}``, not weighted, as
    metrics are not: what predicting the mean label would reach, in the rows that count in the
    loss."""
    results = {}
    for task in tasks.tasks:
        kind = task.measured()
        if kind is None:
            continue
        with task.baseline.sync_context():
            values = task.baseline.compute()
        words = ["base_logloss"]
        if kind == "y":
            is_root = "root_mean_squared_error" in task.metrics
            words = ["base_rmse" if is_root else "base_mse", "r2"]
        results |= {f"{word}_{task.name}": values[word] for word in words}
    return results


def results_table(
    tasks: TaskSet, results: Mapping[str, float], baselines: Mapping[str, float]
) -> str:
    """One line for each task that is learned, one column for each metric, loss and baseline."""
    learned = [task for task in tasks.tasks if task.is_learned] or tasks.tasks
    values = {**results, **baselines}
    words = [word for task in learned for word in (*task.metrics, *task.losses)]
    columns = [
        (word, suffix)
        for suffix in ("", "_in_space", OF_MEMBERS, f"_in_space{OF_MEMBERS}")
        for word in dict.fromkeys((*words, *BASELINES))
        if any(f"{word}_{task.name}{suffix}" in values for task in learned)
    ]
    titles = [f"{word}{suffix}" for word, suffix in columns]
    names = {t.name: f"{t.name} (auxiliary)" if t.auxiliary else t.name for t in learned}
    width = max(map(len, names.values())) + 2
    lines = ["task".ljust(width) + "  ".join(title.rjust(9) for title in titles)]
    for task in learned:
        cells = [
            _cell(values.get(f"{word}_{task.name}{suffix}")).rjust(max(9, len(title)))
            for (word, suffix), title in zip(columns, titles, strict=True)
        ]
        lines.append(names[task.name].ljust(width) + "  ".join(cells))
    if "regularization" in results:
        lines.append(f"regularization {results['regularization']:.5f}")
    if others := [task.name for task in tasks.tasks if task not in learned]:
        lines.append(f"not learned, since their weight is 0: {', '.join(others)}")
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return "undefined" if math.isnan(value) else f"{value:.5f}"
