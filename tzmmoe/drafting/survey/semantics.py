"""What the values of a column seem to mean beyond their type: ids, dates, points in time, several
values in one text, true and false; and why a column cannot be a feature."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tzmmoe.drafting.survey.columns.profile import ColumnProfile

OWN = 0.9  # a column with a larger share of distinct values names its rows
HASHES = 2.0**53  # beyond it float64 skips integers; no amount is so large
IDENTIFIER = re.compile(
    r"(^|[\W_])(id|uid|guid|uuid|key|code|zip|sku)s?$|(user|item|product|session)id$"
    r"|^(user|item|product|shop|store|seller|merchant|ad|advertiser|campaign|creative|category|brand"
    r"|page|video|movie|song|author|city)$",
    re.IGNORECASE,
)
CAMEL = re.compile(r"[a-z](Id|ID)s?$")
DENSE = 100  # whole numbers below this are rows of a table themselves
MARKS = ("|", ";", ",")
SURE = "|"  # is hardly ever a part of a text
HALF = 0.5  # of the cells with it hold a part that comes again in another cell
OFTEN = 0.1  # share of the distinct cells that hold the mark
FEWER = 0.5  # distinct parts, as a share of distinct cells: parts come again, whole cells do not


def reason(column: ColumnProfile, *, chosen: bool) -> str | None:
    """Why the column is left out; None when it may be a feature. ``chosen``: the user says what it
    is."""
    if not column.kind:
        return column.trouble
    if not column.num_values:
        return "has no value in any row"
    if column.constant:
        return "has the same value in every row"
    if not column.listed:
        return None if chosen else _repeated(column)
    if column.kind == "number" and column.shortest != column.longest and not column.whole:
        return (
            f"lists of {column.shortest} to {column.longest} numbers; a raw_feature needs equally "
            "many in every row"
        )
    return None


def is_named_id(column: ColumnProfile) -> bool:
    """Integers that count nothing, by their name: user_id, zip, itemId."""
    return bool(IDENTIFIER.search(column.name) or CAMEL.search(column.name))


def is_identifier(column: ColumnProfile) -> bool:
    """Integers that count nothing, by their name or as large as hashes."""
    large = column.kind == "whole" and max(abs(column.low), abs(column.high)) >= HASHES
    return is_named_id(column) or large


def looks_like_ids(label: ColumnProfile) -> bool:
    """Whether a label names its rows or things rather than being an outcome."""
    own = label.whole and label.num_distinct > OWN * label.num_values and _counts_rows(label)
    return own or (label.whole and is_named_id(label) and label.num_distinct > 2)


def is_dense(column: ColumnProfile) -> bool:
    """Integers from 0 on, without many gaps."""
    few = column.low >= 0 and column.high < DENSE
    return few and column.num_distinct > (column.high + 1) / 2


def says_true_or_false(column: ColumnProfile) -> bool:
    return {word.lower() for word in column.words} == {"true", "false"}


@dataclass(frozen=True)
class Separated:
    """``mark`` cuts cells into ``num_distinct`` parts, at most ``longest`` of them in one.
    ``doubtful``: the cells may be whole."""

    mark: str
    num_distinct: int
    longest: int
    doubtful: bool = False


def split_at_will(words: Sequence[str]) -> Separated | None:
    """Of distinct cells that are said to be lists, at the mark in most of them; None without."""
    holding = {mark: sum(mark in word for word in words) for mark in (*MARKS, " ")}
    mark = max(holding, key=holding.__getitem__)
    if not holding[mark]:
        return None
    cells = [word.split(mark) for word in words]
    parts = {part for cell in cells for part in cell if part}
    return Separated(mark, len(parts), max(map(len, cells)))


def separated(words: Sequence[str]) -> Separated | None:
    """Of distinct cells; None when they seem to be whole."""
    for mark in MARKS:
        cells = [word.split(mark) for word in words]
        parts = Counter(part for cell in cells for part in set(cell) if part)
        several = [cell for cell in cells if len(cell) > 1]
        if not several or any(part != part.strip() for part in parts):
            continue  # prose, as in "Smith, John"
        few = len(parts) <= FEWER * len(cells) and len(several) >= OFTEN * len(cells)
        again = sum(any(parts[part] > 1 for part in cell) for cell in several)
        if few or (mark == SURE and again >= HALF * len(several)):
            return Separated(mark, len(parts), max(map(len, cells)), doubtful=not few)
    return None


def with_mark(words: Sequence[str]) -> str:
    """A text that may be several values, where many of the distinct texts may; else ""."""
    for mark in MARKS:
        several = [word for word in words if mark in word.strip(mark)]
        if several and len(several) >= OFTEN * len(words) and f"{mark} " not in several[0]:
            return several[0]
    return ""


def about(column: ColumnProfile) -> str:
    """The number of distinct values, in words; an estimate has three digits."""
    if column.exact:
        return f"{column.num_distinct:,}"
    return f"about {float(f'{column.num_distinct:.3g}'):,.0f}"


def _repeated(column: ColumnProfile) -> str | None:
    """Why single values will not come again in later rows."""
    own = column.num_distinct > OWN * column.num_values
    if own and column.kind == "text":
        return f"{about(column)} distinct texts in {column.num_values:,} rows: identifies the row"
    if own and column.kind == "whole" and _counts_rows(column):
        return (
            f"{about(column)} distinct integers in {column.num_values:,} rows: identifies the row"
        )
    return None


def _counts_rows(column: ColumnProfile) -> bool:
    """Integers that are all different: ids by name, in order, or without gaps."""
    dense = column.high - column.low < 2 * column.num_values
    return is_identifier(column) or column.ascending or dense
