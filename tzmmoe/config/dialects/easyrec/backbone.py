"""EasyRec's component form: layers by ``class_name``, and ``model_params`` beside the backbone."""

import logging
from collections.abc import Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tzmmoe.config.dialects.easyrec.built_in import DEFAULT_L2
from tzmmoe.config.dialects.easyrec.outputs import rewrite_outputs
from tzmmoe.config.dialects.easyrec.rewriting import Rewriting
from tzmmoe.config.walk import messages
from tzmmoe.errors import did_you_mean, exactly, join
from tzmmoe.protos.backbone_pb2 import EmbeddingLayer
from tzmmoe.protos.custom_pb2 import NamedValue
from tzmmoe.protos.layer_pb2 import KerasLayer, Struct, StructValue
from tzmmoe.protos.model_pb2 import ModelConfig
from tzmmoe.textformat.paths import is_set

log = logging.getLogger(__name__)

CLASSES = {
    "MLP": "mlp",
    "SENet": "senet",
    "MMoE": "mmoe",
    "FM": "fm",
    "Cross": "cross",
    "CIN": "cin",
    "DotInteraction": "dot_interaction",
    "BiLinear": "bilinear",
    "FiBiNet": "fibinet",
    "MaskBlock": "mask_block",
    "MaskNet": "masknet",
    "PPNet": "ppnet",
    "Gate": "gate",
    "Highway": "highway",
    "AITMTower": "aitm",
    "PeriodicEmbedding": "periodic_embedding",
    "AutoDisEmbedding": "auto_dis_embedding",
    "Attention": "attention",
    "MultiHeadAttention": "multi_head_attention",
    "Dense": "dense",
    "Dropout": "dropout",
    "Add": "add",
    "Multiply": "multiply",
    "Subtract": "subtract",
    "Average": "average",
    "Maximum": "maximum",
    "Minimum": "minimum",
    "Concatenate": "concatenate",
    "Dot": "dot",
    "BatchNormalization": "batch_normalization",
    "LayerNormalization": "layer_normalization",
    "Activation": "activation",
    "ReLU": "relu",
    "LeakyReLU": "leaky_relu",
    "PReLU": "prelu",
    "ELU": "elu",
    "Softmax": "softmax",
    "Flatten": "flatten",
    "Reshape": "reshape",
    "GlobalAveragePooling1D": "global_average_pooling1d",
    "GlobalMaxPool1D": "global_max_pool1d",
    "GlobalMaxPooling1D": "global_max_pool1d",
}
# Layers of EasyRec that are missing here, and what to use instead.
ALTERNATIVES = {
    "NaryDisEmbedding": "AutoDisEmbedding and PeriodicEmbedding also embed numbers",
    **dict.fromkeys(
        ("DIN", "BST", "TransformerBlock", "TransformerEncoder", "TextEncoder", "TextCNN"),
        "it needs sequences, which are not supported yet; MultiHeadAttention works on features",
    ),
    **dict.fromkeys(("SeqAugment", "SeqAugmentOps"), "sequences are not supported yet"),
    "AuxiliaryLoss": "give a tower a further loss",
    "EmbeddingLayer": "write embedding_layer {} in place of keras_layer, in a block of its own",
    "OverlapFeature": "make the overlap a column of the data",
    "EditDistance": "make the distance a column of the data",
    "TextNormalize": "normalize the text in the data",
    "MappedDotProduct": "Dot and Dense do it in two layers",
    "BiasNet": "EasyRec has it as no layer either; Dense and Add do it in two layers",
    "AutoInt": "MultiHeadAttention is its layer",
}
# Built-in models of EasyRec that may stand on a backbone, which gives their towers the input.
ON_BACKBONE = {"DBMTL": "dbmtl", "SimpleMultiTask": "simple_multi_task"}
IGNORED = {"name", "dtype", "trainable"}  # arguments of every Keras layer; no meaning here


