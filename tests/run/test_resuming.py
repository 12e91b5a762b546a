"""A run that goes on: from its last checkpoint, to the end that it would have come to."""

import json
import logging
import shutil
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from e2e import tiny
from messages import says
from run.runs import ONE_EPOCH, go_on, scripted, steps, weights

from tzmmoe.errors import CheckpointError, DataError, Interrupted
from tzmmoe.run import state
from tzmmoe.run.results import TRAINING_RESULTS, read_results, results_of_step
from tzmmoe.run.trainer import Trainer
from tzmmoe.system import checkpoint
from tzmmoe.system.digest import sha256
from tzmmoe.system.world import World


def test_a_folder_with_a_checkpoint_is_not_trained_in_without_being_asked(tiny_folder, run) -> None:
    before = tiny.files_of(run)
    with pytest.raises(
        CheckpointError, match=r"holds model\.ckpt-12; to train, pass continue_train=True"
    ):
        tiny.pipeline(tiny_folder, run).fit()
    assert tiny.files_of(run) == before


def test_a_finished_run_says_so_and_leaves_everything(tiny_folder, run, caplog) -> None:
    before = tiny.files_of(run)
    with caplog.at_level(logging.INFO):
        go_on(tiny_folder, run)
    [said] = [line for line in caplog.messages if line.startswith("already finished")]
    assert "step 12" in said
    assert "num_epochs" in said
    assert "training files" in said
    after = tiny.files_of(run)
    changed = {name for name in after if after[name] != before.get(name)}
    expected = {"runs.jsonl", "train.log", "pipeline.config"}  # which tells the folder's new place
    assert changed == expected


def test_a_run_that_is_past_a_lowered_num_epochs_trains_no_further(
    tiny_folder, tmp_path, monkeypatch, caplog
) -> None:
    """A signal stopped it at step 15, in the second epoch; it ends as a finished run, with an
    evaluation of where it stands and the predictions."""
    caplog.set_level(logging.INFO)
    run, predictions = tmp_path / "run", tmp_path / "predictions.parquet"
    saving = Trainer._stop_on_signal

    def stop(self: Trainer) -> None:
        self.interruption.received = signal.SIGINT if self.steps == 16 else 0
        saving(self)

    monkeypatch.setattr(Trainer, "_stop_on_signal", stop)
    with pytest.raises(Interrupted):
        tiny.pipeline(tiny_folder, run, train_config__save_checkpoints_steps=99).fit()
    monkeypatch.undo()
    before = tiny.tensors(checkpoint.newest(run))
    results = go_on(tiny_folder, run, eval_config__predictions_path=predictions)
    assert steps(run) == [15]
    assert tiny.tensors(checkpoint.newest(run)) == before
    assert (
        "already finished at step 15: epoch 2 of the checkpoint is past num_epochs 1; to "
        "continue, raise num_epochs"
    ) in caplog.messages
    evaluated = results_of_step(run / TRAINING_RESULTS, 15)
    assert results == {key: value for key, value in evaluated.items() if key != "global_step"}
    assert pq.read_table(predictions).num_rows == tiny.EVAL_ROWS
    go_on(tiny_folder, run, train_config__num_epochs=2)
    assert steps(run) == [15, 20, 25]


def test_a_finished_run_goes_on_with_files_that_are_named_later(tiny_folder, run, tmp_path) -> None:
    """40 new rows are 3 steps; the old ones are not read again, and may be gone."""
    new = tiny.write(tiny.rows(500, 40), tmp_path / "new.parquet")
    go_on(tiny_folder, run, train_input_path=f"{tiny_folder}/train,{new}")
    assert steps(run) == [5, 10, 12, 15]
    last = tiny.write(tiny.rows(600, 16), tmp_path / "last.parquet")
    new.unlink()
    go_on(tiny_folder, run, train_input_path=last)
    assert steps(run) == [5, 10, 12, 15, 16]


def test_a_file_that_has_rows_to_be_read_must_be_named(tiny_folder, tmp_path) -> None:
    tiny.pipeline(tiny_folder, tmp_path, train_config__num_steps=6).fit()
    other = tiny.write(tiny.rows(500, 40), tmp_path / "new.parquet")
    with pytest.raises(DataError, match=r"\.parquet: .*train_input_path.*add it"):
        go_on(tiny_folder, tmp_path, train_input_path=other, train_config__num_steps=20)


