"""What a definition says of its ids -> rows of a table."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tzmmoe.convert.section import Section

SIZES = ("vocab_size", "vocab_list", "vocab_file")


@dataclass(frozen=True)
class Table:
    """The field that tells the rows, and its value; None when it cannot be told."""

    field: str
    size: Any


def table(section: Section, dtype: str, folder: str) -> Table:
    """Rows by number, by hash or by word. ``dtype`` is int or text; ``folder`` is the job's."""
    given = [name for name in SIZES if section.has(name)]
    if len(given) > 1:
        section.fault(given[1], f"and {given[0]} are both set; keep one")
    if section.whole("num_oov_buckets", 0, least=0).value > 1:
        section.fault("num_oov_buckets", "above 1 is not supported: unknown words share one row")
    if given[0] != "vocab_size":
        section.idle("hash_type", "there is a vocabulary")
        words = _listed(section) if given[0] == "vocab_list" else _of_file(section, folder)
        if dtype == "int":
            words = _as_integers(section, given[0], words)
        if len(set(words)) < len(words):
            section.fault(given[0], "holds a word twice; give each once")
        return Table("vocab_list", words or None)
    size = section.whole("vocab_size", None, least=1).value
    kind = section.text("hash_type", "hash" if dtype == "text" else "mod").value.strip().lower()
    if kind not in ("hash", "mod"):
        section.fault("hash_type", f"is {kind!r}; give hash or mod")
    if kind == "mod" and dtype == "text":
        section.fault("hash_type", "is mod, which text cannot have; give hash")
    return Table("hash_bucket_size" if kind == "hash" else "num_buckets", size)


def _listed(section: Section) -> list[str]:
    words = section.any("vocab_list").value
    if not isinstance(words, list) or not words:
        section.fault("vocab_list", "is no list of words; give some")
        return []
    if not all(isinstance(word, str | int) and not isinstance(word, bool) for word in words):
        section.fault("vocab_list", "holds what is no word; give texts or whole numbers")
        return []
    return [str(word) for word in words]


def _of_file(section: Section, folder: str) -> list[str]:
    """Words on lines; they go into the config, where unknown words have a row of their own."""
    given = section.text("vocab_file").value.strip()
    path = Path(given)
    if not path.is_file():
        path = Path(folder) / given
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        words = f"cannot read {given}: {error.strerror}; its words go into the config"
        section.fault("vocab_file", words)
        return []
    except UnicodeDecodeError as error:
        section.fault("vocab_file", f"{given} is no text in UTF-8: {error}")
        return []
    words = [line.strip() for line in lines if line.strip()]
    if not words:
        section.fault("vocab_file", f"{given} is empty")
    return words


def _as_integers(section: Section, name: str, words: list[str]) -> list[str]:
    """As the data have them: 7, not 007."""
    try:
        return [str(int(word)) for word in words]
    except ValueError as error:
        section.fault(name, f"holds what is no whole number, but dtype is int: {error}")
        return []
