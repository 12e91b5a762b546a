"""The steps of a block: functions, layers, layers in turn, layers side by side."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError, Faults, did_you_mean, within
from tzmmoe.models.backbone.expressions.lambdas import parse_lambda, parse_slice
from tzmmoe.models.backbone.flow import Value
from tzmmoe.models.backbone.layers import LAYERS, layer
from tzmmoe.registry.modules import Modules


class Slot(nn.Module):
    """A place for a layer, which is made when its first input arrives, for the shape of that; see
    ``Backbone`` for when this is. ``word``: that of the schema."""

    def __init__(self, message: Mapping[str, Any] | None, modules: Modules) -> None:
        super().__init__()
        chosen = [(word, fields) for word, fields in (message or {}).items() if fields is not None]
        if not chosen:
            words = f"has no layer; give one of {', '.join(LAYERS.words)}"
            raise ConfigError.at("", words)
        self.word, self._fields = chosen[0]
        self._allowed = modules
        self.module: nn.Module | None = None
        self._first: Value | None = None

    def forward(self, value: Value) -> Value:
        if self.module is None:
            self._first = value
            self.remake()
        return self.module(value)

    def remake(self) -> None:
        """Make the layer anew, on the current device, for the input that arrived first."""
        with within(self.word):
            self.module = layer(self.word, self._fields, self._first, self._allowed)

    def forget(self) -> None:
        """Keep no input."""
        self._first = None

    def __str__(self) -> str:
        return self.word


class Function(nn.Module):
    """A lambda."""

    def __init__(self, expression: str | None) -> None:
        super().__init__()
        with within("expression"):
            self.function = parse_lambda(expression or "")

    def forward(self, value: Value) -> Value:
        return self.function(value)

    def __str__(self) -> str:
        return "lambda"


class Recurrent(nn.Module):
    """Layers in turn. With ``fixed`` k, the input is a list whose element k goes into every step;
    the rest is replaced by the step's output."""

    def __init__(
        self, num_steps: int, fixed: int | None, message: Mapping[str, Any], modules: Modules
    ) -> None:
        super().__init__()
        _count("num_steps", num_steps)
        with within("keras_layer"):
            self.steps = nn.ModuleList(Slot(message, modules) for _ in range(num_steps))
        self.fixed = fixed

    def forward(self, value: Value) -> Value:
        if self.fixed is not None:
            return self._around(value)
        with within("keras_layer"):
            for step in self.steps:
                value = step(value)
        return value

    def __str__(self) -> str:
        return f"{len(self.steps)} times {self.steps[0]}"

    def _around(self, value: Value) -> Value:
        if isinstance(value, Tensor) or not self.fixed < len(value):
            words = f"needs a list with an element {self.fixed}, as fixed_input_index says"
            raise ConfigError.saying(f'{words}; write input_fn: "lambda x: [x, x]"')
        fixed = value[self.fixed]
        rest: Any = [part for place, part in enumerate(value) if place != self.fixed]
        for step in self.steps:
            parts = list(rest) if isinstance(rest, list | tuple) else [rest]
            with within("keras_layer"):
                rest = step([*parts[: self.fixed], fixed, *parts[self.fixed :]])
        return rest[0] if isinstance(rest, list) and len(rest) == 1 else rest


class Repeat(nn.Module):
    """Layers side by side."""

    def __init__(self, fields: Mapping[str, Any], modules: Modules) -> None:
        super().__init__()
        _count("num_repeat", fields["num_repeat"])
        with within("keras_layer"):
            slots = [Slot(fields["keras_layer"], modules) for _ in range(fields["num_repeat"])]
        self.steps, self.axis = nn.ModuleList(slots), fields["output_concat_axis"]
        self.slice = self.function = None
        if fields["input_slice"]:
            with within("input_slice"):
                self.slice = parse_slice(fields["input_slice"], allow_i=True)
        if fields["input_fn"]:
            with within("input_fn"):
                self.function = parse_lambda(fields["input_fn"], arity=(1, 2))

    def forward(self, value: Value) -> Value:
        outputs = []
        for place, step in enumerate(self.steps):
            own = value if self.slice is None else self.slice(value, place)
            own = own if self.function is None else self.function(own, place)
            with within("keras_layer"):
                outputs.append(step(own))
        if len(outputs) == 1:
            return outputs[0]
        return outputs if self.axis is None else torch.cat(outputs, dim=self.axis)

    def __str__(self) -> str:
        return f"{len(self.steps)} x {self.steps[0]}"


def _count(field: str, count: int) -> None:
    if count < 1:
        raise ConfigError.at(field, f"is {count}; give 1 or more")


def _recurrent(fields: Mapping[str, Any], modules: Modules) -> Recurrent:
    fixed = fields["fixed_input_index"]
    return Recurrent(fields["num_steps"], fixed, fields["keras_layer"], modules)


STEPS: dict[str, Callable[[Mapping[str, Any], Modules], nn.Module]] = {
    "lambda": lambda fields, modules: Function(fields["expression"]),
    "keras_layer": Slot,
    "recurrent": _recurrent,
    "repeat": Repeat,
}


def steps(block: Mapping[str, Any], modules: Modules) -> Iterator[tuple[str, nn.Module]]:
    """The steps of a block, each with its path. Raises ConfigError for what the text shows."""
    faults = Faults()
    layers = [(f"layers[{i}]", each) for i, each in enumerate(block["layers"])]
    own = [word for word in STEPS if block[word] is not None]
    if layers and own:
        faults.add(own[0], "is set, and so is layers; keep one")
    made = []
    for path, message in layers or [("", block)]:
        chosen = [word for word in STEPS if message[word] is not None]
        if path and not chosen:
            faults.add(path, f"is empty; give one of {', '.join(STEPS)}")
        for word in chosen:
            place = f"{path}.{word}" if path else word
            with faults.under(place):
                made.append((place, STEPS[word](message[word], modules)))
    faults.stop()
    yield from made


def unknown(name: str, names: list[str], what: str) -> str:
    """The words of a fault about a name that is none of ``names``."""
    hint = did_you_mean(name, names) or f"; there are {', '.join(names) or 'none'}"
    return f"{name!r} is not {what}{hint}"
