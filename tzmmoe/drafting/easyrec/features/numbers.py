"""RawFeature: numbers as they are, in buckets, or times vectors."""

import math

import numpy as np

from tzmmoe.drafting.easyrec.features.tables import put_table
from tzmmoe.drafting.easyrec.source import Part
from tzmmoe.drafting.traced import TracedPart
from tzmmoe.errors import ConfigError
from tzmmoe.features.normalizer import normalizer

FUNCTIONS = ("log1p", "log", "sqrt", "exp", "abs", "sign", "tanh", "sigmoid", "floor", "ceil")


def put_number(made: TracedPart, part: Part, default: str) -> None:
    """A raw_feature. ``default``: what the column has in place of an empty cell."""
    text, dim, cuts = _normalizer(part), part.value("raw_input_dim"), _boundaries(part)
    made.set("normalizer", text)
    if dim > 1:
        made.set("value_dim", dim)
        made.set("separator", part.value("separator"))
    _put_default(made, part, text, default or "0")
    if cuts:
        made.set("boundaries", cuts)
        if dim > 1:
            words = "each number would need rows of its own; split them into features"
            part.fault("raw_input_dim", f"is {dim}, and there are boundaries: {words}")
        put_table(made, part)
    elif part.value("embedding_dim"):
        made.set("embedding_dim", part.value("embedding_dim"))
        made.part("mlp")
        part.differs("projections")
        if part.value("combiner") != "sum":
            part.fault("combiner", "numbers times vectors are summed here; give sum")
        part.idle(dict.fromkeys(("initializer", "embedding_name"), "it has no table here"))
    else:
        why = "the number enters as it is"
        part.idle(dict.fromkeys(("initializer", "embedding_name", "combiner"), why))


def _put_default(made: TracedPart, part: Part, text: str | None, default: str) -> None:
    """Of an empty cell, which EasyRec fills before the number is normalized."""
    try:
        numbers = np.array([float(word) for word in default.split(part.value("separator"))])
        with np.errstate(all="ignore"):
            numbers = normalizer(text)(numbers) if text else numbers
    except (ValueError, ConfigError):
        numbers = np.array([math.nan])
    if not np.isfinite(numbers).all():
        words = f"an empty cell would be {default} before it, and no number after it"
        part.fault("normalizer_fn", f"{words}; give the column another default_val")
    elif numbers.any():
        value = made.message.separator.join(f"{number:.9g}" for number in numbers)
        made.set("default_value", value, f"{default} before the normalizer" if text else "")


def _normalizer(part: Part) -> str | None:
    """The normalizer of a RawFeature: scaling by min_val and max_val, then normalizer_fn."""
    low, high, function = (part.value(n) for n in ("min_val", "max_val", "normalizer_fn"))
    scales = high > low
    if not scales and (part.has("min_val") or part.has("max_val")):
        part.idle(dict.fromkeys(("min_val", "max_val"), "max_val is not above min_val"))
    if not function:
        return f"method=minmax,min={low!r},max={high!r}" if scales else None
    word = function.rpartition(".")[2]
    if word not in FUNCTIONS:
        part.fault("normalizer_fn", f"is {function!r}; give tf.math.log1p, or one of {FUNCTIONS}")
        return None
    return f"method=expression,expr={word}({f'(x - {low!r}) / {high - low!r}' if scales else 'x'})"


def _boundaries(part: Part) -> list[float]:
    """Of a RawFeature: its own, or num_buckets of equal width of the scaled number."""
    cuts, count = sorted(part.value("boundaries")), part.value("num_buckets")
    is_scaled = part.value("max_val") > part.value("min_val")
    if cuts or count < 2 or not is_scaled:
        why = "max_val is not above min_val, or it is below 2"
        part.idle({"num_buckets": "boundaries are set" if cuts else why})
        return cuts
    return [k / count for k in range(count)]
