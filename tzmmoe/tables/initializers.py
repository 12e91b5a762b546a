"""Initializers of tables, from text such as ``nn.init.normal_,mean=0,std=0.01``."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError, did_you_mean
from tzmmoe.nn.calls import check_arguments, parse_list

INITIALIZERS = {
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
RANDOM = set(INITIALIZERS) - {"constant_", "ones_", "zeros_"}

# Fills a block of rows, given a generator and the number of rows of the whole tensor.
Initializer = Callable[[Tensor, torch.Generator, int], object]


def table_initializer(text: str | None, rows: int) -> Initializer:
    """From a table's ``init_fn``; without one, uniform within +-sqrt(1 / rows)."""
    if not text:
        bound = math.sqrt(1 / rows)
        return partial(_draw, nn.init.uniform_, {"a": -bound, "b": bound})
    try:
        name, arguments = parse_list(text)
        short = name.removeprefix("torch.").removeprefix("nn.init.")
        if short not in INITIALIZERS:
            choices = ", ".join(f"nn.init.{word}" for word in INITIALIZERS)
            hint = did_you_mean(short, INITIALIZERS)
            raise ValueError(f"no initializer {name!r}; choose from {choices}{hint}")
        function = INITIALIZERS[short]
        check_arguments(function, arguments, ARGUMENTS)
        initializer = partial(_draw if short in RANDOM else _fill, function, arguments)
        initializer(torch.empty(1, 1), torch.Generator(), 1)  # torch checks values only here
    except (ValueError, RuntimeError) as error:
        raise ConfigError.at("init_fn", f"{text!r}: {error}") from error
    return initializer


def _draw(
    function: Callable, arguments: dict, block: Tensor, generator: torch.Generator, rows: int
) -> None:
    function(block, **arguments, generator=generator)
    if rows != len(block):
        block *= _shrinkage(function.__name__, arguments, *block.shape, rows)


def _shrinkage(name: str, arguments: dict, drawn: int, dim: int, rows: int) -> float:
    """The factor from numbers drawn for ``drawn`` rows to those of a tensor of ``rows``: torch
    divides by the root of fan_in + fan_out, or of one of them, and the rows are fan_out."""
    if name.startswith("xavier"):
        return math.sqrt((drawn + dim) / (rows + dim))
    if name.startswith("kaiming") and arguments.get("mode") == "fan_out":
        return math.sqrt(drawn / rows)
    return 1.0


def _fill(
    function: Callable, arguments: dict, block: Tensor, generator: torch.Generator, rows: int
) -> None:
    function(block, **arguments)