def rewrite_backbone(config: ModelConfig, rewriting: Rewriting) -> None:
    """``model_params`` moves into ``backbone``; each layer gets its typed message."""
    own = "model_config.backbone"
    if config.HasField("model_params"):
        _move(config, own, rewriting)
    if config.WhichOneof("model") != "backbone":
        return
    for path, message in list(messages(config.backbone, own)):
        if isinstance(message, KerasLayer):
            _rewrite(message, path, rewriting)
        elif isinstance(message, EmbeddingLayer) and message.HasField("vocab_size"):
            words = "has no effect: the tables have as many rows as those of the features"
            log.warning("%s %s", join(path, "vocab_size"), words)
            message.ClearField("vocab_size")
    rewrite_outputs(config.backbone, own, rewriting)


def _move(config: ModelConfig, own: str, rewriting: Rewriting) -> None:
    word = ON_BACKBONE.get(config.model_class, "model_params")
    path = f"model_config.{word}"
    if config.WhichOneof("model") not in (None, "backbone"):
        words = f"is for a backbone, but the model is {config.WhichOneof('model')}; remove one"
        rewriting.faults.add(path, words)
        config.ClearField("model_params")
        return
    params, backbone = config.model_params, config.backbone
    for name in ("task_towers", "l2_regularization", "outputs"):
        if is_set(params, name):
            if is_set(backbone, name):
                words = f"is set, and so is {own}.{name}; keep one"
                rewriting.faults.add(join(path, name), words)
            rewriting.written[join(own, name)] = join(path, name)
    backbone.task_towers.extend(params.task_towers)
    backbone.outputs.extend(params.outputs)
    if params.HasField("l2_regularization"):
        backbone.l2_regularization = params.l2_regularization
    elif word != "model_params":
        backbone.l2_regularization = DEFAULT_L2
        rewriting.written[f"{own}.l2_regularization"] = path
    rewriting.keras = rewriting.keras or path
    config.ClearField("model_params")


def _rewrite(layer: KerasLayer, path: str, rewriting: Rewriting) -> None:
    """``class_name`` and ``st_params`` become the message of the layer."""
    name, set_to = layer.class_name, layer.WhichOneof("params")
    has_class = layer.HasField("class_name")
    parameters = Struct()
    parameters.CopyFrom(layer.st_params)
    has_parameters = layer.HasField("st_params")
    layer.ClearField("class_name")
    layer.ClearField("st_params")
    if has_parameters and not has_class:
        words = "is set without class_name; name the layer"
        rewriting.faults.add(join(path, "st_params"), words)
    if not has_class:
        return
    name = name.removeprefix("tf.keras.layers.").removeprefix("keras.layers.")
    if "." in name:
        _custom(layer, name, parameters)
        return
    word = CLASSES.get(name)
    if word is None or set_to not in (None, word):
        _refuse(layer, path, name, rewriting)
        return
    if set_to and has_parameters:
        words = f"is set, and so is {set_to}; keep {set_to}"
        rewriting.faults.add(join(path, "st_params"), words)
    message = getattr(layer, word)
    message.SetInParent()
    if set_to is None:
        rewriting.written[join(path, word)] = join(path, "st_params" if has_parameters else "")
        if word == "mlp":  # of EasyRec's two forms only mlp { } has an activation there
            message.final_activation = "linear"
        fill(message, parameters, join(path, "st_params"), rewriting)


def _refuse(layer: KerasLayer, path: str, name: str, rewriting: Rewriting) -> None:
    """Add a fault for an unknown class, or for one that does not fit the message beside it."""
    place, set_to = join(path, "class_name"), layer.WhichOneof("params")
    if name in CLASSES:
        words = f"is {name!r}, but {set_to} is set; write {CLASSES[name]} {{ ... }}"
        own = next((known for known, word in CLASSES.items() if word == set_to), None)
        rewriting.faults.add(place, f"{words}, or class_name: {own!r}")
    elif name in ALTERNATIVES:
        remedy = ALTERNATIVES[name]
        words = f"is {name!r}, a layer of EasyRec that tzmmoe does not have; {remedy}"
        rewriting.faults.add(place, words)
    else:
        hint = did_you_mean(name, CLASSES)
        hint = f"{hint} Or" if hint else f"; give one of {', '.join(sorted(CLASSES))}, or"
        words = f"is {name!r}, which is not a layer{hint} write class_name: 'MODULE.{name}'"
        rewriting.faults.add(place, f"{words} for a class of your own, with --allow_modules MODULE")


