"""A graph of blocks: their order, and what they hand on."""

import logging
from collections.abc import Callable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from torch import nn

from tzmmoe.errors import ConfigError, Faults, few, join
from tzmmoe.models.backbone.block import Block, Source, check_rows
from tzmmoe.models.backbone.flow import Context, Value, merged
from tzmmoe.models.backbone.inputs import InputBlock
from tzmmoe.models.backbone.steps import unknown
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
    config. Blocks that the value does not need are left out.

    ``fields``: those of the message at ``path``, one with blocks.
    """

    def __init__(self, path: str, fields: Mapping[str, Any], scope: Scope) -> None:
        super().__init__()
        self.path, self._scope, faults = path, scope, Faults()
        self.specs = _named(fields["blocks"], faults)
        self.made: dict[str, Block | InputBlock] = {}
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
        faults.stop()
        edges = {name: self._before(name) for name in self.specs}
        order = _ordered(edges, self.places)
        self.joins = not fields["output_blocks"]
        read = {name for before in edges.values() for name in before}
        leaves = [name for name in self.specs if name not in read]
        self.outputs = list(fields["output_blocks"] or fields["concat_blocks"] or leaves)
        live = _reached(self.outputs, edges)
        self.order = [name for name in order if name in live]
        self._warn([name for name in self.specs if name not in live])
        self.blocks = nn.ModuleDict({f"block_{name}": self.made[name] for name in self.order})

    def _add(self, name: str, spec: Mapping[str, Any]) -> None:
        """Make a block. Raises ConfigError, with paths in its message."""
        if not spec["inputs"]:
            words = f"is empty, but block {name!r} needs something to read; name a feature group or"
            raise ConfigError.at("inputs", f"{words} a block")
        if spec["input_layer"] is None:
            self.made[name] = Block(self.places[name], spec, self._scope.modules)
            self.sources[name] = self.made[name].sources
            return
        sources = [Source.of(each) for each in spec["inputs"]]
        if len(sources) != 1 or sources[0].kind != "feature_group_name":
            words = f"block {name!r} has an input_layer, which reads one feature_group_name only"
            raise ConfigError.at("inputs", f"{words}; give that")
        group = sources[0].name
        if group not in self._scope.groups:
            groups = list(self._scope.groups)
            words = unknown(group, groups, "in model_config.feature_groups")
            raise ConfigError.at("inputs[0].feature_group_name", words)
        if spec["layers"]:
            raise ConfigError.at("layers", "is set, and so is input_layer; keep one")
        self.made[name] = InputBlock(group, self._scope.groups[group], spec["input_layer"])
        self.sources[name] = []

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

    def _before(self, name: str) -> list[str]:
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
        for sources in self.sources.values():
            for source in sources:
                if source.kind == "package_name":
                    found += self._scope.packages[source.name].needs()
                found += [source.name] if source.name not in self.specs else []
                found += [source.package_input] if source.package_input else []
        return found

    def groups(self) -> list[str]:
        """The feature groups that it reads, packages included."""
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
            log.warning("%s: %s: %s", self.path, words, few([repr(name) for name in dead]))

    def forward(self, context: Context) -> Value:
        results = self.results(context)
        values = [results[name] for name in self.outputs]
        if not self.joins:
            return values
        return merged(values, -1)

    def results(
        self, context: Context, visit: Callable[[Block | InputBlock, Value], None] | None = None
    ) -> dict[str, Value]:
        """What each block gives; ``visit`` sees it too."""
        results: dict[str, Value] = {}
        for name in self.order:
            block = self.made[name]
            if isinstance(block, InputBlock):
                results[name] = block(context)
            else:
                values = [
                    source.trim(self._fetch(f"{name}_{place}", source, results, context))
                    for place, source in enumerate(block.sources)
                    if source.is_read
                ]
                results[name] = block(values)
            if visit:
                visit(block, results[name])
        return results

    def _fetch(
        self, key: str, source: Source, results: Mapping[str, Value], context: Context
    ) -> Value:
        """The value that a source names: a block's, before a group's of the same name."""
        if source.kind == "use_package_input":
            return context.package_input
        if source.kind != "package_name":
            outer = context.outside | context.groups if context.outside else context.groups
            return results[source.name] if source.name in results else outer[source.name]
        given = None
        if source.package_input is not None:
            known = {**context.outside, **results}
            given = source.package_trim(known[source.package_input])
        inner = Context(context.groups, {**context.outside, **results}, given, source.reset, key)
        return self._scope.packages[source.name](inner)

    def build(self, context: Context, rows: int, faults: Faults) -> Value | None:
        """Run it, making what is not made yet, and check that each result has its rows. None if
        something does not fit, which is added to ``faults``."""
        results: dict[str, Value] = {}
        for name in self.order:
            block = self.made[name]
            found = len(faults)
            with faults.under(join(self.path, self.places[name])):
                if isinstance(block, InputBlock):
                    with_faults = "input_layer" if context.reset is None else "reset_input"
                    results[name] = _prepared(block, context, with_faults)
                    continue
                values = []
                for place, source in enumerate(block.sources):
                    if not source.is_read:
                        continue
                    fetched = self._built_source(name, place, source, (results, context, rows))
                    with block.telling(f"inputs[{place}]", [fetched]):
                        values.append(source.trim(fetched))
                results[name] = block(values)
                check_rows(block, results[name], rows)
            if len(faults) > found:
                return None
        values = [results[name] for name in self.outputs]
        return values if not self.joins else merged(values, -1)

    def _built_source(
        self,
        name: str,
        place: int,
        source: Source,
        state: tuple[Mapping[str, Value], Context, int],
    ) -> Value:
        """As ``_fetch``, while the graph is built."""
        results, context, rows = state
        if source.kind != "package_name":
            if source.kind == "use_package_input" and context.package_input is None:
                words = "is set, but the package is used without package_input; give that"
                raise ConfigError.at(f"inputs[{place}].use_package_input", words)
            return self._fetch("", source, results, context)
        given = None
        if source.package_input is not None:
            given = source.package_trim({**context.outside, **results}[source.package_input])
        outside = {**context.outside, **results}
        key = f"{name}_{place}"
        inner = Context(context.groups, outside, given, source.reset, key)
        faults = Faults()
        value = self._scope.packages[source.name].build(inner, rows, faults)
        faults.stop()
        return value

    def remake(self) -> None:
        """Make the layers of input blocks anew, on the current device."""
        for block in self.made.values():
            if isinstance(block, InputBlock):
                block.remake()

    def sole_output(self) -> Block | None:
        """The block whose value is the graph's and that no other reads, if there is one."""
        name = self.outputs[0]
        read = {each for other in self.order for each in self._before(other)}
        block = self.made[name]
        is_sole = self.joins and len(self.outputs) == 1 and name not in read
        return block if is_sole and isinstance(block, Block) else None

    def read_by(self, name: str) -> str:
        """What a block reads, in words."""
        block = self.made[name]
        if isinstance(block, InputBlock):
            return f"group {block.name}"
        return ", ".join(source.name or "package input" for source in block.sources)


def _prepared(block: InputBlock, context: Context, field: str) -> Value:
    faults = Faults()
    with faults.under(field):
        block.prepare(context)
    faults.stop()
    return block(context)


def _named(blocks: Sequence[Mapping[str, Any]], faults: Faults) -> dict[str, Mapping[str, Any]]:
    """The blocks by name."""
    specs: dict[str, Mapping[str, Any]] = {}
    for place, spec in enumerate(blocks):
        name, path = spec["name"] or "", f"blocks[{place}].name"
        if not name:
            faults.add(path, "is not set; give the block a name")
        elif not all(letter.isalnum() or letter in "_-" for letter in name) or not name.isascii():
            faults.add(path, f"is {name!r}; use letters, digits, _ and - only")
        elif name in specs:
            faults.add(path, f"{name!r} is the name of an earlier block too; choose another")
        else:
            specs[name] = spec
    if not blocks:
        faults.add("blocks", "is empty; give blocks { ... }")
    faults.stop()
    return specs


def _ordered(edges: Mapping[str, Sequence[str]], places: Mapping[str, str]) -> list[str]:
    try:
        return list(TopologicalSorter(edges).static_order())
    except CycleError as error:
        ring = [name for name in error.args[1] if name in places]
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
