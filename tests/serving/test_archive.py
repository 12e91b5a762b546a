"""Loading a program runs nothing that someone planted in its file.

Each plant makes a folder when it runs. Where torch by itself runs it, the test shows that first,
so that a plant which does nothing cannot pass for one that was refused.
"""

import io
import json
import os
import pickle
import struct
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from serving.small import Small, random_inputs
from torch.export.pt2_archive import PT2ArchiveReader

from tzmmoe.errors import CheckpointError
from tzmmoe.serving.archive import is_plain_formula
from tzmmoe.serving.program import load, program_inputs, save, trace

PROGRAM = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"
Entries = dict[str, bytes]
FEATURE = 'id_feature { feature_name: "one" num_buckets: 5 embedding_dim: 2 }'


class Plant:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.mark),)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return Small.build(tmp_path_factory.mktemp("small"), [FEATURE], names=["one"])


@pytest.fixture(scope="module")
def good(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("good") / "model.pt2"
    built = small.session.built
    save(trace(built.model, built.tasks, small.layout), file)
    return file


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The folder that a plant makes."""
    return tmp_path / "it_ran"


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


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("planted_module", None)


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize("plant", RUN_BY_TORCH, ids=lambda plant: plant.__name__)
def test_what_torch_would_run_is_refused_and_does_not_run(
    plant: Callable, good: Path, mark: Path, tmp_path: Path
) -> None:
    entries = entries_of(good)
    plant(entries, mark)
    file = write(entries, tmp_path / "model.pt2")
    with pytest.raises(CheckpointError, match="is refused"):
        load(file)
    assert not mark.exists()
    torch_runs_it(file)
    assert mark.is_dir(), "the plant does nothing; this test would prove nothing"


def torch_runs_it(file: Path) -> None:
    """Load a file without our check, whatever comes of it."""
    with warnings.catch_warnings(), suppress(Exception):
        warnings.simplefilter("ignore")
        torch.export.load(file)


def older_layout(entries: Entries, mark: Path) -> Entries:
    """As torch wrote programs before it had folders in them."""
    return {
        "version": b"8.20",
        "serialized_exported_program.json": entries[PROGRAM],
        "serialized_state_dict.pt": saved(mark),
        "serialized_constants.pt": saved(mark),
        "serialized_example_inputs.pt": b"",
    }


def test_the_layout_of_older_versions_is_refused(good: Path, mark: Path, tmp_path: Path) -> None:
    """torch falls back to it by itself, and unpickles what it holds."""
    file = write(older_layout(entries_of(good), mark), tmp_path / "model.pt2", root="")
    with pytest.raises(CheckpointError, match=r"model\.pt2: cannot be loaded"):
        load(file)
    assert not mark.exists()
    torch_runs_it(file)
    assert mark.is_dir()


def test_a_file_that_two_readers_read_differently_is_refused(
    good: Path, mark: Path, tmp_path: Path
) -> None:
    """torch reads a file with its own reader, and, if that fails, with Python's."""
    entries = entries_of(good)
    older = older_layout(entries, mark)

    def change(content: dict) -> None:
        content["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.aten.missing.default"

    edit(entries, PROGRAM, change)  # so that torch's own reader fails late
    first = write(entries, tmp_path / "first.pt2").read_bytes()
    second = write(older, tmp_path / "second.pt2", root="").read_bytes()
    file = tmp_path / "model.pt2"
    file.write_bytes(two_in_one(first, second))
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == list(older)
    assert PROGRAM in PT2ArchiveReader(str(file)).get_file_names()
    with pytest.raises(CheckpointError, match="two ways"):
        load(file)
    assert not mark.exists()
    torch_runs_it(file)
    assert mark.is_dir()


END = struct.Struct("<4s4H2LH")  # the last record of a zip file: what, 4 counts, size, offset, 0


def two_in_one(first: bytes, second: bytes) -> bytes:
    """A zip file in which a reader that trusts the offset of the directory of names finds that of
    ``first``, and one that looks before the last record, as Python does, finds that of ``second``.
    """
    counts, size, offset = _end(first)
    _, own_size, own_offset = _end(second)
    directory = bytearray(second[own_offset:][:own_size])
    at, place = len(first) - END.size, 0
    moved = at + own_offset - offset  # what Python will add to the places of the entries
    while place < own_size:
        start = struct.unpack_from("<L", directory, place + 42)[0]
        struct.pack_into("<L", directory, place + 42, at + start - moved)
        last, place = place, place + 46 + sum(struct.unpack_from("<3H", directory, place + 28))
    struct.pack_into("<H", directory, last + 32, size - own_size)  # a comment as padding
    directory += b" " * (size - own_size)
    end = END.pack(b"PK\5\6", 0, 0, counts, counts, size, offset, 0)
    return first[:at] + second[:own_offset] + bytes(directory) + end


def _end(content: bytes) -> tuple[int, int, int]:
    """Entries, and size and offset of the directory."""
    _, _, _, counts, _, size, offset, _ = END.unpack(content[-END.size :])
    return counts, size, offset


def test_a_name_that_is_there_twice_is_refused(good: Path, mark: Path, tmp_path: Path) -> None:
    file = tmp_path / "twice.pt2"
    file.write_bytes(good.read_bytes())
    with zipfile.ZipFile(file, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/data/sample_inputs/model.pt", saved(mark))
    with pytest.raises(CheckpointError, match="two ways"):
        load(file)
    assert not mark.exists()


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


@pytest.mark.parametrize("plant", REFUSED, ids=lambda plant: plant.__name__)
def test_what_no_export_holds_is_refused(
    plant: Callable, good: Path, mark: Path, tmp_path: Path
) -> None:
    entries = entries_of(good)
    plant(entries, mark)
    file = write(entries, tmp_path / "model.pt2")
    with pytest.raises(CheckpointError, match="is refused") as refused:
        load(file)
    assert str(file) in str(refused.value)
    assert not mark.exists()


def test_the_same_file_loads_when_nothing_was_planted(
    small: Small, good: Path, tmp_path: Path
) -> None:
    """So it is the plants that are refused, not files that were packed anew."""
    program = load(write(entries_of(good), tmp_path / "model.pt2"))
    inputs = random_inputs(small.layout, 3, 2)
    found = program.module()(program_inputs(inputs, small.layout))
    assert torch.equal(found["logits_ctr"], small.outputs(inputs)["logits_ctr"])


def test_loading_looks_up_no_class_of_a_pickle(good: Path) -> None:
    """Python tells its audit hooks of every class that an unpickler looks up, in C or not."""
    found: list[tuple] = []

    def watch(event: str, arguments: tuple) -> None:
        if event == "pickle.find_class":
            found.append(arguments)

    sys.addaudithook(watch)
    load(good)
    assert not found
    pickle.loads(pickle.dumps(Path("watched")))
    assert found


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99], ids=lambda keep: f"first {keep}")
def test_a_file_that_was_cut_short_is_an_error_with_its_name(
    keep: float, good: Path, tmp_path: Path
) -> None:
    content = good.read_bytes()
    file = tmp_path / "model.pt2"
    file.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    with pytest.raises(CheckpointError, match=r"model\.pt2: cannot be loaded"):
        load(file)


DAMAGES = {
    "missing": None,
    "empty": b"",
    "no JSON": b"\xff{",
    "other JSON": b'{"config": {"a": 1}}',
}


@pytest.mark.parametrize("name", [PROGRAM, WEIGHTS, CONSTANTS])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_part_that_is_missing_or_damaged_is_an_error_with_the_files_name(
    name: str, damage: str, good: Path, tmp_path: Path
) -> None:
    entries = entries_of(good)
    entries[name] = DAMAGES[damage]
    kept = {name: content for name, content in entries.items() if content is not None}
    with pytest.raises(CheckpointError, match=r"model\.pt2"):
        load(write(kept, tmp_path / "model.pt2"))


def test_no_file_and_a_folder_are_errors_with_the_name(tmp_path: Path) -> None:
    for place in (tmp_path / "missing.pt2", tmp_path):
        with pytest.raises(CheckpointError, match=place.name):
            load(place)


@pytest.mark.parametrize(
    "text",
    [
        "Symbol('s0', positive=True, integer=True)",
        "Add(Mul(Integer(38), Symbol('s30', integer=True)), Integer(1))",
        "Max(Integer(1), s7)",
        "FloorDiv(u0, 2)",
        "Integer(-1)",
        "3",
    ],
)
def test_arithmetic_on_sizes_is_a_plain_formula(text: str) -> None:
    assert is_plain_formula(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "Symbol('s0').__class__",
        "eval('1')",
        "Symbol(__import__('os'))",
        "(lambda: 1)()",
        "[s0 for s0 in ()]",
        "Symbol('a b')",
        "s0.real",
        "os",
        "s0; s1",
        "",
        "\x00",
    ],
)
def test_anything_that_python_could_run_is_no_plain_formula(text: str) -> None:
    assert not is_plain_formula(text)
