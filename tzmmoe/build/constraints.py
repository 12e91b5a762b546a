"""Constraints on where tables lie, held against the device and the optimizer."""

from collections.abc import Iterator

from tzmmoe.config.walk import features
from tzmmoe.errors import Faults
from tzmmoe.protos.feature_pb2 import ParameterConstraints
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.tables.constraints import BY_COLUMNS, COMPUTE_KERNELS, ON_A_CPU, SHARDING_TYPES

ON_GPUS_ONLY = "which TorchRec has on GPUs only; leave it out"
SEVERAL_SUMS = (
    "which would give each part of a row a sum of its own, but row-wise Adagrad has one for the "
    "whole row; leave it out, take adagrad_optimizer"
)


def check_constraints(
    pipeline: Pipeline, device_type: str, faults: Faults, *, trains: bool
) -> None:
    """Add a fault for each word that cannot be met."""
    unfit = {}
    if device_type == "cpu":
        unfit |= dict.fromkeys({*SHARDING_TYPES, *COMPUTE_KERNELS} - ON_A_CPU, ON_GPUS_ONLY)
    optimizer = pipeline.train_config.sparse_optimizer.WhichOneof("optimizer")
    if trains and optimizer == "rowwise_adagrad_optimizer":
        unfit |= dict.fromkeys(BY_COLUMNS - unfit.keys(), SEVERAL_SUMS)
    for path, constraints in _constraints(pipeline):
        for name in ("sharding_types", "compute_kernels"):
            for word in getattr(constraints, name):
                if word in unfit:
                    text = f"has {word!r}, {unfit[word]}, or set table_placement: REPLICATED"
                    faults.add(f"{path}.{name}", text)


def _constraints(pipeline: Pipeline) -> Iterator[tuple[str, ParameterConstraints]]:
    train = pipeline.train_config
    yield "train_config.global_embedding_constraints", train.global_embedding_constraints
    for path, word, feature in features(pipeline):
        if word in ("id_feature", "raw_feature"):
            yield f"{path}.{word}.embedding_constraints", feature.embedding_constraints
