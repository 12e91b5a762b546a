"""Runs over one epoch: going on, what they leave, and evaluations that find what a test says."""

from pathlib import Path

import pytest
from e2e import tiny

from tzmmoe.run.evaluate import Evaluations
from tzmmoe.run.results import TRAINING_RESULTS, append_results
from tzmmoe.system import checkpoint

ONE_EPOCH = {"train_config__num_epochs": 1}  # 13 steps, checkpoints 5, 10 and 12
EARLY = {
    "train_config__num_epochs": 50,
    "train_config__early_stopping": 'monitor: "auc_ctr" patience: 2',
}


def go_on(folder: Path, model_dir: Path, *, ignore: bool = False, **changes: object) -> dict:
    made = tiny.pipeline(folder, model_dir, **ONE_EPOCH | changes)
    return made.fit(continue_train=True, ignore_restore_optimizer=ignore)


def steps(model_dir: Path) -> list[int]:
    return [checkpoint.open_checkpoint(path).step for path in checkpoint.find(model_dir)]


def weights(path: Path) -> dict[str, bytes]:
    return {
        name: content
        for name, content in tiny.tensors(path).items()
        if name.startswith("model.") or (name.startswith("tables.") and name.endswith(".weight"))
    }


def scripted(monkeypatch: pytest.MonkeyPatch, aucs: list[float]) -> None:
    """Evaluations during training find these values of ``auc_ctr``, one after the other."""
    left = iter(aucs)

    def after(self: Evaluations, step: int, *, is_last: bool) -> dict[str, float]:
        results = {"auc_ctr": next(left), "val_loss": 1.0}
        append_results(self.session.model_dir / TRAINING_RESULTS, step, results)
        return results

    monkeypatch.setattr(Evaluations, "after", after)
