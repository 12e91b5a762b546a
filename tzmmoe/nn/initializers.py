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

Initializer = Callable[[Tensor, torch.Generator], object]


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
        initializer(torch.empty(1, 1), torch.Generator())  # torch checks values when it fills
    except (ValueError, RuntimeError) as error:
        raise ConfigError.at("init_fn", f"{text!r}: {error}") from error
    return initializer


def _draw(function: Callable, arguments: dict, tensor: Tensor, generator: torch.Generator) -> None:
    function(tensor, **arguments, generator=generator)


def _fill(function: Callable, arguments: dict, tensor: Tensor, generator: torch.Generator) -> None:
    function(tensor, **arguments)
