"""What stands for a missing value, and how many rows needed it."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tzmmoe.errors import ConfigError
from tzmmoe.features.column import read
from tzmmoe.features.forms import BadValue
from tzmmoe.features.lookup import Identity, Lookup
from tzmmoe.features.shared import SharedFields
from tzmmoe.jagged import Jagged


@dataclass(frozen=True)
class Tally:
    """How many rows had no value, took the default, or held an unknown or an outside value."""

    missing: int = 0
    defaulted: int = 0
    unknown: int = 0
    outside: int = 0


class Default:
    """The values of a row that has none of its own: their ``texts``, and their ``ids`` in the
    table. None at all where the field says ``""``.

    At most ``most`` values count, if that is not 0. Raises ConfigError for one that ``lookup``
    cannot take.
    """

    def __init__(self, shared: SharedFields, lookup: Lookup, most: int = 0) -> None:
        path, text = shared.default_path, shared.default_text
        if shared.weighted and ":" in text:
            words = f"is {text!r}; a default has weight 1, so give its value alone"
            raise ConfigError.at(path, words)
        self.texts = pa.array([], pa.large_string())
        self.ids = np.empty(0, np.int64)
        self._counts_outside = isinstance(lookup, Identity)
        if not text:
            return
        self.texts = read(pa.array([text]), shared.value_separator, weighted=False).values
        self.texts = self.texts[: most or None]
        try:
            self.ids, strange = lookup.find(self.texts)
        except BadValue as bad:
            raise ConfigError.at(path, bad.text) from bad
        if strange is not None and self._counts_outside:
            outside = self.texts[int(np.flatnonzero(strange)[0])].as_py()
            words = f"is {outside}, outside the table's rows, 0 to {lookup.rows - 1}"
            raise ConfigError.at(path, words)

    def fill(self, ids: Jagged, strange: np.ndarray | None) -> tuple[Jagged, Tally]:
        """Give rows without ids the default ones, and count the rows.

        strange: (N,) bool, the values that were unknown or outside; None when none was.
        """
        empty = ids.empty()
        num_missing = 0 if empty is None else int(empty.sum())
        num_strange = 0 if strange is None else _rows_with(strange, ids.lengths)
        tally = Tally(
            missing=num_missing,
            defaulted=num_missing if len(self.ids) else 0,
            unknown=0 if self._counts_outside else num_strange,
            outside=num_strange if self._counts_outside else 0,
        )
        return ids.filled(Jagged(self.ids, np.array([len(self.ids)]))), tally


def _rows_with(strange: np.ndarray, lengths: np.ndarray | None) -> int:
    if lengths is None:
        return int(strange.sum())
    return len(np.unique(np.repeat(np.arange(len(lengths)), lengths)[strange]))
