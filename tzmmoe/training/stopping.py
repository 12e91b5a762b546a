"""Following the evaluations: the best one so far, and whether to stop."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tzmmoe.errors import ConfigError, did_you_mean

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
    _warned: bool = field(default=False, compare=False)  # of a value that is undefined

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
        raise ConfigError.at(
            path,
            f"{key!r} is not evaluated{did_you_mean(key, natures)}; there are {', '.join(natures)}",
        )
    larger = natures[key] if forced is None else forced
    if larger is None:
        raise ConfigError.at(
            path, f"neither high nor low is better for {key!r}; choose another key"
        )
    return larger
