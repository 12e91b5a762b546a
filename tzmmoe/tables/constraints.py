"""What TorchRec's planner may choose from for a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tzmmoe.errors import ConfigError, did_you_mean

SHARDING_TYPES = (
    *("table_wise", "column_wise", "row_wise"),
    *("table_row_wise", "table_column_wise", "grid_shard"),
)
COMPUTE_KERNELS = ("fused", "fused_uvm", "fused_uvm_caching")
ON_A_CPU = {"table_wise", "column_wise", "row_wise", "fused"}  # what TorchRec has there
BY_COLUMNS = {"column_wise", "table_column_wise", "grid_shard"}


@dataclass(frozen=True)
class Constraints:
    """Words of TorchRec's ShardingType and EmbeddingComputeKernel; none leaves the choice open."""

    sharding_types: tuple[str, ...] = ()
    compute_kernels: tuple[str, ...] = ()

    @classmethod
    def of(cls, fields: Mapping[str, Any], path: str = "embedding_constraints") -> "Constraints":
        """From the fields of the schema. Raises ConfigError for a word that trains no table."""
        types, kernels = tuple(fields["sharding_types"]), tuple(fields["compute_kernels"])
        if "data_parallel" in types:
            words = "'data_parallel' is what table_placement: REPLICATED does, for all tables"
            raise ConfigError.at(f"{path}.sharding_types", words)
        _check(types, SHARDING_TYPES, f"{path}.sharding_types")
        _check(kernels, COMPUTE_KERNELS, f"{path}.compute_kernels")
        return cls(types, kernels)

    def after(self, first: "Constraints") -> "Constraints":
        """What ``first`` says, and this where that says nothing."""
        types = first.sharding_types or self.sharding_types
        return Constraints(types, first.compute_kernels or self.compute_kernels)


def _check(words: Sequence[str], known: Sequence[str], path: str) -> None:
    for word in words:
        if word not in known:
            hint = did_you_mean(word, known) or f"; give some of {', '.join(known)}"
            raise ConfigError.at(path, f"has {word!r}, which is not known{hint}")
