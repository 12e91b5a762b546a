"""What TorchRec's planner may choose from when it places a table."""

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
    """Words of TorchRec's ShardingType and EmbeddingComputeKernel; an empty tuple allows all."""

    sharding_types: tuple[str, ...] = ()
    compute_kernels: tuple[str, ...] = ()

    @classmethod
    def of(cls, fields: Mapping[str, Any], path: str = "embedding_constraints") -> "Constraints":
        """From the fields of the schema. Raises ConfigError for a word that trains no table."""
        types, kernels = tuple(fields["sharding_types"]), tuple(fields["compute_kernels"])
        if "data_parallel" in types:
            words = "has 'data_parallel'; for all tables, set table_placement: REPLICATED"
            raise ConfigError.at(f"{path}.sharding_types", words)
        _check(types, SHARDING_TYPES, f"{path}.sharding_types")
        _check(kernels, COMPUTE_KERNELS, f"{path}.compute_kernels")
        return cls(types, kernels)

    def after(self, first: "Constraints") -> "Constraints":
        """``first``, and these constraints where it allows all."""
        types = first.sharding_types or self.sharding_types
        return Constraints(types, first.compute_kernels or self.compute_kernels)


def _check(words: Sequence[str], choices: Sequence[str], path: str) -> None:
    for word in words:
        if word not in choices:
            hint = did_you_mean(word, choices) or f"; choose from {', '.join(choices)}"
            raise ConfigError.at(path, f"has {word!r}, which does not exist{hint}")
