"""A body that is put together from blocks."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError, Faults, few, within
from tzmmoe.models.backbone.block import Block
from tzmmoe.models.backbone.flow import Context, Value, merged, shape, tensors
from tzmmoe.models.backbone.graph import Graph, Scope, checked_name
from tzmmoe.models.backbone.outputs import read_off
from tzmmoe.models.backbone.readers import EmbeddingBlock, RawBlock, Reader
from tzmmoe.models.backbone.steps import Slot
from tzmmoe.models.backbone.wide import WideColumns, blocks_of, with_width
from tzmmoe.models.base import MODELS, Body, Group, TowerInputs, TowerSpec
from tzmmoe.models.parts import Part, part_of, trained
from tzmmoe.models.tower import Tower
from tzmmoe.nn.gates import Gates
from tzmmoe.nn.keras_mlp import KerasMLP
from tzmmoe.registry.modules import NO_MODULES, Modules
from tzmmoe.tables.penalties import half_of_squares

log = logging.getLogger(__name__)

TRIED_ROWS = (2, 3)  # which a value must keep; what mixes rows gives another number of one of them


@MODELS.register("backbone")
class Backbone(Body):
    """Blocks that form a directed acyclic graph, as in EasyRec's component form.

    Layers are made in two passes. The first runs the graph on torch's meta device, where a tensor
    has a shape and no numbers: each layer is made for the shape of what arrives. The second makes
    them anew, with numbers, for the same shapes.
    """

    starts_itself = True
    takes_modules = True

    def __init__(
        self,
        groups: Mapping[str, Group],
        towers: Sequence[TowerSpec],
        *,
        packages: Sequence[Mapping[str, Any]],
        blocks: Sequence[Mapping[str, Any]],
        concat_blocks: Sequence[str],
        output_blocks: Sequence[str],
        top_mlp: Mapping[str, Any] | None,
        l2_regularization: float,
        logits_from_blocks: bool,
        outputs: Sequence[str],
        modules: Modules = NO_MODULES,
    ) -> None:
        super().__init__()
        faults = Faults()
        self.logits_from_blocks = logits_from_blocks
        with faults.under(""):
            self.kernel_penalty = half_of_squares(l2_regularization)
        main = {
            "blocks": blocks,
            "concat_blocks": concat_blocks,
            "output_blocks": output_blocks,
        }
        groups = with_width(groups, list(blocks_of({"packages": packages, **main})), faults)
        faults.stop()
        scope = Scope(groups, modules)
        with torch.device("meta"):
            _make_packages(packages, [str(block["name"]) for block in blocks], scope, faults)
            faults.stop()
            self.graph = Graph("", main, scope, further=outputs)
        used = self.graph.uses()
        self.packages = nn.ModuleDict({f"package_{name}": scope.packages[name] for name in used})
        self.top: KerasMLP | None = None
        self._find_inputs(groups)
        _say_unread("feature groups", [name for name in groups if name not in self._members])
        _say_unread("packages", [name for name in scope.packages if name not in used])
        self._build(towers, top_mlp)

    def _find_inputs(self, groups: Mapping[str, Group]) -> None:
        """Set what the graph reads, and its shapes. Raises ConfigError."""
        readers, by_layers = self.graph.readers(), self.graph.groups()
        read = list(dict.fromkeys([*by_layers, *(block.name for block in readers)]))
        self._members = {name: list(groups[name].widths) for name in read}
        deep = [name for name in by_layers if not groups[name].is_wide]
        self.groups = {name: self._members[name] for name in deep}
        self.wide = WideColumns({n: groups[n] for n in by_layers if groups[n].is_wide})
        self.factors = dict(self.wide.factors)
        self.numbers, shapes = {}, {name: (groups[name].width,) for name in deep}
        for block in readers:
            if isinstance(block, EmbeddingBlock):
                self.factors[block.key] = block.factor
            elif isinstance(block, RawBlock):
                self.numbers[block.key] = block.features
                shapes[block.key] = (sum(block.fields().values()),)
        shapes |= {name: (len(f.features), f.dim) for name, f in self.factors.items()}
        self._input_shapes: dict[str, tuple[int, ...]] = shapes
        for name in (*self.factors, *self.numbers):
            if name in groups:
                words = f"the feature group {name!r} has the name of an input that the model makes"
                raise ConfigError.saying(f"{words}; choose another group_name")

    def inputs(self) -> dict[str, Sequence[str]]:
        return self._members

    def _build(self, towers: Sequence[TowerSpec], top_mlp: Mapping[str, Any] | None) -> None:
        with torch.device("meta"):
            value = self._tried(TRIED_ROWS[0], top_mlp)
            self._tried(TRIED_ROWS[1], None)
            self._bind(value, towers)
            frozen = self._unreached()
        results = self._results()
        self.shapes = {name: shape(each) for name, each in results.items()}
        self.outputs = self._widths(results)
        self._materialize(top_mlp)
        for name, parameter in self.named_parameters():
            if name in frozen:
                parameter.requires_grad_(False)

    def _tried(self, rows: int, top_mlp: Mapping[str, Any] | None) -> Value:
        """What the graph gives for so many rows. Raises ConfigError for what does not fit."""
        faults = Faults()
        value = self.graph.build(self._context(self._zeros(rows)), rows, faults)
        faults.stop()
        if top_mlp is not None:
            joined = _joined(value)
            with faults.under("top_mlp"):
                self.top = KerasMLP(joined.shape[-1], **top_mlp)
            faults.stop()
        return value if self.top is None else self.top(_joined(value))

    def _bind(self, value: Value, towers: Sequence[TowerSpec]) -> None:
        """Check that the output suits the towers, and find the gates that each serve one."""
        where = ", ".join(repr(name) for name in self.graph.outputs)
        is_one, place = isinstance(value, Tensor), self.graph.place_of_output()
        parts = [value] * len(towers) if is_one else list(value)
        for part in parts:
            if not isinstance(part, Tensor):
                words = f"the output {where} has the list {shape(part)} for a tower"
                remedy = "name the block in concat_blocks instead, so that its elements are the"
                raise ConfigError.at(place, f"{words}, which needs (B, D); {remedy} towers' inputs")
            if part.dim() != 2:
                words = f"the output {where} has {shape(part)} for a tower, which needs (B, D)"
                raise ConfigError.at(place, f"{words}; add a Flatten layer")
        if len(parts) != len(towers):
            words = f"block {where} gives {shape(value)}, a list of {len(value)}"
            remedy = "give one element for each, or join them by a Concatenate layer"
            words += f", but there are {len(towers)} task_towers; {remedy}"
            raise ConfigError.at(place, words)
        self.out_features = [part.shape[-1] for part in parts]

    @torch.enable_grad()
    def _unreached(self) -> set[str]:
        """The parameters that no tower depends on, which are not trained: with several processes,
        the exchange of gradients would wait for them."""
        self.train()
        inputs = self._zeros(TRIED_ROWS[0])
        names = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        outputs = self(inputs).hidden
        if not outputs:  # a config without towers, which is a fault of its own
            return set()
        total = torch.stack([output.sum() for output in outputs]).sum()
        parameters = [parameter for _, parameter in names]
        grads: Sequence[Tensor | None] = [None] * len(parameters)
        if parameters and total.requires_grad:
            grads = torch.autograd.grad(total, parameters, allow_unused=True)
        unreached = [name for (name, _), g in zip(names, grads, strict=True) if g is None]
        if unreached:
            words = "no tower depends on these weights, so they are not trained"
            log.warning("%s: %s", words, few(unreached))
        return set(unreached)

    def _widths(self, results: Mapping[str, Value]) -> dict[str, int]:
        """{further output: D}. Raises ConfigError for those that are not (B, D)."""
        faults, widths = Faults(), {}
        for place, output in enumerate(self.graph.further):
            with faults.under(f"outputs[{place}]"):
                widths[output.name] = output.width(results)
        faults.stop()
        return widths

    def _results(self) -> dict[str, Value]:
        with torch.device("meta"), torch.no_grad():
            return self.graph.results(self._context(self._zeros(TRIED_ROWS[0])))

    def _zeros(self, rows: int) -> dict[str, Tensor]:
        """The inputs, with ``rows`` rows of zeros."""
        return {name: torch.zeros(rows, *sizes) for name, sizes in self._input_shapes.items()}

    def _context(self, inputs: Mapping[str, Tensor]) -> Context:
        return Context({**inputs, **self.wide.by_group(inputs)})

    def _materialize(self, top_mlp: Mapping[str, Any] | None) -> None:
        """Make each layer with numbers."""
        for part in list(self.modules()):
            if isinstance(part, Slot):
                part.remake()
                part.forget()
        for part in [self.graph, *self.packages.values()]:
            part.remake()
        if self.top is not None:
            self.top = KerasMLP(self.top.network.layers[0].linear.weight.shape[-1], **top_mlp)
        self._mark_gates()

    def _mark_gates(self) -> None:
        """A gate for each task has a part for each only where its output goes to the towers, and
        nowhere else, as it is."""
        gates = [part for part in self.modules() if isinstance(part, Gates)]
        for part in gates:
            part.by_task = False
        last = self.graph.sole_output()
        step = last.steps[-1] if last is not None and len(last.steps) else None
        if self.top is None and isinstance(step, Slot) and step.word == "mmoe":
            for part in step.modules():
                if isinstance(part, Gates):
                    part.by_task = len(part.final.weight) > 1

    def forward(self, inputs: Mapping[str, Tensor]) -> TowerInputs:
        results = self.graph.results(self._context(inputs))
        value = self.graph.value(results)
        if self.top is not None:
            value = self.top(_joined(value))
        hidden = [value] * len(self.out_features) if isinstance(value, Tensor) else list(value)
        further = {} if self.training else read_off(self.graph.further, results)
        return TowerInputs(hidden, further=further)

    def tower(self, index: int, spec: TowerSpec, read: Sequence[Tower] = ()) -> Tower:
        width = self.out_features[index]
        if self.logits_from_blocks and spec.mlp is None and not read and width == spec.num_class:
            return Tower(width, spec.num_class, None, linear=False)
        return super().tower(index, spec, read)

    def parts(self) -> list[Part]:
        """The blocks in order, then those of packages, whose weights count once."""
        found = [
            Part(
                name,
                self.graph.read_by(name),
                _kind(self.graph.made[name]),
                self.shapes[name],
                trained(self.graph.made[name]),
            )
            for name in self.graph.order
        ]
        for package in self.packages.values():
            reads = dict.fromkeys(each for name in package.order for each in package.read_by(name))
            outside = [name for name in reads if name not in package.specs]
            layers = ", ".join(_kind(package.made[name]) for name in package.order)
            name = f"package {package.package}"
            found.append(Part(name, outside, layers, "", trained(package)))
        found += [part_of("top_mlp", self.top, self.graph.outputs)] if self.top else []
        return found + [
            Part(f"output {each.name}", [each.block], "", f"(B, {self.outputs[each.name]})", 0)
            for each in self.graph.further
        ]

    def ends(self) -> list[str]:
        return ["top_mlp"] if self.top else self.graph.outputs

    def ends_of(self, tower: int) -> list[str]:
        return self.ends() if self.top or self.graph.joins else [self.graph.outputs[tower]]


def _kind(block: Block | Reader) -> str:
    """A block's layers by their words."""
    if isinstance(block, Reader):
        return block.word
    return ", ".join(map(str, block.steps)) or "join"


def _make_packages(
    packages: Sequence[Mapping[str, Any]], outside: Sequence[str], scope: Scope, faults: Faults
) -> None:
    """Put the packages into the scope. ``outside``: the blocks that they may read."""
    scope.outside = outside
    for place, fields in enumerate(packages):
        with faults.under(f"packages[{place}]"):
            with within("name"):
                name = checked_name(fields["name"], "package", scope.packages)
            scope.packages[name] = Graph(f"packages[{place}]", fields, scope, name)
    scope.outside = ()


def _say_unread(what: str, names: Sequence[str]) -> None:
    if names:
        log.warning("no block that reaches an output reads these %s: %s", what, few(names))


def _joined(value: Value) -> Tensor:
    if isinstance(value, Tensor):
        return value
    parts = list(tensors(value))
    return parts[0] if len(parts) == 1 else merged(parts, -1)
