"""The quoting of a CSV file, chosen by looking at its beginning."""

from collections.abc import Iterator
from dataclasses import dataclass

from tzmmoe.data.reading.lines import QuoteFault, Quoting, line_ends

SAMPLE_BYTES = 1 << 20  # of the first file


@dataclass(frozen=True)
class Trial:
    """What a quoting makes of a sample: how many cells it finds enclosed, and the first line that
    contradicts it; None: no line."""

    enclosed: int
    fault: tuple[int, str] | None


def chosen(sample: bytes, delimiter: str) -> tuple[str, str]:
    """DOUBLED, ESCAPED or OFF, and the reason; it is empty if quotes play no role.

    ``sample``: the beginning of a file; a last line that is not complete does not count.

    OFF needs evidence: quotes that enclose nothing, while every line has the same number of
    delimiters. If most quotes do enclose cells, the file is quoted, and a row that breaks the rule
    is reported when it is read.
    """
    whole = line_ends(sample, is_last=False)
    sample = sample[: whole[-1]] if len(whole) else b""
    if b'"' not in sample:
        return "DOUBLED", ""
    doubled = _trial(sample, "DOUBLED", delimiter)
    if doubled.fault is None:
        return "DOUBLED", "its quotes enclose cells" if doubled.enclosed else ""
    escaped = _trial(sample, "ESCAPED", delimiter)
    if escaped.fault is None and escaped.enclosed:
        return "ESCAPED", 'quotes within its cells are written \\"'
    beginning = sum(cell.startswith(b'"') for cell in _cells(sample, delimiter))
    widths = {line.count(delimiter.encode()) for line in sample.splitlines() if line}
    if len(widths) == 1 and 2 * doubled.enclosed < beginning:
        line, reason = doubled.fault
        return "OFF", f"in line {line:,}, the cell that begins with a quote {reason}"
    return "DOUBLED", "most of its quotes enclose cells"


def _trial(sample: bytes, word: str, delimiter: str) -> Trial:
    """A sample may end within a quoted cell, so what is left open at its end is no fault, unless
    the lines since then look like rows."""
    quoting = Quoting(word, delimiter, is_chosen=True)
    width = sample[: line_ends(sample, is_last=True)[0]].count(delimiter.encode()) + 1
    begin, enclosed, fault = 0, 0, None
    try:
        ends = quoting.row_ends(sample, is_last=False)
        quoting.check_rows(sample, ends, width)
        begin = int(ends[-1]) if len(ends) else 0
        if begin < len(sample):
            quoting.check_rows(sample[begin:], line_ends(sample[begin:], is_last=True)[-1:], width)
    except QuoteFault as found:
        place = begin + found.begin
        fault = (len(line_ends(sample[:place], is_last=False)) + 1, found.reason)
    for cell in _cells(sample, delimiter):
        enclosed += len(cell) > 1 and cell.startswith(b'"') and cell.endswith(b'"')
    return Trial(enclosed, fault)


def _cells(sample: bytes, delimiter: str) -> Iterator[bytes]:
    """The cells, were quotes characters as any other."""
    for line in sample.splitlines():
        yield from line.split(delimiter.encode())
