"""feature_configs -> features, with the notes and constraints that concern several of them."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tzmmoe.config.walk import features as configured_features
from tzmmoe.errors import ConfigError, Faults, few
from tzmmoe.features import Feature, FeatureSettings, FeatureSpec, check_shared, ordered
from tzmmoe.protos.data_pb2 import DataConfig, FgMode, HashFunction
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.protos.train_pb2 import REPLICATED
from tzmmoe.registry import Modules, OwnErrors, fields
from tzmmoe.registry.modules import NO_MODULES
from tzmmoe.tables.constraints import BY_COLUMNS, COMPUTE_KERNELS, ON_A_CPU, SHARDING_TYPES

log = logging.getLogger(__name__)


def feature_settings(config: DataConfig, folder: Path) -> FeatureSettings:
    """The settings of data_config that all features share; ``folder`` is that of the config."""
    return FeatureSettings(
        fg_mode=FgMode.Name(config.fg_mode),
        multival_separator=config.fg_encoded_multival_sep,
        hash_function=HashFunction.Name(config.hash_function),
        folder=folder,
        one_form=True,
    )


def feature_specs(
    pipeline: Pipeline, modules: Modules = NO_MODULES
) -> dict[str, tuple[str, FeatureSpec]]:
    """Path and specification of each feature that has a name."""
    return {
        message.feature_name: (f"{path}.{word}", FeatureSpec(word, fields(message), modules))
        for path, word, message in configured_features(pipeline)
        if word and message.feature_name
    }


def build_features(
    specs: dict[str, tuple[str, FeatureSpec]], setting: FeatureSettings, faults: Faults
) -> dict[str, Feature]:
    """The features by name; what is wrong with them is added to ``faults``."""
    features: dict[str, Feature] = {}
    for name, (path, spec) in specs.items():
        with faults.under(path), OwnErrors(spec.modules, ConfigError):
            check_name("feature_name", name)
            features[name] = spec.make(setting)
    with faults.under(""):
        check_shared([(f.name, f.table) for f in features.values() if f.table])
        for feature in features.values():
            for name, path in features_read(feature).items():
                if name not in specs:
                    words = f"reads feature:{name}, which does not exist{faults.hint(name, specs)}"
                    faults.add(f"{specs[feature.name][0]}.{path}", words)
        if not faults:
            ordered(features)
            warn_of_row_rules(features.values())
    return features


def warn_of_row_rules(features: Iterable[Feature]) -> None:
    """Warn where features share a table, but a row stands for another value in each of them."""
    owners: dict[str, Feature] = {}
    for feature in features:
        if feature.table is None:
            continue
        first = owners.setdefault(feature.table.name, feature)
        if first.row_rule != feature.row_rule:
            log.warning(
                "%s and %s share the table %s, but find the row of a value in different ways (%s; "
                "%s), so that a row stands for unrelated values; give both the same lookup, or "
                "different embedding_name",
                first.name,
                feature.name,
                feature.table.name,
                first.row_rule,
                feature.row_rule,
            )


def with_helpers(by_name: dict[str, Feature], features: Iterable[Feature]) -> list[Feature]:
    """The features, and all others that they read, directly or through others."""
    closure = {feature.name: feature for feature in features}
    waiting = list(closure.values())
    while waiting:
        for name in features_read(waiting.pop()):
            if name not in closure:
                closure[name] = by_name[name]
                waiting.append(by_name[name])
    return list(closure.values())


def features_read(feature: Feature) -> dict[str, str]:
    """The other features that a feature reads, each with the field that names it."""
    return {origin.name: origin.path for origin in feature.origins if origin.kind == "feature"}


def feature_notes(pipeline: Pipeline, modules: Modules = NO_MODULES) -> Iterator[str]:
    """A line for each kind of feature setting without effect: as the kinds of features themselves
    report, and because of data_config or train_config."""
    setting = feature_settings(pipeline.data_config, Path())
    features = []
    for _, word, message in configured_features(pipeline):
        if word:
            spec = FeatureSpec(word, fields(message), modules)
            present = {field.name for field, _ in message.ListFields()} | spec.own_args.keys()
            features.append((spec.kind, {**spec.fields, **spec.own_args}, present))
    idle: dict[tuple[str, str], list[str]] = {}
    for kind, values, present in features:
        for name, reason in kind.idle(values, setting):
            if name in present:
                idle.setdefault((name, reason), []).append(values["feature_name"])
    for (name, reason), owners in idle.items():
        yield f"{name} of {few(owners)} has no effect {reason}"
    masked = [values["feature_name"] for _, values, _ in features if values.get("use_mask")]
    if pipeline.data_config.sample_mask_prob and not masked:
        yield "data_config.sample_mask_prob has no effect: no feature sets use_mask"
    if masked and not pipeline.data_config.sample_mask_prob:
        yield f"use_mask of {few(masked)} has no effect without data_config.sample_mask_prob"
    if pipeline.train_config.table_placement == REPLICATED:
        name = "embedding_constraints"
        owners = [values["feature_name"] for _, values, present in features if name in present]
        if owners:
            yield f"{name} of {few(owners)} have no effect with table_placement: REPLICATED"


def check_name(field: str, name: str) -> None:
    """Raise ConfigError unless the name can be part of a column's and a tensor's name."""
    if not re.fullmatch(r"[\w\-]+", name):
        raise ConfigError.at(field, f"is {name!r}; use letters, digits, _ and -")


ON_GPUS_ONLY = "which TorchRec has on GPUs only; remove it"
SEVERAL_SUMS = (
    "which would give each part of a row a sum of its own, but row-wise Adagrad has one for the "
    "whole row; remove it, use adagrad_optimizer"
)


def check_constraints(
    pipeline: Pipeline, device_type: str, faults: Faults, *, trains: bool
) -> None:
    """Add a fault for each word of the embedding constraints that cannot be met."""
    unfit = {}
    if device_type == "cpu":
        unfit |= dict.fromkeys({*SHARDING_TYPES, *COMPUTE_KERNELS} - ON_A_CPU, ON_GPUS_ONLY)
    optimizer = pipeline.train_config.sparse_optimizer.WhichOneof("optimizer")
    if trains and optimizer == "rowwise_adagrad_optimizer":
        unfit |= dict.fromkeys(BY_COLUMNS - unfit.keys(), SEVERAL_SUMS)
    for path, constraints in _constraints(pipeline):
        for name, words in constraints.items():
            for word in words:
                if word in unfit:
                    text = f"has {word!r}, {unfit[word]}, or set table_placement: REPLICATED"
                    faults.add(f"{path}.{name}", text)


def _constraints(pipeline: Pipeline) -> Iterator[tuple[str, Mapping[str, Sequence[str]]]]:
    train = pipeline.train_config
    yield "train_config.global_embedding_constraints", fields(train.global_embedding_constraints)
    for path, spec in feature_specs(pipeline).values():
        yield f"{path}.embedding_constraints", spec.fields.get("embedding_constraints") or {}
