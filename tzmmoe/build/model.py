"""A whole config -> its features, tasks and model."""

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from google.protobuf.message import Message
from torch import nn
from torch.nn.parameter import is_lazy

from tzmmoe.build.features import build_features, feature_settings, feature_specs, with_helpers
from tzmmoe.build.tasks import chosen_model, task_sets
from tzmmoe.build.towers import build_towers, tower_specs
from tzmmoe.config.walk import task_towers, tower_fields
from tzmmoe.errors import ConfigError, Faults, few, lies_in
from tzmmoe.features import Feature, FeatureSettings, FeatureSpec
from tzmmoe.models import MODELS, Body
from tzmmoe.models.base import Group, TowerSpec
from tzmmoe.models.encoder import Encoder
from tzmmoe.models.rank import RankModel
from tzmmoe.models.tower import Tower
from tzmmoe.nn.keras import start_as_keras
from tzmmoe.protos.model_pb2 import KERAS, WIDE, FeatureGroup, ModelConfig
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.registry import Modules, OwnErrors
from tzmmoe.registry.modules import NO_MODULES
from tzmmoe.tables.table import fill_tables
from tzmmoe.tasks.taskset import TaskSet

log = logging.getLogger(__name__)

OF_GROUP_TYPE = re.compile(r"model_config\.feature_groups\[\d+\]\.(group_type|wide_deep)")


@dataclass(frozen=True)
class Built:
    """``groups``: those that the model reads, with their features in order. ``features`` enter the
    model; ``helpers`` are only read by other features; ``specs`` describe all of them;
    ``final_tasks`` have the metrics of the final evaluation; ``classes``: those of the user's in
    which weights lie or that find the rows of tables, by what they are for."""

    groups: dict[str, list[str]]
    features: list[Feature]
    helpers: list[Feature]
    specs: dict[str, FeatureSpec]
    setting: FeatureSettings
    tasks: TaskSet
    final_tasks: TaskSet
    model: RankModel
    classes: Mapping[str, str]


def build(
    pipeline: Pipeline,
    folder: Path,
    faults: Faults,
    spread: int = 1,
    free: int | None = None,
    modules: Modules = NO_MODULES,
) -> Built | None:
    """Features, tasks and the model, initialised from the config's seed; but not the tables if they
    may be ``spread`` over several processes. ``free``: bytes of memory of a process, if known;
    tables that need more are a fault. ``modules``: those in which classes of the user's may lie.

    None if there are any ``faults``, to which those of the objects are added.
    """
    setting = feature_settings(pipeline.data_config, folder)
    specs = feature_specs(pipeline, modules)
    by_name = build_features(specs, setting, faults)
    tasks, final = task_sets(pipeline, faults, modules)
    groups = {g.group_name: list(g.feature_names) for g in pipeline.model_config.feature_groups}
    torch.manual_seed(pipeline.runtime_config.seed)
    model = None
    with _allocating(faults), faults.under(""), OwnErrors(modules, ConfigError):
        by_path = tower_specs(pipeline.model_config, faults)
        of_body = (_groups(pipeline.model_config, by_name), list(by_path.values()))
        body = _body(pipeline.model_config, of_body, faults, modules)
        if body:
            _add_outputs(pipeline.model_config, body, (tasks, final), faults)
            groups = body.inputs()
        names = list(dict.fromkeys(name for members in groups.values() for name in members))
        features = [by_name[name] for name in names if name in by_name]
        if free is not None:
            _check_memory(_tables(features, body), specs, faults, free * spread)
        towers = build_towers(by_path, body, faults, modules)
        if body and not faults:
            learned = tasks.weighting if list(tasks.weighting.parameters()) else None
            model = _model(pipeline, features, body, towers, learned)
            model.auxiliary = [t.tower_name for t in _towers(pipeline) if t.auxiliary]
        if model and spread == 1:
            fill_tables(model)
    if faults or model is None:
        return None
    used = with_helpers(by_name, features)
    unused = [name for name in by_name if name not in {feature.name for feature in used}]
    if unused:
        log.warning("these features are in no group that the model reads: %s", few(unused))
    _say_bindings(pipeline)
    helpers = [feature for feature in used if feature.name not in names]
    by_spec = {name: spec for name, (_, spec) in specs.items()}
    classes = _classes(pipeline.model_config, by_spec)
    return Built(groups, features, helpers, by_spec, setting, tasks, final, model, classes)


def _add_outputs(
    config: ModelConfig, body: Body, task_sets: Sequence[TaskSet], faults: Faults
) -> None:
    """Add the body's outputs to those that the tasks give."""
    with faults.under(f"model_config.{config.WhichOneof('model')}"):
        for tasks in task_sets:
            tasks.add_outputs(body.outputs)


def _model(
    pipeline: Pipeline,
    features: Sequence[Feature],
    body: Body,
    towers: Mapping[str, Tower],
    loss_weights: nn.Module | None,
) -> RankModel:
    config, seed = pipeline.model_config, pipeline.runtime_config.seed
    encoder = Encoder(features, body, seed=seed, regularization=config.embedding_regularization)
    if config.dense_start == KERAS:
        for part in (*([] if body.starts_itself else [body]), *towers.values()):
            start_as_keras(part)
    return RankModel(encoder, body, towers, loss_weights)


