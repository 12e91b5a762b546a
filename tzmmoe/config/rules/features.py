"""``feature_configs`` and ``feature_groups``: names that exist."""

from tzmmoe.config.rulebook import Rules
from tzmmoe.config.rules.values import OWN_NAME, defined, unique
from tzmmoe.config.walk import features
from tzmmoe.errors import Faults
from tzmmoe.protos.feature_pb2 import FeatureConfig
from tzmmoe.protos.model_pb2 import WIDE
from tzmmoe.protos.pipeline_pb2 import Pipeline


def check(pipeline: Pipeline, faults: Faults) -> None:
    if not pipeline.feature_configs:
        faults.add("feature_configs", "is empty; describe the features")
    for path, word, feature in features(pipeline):
        if word is None:
            words = [field.name for field in FeatureConfig.DESCRIPTOR.fields]
            faults.add(path, f"is empty; choose {' or '.join(words)}")
        elif not feature.feature_name:
            faults.add(f"{path}.{word}.feature_name", "is not set; give the feature a name")
    names = [feature.feature_name for _, word, feature in features(pipeline) if word]
    unique(names, "feature_configs", faults, OWN_NAME)
    _groups(pipeline, names, faults)


def _groups(pipeline: Pipeline, names: list[str], faults: Faults) -> None:
    groups = pipeline.model_config.feature_groups
    if not groups:
        faults.add("model_config.feature_groups", "is empty; give one group of features")
    listed = dict.fromkeys(names)
    group_names = [group.group_name for group in groups]
    unique(group_names, "model_config.feature_groups", faults, OWN_NAME)
    for index, group in enumerate(groups):
        path = f"model_config.feature_groups[{index}]"
        if not group.group_name:
            faults.add(f"{path}.group_name", "is not set; give the group a name")
        if not group.feature_names:
            faults.add(f"{path}.feature_names", "is empty; name the group's features")
        unique(group.feature_names, f"{path}.feature_names", faults)
        model = pipeline.model_config.WhichOneof("model")
        if group.group_type == WIDE and model not in (None, "backbone"):
            words = f"is WIDE, which only a backbone reads, but the model is {model}"
            faults.add(f"{path}.group_type", f"{words}; remove the group, or write DEEP")
        for number, name in enumerate(group.feature_names):
            defined(name, listed, f"{path}.feature_names[{number}]", "feature_configs", faults)


RULES = Rules(check=check)
