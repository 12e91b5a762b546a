"""Exports whose program was made by hand: refused before anything is allocated or run."""

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from messages import fails
from serving import handmade
from serving.plants import PROGRAM, edit, entries_of, write
from serving.small import Small
from serving.sums import edit_signature, sum_up

from tzmmoe.errors import CheckpointError, DataError
from tzmmoe.serving import scorer as scorer_module
from tzmmoe.serving.memory import ProgramError
from tzmmoe.serving.program import outputs_of
from tzmmoe.serving.scorer import Scorer

FEATURE = 'id_feature { feature_name: "one" num_buckets: 5 embedding_dim: 2 }'


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    return Small.build(folder, [FEATURE], names=["one"]).export(folder / "export")


@pytest.fixture
def export(good: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good, tmp_path / "export")


def put(body: handmade.Forward, export: Path) -> None:
    torch.export.save(handmade.program(body), export / "model.pt2")
    sum_up(export)


def test_a_program_made_by_hand_that_does_no_harm_is_scored(export: Path) -> None:
    """So it is what the others do that they are refused for."""
    put(handmade.bagged(handmade.ends), export)
    assert Scorer.load(export).score([{"one": 1}])["probs_ctr"].tolist() == [0.5]


@pytest.mark.parametrize("name", handmade.READS_OR_WRITES)
def test_a_program_that_could_read_or_write_what_is_not_its_own_is_refused(
    name: str, export: Path
) -> None:
    put(handmade.READS_OR_WRITES[name], export)
    with fails(CheckpointError, str(export / "model.pt2"), f"aten.{name.strip()}", "export"):
        Scorer.load(export)


@pytest.mark.parametrize("name", handmade.TAKES_MEMORY)
def test_a_program_that_would_take_too_much_memory_is_refused_without_taking_it(
    name: str, export: Path
) -> None:
    """The memory of the process is limited to what it has and a tenth of what the programs take."""
    put(handmade.TAKES_MEMORY[name], export)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with fails(CheckpointError, str(export / "model.pt2"), f"aten.{name.strip()}", "bytes"):
        Scorer.load(export)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 30_000  # KiB


def beyond(model: handmade.Handmade, inputs: dict) -> torch.Tensor:
    """Rows of a table that it does not have, which only its content tells."""
    return torch.ops.aten.index_select.default(model.weight, 0, model.many).sum()


def test_a_program_that_fails_only_with_rows_is_refused_then(export: Path) -> None:
    put(beyond, export)
    scorer = Scorer.load(export)
    with fails(CheckpointError, str(export / "model.pt2"), "rejected", "rows", "export"):
        scorer.score([{"one": 1}])


@pytest.mark.parametrize("made", [torch.zeros(4), torch.zeros(()), torch.zeros(2, 3)])
def test_outputs_of_other_rows_than_were_given_are_refused(made: torch.Tensor) -> None:
    with fails(ProgramError, "'probs_ctr'", str(tuple(made.shape)), "3 rows"):
        outputs_of(lambda inputs: {"probs_ctr": made}, {}, 3)


def test_what_is_checked_of_a_program_prints_nothing(export: Path, capfd) -> None:
    """torch prints a traceback of an operator that fails with fake tensors."""
    put(lambda model, _: torch.ops.aten.mm.default(model.weight, model.weight.t())[0, 0], export)
    entries = entries_of(export / "model.pt2")
    edit(entries, PROGRAM, lambda content: drop_call(content, "aten.t.default"))
    write(entries, export / "model.pt2")
    sum_up(export)
    with fails(CheckpointError, str(export / "model.pt2"), "aten.mm"):
        Scorer.load(export)
    assert capfd.readouterr().err == ""


def drop_call(content: dict, name: str) -> None:
    """Leave out a call; whoever takes its result gets what it was given."""
    nodes = content["graph_module"]["graph"]["nodes"]
    call = next(node for node in nodes if name in node["target"])
    nodes.remove(call)
    (result,), (given,) = call["outputs"], call["inputs"]
    made, taken = (each["as_tensor"]["name"] for each in (result, given["arg"]))
    for node in nodes:
        for argument in node["inputs"]:
            if argument["arg"] == {"as_tensor": {"name": made}}:
                argument["arg"] = {"as_tensor": {"name": taken}}


def wide(model: handmade.Handmade, inputs: dict) -> torch.Tensor:
    """Half a megabyte for each row, as a wide model may take."""
    rows = inputs["lengths_2"].flatten().float()
    return (rows.unsqueeze(1) * torch.ones(2**17)).sum(1)


