"""What a column holds, counted as its rows stream by."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzmmoe.features.column import distinct, is_list, plain, read
from tzmmoe.features.forms import BadType, BadValue, as_numbers, as_text, canonical, is_text
from tzmmoe.features.hashing import hash_texts
from tzmmoe.jagged import Jagged

SEPARATOR = "\x1d"  # the schema's default, at which features split text
KEPT = 1 << 16
U64 = np.uint64
CODE = r"^\s*[+-]?0\d"  # 007 is a code, not the number 7
POWER = r"\d[eE]"  # 1e300 is an amount, though it is whole
NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
NEARLY = 0.9  # share of a column's texts
LARGEST_CLASS = 2.0**53  # above it, float64 does not hold every whole number
MOST_CLASSES = 50  # of a column that is to be predicted


@dataclass(frozen=True)
class ColumnProfile:
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
    num_readable: int = 0  # values of text that read as numbers, where nearly all do
    odd: tuple[str, str] | None = None  # place and text of the first one that does not
    values: frozenset[str] | None = None  # as labels are compared; None: too many for classes

    @property
    def listed(self) -> bool:
        """Whether rows hold several values."""
        return self.sample is None

    @property
    def constant(self) -> bool:
        return self.num_distinct == 1 and not self.num_missing

    @property
    def classes(self) -> tuple[str, ...] | None:
        """All values in order, numbers by size; None if there are more than ``MOST_CLASSES``, or
        numbers that are not whole."""
        if self.values is None or len(self.values) > MOST_CLASSES:
            return None
        if self.low is None or self.kind == "text":
            return tuple(sorted(self.values))
        return tuple(sorted(self.values, key=float)) if self.whole else None

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


class Counts:
    """One column. ``typed``: the file tells text from numbers, as CSV files do not."""

    def __init__(self, name: str, *, typed: bool) -> None:
        self.name = name
        self.typed = typed
        self.type = pa.null()
        self.trouble = ""
        self._missing = self._values = self._shortest = self._longest = 0
        self.distinct = Distinct()
        self._numbers: Numbers | None = Numbers()  # None: not all values read as numbers
        self._code = self._power = False
        self._readable: int | None = 0  # None: too few to be taken for numbers
        self._odd: tuple[str, str] | None = None
        self._texts: set[str] | None = set()  # None: too many for classes

    @property
    def flat(self) -> bool:
        """Whether rows hold at most one value each, which can be read."""
        several = is_list(self.type) or pa.types.is_map(self.type) or self._longest > 1
        return not (self.trouble or several)

    @property
    def whole(self) -> bool:
        """Whether every value so far is a whole number, one in each row."""
        numbers = self._numbers
        written = self.typed and is_text(self.type)  # a typed file says that it is text
        return self.flat and numbers is not None and numbers.whole and not (self._code or written)

    def add(self, column: pa.Array, file: str, row: int) -> np.ndarray | None:
        """Take in the rows of a file from ``row`` on. Returns their numbers (N,), NaN where
        missing; None unless every row of the column so far holds at most one number."""
        if not pa.types.is_null(column.type):
            self.type = column.type
        if self.trouble:
            return None
        try:
            values = read(column, SEPARATOR, weighted=pa.types.is_map(column.type))
        except (BadType, BadValue) as error:
            self.trouble = str(error)
            return None
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # bytes, and rare kinds of text
            self.trouble = f"{column.type} cannot be used as values"
            return None
        self._count(values)
        flat, _ = distinct(values.values)
        self.distinct.add(flat)
        self._add_texts(flat)
        numbers = self._add_numbers(values)
        if numbers is not None and self._readable is not None:
            self._readable += values.num_values
        elif is_text(distinct(values.values)[0].type) and self.flat:
            self._add_readable(values, file, row)
        if numbers is None or not self.flat:
            return None
        by_row = np.full(len(column), np.nan)
        by_row[slice(None) if values.lengths is None else values.lengths > 0] = numbers
        return by_row

    def _count(self, values: Jagged) -> None:
        self._values += values.num_values
        if values.lengths is None:
            self._shortest, self._longest = 1, max(self._longest, 1)
            return
        present = values.lengths[values.lengths > 0]
        self._missing += len(values.lengths) - len(present)
        if len(present):
            shortest = int(present.min())
            self._shortest = min(self._shortest or shortest, shortest)
            self._longest = max(self._longest, int(present.max()))

    def _add_texts(self, flat: pa.Array) -> None:
        """Keep all values as texts, unless there are too many for classes."""
        if self._texts is None or self.distinct.count > 2 * MOST_CLASSES:
            self._texts = None
            return
        if pa.types.is_floating(flat.type) and _any_beyond(flat, LARGEST_CLASS):
            self._texts = None
            return
        texts = canonical(as_text(pc.unique(flat)).cast(pa.large_string()))
        missing = {"", "nan"} if pa.types.is_floating(flat.type) else {""}
        self._texts |= set(texts.to_pylist()) - missing

    def _add_readable(self, values: Jagged, file: str, row: int) -> None:
        """Count the texts that read as numbers, as long as nearly all do."""
        if self._readable is None:
            return
        flat, codes = distinct(values.values)
        reads = pc.match_substring_regex(flat, NUMBER).to_numpy(zero_copy_only=False)
        reads = reads if codes is None else reads[codes]
        self._readable += int(reads.sum())
        if self._readable < NEARLY * self._values:
            self._readable = None
        elif self._odd is None and not reads.all():
            place = int(np.argmin(reads))
            text = flat[place if codes is None else int(codes[place])].as_py()
            if values.lengths is not None:
                place = int(np.flatnonzero(values.lengths)[place])
            self._odd = (f"{file}, row {row + place + 1:,}", text)

    def _add_numbers(self, values: Jagged) -> np.ndarray | None:
        if self._numbers is None:
            return None
        flat, codes = distinct(values.values)
        if is_text(flat.type) and not self.typed:
            self._code |= _any(flat, CODE)
            self._power |= _any(flat, POWER)
        try:
            numbers = numbers_of(flat)
        except pa.ArrowInvalid:
            self._numbers = None
            return None
        numbers = numbers if codes is None else numbers[codes]
        self._numbers.add(numbers)
        return numbers

    def profile(self, num_rows: int, sample: pa.Array | None) -> ColumnProfile:
        numbers = self._numbers or Numbers()
        known = numbers.count > 0
        return ColumnProfile(
            name=self.name,
            type=self.type,
            kind=self._kind(),
            trouble=self.trouble,
            num_rows=num_rows,
            num_missing=self._missing + numbers.nans,
            num_values=self._values - numbers.nans,
            num_distinct=self.distinct.count - bool(numbers.nans),
            exact=self.distinct.exact,
            shortest=self._shortest,
            longest=self._longest,
            low=float(numbers.low) if known else None,
            high=float(numbers.high) if known else None,
            mean=numbers.mean,
            deviation=numbers.deviation,
            whole=known and numbers.whole,
            finite=numbers.finite,
            ascending=known and numbers.ascending,
            sample=sample,
            num_readable=self._readable or 0,
            odd=self._odd if self._readable else None,
            values=None if self._texts is None else frozenset(self._texts),
        )

    def _kind(self) -> str:
        if self.trouble:
            return ""
        kind = self.type
        if pa.types.is_map(kind):
            return "weights"
        while is_list(kind) or pa.types.is_dictionary(kind):
            kind = kind.value_type
        if is_text(kind):
            if self.typed or self._code or self._numbers is None:
                return "text"
            return "whole" if self._numbers.whole and not self._power else "number"
        if pa.types.is_boolean(kind):
            return "flag"
        integers = pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0)
        return "whole" if integers and self._numbers.whole else "number"


class Distinct:
    """Counts distinct values: exactly up to ``KEPT`` of them, beyond that to about 0.4 %.

    It keeps the KEPT smallest 64-bit hashes. Hashes are uniform, so the largest one kept tells how
    densely all of them lie: (k - 1) / u_k, as a share of 2^64. The standard error is 1 / sqrt(k).
    Beyer et al., "On Synopses for Distinct-Value Estimation Under Multiset Operations",
    SIGMOD 2007.
    """

    def __init__(self) -> None:
        self._smallest = np.zeros(0, U64)
        self.exact = True

    def add(self, flat: pa.Array) -> None:
        """Take in values without nulls."""
        fresh = hashes(flat)
        if not self.exact:
            fresh = fresh[fresh < self._smallest[-1]]
        merged = np.union1d(self._smallest, fresh)
        self.exact = self.exact and len(merged) <= KEPT
        self._smallest = merged[:KEPT]

    def unseen(self, fresh: np.ndarray) -> tuple[int, int]:
        """How many of these hashes were never taken in, and of how many that is known."""
        known = fresh if self.exact else fresh[fresh <= self._smallest[-1]]
        return int((~np.isin(known, self._smallest)).sum()), len(known)

    @property
    def count(self) -> int:
        if self.exact:
            return len(self._smallest)
        return round((KEPT - 1) / (float(self._smallest[-1]) / 2.0**64))


def hashes(flat: pa.Array) -> np.ndarray:
    """uint64 hashes (N,); numbers by their bits, which is far faster than by their text."""
    if is_text(flat.type):
        return hash_texts(as_text(flat), "MURMUR_HASH")
    if pa.types.is_integer(flat.type):
        bits = flat.to_numpy(zero_copy_only=False).astype(U64)
    else:
        bits = (as_numbers(flat) + 0.0).view(U64)  # + 0.0: -0.0 is 0.0
    with np.errstate(over="ignore"):  # the finalizer of SplitMix64
        bits = (bits ^ (bits >> U64(30))) * U64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> U64(27))) * U64(0x94D049BB133111EB)
    return bits ^ (bits >> U64(31))


class Numbers:
    """Range and moments of a stream of numbers. Moments merge as in Chan et al., "Updating Formulae
    and a Pairwise Algorithm for Computing Sample Variances", 1979."""

    def __init__(self) -> None:
        self.count = self.nans = 0
        self.low, self.high = np.inf, -np.inf
        self._mean = self._squares = 0.0  # in units of _scale, and of its square
        self._scale = 0.0
        self.whole = self.finite = self.ascending = True
        self._last = -np.inf

    def add(self, numbers: np.ndarray) -> None:
        """Take in numbers; NaN, which texts may spell, is a missing value."""
        self.nans += int(np.isnan(numbers).sum())
        finite = numbers[np.isfinite(numbers)]
        self.finite &= not np.isinf(numbers).any()
        self.whole &= len(finite) == len(numbers) and bool((np.floor(finite) == finite).all())
        if not len(finite):
            return
        self.ascending &= bool(finite[0] > self._last and (finite[1:] > finite[:-1]).all())
        self._last = finite[-1]
        self.low, self.high = min(self.low, finite.min()), max(self.high, finite.max())
        self._rescale(float(max(-self.low, self.high)))
        scaled = finite / (self._scale or 1.0)
        total = self.count + len(scaled)
        shift = scaled.mean() - self._mean
        self._squares += np.square(scaled - scaled.mean()).sum()
        self._squares += shift**2 * self.count * len(scaled) / total
        self._mean += float(shift * len(scaled) / total)
        self.count = total

    def _rescale(self, largest: float) -> None:
        """Keep squares within float64, whose range ends at the square of 1e154. A power of two
        moves no digit."""
        scale = math.ldexp(1.0, math.frexp(largest)[1] - 1) if largest else 0.0
        if scale > self._scale:
            part = self._scale / scale
            self._mean, self._squares = self._mean * part, self._squares * part**2
            self._scale = scale

    @property
    def mean(self) -> float:
        return self._mean * self._scale

    @property
    def deviation(self) -> float:
        """The standard deviation."""
        return math.sqrt(self._squares / max(self.count, 1)) * self._scale


def numbers_of(flat: pa.Array) -> np.ndarray:
    """As float64. Raises pa.ArrowInvalid for text that is not a number."""
    if not is_text(flat.type):
        return as_numbers(flat)
    return pc.utf8_trim_whitespace(flat).cast(pa.float64()).to_numpy(zero_copy_only=False)


def _any_beyond(numbers: pa.Array, limit: float) -> bool:
    return bool((np.abs(as_numbers(numbers)) > limit).any())


def _any(texts: pa.Array, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(texts, pattern)).as_py())
