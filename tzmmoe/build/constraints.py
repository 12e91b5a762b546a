"""Constraints on where tables lie, held against the device and the optimizer."""

from collections.abc import Iterator, Mapping, Sequence

from tzmmoe.build.features import feature_specs
from tzmmoe.errors import Faults
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.registry import fields
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