def _classes(config: ModelConfig, specs: Mapping[str, FeatureSpec]) -> dict[str, str]:
    """``{"model": "mine.Body", "feature 'day'": 'mine.Day {"first": 1}'}``. The arguments of a
    feature decide about rows, those of a model about shapes, which tensors have anyway."""
    word, arguments = MODELS.chosen(config)
    classes = {"model": arguments["class"]} if word == MODELS.custom else {}
    for name, spec in specs.items():
        if spec.is_custom:
            args = json.dumps(spec.own_args, sort_keys=True)
            classes[f"feature {name!r}"] = f"{spec.fields['class']} {args}"
    return classes


def _towers(pipeline: Pipeline) -> list[Message]:
    return [tower for _, tower in task_towers(pipeline.model_config)]


def _say_bindings(pipeline: Pipeline) -> None:
    """Which label each tower has, if the config leaves it to their order."""
    towers = _towers(pipeline)
    if not any(tower.label_name for tower in towers):
        pairs = zip(towers, pipeline.data_config.label_fields, strict=True)
        bindings = ", ".join(f"{tower.tower_name} <- {label}" for tower, label in pairs)
        log.info("no tower names its label, so they are bound in order: %s", bindings)


def _groups(config: ModelConfig, by_name: Mapping[str, Feature]) -> dict[str, Group]:
    """The groups as a body sees them, without faulty features; a placeholder if none is left."""
    described = {}
    for group in config.feature_groups or [FeatureGroup(group_name="all")]:
        features = [by_name[name] for name in group.feature_names if name in by_name]
        numbers = {f.name: f.value_dim for f in features if not f.table}
        described[group.group_name] = Group(
            {feature.name: feature.width for feature in features} or {"": 1},
            {feature.name: numbers.get(feature.name, 1) for feature in features},
            numbers,
            group.group_type == WIDE,
        )
    return described


def _tables(features: Sequence[Feature], body: Body | None) -> dict[str, tuple[int, Feature]]:
    """The bytes of each table, and a feature that reads it."""
    tables = {f.table.name: (f.table.rows * f.table.dim * 4, f) for f in features if f.table}
    for name, factor in (body.factors if body else {}).items():
        for feature in features:
            if feature.table and feature.name in factor.features:
                size = feature.table.rows * factor.dim * 4
                table = factor.table_name(name, feature.name, feature.table.name)
                tables[table] = (size, feature)
    return tables


def _check_memory(
    tables: Mapping[str, tuple[int, Feature]],
    specs: Mapping[str, tuple[str, FeatureSpec]],
    faults: Faults,
    free: int,
) -> None:
    """Add a fault at the largest table if the tables need more than ``free`` bytes."""
    needed = sum(size for size, _ in tables.values())
    if needed <= free:
        return
    size, feature = max(tables.values(), key=lambda sized: sized[0])
    faults.add(
        specs[feature.name][0],
        f"has a table of {size / 1e9:,.1f} GB; all tables need {needed / 1e9:,.1f} GB, but "
        f"{free / 1e9:,.1f} GB of memory is free; give fewer rows, or a smaller embedding_dim",
    )


@contextmanager
def _allocating(faults: Faults) -> Iterator[None]:
    """Add a fault if the network does not fit into memory; torch has no error class for that."""
    try:
        yield
    except RuntimeError as error:
        if not re.search("memory|overflow", str(error)):
            raise
        words = "is larger than the memory; give fewer experts, or smaller hidden_units"
        faults.add("model_config", words)


def _body(
    config: ModelConfig,
    given: tuple[Mapping[str, Group], Sequence[TowerSpec]],
    faults: Faults,
    modules: Modules,
) -> Body | None:
    """``given``: what every body gets, the groups and the specifications of the towers."""
    word = config.WhichOneof("model")
    if word is None:
        return None
    of_layers = f"model_config.{word}.blocks"
    if any(lies_in(f.path, of_layers) or OF_GROUP_TYPE.fullmatch(f.path) for f in faults):
        return None  # what follows from a faulty block or type would only be said to be wrong
    of_towers = {field.name for field in tower_fields(getattr(config, word).DESCRIPTOR)}
    with faults.under(f"model_config.{word}"), OwnErrors(modules, ConfigError):
        kind, arguments = chosen_model(config, modules)
        others = of_towers | {*kind.of_tasks}
        arguments = {name: value for name, value in arguments.items() if name not in others}
        if kind.takes_modules:
            arguments["modules"] = modules
        is_custom = word == MODELS.custom
        body = MODELS.make(kind, given, arguments) if is_custom else kind(*given, **arguments)
        body.connect(given[1])
        _check_shapes(body)
        return body
    return None


def _check_shapes(body: Body) -> None:
    """Optimizers and checkpoints need the weights before the first batch."""
    lacking = [name for name, parameter in body.named_parameters() if is_lazy(parameter)]
    if lacking:
        layer = lacking[0].partition(".")[0]
        words = f"{layer}: the weight {lacking[0]} gets its shape only from the first batch"
        raise ConfigError.saying(f"{words}; give the layer its number of inputs, as in_features")
