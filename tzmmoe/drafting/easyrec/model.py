"""model_config: configs of ours may have it too, so only EasyRec's words for it are rewritten."""

from collections.abc import Iterator, Mapping

from google.protobuf.message import Message

from tzmmoe.build.rules import rules
from tzmmoe.config.dialects.easyrec.ranges import names_of
from tzmmoe.config.walk import messages
from tzmmoe.drafting.easyrec.source import METRICS, Part, is_rank_model, tell_difference
from tzmmoe.drafting.report import Report
from tzmmoe.drafting.traced import TracedDraft
from tzmmoe.errors import Faults, join, lies_in
from tzmmoe.protos.compat.easyrec_pb2 import EasyRecConfig
from tzmmoe.protos.loss_pb2 import LossType
from tzmmoe.protos.model_pb2 import ModelConfig
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.textformat.paths import is_set
from tzmmoe.textformat.writer import in_braces, written

PATH = "model_config"
RANK_TOWER = f"{PATH}.backbone.task_towers[0]"
START = f"{PATH}.dense_start"


def expand_names(model: Part) -> set[str]:
    """Write out the ranges in feature groups. Returns the names of all features in them."""
    names: set[str] = set()
    for group in model.parts("feature_groups"):
        expanded = []
        for index, name in enumerate(group.value("feature_names")):
            try:
                expanded += names_of(name)
            except ValueError as error:
                group.fault(f"feature_names[{index}]", str(error))
        group.message.feature_names[:] = expanded
        names |= set(expanded)
    return names


def weigh_towers(model: Message, weight: str) -> None:
    """Refer to the column of row weights in each tower that does not say otherwise."""
    for _, message in messages(model):
        if "sample_weight_name" not in message.DESCRIPTOR.fields_by_name:
            continue
        if not (message.HasField("sample_weight_name") or _is_off(message, "use_sample_weight")):
            message.sample_weight_name = weight


def put_model(draft: TracedDraft, config: EasyRecConfig, faults: Faults) -> dict[str, str]:
    """Write the canonical form. Returns {path in it: path in the pipeline of EasyRec}."""
    pipeline = Pipeline()
    pipeline.CopyFrom(draft.pipeline)
    pipeline.model_config.CopyFrom(config.model_config)
    rewritten = _rewrite(pipeline, faults)
    towers = pipeline.model_config.backbone.task_towers
    if is_rank_model(config) and config.eval_config.metrics_set and len(towers) == 1:
        towers[0].metrics_set.extend(config.eval_config.metrics_set)
        rewritten |= _rewrite(pipeline, faults) | {f"{RANK_TOWER}.metrics_set": METRICS}
        draft.report.became += [
            (f"{METRICS}[{index}]", f"{RANK_TOWER}.metrics[{index}]", in_braces(metric))
            for index, metric in enumerate(towers[0].metrics)
        ]
    draft.pipeline.model_config.CopyFrom(pipeline.model_config)
    _tell_rewriting(draft, config, rewritten)
    return rewritten


def _rewrite(pipeline: Pipeline, faults: Faults) -> dict[str, str]:
    """Rewrite to the canonical form. Returns its paths in ``model_config``, as ``put_model``."""
    rewritten = rules().rewrite(pipeline, faults)
    return {path: own for path, own in rewritten.items() if lies_in(path, PATH)}


def own_path(path: str, rewritten: Mapping[str, str]) -> str:
    """A path of the canonical form as the pipeline has it."""
    for _ in rewritten:  # what one rule has made, another may have moved
        around = [new for new in rewritten if lies_in(path, new) and rewritten[new] != new]
        if not around:
            return path
        new = max(around, key=len)
        path = rewritten[new] + path.removeprefix(new)
    return path


