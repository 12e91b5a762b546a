"""The wall-clock limit of a run."""

import math
import time
from dataclasses import dataclass

from tzmmoe.config import duration


@dataclass
class Timeout:
    """``seconds`` since ``began``, a time of time.monotonic. ``text`` is the limit as the config
    has it. ``passed``: the run ends by it."""

    seconds: float = math.inf
    text: str = ""
    began: float = 0.0
    passed: bool = False

    @classmethod
    def of(cls, text: str, began: float) -> "Timeout":
        """Without text there is no limit. Raises ConfigError for what is no duration."""
        return cls(duration.seconds(text) if text else math.inf, text, began)

    def is_over(self) -> bool:
        return time.monotonic() - self.began >= self.seconds

    def line(self, steps: int) -> str:
        return (
            f"runtime_config.timeout: {self.text} have passed, after step {steps:,}; the run ends "
            "here, and --continue_train goes on"
        )
