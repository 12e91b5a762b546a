"""Embedding tables: width, name, pooling, and where they start."""

import math

from tzmmoe.drafting.easyrec.source import Part
from tzmmoe.drafting.traced import TracedPart
from tzmmoe.errors import join

POOLINGS = ("sum", "mean")


def put_table(made: TracedPart, part: Part) -> None:
    """Width, name, pooling and start of the feature's table."""
    dim, pooling = part.value("embedding_dim"), part.value("combiner")
    if not dim:
        part.fault("embedding_dim", "is not set; give the width of the embedding")
        return
    made.set("embedding_dim", dim)
    if pooling not in POOLINGS:
        part.fault("combiner", f"is {pooling!r}; give sum or mean")
    elif pooling != "sum":
        made.set("pooling", pooling)
    made.set("embedding_name", part.value("embedding_name") or None)
    made.set("init_fn", _start(part, dim))
    if not part.has("initializer"):
        made.draft.mark(join(made.path, "init_fn"), "")
        words = "a truncated normal of standard deviation 0.01 / sqrt(embedding_dim)"
        made.draft.report.defaults["feature_configs.init_fn"] = words


def _start(part: Part, dim: int) -> str | None:
    """The initializer of a table; a truncated normal is cut at two standard deviations."""
    inner = part.part("initializer")
    word = inner.message.WhichOneof("initializer_oneof") if part.has("initializer") else None
    if word == "glorot_normal_initializer":
        return "nn.init.xavier_normal_"
    if word == "constant_initializer":
        values = inner.part(word).value("consts")
        if len(values) != 1:
            inner.part(word).fault("consts", "a table starts from one number here; give one")
            return None
        return f"nn.init.constant_,val={values[0]!r}"
    mean, std = 0.0, 0.01 / math.sqrt(dim)
    if word:
        mean, std = (inner.part(word).value(name) for name in ("mean", "stddev"))
    if word == "random_normal_initializer":
        return f"nn.init.normal_,mean={mean:.9g},std={std:.9g}"
    ends = f"a={mean - 2 * std:.9g},b={mean + 2 * std:.9g}"
    return f"nn.init.trunc_normal_,mean={mean:.9g},std={std:.9g},{ends}"
