"""Faults of a converted config, at their places in the text that it was made from."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tzmmoe.build.features import build_features, feature_settings, feature_specs
from tzmmoe.build.rules import rules
from tzmmoe.build.tasks import task_sets
from tzmmoe.config.walk import task_towers
from tzmmoe.errors import Fault, Faults
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.registry import Modules
from tzmmoe.registry.modules import NO_MODULES
from tzmmoe.run.ends import Watch
from tzmmoe.run.settings import RunSettings


def faults_of(written: Pipeline, modules: Modules = NO_MODULES) -> Faults:
    """The faults that need neither data nor the memory of a model."""
    pipeline, faults = Pipeline(), Faults()
    pipeline.CopyFrom(written)
    all_rules = rules()
    all_rules.rewrite(pipeline, faults)
    all_rules.check(pipeline, faults)
    of_features = feature_settings(pipeline.data_config, Path())
    build_features(feature_specs(pipeline), of_features, faults)
    tasks, _ = task_sets(pipeline, faults, modules)
    settings = RunSettings.of(pipeline, faults, trains=True)
    if len(tasks.tasks) == len(task_towers(pipeline.model_config)):
        with faults.under(""):
            Watch.of(settings, tasks)
    return faults


def by_origin(fault: Fault, origins: Mapping[str, str]) -> Fault:
    """A fault at the place that its setting, or the nearest message around it, comes from.

    ``origins``: {path of a setting: place in what was converted}.
    """
    path = fault.path
    while path and path not in origins:
        path = re.sub(r"(\.?[^.\[\]]+|\[\d+\])$", "", path)
    if not path:
        return replace(fault, where="the config")
    rest = fault.path.removeprefix(path).lstrip(".")
    return replace(fault, path=origins[path], text=f"{rest}: {fault.text}" if rest else fault.text)
