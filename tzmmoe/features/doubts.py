"""Signs that a vocabulary is not of the words that the data hold, told before training."""

import logging
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from tzmmoe.errors import exactly
from tzmmoe.features.forms import as_text
from tzmmoe.features.normalizer import Log10

log = logging.getLogger(__name__)

FEWEST_VALUES = 20  # below, that all are unknown may be chance
UNKNOWN_SHARE = 0.95
SEARCHED_WORDS = 2000  # of a vocabulary, for one that is close to a value
SPARSE = 4  # rows a word, from which on a number is more likely a count than a row


def _cut(word: str) -> str:
    return re.sub(r"[\t ,;|]+-?\d+$", "", word)


def _unquoted(word: str) -> str:
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'" else word


# How two words may differ that mean the same, each with the form in which they are equal.
DIFFERENCES: Sequence[tuple[str, Callable[[str], str]]] = (
    ("blanks around words", str.strip),
    ("quotes around words", _unquoted),
    ("upper and lower case", str.casefold),
    ("a number at the end of lines, which are not all word<TAB>row", _cut),
)


def warn_of_pairs(file: Path, lines: Sequence[str], rows: Sequence[int] | None) -> None:
    """Warn of numbers behind tabs that may not be rows. ``rows``: those of lines that are all
    word<TAB>row; None if they are not."""
    if rows is None:
        other = [line for line in lines if not re.fullmatch(r".+\t\d+", line)]
        if len(lines) > 2 and len(other) <= len(lines) / 10 + 1 and "\t" in "".join(lines):
            log.warning(
                "vocab_file %s: %s of %s lines are word<TAB>row, but not %r, so each whole line is "
                "taken as a word; correct or remove it",
                file,
                f"{len(lines) - len(other):,}",
                f"{len(lines):,}",
                other[0],
            )
        return
    falls = all(first >= second for first, second in pairwise(rows))
    is_count = falls and len(set(rows)) < len(rows)
    if len(rows) > 2 and (is_count or max(rows) >= SPARSE * len(rows)):
        log.warning(
            "vocab_file %s: has rows up to %s for %s words, as in %r; if the number behind the tab "
            "is a count, remove it",
            file,
            f"{max(rows):,}",
            f"{len(rows):,}",
            lines[0],
        )


def warn_of_unknown(name: str, flat: pa.Array, unknown: np.ndarray | None, words: pa.Array) -> bool:
    """Warn if nearly all values (N,) of a feature are ``unknown`` to a vocabulary of ``words``;
    whether there were enough of them to tell."""
    if len(flat) < FEWEST_VALUES:
        return False
    share = 0.0 if unknown is None else float(unknown.mean())
    if share >= UNKNOWN_SHARE:
        value = as_text(flat.slice(int(unknown.argmax()), 1))[0].as_py()
        word, difference = _nearest(value, words.slice(0, SEARCHED_WORDS).to_pylist())
        log.warning(
            "%s: %.0f%% of the first %s values are not in its vocabulary: the data hold %r, the "
            "vocabulary %r%s; correct one of them",
            name,
            100 * share,
            f"{len(flat):,}",
            value,
            word,
            difference,
        )
    return True


def warn_of_small(name: str, numbers: np.ndarray, log10: Log10) -> bool:
    """Warn of numbers that have no logarithm, which a normalizer replaces by its default.

    Returns whether there were enough numbers to tell, not counting NaN.
    """
    numbers = numbers[~np.isnan(numbers)]
    if len(numbers) < FEWEST_VALUES:
        return False
    share = float((numbers <= log10.threshold).mean())
    if share:
        log.warning(
            "%s: %.2g%% of the first %s values are %s or less, which method=log10 turns into %s; "
            "if that is far from the others, set its default, or take "
            "method=expression,expr=log(x + 1)",
            name,
            100 * share,
            f"{len(numbers):,}",
            exactly(log10.threshold),
            exactly(log10.default),
        )
    return True


def _nearest(value: str, words: Sequence[str]) -> tuple[str, str]:
    """The word that is most like a value, and how they differ if they may mean the same."""
    for what, form in DIFFERENCES:
        for word in words:
            if form(word) == form(value):
                return word, f"; they differ by {what}"
    for word in words:  # by several of these
        if _bare(word) == _bare(value):
            return word, ""
    close = get_close_matches(value, words, n=1, cutoff=0.0)
    return (close or words)[0], ""


def _bare(word: str) -> str:
    for _, form in reversed(DIFFERENCES):
        word = form(word).strip()
    return word
