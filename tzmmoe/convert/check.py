"""What training would say of a converted config, by the keys that its settings come from."""

import re
from dataclasses import replace
from pathlib import Path

from tzmmoe.build.features import build_features, feature_setting, feature_specs
from tzmmoe.build.tasks import build_tasks, final_tasks
from tzmmoe.config import check as config_check
from tzmmoe.config import dialects
from tzmmoe.convert.draft import Draft
from tzmmoe.errors import Fault, Faults
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.registry import fields
from tzmmoe.session import watch
from tzmmoe.tasks import TaskSet
from tzmmoe.training.optimization import Optimization
from tzmmoe.training.settings import Settings


def check(draft: Draft) -> list[Fault]:
    """The faults that need neither data nor the memory of a model."""
    pipeline, faults = Pipeline(), Faults()
    pipeline.CopyFrom(draft.pipeline)
    dialects.canonicalize(pipeline, faults)
    config_check.check(pipeline, faults)
    setting = feature_setting(pipeline.data_config, Path())
    build_features(feature_specs(pipeline), setting, faults)
    tasks = TaskSet(build_tasks(pipeline, faults))
    final_tasks(pipeline, tasks, faults)
    with faults.under(""):
        tasks.columns()
    with faults.under(""):
        Optimization.check(Settings.of(fields(pipeline.train_config)), faults)
    if len(tasks.tasks) == len(config_check.task_towers(pipeline.model_config)[1]):
        with faults.under(""):
            watch(pipeline, tasks)
    return [_by_key(fault, draft.origins) for fault in faults]


def _by_key(fault: Fault, origins: dict[str, str]) -> Fault:
    """A fault at the key that its setting, or the nearest message around it, comes from."""
    path = fault.path
    while path and path not in origins:
        path = re.sub(r"(\.?[^.\[\]]+|\[\d+\])$", "", path)
    if not path:
        return replace(fault, where="the config")
    rest = fault.path.removeprefix(path).lstrip(".")
    return replace(fault, path=origins[path], text=f"{rest}: {fault.text}" if rest else fault.text)