def test_leftovers_of_a_save_that_was_cut_off_are_removed(tiny_folder, run) -> None:
    shutil.copytree(run / "model.ckpt-12", run / ".writing-model.ckpt-25")
    (run / ".writing-model.ckpt-25" / "state.json").unlink()
    go_on(tiny_folder, run)
    assert not list(run.glob(".writing*"))


def test_a_checkpoint_whose_evaluation_was_cut_off_is_evaluated_on_resume(
    tiny_folder, finished, run
) -> None:
    """Whether its line is not there or torn; in the end all is as if nothing had happened."""
    whole = (finished / TRAINING_RESULTS).read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for length in (last, last + 30):
        (run / TRAINING_RESULTS).write_bytes(whole[:length])
        returned = go_on(tiny_folder, run)
        assert (run / TRAINING_RESULTS).read_bytes() == whole
        line = results_of_step(finished / TRAINING_RESULTS, 12)
        assert returned == {key: line[key] for key in line if key != "global_step"}
    assert tiny.end(run) == tiny.end(finished)


ON = {"train_config__num_steps": 18, "train_config__num_epochs": 2}


def test_the_results_of_the_last_evaluation_count_when_a_run_goes_on(
    tiny_folder, tmp_path, monkeypatch
) -> None:
    """The checkpoint was written before its evaluation, so only the results know of it."""
    changes = {"train_config__keep_checkpoint_max": 1, "train_config__num_steps": 11}
    scripted(monkeypatch, [0.5, 0.9])
    tiny.pipeline(tiny_folder, tmp_path, **changes).fit()
    scripted(monkeypatch, [0.6, 0.7])
    go_on(tiny_folder, tmp_path, **changes | ON)
    assert steps(tmp_path) == [10, 17], "the newest, and the best, which is from the first run"


def test_a_run_goes_on_although_it_is_evaluated_by_another_metric_than_before(
    tiny_folder, run
) -> None:
    go_on(
        tiny_folder,
        run,
        train_config__num_steps=20,
        train_config__num_epochs=2,
        **{"model_config__mmoe__task_towers[0]__metrics": "{ logloss {} }"},
    )
    lines = read_results(run / TRAINING_RESULTS)
    assert [line["global_step"] for line in lines] == [5, 10, 12, 12, 15, 19]
    assert ["logloss_ctr" in line for line in lines] == [False] * 3 + [True] * 3


def damage(path: Path) -> None:
    """Flip a bit of a checkpoint's tensors."""
    [file] = (path / "tensors").glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def test_a_damaged_checkpoint_is_told_and_the_one_before_leads_to_the_same_end(
    tiny_folder, finished, run, caplog
) -> None:
    damage(run / "model.ckpt-12")
    go_on(tiny_folder, run)
    [said] = [line for line in caplog.messages if "kept as" in line]
    says(said, "safetensors is damaged", "kept as model.ckpt-12.damaged", "from model.ckpt-10")
    assert "delete" not in said
    assert (run / "model.ckpt-12.damaged" / "state.json").exists()
    assert tiny.tensors(run / "model.ckpt-12") == tiny.tensors(finished / "model.ckpt-12")
    lines = read_results(run / TRAINING_RESULTS)
    assert lines[-1] == lines[-2], "step 12 was evaluated once more, with the same results"


def test_of_several_damaged_checkpoints_the_newest_whole_one_counts_and_the_last_is_kept(
    tiny_folder, finished, run
) -> None:
    damage(run / "model.ckpt-12")
    (run / "model.ckpt-10" / "state.json").unlink()
    go_on(tiny_folder, run)
    assert tiny.tensors(run / "model.ckpt-12") == tiny.tensors(finished / "model.ckpt-12")
    for path in (run / "model.ckpt-5", run / "model.ckpt-10", run / "model.ckpt-12"):
        damage(path)
    with pytest.raises(CheckpointError, match=r"model\.ckpt-5.* is damaged; there is no earlier"):
        go_on(tiny_folder, run)
    assert (run / "model.ckpt-5" / "state.json").exists()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_checkpoint_to_which_ids_had_other_forms_is_told_where_it_matters(
    tmp_path, suffix, caplog
) -> None:
    """Earlier versions did not record csv_quoting; in a CSV file, 102.0 was another id than 102."""
    folder, model_dir = tiny.write_all(tmp_path / "data", suffix=suffix), tmp_path / "run"
    made = tiny.pipeline(folder, model_dir, train_config__num_steps=3)
    made.fit()
    made.evaluate()
    assert "earlier version" not in caplog.text
    path = checkpoint.newest(model_dir)
    state_file, sums_file = path / "state.json", path / "checksums.json"
    facts = json.loads(state_file.read_text())
    del facts["csv_quoting"]
    state_file.write_text(json.dumps(facts))
    sums = json.loads(sums_file.read_text()) | {"state.json": sha256(state_file)}
    sums_file.write_text(json.dumps(sums))
    made.evaluate()
    said = [line for line in caplog.messages if "earlier version" in line]
    assert [("102.0" in line) for line in said] == [True] * (suffix == ".csv")


