"""Definitions of inputs -> feature_configs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tzmmoe.drafting.section import Section, is_number, is_whole, shown
from tzmmoe.drafting.tencent.inputs import plain_name
from tzmmoe.drafting.tencent.words import DTYPES, INITIALIZERS, OTHER_POOLINGS, POOLINGS, meant
from tzmmoe.drafting.traced import TracedPart
from tzmmoe.textformat.scalars import json_kind


@dataclass(frozen=True)
class TableSize:
    """The field that sets the number of rows, and its value; None after a fault."""

    field: str
    size: Any


def table(section: Section, dtype: str, folder: str) -> TableSize:
    """Rows by number, by hash or by word. ``dtype`` is int or text; ``folder`` is the job's."""
    given = [name for name in SIZES if section.has(name)]
    if len(given) > 1:
        section.fault(given[1], f"is set, and so is {given[0]}; keep one")
    if section.whole("num_oov_buckets", 0, least=0).value > 1:
        section.fault(
            "num_oov_buckets", "above 1 is not supported: unknown words share one row; remove it"
        )
    if given[0] != "vocab_size":
        section.idle("hash_type", "there is a vocabulary")
        words = _listed(section) if given[0] == "vocab_list" else _of_file(section, folder)
        if dtype == "int":
            words = _as_integers(section, given[0], words)
        if len(set(words)) < len(words):
            section.fault(given[0], "lists a word twice; remove one")
        return TableSize("vocab_list", words or None)
    size = section.whole("vocab_size", None, least=1).value
    kind = section.text("hash_type", "hash" if dtype == "text" else "mod").value.strip().lower()
    if kind not in ("hash", "mod"):
        section.fault("hash_type", f"is {kind!r}; give hash or mod")
    if kind == "mod" and dtype == "text":
        section.fault("hash_type", "is mod, which text cannot have; give hash")
    return TableSize("hash_bucket_size" if kind == "hash" else "num_buckets", size)


def _listed(section: Section) -> list[str]:
    words = section.any("vocab_list").value
    if not isinstance(words, list) or not words:
        section.fault("vocab_list", f"is {shown(words)}; give a list of words")
        return []
    if not all(isinstance(word, str | int) and not isinstance(word, bool) for word in words):
        section.fault(
            "vocab_list", "holds something other than strings and whole numbers; remove it"
        )
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
        words = (
            f"cannot read {given}: {error.strerror}; check the path, its words go into the config"
        )
        section.fault("vocab_file", words)
        return []
    except UnicodeDecodeError as error:
        section.fault("vocab_file", f"{given} is not UTF-8 text: {error}; save it as UTF-8")
        return []
    words = [line.strip() for line in lines if line.strip()]
    if not words:
        section.fault("vocab_file", f"{given} is empty; give one word a line")
    return words


def _as_integers(section: Section, name: str, words: list[str]) -> list[str]:
    """As the data have them: 7, not 007."""
    try:
        return [str(int(word)) for word in words]
    except ValueError as error:
        section.fault(name, f"holds text, but dtype is int: {error}; give whole numbers")
        return []


OF_TABLES = (
    "embedding_dim",
    "embedding_name",
    "embedding_combiner",
    "embedding_initializer",
    "hash_type",
    "num_oov_buckets",
)
ROWS = (
    "whole numbers with vocab_size are rows of their table, or their remainder is; where the job "
    "comes from, they are hashed unless hash_type is mod (hash_type: hash does so here too)"
)


