"""Checkpoints of a model_dir: complete or absent; found, kept and chosen."""

import json
import os
import shutil

import pytest
import torch
from checkpoints import message, names, read, save
from full_disk import files_up_to, small_disk
from messages import fails, says

from tzmmoe.errors import CheckpointError
from tzmmoe.system import checkpoint


def test_a_checkpoint_that_does_not_exist_is_named(tmp_path) -> None:
    says(message(tmp_path / "model.ckpt-3"), "model.ckpt-3", "does not exist")
    with fails(CheckpointError, "nowhere", "no checkpoint", "train first"):
        checkpoint.newest(tmp_path / "nowhere")


@pytest.mark.parametrize("kilobytes", [20, 30, 50])
def test_a_full_disk_leaves_the_checkpoint_before_whole(tmp_path, kilobytes) -> None:
    """The disk holds 120 KB, a checkpoint 60: the second fails early or at its very end."""
    tensors = {"a": torch.randn(100, 100)}
    with small_disk(tmp_path / "disk", 120 << 10):
        first = save(tmp_path / "disk", 1, tensors)
        (tmp_path / "disk" / "other").write_bytes(bytes(kilobytes << 10))
        with fails(CheckpointError, "model.ckpt-2", "No space left"):
            save(tmp_path / "disk", 2, tensors)
        assert names(tmp_path / "disk") == ["model.ckpt-1", "other"]
        assert torch.equal(read(first, tensors)["a"], tensors["a"])


@pytest.mark.parametrize("limit", [10, 300, 4000])
def test_files_that_cannot_be_written_whole_leave_the_checkpoint_before(tmp_path, limit) -> None:
    tensors = {"a": torch.randn(100, 100)}
    first = save(tmp_path, 1, tensors)
    with (
        files_up_to(limit),
        fails(CheckpointError, "model.ckpt-2", "File too large"),
    ):
        save(tmp_path, 2, tensors)
    assert names(tmp_path) == ["model.ckpt-1"]
    assert torch.equal(read(first, tensors)["a"], tensors["a"])


def test_a_folder_that_cannot_be_written_is_named(tmp_path) -> None:
    (tmp_path / "file").touch()
    with fails(CheckpointError, "model.ckpt-9", "cannot be written: "):
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
def test_a_damaged_choice_is_named(tmp_path, content) -> None:
    save(tmp_path, 3)
    (tmp_path / "best.json").write_text(content)
    with fails(CheckpointError, "best.json", "damaged", "delete"):
        checkpoint.preferred(tmp_path)
