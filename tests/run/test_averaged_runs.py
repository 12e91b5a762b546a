"""Runs whose weights are averaged: what is evaluated, saved, resumed and taken over."""

import json
import logging
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from e2e import tiny
from run.runs import EARLY, ONE_EPOCH, go_on, scripted
from torch import Tensor

from tzmmoe.errors import CheckpointError, ConfigError, Interrupted
from tzmmoe.run import averages, evaluate, state
from tzmmoe.run.evaluate import Evaluation
from tzmmoe.run.results import EVALUATION_RESULTS, TRAINING_RESULTS, results_of_step
from tzmmoe.run.trainer import Trainer
from tzmmoe.serving.scorer import Scorer
from tzmmoe.system import checkpoint
from tzmmoe.system.tensorfiles import Scattered

EMA = {"train_config__ema": "decay: 0.8"}
BOTH = {**EMA, **ONE_EPOCH}


@pytest.fixture(scope="module")
def averaged(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model_dir of a run over one epoch; read it."""
    model_dir = tmp_path_factory.mktemp("averaged") / "run"
    tiny.pipeline(tiny_folder, model_dir, **BOTH).fit()
    return model_dir


def without_averages(tensors: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: own for name, own in tensors.items() if not name.startswith("ema.")}


def floats(path: Path) -> dict[str, Tensor]:
    """The floating-point tensors of a checkpoint, by name."""
    saved = checkpoint.open_checkpoint(path)
    kinds = {n: own.partition(b" ")[0] for n, own in tiny.tensors(path).items()}
    types = {b"torch.float32": torch.float32, b"torch.float64": torch.float64}
    found = {
        name: torch.empty(size, dtype=types[kinds[name]])
        for name, size in saved.shapes().items()
        if kinds[name] in types
    }
    saved.read(found)
    return found


def by_hand(path: Path) -> dict[str, Tensor]:
    """The averages of a checkpoint, in float64; what has none as it is. While a weight stands
    still, its average comes nearer to it by the product of the decays."""
    tensors = {name: own.double() for name, own in floats(path).items()}
    log_decay = json.loads((path / "state.json").read_text())["averages"]["log_decay"]
    found = {}
    for name, weight in tensors.items():
        average = tensors.get(f"ema.{name}")
        since = tensors.get(f"ema.{name.removesuffix('.weight')}.log_decay")
        if average is None:
            found[name] = weight
        elif since is None:
            found[name] = average
        else:
            left = torch.exp(log_decay - since).unsqueeze(1)
            found[name] = weight + left * (average - weight)
    return found


def model_of(folder: Path, path: Path, **changes: object) -> dict[str, Tensor]:
    """What a reader of a checkpoint gets."""
    session = tiny.session(folder, **changes)
    session.restore(path)
    return {name: own.clone() for name, own in state.weights(session.built.model).items()}


def test_a_run_trains_as_without_averages_to_the_last_bit(tiny_folder, averaged, finished) -> None:
    """Weights, optimizers, random state; what differs are the evaluations."""
    names = [path.name for path in checkpoint.find(averaged)]
    assert names == [path.name for path in checkpoint.find(finished)]
    for name in names:
        found = tiny.tensors(averaged / name)
        assert without_averages(found) == tiny.tensors(finished / name)
        assert len(found) > len(without_averages(found))
    results = [results_of_step(run / TRAINING_RESULTS, 12) for run in (averaged, finished)]
    assert results[0]["val_loss"] != results[1]["val_loss"]


def test_readers_of_a_checkpoint_get_the_averages(tiny_folder, averaged) -> None:
    """Whatever the config says, since these are what was evaluated."""
    path = checkpoint.newest(averaged)
    expected = by_hand(path)
    saved = floats(path)
    for changes in (EMA, {}):
        found = model_of(tiny_folder, path, **changes)
        for name, weight in found.items():
            if weight.is_floating_point():
                torch.testing.assert_close(weight.double(), expected[name], rtol=1e-5, atol=1e-7)
    differ = {n for n, own in found.items() if n in saved and not torch.equal(own, saved[n])}
    assert {"tables.user_emb.weight", "tables.tags_emb.weight"} <= differ
    assert not differ & {"tables.city_emb.weight"}, "which is not trained"
    assert not [name for name in differ if "running" in name]


def test_parts_of_a_table_get_the_averages_of_their_rows_and_columns(averaged) -> None:
    """As processes that share a table hold them: some rows, columns in two parts, or nothing."""
    path, name = checkpoint.newest(averaged), "tables.tags_emb.weight"
    saved, expected = checkpoint.open_checkpoint(path), by_hand(path)[name]
    cuts = [[(0, 30, 0, 4)], [(7, 19, 0, 4)], [(0, 30, 0, 2), (0, 30, 2, 4)], []]
    cuts.append([(0, 10, 0, 2), (10, 30, 2, 4)])
    for cut in cuts:
        parts = [
            ((top, left), torch.empty(end - top, right - left)) for top, end, left, right in cut
        ]
        averages.read(saved, {name: Scattered((30, 4), tuple(parts))})
        for (_, part), (top, end, left, right) in zip(parts, cut, strict=True):
            wanted = expected[top:end, left:right]
            torch.testing.assert_close(part.double(), wanted, rtol=1e-5, atol=1e-7)


def test_the_evaluation_of_a_checkpoint_is_that_of_its_training(tiny_folder, averaged) -> None:
    results = tiny.pipeline(tiny_folder, averaged, **BOTH).evaluate()
    during = results_of_step(averaged / TRAINING_RESULTS, 12)
    assert results == {key: pytest.approx(during[key], rel=1e-6) for key in results}
    assert results_of_step(averaged / EVALUATION_RESULTS, 12)


def test_exports_and_predictions_are_of_the_averages(tiny_folder, averaged, tmp_path) -> None:
    made = tiny.pipeline(tiny_folder, averaged, **BOTH)
    made.export(str(tmp_path / "export"))
    rows = str(tiny_folder / "eval.parquet")
    made.predict(rows, str(tmp_path / "own.parquet"))
    table = pq.read_table(rows)
    exported = Scorer.load(tmp_path / "export").score(table)
    own = pq.read_table(tmp_path / "own.parquet")
    assert own["probs_ctr"].to_pylist() == pytest.approx(exported["probs_ctr"].tolist(), rel=1e-5)
    session = tiny.session(tiny_folder)
    state.restore_weights(
        checkpoint.open_checkpoint(checkpoint.newest(averaged)), session.built.model
    )
    evaluation = Evaluation.final(session)
    trained = [
        probability
        for batch in evaluation.loader.once()
        for probability in session.outputs(batch)["probs_ctr"].tolist()
    ]
    apart = [abs(a - b) for a, b in zip(trained, own["probs_ctr"].to_pylist(), strict=True)]
    assert max(apart) > 1e-3, "the trained weights predict something else"


def stopped(folder: Path, model_dir: Path, monkeypatch, after: int, **changes: object) -> None:
    """A run that a signal ends after so many steps."""
    saving = Trainer._stop_on_signal

    def stop(self: Trainer) -> None:
        self.interruption.received = signal.SIGINT if self.steps == after else 0
        saving(self)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_stop_on_signal", stop)
        with pytest.raises(Interrupted):
            tiny.pipeline(folder, model_dir, **changes).fit()


@pytest.mark.parametrize("after", [1, 6, 7, 10, 12])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    tiny_folder, averaged, tmp_path, monkeypatch, after
) -> None:
    """Weights, averages and results, bit for bit, with a checkpoint where the other saved none."""
    stopped(tiny_folder, tmp_path / "run", monkeypatch, after, **BOTH)
    go_on(tiny_folder, tmp_path / "run", **EMA)
    assert tiny.end(tmp_path / "run") == tiny.end(averaged)


def test_a_run_goes_on_to_the_averages_of_one_that_was_longer_from_the_start(
    tiny_folder, tmp_path
) -> None:
    """Its last evaluation, in which the other had none, moves nothing."""
    changes = {**EMA, "train_config__save_checkpoints_steps": 100}
    tiny.pipeline(tiny_folder, tmp_path / "twice", **changes, train_config__num_steps=9).fit()
    go_on(
        tiny_folder,
        tmp_path / "twice",
        **changes,
        train_config__num_steps=17,
        train_config__num_epochs=2,
    )
    tiny.pipeline(
        tiny_folder, tmp_path / "once", **changes, train_config__num_steps=17,
        train_config__num_epochs=2,
    ).fit()  # fmt: skip
    twice, once = (checkpoint.newest(tmp_path / name) for name in ("twice", "once"))
    assert tiny.tensors(twice) == tiny.tensors(once)


def test_averages_that_a_checkpoint_lacks_start_from_its_weights_and_the_run_says_so(
    tiny_folder, run, caplog
) -> None:
    caplog.set_level(logging.INFO)
    before = floats(checkpoint.newest(run))
    go_on(tiny_folder, run, **EMA, train_config__num_epochs=2, train_config__num_steps=14)
    [line] = [line for line in caplog.messages if "no averages" in line]
    assert "train_config.ema" in line
    assert "start from its weights" in line
    path = checkpoint.newest(run)
    assert json.loads((path / "state.json").read_text())["averages"]["steps"] == 1
    after, averaged = floats(path), by_hand(path)
    for name, weight in before.items():
        if f"ema.{name}" in after:  # d_1 = 2 / 11
            expected = (2 * weight.double() + 9 * after[name].double()) / 11
            torch.testing.assert_close(averaged[name], expected, rtol=1e-5, atol=1e-7)
    caplog.clear()
    go_on(tiny_folder, run, **EMA, train_config__num_epochs=2, train_config__num_steps=16)
    assert not [line for line in caplog.messages if "no averages" in line]


def test_a_run_whose_ema_was_removed_goes_on_from_the_trained_weights_and_says_so(
    tiny_folder, averaged, run, tmp_path, caplog
) -> None:
    shutil.copytree(averaged, tmp_path / "copy")
    go_on(tiny_folder, run, train_config__num_epochs=2)
    caplog.set_level(logging.INFO)
    go_on(tiny_folder, tmp_path / "copy", train_config__num_epochs=2)
    [line] = [line for line in caplog.messages if "has averages" in line]
    assert "train_config.ema is not set" in line
    assert "trained weights" in line
    ends = [tiny.tensors(checkpoint.newest(folder)) for folder in (tmp_path / "copy", run)]
    assert ends[0] == ends[1], "those of a run that never had averages"


def test_another_decay_takes_effect_from_the_checkpoint_on(tiny_folder, averaged, tmp_path) -> None:
    """The steps before keep theirs, also those that rows have not yet caught up with."""
    shutil.copytree(averaged, tmp_path / "run")
    before = by_hand(checkpoint.newest(averaged))
    go_on(tiny_folder, tmp_path / "run", train_config__ema="decay: 0.1",
          train_config__num_epochs=2, train_config__num_steps=14)  # fmt: skip
    path = checkpoint.newest(tmp_path / "run")
    after, found = floats(path), by_hand(path)
    for name in ("tables.user_emb.weight", "tables.tags_emb.weight"):
        expected = 0.1 * before[name] + 0.9 * after[name].double()
        torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=1e-7)


def test_early_stopping_restores_the_averages_of_the_best_checkpoint(
    tiny_folder, tmp_path, monkeypatch
) -> None:
    """And the final results are of them, once: an average of an average would be another model."""
    scripted(monkeypatch, [0.5, 0.6, 0.55, 0.54])
    results = tiny.pipeline(tiny_folder, tmp_path / "run", **EMA, **EARLY).fit()
    monkeypatch.undo()
    evaluated = tiny.pipeline(tiny_folder, tmp_path / "run", **EMA, **EARLY).evaluate()
    assert checkpoint.preferred(tmp_path / "run").name == "model.ckpt-10"
    assert results == {key: pytest.approx(value, rel=1e-9) for key, value in evaluated.items()}


def test_an_evaluation_that_fails_leaves_the_trained_weights(
    tiny_folder, tmp_path, monkeypatch
) -> None:
    trainers, original = [], Trainer.review

    def review(self: Trainer, *arguments: object, **keywords: object) -> None:
        trainers.append({n: p.clone() for n, p in self.model.named_parameters()})
        try:
            original(self, *arguments, **keywords)
        finally:
            trainers.append(dict(self.model.named_parameters()))

    def fails(*arguments: object, **keywords: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Trainer, "review", review)
    monkeypatch.setattr(evaluate, "evaluate", fails)
    with pytest.raises(ZeroDivisionError):
        tiny.pipeline(tiny_folder, tmp_path / "run", **EMA).fit()
    before, after = trainers
    assert before.keys() == after.keys()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


NEW_TAGS = "feature_configs[feature_name=tags].id_feature."
STILL = {
    "train_config__sparse_optimizer": "sgd_optimizer { lr: 0 }",
    "train_config__dense_optimizer": "sgd_optimizer { lr: 0 }",
    **ONE_EPOCH,
}


@pytest.mark.parametrize("way", ["all", "map", "partial"])
def test_fine_tuning_starts_from_the_averages_and_says_so(
    tiny_folder, averaged, tmp_path, caplog, way
) -> None:
    caplog.set_level(logging.INFO)
    expected = by_hand(checkpoint.newest(averaged))
    changes = {"train_config__fine_tune_checkpoint": averaged}
    if way == "map":
        names = tmp_path / "names.txt"
        names.write_text("".join(f"{n}\t{n}\n" for n in model_of(tiny_folder, averaged)))
        changes["train_config__fine_tune_ckpt_param_map"] = names
    if way == "partial":
        changes["train_config__partial_restore"] = "true"
        changes["feature_configs[feature_name=user]__id_feature__num_buckets"] = 25
    tiny.pipeline(tiny_folder, tmp_path / "run", **STILL, **changes).fit()
    assert any("averaged (train_config.ema)" in line for line in caplog.messages)
    found = floats(checkpoint.newest(tmp_path / "run"))
    for name, weight in found.items():
        if name.startswith("tables.") and name.endswith(".weight"):
            rows = len(expected[name])
            assert len(weight) == (25 if way == "partial" and "user" in name else rows)
            torch.testing.assert_close(
                weight[:rows].double(), expected[name], rtol=1e-5, atol=1e-7, msg=name
            )
    assert not [name for name in found if name.startswith("ema.")]


def test_a_check_says_what_the_averages_are_for(tiny_folder, tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO)
    tiny.pipeline(tiny_folder, tmp_path, train_config__ema="{}").check()
    [line] = [line for line in caplog.messages if line.startswith("train_config.ema: ")]
    assert "evaluations and exports use averages of the weights" in line
    assert "1,000 steps" in line
    assert "0.999" in line


def test_a_damaged_count_of_averages_is_told_by_file_and_name(
    tiny_folder, averaged, monkeypatch
) -> None:
    opened = checkpoint.open_checkpoint(checkpoint.newest(averaged))
    del opened.state["averages"]["log_decay"]
    session = tiny.session(tiny_folder, **EMA)
    for act in (
        lambda: averages.restore(opened, tiny.train_step(session)),
        lambda: averages.read(opened, state.weights(session.built.model)),
    ):
        with pytest.raises(CheckpointError, match=r"state\.json lacks averages.*log_decay"):
            act()


def test_sharded_tables_are_refused_with_averages(tiny_folder) -> None:
    with pytest.raises(ConfigError, match=r"table_placement: does not work with train_config\.ema"):
        tiny.session(
            tiny_folder,
            **EMA,
            train_config__table_placement="SHARDED",
            train_config__sparse_optimizer="sgd_optimizer { lr: 0.1 }",
        )
