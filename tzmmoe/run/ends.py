"""What ends a run before its schedule does.

``Watch`` follows the evaluations, ``Timeout`` the clock, ``Interruption`` the signals too, and
``Finite`` the numbers themselves.
"""

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tzmmoe.config import duration
from tzmmoe.config.dialects.keras import canonical_key
from tzmmoe.errors import ConfigError, Interrupted, NotFiniteError, did_you_mean
from tzmmoe.learning.lockstep import Lockstep
from tzmmoe.run.settings import RunSettings
from tzmmoe.system import checkpoint
from tzmmoe.system.tensorfiles import NamedTensors, tensors
from tzmmoe.system.world import World
from tzmmoe.tasks.task import TaskSet

log = logging.getLogger(__name__)


@dataclass
class Best:
    """The best value of one key so far, and its step. An improvement is larger than ``min_delta``.

    ``waited`` counts the evaluations since the last improvement.
    """

    key: str
    larger_is_better: bool
    min_delta: float = 0.0
    value: float | None = None
    step: int | None = None
    waited: int = 0

    def note(self, step: int, results: Mapping[str, float]) -> None:
        """Take in an evaluation. NaN never improves."""
        value = results[self.key]
        if self._improves(value):
            self.value, self.step, self.waited = value, step, 0
        else:
            self.waited += 1

    def _improves(self, value: float) -> bool:
        if math.isnan(value):
            return False
        if self.value is None:
            return True
        if self.larger_is_better:
            return value - self.min_delta > self.value
        return value + self.min_delta < self.value


