"""Categories: each value is a row of an embedding table."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tzmmoe.errors import ConfigError
from tzmmoe.features.base import FEATURES, Feature
from tzmmoe.features.column import distinct, filled
from tzmmoe.features.forms import is_text
from tzmmoe.features.lookup import Hash, Identity, Lookup, look_up, read_vocab_file, vocabulary
from tzmmoe.features.shared import Default, Setting, SharedFields, Tally
from tzmmoe.jagged import Jagged

log = logging.getLogger(__name__)

UNWRITTEN = ("\x1d", "\x03")  # separators of the schema's defaults, which nobody types
LOOKED_AT = 1000  # values


@FEATURES.register("id_feature")
class IdFeature(Feature):
    """One or many categories for each row of data."""

    file_fields = ("vocab_file",)

    def __init__(
        self,
        shared: SharedFields,
        *,
        hash_bucket_size: int | None,
        num_buckets: int | None,
        vocab_list: Sequence[str],
        vocab_dict: Mapping[str, int],
        vocab_file: str | None,
        default_bucketize_value: int | None,
        out_of_range: str,
    ) -> None:
        super().__init__(shared)
        self._has_looked = False
        sizes = {
            "hash_bucket_size": hash_bucket_size,
            "num_buckets": num_buckets,
            "vocab_list": vocab_list,
            "vocab_dict": vocab_dict,
            "vocab_file": vocab_file,
        }
        lookup = id_lookup(sizes, shared, default_bucketize_value, out_of_range)
        if shared.setting.encoded:
            lookup = Identity(lookup.rows, out_of_range, encoded=True)
        self._lookup = lookup
        self.meaning = lookup.meaning
        self.table = shared.table(lookup.rows)
        self.width = self.table.dim
        self._default = Default(shared, lookup, most=shared.value_dim)

    def values(self, arrays: Sequence[Jagged]) -> Jagged:
        return filled(self._first(arrays), self._default.texts)

    def encode(self, arrays: Sequence[Jagged]) -> tuple[Jagged, Tally]:
        values = self._first(arrays)
        if not self._has_looked:
            self._has_looked = True
            warn_of_bars(self.name, distinct(values.values)[0], self.separator)
        return self._default.fill(*look_up(self._lookup, values))

    def _first(self, arrays: Sequence[Jagged]) -> Jagged:
        (values,) = arrays
        return values.first(self.value_dim) if self.value_dim else values

    @classmethod
    def idle(cls, fields: Mapping[str, Any], setting: Setting) -> Iterator[tuple[str, str]]:
        yield from super().idle(fields, setting)
        if not (setting.encoded or fields["num_buckets"]):
            yield "out_of_range", "without num_buckets"


def id_lookup(
    sizes: Mapping[str, Any], shared: SharedFields, unknown: int | None, out_of_range: str
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
        return Hash(size, shared.setting.hash_function)
    if chosen[0] == "num_buckets":
        return Identity(size, out_of_range, encoded=False)
    if chosen[0] == "vocab_file":
        if unknown is None:
            raise ConfigError.at(
                "default_bucketize_value", "is not set; vocab_file needs the row of unknown words"
            )
        size = read_vocab_file(size, shared.setting.folder)
    return vocabulary(size, shared.default_value, unknown)


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
