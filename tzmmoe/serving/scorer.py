"""Scoring rows with an exported folder, by the same feature code as in training."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from tzmmoe.batch import Batch
from tzmmoe.data.encode import Assembler
from tzmmoe.data.loader import Loader
from tzmmoe.data.plan.delivery import Delivery
from tzmmoe.data.plan.sharing import count
from tzmmoe.data.reading.base import Chunk, FileRows
from tzmmoe.data.reading.files import Reading, open_source
from tzmmoe.errors import CheckpointError, ConfigError, DataError, did_you_mean
from tzmmoe.features import Feature, FeatureSettings, FeatureSpec
from tzmmoe.registry import Modules
from tzmmoe.serving.exporter import FORMAT
from tzmmoe.serving.program import load, program_inputs
from tzmmoe.system.digest import inside, sha256
from tzmmoe.system.world import World


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
    def load(
        cls,
        directory: str | Path,
        device: str | torch.device = "cpu",
        *,
        allow_modules: str | Sequence[str] = (),
    ) -> "Scorer":
        """Open an export, without unpickling anything in it.

        ``allow_modules``: those that may be imported for features of the user's, with all inside
        them.

        Raises:
            CheckpointError: the folder is not an export, is damaged, or has another format; or the
                class of a feature cannot be had.
        """
        folder, modules = Path(directory), Modules.of(allow_modules)
        try:
            signature = json.loads(own_file(folder, "signature.json").read_text(encoding="utf-8"))
            if signature["format"] != FORMAT:
                raise CheckpointError(
                    f"{folder} has format {signature['format']}; this version reads format {FORMAT}"
                )
            check_files(folder, signature["sha256"])
            reading = Reading(**signature["reading"])
            setting = FeatureSettings(**signature["setting"], folder=folder)
            features, helpers = (
                [
                    make_feature(each, setting, signature["sha256"], modules)
                    for each in signature[part]
                ]
                for part in ("features", "helpers")
            )
        except (OSError, ValueError, LookupError, TypeError, ConfigError) as error:
            raise CheckpointError(f"{folder}: is not an export: {error}") from error
        program = load(folder / "model.pt2")
        return cls(program, features, helpers, reading, torch.device(device))

    def score(
        self, rows: pa.RecordBatch | pa.Table | Sequence[Mapping[str, Any]]
    ) -> dict[str, Tensor]:
        """Outputs by name, (B,) or (B, C), for rows that have the columns that the features read.

        Of dicts, those without a column have no value there, and a dict in a cell maps values to
        weights.

        Raises:
            DataError: a missing column, or a value that cannot be used, with its row.
        """
        if not isinstance(rows, pa.RecordBatch | pa.Table):
            rows = record_batch(rows, self.assembler.needed)
        self._check_columns(rows.schema)
        if isinstance(rows, pa.Table):
            rows = one_batch(rows.select(self.assembler.needed))
        chunk = Chunk(0, (rows,), (FileRows("request", 0, rows.num_rows),))
        encoded = self.assembler.assemble(chunk)
        batch = next(encoded.batches(max(rows.num_rows, 1)))
        return self.predict(batch)

    def _check_columns(self, schema: pa.Schema) -> None:
        faults = []
        for name in self.assembler.needed:
            count = len(schema.get_all_field_indices(name))
            if count == 0:
                faults.append(f"request: no column {name!r}{did_you_mean(name, schema.names)}")
            elif count > 1:
                faults.append(f"request: {count} columns named {name!r}; remove all but one")
        if faults:
            raise DataError("\n".join(faults))

    @torch.no_grad()
    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """The outputs for an encoded batch, moved to the CPU."""
        inputs = program_inputs(batch.to(self.device).inputs, self.assembler.layout)
        return {name: output.cpu() for name, output in self._run(inputs).items()}

    def loader(
        self,
        path: str,
        *,
        reserved: Sequence[str],
        batch_size: int,
        num_workers: int,
        world: World | None = None,
    ) -> Loader:
        """Batches of files for ``predict``, along with ``reserved`` columns. Each process of
        ``world`` reads its share of the rows."""
        world = world or World()
        reading = self.reading
        if not reading.types:  # trained on Parquet, or on CSV with a header
            reading = replace(reading, with_header=True)
        source = open_source(path, "--predict_input_path", reading)
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
            rank=world.rank,
            world=world.size,
        )
        return Loader(source, assembler, delivery, count(source, world))


def record_batch(rows: Sequence[Mapping[str, Any]], columns: Collection[str]) -> pa.RecordBatch:
    """The rows, with values in ``columns`` only. A cell that is a dict maps values to weights.

    Raises:
        DataError: not a list of dicts, or a column whose cells have no type in common.
    """
    if isinstance(rows, Mapping | str) or not isinstance(rows, Sequence):
        raise DataError(f"request: it is a {type(rows).__name__}; pass a list of dicts")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise DataError(f"request, row {number:,}: it is a {type(row).__name__}; pass a dict")
    names = dict.fromkeys(name for row in rows for name in row) if rows else columns
    arrays = {name: pa.nulls(len(rows)) for name in names}
    for name in arrays.keys() & columns:
        try:
            arrays[name] = _array([row.get(name) for row in rows])
        except (pa.ArrowException, TypeError, OverflowError) as error:
            words = f"request, column {name!r}: {error}; give all rows values of one type"
            raise DataError(words) from error
    return pa.record_batch(arrays)


def _array(cells: list[Any]) -> pa.Array:
    """Arrow infers the type, except that it would make structs of dicts."""
    maps = [cell for cell in cells if isinstance(cell, Mapping)]
    if not maps:
        return pa.array(cells)
    keys = pa.array([key for cell in maps for key in cell])
    pairs = [list(cell.items()) if isinstance(cell, Mapping) else cell for cell in cells]
    return pa.array(pairs, pa.map_(keys.type, pa.float64()))


def check_files(folder: Path, sums: Mapping[str, str]) -> None:
    """Raise CheckpointError if a file of an export has changed since it was written."""
    for name, expected in sums.items():
        if sha256(own_file(folder, name)) != expected:
            raise CheckpointError(f"{folder / name} is damaged; export again")


def own_file(folder: Path, name: str) -> Path:
    """The path of a file of an export.

    Raises:
        CheckpointError: it is not a regular file (reading a pipe might wait forever), or a link out
            of the folder.
    """
    file = inside(folder, name, "signature.json")
    if not file.is_file():
        raise CheckpointError(f"{folder}: is not an export: {name} is missing, or not a file")
    return file


def make_feature(
    fields: dict[str, Any], setting: FeatureSettings, checked: Collection[str], modules: Modules
) -> Feature:
    """A feature of a signature. The files that it reads must be among the ``checked`` ones.

    Raises CheckpointError for a class of the user's that cannot be had.
    """
    spec = FeatureSpec(fields.pop("kind"), fields, modules)
    try:
        for file in spec.files().values():
            if file not in checked:
                raise KeyError(f"no checksum of {file!r}")
        return spec.make(setting)
    except ConfigError as error:
        if not spec.is_custom:
            raise
        words = f"{setting.folder}: feature {fields['feature_name']!r}: {error}"
        raise CheckpointError(words) from error


def one_batch(table: pa.Table) -> pa.RecordBatch:
    """The rows of a table as one record batch, even if there are none."""
    batches = table.unify_dictionaries().combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
