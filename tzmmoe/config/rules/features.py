"""``feature_configs`` and ``feature_groups``: names that exist, and settings that nothing reads."""

from collections.abc import Iterator

from tzmmoe.config.rulebook import Rules
from tzmmoe.config.rules.values import defined, set_among, unique
from tzmmoe.config.walk import features
from tzmmoe.errors import Faults, few
from tzmmoe.protos.data_pb2 import FG_BUCKETIZE, FG_DAG, FG_NONE, FG_NORMAL, FgMode
from tzmmoe.protos.feature_pb2 import FeatureConfig
from tzmmoe.protos.pipeline_pb2 import Pipeline

# fg_mode: settings of features that it does not read.
UNREAD = {
    FG_NONE: ("expression", "default_value", "separator", "normalizer"),
    FG_BUCKETIZE: ("expression", "normalizer", "fg_encoded_default_value"),
    FG_NORMAL: ("fg_encoded_default_value",),
    FG_DAG: ("fg_encoded_default_value",),
}
OF_A_TABLE = ("embedding_name", "init_fn", "pooling", "trainable", "embedding_constraints")


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
    unique(names, "feature_configs", faults)
    _groups(pipeline, names, faults)


def _groups(pipeline: Pipeline, known: list[str], faults: Faults) -> None:
    groups = pipeline.model_config.feature_groups
    if not groups:
        faults.add("model_config.feature_groups", "is empty; give one group of features")
    unique([group.group_name for group in groups], "model_config.feature_groups", faults)
    for index, group in enumerate(groups):
        path = f"model_config.feature_groups[{index}]"
        if not group.group_name:
            faults.add(f"{path}.group_name", "is not set; give the group a name")
        if not group.feature_names:
            faults.add(f"{path}.feature_names", "is empty; name the group's features")
        unique(group.feature_names, f"{path}.feature_names", faults)
        for number, name in enumerate(group.feature_names):
            defined(name, known, f"{path}.feature_names[{number}]", "feature_configs", faults)


def notes(pipeline: Pipeline) -> Iterator[str]:
    mode = pipeline.data_config.fg_mode
    unread: dict[str, list[str]] = {}
    for _, word, feature in features(pipeline):
        for name in set_among(feature, UNREAD[mode]) if word else ():
            if name != "expression" or _column(feature.expression) != feature.feature_name:
                unread.setdefault(name, []).append(feature.feature_name)
        if word == "raw_feature" and not feature.boundaries:
            for name in set_among(feature, OF_A_TABLE):
                yield f"{name} of {feature.feature_name} has no effect without boundaries"
        if word == "id_feature" and mode != FG_NONE and not feature.num_buckets:
            for name in set_among(feature, ["out_of_range"]):
                yield f"{name} of {feature.feature_name} has no effect without num_buckets"
    for name, owners in unread.items():
        yield f"{name} of {few(owners)} has no effect under fg_mode: {FgMode.Name(mode)}"


def _column(expression: str) -> str:
    return expression.rpartition(":")[2]


RULES = Rules(check=check, notes=notes)
