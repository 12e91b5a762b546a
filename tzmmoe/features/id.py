"""Categories: each value is a row of an embedding table."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzmmoe.errors import ConfigError
from tzmmoe.features.base import FEATURES, Feature, Ids, Setting, Tally, table_name
from tzmmoe.features.column import Values, read
from tzmmoe.features.forms import BadValue, is_text
from tzmmoe.features.lookup import Hash, Identity, Lookup, read_vocab_file, vocabulary
from tzmmoe.tables.constraints import Constraints
from tzmmoe.tables.initializers import table_initializer
from tzmmoe.tables.table import Table

log = logging.getLogger(__name__)

UNWRITTEN = ("\x1d", "\x03")  # separators of the schema's defaults, which nobody types
LOOKED_AT = 1000  # values


@FEATURES.register("id_feature")
class IdFeature(Feature):
    """One or many categories for each row of data."""

    def __init__(
        self,
        setting: Setting,
        *,
        feature_name: str,
        expression: str | None,
        embedding_name: str | None,
        embedding_dim: int | None,
        hash_bucket_size: int | None,
        num_buckets: int | None,
        vocab_list: Sequence[str],
        vocab_dict: Mapping[str, int],
        value_dim: int,
        pooling: str,
        default_value: str,
        separator: str,
        weighted: bool,
        init_fn: str | None,
        use_mask: bool,
        vocab_file: str | None,
        fg_encoded_default_value: str | None,
        default_bucketize_value: int | None,
        trainable: bool,
        out_of_range: str,
        embedding_constraints: Mapping[str, Any] | None,
    ) -> None:
        encoded = setting.fg_mode == "FG_NONE"
        self.name = feature_name
        self.origin = setting.origin(expression or "", feature_name)
        self.pooling = checked_pooling(pooling, weighted)
        self.weighted = weighted
        self.use_mask = use_mask
        self.separator = setting.separator(separator)
        self._most = value_dim
        self._has_looked = False
        sizes = {
            "hash_bucket_size": hash_bucket_size,
            "num_buckets": num_buckets,
            "vocab_list": vocab_list,
            "vocab_dict": vocab_dict,
            "vocab_file": vocab_file,
        }
        lookup = id_lookup(sizes, setting, default_value, default_bucketize_value, out_of_range)
        self._lookup = Identity(lookup.rows, out_of_range, encoded=True) if encoded else lookup
        self.meaning = self._lookup.meaning
        self.table = Table(
            name=table_name(embedding_name, feature_name),
            rows=lookup.rows,
            dim=checked_dim(embedding_dim),
            trainable=trainable,
            init_text=init_fn or "",
            init=table_initializer(init_fn, lookup.rows),
            constraints=Constraints.of(embedding_constraints),
        )
        self.width = self.table.dim
        place = "fg_encoded_default_value" if encoded else "default_value"
        default = fg_encoded_default_value if encoded else default_value
        if weighted and ":" in (default or ""):
            words = f"is {default!r}; a default has weight 1, so give its value alone"
            raise ConfigError.at(place, words)
        self._default_texts = default_texts(default, self.separator)[: value_dim or None]
        self._default = default_ids(self._lookup, self._default_texts, place)

    def values(self, origin: Values) -> Values:
        return self._first(origin).filled(self._default_texts)

    def encode(self, origin: Values) -> tuple[Ids, Tally]:
        values = self._first(origin)
        if not self._has_looked:
            self._has_looked = True
            warn_of_bars(self.name, values.flat, self.separator)
        ids, strange = find(self._lookup, values)
        return with_default(
            Ids(ids, values.lengths, values.weights),
            values.missing(),
            self._default,
            strange,
            outside=isinstance(self._lookup, Identity),
        )

    def _first(self, origin: Values) -> Values:
        return origin.first(self._most) if self._most else origin


def id_lookup(
    sizes: Mapping[str, Any],
    setting: Setting,
    default_value: str,
    unknown: int | None,
    out_of_range: str,
) -> Lookup:
    """The one way to a row that the config chooses; ``unknown`` is default_bucketize_value."""
    chosen = [name for name, size in sizes.items() if size]
    if len(chosen) != 1:
        what = " and ".join(chosen) if chosen else f"none of {', '.join(sizes)}"
        raise ConfigError.at("", f"has {what}; give one")
    size = sizes[chosen[0]]
    if chosen[0] in ("hash_bucket_size", "num_buckets") and unknown is not None:
        raise ConfigError.at("default_bucketize_value", f"has no effect with {chosen[0]}")
    if chosen[0] == "hash_bucket_size":
        return Hash(size, setting.hash_function)
    if chosen[0] == "num_buckets":
        return Identity(size, out_of_range, encoded=False)
    if chosen[0] == "vocab_file":
        if unknown is None:
            raise ConfigError.at(
                "default_bucketize_value", "is not set; vocab_file needs the row of unknown words"
            )
        size = read_vocab_file(size, setting.folder)
    return vocabulary(size, default_value, unknown)


def checked_dim(dim: int | None) -> int:
    if not dim:
        what = "is not set" if dim is None else "is 0"
        raise ConfigError.at("embedding_dim", f"{what}; give the width of the embedding")
    return dim


def checked_pooling(word: str, weighted: bool) -> str:
    if word not in ("sum", "mean"):
        raise ConfigError.at("pooling", f"is {word!r}; give 'sum' or 'mean'")
    if weighted and word == "mean":
        raise ConfigError.at("pooling", "is 'mean', but weighted values are always summed")
    return word


def default_texts(text: str | None, separator: str) -> pa.Array:
    """What stands for a missing value, cut at the separator; nothing for ``""``."""
    return read(pa.array([text or ""]), separator, weighted=False).flat


def default_ids(lookup: Lookup, texts: pa.Array, place: str) -> np.ndarray:
    """Rows that stand for a missing value; ``place`` is the field that says so."""
    try:
        rows, strange = lookup.find(texts)
    except BadValue as bad:
        raise ConfigError.at(place, bad.text) from bad
    if strange is not None and isinstance(lookup, Identity):
        found = texts[int(np.flatnonzero(strange)[0])].as_py()
        raise ConfigError.at(place, f"is {found}, outside the table's rows, 0 to {lookup.rows - 1}")
    return rows


def find(lookup: Lookup, values: Values) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows of all values, and which values were unknown or outside."""
    try:
        rows, strange = lookup.find(values.flat)
    except BadValue as bad:
        if values.codes is not None:  # perhaps a word that no row uses
            return find(lookup, values.plain())
        raise BadValue(values.row_of(bad.row), bad.text) from bad
    if values.codes is None:
        return rows, strange
    return rows[values.codes], None if strange is None else strange[values.codes]


