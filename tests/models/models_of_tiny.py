"""The tiny data set with other models in place of its MMoE."""

from pathlib import Path

from e2e import tiny

PLE = """
  ple {
    extraction_networks {
      network_name: "first" expert_num_per_task: 2 share_num: 1
      task_expert_net { hidden_units: [8] } share_expert_net { hidden_units: [6, 8] }
    }
    extraction_networks {
      network_name: "last" expert_num_per_task: 1 share_num: 2
      task_expert_net { hidden_units: [4] } share_expert_net { hidden_units: [4] }
    }
    task_towers { tower_name: "ctr" label_name: "click" mlp { hidden_units: [4] } }
    task_towers {
      tower_name: "cvr" label_name: "buy" sample_weight_name: "importance"
      metrics { auc {} } losses { binary_cross_entropy {} } losses { l2_loss {} }
    }
  }
}
"""
ESMM = """
  esmm {
    bottom_mlp { hidden_units: [8] }
    ctr_tower { label_name: "click" mlp { hidden_units: [4] } }
    cvr_tower {
      label_name: "buy" mlp { hidden_units: [4] } sample_weight_name: "importance"
      metrics { auc {} } metrics { logloss {} }
    }
    l2_regularization: 0.001
  }
}
"""
TEXTS = {"ple": PLE, "esmm": ESMM}


def text(model: str) -> str:
    """The config; its paths are those of a folder that ``write`` makes."""
    before, found, _ = tiny.CONFIG.partition("\n  mmoe {{")
    assert found
    return before + TEXTS[model].replace("{", "{{").replace("}", "}}")


def write(model: str, folder: Path) -> Path:
    """The folder with the data and ``tiny.config``."""
    tiny.write_all(folder)
    paths = {"train": folder / "train", "eval": folder / "eval.parquet"}
    (folder / "tiny.config").write_text(text(model).format(**paths))
    return folder
