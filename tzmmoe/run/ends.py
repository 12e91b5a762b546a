"""What ends a run before its schedule does.

``Watch`` follows the evaluations, ``Timeout`` the clock, ``Interruption`` signals and the clock in
all processes, ``Grace`` the time since a signal, and ``Finite`` the losses and weights themselves.
"""

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import torch
from torch import Tensor

from tzmmoe.config import duration
from tzmmoe.config.dialects.keras import canonical_key
from tzmmoe.errors import ConfigError, Interrupted, NotFiniteError
from tzmmoe.learning.lockstep import Lockstep
from tzmmoe.run.settings import RunSettings
from tzmmoe.system import checkpoint
from tzmmoe.system.environment import HANGUP, STOPPING
from tzmmoe.system.tensorfiles import NamedTensors, tensors
from tzmmoe.system.world import World
from tzmmoe.tasks.keys import check_served, checked_key
from tzmmoe.tasks.taskset import TaskSet

log = logging.getLogger(__name__)


@dataclass
class Best:
    """The best value of a key so far, and its step. An improvement must exceed ``min_delta``.

    ``waited`` counts the evaluations since the last improvement.
    """

    key: str
    larger_is_better: bool
    min_delta: float = 0.0
    value: float | None = None
    step: int | None = None
    waited: int = 0

    def note(self, step: int, results: Mapping[str, float]) -> None:
        """Take in an evaluation. NaN is never an improvement."""
        value = results[self.key]
        improves = not math.isnan(value)
        if improves and self.value is not None:
            if self.larger_is_better:
                improves = value - self.min_delta > self.value
            else:
                improves = value + self.min_delta < self.value
        if improves:
            self.value, self.step, self.waited = value, step, 0
        else:
            self.waited += 1


def best_of_tasks(tasks: TaskSet) -> dict[str, Best]:
    """The value that selects the best checkpoint of each task, by the task's name."""
    natures = tasks.larger_is_better()
    return {task: Best(key, bool(natures[key])) for task, key in tasks.best_keys().items()}


