"""EasyRec's ``model_config``, with MMoE in its built-in form."""

import logging
from collections.abc import Sequence

from google.protobuf.message import Message

from tzmmoe.config.dialects.easyrec import alternatives
from tzmmoe.config.dialects.easyrec.backbone import ON_BACKBONE, rewrite_backbone
from tzmmoe.config.dialects.easyrec.built_in import DEFAULT_L2, PATH, rewrite_built_in
from tzmmoe.config.dialects.easyrec.networks import fill, rewrite_network
from tzmmoe.config.dialects.easyrec.ranges import names_of
from tzmmoe.config.dialects.easyrec.rewriting import Rewriting
from tzmmoe.config.dialects.easyrec.towers import rewrite_tower
from tzmmoe.config.walk import features, task_towers
from tzmmoe.errors import Faults, did_you_mean, few
from tzmmoe.protos.model_pb2 import KERAS, MMoE, ModelConfig
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.textformat.paths import is_set

log = logging.getLogger(__name__)

# Message: EasyRec's fields, which are rewritten to others.
WORDS = {
    "ModelConfig": (
        *("model_class", "model_name", "model_params"),
        *("label_name", "num_class", "loss_type", "losses"),
    ),
    "KerasLayer": ("class_name", "st_params"),
    "KerasMLP": ("add_to_outputs",),
    "EmbeddingLayer": ("vocab_size",),
    "FeatureGroup": ("wide_deep",),
    "MMoE": ("expert_dnn", "experts"),
    "DBMTL": ("bottom_dnn", "expert_dnn"),
    "ESMM": ("groups",),
    "TaskTower": ("dnn", "relation_dnn", "loss_type", "metrics_set"),
    "Loss": ("loss_type", "pairwise_loss"),
    "PairwiseHingeLoss": ("margin",),
}
CLASSES = {
    "MMoE": "mmoe",
    "DBMTL": "dbmtl",
    "PLE": "ple",
    "ESMM": "esmm",
    "SimpleMultiTask": "simple_multi_task",
    "MultiTaskModel": "backbone",
    "RankModel": "backbone",
}
OF_RANK_MODEL = ("label_name", "num_class", "loss_type", "losses")


def canonicalize(pipeline: Pipeline, faults: Faults) -> dict[str, str]:
    """Rewrite EasyRec's words in place. Returns {path of ours: path that the user wrote}."""
    config, rewriting = pipeline.model_config, Rewriting(faults)
    rewrite_backbone(config, rewriting)
    _check_class(config, faults)
    _rank_model(pipeline, rewriting)
    rewrite_built_in(pipeline, rewriting)
    config.ClearField("model_class")
    config.ClearField("model_name")
    _groups(pipeline, rewriting)
    if config.WhichOneof("model") == "mmoe":
        _experts(config.mmoe, f"{PATH}.mmoe", rewriting)
    for path, tower in task_towers(config):
        rewrite_tower(tower, path, rewriting)
    if rewriting.keras and not config.HasField("dense_start"):
        config.dense_start = KERAS
        rewriting.written[f"{PATH}.dense_start"] = rewriting.keras
    return rewriting.written


def _rank_model(pipeline: Pipeline, rewriting: Rewriting) -> None:
    """The one task of a RankModel becomes a tower without layers, named after its label."""
    config = pipeline.model_config
    is_rank_model = config.model_class == "RankModel" and config.WhichOneof("model") == "backbone"
    count = len(config.backbone.task_towers) if is_rank_model else 0
    if count > 1:
        words = f"is 'RankModel', which has one task, but there are {count} task_towers"
        remedy = "write 'MultiTaskModel', or remove them and set label_name"
        rewriting.faults.add(f"{PATH}.model_class", f"{words}; {remedy}")
    if is_rank_model and not count:
        _add_tower(config, pipeline.data_config.label_fields, rewriting)
    for name in OF_RANK_MODEL:
        if not is_rank_model and is_set(config, name):
            words = f'is for model_class: "RankModel" alone; write task_towers.{name}'
            rewriting.faults.add(f"{PATH}.{name}", words)
        config.ClearField(name)


