"""A model_dir that is taken away from a run, and checkpoints that are pruned under a reader."""

import multiprocessing
import shutil
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
import torch
from checkpoints import save
from e2e import tiny
from messages import fails, says
from run.runs import ONE_EPOCH

from tzmmoe.errors import CheckpointError
from tzmmoe.run.folder import LOCK, Ownership, locked
from tzmmoe.system import checkpoint


@pytest.fixture(scope="module")
def finished(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model_dir of a run over one epoch."""
    model_dir = tmp_path_factory.mktemp("finished") / "run"
    tiny.pipeline(tiny_folder, model_dir, **ONE_EPOCH).fit()
    return model_dir


def after_step(monkeypatch: pytest.MonkeyPatch, step: int, act) -> None:
    tiny.after_each_step(monkeypatch, lambda number: act() if number == step else None)


def test_a_run_whose_model_dir_was_removed_ends_and_makes_none(
    tiny_folder, tmp_path, monkeypatch
) -> None:
    model_dir = tmp_path / "run"
    after_step(monkeypatch, 7, lambda: shutil.rmtree(model_dir))
    with fails(CheckpointError, str(model_dir), "was removed while it was in use"):
        tiny.pipeline(tiny_folder, model_dir).fit()
    assert not model_dir.exists()


def test_a_run_whose_model_dir_was_replaced_ends_and_leaves_the_other_alone(
    tiny_folder, finished, tmp_path, monkeypatch
) -> None:
    """After a save, another run's folder stands in its place."""
    model_dir = tmp_path / "run"

    def replace() -> None:
        model_dir.rename(tmp_path / "mine")
        shutil.copytree(finished, model_dir)

    after_step(monkeypatch, 7, replace)
    with fails(CheckpointError, str(model_dir), "was replaced while it was in use"):
        tiny.pipeline(tiny_folder, model_dir, train_config__keep_checkpoint_max=1).fit()
    assert tiny.files_of(model_dir) == tiny.files_of(finished)
    assert [path.name for path in checkpoint.find(tmp_path / "mine")] == ["model.ckpt-5"]


def test_a_lock_file_that_was_removed_is_made_again_if_nobody_came(
    tiny_folder, finished, tmp_path, monkeypatch, caplog
) -> None:
    model_dir = tmp_path / "run"
    after_step(monkeypatch, 7, (model_dir / LOCK).unlink)
    tiny.pipeline(tiny_folder, model_dir, **ONE_EPOCH).fit()
    [said] = [line for line in caplog.messages if LOCK in line]
    says(said, "was deleted", "created it again")
    assert tiny.end(model_dir) == tiny.end(finished)
    assert (model_dir / LOCK).exists()


def test_a_run_whose_lock_another_has_by_now_ends(tmp_path) -> None:
    owned = Ownership()
    with owned.taken(tmp_path, None):
        owned.check()
        (tmp_path / LOCK).unlink()
        with locked(tmp_path), fails(CheckpointError, LOCK, "in use by process"):
            owned.check()


def test_a_run_ends_if_another_wrote_a_checkpoint_while_there_was_no_lock(tmp_path) -> None:
    owned = Ownership()
    with owned.taken(tmp_path, None):
        (tmp_path / LOCK).unlink()
        with locked(tmp_path):
            save(tmp_path, 3)
        with fails(CheckpointError, LOCK, "another run wrote a checkpoint"):
            owned.check()


def reads(model_dir: Path, over: Event, failures: "multiprocessing.Queue") -> None:
    """Open the newest checkpoint and read it, again and again."""
    while not over.is_set():
        try:
            opened = checkpoint.open_result(model_dir)
            target = torch.empty(50, 50)
            opened.read({"a": target})
            if not (target == opened.step).all():
                failures.put(f"step {opened.step} has {target[0, 0]}")
        except CheckpointError as error:
            failures.put(str(error))
    failures.put("")


def test_a_reader_beside_a_run_that_prunes_always_finds_a_whole_checkpoint(tmp_path) -> None:
    """Only the newest is kept, and there is a new one every few milliseconds."""
    save(tmp_path, 0, {"a": torch.zeros(50, 50)})
    context = multiprocessing.get_context("fork")
    failures = context.Queue()
    over = context.Event()
    readers = [context.Process(target=reads, args=(tmp_path, over, failures)) for _ in range(2)]
    for reader in readers:
        reader.start()
    for step in range(1, 60):
        save(tmp_path, step, {"a": torch.full((50, 50), float(step))})
        checkpoint.prune(tmp_path, 1, set())
    over.set()
    assert [failures.get() for _ in readers] == ["", ""]
    checkpoint.prune(tmp_path, 1, set())
    assert [path.name for path in tmp_path.iterdir()] == [f"model.ckpt-{step}"]


def test_a_checkpoint_that_is_being_read_is_pruned_once_it_is_released(tmp_path) -> None:
    for step in range(3):
        save(tmp_path, step)
    opened = checkpoint.open_checkpoint(tmp_path / "model.ckpt-0")
    checkpoint.prune(tmp_path, 1, set())
    assert [path.name for path in checkpoint.find(tmp_path)] == ["model.ckpt-0", "model.ckpt-2"]
    opened.release()
    checkpoint.prune(tmp_path, 1, set())
    assert [path.name for path in checkpoint.find(tmp_path)] == ["model.ckpt-2"]
