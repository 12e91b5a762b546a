"""``nn.init.normal_,mean=0,std=0.01`` -> a function that fills a tensor."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError, did_you_mean
from tzmmoe.nn.calls import check_arguments, parse_list

KNOWN = {
    name: getattr(nn.init, name)
    for name in (
        "uniform_",
        "normal_",
        "trunc_normal_",
        "constant_",
        "ones_",
        "zeros_",
        "xavier_uniform_",
        "xavier_normal_",
        "kaiming_uniform_",
        "kaiming_normal_",
    )
}
ARGUMENTS = {"a", "b", "mean", "std", "val", "gain", "mode", "nonlinearity"}
DRAWN = set(KNOWN) - {"constant_", "ones_", "zeros_"}

# Fills a tensor, or the first or a further block of the rows of a tensor of so many rows.
Initializer = Callable[[Tensor, torch.Generator, int], object]


def table_initializer(text: str | None, rows: int) -> Initializer:
    """Of an embedding table: from its ``init_fn``, or uniform within +-sqrt(1 / rows)."""
    if not text:
        bound = math.sqrt(1 / rows)
        return partial(_draw, nn.init.uniform_, {"a": -bound, "b": bound})
    try:
        name, arguments = parse_list(text)
        short = name.removeprefix("torch.").removeprefix("nn.init.")
        if short not in KNOWN:
            known = ", ".join(f"nn.init.{each}" for each in KNOWN)
            raise ValueError(f"no initializer {name!r}{did_you_mean(short, KNOWN)}; known: {known}")
        check_arguments(KNOWN[short], arguments, ARGUMENTS)
        initializer = partial(_draw if short in DRAWN else _fill, KNOWN[short], arguments)
        initializer(torch.empty(1, 1), torch.Generator(), 1)  # torch checks values when it fills
    except (ValueError, RuntimeError) as error:
        raise ConfigError.at("init_fn", f"{text!r}: {error}") from error
    return initializer


def _draw(
    function: Callable, arguments: dict, block: Tensor, generator: torch.Generator, rows: int
) -> None:
    function(block, **arguments, generator=generator)
    if rows != len(block):
        block *= _of_whole(function.__name__, arguments, *block.shape, rows)


def _of_whole(name: str, arguments: dict, drawn: int, dim: int, rows: int) -> float:
    """What numbers that were drawn for ``drawn`` rows are times too large for ``rows``: torch
    divides by the root of fan_in + fan_out, or of one of them; the rows are fan_out."""
    if name.startswith("xavier"):
        return math.sqrt((drawn + dim) / (rows + dim))
    if name.startswith("kaiming") and arguments.get("mode") == "fan_out":
        return math.sqrt(drawn / rows)
    return 1.0


def _fill(
    function: Callable, arguments: dict, block: Tensor, generator: torch.Generator, rows: int
) -> None:
    function(block, **arguments)
