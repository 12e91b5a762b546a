"""Blocks in two processes: the numbers of one, and no waiting for what is not trained."""

import re
from pathlib import Path

import pytest
from models.backbone import tiny_blocks
from ranks import Ranks
from same_numbers import compare, write_for

# None: these settings of the usual model are not there.
OF_MMOE = dict.fromkeys(
    f"model_config__mmoe__expert_mlp__{name}" for name in ("dropout_ratio", "use_bn")
)
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
