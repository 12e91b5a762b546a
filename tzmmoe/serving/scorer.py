"""An exported folder -> predictions, with the feature code of training."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor

from tzmmoe.batch import Batch
from tzmmoe.data.assemble import Assembler
from tzmmoe.data.base import Chunk, Piece
from tzmmoe.data.files import Reading, open_source
from tzmmoe.data.loader import Delivery, Loader
from tzmmoe.digest import sha256
from tzmmoe.errors import CheckpointError, ConfigError
from tzmmoe.features import Feature, FeatureSpec, Setting
from tzmmoe.serving.exporter import FORMAT
from tzmmoe.serving.program import load, program_inputs


class Scorer:
    """Scores rows with an exported model."""

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        features: list[Feature],
        helpers: list[Feature],
        reading: Reading,
        device: torch.device,
    ) -> None:
        if device.type != "cpu":
            program = torch.export.passes.move_to_device_pass(program, device)
        self._run = program.module()
        self.features, self.helpers = features, helpers
        self.assembler = Assembler(features, (), helpers=helpers)
        self.reading = reading
        self.device = device

    @classmethod
    def load(cls, directory: str | Path, device: str | torch.device = "cpu") -> "Scorer":
        """Open an export. Nothing in it is unpickled.

        Raises:
            CheckpointError: the folder is no export, or is damaged.
        """
        folder = Path(directory)
        try:
            signature = json.loads((folder / "signature.json").read_text())
            digest = sha256(folder / "model.pt2")
            if signature["format"] != FORMAT:
                raise CheckpointError(
                    f"{folder} has format {signature['format']}; this version reads {FORMAT}"
                )
            if digest != signature["sha256"]["model.pt2"]:
                raise CheckpointError(f"{folder}/model.pt2 is damaged; export again")
            reading = Reading(**signature["reading"])
            setting = Setting(**signature["setting"], folder=folder)
            features, helpers = (
                [FeatureSpec(s.pop("kind"), s).make(setting) for s in signature[part]]
                for part in ("features", "helpers")
            )
        except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
            raise CheckpointError(f"{folder}: no export there: {error}") from error
        program = load(folder / "model.pt2")
        return cls(program, features, helpers, reading, torch.device(device))

    @torch.no_grad()
    def score(self, rows: pa.RecordBatch | pa.Table) -> dict[str, Tensor]:
        """Outputs by name, (B,) or (B, C), for rows with the columns that the features read.

        Raises:
            DataError: a value that does not fit, with its row and column.
        """
        if isinstance(rows, pa.Table):
            rows = rows.combine_chunks().to_batches(max_chunksize=max(len(rows), 1))[0]
        chunk = Chunk(0, rows, (Piece("request", 0, 0, rows.num_rows),))
        encoded = self.assembler.assemble(chunk)
        batch = next(encoded.batches(max(rows.num_rows, 1)))
        return self.predict(batch)

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """Outputs of an encoded batch, on the CPU."""
        inputs = program_inputs(batch.to(self.device).inputs, self.assembler.layout)
        return {name: output.cpu() for name, output in self._run(inputs).items()}

    def loader(
        self, path: str, *, reserved: Sequence[str], batch_size: int, num_workers: int
    ) -> Loader:
        """Batches of files, for ``predict``; ``reserved`` columns go along."""
        source = open_source(path, "--predict_input_path", self.reading)
        assembler = Assembler(
            self.features, (), helpers=self.helpers, reserved=source.expand(reserved)
        )
        source.check_columns(source.files[0], assembler.needed)
        delivery = Delivery(
            batch_size=batch_size,
            shuffle=False,
            shuffle_batches=1,
            drop_remainder=False,
            num_workers=num_workers,
            pin_memory=self.device.type == "cuda",
            seed=0,
        )
        return Loader(source, assembler, delivery)