class Features:
    """Adds features to a config. Those that share a table must describe it alike."""

    def __init__(self, root: TracedPart, definitions: Mapping[str, Section], folder: str) -> None:
        self.root, self.definitions, self.folder = root, definitions, folder
        self.names: dict[str, str] = {}  # of features, by column
        self.tables: dict[str, tuple[str, Any]] = {}
        self.hashes = False

    def add(self, column: str) -> None:
        """The feature of a column."""
        section = self.definitions[column]
        name = self.names[column] = plain_name(column)
        if list(self.names.values()).count(name) > 1:
            section.fault("name", f"{column!r} and another name both become {name!r}; rename one")
        dtype = word(section, "dtype", DTYPES)
        if dtype is None:
            return
        kind = section.text("dtype").value.strip()
        owner = self.root.part("feature_configs")
        owner.mark(section.path, kind)
        sizes = [size for size in SIZES if section.has(size)]
        if section.has("bucket_boundaries"):
            for size in sizes:
                section.idle(size, "bucket_boundaries are set")
            found = self._bucketed(owner, section, dtype)
        elif sizes and dtype != "float":
            found = self._category(owner, section, dtype)
        elif dtype == "text":
            section.fault("vocab_size", "is not set; give vocab_size, vocab_list or vocab_file")
            return
        else:
            for size in sizes:
                section.fault(size, "is not supported for floats; give bucket_boundaries")
            found = self._number(owner, section)
        found.message.feature_name = name
        if name != column:
            found.message.expression = f"user:{column}"
        what = f"{found.path.rpartition('.')[2]} {size_of(found)}".rstrip()
        self.root.draft.report.features.append(f"{column} ({kind}) -> {what}")

    def _category(self, owner: TracedPart, section: Section, dtype: str) -> TracedPart:
        part, found = owner.part("id_feature"), table(section, dtype, self.folder)
        self.hashes |= found.field == "hash_bucket_size"
        if found.size is not None:
            part.set(found.field, found.size)
        if found.field == "num_buckets":
            part.message.out_of_range = part.message.MODULO
            self._note_rows(section)
        self._embed(part, section, found)
        part.set("default_value", _default(section, dtype, found))
        section.flag("zscore")
        for key in ("zscore", "mean", "std"):
            section.idle(key, "it is an id")
        if section.has("shape") and section.value["shape"] not in (1, [1]):
            section.idle("shape", "a row has as many values as its cell")
        return part

    def _note_rows(self, section: Section) -> None:
        """Say once that numbers are rows, which the job may not expect."""
        if not section.has("hash_type"):
            self.root.note(ROWS)

    def _bucketed(self, owner: TracedPart, section: Section, dtype: str) -> TracedPart:
        part, cuts = owner.part("raw_feature"), section.any("bucket_boundaries").value
        if dtype == "text":
            section.fault("bucket_boundaries", "cut numbers, but dtype is text; remove them")
        if not isinstance(cuts, list) or not cuts or not all(is_number(cut) for cut in cuts):
            section.fault("bucket_boundaries", f"is {shown(cuts)}; give a list of numbers")
        elif len(set(cuts)) < len(cuts):
            section.fault("bucket_boundaries", "lists a number twice; remove one")
        else:
            part.set("boundaries", sorted(cuts))
        _numeric(part, section)
        self._embed(part, section, TableSize("boundaries", cuts))
        return part

    def _number(self, owner: TracedPart, section: Section) -> TracedPart:
        part = owner.part("raw_feature")
        _numeric(part, section)
        for name in OF_TABLES:
            section.idle(name, "a number without vocabulary or boundaries enters as it is")
        return part

    def _embed(self, part: TracedPart, section: Section, found: TableSize) -> None:
        """Width, name, pooling and start of the feature's table."""
        dim = section.whole("embedding_dim", None, least=1)
        if not dim:
            section.fault("embedding_dim", "is not set; give the width of the embedding")
        part.set("embedding_dim", dim.value)
        part.set("pooling", word(section, "embedding_combiner", POOLINGS, "mean", OTHER_POOLINGS))
        start = word(section, "embedding_initializer", INITIALIZERS, "uniform")
        part.set("init_fn", start)
        if section.text("val_sep").value:
            part.set("separator", section.text("val_sep").value)
        name = section.text("embedding_name").value.strip()
        if name:
            part.set("embedding_name", plain_name(name))
            own = (found.field, found.size, dim.value, start)
            path, known = self.tables.setdefault(name, (section.path, own))
            if own != known:
                words = f"is {name!r}, but {path} describes that table differently; make them equal"
                section.fault("embedding_name", words)


def _numeric(part: TracedPart, section: Section) -> None:
    """How many numbers, how they are scaled, and what stands for a missing one."""
    part.set("value_dim", _value_dim(section))
    default = section.number("default_value", 0).value or 0
    if section.flag("zscore").value:
        mean, deviation = section.number("mean").value, section.number("std").value
        if mean is None or deviation is None or deviation <= 0:
            section.fault("zscore", "needs mean, and std above 0; set both")
            return
        part.set("normalizer", f"method=zscore,mean={mean!r},standard_deviation={deviation!r}")
        default = (default - mean) / deviation  # ours stands for a missing value after scaling
    else:
        for name in ("mean", "std"):
            section.idle(name, "zscore is not true")
    part.set("default_value", repr(float(default)).removesuffix(".0"))
    if section.text("val_sep").value:
        part.set("separator", section.text("val_sep").value)


def _value_dim(section: Section) -> int:
    shape = section.any("shape").value
    sizes = [1] if shape is None else shape if isinstance(shape, list) else [shape]
    if not all(is_whole(size) for size in sizes):
        section.fault("shape", f"is {shape}; give the number of values of a row, such as [1]")
        return 1
    return math.prod(int(size) for size in sizes)


def _default(section: Section, dtype: str, found: TableSize) -> str:
    """The id that stands for a missing value. Unset: 0 for numbers, nothing for text and lists."""
    given = section.any("default_value").value
    is_list = bool(section.text("val_sep").value)
    if given is None:
        return "" if is_list or dtype == "text" else "0"
    if isinstance(given, bool | list | dict):
        section.fault("default_value", f"is {json_kind(given)}; give one value")
        return ""
    text = str(int(given)) if isinstance(given, float) and given.is_integer() else str(given)
    if found.field != "num_buckets" or is_list or not found.size:
        return text
    try:
        return str(int(text) % found.size)
    except ValueError:
        section.fault("default_value", f"is {text!r}; give a whole number")
        return ""


def word(
    section: Section, name: str, known: Mapping[str, Any], default: str = "", foreign: str = ""
) -> Any:
    """What the name in a key stands for; None after a fault."""
    given = section.text(name, default)
    if not given.value:
        section.fault(name, f"is not set; give one of {', '.join(known)}")
        return None
    try:
        return meant(given.value, known, foreign)
    except ValueError as error:
        section.fault(name, str(error))
        return None


def size_of(part: TracedPart) -> str:
    """What tells the size of a feature."""
    message = part.message
    for name in ("num_buckets", "hash_bucket_size"):
        if name in message.DESCRIPTOR.fields_by_name and message.HasField(name):
            return f"{name}: {getattr(message, name)}"
    for name in ("vocab_list", "boundaries"):
        if name in message.DESCRIPTOR.fields_by_name and getattr(message, name):
            return f"with {len(getattr(message, name))} {name}"
    return ""


SIZES = ("vocab_size", "vocab_list", "vocab_file")
