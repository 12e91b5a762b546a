"""EasyRec's models besides MMoE in their built-in form: DBMTL, PLE, ESMM and SimpleMultiTask."""

import logging

from tzmmoe.config.dialects.easyrec.networks import as_dnn, fill, rewrite_network
from tzmmoe.config.dialects.easyrec.rewriting import Rewriting
from tzmmoe.config.walk import task_towers
from tzmmoe.protos.model_pb2 import DBMTL, ESMM, PLE, ModelConfig
from tzmmoe.protos.pipeline_pb2 import Pipeline

log = logging.getLogger(__name__)

DEFAULT_L2 = 1e-4  # of EasyRec's built-in models
PATH = "model_config"
# {model: those of its fields that only EasyRec's form has}
MODELS = {
    "dbmtl": ("bottom_dnn", "expert_dnn"),
    "ple": (),
    "esmm": ("groups",),
    "simple_multi_task": (),
}
OF_TOWERS = ("dnn", "relation_dnn")


def rewrite_built_in(pipeline: Pipeline, rewriting: Rewriting) -> None:
    """Rewrite a model in EasyRec's form in place. To be called before its towers are rewritten."""
    config = pipeline.model_config
    word, form = config.WhichOneof("model"), form_of(config)
    if not form:
        return
    model, path = getattr(config, word), f"{PATH}.{word}"
    if word == "dbmtl":
        _dbmtl(model, path, rewriting)
    elif word == "ple":
        _ple(model, path, rewriting)
    elif word == "esmm":
        _bind(pipeline, model, path, rewriting)
        _groups(model, path, rewriting)
    if not model.HasField("l2_regularization"):
        model.l2_regularization = DEFAULT_L2
        rewriting.written[f"{path}.l2_regularization"] = form
    rewriting.keras = rewriting.keras or form


def form_of(config: ModelConfig) -> str:
    """The path by which one of these models is in EasyRec's form; empty if it is in ours."""
    word = config.WhichOneof("model")
    if word not in MODELS:
        return ""
    if config.HasField("model_class"):
        return f"{PATH}.model_class"
    places = [(f"{PATH}.{word}", getattr(config, word), MODELS[word])]
    places += [(path, tower, OF_TOWERS) for path, tower in task_towers(config)]
    for path, message, names in places:
        there = {field.name for field, _ in message.ListFields()}
        for name in names:
            if name in there:
                return f"{path}.{name}"
    return ""


def _dbmtl(model: DBMTL, path: str, rewriting: Rewriting) -> None:
    for alias, name in (("bottom_dnn", "bottom_mlp"), ("expert_dnn", "expert_mlp")):
        rewrite_network(model, path, alias, name, rewriting)


def _ple(model: PLE, path: str, rewriting: Rewriting) -> None:
    """The networks have the same names in both forms, so they lie in an MLP already."""
    for index, network in enumerate(model.extraction_networks):
        for name in ("task_expert_net", "share_expert_net"):
            if network.HasField(name):
                place = f"{path}.extraction_networks[{index}].{name}"
                as_dnn(getattr(network, name), place, rewriting)


def _groups(model: ESMM, path: str, rewriting: Rewriting) -> None:
    """``groups`` become ``group_networks``."""
    if rewriting.take(model, path, "groups", "group_networks"):
        for index, group in enumerate(model.groups):
            network = model.group_networks.add()
            if group.HasField("input"):
                network.input = group.input
            place = f"{path}.groups[{index}].dnn"
            rewriting.written[f"{path}.group_networks[{index}].mlp"] = place
            if group.HasField("dnn") and list(group.dnn.hidden_units) != [0]:
                fill(network.mlp, group.dnn, place, rewriting)
    model.ClearField("groups")


def _bind(pipeline: Pipeline, model: ESMM, path: str, rewriting: Rewriting) -> None:
    """If no tower names a label, the two labels are those of cvr and ctr, in this order."""
    labels, towers = pipeline.data_config.label_fields, ("cvr_tower", "ctr_tower")
    both = [getattr(model, name) for name in towers if model.HasField(name)]
    if not len(both) == len(labels) == 2 or any(tower.label_name for tower in both):
        return
    for name, tower, label in zip(towers, both, labels, strict=True):
        tower.label_name = label
        rewriting.written[f"{path}.{name}.label_name"] = f"{path}.{name}"
        log.info("%s.%s names no label, so it is bound to %r, as in EasyRec", path, name, label)
