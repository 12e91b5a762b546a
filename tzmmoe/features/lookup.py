"""Lookups, from values to rows of a table: by hash, identity, vocabulary or boundaries."""

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzmmoe.errors import ConfigError, few
from tzmmoe.features.column import distinct, plain
from tzmmoe.features.doubts import warn_of_pairs
from tzmmoe.features.forms import (
    NOT_A_NUMBER,
    OR_MISSING,
    BadValue,
    as_integers,
    as_numbers,
    as_text,
    canonical,
    is_text,
)
from tzmmoe.features.hashing import hash_texts
from tzmmoe.jagged import Jagged
from tzmmoe.system.localpath import local

MOST_ROWS = 1 << 40  # of a table, whatever the memory


class Lookup(ABC):
    """Maps values to the rows of a table that has ``rows`` of them."""

    rows: int
    row_rule: str  # how a value becomes a row; equal for lookups that agree

    @abstractmethod
    def find(self, flat: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
        """Rows (N,) int64, and (N,) bool: True for unknown or out-of-range values; None if none is.

        Raises:
            BadValue: a value that cannot be looked up; its ``row`` counts the values.
        """

    def keeps_rows(self, rule: str, rows: int) -> bool:
        """Whether values that were known by ``rule``, of ``rows`` rows, have the same rows."""
        return rule == self.row_rule and rows == self.rows


def look_up(lookup: Lookup, values: Jagged) -> tuple[Jagged, np.ndarray | None]:
    """Rows of the table in place of the values, and which of these were unknown or out of range.

    Raises:
        BadValue: a value that cannot be looked up, with its row.
    """
    flat, codes = distinct(values.values)
    try:
        rows, unrecognized = lookup.find(flat)
    except BadValue as bad:
        if codes is not None:  # perhaps an entry that no row uses
            return look_up(lookup, plain(values))
        raise BadValue(values.row_of(bad.row), bad.text) from bad
    if codes is not None:
        rows, unrecognized = rows[codes], None if unrecognized is None else unrecognized[codes]
    return replace(values, values=rows), unrecognized


class Hash(Lookup):
    """The hash of a value's text modulo the number of rows. No value is unknown.

    ``one_form``: whether 102.0 in a text has the hash of 102.
    """

    def __init__(self, rows: int, function: str, one_form: bool = False) -> None:
        self.rows = rows
        self.row_rule = f"{function} of its text"
        self._function = function
        self._one_form = one_form

    def find(self, flat: pa.Array) -> tuple[np.ndarray, None]:
        texts = as_text(flat)
        if self._one_form and is_text(flat.type):
            texts = canonical(texts)
        hashes = hash_texts(texts, self._function)
        return (hashes % np.uint64(self.rows)).astype(np.int64), None


class Identity(Lookup):
    """The value is the row. ``policy`` is for values out of range: ROW_ZERO, MODULO or ERROR."""

    def __init__(self, rows: int, policy: str, encoded: bool) -> None:
        self.rows = rows
        self.row_rule = "the value itself"
        self._policy = policy
        self._encoded = encoded

    def find(self, flat: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
        try:
            ids = as_integers(flat)
        except BadValue as bad:
            words = (
                ", but data_config.fg_mode: FG_NONE expects encoded ids; if the columns hold raw "
                "values, set fg_mode: FG_DAG"
                if self._encoded
                else "; num_buckets is for whole numbers: set hash_bucket_size, or a vocabulary, "
                f"in its place, or {OR_MISSING}"
            )
            raise BadValue(bad.row, f"{bad.text}{words}") from bad
        outside = ids >= self.rows if ids.dtype == np.uint64 else (ids < 0) | (ids >= self.rows)
        outside = outside.astype(bool, copy=False)  # of Python's integers these are objects
        if not outside.any():
            return ids.astype(np.int64, copy=False), None
        if self._policy == "ERROR":
            place = int(np.flatnonzero(outside)[0])
            raise BadValue(
                place,
                f"{ids[place]} is outside [0, {self.rows}); raise num_buckets, or set out_of_range "
                "to MODULO or ROW_ZERO",
            )
        size = self.rows if ids.dtype == object else ids.dtype.type(self.rows)
        inside = ids % size if self._policy == "MODULO" else 0
        return np.where(outside, inside, ids).astype(np.int64), outside

    def keeps_rows(self, rule: str, rows: int) -> bool:
        return rule == self.row_rule and rows <= self.rows


class Vocabulary(Lookup):
    """The row of a listed word; all other words have the row ``unknown``.

    ``one_form``: whether 102.0, unless it is listed itself, has the row of 102, and 102 that of
    102.0.
    """

    def __init__(
        self, words: Mapping[str, int], rows: int, unknown: int, one_form: bool = False
    ) -> None:
        self.rows = rows
        self.row_rule = self._rule(words, unknown)
        self.words = pa.array(list(words), pa.large_string())
        self._rows = np.array([*words.values(), unknown], np.int64)
        self._forms = forms_of(self.words) if one_form else None
        self._differ = one_form and not self._forms.equals(self.words)

    def find(self, flat: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
        texts = as_text(flat)
        found = pc.index_in(texts, value_set=self.words)
        if self._forms is not None and found.null_count:
            forms = canonical(texts)
            if self._differ or forms is not texts:
                others = pc.index_in(forms.filter(found.is_null()), value_set=self._forms)
                found = pc.replace_with_mask(found, found.is_null(), others)
        places = found.fill_null(len(self.words)).to_numpy(zero_copy_only=False)
        unknown = places == len(self.words)
        return self._rows[places], unknown if unknown.any() else None

    def keeps_rows(self, rule: str, rows: int) -> bool:
        words = zip(self.words.to_pylist(), self._rows.tolist(), strict=False)
        known = {word: row for word, row in words if row < rows}
        return rule in (self.row_rule, self._rule(known, int(self._rows[-1])))

    @staticmethod
    def _rule(words: Mapping[str, int], unknown: int) -> str:
        return f"vocabulary {_checksum((sorted(words.items()), unknown))}"


def forms_of(words: pa.Array) -> pa.Array:
    """The words in their one form; null where a word before it has the same, or is it."""
    forms = canonical(words)
    first = pc.index_in(forms, value_set=forms).to_numpy(zero_copy_only=False)
    is_first = first == np.arange(len(words))
    listed = pc.and_(pc.is_in(forms, value_set=words), pc.not_equal(forms, words))
    return pc.if_else(pc.and_not(pa.array(is_first), listed), forms, None)


class Boundaries(Lookup):
    """The number of boundaries that are <= the value."""

    def __init__(self, boundaries: Sequence[float]) -> None:
        self._boundaries = np.array(boundaries, np.float64)
        if not (np.diff(self._boundaries) > 0).all() or np.isnan(self._boundaries).any():
            raise ConfigError.at("boundaries", "must be in increasing order, without NaN")
        self.rows = len(boundaries) + 1
        self.row_rule = f"boundaries {_checksum(self._boundaries.tolist())}"

    def find(self, flat: pa.Array) -> tuple[np.ndarray, None]:
        try:
            return self.bucket(as_numbers(flat)), None
        except BadValue as bad:
            raise BadValue(bad.row, f"{bad.text}; {NOT_A_NUMBER}") from bad

    def bucket(self, numbers: np.ndarray) -> np.ndarray:
        """Compares in the numbers' own precision, so that 0.7 in float32 is not below 0.7."""
        with np.errstate(over="ignore"):
            boundaries = self._boundaries.astype(numbers.dtype)
        return np.searchsorted(boundaries, numbers, side="right").astype(np.int64)


def vocabulary(
    words: Mapping[str, int] | Sequence[str],
    default_value: str,
    unknown: int | None,
    one_form: bool = False,
) -> Vocabulary:
    """From a ``vocab_list`` (words) or ``vocab_dict`` (word -> row).

    Without ``unknown`` (default_bucketize_value), row 0 is that of default_value, row 1 that of
    unknown words, and a list's words begin at row 2.
    """
    if isinstance(words, Mapping):
        row_of = dict(words)
    else:
        if repeated := _repeated(words):
            raise ConfigError.at("vocab_list", f"lists {repeated} more than once; keep one of each")
        first = 2 if unknown is None else 0
        row_of = {word: row for row, word in enumerate(words, start=first)}
    if unknown is None:
        if default_value:
            row_of.setdefault(default_value, 0)
        return Vocabulary(row_of, max([1, *row_of.values()]) + 1, 1, one_form)
    rows = max(row_of.values(), default=-1) + 1
    if unknown >= rows:
        raise ConfigError.at(
            "default_bucketize_value", f"is {unknown}, but the vocabulary has rows 0 to {rows - 1}"
        )
    return Vocabulary(row_of, rows, unknown, one_form)


def _repeated(words: Iterable[str]) -> str:
    return few([word for word, count in Counter(words).items() if count > 1])


def read_vocab_file(path: str, folder: Path) -> dict[str, int]:
    """The words of a file, each with its row.

    A line is ``word<TAB>row``, or ``word row`` if the rows of all lines are 0, 1, 2, ... in some
    order; otherwise the whole line is a word, and the rows count up from 0.
    """
    file = find_file(path, folder, "vocab_file")
    try:
        lines = file.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ConfigError.at("vocab_file", f"{file} is not UTF-8 text: {error}") from error
    pairs = _pairs(lines, "\t")
    warn_of_pairs(file, lines, pairs and [row for _, row in pairs])
    if pairs is None:
        pairs = _pairs(lines, " ")
        if pairs is None or {row for _, row in pairs} != set(range(len(lines))):
            pairs = [(line, row) for row, line in enumerate(lines)]
    words = dict(pairs)
    if (most := max(words.values(), default=0)) >= MOST_ROWS:
        word = next(word for word, row in pairs if row == most)
        what = f"gives {word!r} row {most:,}; a table has at most {MOST_ROWS:,} rows"
        raise ConfigError.at("vocab_file", f"{file} {what}")
    if "" in words or len(words) < len(lines):
        what = f"lists {_repeated(word for word, _ in pairs)} more than once; keep one of each"
        what = "is empty, or has an empty line" if "" in words else what
        raise ConfigError.at("vocab_file", f"{file} {what}")
    return words


def find_file(path: str, folder: Path, field: str) -> Path:
    """The file that a field names, relative to the config's folder or else to the working folder.

    Raises ConfigError at the field if there is no such file.
    """
    path = local(path, field)
    for place in (folder / path, Path(path)):
        if place.is_file():
            return place
    raise ConfigError.at(field, f"{path} does not exist, in {folder} or the working folder")


def _pairs(lines: Sequence[str], separator: str) -> list[tuple[str, int]] | None:
    """Words and rows, or None if any line is not ``word<separator>row``."""
    parts = [line.rpartition(separator) for line in lines]
    if not all(word and row.isascii() and row.isdigit() for word, _, row in parts):
        return None
    return [(word, int(row)) for word, _, row in parts]


def _checksum(value: object) -> str:
    """Twelve hex digits that depend on plain data alone."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12]
