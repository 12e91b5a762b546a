"""Checkpoints: whole or not there, verified, never unpickled."""

import json
import os
import pickle
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from tzmmoe import checkpoint
from tzmmoe.errors import CheckpointError

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]
STATE = {"steps": 10, "position": {"epoch": 1, "row": 3}, "note": "a: ü"}


def save(folder: Path, step: int = 9, tensors: dict[str, Tensor] | None = None) -> Path:
    tensors = {"a.weight": torch.arange(6.0).view(2, 3)} if tensors is None else tensors
    return checkpoint.save(folder, step, tensors, STATE, 'model_dir: "x"\n')


def read(path: Path, like: dict[str, Tensor]) -> dict[str, Tensor]:
    targets = {name: torch.full_like(tensor, 1) for name, tensor in like.items()}
    checkpoint.open_checkpoint(path).read(targets)
    return targets


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def message(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        checkpoint.open_checkpoint(path)
    return str(caught.value)


def test_every_type_and_shape_comes_back_bit_for_bit(tmp_path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"{dtype}/{'x'.join(map(str, shape))}": torch.randint(0, 2, shape, generator=generator).to(
            dtype
        )
        for dtype in DTYPES
        for shape in [(), (0,), (1,), (3, 0, 2), (7,), (2, 3, 4)]
    }
    tensors["special"] = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])
    path = save(tmp_path, tensors=tensors)
    for name, tensor in read(path, tensors).items():
        assert tensor.dtype == tensors[name].dtype
        same = tensor.view(torch.uint8) if tensor.dim() and tensor.numel() else tensor
        there = (
            tensors[name].view(torch.uint8) if tensor.dim() and tensor.numel() else tensors[name]
        )
        assert torch.equal(same, there), name
    shapes = checkpoint.open_checkpoint(path).shapes()
    assert shapes == {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def test_views_transposed_tensors_and_parameters_are_saved_as_what_they_show(tmp_path) -> None:
    whole = torch.randn(6, 4)
    tensors = {
        "parameter": nn.Parameter(whole),
        "rows": whole[2:5],
        "transposed": whole.t(),
        "strided": whole[::2, 1:3],
    }
    found = read(save(tmp_path, tensors=tensors), tensors)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


@settings(deadline=None, max_examples=25)
@given(rows=st.lists(st.integers(0, 5), min_size=1, max_size=5), data=st.data())
def test_tables_by_their_own_names_are_read_into_any_other_layout(
    tmp_path_factory, rows, data
) -> None:
    """Tables of one width lie in one parameter, in an order that may change between runs."""
    folder = tmp_path_factory.mktemp("layout")
    order = data.draw(st.permutations(range(len(rows))))

    def spans(of: list[int], parameter: Tensor) -> dict[str, Tensor]:
        begin, named = 0, {}
        for table in of:
            named[f"tables.t{table}.weight"] = parameter[begin : begin + rows[table]]
            begin += rows[table]
        return named

    before, after = torch.randn(sum(rows), 3), torch.zeros(sum(rows), 3)
    saved, wanted = spans(list(range(len(rows))), before), spans(order, after)
    checkpoint.open_checkpoint(save(folder, tensors=saved)).read(wanted)
    assert all(torch.equal(wanted[name], tensor) for name, tensor in saved.items())


def test_a_checkpoint_larger_than_a_file_is_spread_over_several(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(checkpoint, "FILE_BYTES", 1000)
    tensors = {f"t{number:02}": torch.randn(10, 10) for number in range(12)}
    path = save(tmp_path, tensors=tensors)
    files = list((path / "tensors").glob("*.safetensors"))
    assert len(files) > 3
    assert max(file.stat().st_size for file in files) < 3000
    found = read(path, tensors)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_state_and_config_come_back(tmp_path) -> None:
    opened = checkpoint.open_checkpoint(save(tmp_path, step=41))
    assert opened.step == 41
    assert STATE.items() <= opened.state.items()
    assert (opened.path / "pipeline.config").read_text() == 'model_dir: "x"\n'
    assert opened.path.name == "model.ckpt-41"


def test_a_tensor_is_read_as_the_type_of_its_place(tmp_path) -> None:
    path = save(tmp_path, tensors={"a": torch.tensor([0.5, 2.0])})
    target = torch.zeros(2, dtype=torch.float64)
    checkpoint.open_checkpoint(path).read({"a": target})
    assert target.tolist() == [0.5, 2.0]


def test_a_part_of_the_tensors_may_be_read(tmp_path) -> None:
    tensors = {"a": torch.ones(2), "b": torch.zeros(3)}
    found = read(save(tmp_path, tensors=tensors), {"b": tensors["b"]})
    assert torch.equal(found["b"], tensors["b"])


def test_what_does_not_fit_is_listed_all_at_once_and_nothing_is_read(tmp_path) -> None:
    tensors = {
        "towers.ctr.weight": torch.ones(2, 3),
        "same": torch.ones(4),
        "only there": torch.ones(1),
    }
    opened = checkpoint.open_checkpoint(save(tmp_path, tensors=tensors))
    targets = {
        "towers.ctr.weight": torch.zeros(2, 4),
        "same": torch.zeros(4),
        "towers.ctr.wieght": torch.zeros(2, 3),
        "new": torch.zeros(1),
    }
    with pytest.raises(CheckpointError) as caught:
        opened.read(targets)
    first, *rest = str(caught.value).splitlines()
    assert first == f"{opened.path} does not fit the model:"
    assert rest == [
        "  towers.ctr.weight: [2, 3] in the checkpoint, [2, 4] in the model",
        "  towers.ctr.wieght: not in the checkpoint; did you mean 'towers.ctr.weight'?",
        "  new: not in the checkpoint",
    ]
    assert all((target == 0).all() for target in targets.values())


def test_any_flipped_byte_is_found_and_the_checkpoint_before_is_offered(tmp_path) -> None:
    """In every place of the small files, and in every eleventh of the large one."""
    save(tmp_path, step=4)
    path = save(tmp_path, step=9)
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        content = file.read_bytes()
        stride = 11 if len(content) > 1000 else 1
        for place in range(0, len(content), stride):
            changed = content[place] ^ (1 << place % 8)
            file.write_bytes(content[:place] + bytes([changed]) + content[place + 1 :])
            text = message(path)
            assert "is damaged" in text or "is missing" in text or "outside its folder" in text
            assert "outside" in text or "go on from the one before, model.ckpt-4" in text
        file.write_bytes(content)
    assert checkpoint.open_checkpoint(path).step == 9


def test_a_file_that_is_missing_or_cut_off_is_found(tmp_path) -> None:
    save(tmp_path, step=4)
    path = save(tmp_path, step=9)
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        content = file.read_bytes()
        for left in (content[:-1], b"", None):
            file.unlink()
            if left is not None:
                file.write_bytes(left)
            text = message(path)
            assert file.name in text
            assert "model.ckpt-4" in text
        file.write_bytes(content)


def test_without_an_earlier_checkpoint_that_is_said(tmp_path) -> None:
    path = save(tmp_path, step=9)
    save(tmp_path, step=20)
    (path / "state.json").write_text("{}")
    assert "there is no earlier checkpoint beside it" in message(path)


def test_a_later_format_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    path = save(tmp_path)
    monkeypatch.undo()
    assert "has format 2; this version reads format 1" in message(path)


def test_what_is_not_there_is_said(tmp_path) -> None:
    assert "no checkpoint there" in message(tmp_path / "model.ckpt-3")
    with pytest.raises(CheckpointError, match="no checkpoint there; train first"):
        checkpoint.newest(tmp_path / "nowhere")


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.parametrize(
    "name",
    [
        ".metadata",
        "state.pkl",
        "tensors/.metadata",
        "tensors/__0_0.distcp",
        "tensors/model.pt",
        "tensors/model-00002-of-00002.safetensors",
    ],
)
def test_a_planted_pickle_is_never_loaded(tmp_path, name) -> None:
    path = save(tmp_path / "run")
    trap = tmp_path / "sprung"
    (path / name).write_bytes(pickle.dumps(Trap(trap)))
    if name.startswith("tensors/"):
        assert "is not of this checkpoint; remove it" in message(path)
    else:
        checkpoint.open_checkpoint(path).read({"a.weight": torch.zeros(2, 3)})
    assert not trap.exists()
    pickle.loads((path / name).read_bytes())
    assert trap.exists(), "the trap works"


@pytest.mark.parametrize("name", ["state.json", "tensors/model-00001-of-00001.safetensors"])
def test_a_pickle_in_the_place_of_a_file_is_never_loaded(tmp_path, name) -> None:
    """Not even by someone who can write the right checksum."""
    path = save(tmp_path / "run")
    trap = tmp_path / "sprung"
    (path / name).write_bytes(pickle.dumps(Trap(trap)))
    sums = json.loads((path / "checksums.json").read_text())
    sums[name] = checkpoint.sha256(path / name)
    (path / "checksums.json").write_text(json.dumps(sums))
    with pytest.raises(CheckpointError):
        checkpoint.open_checkpoint(path).read({"a.weight": torch.zeros(2, 3)})
    assert not trap.exists()


def test_tensors_that_were_slipped_in_are_refused(tmp_path) -> None:
    """torch reads every file of the folder, so one more would take the place of the right one."""
    path = save(tmp_path)
    save_file({"a.weight": torch.full((2, 3), 7.0)}, path / "tensors" / "z.safetensors")
    assert "z.safetensors is not of this checkpoint" in message(path)


@pytest.mark.parametrize("name", ["../secret", "tensors/../../secret", "/etc/passwd"])
def test_checksums_that_name_a_file_outside_are_refused(tmp_path, name) -> None:
    path = save(tmp_path / "run")
    (tmp_path / "run" / "secret").touch()
    sums = json.loads((path / "checksums.json").read_text())
    (path / "checksums.json").write_text(json.dumps(sums | {name: "0" * 64}))
    assert f"names {name!r}, outside its folder" in message(path)


@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"state.json": 3}', "7"])
def test_checksums_that_say_nothing_are_no_proof(tmp_path, content) -> None:
    path = save(tmp_path)
    (path / "checksums.json").write_text(content)
    assert "is damaged" in message(path)


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[None]:
    """A file system of its own size."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, *options], capture_output=True, check=False)
    if not done or done.returncode:
        pytest.skip("may not mount a tmpfs here; the test with a limit on files shows the same")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def small_files(size_bytes: int) -> Iterator[None]:
    """Writing more to a file fails, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("kilobytes", [12, 30, 50])
def test_a_full_disk_leaves_the_checkpoint_before_whole(tmp_path, kilobytes) -> None:
    """The disk holds 120 KB, a checkpoint 60: the second fails early or at its very end."""
    tensors = {"a": torch.randn(100, 100)}
    with small_disk(tmp_path / "disk", 120 << 10):
        first = save(tmp_path / "disk", 1, tensors)
        (tmp_path / "disk" / "other").write_bytes(bytes(kilobytes << 10))
        with pytest.raises(CheckpointError, match=r"ckpt-2 could not be written.*No space left"):
            save(tmp_path / "disk", 2, tensors)
        assert names(tmp_path / "disk") == ["model.ckpt-1", "other"]
        assert torch.equal(read(first, tensors)["a"], tensors["a"])


@pytest.mark.parametrize("limit", [10, 300, 4000])
def test_files_that_cannot_be_written_whole_leave_the_checkpoint_before(tmp_path, limit) -> None:
    tensors = {"a": torch.randn(100, 100)}
    first = save(tmp_path, 1, tensors)
    with (
        small_files(limit),
        pytest.raises(CheckpointError, match=r"ckpt-2 could not be written.*File too large"),
    ):
        save(tmp_path, 2, tensors)
    assert names(tmp_path) == ["model.ckpt-1"]
    assert torch.equal(read(first, tensors)["a"], tensors["a"])


def test_a_folder_that_cannot_be_written_is_told(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"model\.ckpt-9 could not be written: "):
        save(tmp_path / "file")


def test_a_checkpoint_has_its_name_only_when_it_is_whole(tmp_path, monkeypatch) -> None:
    """At every step of writing, what has the name can be opened."""
    seen = []

    def spy(name: str) -> None:
        original = getattr(os, name)

        def watched(*arguments: object, **keywords: object) -> object:
            found = checkpoint.find(tmp_path)
            assert [checkpoint.open_checkpoint(path).step for path in found] == list(
                range(len(found))
            )
            seen.append(name)
            return original(*arguments, **keywords)

        monkeypatch.setattr(os, name, watched)

    for name in ("fsync", "rename", "mkdir", "replace"):
        spy(name)
    for step in range(3):
        save(tmp_path, step)
    assert {"fsync", "rename", "mkdir"} <= set(seen)
    assert [path.name for path in checkpoint.find(tmp_path)] == [
        f"model.ckpt-{n}" for n in range(3)
    ]


def test_what_an_interrupted_save_left_is_removed_and_nothing_else(tmp_path) -> None:
    save(tmp_path, 4)
    shutil.copytree(tmp_path / "model.ckpt-4", tmp_path / ".writing-model.ckpt-9")
    (tmp_path / ".writing-model.ckpt-10" / "tensors").mkdir(parents=True)
    (tmp_path / "notes.txt").touch()
    assert checkpoint.newest(tmp_path).name == "model.ckpt-4"
    checkpoint.clear_leftovers(tmp_path)
    assert names(tmp_path) == ["model.ckpt-4", "notes.txt"]


def test_saving_again_after_an_interrupted_save_works(tmp_path) -> None:
    (tmp_path / ".writing-model.ckpt-9" / "tensors").mkdir(parents=True)
    (tmp_path / ".writing-model.ckpt-9" / "tensors" / "old.safetensors").write_bytes(b"x" * 99)
    assert checkpoint.open_checkpoint(save(tmp_path, 9)).step == 9


def test_checkpoints_are_found_by_their_steps_and_not_by_the_alphabet(tmp_path) -> None:
    for step in (100, 20, 3):
        save(tmp_path, step)
    (tmp_path / "model.ckpt-x").mkdir()
    (tmp_path / "old-model.ckpt-999").mkdir()
    steps = [checkpoint.open_checkpoint(path).step for path in checkpoint.find(tmp_path)]
    assert steps == [3, 20, 100]
    assert checkpoint.newest(tmp_path).name == "model.ckpt-100"


@pytest.mark.parametrize(
    ("keep", "always", "left"),
    [
        (0, set(), [1, 2, 3, 10, 20]),
        (2, set(), [10, 20]),
        (2, {2}, [2, 10, 20]),
        (2, {20, 7}, [10, 20]),
        (9, set(), [1, 2, 3, 10, 20]),
    ],
)
def test_the_newest_checkpoints_are_kept_and_the_best_ones_beside_them(
    tmp_path, keep, always, left
) -> None:
    for step in (1, 2, 3, 10, 20):
        save(tmp_path, step)
    checkpoint.prune(tmp_path, keep, always)
    assert [path.name for path in checkpoint.find(tmp_path)] == [f"model.ckpt-{s}" for s in left]


def test_the_preferred_checkpoint_is_the_newest_unless_one_was_chosen(tmp_path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    assert checkpoint.preferred(tmp_path).name == "model.ckpt-3"
    checkpoint.prefer(tmp_path, 2)
    assert checkpoint.preferred(tmp_path).name == "model.ckpt-2"
    checkpoint.prefer(tmp_path, None)
    assert checkpoint.preferred(tmp_path).name == "model.ckpt-3"


def test_a_choice_that_leads_nowhere_or_outside_is_not_followed(tmp_path) -> None:
    save(tmp_path / "run", 3)
    save(tmp_path / "other", 5)
    for named in ("model.ckpt-2", "../other/model.ckpt-5", str(tmp_path / "other/model.ckpt-5"), 3):
        (tmp_path / "run" / "best.json").write_text(json.dumps({"checkpoint": named}))
        assert checkpoint.preferred(tmp_path / "run").name == "model.ckpt-3"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_choice_is_told(tmp_path, content) -> None:
    save(tmp_path, 3)
    (tmp_path / "best.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"best\.json is damaged"):
        checkpoint.preferred(tmp_path)
