"""The layers of blocks: which module each word of the schema stands for, and what it is made for.

A kind of layer knows how the shapes of a block's input become the first argument of the module; the
other arguments are the fields of the layer's message.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tzmmoe.errors import Faults
from tzmmoe.models.backbone.flow import Value, one, several, tensors
from tzmmoe.nn.attention.aitm import AITMTower
from tzmmoe.nn.attention.dot_product import Attention
from tzmmoe.nn.attention.multi_head import MultiHeadAttention
from tzmmoe.nn.gated.gate import Gate
from tzmmoe.nn.gated.highway import Highway
from tzmmoe.nn.gated.masks import MaskBlock, MaskNet
from tzmmoe.nn.gated.mixture import MMoE
from tzmmoe.nn.gated.ppnet import PPNet
from tzmmoe.nn.gated.senet import SENet
from tzmmoe.nn.interactions.bilinear import BiLinear
from tzmmoe.nn.interactions.cin import CIN
from tzmmoe.nn.interactions.cross import Cross
from tzmmoe.nn.interactions.dot import DotInteraction
from tzmmoe.nn.interactions.fibinet import FiBiNet
from tzmmoe.nn.interactions.fm import FM
from tzmmoe.nn.keras_layers import joining, merging, norms, rectifiers, shaping
from tzmmoe.nn.keras_layers.dense import Activation, Dense
from tzmmoe.nn.keras_mlp import KerasMLP
from tzmmoe.nn.mlp import Dropout, check_dropout
from tzmmoe.nn.numbers import AutoDisEmbedding, PeriodicEmbedding
from tzmmoe.protos.layer_pb2 import KerasLayer
from tzmmoe.protos.layer_pb2 import SENet as SENetMessage
from tzmmoe.registry import Registry
from tzmmoe.registry import fields as fields_of
from tzmmoe.registry.modules import Modules, make

LAYERS: Registry = Registry(KerasLayer, "params")
LAYERS.base(nn.Module)


@dataclass(frozen=True)
class LayerKind(ABC):
    """The module behind a word. Its ``module`` takes what ``sizes`` finds in the block's input,
    and then keywords, those of the message."""

    module: Callable[..., nn.Module]

    @abstractmethod
    def sizes(self, value: Value) -> list[Any]:
        """Of the input. Raises ConfigError, without a path, for one that the layer cannot take."""

    def make(self, value: Value, fields: Mapping[str, Any]) -> nn.Module:
        """The module for an input. Raises ConfigError for each field that it needs and lacks."""
        faults = Faults()
        for name, parameter in inspect.signature(self.module).parameters.items():
            optional = "None" in str(parameter.annotation)
            if name in fields and fields[name] is None and not optional:
                faults.add(name, "is not set; give it")
        faults.stop()
        return self.module(*self.sizes(value), **fields)


class Matrix(LayerKind):
    """One tensor (B, D)."""

    def sizes(self, value: Value) -> list[int]:
        return [one(value, 2, "one tensor (B, D)").shape[-1]]


class LastAxis(LayerKind):
    """One tensor (B, ..., D)."""

    def sizes(self, value: Value) -> list[int]:
        return [one(value, None, "one tensor (B, D)").shape[-1]]


class Matrices(LayerKind):
    """A list of tensors (B, d)."""

    def sizes(self, value: Value) -> list[list[int]]:
        return [[part.shape[-1] for part in several(value, 2, "a list of tensors (B, d)")]]


class MatrixOrMatrices(LayerKind):
    """One tensor (B, D), or a list of them."""

    def sizes(self, value: Value) -> list[list[int]]:
        if isinstance(value, Tensor):
            return [[one(value, 2, "one tensor (B, D), or a list of them").shape[-1]]]
        return [[p.shape[-1] for p in several(value, 2, "one tensor (B, D), or a list of them")]]


class Fields(LayerKind):
    """A list of tensors (B, d), or one tensor (B, F, d)."""

    def sizes(self, value: Value) -> list[list[int]]:
        needs = "a list of tensors (B, d), or one tensor (B, F, d)"
        if isinstance(value, Tensor) and value.dim() == 3:
            return [[value.shape[-1]] * value.shape[1]]
        return [[part.shape[-1] for part in several(value, 2, needs)]]


class Sequences(LayerKind):
    """A list of tensors (B, L, d)."""

    def sizes(self, value: Value) -> list[list[int]]:
        return [[part.shape[-1] for part in several(value, 3, "a list of tensors (B, L, d)")]]


class Shapes(LayerKind):
    """A list of any tensors: their sizes behind the rows."""

    def sizes(self, value: Value) -> list[list[tuple[int, ...]]]:
        parts = [value] if isinstance(value, Tensor) else list(value)
        if isinstance(value, Tensor) or not all(isinstance(part, Tensor) for part in parts):
            several(value, 2, "a list of tensors")
        return [[tuple(part.shape[1:]) for part in parts]]


class Shape(LayerKind):
    """One tensor: its sizes behind the rows."""

    def sizes(self, value: Value) -> list[tuple[int, ...]]:
        return [tuple(one(value, None, "one tensor").shape[1:])]


class AnyTensor(LayerKind):
    """One tensor of any shape, which the layer needs not know."""

    def sizes(self, value: Value) -> list[Any]:
        one(value, None, "one tensor")
        return []


def dropout(*, rate: float | None) -> nn.Module:
    """Keras's Dropout."""
    check_dropout("rate", rate or 0.0)
    return Dropout(rate or 0.0)


