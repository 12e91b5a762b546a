"""What is wrong with single rows of a request, while the others are scored."""

import numpy as np

from tzmmoe.errors import DataError


class RowFaults:
    """Faults by row, counted from 0. The first is raised at once unless they are collected."""

    def __init__(self, are_collected: bool = False) -> None:
        self.are_collected = are_collected
        self._texts: dict[int, list[str]] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def __contains__(self, row: int) -> bool:
        return row in self._texts

    def add(self, row: int, text: str) -> None:
        """Raises DataError unless faults are collected."""
        if not self.are_collected:
            raise DataError(text)
        self._texts.setdefault(row, []).append(text)

    def messages(self, num_rows: int) -> list[str | None]:
        """For each row its faults, one a line; None for a good one."""
        return ["\n".join(self._texts[r]) if r in self else None for r in range(num_rows)]

    def good(self, num_rows: int) -> np.ndarray:
        """(B,) bool."""
        good = np.ones(num_rows, bool)
        good[list(self._texts)] = False
        return good
