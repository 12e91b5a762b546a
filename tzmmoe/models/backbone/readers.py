"""Blocks that read one feature group and nothing else."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from torch import nn

from tzmmoe.errors import ConfigError, few
from tzmmoe.models.backbone.flow import Context, Value
from tzmmoe.models.backbone.inputs import InputLayer
from tzmmoe.models.base import Factor, Group, Pooling
from tzmmoe.tables.initializers import table_initializer
from tzmmoe.tables.penalties import Penalty

COMBINERS = {
    "weight": Pooling.WEIGHTED_MEAN,
    "mean": Pooling.MEAN,
    "sum": Pooling.SUM,
}
# How Keras's Embedding starts, on which EasyRec's layer is built.
EMBEDDING_START = "nn.init.uniform_,a=-0.05,b=0.05"


class Reader(nn.Module, ABC):
    """A block that reads the feature group ``name``, which is the input ``key`` of the body.

    ``word``: of its layer in a config.
    """

    word: ClassVar[str]
    name: str
    key: str

    @abstractmethod
    def forward(self, context: Context) -> Value:
        """The value of the block."""

    def fields(self) -> Mapping[str, int]:
        """{feature: width} if the value is a list or stack of features, otherwise empty."""
        return {}

    def prepare(self, context: Context) -> None:
        """Make the layers of a use that replaces the settings. Raises ConfigError."""

    def remake(self) -> None:
        """Remake its layers, on the current device."""


class InputBlock(Reader):
    """The block of an input layer. Within a package, a use that replaces the settings has a layer
    of its own; the other uses share the package's."""

    word = "input_layer"

    def __init__(self, name: str, group: Group, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.name = self.key = name
        self._group = group
        self._settings = {"own": settings}
        self.layers = nn.ModuleDict({"own": InputLayer(group, settings)})

    def forward(self, context: Context) -> Value:
        key = f"reset_{context.reset_key}" if context.reset is not None else "own"
        return self.layers[key](context.groups[self.name])

    def fields(self) -> Mapping[str, int]:
        return {} if self.layers["own"].form == "2d" else self._group.widths

    def prepare(self, context: Context) -> None:
        key = f"reset_{context.reset_key}"
        if context.reset is not None and key not in self.layers:
            self._settings[key] = context.reset
            self.layers[key] = InputLayer(self._group, context.reset)

    def remake(self) -> None:
        for key, settings in self._settings.items():
            self.layers[key] = InputLayer(self._group, settings)


class RawBlock(Reader):
    """The block of a raw_input: a list of (B, value_dim), the numbers of each feature."""

    word = "raw_input"

    def __init__(self, name: str, group: Group, place: str) -> None:
        """``place``: the block's name, after its package if it has one."""
        super().__init__()
        self.name, self.key = name, f"numbers_{name}"
        ids = [feature for feature in group.fields if feature not in group.numbers]
        if ids:
            what = f"reads the numbers of the group {name!r}, but {_quoted(ids)}"
            are = "is an id or has boundaries" if len(ids) == 1 else "are ids or have boundaries"
            words = f"block {place!r} {what} {are}; give the raw features a group of their own, or "
            raise ConfigError.saying(f"{words}write input_layer {{}}")
        # Without numbers, all features of the group are faulty.
        self._widths = group.numbers or group.widths

    def forward(self, context: Context) -> Value:
        return list(context.groups[self.key].split(list(self._widths.values()), dim=1))

    def fields(self) -> Mapping[str, int]:
        return self._widths

    @property
    def features(self) -> list[str]:
        return list(self._widths)


class EmbeddingBlock(Reader):
    """The block of an embedding_layer: embeddings from tables of its own, (B, F dim) or a list."""

    word = "embedding_layer"

    def __init__(self, name: str, group: Group, place: str, settings: Mapping[str, Any]) -> None:
        """``place``: the block's name, after its package if it has one; it is unique."""
        super().__init__()
        self.name, self.key, self.concat = name, f"embedding_{place}", settings["concat"]
        dim, combiner = settings["embedding_dim"], settings["combiner"]
        if not dim:
            state = "is not set" if dim is None else "is 0"
            raise ConfigError.at("embedding_dim", f"{state}; give the width of the embeddings")
        if combiner not in COMBINERS:
            choices = ", ".join(repr(word) for word in COMBINERS)
            words = ", which is not supported" if combiner in ("max", "min") else ""
            raise ConfigError.at("combiner", f"is {combiner!r}{words}; give one of {choices}")
        if group.numbers:
            are = "is a plain number" if len(group.numbers) == 1 else "are plain numbers"
            words = f"block {place!r} embeds the ids of the group {name!r}, but "
            words += f"{_quoted(group.numbers)} {are}; give them a group of their own, or "
            raise ConfigError.saying(f"{words}set boundaries in the features")
        start, none = table_initializer(EMBEDDING_START, 1), Penalty(0.0, 0.0)
        self.factor = Factor(
            list(group.widths), dim, start, none, pooling=COMBINERS[combiner], regularized=False
        )

    def forward(self, context: Context) -> Value:
        x_BFD = context.groups[self.key]
        return x_BFD.flatten(1) if self.concat else list(x_BFD.unbind(1))


def _quoted(names: Iterable[str]) -> str:
    return few([repr(name) for name in names])


def _input(name: str, group: Group, place: str, settings: Mapping[str, Any]) -> Reader:
    return InputBlock(name, group, settings)


def _raw(name: str, group: Group, place: str, settings: Mapping[str, Any]) -> Reader:
    return RawBlock(name, group, place)


# {word: a function of the group's name, the group, the block's place, and the settings}.
READERS: Mapping[str, Callable[[str, Group, str, Mapping[str, Any]], Reader]] = {
    InputBlock.word: _input,
    RawBlock.word: _raw,
    EmbeddingBlock.word: EmbeddingBlock,
}
