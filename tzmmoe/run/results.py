"""Results as a table for a person and as lines of JSON for a program."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from tzmmoe.system import durable
from tzmmoe.tasks.task import TaskSet

TRAINING = "train_eval_result_v2.txt"
EVALUATION = "eval_result.txt"


def append(path: Path, step: int, results: Mapping[str, float]) -> None:
    """Add a line ``{"global_step": 99, "auc_ctr": 0.71, ...}``; NaN is null."""
    line = {"global_step": step} | {key: _json(results[key]) for key in sorted(results)}
    path.parent.mkdir(parents=True, exist_ok=True)
    _mend(path)
    with path.open("a") as opened:
        opened.write(json.dumps(line) + "\n")


def write_output(path: Path, name: str, model: Path, results: Mapping[str, float]) -> None:
    """A file ``{"eval_results": [[name, model, {"loss": 0.4, ...}]]}``; NaN is null.

    Raises:
        OSError: it could not be written.
    """
    values = {key: _json(value) for key, value in results.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"eval_results": [[name, str(model), values]]}
    durable.write_text(path, json.dumps(content, indent=2) + "\n")


def _mend(path: Path) -> None:
    """Take away a last line that was cut off, or end it if only its end is lacking."""
    content = path.read_bytes() if path.is_file() else b""
    last = content.rpartition(b"\n")[2]
    if not last:
        return
    with path.open("r+b") as opened:
        if _parsed(last.decode(errors="replace")) is None:
            opened.truncate(len(content) - len(last))
        else:
            opened.seek(0, os.SEEK_END)
            opened.write(b"\n")


def read(path: Path) -> list[dict[str, float]]:
    """All lines; one that was cut off is left out."""
    if not path.is_file():
        return []
    lines = [_parsed(text) for text in path.read_text(errors="replace").splitlines()]
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


def of_step(path: Path, step: int) -> dict[str, float] | None:
    """The results of a step, if they were written."""
    found = [line for line in read(path) if line["global_step"] == step]
    return found[-1] if found else None


def _json(value: float) -> float | None:
    return value if math.isfinite(value) else None


def table(tasks: TaskSet, results: Mapping[str, float]) -> str:
    """One line for each task, one column for each metric and loss."""
    suffixes = ("", "_in_space")
    words = [word for task in tasks.tasks for word in (*task.metrics, *task.losses)]
    columns = [
        (word, suffix)
        for suffix in suffixes
        for word in dict.fromkeys(words)
        if any(f"{word}_{task.name}{suffix}" in results for task in tasks.tasks)
    ]
    titles = [f"{word}{suffix}" for word, suffix in columns]
    width = max(len(task.name) for task in tasks.tasks) + 2
    lines = ["task".ljust(width) + "  ".join(title.rjust(9) for title in titles)]
    for task in tasks.tasks:
        cells = [
            _cell(results.get(f"{word}_{task.name}{suffix}")).rjust(max(9, len(title)))
            for (word, suffix), title in zip(columns, titles, strict=True)
        ]
        lines.append(task.name.ljust(width) + "  ".join(cells))
    if "regularization" in results:
        lines.append(f"regularization {results['regularization']:.5f}")
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return "undefined" if math.isnan(value) else f"{value:.5f}"