def with_default(
    ids: Ids,
    missing: np.ndarray | None,
    default: np.ndarray,
    strange: np.ndarray | None,
    *,
    outside: bool,
) -> tuple[Ids, Tally]:
    """Give rows without ids the default ones, and count the rows."""
    num_strange = 0 if strange is None else _rows_with(strange, ids.lengths)
    num_missing = 0 if missing is None else int(missing.sum())
    tally = Tally(
        missing=num_missing,
        defaulted=num_missing if len(default) else 0,
        unknown=0 if outside else num_strange,
        outside=num_strange if outside else 0,
    )
    if missing is None or not len(default):
        return ids, tally
    lengths = np.where(missing, len(default), ids.lengths)
    fresh = np.repeat(missing, lengths)
    values = np.empty(len(fresh), np.int64)
    values[fresh] = np.tile(default, num_missing)
    values[~fresh] = ids.values
    weights = None
    if ids.weights is not None:
        weights = np.ones(len(fresh), np.float32)
        weights[~fresh] = ids.weights
    return Ids(values, None if (lengths == 1).all() else lengths, weights), tally


def _rows_with(strange: np.ndarray, lengths: np.ndarray | None) -> int:
    if lengths is None:
        return int(strange.sum())
    return len(np.unique(np.repeat(np.arange(len(lengths)), lengths)[strange]))


def warn_of_bars(name: str, flat: pa.Array, separator: str) -> None:
    """Lists in text cells, as a|b in CSV, would be taken for one value without any sign."""
    if separator not in UNWRITTEN or not is_text(flat.type):
        return
    first = flat.slice(0, LOOKED_AT)
    barred = first.filter(pc.match_substring(first, "|"))
    if len(barred):
        log.warning(
            "%s: %r is taken for one value; if it is a list, set the feature's separator, or "
            "data_config.fg_encoded_multival_sep under FG_NONE",
            name,
            barred[0].as_py(),
        )


def check_shared(tables: Sequence[tuple[str, Table]]) -> None:
    """Raise ConfigError when features share a table but describe it differently."""
    seen: dict[str, tuple[str, Table]] = {}
    for feature, each in tables:
        owner, first = seen.setdefault(each.name, (feature, each))
        if first != each:
            raise ConfigError.at(
                "feature_configs",
                f"{owner!r} and {feature!r} share the table {each.name!r}, but differ: "
                f"{first.rows} x {first.dim} and {each.rows} x {each.dim} "
                f"(rows, embedding_dim, init_fn, trainable and embedding_constraints must agree)",
            )
