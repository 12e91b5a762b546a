"""Config -> objects. Beyond this, nothing reads the config."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from tzmmoe.config.check import features as configured_features
from tzmmoe.config.check import task_towers
from tzmmoe.data.files import Reading
from tzmmoe.data.loader import Delivery
from tzmmoe.errors import ConfigError, Faults, did_you_mean, within
from tzmmoe.features import Feature, FeatureSpec, Setting, check_shared, ordered
from tzmmoe.losses import LOSSES
from tzmmoe.metrics import METRICS
from tzmmoe.models import MODELS, RankModel
from tzmmoe.models.encoder import Encoder
from tzmmoe.models.rank import Tower
from tzmmoe.protos import loss_pb2, metric_pb2
from tzmmoe.protos.data_pb2 import DataConfig, DatasetType, FgMode, FieldType, HashFunction
from tzmmoe.protos.model_pb2 import TaskTower
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.registry import Registry, fields
from tzmmoe.runtime import free_bytes
from tzmmoe.tasks import Task, TaskSet, TaskSpace

log = logging.getLogger(__name__)

NAME = re.compile(r"[\w\-]+")


@dataclass(frozen=True)
class Built:
    """``features`` enter the model; ``helpers`` are only read by other features; ``specs`` tell
    what each was made from."""

    features: list[Feature]
    helpers: list[Feature]
    specs: dict[str, FeatureSpec]
    setting: Setting
    tasks: TaskSet
    model: RankModel


def build(pipeline: Pipeline, folder: Path, faults: Faults) -> Built | None:
    """Features, tasks and the model, initialised from the config's seed.

    What does not fit is added to ``faults``; then there is no model.
    """
    setting = feature_setting(pipeline.data_config, folder)
    specs = _specs(pipeline)
    by_name = _features(specs, setting, faults)
    tasks = _tasks(pipeline, faults)
    with faults.under(""):
        TaskSet(tasks).columns()
    groups = {g.group_name: list(g.feature_names) for g in pipeline.model_config.feature_groups}
    names = list(dict.fromkeys(name for members in groups.values() for name in members))
    features = [by_name[name] for name in names if name in by_name]
    _check_memory(features, specs, faults)
    complete = not faults
    seed = pipeline.runtime_config.seed
    torch.manual_seed(seed)
    model = None
    with _allocating(faults):
        encoder = Encoder(features, groups, seed=seed) if complete else None
        widths = encoder.out_features if encoder else dict.fromkeys(groups or ["all"], 1)
        model = _model(pipeline, encoder, widths, faults)
    if faults or model is None:
        return None
    needed = _needed(by_name, features)
    unused = [name for name in by_name if name not in {f.name for f in needed}]
    if unused:
        log.warning("no feature group names these features; they are not read: %s", _few(unused))
    helpers = [feature for feature in needed if feature.name not in names]
    plain = {name: spec for name, (_, spec) in specs.items()}
    return Built(features, helpers, plain, setting, TaskSet(tasks), model)


def _check_memory(
    features: Sequence[Feature], specs: Mapping[str, tuple[str, FeatureSpec]], faults: Faults
) -> None:
    """Add a fault at the largest table when the memory cannot hold them all."""
    tables = {f.table.name: (f.table.rows * f.table.dim * 4, f) for f in features if f.table}
    needed = sum(size for size, _ in tables.values())
    free = free_bytes(torch.device("cpu"))
    if free is None or needed <= free:
        return
    size, feature = max(tables.values(), key=lambda each: each[0])
    faults.add(
        specs[feature.name][0],
        f"has a table of {size / 1e9:,.1f} GB; all tables need {needed / 1e9:,.1f} GB, but "
        f"{free / 1e9:,.1f} GB of memory are free; give fewer rows, or a smaller embedding_dim",
    )


@contextmanager
def _allocating(faults: Faults) -> Iterator[None]:
    """A network that the memory cannot hold is a fault; torch has no class of its own for it."""
    try:
        yield
    except RuntimeError as error:
        if not re.search("memory|overflow", str(error)):
            raise
        words = "is larger than the memory; give fewer experts, or smaller hidden_units"
        faults.add("model_config", words)


def feature_setting(config: DataConfig, folder: Path) -> Setting:
    """What data_config says to every feature; ``folder`` is the config's."""
    return Setting(
        fg_mode=FgMode.Name(config.fg_mode),
        multival_separator=config.fg_encoded_multival_sep,
        hash_function=HashFunction.Name(config.hash_function),
        folder=folder,
    )


def _specs(pipeline: Pipeline) -> dict[str, tuple[str, FeatureSpec]]:
    """Path and specification of each feature that has a name."""
    return {
        message.feature_name: (f"{path}.{word}", FeatureSpec(word, fields(message)))
        for path, word, message in configured_features(pipeline)
        if word and message.feature_name
    }


def _features(
    specs: dict[str, tuple[str, FeatureSpec]], setting: Setting, faults: Faults
) -> dict[str, Feature]:
    found: dict[str, Feature] = {}
    for name, (path, spec) in specs.items():
        with faults.under(path):
            if not NAME.fullmatch(name):
                raise ConfigError.at("feature_name", f"is {name!r}; use letters, digits, _ and -")
            found[name] = spec.make(setting)
    with faults.under(""):
        check_shared([(f.name, f.table) for f in found.values() if f.table])
        for feature in found.values():
            if feature.origin.kind == "feature" and feature.origin.name not in specs:
                words = f"reads feature:{feature.origin.name}, which is not there"
                hint = did_you_mean(feature.origin.name, specs)
                faults.add(f"{specs[feature.name][0]}.expression", words + hint)
        if not faults:
            ordered(found)
    return found


