"""Learning-rate schedules: pure functions of s, the steps (or epochs) done so far."""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tzmmoe.errors import ConfigError, exactly, few


@dataclass(frozen=True)
class Schedule:
    """The rate at s, which counts epochs if ``by_epoch``, else steps. ``goals``: by the field that
    gives a later rate, the s from which it holds."""

    rate: Callable[[int], float]
    by_epoch: bool
    goals: Mapping[str, int] = field(default_factory=dict)

    def at(self, step: int, epoch: int) -> float:
        return self.rate(epoch if self.by_epoch else step)

    def is_idle(self, steps: range | None, epochs: range | None) -> bool:
        """Whether the rate is 0 throughout a run of these steps and epochs; None where unknown."""
        ahead = (epochs if self.by_epoch else steps) or range(0)
        tried = ahead[:: len(ahead) // MOST_TRIED + 1]
        return len(ahead) > 0 and all(self.rate(s) == 0 for s in tried)

    def unreached(self, steps: range | None, epochs: range | None) -> str:
        """Which goals a run ends before, as the end of a sentence; empty if it reaches all."""
        ahead = (epochs if self.by_epoch else steps) or range(0)
        late = {name: s for name, s in self.goals.items() if len(ahead) and s >= ahead.stop}
        if not late:
            return ""
        unit, are = "epochs" if self.by_epoch else "steps", "is" if len(late) == 1 else "are"
        return (
            f"{few(list(late))} {are} not reached: the first of them takes more than "
            f"{min(late.values()):,} {unit}, and the run has {ahead.stop:,}"
        )


MOST_TRIED = 100_000  # steps of a run; no schedule is above 0 for such a small share only


class Rates(NamedTuple):
    """The learning rates of one step."""

    tables: float
    dense: float


@dataclass(frozen=True)
class Schedules:
    """The schedules of the tables and of the dense part."""

    tables: Schedule
    dense: Schedule

    def at(self, step: int, epoch: int) -> Rates:
        """The rates after ``step`` steps and ``epoch`` epochs."""
        return Rates(self.tables.at(step, epoch), self.dense.at(step, epoch))


def schedule(lr: float, word: str | None, arguments: dict[str, Any]) -> Schedule:
    """The schedule behind a word of the schema, from the base rate lr."""
    if word is None or word == "constant_learning_rate":
        return Schedule(lambda s: lr, by_epoch=False)
    arguments = dict(arguments)
    by_epoch = arguments.pop("by_epoch")
    for name in ("warmup_learning_rate", "min_learning_rate"):
        if not arguments.get(name, 0.0) >= 0:
            raise ConfigError.at(name, f"is {exactly(arguments[name])}; give 0 or more")
    return Schedule(SCHEDULES[word](lr, **arguments), by_epoch, _goals(arguments))


def _goals(arguments: Mapping[str, Any]) -> dict[str, int]:
    """The rates that a schedule moves to, each with the s from which it holds."""
    listed = {
        f"learning_rates[{i}]": size + 1
        for i, size in enumerate(arguments.get("schedule_sizes", ()))
    }
    return listed | ({"lr": size} if (size := arguments.get("warmup_size")) else {})


def exponential_decay(
    lr: float,
    *,
    decay_size: int | None,
    decay_factor: float,
    staircase: bool,
    warmup_learning_rate: float,
    warmup_size: int,
    min_learning_rate: float,
) -> Callable[[int], float]:
    """max(lr factor^((s - warmup) / decay_size), min), after a linear warm-up."""
    size = _required("decay_size", decay_size)
    if not 0 < decay_factor <= 1:
        raise ConfigError.at(
            "decay_factor", f"is {exactly(decay_factor)}; give more than 0, at most 1"
        )

    def decayed(s: int) -> float:
        power = s // size if staircase else s / size
        return max(lr * decay_factor**power, min_learning_rate)

    return _warmed(lr, warmup_learning_rate, warmup_size, decayed)


def manual_step(
    lr: float, *, schedule_sizes: Sequence[int], learning_rates: Sequence[float], warmup: bool
) -> Callable[[int], float]:
    """learning_rates[i] from step schedule_sizes[i] + 1 on."""
    if not schedule_sizes or len(schedule_sizes) != len(learning_rates):
        raise ConfigError.at(
            "schedule_sizes",
            f"has {len(schedule_sizes)} steps for {len(learning_rates)} learning_rates; give "
            "one rate per step",
        )
    if list(schedule_sizes) != sorted(set(schedule_sizes)):
        raise ConfigError.at("schedule_sizes", "must increase from one step to the next")
    if min(learning_rates) < 0:
        raise ConfigError.at("learning_rates", "contains a negative rate; give 0 or more")

    def rate(s: int) -> float:
        index = bisect_left(schedule_sizes, s)
        if index > 0:
            return learning_rates[index - 1]
        if not warmup or not schedule_sizes[0]:
            return lr
        return lr + (learning_rates[0] - lr) * s / schedule_sizes[0]

    return rate


def cosine_annealing(
    lr: float,
    *,
    T_max: int | None,
    min_learning_rate: float,
    warmup_learning_rate: float,
    warmup_size: int,
) -> Callable[[int], float]:
    """min + (lr - min) (1 + cos(pi s / T_max)) / 2 after the warm-up, min from T_max on."""
    period = _required("T_max", T_max)

    def rate(s: int) -> float:
        return _cosine(lr, min_learning_rate, min(s, period) / period)

    return _warmed(lr, warmup_learning_rate, warmup_size, rate)


def cosine_annealing_warm_restarts(
    lr: float,
    *,
    T_0: int | None,
    T_mult: int,
    min_learning_rate: float,
    warmup_learning_rate: float,
    warmup_size: int,
) -> Callable[[int], float]:
    """As cosine_annealing, restarting after T_0, T_0 T_mult, T_0 T_mult^2, ... steps."""
    first = _required("T_0", T_0)
    if T_mult < 1:
        raise ConfigError.at("T_mult", f"is {T_mult}; give 1 or more")

    def rate(s: int) -> float:
        period = first
        if T_mult == 1:
            s %= first
        while s >= period:
            s, period = s - period, period * T_mult
        return _cosine(lr, min_learning_rate, s / period)

    return _warmed(lr, warmup_learning_rate, warmup_size, rate)


SCHEDULES: dict[str, Callable[..., Callable[[int], float]]] = {
    "exponential_decay_learning_rate": exponential_decay,
    "manual_step_learning_rate": manual_step,
    "cosine_annealing_learning_rate": cosine_annealing,
    "cosine_annealing_warm_restarts_learning_rate": cosine_annealing_warm_restarts,
}


def _cosine(high: float, low: float, fraction: float) -> float:
    return low + (high - low) * 0.5 * (1 + math.cos(math.pi * fraction))


def _warmed(
    lr: float, first: float, size: int, after: Callable[[int], float]
) -> Callable[[int], float]:
    """Linear from ``first`` to lr over ``size``, then ``after`` from its own 0 on."""
    return lambda s: first + (lr - first) * s / size if s < size else after(s - size)


def _required(name: str, value: int | None) -> int:
    if not value:
        raise ConfigError.at(name, "is not set; give 1 or more")
    return value


class IdleParts:
    """Tells of parts of the model that learn nothing because their rate is 0.

    ``parts``: by the name of a rate, the optimizer's field and what it updates.
    """

    def __init__(self, schedules: Schedules, parts: Mapping[str, tuple[str, str]]) -> None:
        self._schedules, self._parts = schedules, dict(parts)
        self._steps, self._awake = 0, set[str]()

    def ahead(self, steps: range | None, epochs: range | None) -> Iterator[str]:
        """What has no effect in a run; a part that never learns in it is not mentioned again."""
        for name, (path, words) in list(self._parts.items()):
            schedule: Schedule = getattr(self._schedules, name)
            if schedule.is_idle(steps, epochs):
                del self._parts[name]
                yield (
                    f"{path}: the learning rate is 0 in every step of the run, which leaves "
                    f"{words} unchanged; raise lr, or change the schedule"
                )
            elif unreached := schedule.unreached(steps, epochs):
                yield f"{path}: {unreached}"

    def note(self, rates: Rates) -> None:
        """Take in the rates of a step."""
        self._steps += 1
        self._awake |= {name for name, rate in rates._asdict().items() if rate > 0}

    def end_epoch(self, epoch: int) -> Iterator[str]:
        """What learned nothing since the last call; epochs count from 0."""
        steps, awake = self._steps, self._awake
        self._steps, self._awake = 0, set()
        if steps:
            for path, words in (part for name, part in self._parts.items() if name not in awake):
                yield (
                    f"{path}: the learning rate was 0 in all {steps:,} steps of epoch {epoch + 1}, "
                    f"which left {words} unchanged"
                )
