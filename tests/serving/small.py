"""Small models with random weights, and their exports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from parts import generator, shaken
from torch import Tensor
from written import load

from tzmmoe.batch import Inputs
from tzmmoe.features.base import Layout
from tzmmoe.jagged import Jagged
from tzmmoe.run.session import Session
from tzmmoe.serving.exporter import Export
from tzmmoe.serving.seal import Key
from tzmmoe.tasks.taskset import TaskSet

CONFIG = """
data_config {{ label_fields: ["label"] num_workers: 0 {data} }}
{features}
model_config {{
  feature_groups {{ group_name: "all" feature_names: [{names}] }}
  mmoe {{ num_expert: 3 {network} {towers} }}
}}
"""
NETWORK = "expert_mlp { hidden_units: [5] }"
TOWER = 'task_towers { tower_name: "ctr" label_name: "label" }'


@dataclass(frozen=True)
class Small:
    """A model that was built from a config, and never trained."""

    session: Session

    @classmethod
    def build(
        cls,
        folder: Path,
        features: Sequence[str],
        *,
        names: Sequence[str],
        data: str = "fg_mode: FG_DAG",
        network: str = NETWORK,
        towers: str = TOWER,
    ) -> "Small":
        """Of features in text format, of which those in ``names`` enter the model."""
        text = CONFIG.format(
            features="\n".join(f"feature_configs {{ {feature} }}" for feature in features),
            names=", ".join(f'"{name}"' for name in names),
            data=data,
            network=network,
            towers=towers,
        )
        return cls.of(folder, text)

    @classmethod
    def of(cls, folder: Path, text: str) -> "Small":
        """Of a whole config."""
        (folder / "small.config").write_text(text, encoding="utf-8")
        session = Session.start(load(folder / "small.config"), device="cpu")
        shaken(session.built.model, seed=1).float()
        return cls(session)

    @property
    def layout(self) -> Layout:
        return Layout.of(self.session.built.features)

    def export(
        self,
        directory: Path,
        quality: Mapping[str, Any] | None = None,
        key: Key | None = None,
        tasks: TaskSet | None = None,
    ) -> Path:
        built = self.session.built
        Export(
            model=built.model,
            tasks=built.tasks if tasks is None else tasks,
            features=built.features,
            helpers=built.helpers,
            specs=built.specs,
            setting=built.setting,
            reading=self.session.settings.reading,
            config=self.session.settings.text,
            quality=quality,
            key=key,
        ).write(directory)
        return directory

    @torch.no_grad()
    def outputs(self, inputs: Inputs) -> dict[str, Tensor]:
        """What the model gives before any export."""
        built = self.session.built
        return built.tasks.predict(built.model.eval()(inputs))

    def evaluated(self, rows: pa.Table, folder: Path) -> dict[str, Tensor]:
        """What eval gives for rows, which it reads from a file."""
        file = folder / "evaluated.parquet"
        pq.write_table(rows, file)
        loader = self.session.loader(str(file), "--eval_input_path", ())
        parts = [self.session.outputs(batch) for batch in loader.once()]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def random_inputs(layout: Layout, num_rows: int, most_ids: int, seed: int = 0) -> Inputs:
    """Rows whose features have 0 to ``most_ids`` ids each."""
    source = generator(seed)
    ids = {}
    for width, slots in layout.pooled.items():
        lengths = torch.randint(0, most_ids + 1, (num_rows, len(slots)), generator=source)
        tables = torch.tensor([slot.feature.table.rows for slot in slots])
        rows = tables.expand_as(lengths).flatten().repeat_interleave(lengths.flatten())
        values = (torch.rand(len(rows), generator=source) * rows).long()
        weights = torch.rand(len(rows), generator=source) if layout.weighted(width) else None
        ids[width] = Jagged(values, lengths, weights)
    return Inputs(ids, torch.randn(num_rows, layout.num_numbers, generator=source))


def assert_same(
    found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-6
) -> None:
    """The same names in the same order, and values within an absolute tolerance."""
    assert list(found) == list(expected)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=0, atol=tolerance, msg=name)
