"""feature_configs -> features."""

import re
from collections.abc import Iterable
from pathlib import Path

from tzmmoe.config.walk import features as configured_features
from tzmmoe.errors import ConfigError, Faults, did_you_mean
from tzmmoe.features import Feature, FeatureSpec, Setting, check_shared, ordered
from tzmmoe.protos.data_pb2 import DataConfig, FgMode, HashFunction
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.registry import fields


def feature_setting(config: DataConfig, folder: Path) -> Setting:
    """What data_config says to every feature; ``folder`` is the config's."""
    return Setting(
        fg_mode=FgMode.Name(config.fg_mode),
        multival_separator=config.fg_encoded_multival_sep,
        hash_function=HashFunction.Name(config.hash_function),
        folder=folder,
    )


def feature_specs(pipeline: Pipeline) -> dict[str, tuple[str, FeatureSpec]]:
    """Path and specification of each feature that has a name."""
    return {
        message.feature_name: (f"{path}.{word}", FeatureSpec(word, fields(message)))
        for path, word, message in configured_features(pipeline)
        if word and message.feature_name
    }


def build_features(
    specs: dict[str, tuple[str, FeatureSpec]], setting: Setting, faults: Faults
) -> dict[str, Feature]:
    found: dict[str, Feature] = {}
    for name, (path, spec) in specs.items():
        with faults.under(path):
            check_name("feature_name", name)
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


def needed(by_name: dict[str, Feature], features: Iterable[Feature]) -> list[Feature]:
    """The features and all that they read."""
    found = {feature.name: feature for feature in features}
    waiting = list(found.values())
    while waiting:
        origin = waiting.pop().origin
        if origin.kind == "feature" and origin.name not in found:
            found[origin.name] = by_name[origin.name]
            waiting.append(by_name[origin.name])
    return list(found.values())


def check_name(field: str, name: str) -> None:
    """Raise ConfigError unless the name can be part of a column's and a tensor's name."""
    if not re.fullmatch(r"[\w\-]+", name):
        raise ConfigError.at(field, f"is {name!r}; use letters, digits, _ and -")
