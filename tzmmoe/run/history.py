"""``history.jsonl``: the training loss of each epoch and before each checkpoint, for plots."""

import json
import math
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tzmmoe.system import durable
from tzmmoe.system.world import World

HISTORY = "history.jsonl"


class History:
    """Writes a line at the end of each epoch and at each checkpoint.

    ``global_step``, counted from 0 as in the results; ``epoch``, from 1; ``time``, when it was
    written; ``steps`` since the line before, and the ``seconds`` that they took, without
    evaluations; ``train_loss``, their mean, and each of the ``losses``; and the results of the
    ``evaluation`` that followed, if one did. Values that are not finite are null.

    Steps only increase from line to line: a run that resumes removes the lines of steps after its
    checkpoint, since it takes these steps again. Only the first process writes.
    """

    def __init__(self, folder: Path, world: World) -> None:
        self._path, self._world = folder / HISTORY, world
        self._last: dict[str, Any] = {}
        self._last_begins = 0  # its place in the file, in bytes
        self._keys: list[str] = []
        self._sums: Tensor | float = 0.0
        self._steps, self._trained_s = 0, 0.0

    def keep_until(self, step: int) -> None:
        """Remove the lines of steps after ``step``, and what a crash left unfinished."""
        if not (self._world.is_first and self._path.is_file()):
            return
        lines = []
        for text in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            line = _parsed(text)
            if line and line["global_step"] <= step:
                lines.append(line)
        texts = [json.dumps(line) + "\n" for line in lines]
        durable.write_text(self._path, "".join(texts))
        if lines:
            self._last = lines[-1]
            self._last_begins = sum(len(text.encode()) for text in texts[:-1])

    def note(self, losses: Mapping[str, Tensor]) -> None:
        """Take in the losses of a step."""
        self._keys = list(losses)
        self._sums = self._sums + torch.stack([v.detach() for v in losses.values()]).double()
        self._steps += 1

    def close(self, step: int, epoch: int, trained_s: float) -> None:
        """Write the line of the steps since the last one, if there are any; ``trained_s`` counts
        from the start of training."""
        if not self._steps:
            return
        means = self._world.total(self._sums) / (self._steps * self._world.size)
        losses = dict(zip(self._keys, means.tolist(), strict=True))
        line = {
            **_stamp(step, epoch),
            "steps": self._steps,
            "seconds": round(trained_s - self._trained_s, 3),
            "train_loss": _json(sum(losses.values())),
            "losses": {key: _json(value) for key, value in losses.items()},
        }
        self._sums, self._steps, self._trained_s = 0.0, 0, trained_s
        self._write(line)

    def evaluated(self, step: int, epoch: int, results: Mapping[str, float]) -> None:
        """Add the results of an evaluation to the line of its step, which is the last."""
        line = self._last
        if line.get("global_step") != step:  # a crash prevented it
            line = {**_stamp(step, epoch), "steps": 0, "train_loss": None}
        values = {key: _json(results[key]) for key in sorted(results) if key != "global_step"}
        self._write({**line, "evaluation": values})

    def _write(self, line: dict[str, Any]) -> None:
        """Append a line, or replace the last one if it is of the same step."""
        if not self._world.is_first:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with durable.appending(self._path) as file:
            if self._last.get("global_step") == line["global_step"]:
                file.truncate(self._last_begins)
            self._last_begins = file.seek(0, 2)
            file.write((json.dumps(line) + "\n").encode())
        self._last = line


def _stamp(step: int, epoch: int) -> dict[str, Any]:
    time = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"global_step": step, "epoch": epoch + 1, "time": time}


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except json.JSONDecodeError:
        return None
    is_line = isinstance(line, dict) and isinstance(line.get("global_step"), int)
    return line if is_line else None


def _json(value: float) -> float | None:
    return value if math.isfinite(value) else None