def fill(message: Message, parameters: Struct, path: str, rewriting: Rewriting) -> None:
    """Set the fields of a layer from settings by name."""
    fields = message.DESCRIPTOR.fields_by_name
    for place, entry in enumerate(parameters.fields):
        own = f"{path}.fields[{place}]"
        if entry.key in IGNORED:
            continue
        if entry.key not in fields:
            hint = did_you_mean(entry.key, fields) or f"; it takes {', '.join(fields) or 'none'}"
            rewriting.faults.add(join(own, "key"), f"the layer has no setting {entry.key!r}{hint}")
            continue
        try:
            _set(message, fields[entry.key], entry.value, rewriting, join(own, "value"))
        except (TypeError, ValueError):  # their messages are about types of Python
            expected = _expected(fields[entry.key])
            words = f"{entry.key} is {_shown(_plain(entry.value))}; give {expected}"
            rewriting.faults.add(join(own, "value"), words)


def _expected(field: FieldDescriptor) -> str:
    """What to give for a field, as st_params write it."""
    forms = {
        FieldDescriptor.CPPTYPE_STRING: 'a string, such as string_value: "..."',
        FieldDescriptor.CPPTYPE_BOOL: "bool_value: true or false",
        FieldDescriptor.CPPTYPE_UINT32: "a whole number, 0 or more, such as number_value: 8",
        FieldDescriptor.CPPTYPE_INT32: "a whole number, such as number_value: 8",
    }
    form = forms.get(field.cpp_type, "a number, such as number_value: 0.5")
    return f"{form}, or a list of them" if field.is_repeated else form


def _shown(value: object) -> str:
    """A value in a message; whole numbers without a decimal point."""
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return exactly(value) if isinstance(value, float) else repr(value)


def _set(
    message: Message, field: FieldDescriptor, value: StructValue, rewriting: Rewriting, path: str
) -> None:
    kind = _kind(value)
    if kind in (None, "null_value"):
        return
    if field.message_type is not None:
        inner = getattr(message, field.name)
        inner.SetInParent()
        fill(inner, value.struct_value, join(path, "struct_value"), rewriting)
        return
    if field.is_repeated:
        elements = value.list_value.values if kind == "list_value" else [value]
        getattr(message, field.name).extend(_typed(field, element) for element in elements)
        return
    setattr(message, field.name, _typed(field, value))


def _typed(field: FieldDescriptor, value: StructValue) -> object:
    """The plain value of a setting. Its numbers are floats: those of integer and bool fields are
    converted."""
    plain = _plain(value)
    whole = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32)
    if field.cpp_type in whole and isinstance(plain, float) and plain.is_integer():
        return int(plain)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL and isinstance(plain, float):
        return bool(plain)
    return plain


def _kind(value: StructValue) -> str | None:
    return next((field.name for field, _ in value.ListFields()), None)


def _plain(value: StructValue) -> object:
    kind = _kind(value)
    if kind == "list_value":
        return [_plain(element) for element in value.list_value.values]
    if kind == "struct_value":
        return {entry.key: _plain(entry.value) for entry in value.struct_value.fields}
    return getattr(value, kind) if kind and kind != "null_value" else None


def _custom(layer: KerasLayer, name: str, parameters: Struct) -> None:
    """A class by dotted path, with its settings as arguments."""
    setattr(layer.custom_layer, "class", name)
    layer.custom_layer.args.named_value.extend(_named(parameters))


def _named(parameters: Struct) -> Iterator[NamedValue]:
    for entry in parameters.fields:
        named = _argument(entry.value)
        named.name = entry.key
        yield named


def _argument(value: StructValue) -> NamedValue:
    kind, named = _kind(value), NamedValue()
    if kind == "number_value":
        number = value.number_value
        if number.is_integer():
            named.whole = int(number)
        else:
            named.number = number
    elif kind == "string_value":
        named.text = value.string_value
    elif kind == "bool_value":
        named.truth = value.bool_value
    elif kind == "list_value":
        named.list.item.extend(_argument(element) for element in value.list_value.values)
    elif kind == "struct_value":
        named.args.named_value.extend(_named(value.struct_value))
    return named
