"""Lists that a program has printed into text cells: ``[1, 2, 3]``, ``['a', 'b']``, ``[1 2 3]``."""

import ast
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzmmoe.features.forms import BadValue

TEXT = pa.large_string()
MISSING = ("None", "nan", "NaN", "null", "NULL", "NaT", "<NA>")  # where they stand without quotes
# One element: in quotes, or bare. The simple ones hold nothing that would need a closer look.
BARE = r"[^\s,'\"\[\](){}\\]+"
SIMPLE = rf"(?:'[^'\s,\\]*'|\"[^\"\s,\\]*\"|{BARE})"
WORDS = rf"(?:'[^',\\]*'|\"[^\",\\]*\"|{BARE}(?: +{BARE})*)"
BY_COMMA = rf"^[\[(]\s*(?:{WORDS}\s*(?:,\s*{WORDS}\s*)*,?\s*)?[\])]$"
BY_SPACE = rf"^\[\s*{SIMPLE}(?:\s+{SIMPLE})+\s*\]$"  # as numpy prints arrays
NUMPY = r"\bnp\.\w+\(([^()]*)\)"  # np.int64(7), as numpy prints what a list holds
ELEMENT = re.compile(
    r"""\s*(?:(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<bare>[^,'"\[\](){}\\]+?))\s*(?:,|$)""",
    re.S,
)


def lists(texts: pa.Array) -> pa.Array:
    """A list of texts from each text; null from null and from blanks. Its nulls are None and nan.

    Elements are separated by commas or, if there is none, by spaces. ``texts``: large_string.

    Raises:
        BadValue: a text that is not a list, or whose elements are lists.
    """
    trimmed = pc.utf8_trim_whitespace(texts)
    trimmed = pc.if_else(pc.equal(trimmed, ""), None, trimmed)
    if pc.any(pc.match_substring(trimmed, "np.")).as_py():
        trimmed = pc.replace_substring_regex(trimmed, NUMPY, r"\1")
    by_space = pc.match_substring_regex(trimmed, BY_SPACE).fill_null(False)
    if pc.any(by_space).as_py():
        commas = pc.replace_substring_regex(trimmed, r"\s+", ",")
        commas = pc.replace_substring_regex(commas, r"^(\[),|,(\])$", r"\1\2")
        trimmed = pc.if_else(by_space, commas, trimmed)
    simple = pc.match_substring_regex(trimmed, BY_COMMA).fill_null(False)
    simple = pc.and_not(simple, pc.match_substring(trimmed, "...").fill_null(False))
    made = _split(pc.if_else(simple, trimmed, pc.if_else(trimmed.is_null(), None, "[]")))
    others = np.flatnonzero(pc.and_(pc.invert(simple), trimmed.is_valid()).to_numpy(False))
    if not len(others):
        return made
    # Elements with commas, quotes or escapes are read one by one.
    parsed = [_elements(int(place), trimmed[int(place)].as_py()) for place in others]
    places = np.arange(len(texts))
    places[others] = len(texts) + np.arange(len(others))
    both = pa.concat_arrays([made, pa.array(parsed, made.type)])
    return both.take(pa.array(places))


def _split(texts: pa.Array) -> pa.LargeListArray:
    """Simple lists, cut at their commas."""
    inside = pc.replace_substring_regex(texts, r"^[\[(]\s*|\s*,?\s*[\])]$", "")
    parts = pc.split_pattern(inside, ",")
    lengths = pc.list_value_length(parts).fill_null(0).to_numpy(zero_copy_only=False)
    flat = pc.utf8_trim_whitespace(parts.flatten())
    is_quoted = pc.match_substring_regex(flat, "^['\"]")
    missing = pc.and_not(pc.is_in(flat, value_set=pa.array([*MISSING, ""], TEXT)), is_quoted)
    flat = pc.if_else(is_quoted, pc.utf8_slice_codeunits(flat, 1, -1), flat)
    flat = pc.if_else(missing, None, flat)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64())
    return pa.LargeListArray.from_arrays(offsets, flat, mask=texts.is_null())


def _elements(place: int, text: str) -> list[str | None]:
    """The elements of one list. Raises BadValue."""
    inside = text[1:-1].strip().removesuffix(",")
    if "..." in re.split(r"[\s,]+", inside):
        raise BadValue(place, f"{text[:60]!r} was shortened when it was printed; write it whole")
    if text[:1] + text[-1:] not in ("[]", "()") or len(text) < 2:
        words = f"{text[:60]!r} is not a list such as [1, 2]; remove list_format, or mend the cell"
        raise BadValue(place, words)
    elements: list[str | None] = []
    at = 0
    while at < len(inside):
        match = ELEMENT.match(inside, at)
        if match is None:
            words = f"{text[:60]!r} cannot be read as a list from {inside[at : at + 20]!r} on"
            raise BadValue(place, f"{words}; give texts in quotes and numbers, between commas")
        bare = match["bare"]
        if bare is None:
            elements.append(ast.literal_eval(match["quoted"]))
        else:
            elements.append(None if bare.strip() in MISSING else bare.strip())
        at = match.end()
    return elements
