"""A block: what it reads, joined, and its steps."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from tzmmoe.errors import ConfigError, Fault, Faults, join
from tzmmoe.models.backbone.flow import Value, merged, shape, tensors
from tzmmoe.models.backbone.inputs import Trim, chosen
from tzmmoe.models.backbone.lambdas import parse_lambda
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
        faults.stop()
        self.is_built = False

    def forward(self, values: Sequence[Value]) -> Value:
        """``values``: of the sources that are read."""
        if not self.is_built:
            return self._build(values)
        value = self._joined(values)
        for step in self.steps:
            value = step(value)
        return value

    def _joined(self, values: Sequence[Value]) -> Value:
        value = list(values) if self.lists else merged(values, self.axis)
        return value if self.extra is None else self.extra(value)

    def _build(self, values: Sequence[Value]) -> Value:
        """The same, where the steps may get their first input: an error tells what it was."""
        with self.telling("", values):
            value = self._joined(values)
        for path, step in zip(self.paths, self.steps, strict=True):
            with self.telling(path, [value]):
                value = step(value)
        return value

    @contextmanager
    def telling(self, path: str, values: Sequence[Value]) -> Iterator[None]:
        """Errors about shapes become those of this block, with what it got and from where."""
        got = ", ".join(shape(value) for value in values) or "nothing"
        from_where = ", ".join(source.said for source in self.sources if source.is_read)
        head = f"block {self.name!r} gets {got} from {from_where}"
        try:
            yield
        except ConfigError as error:
            raise ConfigError([_told(fault, path, head) for fault in error.faults]) from error
        except UNFIT as error:
            words = f"{head}, on which it fails: {str(error).splitlines()[0]}"
            raise ConfigError.at(path, words) from error


def _told(fault: Fault, path: str, head: str) -> Fault:
    """A fault about shapes is at a step or a layer's word; one of a setting needs no shapes."""
    last, text = fault.path.rpartition(".")[2], fault.text.removeprefix("gets ")
    if last in ("", "keras_layer") or last in LAYERS.words:
        text = f"{head}; it {text}" if text.startswith("needs ") else f"{head}: {text}"
    return replace(fault, path=join(path, fault.path), text=text)


def check_rows(block: Block, value: Value, rows: int) -> None:
    """Raise ConfigError if a tensor in it has not one entry for each row."""
    for tensor in tensors(value):
        if not tensor.dim() or tensor.shape[0] != rows:
            sizes = tuple(tensor.shape)
            words = f"block {block.name!r} gives {sizes} for {rows} rows; keep the rows' axis first"
            raise ConfigError.at("", words)