@dataclass
class Watch:
    """``best``: selects the checkpoint to keep. ``stopping``: ends the run after ``patience``
    evaluations without improvement. ``of_tasks``: selects further checkpoints to keep, by task."""

    best: Best | None = None
    stopping: Best | None = None
    patience: int = 0
    of_tasks: dict[str, Best] = field(default_factory=dict)
    restores: bool = False  # whether a run that stops early ends with the best of ``stopping``
    _warned: bool = field(default=False, compare=False)  # about an undefined value

    @classmethod
    def of(cls, settings: RunSettings, tasks: TaskSet) -> "Watch":
        """The best checkpoint by export_config, and early_stopping. Raises ConfigError."""
        natures = tasks.larger_is_better()
        export, stopping = settings.export, settings.training.early_stopping
        key = canonical_key(tasks.tasks, export.best_exporter_metric or "", natures)
        of_exports = tasks.served(auxiliary=export.auxiliary)
        served = of_exports.larger_is_better()
        key = key or next(name for name, larger in served.items() if larger is not None)
        where = "export_config.best_exporter_metric"
        check_served(where, key, natures, served)
        larger = checked_key(where, key, natures, export.metric_larger_is_better)
        evaluates = bool(settings.files.eval_input_path)
        best = Best(key, larger) if evaluates else None
        if export.per_task_best and not evaluates:
            words = "is true, but nothing is evaluated; set eval_input_path, or remove this"
            raise ConfigError.at("export_config.per_task_best", words)
        of_tasks = best_of_tasks(of_exports) if export.per_task_best else {}
        if stopping is None:
            return cls(best, of_tasks=of_tasks)
        path = "train_config.early_stopping"
        if not evaluates:
            raise ConfigError.at(path, "has no effect without eval_input_path; set it")
        forced = None if stopping["mode"] == "auto" else stopping["mode"] == "max"
        monitor = canonical_key(tasks.tasks, stopping["monitor"], natures)
        larger = checked_key(f"{path}.monitor", monitor, natures, forced)
        check_served(f"{path}.monitor", monitor, natures, served)
        monitored = Best(monitor, larger, stopping["min_delta"])
        restores = stopping["restore_best_weights"]
        return cls(best, monitored, stopping["patience"], of_tasks, restores)

    def note(self, step: int, results: Mapping[str, float]) -> None:
        """Take in an evaluation."""
        for best in self._named.values():
            best.note(step, results)
        if self.stopping and not self._warned and math.isnan(results[self.stopping.key]):
            self._warned = True
            log.warning(
                "early_stopping: %s is undefined in the evaluation of step %s, which does not "
                "count as an improvement; an AUC needs rows of both classes, a loss labelled rows",
                self.stopping.key,
                f"{step:,}",
            )

    def line(self) -> str:
        """Why the run stopped early."""
        best = self.stopping
        count = f"{best.waited} evaluation{'s' if best.waited > 1 else ''}"
        if best.step is None:
            return f"stopped early: {best.key} was undefined for {count}"
        return f"stopped early: {best.key} did not improve on {best.value:.6g} for {count}"

    @property
    def stopped(self) -> bool:
        """As in Keras: after ``patience`` evaluations without improvement, at least one."""
        return self.stopping is not None and self.stopping.waited >= max(self.patience, 1)

    def keys(self) -> set[str]:
        """The keys of the results that ``note`` reads."""
        return {best.key for best in self._named.values()}

    def kept_steps(self) -> set[int]:
        """The steps whose checkpoints must stay."""
        return {best.step for best in self._named.values() if best.step is not None}

    def to_json(self) -> dict[str, Any]:
        """The part of state.json that ``restore`` reads."""
        return {
            name: {"key": best.key, "value": best.value, "step": best.step, "waited": best.waited}
            for name, best in self._named.items()
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Continue the watch of another run, as far as it watched the same keys."""
        for name, best in self._named.items():
            last = saved.get(name)
            if last and last["key"] == best.key:
                best.value, best.step, best.waited = last["value"], last["step"], last["waited"]

    @property
    def _named(self) -> dict[str, Best]:
        named = {"best": self.best, "stopping": self.stopping}
        named |= {f"best of {task}": best for task, best in self.of_tasks.items()}
        return {name: best for name, best in named.items() if best}


@dataclass
class Timeout:
    """A limit of ``seconds`` since ``began``, on the clock of time.monotonic; ``text`` is its form
    in the config. ``passed``: the limit ends the run."""

    seconds: float = math.inf
    text: str = ""
    began: float = 0.0
    passed: bool = False

    @classmethod
    def of(cls, text: str | None, began: float) -> "Timeout":
        """No limit without text. Raises ConfigError if the text is not a duration."""
        return cls(duration.seconds(text) if text else math.inf, text or "", began)

    def is_over(self) -> bool:
        return time.monotonic() - self.began >= self.seconds

    def line(self, steps: int) -> str:
        return (
            f"runtime_config.timeout: time limit of {self.text} reached after step {steps:,}; "
            "stopping; --continue_train continues"
        )


SPEAKING_S = 1.0  # for the last log line, which another thread may hold up


@dataclass(frozen=True)
class Grace:
    """Ends the process ``seconds`` after a signal, if that has not ended the run by then; ``text``
    is its form in the config."""

    seconds: float = math.inf
    text: str = ""
    _events: SimpleQueue = field(default_factory=SimpleQueue)  # which a handler may put into

    @classmethod
    def of(cls, text: str | None) -> "Grace":
        """No limit without text. Raises ConfigError if the text is not a duration."""
        return cls(duration.seconds(text), text) if text else cls()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """The block is what a signal should end."""
        if not self.text:
            yield
            return
        watch = threading.Thread(target=self._watch, daemon=True)
        watch.start()
        try:
            yield
        finally:
            self._events.put(None)
            watch.join()

    def begin(self, signum: int) -> None:
        """A signal has come."""
        self._events.put(signum)

    def _watch(self) -> None:
        signum = self._events.get()
        if signum is None:
            return
        try:
            self._events.get(timeout=min(self.seconds, threading.TIMEOUT_MAX))
        except Empty:
            # In a thread of its own: a stuck writer may hold the log's lock.
            speaker = threading.Thread(target=log.error, args=(self.line(),), daemon=True)
            speaker.start()
            speaker.join(SPEAKING_S)
            os._exit(128 + signum)

    def line(self) -> str:
        return (
            f"runtime_config.grace_period: {self.text} have passed since the signal; stopping at "
            "once; --continue_train continues from the last checkpoint"
        )

    def doubt(self, took_s: float) -> str:
        """What to say of a save that took so long; empty if it would be in time."""
        if took_s < self.seconds:
            return ""
        return (
            f"runtime_config.grace_period is {self.text}, but saving took {took_s:.1f}s: a run that"
            " a signal stops will lose the steps since its last checkpoint; give it more time, or "
            "lower save_checkpoints_steps"
        )


DURING_A_STEP = "stopping after this step with a checkpoint; repeat the signal to stop at once"
DURING_AN_EVALUATION = (
    "stopping; the checkpoint is saved, --continue_train continues with its evaluation"
)
DURING_A_SAVE = "stopping as soon as the checkpoint is saved"


class Interruption:
    """Requests to stop from outside, by a signal of STOPPING or by the clock, in all processes of a
    run.

    A signal to one process, and the clock of the first, count for all of them from their next step
    on, which ``lockstep`` synchronizes. ``received``: the signal of this process, or 0.
    """

    def __init__(self, world: World, timeout: Timeout, grace: Grace | None = None) -> None:
        self.timeout, self.grace, self.received = timeout, grace or Grace(), 0
        self._answer, self._is_saving = DURING_A_STEP, False
        requests = {signum.name: partial(self._has, signum) for signum in STOPPING}
        requests["timeout"] = lambda: world.is_first and timeout.is_over()
        self.lockstep = Lockstep(world, requests)

    def _has(self, signum: int) -> bool:
        return self.received == signum

    @contextmanager
    def caught(self) -> Iterator[None]:
        """In the block, the first signal is a request. A second one ends the process, but not while
        a checkpoint is saved. Under nohup, which ignores SIGHUP, that stays ignored."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in STOPPING}
        if before.get(HANGUP) is signal.SIG_IGN:
            del before[HANGUP]

        def receive(signum: int, frame: object) -> None:
            if self.received and not self._is_saving:
                for number, handler in before.items():
                    signal.signal(number, handler)
                signal.raise_signal(signum)
                return
            if not self.received:
                self.received = signum
                self.grace.begin(signum)
            log.warning("%s", self._answer)

        for signum in before:
            signal.signal(signum, receive)
        try:
            with self.grace.watched():
                yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """In the block, a signal ends an evaluation, whose checkpoint already exists."""
        with self._answering(DURING_AN_EVALUATION):
            yield

    @contextmanager
    def saving(self) -> Iterator[None]:
        """In the block, no signal ends the process."""
        self._is_saving = True
        try:
            with self._answering(DURING_A_SAVE):
                yield
        finally:
            self._is_saving = False

    @contextmanager
    def _answering(self, words: str) -> Iterator[None]:
        before, self._answer = self._answer, words
        try:
            yield
        finally:
            self._answer = before

    def signum(self) -> int:
        """The signal that any process received, or 0."""
        came = (signum for signum in STOPPING if self.lockstep.granted(signum.name))
        return next(came, 0)

    def stop_if_asked(self) -> None:
        """Raise Interrupted if a signal has arrived."""
        if signum := self.signum():
            raise Interrupted(signum)

    def time_is_over(self) -> bool:
        return self.lockstep.granted("timeout")


class Finite:
    """Ends a run whose losses or weights become NaN or infinite.

    ``keys`` names the losses, in order. ``refuse`` receives the error, which names the last
    checkpoint of ``model_dir``.
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
        """Record the first step at which each loss is not finite."""
        values = torch.stack([loss.detach() for loss in losses.values()])
        new = ~values.isfinite() & (self._bad_step < 0)
        self._bad_step = torch.where(new, step, self._bad_step)

    def check_losses(self) -> None:
        """Check the losses of all steps so far. This waits for the device."""
        steps = zip(self._keys, self._bad_step.tolist(), strict=True)
        if bad := [(key, step) for key, step in steps if step >= 0]:
            key, step = min(bad, key=lambda item: item[1])
            self._stop(f"{key} is NaN or infinite at step {step}")

    def check_weights(self, step: int, weights: NamedTensors) -> None:
        """Check the weights after a step, whose effect on them its own loss does not show."""
        for name, weight in tensors(weights):
            if not (weight.is_floating_point() and weight.numel()):
                continue
            if not torch.stack(torch.aminmax(weight)).isfinite().all():
                self._stop(f"{name} is NaN or infinite after step {step}")
                return

    def _stop(self, fault: str) -> None:
        paths = checkpoint.find(self._model_dir)
        last = f"the last checkpoint is {paths[-1]}" if paths else "there is no checkpoint yet"
        remedy = "lower the learning rate, set grad_clipping, or check the features for outliers"
        self._refuse(NotFiniteError(f"{fault}; {last}; {remedy}"))
