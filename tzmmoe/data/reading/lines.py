"""Where the rows of a CSV file begin and end, found in its bytes.

Arrow accepts what it should not: a quote that begins a cell without enclosing it swallows all
lines up to the next quote. So a file is cut here, and Arrow gets blocks of whole rows. A row is a
line that is not empty, or several where a quoted cell holds line breaks.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

QUOTE, LF, CR = b'"'[0], b"\n"[0], b"\r"[0]
STRIDE = 4096  # rows from one entry of an index to the next
LONGEST = 16 << 20  # bytes of a row


class QuoteFault(Exception):
    """A quote at byte ``begin`` that contradicts the quoting; ``reason`` completes the sentence
    "the cell that a quote begins here ..."."""

    def __init__(self, begin: int, reason: str) -> None:
        super().__init__(reason)
        self.begin = begin
        self.reason = reason


class LongRow(Exception):
    """A row that begins at byte ``begin`` takes more than LONGEST bytes."""

    def __init__(self, begin: int) -> None:
        super().__init__(begin)
        self.begin = begin


@dataclass(frozen=True)
class Quoting:
    """How cells of a file are quoted.

    ``word``: DOUBLED ("" within quotes is a quote), ESCAPED (so is \\", and a backslash takes the
    meaning from any character that follows) or OFF. ``is_chosen``: by looking at a file, so that a
    cell whose lines all look like rows is a fault.
    """

    word: str
    delimiter: str
    is_chosen: bool = False

    @cached_property
    def _opening(self) -> re.Pattern[bytes]:
        return re.compile(
            rb"(?:\A(?:\xef\xbb\xbf)?|(?<=[\r\n" + re.escape(self.delimiter.encode()) + rb']))"'
        )

    @property
    def _enders(self) -> bytes:
        return b"\r\n" + self.delimiter.encode()

    def row_ends(self, data: bytes, *, is_last: bool) -> np.ndarray:
        """Where rows and empty lines end in bytes that begin with a row: each one past the line
        break. What follows the last one is an incomplete row, unless ``is_last``.

        Raises:
            QuoteFault: a quoted cell is followed by more than a delimiter, or never closed.
        """
        if self.word == "ESCAPED" and b"\\" in data:
            data = re.sub(rb"\\.", b"__", data, flags=re.DOTALL)
        ends = line_ends(data, is_last=is_last)
        if self.word == "OFF" or b'"' not in data:
            return ends
        quotes = np.flatnonzero(np.frombuffer(data, np.uint8) == QUOTE)
        if not self._is_regular(data, quotes):
            quotes = np.array(list(self._spans(data, is_last=is_last)), np.int64).ravel()
        elif len(quotes) % 2 and is_last:
            raise QuoteFault(int(quotes[-1]), "is never closed")
        # A line break after an odd number of quotes is within a cell.
        marks = np.zeros(len(data) + 1, np.uint8)
        marks[quotes] = 1
        outside = ends[np.cumsum(marks, dtype=np.uint8)[ends - 1] % 2 == 0]
        if is_last and len(ends) and (not len(outside) or outside[-1] != ends[-1]):
            outside = np.append(outside, ends[-1])
        return outside

    def last_end(self, data: bytes, *, is_last: bool, num_columns: int) -> int:
        """Where the last whole row of the data ends; 0: nowhere.

        Raises:
            QuoteFault: as ``row_ends`` and ``check_rows`` do.
        """
        is_plain = self.word == "OFF" or (self.word == "DOUBLED" and b'"' not in data)
        if is_plain and not is_last:  # quick, since nobody asks for the other rows
            return max(data.rfind(b"\n"), data.rfind(b"\r", 0, -1)) + 1
        ends = self.row_ends(data, is_last=is_last)
        self.check_rows(data, ends, num_columns)
        return int(ends[-1]) if len(ends) else 0

    def _is_regular(self, data: bytes, quotes: np.ndarray) -> bool:
        """Whether the quotes are cells' first and last characters by turns, or doubled ones."""
        values = np.frombuffer(b"\n" + data + b"\n", np.uint8)
        allowed = np.zeros(256, bool)
        allowed[[QUOTE, *self._enders]] = True
        # An opening quote follows a delimiter, a line break or, if it is the second one of a pair,
        # a closing quote; a closing one precedes such.
        opening, closing = quotes[0::2], quotes[1::2]
        before, after = values[opening], values[closing + 2]
        if not (allowed[before].all() and allowed[after].all()):
            return False
        paired = np.zeros(len(opening), bool)
        paired[1:] = opening[1:] == closing[: len(opening) - 1] + 1
        return bool((paired | (before != QUOTE)).all())

    def _spans(self, data: bytes, *, is_last: bool) -> Iterator[tuple[int, int]]:
        """The first and last bytes of quoted cells; a cell that is cut off has no last one."""
        place = 0
        while found := self._opening.search(data, place):
            begin = found.end() - 1
            cell = QUOTED.match(data, begin)
            if cell is None or (cell.end() == len(data) and not is_last):
                if is_last:
                    raise QuoteFault(begin, "is never closed")
                yield begin, len(data)
                return
            place = cell.end()
            if data[place : place + 1] not in (b"", *map(bytes, zip(self._enders))):
                raise QuoteFault(begin, "is followed by text after its closing quote")
            yield begin, place - 1

    def check_rows(self, data: bytes, ends: np.ndarray, num_columns: int) -> None:
        """Raise QuoteFault for a row of several lines, each of which looks like a row itself."""
        if not self.is_chosen or num_columns < 2 or not len(ends):
            return
        lines = line_ends(data[: ends[-1]], is_last=True)
        if len(lines) == len(ends):
            return
        counts = np.diff(np.searchsorted(lines, ends, side="right"), prepend=0)
        begins = np.concatenate([[0], ends[:-1]])
        delimiter = self.delimiter.encode()
        for row in np.flatnonzero(counts > 1):
            text = data[begins[row] : ends[row]]
            widths = {line.count(delimiter) for line in text.splitlines() if line}
            if widths == {num_columns - 1}:
                begin = int(begins[row]) + text.index(b'"')
                raise QuoteFault(begin, f"spans {counts[row]:,} lines that look like rows")


