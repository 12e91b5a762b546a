"""IdFeature and TagFeature: categories, which are rows of a table."""

from collections.abc import Callable

from tzmmoe.drafting.easyrec.features.tables import put_table
from tzmmoe.drafting.easyrec.source import Part
from tzmmoe.drafting.traced import TracedPart

INTEGERS, NUMBERS = ("INT32", "INT64", "BOOL"), ("FLOAT", "DOUBLE")
SIZES = ("hash_bucket_size", "vocab_list", "vocab_file", "num_buckets")  # the first that is set


def put_id(
    made: TracedPart, part: Part, column: Part | None, resolve: Callable[[str], str]
) -> None:
    """An id_feature. ``column``: the setting of what it reads. ``resolve`` finds a file by name."""
    _put_size(made, part, resolve)
    _put_missing(made, part, column)
    if part.value("feature_type") == "TagFeature":
        made.set("separator", part.value("separator"))
        _put_weights(made, part)
    put_table(made, part)


def _put_size(made: TracedPart, part: Part, resolve: Callable[[str], str]) -> None:
    """Rows by hash, by word or by number."""
    sizes = [name for name in SIZES if part.has(name) and part.value(name)]
    if not sizes:
        part.fault("hash_bucket_size", "is not set; give it, num_buckets or vocab_list")
        return
    for name in sizes[1:]:
        part.report.idle[part.path_of(name)] = f"{sizes[0]} is set"
    value = part.value(sizes[0])
    made.set(sizes[0], resolve(value) if sizes[0] == "vocab_file" else value)
    if sizes[0].startswith("vocab"):
        made.set("default_bucketize_value", 0, "words that are not listed")
    if sizes[0] == "hash_bucket_size":
        part.differs("hashes")


def _put_missing(made: TracedPart, part: Part, column: Part | None) -> None:
    """What an empty cell is, and which values stand for one."""
    kind = "STRING" if column is None else column.value("input_type")
    default = "" if column is None else column.value("default_val")
    is_single = part.value("feature_type") == "IdFeature"
    if column is not None and column.value("ignore_val"):
        made.set("na_values", column.value("ignore_val"))
    if made.message.num_buckets and is_single:
        if kind in INTEGERS:
            part.differs("identities")
            default = ""
        if "-1" not in made.message.na_values:
            made.set("na_values", "-1")
    elif kind in INTEGERS + NUMBERS and is_single:
        default = default or "0"
    if default:
        made.set("default_value", default, "of an empty cell")


def _put_weights(made: TracedPart, part: Part) -> None:
    between = part.entry("kv_separator")
    if len(part.value("input_names")) > 1:
        words = "weights in a column of their own are not supported; write value:weight into one"
        part.fault("input_names[1]", f"{words}, and set kv_separator: ':'")
    elif between and between.value != ":":
        words = f"is {between.value!r}, but weights follow a colon here; write value:weight"
        part.fault("kv_separator", words)
    elif between:
        made.set("weighted", True)
        if part.value("combiner") != "sum":
            part.fault("combiner", "weighted values are summed here; give sum")
