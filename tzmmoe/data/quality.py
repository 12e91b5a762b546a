"""How many values of each feature were missing, defaulted, unknown or out of range."""

import logging
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from tzmmoe.features.shared import Tally

log = logging.getLogger(__name__)

Counts = tuple[int, dict[str, list[int]]]  # rows, and four sums for each feature


class Quality:
    """Sums of tallies over the rows that were encoded."""

    def __init__(self) -> None:
        self.num_rows = 0
        self._counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(4, np.int64))
        self._lock = threading.Lock()

    def add(self, tallies: Mapping[str, Tally], num_rows: int) -> None:
        """Add the tallies of some rows. Warns at the first ids of a feature outside its table."""
        with self._lock:
            self.num_rows += num_rows
            for name, tally in tallies.items():
                counts = self._counts[name]
                if tally.outside and not counts[3]:
                    log.warning(
                        "%s: %s of %s rows have an id outside its table; raise num_buckets, or set "
                        "out_of_range",
                        name,
                        f"{tally.outside:,}",
                        f"{num_rows:,}",
                    )
                counts += [tally.missing, tally.defaulted, tally.unknown, tally.outside]

    def counts(self) -> Counts:
        """The counts in a form that other processes can receive."""
        with self._lock:
            return self.num_rows, {name: sums.tolist() for name, sums in self._counts.items()}

    @classmethod
    def of_all(cls, parts: Sequence[Counts]) -> "Quality":
        """The sum of what several processes counted."""
        total = cls()
        for num_rows, counts in parts:
            total.num_rows += num_rows
            for name, sums in counts.items():
                total._counts[name] += np.array(sums)
        return total

    def report(self) -> str:
        """The table, headed by the number of rows that it covers."""
        return f"values of the first {self.num_rows:,} rows\n{self.table()}"

    def table(self) -> str:
        """The shares of rows for each feature that has anything to report."""
        lines = [f"{'feature':32} {'missing':>9} {'default':>9} {'unknown':>9} {'outside':>9}"]
        for name, counts in self._counts.items():
            if counts.any():
                shares = " ".join(f"{count / max(self.num_rows, 1):>9.2%}" for count in counts)
                lines.append(f"{name:32} {shares}")
        if len(lines) == 1:
            return f"all {len(self._counts)} features have a known value in every row"
        return "\n".join(lines)