def last_by_default(module: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """The module, with the last axis where none is listed."""

    def made(shape: Sequence[int], *, axis: Sequence[int], **fields: Any) -> nn.Module:
        return module(shape, axis=axis or [-1], **fields)

    return made


def mixture(
    widths: Sequence[int], *, num_task: int, num_expert: int, expert_mlp: Mapping[str, Any] | None
) -> nn.Module:
    """MMoE; without experts, the input is the output."""
    if num_expert == 0:
        return nn.Identity()
    return MMoE(widths, num_task=num_task, num_expert=num_expert, expert_mlp=expert_mlp)


def fibinet(
    widths: Sequence[int],
    *,
    senet: Mapping[str, Any] | None,
    bilinear: Mapping[str, Any] | None,
    mlp: Mapping[str, Any] | None,
) -> nn.Module:
    """FiBiNet; SENet with its defaults where it is unset."""
    return FiBiNet(widths, senet=senet or fields_of(SENetMessage()), bilinear=bilinear, mlp=mlp)


KINDS: dict[str, LayerKind] = {
    "mlp": LastAxis(KerasMLP),
    "senet": Matrices(SENet),
    "mmoe": MatrixOrMatrices(mixture),
    "fm": Fields(FM),
    "dot_interaction": Fields(DotInteraction),
    "cross": Matrices(Cross),
    "cin": Fields(CIN),
    "bilinear": Matrices(BiLinear),
    "fibinet": Matrices(fibinet),
    "mask_block": MatrixOrMatrices(MaskBlock),
    "masknet": Matrix(MaskNet),
    "ppnet": Matrices(PPNet),
    "gate": Matrices(Gate),
    "highway": Matrix(Highway),
    "aitm": Matrices(AITMTower),
    "periodic_embedding": Matrix(PeriodicEmbedding),
    "auto_dis_embedding": Matrix(AutoDisEmbedding),
    "attention": Sequences(Attention),
    "multi_head_attention": Sequences(MultiHeadAttention),
    "dense": LastAxis(Dense),
    "dropout": AnyTensor(dropout),
    "add": Shapes(merging.Add),
    "multiply": Shapes(merging.Multiply),
    "subtract": Shapes(merging.Subtract),
    "average": Shapes(merging.Average),
    "maximum": Shapes(merging.Maximum),
    "minimum": Shapes(merging.Minimum),
    "concatenate": Shapes(joining.Concatenate),
    "dot": Shapes(joining.Dot),
    "batch_normalization": Shape(norms.BatchNormalization),
    "layer_normalization": Shape(last_by_default(norms.LayerNormalization)),
    "activation": AnyTensor(Activation),
    "relu": AnyTensor(rectifiers.ReLU),
    "leaky_relu": AnyTensor(rectifiers.LeakyReLU),
    "prelu": Shape(rectifiers.PReLU),
    "elu": AnyTensor(rectifiers.ELU),
    "softmax": Shape(last_by_default(rectifiers.Softmax)),
    "flatten": AnyTensor(shaping.Flatten),
    "reshape": Shape(shaping.Reshape),
    "global_average_pooling1d": Shape(shaping.GlobalAveragePooling1D),
    "global_max_pool1d": Shape(shaping.GlobalMaxPool1D),
}
for _word, _kind in KINDS.items():
    LAYERS.register(_word)(_kind)


def layer(word: str, fields: Mapping[str, Any], value: Value, modules: Modules) -> nn.Module:
    """The layer behind a word for an input. Raises ConfigError, with paths in its message."""
    if word != LAYERS.custom:
        return LAYERS[word].make(value, fields)
    kind = LAYERS.kind(word, fields, modules)
    arguments = dict(fields["args"] or {})
    if "shapes" in inspect.signature(kind).parameters:
        arguments["shapes"] = [tuple(part.shape[1:]) for part in tensors(value)]
    return make(kind, (), arguments)
