"""A block: what it reads, joined, and its steps."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from tzmmoe.errors import ConfigError, Fault, Faults, join
from tzmmoe.models.backbone.expressions.lambdas import parse_lambda
from tzmmoe.models.backbone.flow import Value, is_value, merged, shape, tensors
from tzmmoe.models.backbone.inputs import Trim, chosen
from tzmmoe.models.backbone.layers import LAYERS
from tzmmoe.models.backbone.steps import steps
from tzmmoe.registry.modules import Modules

# What torch raises where shapes do not fit.
UNFIT = (RuntimeError, IndexError, TypeError, ValueError)


@dataclass(frozen=True)
class Source:
    """An input of a block: which ``kind`` of thing it names, its ``name``, how it is trimmed, and
    for a package what it is used with."""

    kind: str
    name: str
    trim: Trim
    is_read: bool
    package_input: str | None
    package_trim: Trim
    reset: Mapping[str, Any] | None

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Source":
        """Raises ConfigError, with paths in the input's message."""
        kind, name = chosen(fields)
        if kind != "package_name":
            for field in ("reset_input", "package_input", "package_input_fn"):
                if fields[field] is not None:
                    raise ConfigError.at(field, "has no effect without package_name; remove it")
        if (fields["reset_input"] or {}).get("wide_output_dim") is not None:
            words = "has no effect in a reset_input; set it in the input_layer"
            raise ConfigError.at("reset_input.wide_output_dim", words)
        return cls(
            kind,
            name,
            Trim.of(fields["input_slice"], fields["input_fn"]),
            not fields["ignore_input"],
            fields["package_input"],
            Trim.of(None, fields["package_input_fn"], "package_input"),
            fields["reset_input"],
        )

    @property
    def said(self) -> str:
        return repr(self.name) if self.name else "the package input"


class Block(nn.Module):
    """Joins what it reads, and applies its steps in turn. ``path``: that of its message."""

    def __init__(self, path: str, fields: Mapping[str, Any], modules: Modules) -> None:
        super().__init__()
        self.name, self.path, faults = fields["name"], path, Faults()
        self.sources: list[Source] = []
        for place, each in enumerate(fields["inputs"]):
            with faults.under(f"inputs[{place}]"):
                self.sources.append(Source.of(each))
        self.axis, self.lists = fields["input_concat_axis"], fields["merge_inputs_into_list"]
        self.extra, self.paths = None, []
        with faults.under("extra_input_fn"):
            if fields["extra_input_fn"]:
                self.extra = parse_lambda(fields["extra_input_fn"])
        with faults.under(""):
            made = list(steps(fields, modules))
            self.paths = [own for own, _ in made]
            self.steps = nn.ModuleList(step for _, step in made)
        if self.axis == 0:
            faults.add(
                "input_concat_axis", "is 0, the axis of the rows; give 1, or -1 for the last"
            )
        if fields["inputs"] and not faults and not any(source.is_read for source in self.sources):
            words = f"have ignore_input, so block {self.name!r} gets nothing; let it read one"
            faults.add("inputs", f"all {words}")
        faults.stop()

    def forward(self, values: Sequence[Value]) -> list[Value]:
        """The value after every step; the last one is the block's. Without steps, the input.

        ``values``: of the sources that are read.
        """
        stages = [self._joined(values)]
        for step in self.steps:
            stages.append(step(stages[-1]))
        return stages[1:] or stages

    def _joined(self, values: Sequence[Value]) -> Value:
        value = list(values) if self.lists else merged(values, self.axis)
        return value if self.extra is None else self.extra(value)

    def build(self, values: Sequence[Value], rows: int, whence: str) -> Value:
        """What ``forward`` gives, where the steps get their first input. ``whence``: where the
        values come from, as a message names it.

        Raises ConfigError for what does not fit, and for a result without one entry for each row.
        """
        with self.telling("", values, whence):
            value = self._joined(values)
        for path, step in zip(self.paths, self.steps, strict=True):
            with self.telling(path, [value], whence):
                value = step(value)
        self._check(value, rows)
        return value

    def _check(self, value: Value, rows: int) -> None:
        """Raise ConfigError for what is neither a tensor nor a list of such, each with its rows."""
        if not is_value(value):
            words = f"block {self.name!r} gives a {type(value).__name__}, which is neither a tensor"
            raise ConfigError.at("", f"{words} nor a list of tensors; return one of these")
        for tensor in tensors(value):
            if not tensor.dim() or tensor.shape[0] != rows:
                sizes = tuple(tensor.shape)
                words = f"block {self.name!r} gives {sizes} for {rows} rows"
                raise ConfigError.at("", f"{words}; keep the axis of the rows first")

    @contextmanager
    def telling(self, path: str, values: Sequence[Value], whence: str) -> Iterator[None]:
        """Errors about shapes become those of this block, with what it got and from where."""
        head = f"block {self.name!r} gets {', '.join(map(shape, values))} from {whence}"
        try:
            yield
        except ConfigError as error:
            raise ConfigError([_told(fault, path, head) for fault in error.faults]) from error
        except UNFIT as error:
            words = f"{head}, on which it fails: {str(error).splitlines()[0]}"
            raise ConfigError.at(path, words) from error


def _told(fault: Fault, path: str, head: str) -> Fault:
    """A fault about shapes is at a step or a layer's word, or speaks of the input; one of a setting
    by itself needs no shapes."""
    *around, last = fault.path.split(".")
    text = fault.text.removeprefix("gets ")
    # The setting "activation" of a layer has the name of another layer.
    is_layer = last in LAYERS.words and (not around or around[-1] not in LAYERS.words)
    if last in ("", "keras_layer") or is_layer or "input" in text:
        text = f"{head}; it {text}" if text.startswith("needs ") else f"{head}: {text}"
    return replace(fault, path=join(path, fault.path), text=text)
