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
# The first tower reads the second.
DBMTL = """
  dbmtl {
    bottom_mlp { hidden_units: [8] }
    expert_mlp { hidden_units: [6] } gate_mlp { hidden_units: [3] } num_expert: 2
    task_towers {
      tower_name: "cvr" label_name: "buy" sample_weight_name: "importance"
      mlp { hidden_units: [4] } relation_tower_names: "ctr" relation_mlp { hidden_units: [3] }
    }
    task_towers { tower_name: "ctr" label_name: "click" mlp { hidden_units: [4] use_bn: true } }
    l2_regularization: 0.001
  }
}
"""
SHARED_BOTTOM = """
  shared_bottom {
    bottom_mlp { hidden_units: [8] }
    task_towers { tower_name: "ctr" label_name: "click" mlp { hidden_units: [4] } }
    task_towers { tower_name: "cvr" label_name: "buy" relation_tower_names: "ctr" }
  }
}
"""
SIMPLE_MULTI_TASK = """
  simple_multi_task {
    task_towers { tower_name: "ctr" label_name: "click" mlp { hidden_units: [4] } }
    task_towers {
      tower_name: "cvr" label_name: "buy" sample_weight_name: "importance"
      mlp { hidden_units: [4] }
    }
    l2_regularization: 0.001
  }
}
"""
MEMBERS = """
  mmoe {
    expert_mlp { hidden_units: [8] use_bn: true dropout_ratio: 0.1 } num_expert: 2 num_members: 3
    task_towers {
      tower_name: "ctr" label_name: "click" mlp { hidden_units: [4] } metrics { auc {} }
    }
    task_towers { tower_name: "cvr" label_name: "buy" }
    l2_regularization: 0.001
  }
}
"""
TEXTS = {
    "ple": PLE,
    "esmm": ESMM,
    "dbmtl": DBMTL,
    "shared_bottom": SHARED_BOTTOM,
    "simple_multi_task": SIMPLE_MULTI_TASK,
    "members": MEMBERS,
}


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
