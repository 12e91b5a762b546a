"""The model as a torch.export program with named tensors in and out."""

import ast
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from tzmmoe.batch import Inputs, Ragged
from tzmmoe.errors import CheckpointError
from tzmmoe.features.layout import Layout
from tzmmoe.models import RankModel
from tzmmoe.tasks import TaskSet

# What the formula of a size may call; torch hands such formulas to sympy, which evaluates them.
SIZE_FUNCTIONS = {
    *("Symbol", "Integer", "Rational", "Add", "Mul", "Pow", "Mod", "Max", "Min"),
    *("FloorDiv", "CeilDiv", "PythonMod", "IntTrueDiv", "Eq", "Ne", "Ge", "Gt", "Le", "Lt"),
}
SIZE_NODES = (ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword)


class Served(nn.Module):
    """Encoded ids and numbers in, ``logits_``, ``probs_`` and ``y_`` out.

    For each embedding width w: ``ids_w`` (N,) int64, ``lengths_w`` (B, F) int64 with the number of
    ids of each feature, and ``weights_w`` (N,) float32 if a feature is weighted. ``numbers`` (B, R)
    float32 if there are any.
    """

    def __init__(self, model: RankModel, tasks: TaskSet, layout: Layout) -> None:
        super().__init__()
        self.model = model
        self._tasks = tasks
        self._layout = layout

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        ids = {
            width: Ragged(
                inputs[f"ids_{width}"], inputs[f"lengths_{width}"], inputs.get(f"weights_{width}")
            )
            for width in self._layout.ids
        }
        numbers = inputs.get("numbers")
        if numbers is None:
            lengths = next(iter(ids.values())).lengths
            numbers = torch.zeros(lengths.shape[0], 0, device=lengths.device)
        return self._tasks.predict(self.model(Inputs(ids, numbers)))


def program_inputs(inputs: Inputs, layout: Layout) -> dict[str, Tensor]:
    """The named tensors of a batch."""
    named: dict[str, Tensor] = {}
    for width, features in layout.ids.items():
        ids = inputs.ids[width]
        lengths = ids.lengths
        if lengths is None:
            lengths = torch.ones_like(ids.values.view(-1, len(features)))
        named[f"ids_{width}"], named[f"lengths_{width}"] = ids.values, lengths
        if any(feature.weighted for feature in features):
            weights = ids.weights
            named[f"weights_{width}"] = (
                torch.ones_like(ids.values, dtype=torch.float32) if weights is None else weights
            )
    if layout.num_numbers:
        named["numbers"] = inputs.numbers
    return named


def trace(model: RankModel, tasks: TaskSet, layout: Layout) -> torch.export.ExportedProgram:
    """The program, for any number of rows and ids. The model must be on the CPU."""
    example = program_inputs(_example(layout), layout)
    batch = torch.export.Dim("batch")
    sizes = {
        name: {0: batch if tensor.dim() == 2 else torch.export.Dim(f"num_{name}")}
        for name, tensor in example.items()
    }
    for width in layout.ids:
        if f"weights_{width}" in sizes:
            sizes[f"weights_{width}"] = sizes[f"ids_{width}"]
    served = Served(model, tasks, layout).eval()
    program = torch.export.export(served, (example,), dynamic_shapes=(sizes,))
    program.example_inputs = None  # torch would pickle them into the file
    return program


def _example(layout: Layout) -> Inputs:
    """Four rows; features with several ids have two in the first row."""
    ids = {}
    for place, (width, features) in enumerate(layout.ids.items()):
        lengths = torch.ones(4, len(features), dtype=torch.int64)
        lengths[0] += 1 + place  # so that no two widths have the same number of ids by chance
        values = torch.zeros(int(lengths.sum()), dtype=torch.int64)
        ids[width] = Ragged(values, lengths, torch.ones(len(values)))
    return Inputs(ids, torch.zeros(4, layout.num_numbers))


def load(path: Path) -> torch.export.ExportedProgram:
    """Load a program that holds nothing pickled.

    Raises:
        CheckpointError: the file cannot be read, or holds what loading would unpickle or run.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_pickles(path, archive)
        return torch.export.load(path)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: cannot be loaded: {error}") from error


def _refuse_pickles(path: Path, archive: zipfile.ZipFile) -> None:
    """torch.export.load unpickles sample inputs and some constants; a program here has none."""
    for entry in archive.infolist():
        name = entry.filename.partition("/")[2]
        inputs = name.startswith("data/sample_inputs/") and entry.file_size
        if inputs or name.endswith((".pkl", ".pickle")):
            raise CheckpointError(f"{path}: {entry.filename} would be unpickled; it is refused")
        if not name.endswith("_config.json"):
            continue
        for tensor, facts in json.loads(archive.read(entry))["config"].items():
            if facts.get("use_pickle") or not facts["path_name"].startswith(("weight_", "tensor_")):
                raise CheckpointError(f"{path}: {tensor} would be unpickled; it is refused")
    for entry in archive.namelist():
        if entry.partition("/")[2].startswith("models/"):
            _refuse_formulas(path, json.loads(archive.read(entry)))


def _refuse_formulas(path: Path, node: object) -> None:
    """torch evaluates the formulas of sizes; only arithmetic is let through."""
    if isinstance(node, dict):
        text = node.get("expr_str")
        if isinstance(text, str) and not _is_plain_formula(text):
            raise CheckpointError(f"{path}: the size {text!r} is no plain formula; it is refused")
        for value in node.values():
            _refuse_formulas(path, value)
    elif isinstance(node, list):
        for value in node:
            _refuse_formulas(path, value)


def _is_plain_formula(text: str) -> bool:
    """Whether a text is made of numbers, symbols and SIZE_FUNCTIONS alone."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except SyntaxError:
        return False
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    known = all(isinstance(func, ast.Name) and func.id in SIZE_FUNCTIONS for func in calls)
    names = [node.id for node in nodes if isinstance(node, ast.Name) and node not in calls]
    plain = all(re.fullmatch(r"[su]\d+", name) for name in names)
    words = [node.value for node in nodes if isinstance(node, ast.Constant)]
    short = all(not isinstance(word, str) or re.fullmatch(r"\w+", word) for word in words)
    return known and plain and short and all(isinstance(node, SIZE_NODES) for node in nodes)
