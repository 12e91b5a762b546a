"""Small MMoE V2 models from the settings of a config, and rows for them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from google.protobuf import text_format
from parts import bagged, generator, shaken
from torch import Tensor

from tzmmoe.batch import Inputs
from tzmmoe.build import Built, build, rules
from tzmmoe.errors import Faults
from tzmmoe.features.base import Layout
from tzmmoe.jagged import Jagged
from tzmmoe.protos.pipeline_pb2 import Pipeline

SEVERAL = 'separator: "|"'
FEATURES = {
    "u": 'id_feature { feature_name: "u" num_buckets: 7 embedding_dim: 4 }',
    "v": 'id_feature { feature_name: "v" num_buckets: 9 embedding_dim: 4 }',
    "w": f'id_feature {{ feature_name: "w" num_buckets: 5 embedding_dim: 3 {SEVERAL} }}',
    "m": f'id_feature {{ feature_name: "m" num_buckets: 6 embedding_dim: 4 {SEVERAL} '
    'pooling: "mean" }',
    "s": f'id_feature {{ feature_name: "s" num_buckets: 8 embedding_dim: 3 {SEVERAL} '
    "weighted: true }",
    "n": 'raw_feature { feature_name: "n" value_dim: 2 }',
    "p": 'raw_feature { feature_name: "p" boundaries: [0.5, 1.5] embedding_dim: 5 }',
    "q": 'raw_feature { feature_name: "q" embedding_dim: 2 mlp {} }',
}
# What each becomes: categories that are summed, averaged or weighted, numbers, embedded numbers.
KINDS = {
    "u": "sum",
    "v": "sum",
    "w": "sum",
    "m": "mean",
    "s": "weighted",
    "p": "sum",
    "n": "numbers",
    "q": "embedded",
}
SIZES = {"u": 7, "v": 9, "w": 5, "m": 6, "s": 8, "p": 3}  # rows of the tables
NUMBERS = {"n": 2, "q": 1}
GROUPS = {"wide": ["n", "u", "s", "w", "p", "q"], "mmoe": ["v", "n", "u", "m", "w"]}
SMALL = {
    "num_experts": 3,
    "expert_layers": [6, 5],
    "task_structs": [{"units": [4, 1]}, {"units": [1]}],
    "wide_width": 3,
}
CONFIG = """
data_config {{ label_fields: [{labels}] fg_mode: FG_DAG }}
{features}
model_config {{
  {groups}
  mmoe_v2 {{ {settings} {towers} }}
}}
train_config {{
  sparse_optimizer {{ adam_optimizer {{ lr: 0.01 }} }}
  dense_optimizer {{ adam_optimizer {{ lr: 0.01 }} }}
}}
"""
Bag = list[tuple[int, float]]  # ids with their weights
Rows = dict[str, list]  # feature -> for each row a Bag, or its numbers


def spelled(settings: Mapping[str, Any]) -> str:
    """In the text format. A list of mappings is a repeated message."""
    parts = []
    for name, value in settings.items():
        if isinstance(value, Sequence) and value and isinstance(value[0], Mapping):
            parts += [f"{name} {{ {spelled(each)} }}" for each in value]
        elif isinstance(value, Mapping):
            parts.append(f"{name} {{ {spelled(value)} }}")
        else:
            parts.append(f"{name}: {_value(value)}")
    return " ".join(parts)


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(each) for each in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)


def text(settings: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> str:
    """A config with a tower a, b, ... for each of the task_structs."""
    structs = settings["task_structs"]
    names = [chr(ord("a") + place) for place in range(len(structs))]
    towers = []
    for name, struct in zip(names, structs, strict=True):
        loss = "softmax_cross_entropy" if struct["units"][-1:] > [1] else "binary_cross_entropy"
        towers.append({"tower_name": name, "label_name": name, "losses": {loss: {}}})
    members = [{"group_name": name, "feature_names": each} for name, each in groups.items()]
    used = {name for each in groups.values() for name in each}
    return CONFIG.format(
        labels=", ".join(f'"{name}"' for name in names),
        features="\n".join(f"feature_configs {{ {FEATURES[n]} }}" for n in FEATURES if n in used),
        groups=spelled({"feature_groups": members}),
        settings=spelled(settings),
        towers=spelled({"task_towers": towers}),
    )


def made(content: str) -> Built:
    """Raises ConfigError with all faults."""
    pipeline, faults = text_format.Parse(content, Pipeline()), Faults()
    rules().rewrite(pipeline, faults)
    rules().check(pipeline, faults)
    built = build(pipeline, Path(), faults)
    faults.stop()
    return built


def v2(*, groups: Mapping[str, Sequence[str]] = GROUPS, **settings: Any) -> Built:
    """As it starts, in single precision. ``settings`` go before those of SMALL."""
    return made(text(SMALL | settings, groups))


def shaken_v2(*, groups: Mapping[str, Sequence[str]] = GROUPS, **settings: Any) -> Built:
    """In float64, every parameter off its start, ready to predict."""
    built = v2(groups=groups, **settings)
    shaken(built.model, seed=1).eval()
    return built


def rows(num_rows: int, seed: int = 0) -> Rows:
    """One id of u, v and p in each row, 0 to 3 of the others in turn; weights of s; numbers."""
    source = generator(seed)
    found: Rows = {}
    for place, (name, size) in enumerate(SIZES.items()):
        counts = [1 if name in "uvp" else (2 + place + b) % 4 for b in range(num_rows)]
        found[name] = []
        for count in counts:
            ids = torch.randint(size, (count,), generator=source).tolist()
            weights = (
                torch.randn(count, generator=source).tolist() if name == "s" else [1.0] * count
            )
            found[name].append(list(zip(ids, weights, strict=True)))
    for name, count in NUMBERS.items():
        drawn = torch.randn(num_rows, count, generator=source, dtype=torch.float64)
        found[name] = drawn.tolist()
    return found


def inputs(built: Built, raw: Rows, dtype: torch.dtype = torch.float64) -> Inputs:
    """As a batch holds them."""
    layout, num_rows = Layout.of(built.features), len(raw["u"])
    ids = {}
    for width, slots in layout.pooled.items():
        bags = [[raw[slot.feature.name][b] for slot in slots] for b in range(num_rows)]
        ragged = bagged([[[i for i, _ in bag] for bag in row] for row in bags], len(slots))
        weights = [weight for row in bags for bag in row for _, weight in bag]
        own = torch.tensor(weights, dtype=dtype)
        ids[width] = Jagged(ragged.values, ragged.lengths, own if layout.weighted(width) else None)
    columns = [torch.tensor(raw[slot.feature.name], dtype=dtype) for slot in layout.numbers]
    return Inputs(ids, torch.cat([torch.zeros(num_rows, 0, dtype=dtype), *columns], dim=1))


def logits(built: Built, raw: Rows) -> dict[str, Tensor]:
    """By tower, (B,) or (B, C), in the precision of the model."""
    dtype = next(built.model.parameters()).dtype
    return built.model(inputs(built, raw, dtype))
