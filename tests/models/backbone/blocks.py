"""Small models of blocks: their configs, their inputs, and what their blocks give."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from written import built, loaded, said, said_of_all

from tzmmoe.models.backbone import Backbone
from tzmmoe.models.backbone.flow import Context, Value

FEATURES = {"user": 4, "item": 4, "city": 4, "age": 2}
GROUPS = {"all": ("user", "item", "city"), "pair": ("user", "item"), "mixed": ("item", "age")}
FRAME = """\
train_input_path: "train.parquet"
model_dir: "model"
train_config {{ optimizer {{ adam_optimizer {{ lr: 0.01 }} }} }}
data_config {{ batch_size: 8 label_fields: ["click", "buy"] fg_mode: FG_DAG }}
{features}
model_config {{
{groups}
  backbone {{
{blocks}
    task_towers {{ tower_name: "ctr" label_name: "click" }}
    task_towers {{ tower_name: "cvr" label_name: "buy" }}
  }}
}}
"""


def text(blocks: str) -> str:
    """A config with these parts of its backbone, in two towers."""
    features = [
        f'feature_configs {{ id_feature {{ feature_name: "{name}" num_buckets: 9 '
        f"embedding_dim: {dim} }} }}"
        for name, dim in FEATURES.items()
    ]
    groups = []
    for name, members in GROUPS.items():
        names = ", ".join(f'"{each}"' for each in members)
        groups.append(f'  feature_groups {{ group_name: "{name}" feature_names: [{names}] }}')
    return FRAME.format(features="\n".join(features), groups="\n".join(groups), blocks=blocks)


def body(folder: Path, blocks: str, **arguments: object) -> Backbone:
    """In float64 and evaluation mode, its weights moved away from where they start."""
    made, lines = built(loaded(folder, text(blocks), **arguments))
    assert not lines
    found = made.model.body.double().eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for name, buffer in found.named_buffers():
            if buffer.is_floating_point():
                buffer.add_(0.5 if "var" in name else 0.1)
    return found


def faults(folder: Path, blocks: str, **arguments: object) -> list[str]:
    """What a user is told, each fault with its line."""
    config = loaded(folder, text(blocks), **arguments)
    return said(config) or said_of_all(config)


def inputs(num_rows: int = 5, seed: int = 0) -> dict[str, Tensor]:
    """Of each group, in which a feature has the same numbers wherever it is."""
    generator = torch.Generator().manual_seed(seed)
    by_feature = {
        name: torch.randn(num_rows, dim, generator=generator, dtype=torch.float64)
        for name, dim in FEATURES.items()
    }
    return {
        group: torch.cat([by_feature[name] for name in names], dim=1)
        for group, names in GROUPS.items()
    }


def fields(group: str, x: dict[str, Tensor]) -> Sequence[Tensor]:
    """A group's features one by one."""
    return x[group].split([FEATURES[name] for name in GROUPS[group]], dim=1)


def results(model: Backbone, x: dict[str, Tensor]) -> dict[str, Value]:
    """What each block gives."""
    return model.graph.results(Context(x))
