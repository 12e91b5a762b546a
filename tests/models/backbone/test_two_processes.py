"""Blocks in two processes: the numbers of one, and no waiting for what is not trained."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from models.backbone import tiny_blocks, wide_blocks
from ranks import Ranks
from same_numbers import compare, write_for

# None: these settings of the usual model are not there.
OF_MMOE = dict.fromkeys(
    f"model_config__mmoe__expert_mlp__{name}" for name in ("dropout_ratio", "use_bn")
)
ROW_WISE = {
    "train_config__sparse_optimizer": "adagrad_optimizer { lr: 0.05 }",
    "train_config__table_placement": "SHARDED",
    "train_config__global_embedding_constraints": 'sharding_types: "row_wise"',
}
# Weights without a gradient, batch norms of input layers and packages, and two uses of one layer.
BLOCKS = (
    re.sub(r"\w*dropout_\w+: (\[0.2\]|0.1)", "", tiny_blocks.EVERYTHING)
    + """
    blocks {
      name: "early" inputs { feature_group_name: "mixed" } keras_layer { dense { units: 3 } }
    }
    blocks {
      name: "tasks_and_more" inputs { block_name: "tasks" input_slice: "[0]" }
      inputs { block_name: "early" ignore_input: true }
    }
"""
)


@pytest.mark.long
def test_two_processes_have_the_losses_and_results_of_one(tmp_path: Path, two: Ranks) -> None:
    """Of an epoch, also where a table and a layer have no gradient."""
    folders = write_for((1, 2), tmp_path / "data")
    for folder in folders.values():
        paths = {"train": folder / "train", "eval": folder / "eval.parquet"}
        (folder / "tiny.config").write_text(tiny_blocks.text(BLOCKS).format(**paths))
    losses, results, _ = compare(folders, tmp_path, two, OF_MMOE)
    assert max(losses, results) < 1e-5


def of_wide_blocks(folders: Mapping[int, Path]) -> Mapping[int, Path]:
    for folder in folders.values():
        paths = {"train": folder / "train", "eval": folder / "eval.parquet"}
        (folder / "tiny.config").write_text(wide_blocks.text().format(**paths))
    return folders


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="whole tables", marks=pytest.mark.long),
        pytest.param(ROW_WISE, id="rows of tables", marks=pytest.mark.torchrec),
    ],
)
def test_wide_groups_and_embedding_layers_have_the_numbers_of_one_process(
    tmp_path: Path, two: Ranks, changes: Mapping
) -> None:
    """Also where each process has a part of the rows of each table."""
    if changes:
        pytest.importorskip(
            "torchrec", reason="TorchRec is not installed; `make torchrec` installs it"
        )
    folders = of_wide_blocks(write_for((1, 2), tmp_path / "data"))
    losses, results, _ = compare(folders, tmp_path, two, {**OF_MMOE, **changes})
    assert max(losses, results) < 1e-5
