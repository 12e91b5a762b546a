"""A trained model -> a folder that scores rows without the config."""

import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tzmmoe import __version__
from tzmmoe.data.reading.files import Reading
from tzmmoe.errors import CheckpointError
from tzmmoe.features import Feature, FeatureSettings, FeatureSpec
from tzmmoe.features.base import Layout
from tzmmoe.features.lookup import find_file
from tzmmoe.models.rank import RankModel
from tzmmoe.serving import seal
from tzmmoe.serving.jsonfile import parsed
from tzmmoe.serving.memory import ProgramError
from tzmmoe.serving.program import check_fit, save, trace
from tzmmoe.serving.seal import Key
from tzmmoe.serving.signature import FORMAT, FORMAT_OF_SEVERAL, PROGRAM
from tzmmoe.system.digest import sha256
from tzmmoe.system.durable import check_writable, unwritable, written_aside
from tzmmoe.system.lock import BusyError
from tzmmoe.tasks.taskset import TaskSet

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportPart:
    """A program of an export: the outputs of ``tasks`` with the weights of ``step``, which
    ``restore`` puts into the model."""

    tasks: TaskSet
    step: int
    restore: Callable[[], object]


@dataclass(frozen=True)
class Export:
    """What goes into an export. ``helpers`` are features that only other features read. ``tasks``:
    those with outputs; what only other tasks of ``model`` need is left out.

    ``quality``: what training counted, as ``Quality.to_json`` gives it; None if it is not known.
    ``key``: what the export is signed with. ``parts``: its programs, each with some of the tasks;
    empty: one program of all tasks, with the weights that the model has.
    """

    model: RankModel
    tasks: TaskSet
    features: Sequence[Feature]
    helpers: Sequence[Feature]
    specs: Mapping[str, FeatureSpec]
    setting: FeatureSettings
    reading: Reading
    config: str
    quality: Mapping[str, Any] | None = None
    key: Key | None = None
    parts: Sequence[ExportPart] = ()

    def write(self, directory: Path) -> None:
        """Write ``model.pt2``, ``signature.json``, ``pipeline.config``, the vocabularies, and the
        checksums of all these.

        Raises:
            ConfigError, CheckpointError: the folder is not empty, or cannot be written.
        """
        check_directory(directory)
        try:
            with written_aside(directory) as folder:
                self._write_programs(folder)
                self._write_files(folder)
        except BusyError as error:
            words = f"{directory} is being written by {error}; wait for it, or choose another"
            raise CheckpointError(f"{words} --export_dir") from error
        except OSError as error:
            raise CheckpointError(unwritable(directory, error)) from error

    def _write_programs(self, folder: Path) -> None:
        if not self.parts:
            save(self._program(self.tasks), folder / PROGRAM)
        for name, part in self._named_parts().items():
            part.restore()
            save(self._program(part.tasks), folder / name)
            size_mb = (folder / name).stat().st_size / 1e6
            of = ", ".join(task.name for task in part.tasks.tasks)
            log.info("%s: %s with the weights of step %s, %.1f MB", name, of, part.step, size_mb)

    def _named_parts(self) -> dict[str, ExportPart]:
        """The parts by the names of their files."""
        numbered = enumerate(self.parts, 1)
        return {PROGRAM if n == 1 else f"model-{n}.pt2": part for n, part in numbered}

    def _program(self, tasks: TaskSet) -> torch.export.ExportedProgram:
        """Raises CheckpointError if classes of the user's are in it, and it cannot be traced."""
        try:
            model = self.model.cpu().serving(tasks.towers())
            program = trace(model, tasks, self._layout)
            check_fit(program, self._layout, describe_outputs(tasks))
            return program
        except ProgramError as error:
            raise CheckpointError(f"the model cannot be exported: {error}") from error
        except RuntimeError as error:
            losses = [loss for task in tasks.tasks for loss in task.losses.values()]
            kinds = {type(part) for part in (*self.model.modules(), *losses)}
            names = {f"{kind.__module__}.{kind.__qualname__}" for kind in kinds}
            foreign = sorted(
                name for name in names if name.split(".")[0] not in ("torch", "tzmmoe")
            )
            if not foreign:
                raise
            reason = str(error).strip().splitlines()[0]
            words = f"the model cannot be exported: tracing {', '.join(foreign)} fails: {reason}"
            raise CheckpointError(words) from error

    @property
    def _layout(self) -> Layout:
        return Layout.of(self.features)

    def _write_files(self, folder: Path) -> None:
        (folder / "pipeline.config").write_text(self.config, encoding="utf-8")
        signature = json.dumps(self._signature(folder), indent=1, ensure_ascii=False)
        try:
            parsed(signature.encode())
        except ValueError as error:  # a vocab_list of millions, or deep args
            raise CheckpointError(
                f"the model cannot be exported: signature.json {error}"
            ) from error
        (folder / "signature.json").write_text(signature, encoding="utf-8")
        seal.write(folder, self.key)

    def _signature(self, folder: Path) -> dict[str, Any]:
        setting = {k: v for k, v in asdict(self.setting).items() if k != "folder"}
        features, helpers = (
            [self._feature(feature.name, folder) for feature in part]
            for part in (self.features, self.helpers)
        )
        named = (feature.name for feature in (*self.features, *self.helpers))
        parts = self._named_parts()
        programs = [
            {"file": name, "step": part.step, "outputs": part.tasks.output_names()}
            for name, part in parts.items()
        ]
        read = [
            *(parts or [PROGRAM]),
            *(file for name in named for file in self._files(name).values()),
        ]
        return {
            "format": FORMAT_OF_SEVERAL if len(parts) > 1 else FORMAT,
            "tzmmoe": __version__,
            "checksums": seal.CHECKSUMS,
            "sha256": {name: sha256(folder / name) for name in read},
            "inputs": describe_inputs(self._layout),
            "outputs": describe_outputs(self.tasks),
            "setting": setting,
            "reading": asdict(self.reading),
            "features": features,
            "helpers": helpers,
            "training": self._training(),
            **({"programs": programs} if parts else {}),
        }

    def _training(self) -> dict[str, Any] | None:
        """What training counted of the features, and the types of the columns that they read."""
        if self.quality is None:
            return None
        origins = [o for feature in (*self.features, *self.helpers) for o in feature.origins]
        read = {origin.name for origin in origins if origin.kind == "column"}
        types = {name: kinds for name, kinds in self.quality["types"].items() if name in read}
        return {**self.quality, "types": types}

    def _feature(self, name: str, folder: Path) -> dict[str, Any]:
        spec = self.specs[name]
        files = self._files(name)
        for field, file in files.items():
            (folder / file).parent.mkdir(exist_ok=True)
            source = find_file(spec.files()[field], self.setting.folder, field)
            shutil.copyfile(source, folder / file)
        return spec.described(files)

    def _files(self, name: str) -> dict[str, str]:
        """The fields of a feature that name a file, and where it lies in the export: that of its
        ``vocab_file`` is ``vocab/NAME.txt``."""
        fields = self.specs[name].files()
        return {field: f"{field.removesuffix('_file')}/{name}.txt" for field in fields}