def test_another_optimizer_needs_to_be_told_to_begin_afresh(tiny_folder, run) -> None:
    """The weights stay; the moments and the count of the steps are new."""
    changes = {
        "train_config__sparse_optimizer": "adagrad_optimizer { lr: 0 } constant_learning_rate {}",
        "train_config__dense_optimizer": "sgd_optimizer { lr: 0 } constant_learning_rate {}",
        "train_config__num_steps": 16,
        "train_config__num_epochs": 2,
        "model_config__mmoe__task_towers[1]__mlp__use_bn": "true",
    }
    with pytest.raises(CheckpointError, match=r"pass ignore_restore_optimizer=True"):
        go_on(tiny_folder, run, **changes)
    go_on(tiny_folder, run, ignore=True, **changes)
    old, new = weights(run / "model.ckpt-12"), weights(run / "model.ckpt-15")
    changed = {name for name in old if old[name] != new[name]}
    assert all("norm.running" in name or "num_batches" in name for name in changed)
    state_after = checkpoint.open_checkpoint(run / "model.ckpt-15").state
    assert state_after["steps"] == 16
    assert state_after["sparse_steps"] == 3


def test_a_run_that_goes_on_restores_randomness_and_moments(tiny_folder, finished) -> None:
    """What the law of resuming rests on, named, so that a failure is easy to find."""
    opened = checkpoint.open_checkpoint(finished / "model.ckpt-12")
    session = tiny.session(tiny_folder)
    step = tiny.train_step(session)
    state.restore_weights(opened, session.built.model)
    state.restore_optimizers(opened, step)
    state.restore_random(opened, session.runtime.device, World())
    named = {
        **state.weights(session.built.model),
        **state.optimizer_state(step),
        **state.by_rank([state.random_state(session.runtime.device)]),
    }
    assert named.keys() == opened.shapes().keys()
    found = tiny.tensors(finished / "model.ckpt-12")
    for name, tensor in named.items():
        assert found[name].endswith(tensor.detach().numpy().tobytes())


def test_a_bad_value_costs_no_step_that_was_done(tmp_path) -> None:
    """The checkpoint of the steps before is there, and with the file mended the run goes on as if
    nothing had been wrong."""
    folder = tiny.write_all(tmp_path / "data")
    kept = shutil.copy2(folder / "train/1.parquet", tmp_path / "kept")
    changes = {
        **ONE_EPOCH,
        "data_config__shuffle_buffer_size": 1,
        "train_config__save_checkpoints_steps": 99,
    }
    tiny.pipeline(folder, tmp_path / "whole", **changes).fit()
    rows = pq.read_table(folder / "train/1.parquet")
    bad = [*rows["click"].to_pylist()[:40], 7, *rows["click"].to_pylist()[41:]]
    place = rows.column_names.index("click")
    pq.write_table(rows.set_column(place, "click", [bad]), folder / "train/1.parquet")
    run = tiny.pipeline(folder, tmp_path / "run", **changes)
    with pytest.raises(DataError, match="row 41, column 'click'"):
        run.fit()
    assert checkpoint.open_checkpoint(checkpoint.newest(tmp_path / "run")).step >= 1
    shutil.copy2(kept, folder / "train/1.parquet")
    with pytest.raises(CheckpointError, match=r"1\.parquet: has different content"):
        run.fit(continue_train=True)  # rows of it were learned, and could now be others
    run.fit(continue_train=True, accept_changes=True)
    assert tiny.end(tmp_path / "run") == tiny.end(tmp_path / "whole")
