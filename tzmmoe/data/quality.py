"""How many values were missing, defaulted, unknown or outside, feature by feature."""

import threading
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from tzmmoe.features.base import Tally


class Quality:
    """Sums of tallies over the rows that were handed out."""

    def __init__(self) -> None:
        self.num_rows = 0
        self._counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(4, np.int64))
        self._lock = threading.Lock()

    def add(self, tallies: Mapping[str, Tally], num_rows: int) -> None:
        with self._lock:
            self.num_rows += num_rows
            for name, tally in tallies.items():
                self._counts[name] += [tally.missing, tally.defaulted, tally.unknown, tally.outside]

    def outside(self) -> dict[str, int]:
        """Features with ids outside their table, and how many such ids."""
        return {name: int(count[3]) for name, count in self._counts.items() if count[3]}

    def table(self) -> str:
        """A line for each feature that has something to report."""
        lines = [f"{'feature':32} {'missing':>9} {'default':>9} {'unknown':>9} {'outside':>9}"]
        for name, counts in self._counts.items():
            if counts.any():
                shares = " ".join(f"{count / max(self.num_rows, 1):>9.2%}" for count in counts)
                lines.append(f"{name:32} {shares}")
        if len(lines) == 1:
            return f"all {len(self._counts)} features have a known value in every row"
        return "\n".join(lines)
