"""One form for settings that mean the same: defaults that depend on others, synonyms, order."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.message import Message

from tzmmoe.config.walk import features, task_towers
from tzmmoe.errors import ConfigError
from tzmmoe.features.normalizer import canonical
from tzmmoe.features.shared import Origin
from tzmmoe.models.backbone.expressions.lambdas import parse_lambda, parse_slice
from tzmmoe.models.backbone.readers import READERS
from tzmmoe.models.mmoe_v2.layers import per_layer
from tzmmoe.nn.activations import KERAS
from tzmmoe.nn.calls import parse_call
from tzmmoe.protos.backbone_pb2 import Block, BlockPackage
from tzmmoe.protos.data_pb2 import FG_DAG, FG_NORMAL
from tzmmoe.protos.model_pb2 import WIDE, Backbone, MMoEV2, ModelConfig
from tzmmoe.protos.pipeline_pb2 import Pipeline

UNSET = {"learning_rate": "constant_learning_rate"}  # the word that an unset oneof stands for
OF_NUMBERS = ("l1_loss", "l2_loss", "huber_loss", "msle_loss", "sigmoid_l2_loss")
OWN_LINKS = {"sigmoid": "binary_cross_entropy", "softmax": "softmax_cross_entropy"}


def complete(pipeline: Pipeline) -> None:
    """Write out in place what depends on other settings: labels by position, losses, metrics, names
    of tables, epochs, and settings of layers that hold for several."""
    train, data = pipeline.train_config, pipeline.data_config
    if not train.num_steps and not train.num_epochs:
        train.num_epochs = 1
    if data.fg_mode == FG_NORMAL:  # FG_DAG reads the same, and more
        data.fg_mode = FG_DAG
    for _, word, feature in features(pipeline):
        has_name = "embedding_name" in feature.DESCRIPTOR.fields_by_name
        if word and has_name and not feature.embedding_name:
            feature.embedding_name = f"{feature.feature_name}_emb"
    towers = [tower for _, tower in task_towers(pipeline.model_config)]
    is_bound = any(tower.label_name for tower in towers)
    for tower, label in zip(towers, data.label_fields, strict=False):
        if not is_bound:
            tower.label_name = label
    for tower in towers:
        _complete_tower(tower)
    if pipeline.model_config.WhichOneof("model") == "mmoe_v2":
        _complete_layers(pipeline.model_config.mmoe_v2)
    if pipeline.model_config.WhichOneof("model") == "backbone":
        _complete_blocks(pipeline.model_config.backbone)
        _complete_wide(pipeline.model_config)


def _complete_tower(tower: Message) -> None:
    if not tower.losses:
        tower.losses.add().binary_cross_entropy.SetInParent()
    words = {loss.WhichOneof("loss") for loss in tower.losses}
    if not tower.metrics and words <= {*OF_NUMBERS}:
        tower.metrics.add().mean_absolute_error.SetInParent()
        tower.metrics.add().mean_squared_error.SetInParent()
    elif not tower.metrics:
        tower.metrics.add().auc.SetInParent()
    link = tower.output_activation.lower()
    if link in ("none", "linear") or words == {OWN_LINKS.get(link)}:
        tower.output_activation = ""


def _complete_layers(model: MMoEV2) -> None:
    """One value for each layer, where one holds for several."""
    count = len(model.expert_layers)
    for name, default, none in (("act", "relu", "none"), ("dropout", 0, 0), ("use_bn", 0, 0)):
        shared = list(getattr(model, f"task_{'hidden_' * (name == 'act')}{name}"))
        experts = getattr(model, f"expert_{name}")
        experts[:] = per_layer(list(experts) or [default], count, none)
        for struct in model.task_structs:
            own = getattr(struct, f"{'hidden_' * (name == 'act')}{name}")
            own[:] = per_layer(list(own) or shared or [default], len(struct.units) - 1, none)
    for name in ("task_hidden_act", "task_dropout", "task_use_bn"):
        model.ClearField(name)


def _complete_blocks(backbone: Backbone) -> None:
    """The blocks that the output is made of, and what each input names."""
    packages = {package.name: package for package in backbone.packages}
    outside = {block.name for block in backbone.blocks}
    for graph in (backbone, *backbone.packages):
        names = outside | {block.name for block in graph.blocks}
        for block in graph.blocks:
            # A feature group that a block has the name of is that block, except in its own input.
            for source in () if block.WhichOneof("layer") in READERS else block.inputs:
                if source.feature_group_name in names:
                    source.block_name = source.feature_group_name
        if not (graph.output_blocks or graph.concat_blocks):
            read = set(_read(graph.blocks, packages))
            leaves = [block.name for block in graph.blocks if block.name not in read]
            graph.concat_blocks.extend(leaves)


def _complete_wide(config: ModelConfig) -> None:
    """Write the one width of all WIDE groups into every block that reads one."""
    wide = {group.group_name for group in config.feature_groups if group.group_type == WIDE}
    graphs = (config.backbone, *config.backbone.packages)
    blocks = [b for graph in graphs for b in graph.blocks if b.HasField("input_layer")]
    width = max((block.input_layer.wide_output_dim for block in blocks), default=0)
    if not width:
        return
    for block in blocks:
        if any(source.feature_group_name in wide for source in block.inputs):
            block.input_layer.wide_output_dim = width


def _read(blocks: Iterable[Block], packages: Mapping[str, BlockPackage]) -> Iterator[str]:
    """The blocks that others read, also in packages that they use."""
    for source in (source for block in blocks for source in block.inputs):
        yield from (source.block_name, source.package_input)
        if source.package_name in packages:
            others = {name: each for name, each in packages.items() if name != source.package_name}
            inner = packages[source.package_name].blocks
            yield from set(_read(inner, others)) - {block.name for block in inner}


def of(message: Message, name: str, value: Any) -> Any:
    """The form of a field's value."""
    form = FORMS.get(name)
    if message.DESCRIPTOR.name == "Lambda":
        return _function(message, value)
    if name == "expression":  # unset, it is that of the feature's own column
        return _origin(message, value)
    if value == "" and name != "fg_encoded_default_value":
        return None if form is None else form(message, value)
    return value if form is None or value is None else form(message, value)


