"""A pipeline's file -> a draft of a config, and its text."""

from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path

from tzmmoe.build import build, rules
from tzmmoe.config.walk import messages
from tzmmoe.drafting.check import by_origin, faults_of
from tzmmoe.drafting.easyrec.data import columns, put_data, put_paths
from tzmmoe.drafting.easyrec.evaluation import put_evaluation, put_export
from tzmmoe.drafting.easyrec.features.listed import Features, features_of
from tzmmoe.drafting.easyrec.model import (
    PATH,
    expand_names,
    own_path,
    put_model,
    tell_differences,
    weigh_towers,
)
from tzmmoe.drafting.easyrec.source import Part, Source, is_rank_model, read
from tzmmoe.drafting.easyrec.training import put_training
from tzmmoe.drafting.report import Report
from tzmmoe.drafting.traced import TracedDraft
from tzmmoe.errors import Fault, Faults, did_you_mean, join, lies_in
from tzmmoe.protos.compat.easyrec_pb2 import EasyRecConfig
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.registry import Modules
from tzmmoe.registry.modules import NO_MODULES

# Fields of metrics and losses that name a column.
OF_COLUMNS = ("uid_field", "session_id_field", "session_name")


def converted(path: Path, modules: Modules = NO_MODULES) -> TracedDraft:
    """The draft. ``modules``: those that may be imported for the user's own classes.

    Raises:
        ConfigError: all faults of the file, each with its line.
    """
    faults, draft = Faults(), TracedDraft(report=Report(source="the pipeline"))
    source = read(path, faults)
    whole = Part(source.config, "", faults, draft.report)
    _put(draft, whole, source, path.parent)
    rewritten: dict[str, str] = {}
    if not faults:
        rewritten = put_model(draft, source.config, faults)
    if not faults:
        written = faults_of(draft.pipeline, modules)
        if not written:
            _build(draft.pipeline, path.parent, written, modules)
        faults.extend(_by_own_path(fault, draft, rewritten) for fault in written)
    faults.stop(lambda fault: _located(fault, source, path))
    return draft


def _build(written: Pipeline, folder: Path, faults: Faults, modules: Modules) -> None:
    """Add the faults that show when the model is made: of blocks, their shapes and functions, and
    of towers that read each other. No table is filled."""
    pipeline = Pipeline()
    pipeline.CopyFrom(written)
    rules().rewrite(pipeline, faults)
    build(pipeline, folder, faults, spread=2, modules=modules)


def heading(path: Path, command: str) -> list[str]:
    """What the config begins with. ``command`` trains with it."""
    return [
        f"Converted by python -m tzmmoe.convert easyrec from {path}:\n    {command}",
        "Comments name the settings of EasyRec behind these; default: not in its pipeline, and "
        "written because EasyRec's default is not ours.",
    ]


def _put(draft: TracedDraft, whole: Part, source: Source, folder: Path) -> None:
    """All but the model."""
    root, data, training = draft.root, whole.part("data_config"), whole.part("train_config")
    model = whole.part("model_config")
    for name in ("train_config", "data_config", "model_config"):
        if not whole.has(name):
            whole.fault(name, "is not set; give a whole pipeline of EasyRec")
    put_paths(root, whole, source.places)
    if whole.has("fg_json_path"):
        words = "features are not read from such a file here; write them out, as feature_config"
        whole.fault("fg_json_path", words)
    put_training(root, training, data)
    with_metrics = is_rank_model(source.config)
    put_evaluation(root, whole.part("eval_config"), data, with_metrics=with_metrics)
    put_export(root, whole.part("export_config"), training)
    put_data(root, data)
    grouped = expand_names(model)
    features = Features(root, dict(columns(data)), grouped, partial(_resolved, folder))
    for feature in features_of(whole):
        features.add(feature)
    _check_columns(source.config, features.columns, whole)
    if data.value("sample_weight"):
        weigh_towers(model.message, data.value("sample_weight"))
        data.differs("weights")
    tell_differences(source.config, draft.report)


def _check_columns(config: EasyRecConfig, known: Collection[str], whole: Part) -> None:
    """Add a fault for each column of metrics and losses that input_fields lacks."""
    parts = [("model_config", config.model_config)]
    parts += [("eval_config", config.eval_config)] if is_rank_model(config) else []
    for path, message in (pair for root, part in parts for pair in messages(part, root)):
        for name in (each for each in OF_COLUMNS if each in message.DESCRIPTOR.fields_by_name):
            column = getattr(message, name)
            if known and column and column not in known:
                words = f"{column!r} is not among data_config.input_fields"
                whole.faults.add(join(path, name), words + did_you_mean(column, known))


def _resolved(folder: Path, text: str) -> str:
    """The absolute path of a file that lies beside the pipeline; other paths stay as they are."""
    beside = folder / text
    return str(beside.resolve()) if beside.is_file() else text


def _by_own_path(fault: Fault, draft: TracedDraft, rewritten: dict[str, str]) -> Fault:
    own = by_origin(fault, draft.origins)
    if own.path.endswith("enable_early_stop"):
        words = "is true, but best_exporter_metric, the metric to stop by, is not set"
        return replace(own, text=f"{words}: {fault.text}")
    if lies_in(fault.path, PATH):
        return replace(fault, path=own_path(fault.path, rewritten))
    return own


def _located(fault: Fault, source: Source, path: Path) -> Fault:
    """The fault with its line."""
    if fault.where or fault.path.startswith("--"):
        return fault
    return replace(fault, where=source.outline.locate(fault.path) or str(path))
