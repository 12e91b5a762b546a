"""How many values were missing, defaulted, unknown or outside, feature by feature."""

import logging
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from tzmmoe.features.default import Tally

log = logging.getLogger(__name__)


Counts = tuple[int, dict[str, list[int]]]


class Quality:
    """Sums of tallies over the rows that were handed out."""

    def __init__(self) -> None:
        self.num_rows = 0
        self._counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(4, np.int64))
        self._lock = threading.Lock()

    def add(self, tallies: Mapping[str, Tally], num_rows: int) -> None:
        """Count; the first rows of a feature with ids outside its table are worth a warning."""
        with self._lock:
            self.num_rows += num_rows
            for name, tally in tallies.items():
                counts = self._counts[name]
                if tally.outside and not counts[3]:
                    log.warning(
                        "%s: %s of %s rows hold an id outside its table; raise num_buckets, or see "
                        "out_of_range",
                        name,
                        f"{tally.outside:,}",
                        f"{num_rows:,}",
                    )
                counts += [tally.missing, tally.defaulted, tally.unknown, tally.outside]

    def counts(self) -> Counts:
        """Rows, and four sums for each feature, as other processes can read them."""
        with self._lock:
            return self.num_rows, {name: each.tolist() for name, each in self._counts.items()}

    @classmethod
    def of_all(cls, parts: Sequence[Counts]) -> "Quality":
        """What several processes counted, added up."""
        made = cls()
        for num_rows, counts in parts:
            made.num_rows += num_rows
            for name, each in counts.items():
                made._counts[name] += np.array(each)
        return made

    def report(self) -> str:
        """The table under a line that tells of how many rows it is."""
        return f"values of the first {self.num_rows:,} rows\n{self.table()}"

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
