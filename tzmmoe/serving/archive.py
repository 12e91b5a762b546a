"""What a ``model.pt2`` may contain.

torch unpickles, imports and runs much of what it finds in such a file: pickled weights in several
layouts, sample inputs, script objects, compiled libraries, functions by name, formulas, and names
that it pastes into generated Python. So this is a list of what is known to be harmless, and
everything else is rejected, including whatever a later torch may add. For that reason
``program.save`` checks what it has written.
"""

import ast
import json
import re
import zipfile
from pathlib import Path

from tzmmoe.errors import CheckpointError

PROGRAM = "models/model.json"
SAMPLES = "data/sample_inputs/model.pt"
CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
RAW_TENSOR = re.compile(r"data/(weights/weight|constants/tensor)_\d{1,9}")
MARKS = (
    *("archive_format", "archive_version", "byteorder"),
    *(".data/version", ".data/serialization_id"),
)

# Operators on tensors, and arithmetic on sizes. aten's from_file would map any file of the machine.
OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?!from_file\b)\w+\.\w+|torch\.sym_\w+|math\.(ceil|floor|trunc)"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_|not_)"
)
WORD = re.compile(r"\w*")  # text that torch pastes into Python must be a single word
DOTTED = re.compile(r"[\w.+\-]*")
DOTTED_KEYS = {
    *("parameter_name", "buffer_name", "tensor_constant_name", "fqn", "torch_version"),
}
OPERATOR_KEYS = {"target", "as_operator"}
# Functions in the formula of a size. torch passes such formulas to sympy, which evaluates them as
# Python.
SIZE_FUNCTIONS = {
    *("Symbol", "Integer", "Rational", "Add", "Mul", "Pow", "Mod", "Max", "Min"),
    *("FloorDiv", "CeilDiv", "PythonMod", "IntTrueDiv", "Eq", "Ne", "Ge", "Gt", "Le", "Lt"),
}
SIZE_NODES = (
    *(ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant),
    *(ast.UnaryOp, ast.USub),
)
CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict"}


def check(path: Path) -> None:
    """Reject a program that contains anything but raw tensors and plain computations on them.

    Entries are read through torch's own reader, since a crafted file can show different entries to
    different readers. A file that Python's reader sees differently is rejected too, since torch
    falls back to that one.

    Raises:
        CheckpointError: names the first thing that is not allowed.
    """
    from torch.export.pt2_archive import PT2ArchiveReader  # takes seconds, and training imports us

    reader = PT2ArchiveReader(str(path))
    names = reader.get_file_names()
    with zipfile.ZipFile(path) as archive:
        entries = archive.namelist()
    root = entries[0].partition("/")[0]
    # As a set on torch's side only: an entry listed twice would otherwise look the same in both.
    if sorted(entries) != sorted(f"{root}/{name}" for name in set(names)):
        raise _rejected(path, "its list of entries", "can be read in two ways")
    for name in names:
        if name not in (PROGRAM, SAMPLES, *CONFIGS, *MARKS) and not RAW_TENSOR.fullmatch(name):
            raise _rejected(path, name, "is not part of an export")
    if reader.read_bytes(SAMPLES):  # empty if there are no sample inputs
        raise _rejected(path, SAMPLES, "would be unpickled")
    for name in CONFIGS:
        for tensor, entry in json.loads(reader.read_bytes(name))["config"].items():
            place = f"data/{name.split('/')[1]}/{entry['path_name']}"
            if entry["use_pickle"] or not RAW_TENSOR.fullmatch(place):
                raise _rejected(path, tensor, "would be unpickled")
            if not DOTTED.fullmatch(tensor):
                raise _rejected(path, repr(tensor), "is not a plain name")
            _check_value(path, "", entry)
    _check_value(path, "", json.loads(reader.read_bytes(PROGRAM)))


def _rejected(path: Path, what: str, why: str) -> CheckpointError:
    return CheckpointError(f"{path}: rejected, since {what} {why}; export the model again")


def _check_value(path: Path, key: str, value: object) -> None:
    """Check a value of the program's JSON and all it contains. Items of a list have its key."""
    if isinstance(value, dict):
        for name, part in value.items():
            _check_text(path, "", name)
            _check_value(path, name, part)
    elif isinstance(value, list):
        for part in value:
            _check_value(path, key, part)
    elif isinstance(value, str):
        _check_text(path, key, value)


def _check_text(path: Path, key: str, text: str) -> None:
    """Check a text by what torch does with the texts under its key."""
    if key in ("as_string", "as_strings"):  # arguments of operators, which torch quotes
        return
    if key in ("in_spec", "out_spec"):
        _check_tree(path, json.loads(text)[1])
    elif key in OPERATOR_KEYS:
        if not OPERATOR.fullmatch(text):
            raise _rejected(path, f"the call of {text!r}", "is not a computation on tensors")
    elif key == "expr_str":
        if not is_plain_formula(text):
            raise _rejected(path, f"the size {text!r}", "is not a plain formula")
    elif not (DOTTED if key in DOTTED_KEYS else WORD).fullmatch(text):
        raise _rejected(path, f"{key} {text!r}".lstrip(), "is not a plain name")


def _check_tree(path: Path, tree: dict) -> None:
    """Check how inputs and outputs are nested: built-in containers with plain names as keys."""
    context = json.loads(tree["context"] or "null")
    names = [] if context is None else context
    plain = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if tree["type"] not in CONTAINERS or not plain:
        raise _rejected(path, f"the container {tree['type']!r}", "is not a built-in one")
    for name in names:
        if not DOTTED.fullmatch(name):
            raise _rejected(path, repr(name), "is not a plain name")
    for part in tree["children_spec"]:
        _check_tree(path, part)


def is_plain_formula(text: str) -> bool:
    """Whether a text consists of nothing but numbers, symbols and calls of SIZE_FUNCTIONS."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError):
        return False
    # Node types alone are not enough: a call may call anything, a name may be a builtin, and sympy
    # parses a string argument, as in Symbol("s0"), as yet another formula.
    functions = [node.func for node in nodes if isinstance(node, ast.Call)]
    names = [node.id for node in nodes if isinstance(node, ast.Name) and node not in functions]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant)]
    return (
        all(isinstance(node, SIZE_NODES) for node in nodes)
        and all(isinstance(func, ast.Name) and func.id in SIZE_FUNCTIONS for func in functions)
        and all(re.fullmatch(r"[su]\d+", name) for name in names)
        and all(not isinstance(text, str) or re.fullmatch(r"\w+", text) for text in texts)
    )