def _tell_rewriting(
    draft: TracedDraft, config: EasyRecConfig, rewritten: Mapping[str, str]
) -> None:
    """Report and comment on what has another name, and on defaults that are written out."""
    before = dict(_leaves(config, ""))
    after = dict(_leaves(draft.pipeline.model_config, PATH))
    blocks = dict(messages(draft.pipeline.model_config, PATH))
    told: set[str] = set()
    for new in rewritten:
        own, inside = own_path(new, rewritten), new.rpartition(".")[0] in rewritten
        if inside or own in told or (new not in after and new not in blocks):
            continue
        if new == START:
            continue  # a default, though a part of the network calls for it
        told.add(own)
        value = after[new] if new in after else in_braces(blocks[new])
        draft.report.became.append((own, new, value))
        if own.rpartition(".")[2] != new.rpartition(".")[2]:
            draft.comments[new] = own.rpartition(".")[2]
    for path, value in after.items():
        own = own_path(path, rewritten)
        if path == START or (own not in before and path not in rewritten):
            draft.report.defaults[path] = value
            draft.comments.setdefault(path, "default")


def _leaves(message: Message, path: str) -> Iterator[tuple[str, str]]:
    """Path and text of each value that is set."""
    for here, inner in messages(message, path):
        for field, value in inner.ListFields():
            if field.message_type is None:
                yield join(here, field.name), written(field, value)


def tell_differences(config: EasyRecConfig, report: Report) -> None:
    """Report how this model differs from EasyRec's. ``config``: as EasyRec has it."""
    model = config.model_config
    if is_rank_model(config) and any(_is_set(m, "max_f1") for _, m in messages(config)):
        tell_difference(report, "max_f1")
    if model.WhichOneof("model") == "esmm":
        tell_difference(report, "esmm")
    if model.WhichOneof("model") == "mmoe":
        networks = [m for p, m in messages(model.mmoe) if p.startswith("expert")]
        if any(getattr(m, "use_bn", False) or _is_set(m, "dropout_ratio") for m in networks):
            tell_difference(report, "experts")
    groups: list[str] = []
    for path, message in messages(model, PATH):
        kind = message.DESCRIPTOR.name
        if kind == "EmbeddingLayer" and _is_set(message, "vocab_size"):
            report.idle[join(path, "vocab_size")] = "the number of rows follows from the features"
        if kind in MODEL_DIFFERENCES and MODEL_DIFFERENCES[kind][1](message):
            tell_difference(report, MODEL_DIFFERENCES[kind][0])
        if _is_set(message, "max_f1"):
            tell_difference(report, "max_f1")
        if kind in ("Loss", "TaskTower") and _is_set(message, "loss_type"):
            _tell_loss(LossType.Name(message.loss_type), report)
        if _is_set(message, "reset_input"):
            tell_difference(report, "reset_input")
        if _is_set(message, "input_layer"):
            groups += [read.feature_group_name for read in message.inputs]
    if len(set(groups)) < len(groups):
        tell_difference(report, "input_blocks")
    _tell_relations(model, report)


def _tell_loss(name: str, report: Report) -> None:
    if name.startswith("PAIR") or name == "JRC_LOSS":
        tell_difference(report, "pairs")
    if name == "F1_REWEIGHTED_LOSS":
        tell_difference(report, "f1")


def _tell_relations(model: ModelConfig, report: Report) -> None:
    towers = [
        m for _, m in messages(model) if "relation_tower_names" in m.DESCRIPTOR.fields_by_name
    ]
    named = {name for tower in towers for name in tower.relation_tower_names}
    if any(t.tower_name in named and not _is_set(t, "relation_dnn") for t in towers):
        tell_difference(report, "relations")


def _is_set(message: Message, name: str) -> bool:
    return name in message.DESCRIPTOR.fields_by_name and is_set(message, name)


def _is_off(message: Message, name: str) -> bool:
    return _is_set(message, name) and not getattr(message, name)


def _drops_normed_features(layer: Message) -> bool:
    return layer.feature_dropout_rate > 0 and (layer.do_batch_norm or layer.do_layer_norm)


# Message: the difference that it makes, and when. Layers have the names of their fields.
MODEL_DIFFERENCES = {
    "MMoELayer": ("mmoe_layer", lambda layer: not _is_set(layer, "expert_mlp")),
    "InputLayer": ("feature_dropout", _drops_normed_features),
    "EmbeddingLayer": ("embedding_layer", lambda layer: True),
    "BiLinear": ("bilinear", lambda layer: layer.type == "interaction"),
}