QUOTED = re.compile(rb'"[^"]*(?:""[^"]*)*"(?!")')


def line_ends(data: bytes, *, is_last: bool) -> np.ndarray:
    """Where lines end: one past each line feed, carriage return or pair of both. ``is_last``: the
    end of the data ends a line, and a last carriage return is not the first half of a pair."""
    values = np.frombuffer(data, np.uint8)
    ends = values == LF
    if b"\r" in data:
        returns = np.flatnonzero(values == CR)
        inside = returns[returns + 1 < len(values)]
        ends[inside[values[inside + 1] != LF]] = True
        if is_last and len(values):
            ends[-1] |= values[-1] == CR
    places = np.flatnonzero(ends) + 1
    if is_last and len(values) and (not len(places) or places[-1] != len(values)):
        places = np.append(places, len(values))
    return places


def row_blocks(
    read: Callable[[int], bytes], size: int, quoting: Quoting, num_columns: int = 0, begin: int = 0
) -> Iterator[bytes]:
    """All bytes, in blocks that end with a row, of about ``size`` bytes if rows are shorter.

    ``begin``: the byte of the file at which ``read`` begins, where a row does. ``num_columns``: to
    tell rows from lines of a cell; 0: unknown.

    Raises:
        QuoteFault: a quote contradicts the quoting; its byte counts from the file's beginning.
        LongRow: a row takes more than LONGEST bytes.
    """
    rest, is_last = b"", False
    while not is_last:
        block = read(size)
        data, is_last = rest + block, not block
        try:
            end = quoting.last_end(data, is_last=is_last, num_columns=num_columns)
            if len(data) - end > LONGEST:
                quoting.row_ends(data[end:], is_last=True)  # perhaps for want of a closing quote
                raise LongRow(begin + end)
        except QuoteFault as fault:
            raise QuoteFault(begin + fault.begin, fault.reason) from fault
        if end:
            yield data[:end]
        rest, begin = data[end:], begin + end


@dataclass(frozen=True)
class Index:
    """The rows of a file, the header among them: how many there are, and at which bytes the rows
    0, STRIDE, 2 STRIDE, ... begin."""

    num_rows: int
    offsets: np.ndarray

    @classmethod
    def of(cls, read: Callable[[int], bytes], size: int, quoting: Quoting) -> "Index":
        """By one look at all bytes, ``size`` at a time.

        Raises:
            QuoteFault: at a byte of the file.
        """
        num_rows, place, offsets = 0, 0, []
        for block in row_blocks(read, size, quoting):
            ends = quoting.row_ends(block, is_last=True)
            begins = np.concatenate([[0], ends[:-1]])
            begins = begins[_filled(block, begins, ends)]
            offsets.append(place + begins[-num_rows % STRIDE :: STRIDE])
            num_rows += len(begins)
            place += len(block)
        return cls(num_rows, np.concatenate([np.zeros(0, np.int64), *offsets]))

    def before(self, row: int) -> tuple[int, int]:
        """The last indexed row that is not after a row, and the byte at which it begins."""
        entry = min(row // STRIDE, len(self.offsets) - 1)
        return entry * STRIDE, int(self.offsets[entry])


def _filled(data: bytes, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Which lines hold more than a line break."""
    lengths = ends - begins
    filled = lengths > 2
    for line in np.flatnonzero(~filled):
        filled[line] = bool(data[begins[line] : ends[line]].strip(b"\r\n"))
    return filled


def line_number(read: Callable[[int], bytes], size: int, offset: int) -> int:
    """The number of the line, counted from 1, in which a byte of a file lies."""
    count, place, last = 1, 0, b""
    while place < offset and (block := read(min(size, offset - place))):
        place += len(block)
        block = last + block
        last = block[-1:] if block.endswith(b"\r") else b""
        count += len(line_ends(block, is_last=False))
    return count + (last == b"\r")