def _needed(by_name: dict[str, Feature], features: Iterable[Feature]) -> list[Feature]:
    """The features and all that they read."""
    needed = {feature.name: feature for feature in features}
    waiting = list(needed.values())
    while waiting:
        origin = waiting.pop().origin
        if origin.kind == "feature" and origin.name not in needed:
            needed[origin.name] = by_name[origin.name]
            waiting.append(by_name[origin.name])
    return list(needed.values())


def _tasks(pipeline: Pipeline, faults: Faults) -> list[Task]:
    path, towers = task_towers(pipeline.model_config)
    labels = pipeline.data_config.label_fields
    tasks = []
    for index, tower in enumerate(towers):
        bound = tower.label_name or (labels[index] if index < len(labels) else "")
        with faults.under(f"{path}[{index}]"):
            if tower.tower_name and not NAME.fullmatch(tower.tower_name):
                raise ConfigError.at(
                    "tower_name", f"is {tower.tower_name!r}; use letters, digits, _ and -"
                )
            tasks.append(_task(tower, bound))
    if not any(tower.label_name for tower in towers):
        bindings = ", ".join(f"{task.name} <- {task.label}" for task in tasks)
        log.info("no tower names its label; they bind in order: %s", bindings)
    return tasks


def _task(tower: TaskTower, label: str) -> Task:
    losses = list(tower.losses) or [loss_pb2.Loss(binary_cross_entropy={})]
    space = None
    if tower.task_space_indicator_label:
        space = TaskSpace(
            tower.task_space_indicator_label,
            tower.in_task_space_weight,
            tower.out_task_space_weight,
        )
    metrics = list(tower.metrics) or _default_metrics(losses, tower.num_class)
    task = Task(
        name=tower.tower_name,
        label=label,
        num_class=tower.num_class,
        weight=tower.weight,
        sample_weight=tower.sample_weight_name or None,
        space=space,
        losses=_each("losses", LOSSES, losses),
        metrics=_each("metrics", METRICS, metrics),
        space_metrics=_each("metrics", METRICS, metrics) if space else {},
    )
    task.check()
    return task


def _default_metrics(losses: Sequence[loss_pb2.Loss], num_class: int) -> list[metric_pb2.Metric]:
    if any(loss.WhichOneof("loss") == "l2_loss" for loss in losses):
        return [
            metric_pb2.Metric(mean_absolute_error={}),
            metric_pb2.Metric(mean_squared_error={}),
        ]
    if num_class > 2:
        return [metric_pb2.Metric(accuracy={})]
    return [metric_pb2.Metric(auc={})]


def _each(name: str, registry: Registry, messages: Sequence) -> dict:
    """Objects by word. A word that is there twice is a fault, since its results share a name."""
    found = {}
    for index, message in enumerate(messages):
        with within(f"{name}[{index}]"):
            word = message.WhichOneof(registry.schema.name)
            if word is None:
                raise ConfigError.at("", f"is empty; give one of {', '.join(registry.words)}")
            if word in found:
                raise ConfigError.at("", f"{word} is there twice; its results would share a name")
            with within(word):
                found[word] = registry.create(message)
    return found


def _model(
    pipeline: Pipeline, encoder: Encoder | None, widths: dict[str, int], faults: Faults
) -> RankModel | None:
    config = pipeline.model_config
    word = config.WhichOneof("model")
    if word is None:
        return None
    path, messages = task_towers(config)
    arguments = fields(getattr(config, word))
    del arguments["task_towers"]
    body = None
    with faults.under(f"model_config.{word}"):
        body = MODELS[word](widths, len(messages), **arguments)
    towers = {}
    for index, message in enumerate(messages):
        width = body.out_features[index] if body else 1
        mlp = fields(message.mlp) if message.HasField("mlp") else None
        with faults.under(f"{path}[{index}].mlp"):
            towers[message.tower_name] = Tower(width, message.num_class or 1, mlp)
    if faults or encoder is None or body is None:
        return None
    return RankModel(encoder, body, towers)


def reading(config: DataConfig) -> Reading:
    """How files are read."""
    chosen = DatasetType.Name(config.dataset_type) if config.HasField("dataset_type") else None
    types = {
        field.input_name: FieldType.Name(field.input_type) if field.HasField("input_type") else None
        for field in config.input_fields
    }
    only_csv = [
        f"data_config.{name}" for name in ("delimiter", "with_header") if config.HasField(name)
    ]
    return Reading(
        dataset_type=chosen,
        delimiter=config.delimiter,
        with_header=config.with_header,
        types=types,
        targets=[*config.label_fields, *config.sample_weight_fields],
        only_csv=only_csv,
    )


def delivery(config: DataConfig, *, training: bool, seed: int, pin_memory: bool) -> Delivery:
    """How batches come. Only training shuffles and drops the remainder."""
    size = config.batch_size if training else config.eval_batch_size or config.batch_size
    return Delivery(
        batch_size=size,
        shuffle=config.shuffle and training,
        shuffle_batches=config.shuffle_buffer_size,
        drop_remainder=config.drop_remainder and training,
        num_workers=config.num_workers,
        pin_memory=config.pin_memory and pin_memory,
        seed=seed,
    )


def _few(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