def test_a_batch_that_needs_more_memory_than_is_free_is_refused_before_it_takes_any(
    export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(wide, export)
    scorer = Scorer.load(export)
    rows = pa.table({"one": [1] * 3000})
    asked = []

    def free(device: torch.device) -> int:
        asked.append(device)
        return 2**30

    monkeypatch.setattr(scorer_module, "free_bytes", free)
    assert scorer.score(rows.slice(0, 10))["probs_ctr"].shape == (10,)
    assert not asked, "what takes little is not worth a look at the system"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with fails(DataError, "3,000 rows", "1.5 GiB", "1.0 GiB are free", "batch_size"):
        scorer.score(rows)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 30_000  # KiB


def retarget(name: str) -> Callable[[dict], None]:
    def change(content: dict) -> None:
        content["graph_module"]["graph"]["nodes"][0]["target"] = name

    return change


@pytest.mark.parametrize(
    "name",
    [
        *(f"torch.ops.aten.{name}.default" for name in ("save", "manual_seed", "_print", "seed")),
        *("torch.ops.aten.set_grad_enabled.default", "torch.ops.aten.from_file.default"),
        *("torch.ops.aten.__class__.__init__", "torch.ops.aten.add_.Tensor"),
        *("torch.ops.aten.resize_.default", "torch.ops.aten.set_.source_Storage"),
        *("torch.ops.aten.copy_.default", "torch.ops.aten.set_data.default"),
        *("torch.ops.aten._local_scalar_dense.default", "torch.ops.aten.data_ptr.default"),
        *("torch.ops.higher_order.cond", "torch.ops.prims.convert_element_type.default"),
        *("torch.sym_not", "_operator.pow", "_operator.attrgetter", "math.pow", "print", ""),
        *("torch.ops.aten.add.Tensor\n", "torch.ops.aten.add", "torch.ops.aten.add.Tensor.x"),
    ],
)
def test_an_operator_that_is_not_on_the_list_is_refused_by_its_name(
    name: str, export: Path
) -> None:
    entries = entries_of(export / "model.pt2")
    edit(entries, PROGRAM, retarget(name))
    write(entries, export / "model.pt2")
    sum_up(export)
    with fails(CheckpointError, str(export / "model.pt2"), repr(name), "operators", "export"):
        Scorer.load(export)


def change_argument(operator: str, name: str, arg: dict) -> Callable[[dict], None]:
    def change(content: dict) -> None:
        nodes = content["graph_module"]["graph"]["nodes"]
        node = next(node for node in nodes if operator in node["target"])
        kept = [each for each in node["inputs"] if each["name"] != name]
        node["inputs"] = [*kept, {"name": name, "arg": arg, "kind": 2}]

    return change


@pytest.mark.parametrize(
    ("operator", "name", "arg"),
    [
        ("new_zeros", "dtype", {"as_int": 10**6}),
        ("new_zeros", "dtype", {"as_scalar_type": 10}),
        ("new_zeros", "device", {"as_device": {"type": "cuda", "index": 0}}),
        ("new_zeros", "pin_memory", {"as_bool": True}),
        ("new_zeros", "layout", {"as_layout": 1}),
        ("softmax", "dtype", {"as_int": -1}),
        ("new_zeros", "size", {"as_ints": [2]}),
        ("cumsum", "dtype", {"as_scalar_type": 2}),
        ("embedding_bag", "include_last_offset", {"as_bool": False}),
        ("embedding_bag", "mode", {"as_int": 2}),
        ("embedding_bag", "offsets", {"as_tensor": {"name": "inputs_ids_2"}}),
        ("repeat_interleave", "repeats", {"as_tensor": {"name": "inputs_ids_2"}}),
        ("repeat_interleave", "output_size", {"as_none": True}),
        ("cat", "tensors", {"as_graph": {"name": "g", "graph": {}}}),
        ("cat", "tensors", {"as_operator": "torch.ops.aten.add.Tensor"}),
        ("cat", "tensors", {"as_custom_obj": {"name": "o", "class_fqn": "o"}}),
    ],
)
def test_an_argument_of_another_kind_than_an_export_has_is_refused(
    operator: str, name: str, arg: dict, export: Path
) -> None:
    entries = entries_of(export / "model.pt2")
    edit(entries, PROGRAM, change_argument(operator, name, arg))
    write(entries, export / "model.pt2")
    sum_up(export)
    with fails(CheckpointError, str(export / "model.pt2"), "aten.", "export"):
        Scorer.load(export)


def test_an_output_that_changes_a_weight_is_refused(export: Path) -> None:
    def change(content: dict) -> None:
        specs = content["graph_module"]["signature"]["output_specs"]
        mutation = {"arg": {"name": "sigmoid"}, "buffer_name": "b"}
        specs.insert(0, {"buffer_mutation": mutation})

    entries = entries_of(export / "model.pt2")
    edit(entries, PROGRAM, change)
    write(entries, export / "model.pt2")
    sum_up(export)
    with fails(CheckpointError, str(export / "model.pt2"), "buffer_mutation"):
        Scorer.load(export)


def test_outputs_that_signature_json_does_not_describe_are_refused(export: Path) -> None:
    signature = json.loads((export / "signature.json").read_text())
    for change in ({"shape": ["batch", 2]}, {"dtype": "float64"}, None):
        changed = {**signature, "outputs": dict(signature["outputs"])}
        if change is None:
            del changed["outputs"]["probs_ctr"]
        else:
            changed["outputs"]["probs_ctr"] = signature["outputs"]["probs_ctr"] | change
        edit_signature(export, {"outputs": changed["outputs"]})
        with fails(CheckpointError, "model.pt2", "probs_ctr", "signature.json"):
            Scorer.load(export)
