"""The model as a torch.export program with named tensors in and out."""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tzmmoe import private_torch
from tzmmoe.batch import Inputs
from tzmmoe.errors import CheckpointError, lacks_memory
from tzmmoe.features.base import Layout
from tzmmoe.jagged import Jagged
from tzmmoe.models.rank import RankModel
from tzmmoe.serving import archive, memory, operators
from tzmmoe.serving.memory import CANNOT_RUN, Need, ProgramError
from tzmmoe.tasks.taskset import TaskSet

# What torch, zipfile and json raise for a damaged file, besides private_torch.violation().
UNREADABLE = (
    *(OSError, zipfile.BadZipFile, RuntimeError, ValueError, LookupError),
    *(TypeError, AttributeError, AssertionError, SyntaxError),
    *(ArithmeticError, RecursionError, MemoryError),
)
# What torch notes of a node for people: with it an export would show the paths of the machine.
NOTES = ("stack_trace", "nn_module_stack", "torch_fn", "source_fn_stack", "from_node", "custom")


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
            width: Jagged(
                inputs[f"ids_{width}"], inputs[f"lengths_{width}"], inputs.get(f"weights_{width}")
            )
            for width in self._layout.pooled
        }
        numbers = inputs.get("numbers")
        if numbers is None:
            lengths = next(iter(ids.values())).lengths
            numbers = torch.zeros(lengths.shape[0], 0, device=lengths.device)
        return self._tasks.predict(self.model(Inputs(ids, numbers)))


def program_inputs(inputs: Inputs, layout: Layout) -> dict[str, Tensor]:
    """The named tensors of a batch."""
    named: dict[str, Tensor] = {}
    for width, slots in layout.pooled.items():
        ids = inputs.ids[width]
        values, lengths, weights = ids.flat, ids.lengths, ids.weights
        if lengths is None:
            lengths = torch.ones_like(values.view(-1, len(slots)))
        named[f"ids_{width}"], named[f"lengths_{width}"] = values, lengths
        if layout.weighted(width):
            ones = torch.ones_like(values, dtype=torch.float32)
            named[f"weights_{width}"] = ones if weights is None else weights
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
    for width in layout.pooled:
        if f"weights_{width}" in sizes:
            sizes[f"weights_{width}"] = sizes[f"ids_{width}"]
    served = Served(model, tasks, layout).eval()
    program = torch.export.export(served, (example,), dynamic_shapes=(sizes,))
    _check_operators(program)
    program.example_inputs = None  # torch would pickle them into the file
    private_torch.drop_guards(program)  # Python, which nothing runs without example inputs
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            for note in NOTES:
                node.meta.pop(note, None)
    return program


def _check_operators(program: torch.export.ExportedProgram) -> None:
    """Raise CheckpointError for operators that ``load`` would refuse."""
    if faults := operators.faults_of(program):
        raise CheckpointError(
            f"the model cannot be exported: {'; '.join(faults)}; compute the same with others of "
            "torch's own operators (torch.ops.aten), which tzmmoe/serving/operators.py lists"
        )


def check_fit(
    program: torch.export.ExportedProgram, layout: Layout, outputs: Mapping[str, Any]
) -> Need:
    """Check a program against its signature, without taking any memory for it; what it needs.

    ``outputs``: as ``exporter.describe_outputs`` gives them.

    Raises:
        ProgramError: a call cannot be made with what the layout gives, the memory that it takes is
            out of proportion, or it has other outputs.
    """

    def inputs(num_rows: int) -> dict[str, Tensor]:
        ids = {}
        for width, slots in layout.pooled.items():
            lengths = torch.ones(num_rows, len(slots), dtype=torch.int64)
            values = torch.zeros(num_rows * len(slots), dtype=torch.int64)
            ids[width] = Jagged(values, lengths, torch.ones(num_rows * len(slots)))
        return program_inputs(Inputs(ids, torch.zeros(num_rows, layout.num_numbers)), layout)

    shapes, need = memory.shapes_of(program, inputs)
    found = {
        name: {
            "dtype": str(dtype).removeprefix("torch."),
            "shape": ["batch" if size == memory.MANY_ROWS else size for size in shape],
        }
        for name, (dtype, shape) in shapes.items()
    }
    for name in {**found, **outputs}:
        if found.get(name) != outputs.get(name):
            raise ProgramError(
                f"its output {name!r} is {found.get(name)}, and by signature.json it would be "
                f"{outputs.get(name)}"
            )
    if list(found) != list(outputs):
        raise ProgramError(
            f"its outputs come as {list(found)}, in signature.json as {list(outputs)}"
        )
    return need


def outputs_of(
    run: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
    inputs: Mapping[str, Tensor],
    num_rows: int,
) -> dict[str, Tensor]:
    """What a loaded program gives for the named tensors of a batch.

    Raises:
        ProgramError: it cannot compute them, or gives other rows. No program that ``check_fit``
            took does so unless it was made by hand, or its weights were.
    """
    try:
        outputs = run(inputs)
    except CANNOT_RUN as error:
        if lacks_memory(error):
            raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ProgramError(f"it cannot compute the outputs of these rows: {reason[0]}") from error
    for name, output in outputs.items():
        if output.shape[:1] != (num_rows,):
            shape = tuple(output.shape)
            words = f"its output {name!r} has the shape {shape} for {num_rows:,} rows"
            raise ProgramError(words)
    return outputs


def _example(layout: Layout) -> Inputs:
    """Four rows; features with several ids have two in the first row."""
    ids = {}
    for place, (width, slots) in enumerate(layout.pooled.items()):
        lengths = torch.ones(4, len(slots), dtype=torch.int64)
        lengths[0] += 1 + place  # so that no two widths have the same number of ids by chance
        values = torch.zeros(int(lengths.sum()), dtype=torch.int64)
        ids[width] = Jagged(values, lengths, torch.ones(len(values)))
    return Inputs(ids, torch.zeros(4, layout.num_numbers))


class Sink(io.FileIO):
    """A file for torch's writer, which ends the process when writing fails: so a failure waits."""

    failure: OSError | None = None

    def write(self, content: bytes) -> int:
        rest = memoryview(content)
        while rest and not self.failure:
            try:
                rest = rest[super().write(rest) :]
            except OSError as error:
                self.failure = error
        return len(content)


def save(program: torch.export.ExportedProgram, path: Path) -> None:
    """Write a program that ``load`` will accept.

    Raises:
        OSError: it could not be written.
        CheckpointError: it holds what ``archive.check`` refuses.
    """
    with Sink(path, "wb") as sink:
        torch.export.save(program, sink)
    if sink.failure:
        raise sink.failure
    archive.check(path)


def load(path: Path) -> torch.export.ExportedProgram:
    """Load a program that holds nothing that loading would unpickle or run.

    Raises:
        CheckpointError: the file cannot be read, or holds what ``archive.check`` refuses.
    """
    try:
        archive.check(path)
        program = torch.export.load(path)
        faults = operators.faults_of(program)
    except (*UNREADABLE, private_torch.violation()) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(f"{path}: cannot be loaded: {reason[0]}") from error
    if faults:
        raise CheckpointError(f"{path}: rejected, since it calls {faults[0]}; export it again")
    return program
