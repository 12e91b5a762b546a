"""What someone may plant in the file of a program; each plant makes a folder when it runs."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

PROGRAM = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"
Entries = dict[str, bytes]


class Plant:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.mark),)


def entries_of(file: Path) -> Entries:
    with zipfile.ZipFile(file) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def write(entries: Entries, file: Path, root: str = "model/") -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            archive.writestr(root + name, content)
    return file


def saved(mark: Path) -> bytes:
    """As torch.save writes it."""
    buffer = io.BytesIO()
    torch.save({"state": Plant(mark)}, buffer)
    return buffer.getvalue()


def edit(entries: Entries, name: str, change: Callable[[dict], object]) -> None:
    content = json.loads(entries[name])
    change(content)
    entries[name] = json.dumps(content).encode()


def planted(plant: Callable, good: Path, mark: Path, folder: Path) -> Path:
    """A copy of a good program, with a plant in it."""
    entries = entries_of(good)
    plant(entries, mark)
    return write(entries, folder / "model.pt2")


def sample_inputs(entries: Entries, mark: Path) -> None:
    entries["data/sample_inputs/model.pt"] = saved(mark)


def sample_inputs_in_other_case(entries: Entries, mark: Path) -> None:
    """torch finds entries whatever the case of their names."""
    del entries["data/sample_inputs/model.pt"]
    entries["data/Sample_Inputs/MODEL.pt"] = saved(mark)


def pickled_weight(entries: Entries, mark: Path) -> None:
    def change(content: dict) -> None:
        next(iter(content["config"].values()))["use_pickle"] = True

    edit(entries, WEIGHTS, change)
    entries["data/weights/weight_0"] = saved(mark)


def pickled_constant(entries: Entries, mark: Path) -> None:
    def change(content: dict) -> None:
        next(iter(content["config"].values()))["use_pickle"] = True

    edit(entries, CONSTANTS, change)
    entries["data/constants/tensor_0"] = saved(mark)


def opaque_constant(entries: Entries, mark: Path) -> None:
    facts = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True}
    facts["tensor_meta"] = None
    edit(entries, CONSTANTS, lambda content: content["config"].update(planted=facts))
    entries["data/constants/opaque_obj_0"] = pickle.dumps(Plant(mark))


def weights_of_an_older_layout(entries: Entries, mark: Path) -> None:
    entries["data/weights/model.pt"] = saved(mark)


def constants_of_an_older_layout(entries: Entries, mark: Path) -> None:
    entries["data/constants/model.pt"] = saved(mark)


def container_of_an_imported_type(entries: Entries, mark: Path) -> None:
    """torch imports the module of an enum that a container's keys name."""
    (mark.parent / "planted_module.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    enum = {"__enum__": True, "fqn": "planted_module:Missing", "name": "missing"}

    def change(content: dict) -> None:
        signature = content["graph_module"]["module_call_graph"][0]["signature"]
        size, tree = json.loads(signature["out_spec"])
        tree["context"] = json.dumps([enum])
        signature["out_spec"] = json.dumps([size, tree])

    edit(entries, PROGRAM, change)


def size_that_is_a_call(entries: Entries, mark: Path) -> None:
    def change(content: dict) -> None:
        sizes = content["graph_module"]["graph"]["sym_int_values"]
        text = f"__import__('os').mkdir('{mark}')"
        next(iter(sizes.values()))["as_expr"]["expr_str"] = text

    edit(entries, PROGRAM, change)


RUN_BY_TORCH = [
    sample_inputs,
    sample_inputs_in_other_case,
    pickled_weight,
    pickled_constant,
    opaque_constant,
    weights_of_an_older_layout,
    constants_of_an_older_layout,
    container_of_an_imported_type,
    size_that_is_a_call,
]


def older_layout(entries: Entries, mark: Path) -> Entries:
    """As torch wrote programs before it had folders in them."""
    return {
        "version": b"8.20",
        "serialized_exported_program.json": entries[PROGRAM],
        "serialized_state_dict.pt": saved(mark),
        "serialized_constants.pt": saved(mark),
        "serialized_example_inputs.pt": b"",
    }


def script_object(entries: Entries, mark: Path) -> None:
    facts = {"path_name": "custom_obj_0", "is_param": False, "use_pickle": True}
    facts["tensor_meta"] = None
    edit(entries, CONSTANTS, lambda content: content["config"].update(planted=facts))
    entries["data/constants/custom_obj_0"] = saved(mark)


def script_object_that_calls_itself_raw(entries: Entries, mark: Path) -> None:
    script_object(entries, mark)
    edit(entries, CONSTANTS, lambda c: c["config"]["planted"].update(use_pickle=False))


def compiled_library(entries: Entries, mark: Path) -> None:
    entries["data/aotinductor/model/model.so"] = b"\x7fELF"


def extra_file(entries: Entries, mark: Path) -> None:
    entries["extra/notes.txt"] = b"harmless, but no part of an export"


def call_of_any_function(entries: Entries, mark: Path) -> None:
    call = {
        "target": "torch.os.mkdir",
        "inputs": [{"name": "", "arg": {"as_string": str(mark)}, "kind": 1}],
        "outputs": [{"as_none": True}],
        "metadata": {},
        "name": "planted",
        "is_hop_single_tensor_return": None,
    }
    edit(entries, PROGRAM, lambda c: c["graph_module"]["graph"]["nodes"].insert(0, call))


def call_that_reads_a_file(entries: Entries, mark: Path) -> None:
    def change(content: dict) -> None:
        node = content["graph_module"]["graph"]["nodes"][0]
        node["target"] = "torch.ops.aten.from_file.default"

    edit(entries, PROGRAM, change)


def guard(entries: Entries, mark: Path) -> None:
    """torch compiles these as Python."""
    code = f"__import__('os').mkdir({str(mark)!r})"
    edit(entries, PROGRAM, lambda content: content.update(guards_code=[code]))


def name_that_is_a_statement(entries: Entries, mark: Path) -> None:
    """torch pastes the names of values into the Python that it makes."""
    node = json.loads(entries[PROGRAM])["graph_module"]["graph"]["nodes"][-1]["name"]
    planted = f"x = __import__('os').mkdir('{mark}'); {node}"
    text = entries[PROGRAM].decode().replace(json.dumps(node), json.dumps(planted))
    entries[PROGRAM] = text.encode()


def argument_that_is_an_expression(entries: Entries, mark: Path) -> None:
    def change(content: dict) -> None:
        signature = content["graph_module"]["module_call_graph"][0]["signature"]
        signature["forward_arg_names"] = [f"inputs=__import__('os').mkdir('{mark}')"]

    edit(entries, PROGRAM, change)


def weight_in_another_folder(entries: Entries, mark: Path) -> None:
    def change(content: dict) -> None:
        next(iter(content["config"].values()))["path_name"] = "../sample_inputs/model.pt"

    edit(entries, WEIGHTS, change)


REFUSED = [
    script_object,
    script_object_that_calls_itself_raw,
    compiled_library,
    extra_file,
    call_of_any_function,
    call_that_reads_a_file,
    guard,
    name_that_is_a_statement,
    argument_that_is_an_expression,
    weight_in_another_folder,
]