def check_directory(directory: Path) -> None:
    """Refuse a folder for an export that is not empty, or cannot be made.

    Raises:
        ConfigError, CheckpointError
    """
    if directory.is_dir() and any(directory.iterdir()):
        raise CheckpointError(f"{directory} already exists; choose another --export_dir")
    check_writable(directory, "--export_dir", is_folder=True)


def describe_inputs(layout: Layout) -> dict[str, Any]:
    """Name, type and shape of the program's inputs, and the features in them, in order."""
    described: dict[str, Any] = {}
    for width, slots in layout.pooled.items():
        names = [slot.feature.name for slot in slots]
        described[f"ids_{width}"] = {
            "dtype": "int64",
            "shape": [f"num_ids_{width}"],
            "features": names,
            "rows": [slot.feature.table.rows for slot in slots],
            "order": "the ids of row 0's features, one feature after the other, then of row 1's; "
            "an id lies within [0, rows) of its feature",
        }
        described[f"lengths_{width}"] = {
            "dtype": "int64",
            "shape": ["batch", len(names)],
            "features": names,
            "order": "how many ids each feature has in each row",
        }
        if layout.weighted(width):
            described[f"weights_{width}"] = {
                "dtype": "float32",
                "shape": [f"num_ids_{width}"],
                "features": names,
                "order": f"a factor for each of ids_{width}, 1 where the feature has none",
            }
    if layout.num_numbers:
        described["numbers"] = {
            "dtype": "float32",
            "shape": ["batch", layout.num_numbers],
            "features": [slot.feature.name for slot in layout.numbers],
            "sizes": [slot.width for slot in layout.numbers],
            "order": "the numbers of each feature side by side, as many as its size",
        }
    return described


def describe_outputs(tasks: TaskSet) -> dict[str, Any]:
    widths = {
        f"{kind}_{task.name}": 1 if kind == "probs1" else task.num_class
        for task in tasks.tasks
        for kind in task.outputs()
    }
    return {
        name: {"dtype": "float32", "shape": ["batch"] + [width] * (width > 1)}
        for name, width in (widths | tasks.further).items()
    }
