"""What a ``model.pt2`` may hold.

torch unpickles, imports and runs much of what it finds in such a file: pickled weights of several
layouts, sample inputs, script objects, compiled libraries, functions by their names, formulas, and
names that it pastes into Python. So everything that is not known to be harmless is refused, also
what a later torch may add; ``program.save`` therefore checks what it wrote.
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

# Calls that compute on tensors, and arithmetic on sizes.
OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?!from_file\b)\w+\.\w+|torch\.sym_\w+|math\.(ceil|floor|trunc)"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_|not_)"
)
WORD = re.compile(r"\w*")  # what is pasted into Python must be one word
DOTTED = re.compile(r"[\w.+\-]*")
DOTTED_KEYS = {
    *("parameter_name", "buffer_name", "tensor_constant_name", "fqn", "torch_version"),
}
OPERATOR_KEYS = {"target", "as_operator"}
# What the formula of a size may call; torch hands such formulas to sympy, which evaluates them.
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
    """Refuse a program that holds anything but raw tensors and plain computations on them.

    The entries are looked at through torch's own reader, since another one may see other entries
    in a file that was made for it; where the two differ the file is refused too.

    Raises:
        CheckpointError: with the first thing that is refused.
    """
    from torch.export.pt2_archive import PT2ArchiveReader  # takes seconds; training imports us too

    reader = PT2ArchiveReader(str(path))
    names = reader.get_file_names()
    with zipfile.ZipFile(path) as archive:
        found = archive.namelist()
    root = found[0].partition("/")[0]
    if sorted(found) != sorted(f"{root}/{name}" for name in set(names)):
        raise _refused(path, "its list of entries", "can be read in two ways")
    for name in names:
        if name not in (PROGRAM, SAMPLES, *CONFIGS, *MARKS) and not RAW_TENSOR.fullmatch(name):
            raise _refused(path, name, "is no part of an export")
    if reader.read_bytes(SAMPLES):
        raise _refused(path, SAMPLES, "would be unpickled")
    for name in CONFIGS:
        for tensor, facts in json.loads(reader.read_bytes(name))["config"].items():
            place = f"data/{name.split('/')[1]}/{facts['path_name']}"
            if facts["use_pickle"] or not RAW_TENSOR.fullmatch(place):
                raise _refused(path, tensor, "would be unpickled")
            if not DOTTED.fullmatch(tensor):
                raise _refused(path, repr(tensor), "is no name")
            _check_value(path, "", facts)
    _check_value(path, "", json.loads(reader.read_bytes(PROGRAM)))


def _refused(path: Path, what: str, why: str) -> CheckpointError:
    return CheckpointError(f"{path}: {what} {why}; it is refused")


def _check_value(path: Path, key: str, value: object) -> None:
    """A value of the program's JSON, with all below it. ``key`` is its name, a list's for items."""
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
    if key in ("as_string", "as_strings"):  # arguments of operators, which torch quotes
        return
    if key in ("in_spec", "out_spec"):
        _check_tree(path, json.loads(text)[1])
    elif key in OPERATOR_KEYS:
        if not OPERATOR.fullmatch(text):
            raise _refused(path, f"the call of {text!r}", "is no computation on tensors")
    elif key == "expr_str":
        if not is_plain_formula(text):
            raise _refused(path, f"the size {text!r}", "is no plain formula")
    elif not (DOTTED if key in DOTTED_KEYS else WORD).fullmatch(text):
        raise _refused(path, f"{key} {text!r}".lstrip(), "is no name")


def _check_tree(path: Path, tree: dict) -> None:
    """How inputs and outputs are nested: plain containers, and the names in them."""
    context = json.loads(tree["context"] or "null")
    names = [] if context is None else context
    plain = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if tree["type"] not in CONTAINERS or not plain:
        raise _refused(path, f"the container {tree['type']!r}", "is no plain one")
    for name in names:
        if not DOTTED.fullmatch(name):
            raise _refused(path, repr(name), "is no name")
    for part in tree["children_spec"]:
        _check_tree(path, part)


def is_plain_formula(text: str) -> bool:
    """Whether a text is made of numbers, symbols and SIZE_FUNCTIONS alone."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError):
        return False
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    known = all(isinstance(func, ast.Name) and func.id in SIZE_FUNCTIONS for func in calls)
    names = [node.id for node in nodes if isinstance(node, ast.Name) and node not in calls]
    plain = all(re.fullmatch(r"[su]\d+", name) for name in names)
    words = [node.value for node in nodes if isinstance(node, ast.Constant)]
    short = all(not isinstance(word, str) or re.fullmatch(r"\w+", word) for word in words)
    return known and plain and short and all(isinstance(node, SIZE_NODES) for node in nodes)
