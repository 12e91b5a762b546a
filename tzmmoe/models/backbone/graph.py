"""A graph of blocks: their order, and what they hand on."""

import logging
from collections.abc import Collection, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from torch import nn

from tzmmoe.errors import ConfigError, Faults, few, join, within
from tzmmoe.models.backbone.block import Block, Source
from tzmmoe.models.backbone.flow import Context, Value, merged
from tzmmoe.models.backbone.outputs import Output, layers_of
from tzmmoe.models.backbone.readers import READERS, InputBlock, Reader
from tzmmoe.models.backbone.steps import Slot, unknown
from tzmmoe.models.base import Group
from tzmmoe.registry.modules import Modules

log = logging.getLogger(__name__)


class Scope:
    """What blocks may name besides each other: feature ``groups``, ``packages`` by name, and, for
    those of a package, the blocks ``outside``."""

    def __init__(self, groups: Mapping[str, Group], modules: Modules) -> None:
        self.groups, self.modules = groups, modules
        self.packages: dict[str, Graph] = {}
        self.outside: Sequence[str] = ()


class Graph(nn.Module):
    """Blocks in topological order. Its value is that of ``output_blocks`` as a list, of
    ``concat_blocks`` joined, or of all blocks that no other reads, joined in the order of the
    config. Blocks that neither the value nor an output needs are left out.

    ``fields``: those of the message at ``path``, one with blocks; ``package``: its name, if it has
    one. ``further``: names of outputs in addition to the value.
    """

    def __init__(
        self,
        path: str,
        fields: Mapping[str, Any],
        scope: Scope,
        package: str = "",
        further: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.path, self.package, self._scope, faults = path, package, scope, Faults()
        self.listed = next((f for f in ("output_blocks", "concat_blocks") if fields[f]), None)
        self.specs = _named(fields["blocks"], faults)
        self.made: dict[str, Block | Reader] = {}
        self.places: dict[str, str] = {}
        self.sources: dict[str, list[Source]] = {}
        for place, (name, spec) in enumerate(self.specs.items()):
            self.places[name] = f"blocks[{place}]"
            with faults.under(self.places[name]):
                self._add(name, spec)
        faults.stop()
        for name, sources in self.sources.items():
            for place, source in enumerate(sources):
                with faults.under(f"{self.places[name]}.inputs[{place}]"):
                    self._check(name, source)
        self._listed(fields, faults)
        self.further: list[Output] = []
        for place, name in enumerate(further):
            with faults.under(f"outputs[{place}]"):
                if name in further[:place]:
                    raise ConfigError.saying(f"{name!r} is listed twice; remove one")
                self.further.append(Output.of(name, self.specs))
        faults.stop()
        edges = {name: self.before(name) for name in self.specs}
        order = _ordered(edges, self.places)
        self.joins = not fields["output_blocks"]
        read = {name for before in edges.values() for name in before}
        leaves = [name for name in self.specs if name not in read]
        self.outputs = list(fields["output_blocks"] or fields["concat_blocks"] or leaves)
        live = _reached([*self.outputs, *(output.block for output in self.further)], edges)
        self.order = [name for name in order if name in live]
        self._warn([name for name in self.specs if name not in live])
        self.blocks = nn.ModuleDict({f"block_{name}": self.made[name] for name in self.order})

    def _add(self, name: str, spec: Mapping[str, Any]) -> None:
        """Make a block. Raises ConfigError, with paths in its message."""
        if not spec["inputs"]:
            words = f"is empty, but block {name!r} needs something to read; name a feature group or"
            raise ConfigError.at("inputs", f"{words} a block")
        word = next((word for word in READERS if spec[word] is not None), None)
        if word is not None:
            self.made[name], self.sources[name] = self._reader(name, word, spec), []
            return
        self.made[name] = Block(self.places[name], spec, self._scope.modules)
        self.sources[name] = self.made[name].sources

    def _reader(self, name: str, word: str, spec: Mapping[str, Any]) -> Reader:
        """The block of an ``input_layer`` or the like, which ``word`` says."""
        sources = [Source.of(each) for each in spec["inputs"]]
        if len(sources) != 1 or sources[0].kind != "feature_group_name":
            an = "a" if word == "raw_input" else "an"
            words = f"block {name!r} has {an} {word}, which reads one feature_group_name only"
            raise ConfigError.at("inputs", f"{words}; give that")
        group = sources[0].name
        if group not in self._scope.groups:
            groups = list(self._scope.groups)
            words = unknown(group, groups, "in model_config.feature_groups")
            raise ConfigError.at("inputs[0].feature_group_name", words)
        if spec["layers"]:
            raise ConfigError.at("layers", f"is set, and so is {word}; keep one")
        # No name has a "+", so no other block has the same place.
        place = f"{self.package}+{name}" if self.package else name
        with within(word):
            return READERS[word](group, self._scope.groups[group], place, spec[word])

    def _check(self, name: str, source: Source) -> None:
        """Raise ConfigError if a source of a block is not there."""
        kind = source.kind
        blocks = [*self.specs, *self._scope.outside]
        if kind == "block_name" and source.name not in blocks:
            raise ConfigError.at(kind, unknown(source.name, blocks, "a block"))
        if kind == "feature_group_name" and source.name not in {*blocks, *self._scope.groups}:
            names = list(self._scope.groups)
            words = unknown(source.name, names, "in model_config.feature_groups")
            raise ConfigError.at(kind, words)
        if kind == "package_name" and source.name not in self._scope.packages:
            names = list(self._scope.packages)
            raise ConfigError.at(kind, unknown(source.name, names, "a package"))
        if source.package_input is not None and source.package_input not in blocks:
            words = unknown(source.package_input, blocks, "a block")
            raise ConfigError.at("package_input", words)

    def _listed(self, fields: Mapping[str, Any], faults: Faults) -> None:
        """The blocks that the output is made of."""
        if fields["output_blocks"] and fields["concat_blocks"]:
            faults.add("concat_blocks", "is set, and so is output_blocks; keep one")
        for field in ("output_blocks", "concat_blocks"):
            for place, name in enumerate(fields[field]):
                if name not in self.specs:
                    words = unknown(name, list(self.specs), "a block")
                    faults.add(f"{field}[{place}]", words)

    def before(self, name: str) -> list[str]:
        """The blocks of this graph that a block needs."""
        found = []
        for source in self.sources[name]:
            names = [source.name] if source.kind in ("block_name", "feature_group_name") else []
            if source.kind == "package_name":
                names += [source.package_input] if source.package_input else []
                names += self._scope.packages[source.name].needs()
            found += [each for each in names if each in self.specs]
        return list(dict.fromkeys(found))

    def needs(self) -> list[str]:
        """The blocks outside that a package reads, itself or through another."""
        found = []
        for name in self.order:
            for source in self.sources[name]:
                if source.kind == "package_name":
                    found += self._scope.packages[source.name].needs()
                found += [source.name] if source.name not in self.specs else []
                found += [source.package_input] if source.package_input else []
        return found

    def uses(self) -> list[str]:
        """The packages that it uses, itself or through another."""
        found = []
        for name in self.order:
            for source in self.sources[name]:
                if source.kind == "package_name":
                    found += [source.name, *self._scope.packages[source.name].uses()]
        return list(dict.fromkeys(found))

    def readers(self) -> list[Reader]:
        """Its blocks that read a feature group, packages included."""
        graphs = [self, *(self._scope.packages[name] for name in self.uses())]
        blocks = [graph.made[name] for graph in graphs for name in graph.order]
        return [block for block in blocks if isinstance(block, Reader)]

    def groups(self) -> list[str]:
        """The feature groups that it reads by input layers, packages included."""
        found = []
        for name in self.order:
            block = self.made[name]
            found += [block.name] if isinstance(block, InputBlock) else []
            for source in self.sources[name]:
                if source.kind == "package_name":
                    found += self._scope.packages[source.name].groups()
                is_group = source.kind == "feature_group_name" and source.name not in self.specs
                found += [source.name] if is_group and source.is_read else []
        return [name for name in dict.fromkeys(found) if name in self._scope.groups]

    def _warn(self, dead: Sequence[str]) -> None:
        if dead:
            words = "these blocks reach no output, and are not built"
            names = few([repr(name) for name in dead])
            log.warning("%s: %s", f"{self.path}: {words}" if self.path else words, names)

    def forward(self, context: Context) -> Value:
        return self.value(self.results(context))

    def value(self, results: Mapping[str, Value]) -> Value:
        values = [results[name] for name in self.outputs]
        return merged(values, -1) if self.joins else values

    def results(self, context: Context) -> dict[str, Value]:
        """{block: its value}, and {output: the value after its layer} where it has one."""
        results: dict[str, Value] = {}
        for name in self.order:
            block = self.made[name]
            if isinstance(block, Reader):
                results[name] = block(context)
                continue
            values = []
            for place, source in enumerate(block.sources):
                if source.is_read:
                    value = self._fetch(source, results, context)
                    if source.kind == "package_name":
                        inner = self._within(name, place, results, context)
                        value = self._scope.packages[source.name](inner)
                    values.append(source.trim(value))
            stages = block(values)
            results[name] = stages[-1]
            for output, layer in layers_of(self.further, name).items():
                results[output] = stages[layer]
        return results

    def _fetch(
        self, source: Source, results: Mapping[str, Value], context: Context
    ) -> Value | None:
        """The value that a source names: a block's, before a group's of the same name. None for a
        package, which has to be run."""
        if source.kind == "use_package_input":
            return context.package_input
        if source.kind == "package_name":
            return None
        return results[source.name] if source.name in results else context.named(source.name)

    def _within(
        self, name: str, place: int, results: Mapping[str, Value], context: Context
    ) -> Context:
        """What a package reads that is input ``place`` of a block."""
        source, given = self.sources[name][place], None
        outside = {**context.outside, **results}
        if source.package_input is not None:
            given = source.package_trim(outside[source.package_input])
        # No name has a "+", so that the key is that of one use.
        key = f"{self.package}+{name}_{place}" if self.package else f"{name}_{place}"
        path = join(self.path, self.places[name], f"inputs[{place}]", "reset_input")
        return Context(context.groups, outside, given, source.reset, key, path)

    def build(self, context: Context, rows: int, faults: Faults) -> Value | None:
        """Run it, making what is not made yet, and check that each result has its rows. None if
        something does not fit, which is added to ``faults`` with its path in the model's message;
        blocks that do not depend on that are tried all the same."""
        results: dict[str, Value] = {}
        for name in self.order:
            if all(each in results for each in self.before(name)):
                with faults.under(join(self.path, self.places[name])):
                    value = self._built(name, (results, context, rows), faults)
                    if value is not None:
                        results[name] = value
        return self.value(results) if len(results) == len(self.order) else None

    def _built(
        self, name: str, state: tuple[Mapping[str, Value], Context, int], faults: Faults
    ) -> Value | None:
        """What a block gives. Raises ConfigError if it does not fit; None if that is a fault of
        another one, which is added to ``faults``."""
        results, context, rows = state
        block = self.made[name]
        if isinstance(block, Reader):
            found = len(faults)
            with faults.under(context.reset_path):
                block.prepare(context)
            return block(context) if len(faults) == found else None
        values = []
        whence = ", ".join(self._said(source, context) for source in block.sources)
        for place, source in enumerate(block.sources):
            if not source.is_read:
                continue
            value = self._fetch(source, results, context)
            if source.kind == "package_name":
                given = {**context.outside, **results}.get(source.package_input)
                got = [] if given is None else [given]
                with block.telling(f"inputs[{place}]", got, repr(source.package_input)):
                    inner = self._within(name, place, results, context)
                value = self._scope.packages[source.name].build(inner, rows, faults)
                if value is None:
                    return None
            elif value is None:
                words = "is set, but the package is used without package_input; give that"
                raise ConfigError.at(f"inputs[{place}].use_package_input", words)
            with block.telling(f"inputs[{place}]", [value], whence):
                values.append(source.trim(value))
        return block.build(values, rows, whence)

    def _said(self, source: Source, context: Context) -> str:
        """A source in a message, with the widths of the features that it gives if they differ."""
        block, said = self.made.get(source.name), repr(source.name or "package input")
        if not isinstance(block, Reader) or context.reset is not None:
            return said
        widths = block.fields()
        if len(set(widths.values())) < 2:
            return said
        return f"{said} ({', '.join(f'{name} {width}' for name, width in widths.items())})"

    def remake(self) -> None:
        """Remake the layers of the blocks that read groups, on the current device."""
        for block in self.made.values():
            if isinstance(block, Reader):
                block.remake()

    def sole_output(self) -> Block | None:
        """The block whose value is the graph's and that no other reads, if there is one."""
        name = self.outputs[0]
        read = {each for other in self.order for each in self.before(other)}
        block = self.made[name]
        is_sole = self.joins and len(self.outputs) == 1 and name not in read
        return block if is_sole and isinstance(block, Block) else None

    def place_of_output(self) -> str:
        """The path of what decides about the number of outputs: the number of tasks of an MMoE, or
        the blocks that are listed, or the block that no other reads."""
        block = self.sole_output()
        step = block.steps[-1] if block is not None and len(block.steps) else None
        if isinstance(step, Slot) and step.word == "mmoe":
            return join(self.places[block.name], block.paths[-1], "mmoe.num_task")
        return self.listed or self.places[self.outputs[0]]

    def read_by(self, name: str) -> list[str]:
        """What a block reads, in words."""
        block = self.made[name]
        if isinstance(block, Reader):
            return [f"group {block.name}"]
        return [self._in_words(source) for source in block.sources if source.is_read]

    def _in_words(self, source: Source) -> str:
        if source.kind == "package_name":
            given = f" of {source.package_input}" if source.package_input else ""
            return f"package {source.name}{given}"
        is_group = source.kind == "feature_group_name" and source.name not in self.specs
        return f"group {source.name}" if is_group else source.name or "package input"


def _named(blocks: Sequence[Mapping[str, Any]], faults: Faults) -> dict[str, Mapping[str, Any]]:
    """The blocks by name."""
    specs: dict[str, Mapping[str, Any]] = {}
    for place, spec in enumerate(blocks):
        with faults.under(f"blocks[{place}].name"):
            specs[checked_name(spec["name"], "block", specs)] = spec
    if not blocks:
        faults.add("blocks", "is empty; give blocks { ... }")
    faults.stop()
    return specs


def checked_name(name: str | None, what: str, others: Collection[str]) -> str:
    """The name of a block or package. Raises ConfigError if it may not have that."""
    if not name:
        raise ConfigError.saying(f"is not set; give the {what} a name")
    if not name.isascii() or not all(letter.isalnum() or letter in "_-" for letter in name):
        raise ConfigError.saying(f"is {name!r}; use letters, digits, _ and - only")
    if name in others:
        raise ConfigError.saying(f"{name!r} is the name of an earlier {what} too; choose another")
    return name


def _ordered(edges: Mapping[str, Sequence[str]], places: Mapping[str, str]) -> list[str]:
    try:
        return list(TopologicalSorter(edges).static_order())
    except CycleError as error:
        ring = list(error.args[1])
        if len(ring) == 2:
            words = f"block {ring[0]!r} reads itself; rename the block, or let it read another"
            raise ConfigError.at(f"{places[ring[0]]}.inputs", words) from error
        words = f"the blocks read each other in a ring: {' <- '.join(ring)}; remove one input"
        raise ConfigError.at(f"{places[ring[0]]}.inputs", words) from error


def _reached(names: Sequence[str], edges: Mapping[str, Sequence[str]]) -> set[str]:
    """The named blocks and all that they need."""
    found, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += edges[name]
    return found
