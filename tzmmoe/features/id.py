"""Categories: each value is a row of an embedding table."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tzmmoe.errors import ConfigError
from tzmmoe.features.base import FEATURES, Feature
from tzmmoe.features.column import distinct, filled, plain
from tzmmoe.features.doubts import warn_of_unknown
from tzmmoe.features.forms import is_text
from tzmmoe.features.lookup import (
    Hash,
    Identity,
    Lookup,
    Vocabulary,
    look_up,
    read_vocab_file,
    vocabulary,
)
from tzmmoe.features.shared import Default, FeatureSettings, SharedFields, Tally
from tzmmoe.jagged import Jagged

log = logging.getLogger(__name__)

UNTYPED_SEPARATORS = ("\x1d", "\x03")  # the schema's defaults, which nobody types
SAMPLE_SIZE = 1000  # values that are looked at for doubts


@FEATURES.register("id_feature")
class IdFeature(Feature):
    """Any number of categories in each row."""

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
        self._looked_for_bars = self._looked_at_words = False
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
        self.row_rule = lookup.row_rule
        self.table = shared.table(lookup.rows)
        self.width = self.table.dim
        self._default = Default(shared, lookup, most=shared.value_dim)

    def values(self, arrays: Sequence[Jagged]) -> Jagged:
        return filled(self._first(arrays), self._default.texts)

    def encode(self, arrays: Sequence[Jagged]) -> tuple[Jagged, Tally]:
        values = self._first(arrays)
        if not self._looked_for_bars:
            self._looked_for_bars = True
            warn_of_bars(self.name, distinct(values.values)[0], self.separator)
        rows, unknown = look_up(self._lookup, values)
        if isinstance(self._lookup, Vocabulary) and not self._looked_at_words:
            # A dictionary is decoded here: it may hold words that no row of the chunk has.
            first = plain(Jagged(values.values.slice(0, SAMPLE_SIZE))).values
            unknown_first = None if unknown is None else unknown[:SAMPLE_SIZE]
            self._looked_at_words = warn_of_unknown(
                self.name, first, unknown_first, self._lookup.words
            )
        return self._default.fill(rows, unknown)

    def keeps_rows(self, rule: str, rows: int) -> bool:
        cells = f", {self.cells.rule}" if self.cells.rule else ""
        is_read_alike = rule.endswith(cells)
        return is_read_alike and self._lookup.keeps_rows(rule.removesuffix(cells), rows)

    def _first(self, arrays: Sequence[Jagged]) -> Jagged:
        (values,) = arrays
        return values.first(self.value_dim) if self.value_dim else values

    @classmethod
    def idle(cls, fields: Mapping[str, Any], setting: FeatureSettings) -> Iterator[tuple[str, str]]:
        yield from super().idle(fields, setting)
        if not (setting.encoded or fields["num_buckets"]):
            yield "out_of_range", "without num_buckets"


def id_lookup(
    sizes: Mapping[str, Any], shared: SharedFields, unknown: int | None, out_of_range: str
) -> Lookup:
    """The lookup that the only field among ``sizes`` with a value asks for; ``unknown`` is
    default_bucketize_value."""
    present = [name for name, size in sizes.items() if size]
    zeros = [name for name, size in sizes.items() if size == 0]  # repeated fields are empty lists
    if zeros and not present:
        raise ConfigError.at(zeros[0], "is 0; give 1 or more")
    if len(present) != 1:
        what = " and ".join(present) if present else f"none of {', '.join(sizes)}"
        raise ConfigError.at("", f"has {what}; give one of them")
    name, size = present[0], sizes[present[0]]
    if name in ("hash_bucket_size", "num_buckets") and unknown is not None:
        raise ConfigError.at("default_bucketize_value", f"has no effect with {name}; remove it")
    if name == "hash_bucket_size":
        return Hash(size, shared.setting.hash_function, shared.setting.one_form)
    if name == "num_buckets":
        return Identity(size, out_of_range, encoded=False)
    if name == "vocab_file":
        if unknown is None:
            raise ConfigError.at(
                "default_bucketize_value", "is not set; give the row of words not in vocab_file"
            )
        size = read_vocab_file(size, shared.setting.folder)
    return vocabulary(size, shared.default_value, unknown, shared.setting.one_form)


def warn_of_bars(name: str, flat: pa.Array, separator: str) -> None:
    """Lists in text cells, such as a|b in CSV, would silently be taken for one value."""
    if separator not in UNTYPED_SEPARATORS or not is_text(flat.type):
        return
    first = flat.slice(0, SAMPLE_SIZE)
    barred = first.filter(pc.match_substring(first, "|"))
    if len(barred):
        log.warning(
            "%s: %r is read as a single value; if it is a list, set the feature's separator, or "
            "data_config.fg_encoded_multival_sep under FG_NONE",
            name,
            barred[0].as_py(),
        )
