"""What a ``model.pt2`` may contain.

torch unpickles, imports and runs much of what it finds in such a file: pickled weights in several
layouts, sample inputs, script objects, compiled libraries, functions by name, formulas, and names
that it pastes into generated Python. So this is a list of what is known to be harmless, and
everything else is rejected, including whatever a later torch may add. For that reason
``program.save`` checks what it has written. ``operators.py`` says what a program may call, and
``memory.py`` how much memory it may take.
"""

import ast
import re
from math import prod
from pathlib import Path
from typing import Any

from tzmmoe import private_torch
from tzmmoe.serving import operators
from tzmmoe.serving.jsonfile import parsed
from tzmmoe.serving.zipped import entries_of, rejected

PROGRAM = "models/model.json"
SAMPLES = "data/sample_inputs/model.pt"
CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
RAW_TENSOR = re.compile(r"data/(weights/weight|constants/tensor)_\d{1,9}")
MARKS = (
    *("archive_format", "archive_version", "byteorder"),
    *(".data/version", ".data/serialization_id"),
)

WORD = re.compile(r"\w*")  # text that torch pastes into Python must be a single word
DOTTED = re.compile(r"[\w.+\-]*")
DOTTED_KEYS = {
    *("parameter_name", "buffer_name", "tensor_constant_name", "fqn", "torch_version"),
}
# Texts that an operator takes: a formula of einsum, or a word.
ARGUMENT = re.compile(r"[\w ,.>\-]{0,200}")
# Functions in the formula of a size. torch passes such formulas to sympy, which evaluates them as
# Python. A power could take all the memory and time that there is.
SIZE_FUNCTIONS = {
    *("Symbol", "Integer", "Rational", "Add", "Mul", "Mod", "Max", "Min"),
    *("FloorDiv", "CeilDiv", "PythonMod", "IntTrueDiv", "Eq", "Ne", "Ge", "Gt", "Le", "Lt"),
}
SIZE_NODES = (
    *(ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant),
    *(ast.UnaryOp, ast.USub),
)
LONGEST_FORMULA = 2_000  # characters
CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict"}
# Bytes of a number by torch's numbers for its types: integers and floats of usual widths, bool.
TYPES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 12: 1, 13: 2}
# What a program's inputs and outputs may be: nothing that is changed by being read.
INPUTS = {"parameter", "buffer", "tensor_constant", "user_input"}
OUTPUTS = {"user_output"}


def check(path: Path) -> None:
    """Reject a program that contains anything but raw tensors and plain computations on them.

    Entries are read through torch's own reader, since a crafted file can show different entries to
    different readers. A file that Python's reader sees differently is rejected too, since torch
    falls back to that one.

    Raises:
        CheckpointError: names the first thing that is not allowed.
    """
    entries = entries_of(path)
    reader = private_torch.archive_reader(path)
    names = reader.get_file_names()
    root = entries[0].partition("/")[0]
    # As a set on torch's side only: an entry listed twice would otherwise look the same in both.
    if sorted(entries) != sorted(f"{root}/{name}" for name in set(names)):
        raise rejected(path, "its list of entries", "can be read in two ways")
    for name in names:
        if name not in (PROGRAM, SAMPLES, *CONFIGS, *MARKS) and not RAW_TENSOR.fullmatch(name):
            raise rejected(path, name, "is not part of an export")
    if reader.read_bytes(SAMPLES):  # empty if there are no sample inputs
        raise rejected(path, SAMPLES, "would be unpickled")
    for name in CONFIGS:
        for tensor, entry in _json(reader, name)["config"].items():
            place = f"data/{name.split('/')[1]}/{entry['path_name']}"
            if entry["use_pickle"] or not RAW_TENSOR.fullmatch(place):
                raise rejected(path, tensor, "would be unpickled")
            if not DOTTED.fullmatch(tensor):
                raise rejected(path, repr(tensor), "is not a plain name")
            _check_tensor(path, tensor, entry["tensor_meta"], reader.archive_file, place)
            _check_value(path, "", entry)
    program = _json(reader, PROGRAM)
    _check_graph(path, program["graph_module"])
    _check_value(path, "", program)


def _json(reader: Any, name: str) -> Any:
    try:
        return parsed(reader.read_bytes(name))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _check_tensor(path: Path, name: str, facts: dict, archive: Any, place: str) -> None:
    """A raw tensor has no more numbers than its bytes hold, and lies on the CPU."""
    sizes = [size["as_int"] for size in facts["sizes"]]
    number_bytes = TYPES.get(facts["dtype"])
    if number_bytes is None or facts["device"]["type"] != "cpu":
        raise rejected(path, repr(name), "is not a plain tensor of the CPU")
    if min(sizes, default=0) < 0 or prod(sizes) * number_bytes > archive.get_record_size(place):
        raise rejected(path, repr(name), f"claims sizes {sizes}, more than {place} holds")


def _check_graph(path: Path, module: dict) -> None:
    """Check the kinds of inputs and outputs, and the operators with the kinds of their arguments.

    Values of arguments are checked in the loaded program, by ``operators.faults_of``.
    """
    signature, graph = module["signature"], module["graph"]
    for specs, kinds in (("input_specs", INPUTS), ("output_specs", OUTPUTS)):
        for spec in signature[specs]:
            if not spec.keys() <= kinds:
                raise rejected(path, f"its {' '.join(spec)}", "is not one that an export has")
    if graph.get("custom_obj_values"):
        raise rejected(path, "an object of it", "is not a tensor")
    for node in graph["nodes"]:
        name = node["target"]
        if name not in operators.ALL:
            why = "is not on the list of operators that an export may call"
            raise rejected(path, f"the call of {name!r}", why)
        given = [key for each in node["inputs"] for key in each["arg"]]
        made = [key for each in node["outputs"] for key in each]
        for kinds, allowed in ((given, operators.KINDS), (made, operators.RESULTS)):
            for kind in kinds:
                if kind not in allowed:
                    why = f"takes or gives {kind}, which no operator of an export does"
                    raise rejected(path, f"the call of {name!r}", why)


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
    if key == "as_string":  # an argument of an operator, which torch quotes
        if not ARGUMENT.fullmatch(text):
            raise rejected(path, f"the argument {text[:80]!r}", "is not a word or a formula")
        return
    if key in ("in_spec", "out_spec"):
        _check_tree(path, parsed(text.encode())[1])
    elif key == "target":
        if text not in operators.ALL:
            raise rejected(path, f"the call of {text!r}", "is not one that an export may make")
    elif key == "expr_str":
        if not is_plain_formula(text):
            raise rejected(path, f"the size {text!r}", "is not a plain formula")
    elif not (DOTTED if key in DOTTED_KEYS else WORD).fullmatch(text):
        raise rejected(path, f"{key} {text!r}".lstrip(), "is not a plain name")


def _check_tree(path: Path, tree: dict) -> None:
    """Check how inputs and outputs are nested: built-in containers with plain names as keys."""
    context = parsed((tree["context"] or "null").encode())
    names = [] if context is None else context
    plain = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if tree["type"] not in CONTAINERS or not plain:
        raise rejected(path, f"the container {tree['type']!r}", "is not a built-in one")
    for name in names:
        if not DOTTED.fullmatch(name):
            raise rejected(path, repr(name), "is not a plain name")
    for part in tree["children_spec"]:
        _check_tree(path, part)


def is_plain_formula(text: str) -> bool:
    """Whether a text consists of nothing but numbers, symbols and calls of SIZE_FUNCTIONS."""
    if len(text) > LONGEST_FORMULA:
        return False
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
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