def _add_tower(config: ModelConfig, labels: Sequence[str], rewriting: Rewriting) -> None:
    """Add the tower of a RankModel."""
    if len(labels) > 1 and not config.label_name:
        log.warning(
            "%s.model_class is RankModel, which learns one label: %s, the first of %s; set "
            "label_name for another, or write MultiTaskModel with a tower for each",
            *(PATH, labels[0], few(labels)),
        )
    label = config.label_name or next(iter(labels), "")
    tower = config.backbone.task_towers.add(tower_name=label, label_name=label)
    tower.num_class = config.num_class or 1
    if config.HasField("loss_type"):
        tower.loss_type = config.loss_type
    tower.losses.extend(config.losses)
    config.backbone.logits_from_blocks = True
    path = f"{PATH}.backbone.task_towers[0]"
    rewriting.written[path] = f"{PATH}.model_class"
    rewriting.written |= {f"{path}.{name}": f"{PATH}.{name}" for name in OF_RANK_MODEL}
    rewriting.keras = rewriting.keras or f"{PATH}.backbone"


def _check_class(config: ModelConfig, faults: Faults) -> None:
    """Add a fault if ``model_class`` is not that of the model."""
    name, model = config.model_class, config.WhichOneof("model")
    if not name or CLASSES.get(name) == model or (model == "backbone" and name in ON_BACKBONE):
        return
    path = f"{PATH}.model_class"
    if model is not None and name in CLASSES:
        own = next((known for known, word in CLASSES.items() if word == model), None)
        remedy = f"write {own!r}, or remove it" if own else "remove it"
        faults.add(path, f"is {name!r}, but the model is {model}; {remedy}")
    elif name not in CLASSES:
        names = ", ".join(CLASSES)
        why = f"; {alternatives.CLASSES[name]}" if name in alternatives.CLASSES else ""
        words = f"is {name!r}, which tzmmoe does not have{why}; it has {names}"
        faults.add(path, words + did_you_mean(name, CLASSES))


def _groups(pipeline: Pipeline, rewriting: Rewriting) -> None:
    """``wide_deep`` becomes ``group_type``; ``f[1-21]`` the features f1 to f21."""
    names = {feature.feature_name for _, word, feature in features(pipeline) if word}
    for index, group in enumerate(pipeline.model_config.feature_groups):
        path = f"{PATH}.feature_groups[{index}]"
        if rewriting.take(group, path, "wide_deep", "group_type"):
            group.group_type = group.wide_deep
        group.ClearField("wide_deep")
        members = []
        for place, name in enumerate(group.feature_names):
            try:
                members += [name] if name in names else names_of(name)
            except ValueError as error:
                rewriting.faults.add(f"{path}.feature_names[{place}]", str(error))
        if members != list(group.feature_names):
            group.feature_names[:] = members


def _experts(model: MMoE, path: str, rewriting: Rewriting) -> None:
    """``expert_dnn``, or ``experts``, becomes ``expert_mlp``."""
    built_in = "experts" if model.experts else "expert_dnn" if model.HasField("expert_dnn") else ""
    if model.experts and model.HasField("expert_dnn"):
        words = "is set, and so is expert_dnn; keep expert_dnn, with num_expert"
        rewriting.faults.add(f"{path}.experts", words)
        model.ClearField("experts")
    _expert_list(model, path, rewriting)
    rewrite_network(model, path, "expert_dnn", "expert_mlp", rewriting)
    if built_in and not model.HasField("l2_regularization"):
        model.l2_regularization = DEFAULT_L2
        rewriting.written[f"{path}.l2_regularization"] = f"{path}.{built_in}"


def _expert_list(model: MMoE, path: str, rewriting: Rewriting) -> None:
    """One message for each expert becomes one for all, and their number."""
    networks = [expert.dnn for expert in model.experts]
    if rewriting.take(model, path, "experts", "expert_mlp"):
        for index, dnn in enumerate(networks):
            if difference := _difference(dnn, networks[0]):
                words = f"has {difference}; all experts need equal layers"
                rewriting.faults.add(f"{path}.experts[{index}].dnn", words)
        if model.HasField("num_expert") and model.num_expert != len(networks):
            words = f"is {model.num_expert}, but there are {len(networks)} experts; remove it"
            rewriting.faults.add(f"{path}.num_expert", words)
        model.num_expert = len(networks)
        rewriting.written[f"{path}.num_expert"] = f"{path}.experts"
        rewriting.written[f"{path}.expert_mlp"] = f"{path}.experts[0].dnn"
        rewriting.keras = rewriting.keras or f"{path}.experts[0].dnn"
        fill(model.expert_mlp, networks[0], f"{path}.experts[0].dnn", rewriting)
    model.ClearField("experts")


def _difference(dnn: Message, first: Message) -> str:
    """The first field in which an expert differs from the first one."""
    for field in dnn.DESCRIPTOR.fields:
        own, other = getattr(dnn, field.name), getattr(first, field.name)
        if own != other:
            own, other = (list(v) if field.is_repeated else v for v in (own, other))
            return f"{field.name} {own}, but the first expert {other}"
    return ""