@dataclass
class Watch:
    """``best``: the checkpoint to keep. ``stopping``: what ends the run after ``patience``
    evaluations without improvement."""

    best: Best | None = None
    stopping: Best | None = None
    patience: int = 0
    restores: bool = False  # whether a run that stops early results in the best of ``stopping``
    _warned: bool = field(default=False, compare=False)  # of a value that is undefined

    @classmethod
    def of(cls, settings: RunSettings, tasks: TaskSet) -> "Watch":
        """The best checkpoint by export_config, and early_stopping. Raises ConfigError."""
        natures = tasks.larger_is_better()
        export, stopping = settings.export, settings.training.early_stopping
        key = canonical_key(tasks.tasks, export.best_exporter_metric or "", natures)
        key = key or next(each for each, larger in natures.items() if larger is not None)
        where = "export_config.best_exporter_metric"
        larger = checked_key(where, key, natures, export.metric_larger_is_better)
        evaluates = bool(settings.files.eval_input_path)
        best = Best(key, larger) if evaluates else None
        if stopping is None:
            return cls(best)
        path = "train_config.early_stopping"
        if not evaluates:
            raise ConfigError.at(path, "has no effect without eval_input_path; set it")
        forced = None if stopping["mode"] == "auto" else stopping["mode"] == "max"
        monitor = canonical_key(tasks.tasks, stopping["monitor"], natures)
        larger = checked_key(f"{path}.monitor", monitor, natures, forced)
        watched = Best(monitor, larger, stopping["min_delta"])
        return cls(best, watched, stopping["patience"], stopping["restore_best_weights"])

    def note(self, step: int, results: Mapping[str, float]) -> None:
        for each in (self.best, self.stopping):
            if each:
                each.note(step, results)
        if self.stopping and not self._warned and math.isnan(results[self.stopping.key]):
            self._warned = True
            log.warning(
                "early_stopping: %s is undefined in the evaluation of step %s, which counts as no "
                "improvement; an AUC needs rows of both classes, a loss rows with a label",
                self.stopping.key,
                f"{step:,}",
            )

    def line(self) -> str:
        """Why the run stopped."""
        found = self.stopping
        count = f"{found.waited} evaluation{'s' if found.waited > 1 else ''}"
        if found.step is None:
            return f"stopped early: {found.key} was undefined in every one of {count}"
        return f"stopped early: {found.key} did not improve on {found.value:.6g} for {count}"

    @property
    def stopped(self) -> bool:
        """As Keras: after ``patience`` evaluations without improvement, at least one."""
        return self.stopping is not None and self.stopping.waited >= max(self.patience, 1)

    def keys(self) -> set[str]:
        """Of the results that ``note`` needs."""
        return {each.key for each in (self.best, self.stopping) if each}

    def kept_steps(self) -> set[int]:
        return {each.step for each in (self.best, self.stopping) if each and each.step is not None}

    def to_json(self) -> dict[str, Any]:
        return {
            name: {"key": best.key, "value": best.value, "step": best.step, "waited": best.waited}
            for name, best in (("best", self.best), ("stopping", self.stopping))
            if best
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from another run's watch, where it watched the same keys."""
        for name, best in (("best", self.best), ("stopping", self.stopping)):
            known = saved.get(name)
            if best and known and known["key"] == best.key:
                best.value, best.step, best.waited = known["value"], known["step"], known["waited"]


def checked_key(
    path: str, key: str, natures: Mapping[str, bool | None], forced: bool | None = None
) -> bool:
    """Whether larger is better for a key of the evaluation; ``forced`` is what the config says.

    Raises:
        ConfigError: there is no such key, or neither larger nor smaller is better.
    """
    if key not in natures:
        hint = did_you_mean(key, natures)
        words = f"{key!r} is not evaluated{hint}; there are {', '.join(natures)}"
        raise ConfigError.at(path, words)
    larger = natures[key] if forced is None else forced
    if larger is None:
        raise ConfigError.at(
            path, f"neither high nor low is better for {key!r}; choose another key"
        )
    return larger


@dataclass
class Timeout:
    """``seconds`` since ``began``, a time of time.monotonic. ``text`` is the limit as the config
    has it. ``passed``: the run ends by it."""

    seconds: float = math.inf
    text: str = ""
    began: float = 0.0
    passed: bool = False

    @classmethod
    def of(cls, text: str | None, began: float) -> "Timeout":
        """Without text there is no limit. Raises ConfigError for what is no duration."""
        return cls(duration.seconds(text) if text else math.inf, text or "", began)

    def is_over(self) -> bool:
        return time.monotonic() - self.began >= self.seconds

    def line(self, steps: int) -> str:
        return (
            f"runtime_config.timeout: time limit of {self.text} reached after step {steps:,}; "
            "stopping; --continue_train goes on"
        )


ASKING = (signal.SIGINT, signal.SIGTERM)
WITHIN_A_STEP = "stopping after this step, with a checkpoint; again to stop at once"
WITHIN_AN_EVALUATION = (
    "stopping; the checkpoint is saved, --continue_train goes on with its evaluation"
)


class Interruption:
    """What asks a run to stop from outside: SIGINT, SIGTERM and the clock, in all its processes.

    A signal that reached one process, and the clock of the first, count for all of them from their
    next step on, which ``lockstep`` keeps them at. ``came``: the number of this process's signal,
    or 0.
    """

    def __init__(self, world: World, timeout: Timeout) -> None:
        self.timeout, self.came = timeout, 0
        self._answer = WITHIN_A_STEP
        requests = {
            "interrupt": lambda: self.came == signal.SIGINT,
            "terminate": lambda: self.came == signal.SIGTERM,
            "timeout": lambda: world.is_first and timeout.is_over(),
        }
        self.lockstep = Lockstep(world, requests)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """In the body the first SIGINT or SIGTERM only asks; a second one ends the process."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.getsignal(each) for each in ASKING}

        def ask(signum: int, frame: object) -> None:
            self.came = signum
            signal.signal(signum, before[signum])
            log.warning("%s", self._answer)

        for each in ASKING:
            signal.signal(each, ask)
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """In the body a signal ends an evaluation, whose checkpoint is there already."""
        self._answer = WITHIN_AN_EVALUATION
        try:
            yield
        finally:
            self._answer = WITHIN_A_STEP

    def signum(self) -> int:
        """The signal that asked to stop, or 0."""
        if self.lockstep.granted("terminate"):
            return signal.SIGTERM
        return signal.SIGINT if self.lockstep.granted("interrupt") else 0

    def stop_if_asked(self) -> None:
        """Raise Interrupted when a signal came."""
        if signum := self.signum():
            raise Interrupted(signum)

    def time_is_over(self) -> bool:
        return self.lockstep.granted("timeout")


class Finite:
    """Refuses a run whose losses or weights are NaN or infinite.

    ``keys`` names the losses, in order. ``refuse`` gets the error, which tells the last checkpoint
    of ``model_dir``.
    """

    def __init__(
        self,
        keys: Sequence[str],
        device: torch.device,
        model_dir: Path,
        refuse: Callable[[NotFiniteError], None],
    ) -> None:
        self._keys, self._model_dir, self._refuse = list(keys), model_dir, refuse
        self._bad_step = torch.full((len(keys),), -1, dtype=torch.int64, device=device)

    def note(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Remember the first step at which each loss was not finite."""
        values = torch.stack([loss.detach() for loss in losses.values()])
        new = ~values.isfinite() & (self._bad_step < 0)
        self._bad_step = torch.where(new, step, self._bad_step)

    def check_losses(self) -> None:
        """Of all steps so far. This waits for the device."""
        steps = dict(zip(self._keys, self._bad_step.tolist(), strict=True))
        bad = {key: step for key, step in steps.items() if step >= 0}
        if bad:
            key, step = min(bad.items(), key=lambda item: item[1])
            self._stop(f"{key} is NaN or infinite at step {step}")

    def check_weights(self, step: int, weights: NamedTensors) -> None:
        """The loss of a step does not show what the step itself did to the weights."""
        for name, weight in tensors(weights):
            if not (weight.is_floating_point() and weight.numel()):
                continue
            if not torch.stack(torch.aminmax(weight)).isfinite().all():
                self._stop(f"{name} is NaN or infinite after step {step}")
                return

    def _stop(self, what: str) -> None:
        found = checkpoint.find(self._model_dir)
        last = f"the last checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
        self._refuse(
            NotFiniteError(
                f"{what}; {last}. Lower the learning rate, set grad_clipping, or look for extreme "
                "values in the features"
            )
        )
