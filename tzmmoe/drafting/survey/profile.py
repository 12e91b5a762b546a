"""What a column holds, as far as the rows show that were looked at."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzmmoe.features.column import plain, read
from tzmmoe.features.forms import as_numbers, is_text
from tzmmoe.jagged import Jagged

SEPARATOR = "\x1d"  # the schema's default, at which features split text


@dataclass(frozen=True)
class Profile:
    """One column. ``kind``: ``flag`` (true or false), ``whole`` (integers), ``number``, ``text``,
    ``weights`` (maps from values to weights), or ``""``: no feature can read it, for ``trouble``.

    Text of a CSV file that reads as numbers throughout is ``whole`` or ``number``. ``low`` and
    ``high`` are None unless every value reads as a number, which text of a typed file may also do.
    """

    name: str
    type: pa.DataType
    kind: str
    trouble: str
    num_rows: int
    num_missing: int
    num_values: int  # more than rows where rows hold several
    num_distinct: int
    exact: bool  # num_distinct is not an estimate
    shortest: int  # values of a row that has any
    longest: int
    low: float | None
    high: float | None
    mean: float
    deviation: float
    whole: bool  # every number is an integer
    finite: bool
    ascending: bool  # each number is larger than the one before
    sample: pa.Array | None  # some rows, the same ones of all columns; None for lists and maps

    @property
    def listed(self) -> bool:
        """Rows hold several values."""
        return self.sample is None

    @property
    def constant(self) -> bool:
        return self.num_distinct == 1 and not self.num_missing

    @cached_property
    def numbers(self) -> np.ndarray:
        """The sample as float64, NaN where missing; only where ``low`` is not None."""
        values = self._values
        numbers = np.full(len(self.sample), np.nan)
        present = slice(None) if values.lengths is None else values.lengths > 0
        numbers[present] = numbers_of(values.values)
        return numbers

    @cached_property
    def words(self) -> list[str]:
        """The distinct texts of the sample, the most frequent first."""
        counts = pc.value_counts(self._values.values)
        order = np.argsort(-counts.field("counts").to_numpy(), kind="stable")
        return counts.field("values").take(pa.array(order)).to_pylist()

    @cached_property
    def _values(self) -> Jagged:
        return plain(read(self.sample, SEPARATOR, weighted=False))


def numbers_of(flat: pa.Array) -> np.ndarray:
    """float64; pa.ArrowInvalid when a text is no number."""
    if not is_text(flat.type):
        return as_numbers(flat)
    return pc.utf8_trim_whitespace(flat).cast(pa.float64()).to_numpy(zero_copy_only=False)