def _origin(message: Message, value: Any) -> Any:
    texts = value if isinstance(value, list) else [value or ""]
    return [_parsed(text, message.feature_name) for text in texts]


def _parsed(text: str, feature_name: str) -> Any:
    try:
        return Origin.parse(text, feature_name)
    except ConfigError:
        return text


def _activation(message: Message, value: Any) -> Any:
    return [_layer(text) for text in ([value] if isinstance(value, str) else value)]


def _layer(text: str) -> Any:
    text = KERAS.get(text.lower(), text)
    try:
        name, arguments = parse_call(text)
    except ValueError:
        return text
    return name.removeprefix("torch.").removeprefix("nn."), sorted(arguments.items())


def _number(message: Message, value: str) -> Any:
    """Numbers that stand for missing ones, however they are written; texts as they are."""
    if message.DESCRIPTOR.name != "RawFeature":
        return value
    try:
        return [float(part) for part in value.split(message.separator)]
    except ValueError:
        return value


def _dropout(message: Message, value: list[float]) -> list[float]:
    if message.DESCRIPTOR.name != "MLP":
        return value
    return per_layer(value or [0.0], len(message.hidden_units), 0.0)


def _function(message: Message, value: str | None) -> Any:
    """A lambda or a slice, however it is spaced."""
    text = (value or "").strip()
    try:
        is_slice = text.startswith("[")
        return parse_slice(text, allow_i=True).text if is_slice else parse_lambda(text, (1, 2)).text
    except ConfigError:
        return value


FORMS: dict[str, Callable[[Message, Any], Any]] = {
    "normalizer": lambda message, value: canonical(value),
    "default_value": _number,
    "dropout_ratio": _dropout,
    **dict.fromkeys(("activation", "hidden_act", "expert_act", "task_output_act"), _activation),
    **dict.fromkeys(("input_fn", "extra_input_fn", "package_input_fn", "input_slice"), _function),
    **dict.fromkeys(("na_values", "null_values", "units"), lambda m, value: _set(m, value)),
}


def _set(message: Message, value: list) -> list:
    """``units`` are texts of a number's format, or widths of layers, whose order counts."""
    return value if message.DESCRIPTOR.name in ("TaskStruct", "Dense") else sorted(set(value))
