"""Checkpoints are verified, and never unpickled."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from checkpoints import message, save
from messages import says
from safetensors.torch import save_file

from tzmmoe.errors import CheckpointError
from tzmmoe.system import checkpoint


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
            assert "damaged" in text or "missing" in text or "outside its folder" in text
            assert "outside" in text or ("delete" in text and "model.ckpt-4" in text)
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
            says(text, file.name, "delete", "model.ckpt-4")
        file.write_bytes(content)


def test_a_damaged_checkpoint_without_an_earlier_one_says_so(tmp_path) -> None:
    path = save(tmp_path, step=9)
    save(tmp_path, step=20)
    (path / "state.json").write_text("{}")
    says(message(path), "state.json", "no earlier checkpoint")


def test_a_later_format_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    path = save(tmp_path)
    monkeypatch.undo()
    says(message(path), str(path), "format 2", "reads format 1")


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
        says(message(path), name, "remove")
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


def test_tensors_that_were_slipped_in_are_rejected(tmp_path) -> None:
    """torch reads every file of the folder, so one more would take the place of the right one."""
    path = save(tmp_path)
    save_file({"a.weight": torch.full((2, 3), 7.0)}, path / "tensors" / "z.safetensors")
    says(message(path), "z.safetensors", "remove")


@pytest.mark.parametrize("name", ["../secret", "tensors/../../secret", "/etc/passwd"])
def test_checksums_that_name_a_file_outside_are_rejected(tmp_path, name) -> None:
    path = save(tmp_path / "run")
    (tmp_path / "run" / "secret").touch()
    sums = json.loads((path / "checksums.json").read_text())
    (path / "checksums.json").write_text(json.dumps(sums | {name: "0" * 64}))
    says(message(path), "checksums.json", repr(name), "outside its folder")


@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"state.json": 3}', "7"])
def test_a_list_without_valid_checksums_proves_nothing(tmp_path, content) -> None:
    path = save(tmp_path)
    (path / "checksums.json").write_text(content)
    says(message(path), str(path), "damaged")


@pytest.mark.parametrize("name", ["state.json", "tensors"])
def test_a_link_out_of_the_folder_is_rejected(tmp_path, name) -> None:
    path = save(tmp_path / "model", 3)
    file = next((path / name).iterdir()) if name == "tensors" else path / name
    outside = file.rename(tmp_path / file.name)
    file.symlink_to(outside)
    says(message(path), str(file), str(outside), "outside its folder")
