"""A uniform sample of the rows of a stream."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from tzmmoe.errors import DataError
from tzmmoe.features.column import decoded

KEPT = 1 << 16
SEED = 1024  # the same files give the same draft


class Sample:
    """Keeps the ``KEPT`` rows with the smallest of random numbers that all rows draw."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(SEED)
        self._keys = np.zeros(0)
        self._limit = 1.0
        self._tables: list[pa.Table] = []

    def add(self, columns: Mapping[str, pa.Array], num_rows: int) -> None:
        """Take in rows. A column that is not there every time has nulls in between."""
        keys = self._random.random(num_rows)
        kept = keys < self._limit
        place = pa.array(np.flatnonzero(kept))
        self._tables.append(pa.table({n: decoded(c).take(place) for n, c in columns.items()}))
        self._keys = np.concatenate([self._keys, keys[kept]])
        if len(self._keys) > 2 * KEPT:
            self._prune()

    def rows(self) -> dict[str, pa.Array]:
        """The sampled rows, in the order of the files, by column."""
        if not self._tables:
            return {}
        self._prune()
        table = self._tables[0]
        return {name: table[name].combine_chunks() for name in table.column_names}

    def _prune(self) -> None:
        try:
            table = pa.concat_tables(self._tables, promote_options="permissive")
        except (pa.ArrowException, TypeError) as error:
            raise DataError(f"the files store a column differently: {error}") from error
        if len(self._keys) > KEPT:
            kept = np.sort(np.argpartition(self._keys, KEPT)[:KEPT])
            table, self._keys = table.take(pa.array(kept)), self._keys[kept]
            self._limit = float(self._keys.max())
        self._tables = [table]
