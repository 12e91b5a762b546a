"""Private interfaces of torch: one that is missing is an error that says what to install."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import forked
import pytest
import torch
from packaging.requirements import Requirement
from written import CONFIG, ROOT

from tzmmoe import private_torch
from tzmmoe.errors import UserError
from tzmmoe.pipeline import Pipeline

# Where torch has it, its name there, and what needs it.
IMPORTED = [
    ("torch.distributed.checkpoint", "HuggingFaceStorageWriter", private_torch.storage_writer),
    ("torch.distributed.checkpoint", "HuggingFaceStorageReader", private_torch.storage_reader),
    (
        "torch.distributed.checkpoint.planner_helpers",
        "create_read_items_for_chunk_list",
        private_torch.overlaps,
    ),
    ("torch", "_foreach_div_", lambda: private_torch.divide([torch.ones(2)], 2)),
    (
        "torch.nn.parallel.DistributedDataParallel",
        "_set_params_and_buffers_to_ignore_for_model",
        lambda: private_torch.leave_out(torch.nn.Linear(1, 1), []),
    ),
    ("torch.export.pt2_archive", "PT2ArchiveReader", lambda: private_torch.archive_reader(Path())),
    ("torch._export.verifier", "SpecViolationError", private_torch.violation),
    ("torch._ops", "OperatorBase", lambda: private_torch.is_operator(len)),
    ("torch._ops", "OpOverload", lambda: private_torch.is_overload(len)),
    ("torch._subclasses.fake_tensor", "FakeTensorMode", private_torch.fake_tensors),
    ("torch.utils._pytree", "tree_leaves", lambda: private_torch.watched(print)),
    ("torch.utils._python_dispatch", "TorchDispatchMode", lambda: private_torch.watched(print)),
]
# A member of an object, the object without it, and what needs it.
MEMBERS = [
    ("Tensor._indices", private_torch.sparse_entries),
    ("ExportedProgram._guards_code", private_torch.drop_guards),
    ("OpOverload._schema", private_torch.arguments),
]


def says_what_to_install(name: str) -> str:
    """A pattern of the message."""
    return rf"torch {re.escape(torch.__version__)} .*{re.escape(name)}.*; install torch 2\.13$"


@pytest.mark.parametrize(
    ("place", "name", "use"), IMPORTED, ids=[f"{place}.{name}" for place, name, _ in IMPORTED]
)
def test_a_missing_interface_is_named_with_the_torch_to_install(
    monkeypatch: pytest.MonkeyPatch, place: str, name: str, use: Callable[[], object]
) -> None:
    monkeypatch.delattr(f"{place}.{name}")
    with pytest.raises(UserError, match=says_what_to_install(name)):
        use()


@pytest.mark.parametrize(("name", "use"), MEMBERS, ids=[name for name, _ in MEMBERS])
def test_a_missing_member_is_named_with_the_torch_to_install(
    name: str, use: Callable[[object], object]
) -> None:
    with pytest.raises(UserError, match=says_what_to_install(name)):
        use(SimpleNamespace())


def test_a_missing_module_is_named_with_the_torch_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch.export.pt2_archive", None)
    with pytest.raises(UserError, match=says_what_to_install("PT2ArchiveReader")):
        private_torch.archive_reader(Path())


@pytest.mark.parametrize("name", ["HuggingFaceStorageWriter", "HuggingFaceStorageReader"])
def test_training_stops_before_its_first_step_if_it_could_save_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """And before it reads a file: there is none."""
    (tmp_path / "a.config").write_text(CONFIG)
    monkeypatch.delattr(f"torch.distributed.checkpoint.{name}")
    with pytest.raises(UserError, match=says_what_to_install(name)):
        Pipeline.load(tmp_path / "a.config").fit()


def test_a_command_prints_the_message_and_exits_with_2() -> None:
    program = (
        "import torch; from tzmmoe import private_torch; from tzmmoe.system import cli; "
        "del torch._ops.OperatorBase; cli.run(lambda argv: private_torch.is_operator(len))"
    )
    done = forked.run("-c", program)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(says_what_to_install("OperatorBase"), done.stderr, re.MULTILINE)


def test_each_interface_is_what_it_is_used_for() -> None:
    """In the torch that is installed."""
    private_torch.check_training()
    ids, ones = torch.tensor([[1, 1]]), torch.ones(2, 3)
    twice = torch.sparse_coo_tensor(ids, ones, (4, 3), check_invariants=True)
    rows, values = private_torch.sparse_entries(twice)
    assert rows.tolist() == [1, 1]
    assert values.shape == (2, 3)
    halves = [torch.tensor([2.0, 4.0]), torch.tensor([1.0])]
    private_torch.divide(halves, 2)
    assert [tensor.tolist() for tensor in halves] == [[1.0, 2.0], [0.5]]
    moved = [torch.tensor([1.0, 2.0]), torch.tensor([0.0])]
    private_torch.move(moved, [torch.tensor([3.0, 2.0]), torch.tensor([8.0])], 0.25)
    assert [tensor.tolist() for tensor in moved] == [[1.5, 2.0], [2.0]]
    seen = []
    with private_torch.fake_tensors(), private_torch.watched(seen.append):
        x = torch.zeros(1 << 40)  # 4 TiB, which no machine would give
        y = x.view(2, -1)
        z = torch.zeros(1)
    shapes = {tuple(tensor.shape) for tensor in seen}
    assert shapes == {(1 << 40,), (2, 1 << 39), (1,)}
    assert private_torch.storage_key(x) == private_torch.storage_key(y)
    assert private_torch.storage_key(x) != private_torch.storage_key(z)
    add = torch.ops.aten.add.Tensor
    assert (private_torch.is_operator(add), private_torch.is_overload(add)) == (True, True)
    assert not private_torch.is_overload(torch.ops.higher_order.cond)
    assert not private_torch.is_operator(len)
    assert [each.name for each in private_torch.arguments(add)] == ["self", "other", "alpha"]


def test_setup_allows_the_torch_that_the_interfaces_were_tried_with_and_no_other_minor() -> None:
    listed = subprocess.check_output([sys.executable, ROOT / "scripts/declared.py"], text=True)
    [torch_range] = [
        requirement.specifier
        for requirement in map(Requirement, listed.splitlines())
        if requirement.name == "torch"
    ]
    major, minor = map(int, private_torch.TRIED.split("."))
    assert f"{major}.{minor}.0" in torch_range
    assert f"{major}.{minor}.5" in torch_range
    for other in (f"{major}.{minor - 1}.1", f"{major}.{minor + 1}.0", f"{major + 1}.0"):
        assert other not in torch_range, other
    assert torch.__version__.startswith(f"{private_torch.TRIED}.")
