"""Which rows of a request cannot be encoded, found feature by feature."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow.compute as pc

from tzmmoe.data.encode import Assembler, UnfitRow, UnfitType
from tzmmoe.data.reading.base import Chunk
from tzmmoe.features import Feature
from tzmmoe.serving.requests import CellChunk
from tzmmoe.serving.service.faults import RowFaults


class Singling:
    """Tells bad rows from good ones, for features of which some read others among ``helpers``.

    A feature that fails is tried on halves of the rows again and again, so that a bad row costs a
    few encodings of one feature for a part of the rows.
    """

    def __init__(self, features: Sequence[Feature], helpers: Sequence[Feature]) -> None:
        by_name = {feature.name: feature for feature in [*features, *helpers]}
        assemblers = [
            Assembler([feature], (), helpers=_read_by(feature, by_name)) for feature in features
        ]
        self._assemblers = [assembler for assembler in assemblers if assembler.needed]

    def find(
        self, chunk: Chunk, numbers: np.ndarray, faults: RowFaults, check: Callable[[], None]
    ) -> None:
        """Add to ``faults`` the rows of a chunk that cannot be encoded. ``numbers`` (B,): those of
        the request. ``check`` is called now and then, and may raise.

        Raises:
            UnfitType: a column has a type that cannot be used, and is not made of single cells.
        """
        good = faults.good(len(numbers))[numbers]
        for assembler in self._assemblers:
            parts = tuple(part.select(assembler.needed) for part in chunk.parts)
            narrow = replace(chunk, parts=parts)
            waiting = [np.flatnonzero(good)]
            while waiting:
                check()
                rows = waiting.pop()
                bad, what = self._tried(assembler, narrow.take(rows))
                for row in rows[bad]:
                    faults.add(int(numbers[row]), f"{chunk.place(int(row))}, {what}")
                if len(bad):
                    rest = np.delete(rows, bad)
                    halves = np.array_split(rest, 2)
                    waiting += [half for half in reversed(halves) if len(half)]

    def _tried(self, assembler: Assembler, chunk: Chunk) -> tuple[np.ndarray, str]:
        """Some rows of a chunk that cannot be encoded, and why; none if all can."""
        try:
            assembler.assemble(chunk)
        except UnfitType as error:
            if not isinstance(chunk, CellChunk):
                raise
            return _with_values(chunk, error), error.what
        except UnfitRow as error:
            return np.array([error.row]), error.what
        return np.zeros(0, np.int64), ""


def _read_by(feature: Feature, by_name: dict[str, Feature]) -> list[Feature]:
    """The features that a feature reads, and those that they read."""
    found: dict[str, Feature] = {}
    waiting = [feature]
    while waiting:
        for origin in waiting.pop().origins:
            if origin.kind == "feature" and origin.name not in found:
                found[origin.name] = by_name[origin.name]
                waiting.append(by_name[origin.name])
    return list(found.values())


def _with_values(chunk: Chunk, error: UnfitType) -> np.ndarray:
    """The rows that are stored like that of the error and have a value in one of its columns."""
    begin = 0
    for part in chunk.parts:
        if error.row < begin + part.num_rows:
            break
        begin += part.num_rows
    nulls = [pc.is_null(part.column(name), nan_is_null=True) for name in error.columns]
    has_value = ~np.all([each.to_numpy(zero_copy_only=False) for each in nulls], axis=0)
    return begin + np.flatnonzero(has_value)
