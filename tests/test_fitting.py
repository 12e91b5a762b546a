"""Runs in a model_dir: beginning, going on, finishing, and what they leave there."""

import json
import logging
import math
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from e2e import tiny

from tzmmoe import checkpoint, train
from tzmmoe.errors import CheckpointError, ConfigError, DataError
from tzmmoe.fitting import Fitting, read_map
from tzmmoe.training import report, state

ONE_EPOCH = {"train_config__num_epochs": 1}  # 13 steps, checkpoints 5, 10 and 12
KEYS = ["auc_ctr", "auc_cvr", "binary_cross_entropy_ctr", "binary_cross_entropy_cvr", "val_loss"]


@pytest.fixture(scope="module")
def finished(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model_dir of a run over one epoch; read it, and copy it to go on."""
    model_dir = tmp_path_factory.mktemp("finished") / "run"
    tiny.pipeline(tiny_folder, model_dir, **ONE_EPOCH).fit()
    return model_dir


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of that model_dir."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


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

    def evaluate(self: Fitting, trainer: object, step: int) -> dict[str, float]:
        results = {"auc_ctr": next(left), "val_loss": 1.0}
        report.append(self.session.model_dir / report.TRAINING, step, results)
        return results

    monkeypatch.setattr(Fitting, "_evaluate", evaluate)


def test_each_evaluation_is_a_line_with_the_step_and_all_keys(finished) -> None:
    lines = [json.loads(line) for line in (finished / report.TRAINING).read_text().splitlines()]
    assert [list(line) for line in lines] == [["global_step", *KEYS]] * 3
    assert [line["global_step"] for line in lines] == steps(finished) == [5, 10, 12]
    for line in lines:
        losses = [line[key] for key in KEYS if key.startswith("binary")]
        assert line["val_loss"] == pytest.approx(sum(losses))


def test_the_last_line_is_what_fit_returns_and_what_eval_finds(tiny_folder, finished, run) -> None:
    returned = go_on(tiny_folder, run)
    evaluated = tiny.pipeline(tiny_folder, run).evaluate()
    line = json.loads((finished / report.TRAINING).read_text().splitlines()[-1])
    assert returned == line
    assert evaluated == {key: line[key] for key in KEYS}
    alone = json.loads((run / "eval_result.txt").read_text())
    assert alone == line


def test_what_cannot_be_computed_is_null(tiny_folder, tmp_path) -> None:
    """AUC of rows that are all of one class."""
    rows = tiny.rows(0, 20)
    rows = rows.set_column(rows.column_names.index("click"), "click", pa.array([1] * 20))
    changes = ONE_EPOCH | {"eval_input_path": tiny.write(rows, tmp_path / "eval.parquet")}
    returned = tiny.pipeline(tiny_folder, tmp_path / "run", **changes).fit()
    assert math.isnan(returned["auc_ctr"])
    last = (tmp_path / "run" / report.TRAINING).read_text().splitlines()[-1]
    assert json.loads(last, parse_constant=pytest.fail)["auc_ctr"] is None


def test_without_eval_files_nothing_is_evaluated(tiny_folder, tmp_path) -> None:
    changes = ONE_EPOCH | {"eval_input_path": ""}
    assert tiny.pipeline(tiny_folder, tmp_path, **changes).fit() == {}
    assert steps(tmp_path) == [5, 10, 12]
    assert not (tmp_path / report.TRAINING).exists()


def test_the_folder_tells_with_what_the_run_was_made(tiny_folder, finished, run) -> None:
    go_on(tiny_folder, run, train_config__num_epochs=2)
    config = (run / "pipeline.config").read_text()
    assert "num_epochs: 2" in config
    assert "num_epochs: 1" in (finished / "pipeline.config").read_text()
    assert (run / "model.ckpt-25" / "pipeline.config").read_text() == config
    lines = [json.loads(line) for line in (run / "runs.jsonl").read_text().splitlines()]
    assert [line["first_step"] for line in lines] == [0, 13]
    assert {"torch", "pyarrow", "tzmmoe", "device", "command"} <= lines[1].keys()


def test_a_folder_with_a_checkpoint_is_not_trained_in_without_being_asked(tiny_folder, run) -> None:
    before = tiny.files_of(run)
    with pytest.raises(CheckpointError, match=r"holds model\.ckpt-12; pass --continue_train"):
        tiny.pipeline(tiny_folder, run).fit()
    assert tiny.files_of(run) == before


def test_a_finished_run_says_so_and_leaves_everything(tiny_folder, run, caplog) -> None:
    before = tiny.files_of(run)
    with caplog.at_level(logging.INFO):
        go_on(tiny_folder, run)
    [said] = [line for line in caplog.messages if line.startswith("nothing was left to train")]
    assert "the run ended with step 12" in said
    assert "num_epochs" in said
    assert "training files" in said
    after = tiny.files_of(run)
    changed = {name for name in after if after[name] != before.get(name)}
    expected = {"runs.jsonl", "train.log", "pipeline.config"}  # which tells the folder's new place
    assert changed == expected


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
    with pytest.raises(DataError, match=r"still has to read this file, but --train_input_path"):
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
    whole = (finished / report.TRAINING).read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for length in (last, last + 30):
        (run / report.TRAINING).write_bytes(whole[:length])
        returned = go_on(tiny_folder, run)
        assert (run / report.TRAINING).read_bytes() == whole
        assert returned["global_step"] == 12
    assert tiny.end(run) == tiny.end(finished)


def test_the_results_of_the_last_evaluation_count_when_a_run_goes_on(
    tiny_folder, tmp_path, monkeypatch
) -> None:
    """The checkpoint was written before its evaluation, so only the results know of it."""
    changes = {"train_config__keep_checkpoint_max": 1, "train_config__num_steps": 11}
    scripted(monkeypatch, [0.5, 0.9])
    tiny.pipeline(tiny_folder, tmp_path, **changes).fit()
    scripted(monkeypatch, [0.6, 0.7])
    go_on(tiny_folder, tmp_path, **changes | {"train_config__num_steps": 18})
    assert steps(tmp_path) == [10, 17], "the newest, and the best, which is from the first run"


def test_a_run_goes_on_although_it_is_evaluated_by_another_metric_than_before(
    tiny_folder, run
) -> None:
    go_on(
        tiny_folder,
        run,
        train_config__num_steps=20,
        **{"model_config__mmoe__task_towers[0]__metrics": "{ logloss {} }"},
    )
    lines = report.read(run / report.TRAINING)
    assert [line["global_step"] for line in lines] == [5, 10, 12, 12, 15, 19]
    assert ["logloss_ctr" in line for line in lines] == [False] * 3 + [True] * 3


def test_a_damaged_checkpoint_is_told_and_the_one_before_leads_to_the_same_end(
    tiny_folder, finished, run
) -> None:
    [file] = (run / "model.ckpt-12" / "tensors").glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"is damaged; .*the one before, model\.ckpt-10"):
        go_on(tiny_folder, run)
    shutil.rmtree(run / "model.ckpt-12")
    go_on(tiny_folder, run)
    assert tiny.tensors(run / "model.ckpt-12") == tiny.tensors(finished / "model.ckpt-12")
    lines = report.read(run / report.TRAINING)
    assert lines[-1] == lines[-2], "step 12 was evaluated once more, with the same results"


def test_another_optimizer_needs_to_be_told_to_begin_afresh(tiny_folder, run) -> None:
    """The weights stay; the moments and the count of the steps are new."""
    changes = {
        "train_config__sparse_optimizer": "adagrad_optimizer { lr: 0 } constant_learning_rate {}",
        "train_config__dense_optimizer": "sgd_optimizer { lr: 0 } constant_learning_rate {}",
        "train_config__num_steps": 16,
        "model_config__mmoe__task_towers[1]__mlp__use_bn": "true",
    }
    with pytest.raises(CheckpointError, match=r"pass --ignore_restore_optimizer"):
        go_on(tiny_folder, run, **changes)
    go_on(tiny_folder, run, ignore=True, **changes)
    old, new = weights(run / "model.ckpt-12"), weights(run / "model.ckpt-15")
    changed = {name for name in old if old[name] != new[name]}
    assert all("norm.running" in name or "num_batches" in name for name in changed)
    state_after = checkpoint.open_checkpoint(run / "model.ckpt-15").state
    assert state_after["steps"] == 16
    assert state_after["sparse_steps"] == 3


def test_fine_tuning_begins_with_the_weights_of_another_run_at_step_0(
    tiny_folder, finished, tmp_path
) -> None:
    """A model_dir stands for its newest checkpoint. Rates of 0 show what it began with."""
    still = {
        "train_config__sparse_optimizer": "sgd_optimizer { lr: 0 } constant_learning_rate {}",
        "train_config__dense_optimizer": "sgd_optimizer { lr: 0 } constant_learning_rate {}",
        "train_config__num_steps": 1,
        "model_config__mmoe__task_towers[1]__mlp__use_bn": "true",
    }
    for source in (finished, finished / "model.ckpt-5"):
        target = tmp_path / source.name
        tiny.pipeline(tiny_folder, target, **still, train_config__fine_tune_checkpoint=source).fit()
        old = weights(checkpoint.preferred(source) if source == finished else source)
        new = weights(target / "model.ckpt-0")
        assert {n for n in old if old[n] != new[n]} == {
            n for n in old if "norm.r" in n or "_batches" in n
        }


def test_with_a_map_fine_tuning_takes_only_what_it_names(tiny_folder, finished, tmp_path) -> None:
    lines = tmp_path / "map.txt"
    name = "tables.user_emb.weight"
    lines.write_text(f"{name}\t{name}\n\n")
    changes = {
        "train_config__num_steps": 1,
        "train_config__sparse_optimizer": "sgd_optimizer { lr: 0 } constant_learning_rate {}",
    }
    run = tiny.pipeline(
        tiny_folder,
        tmp_path / "run",
        **changes,
        train_config__fine_tune_checkpoint=finished,
        train_config__fine_tune_ckpt_param_map=lines,
    )
    run.fit()
    taken, source = weights(tmp_path / "run" / "model.ckpt-0"), weights(finished / "model.ckpt-12")
    tables = [each for each in source if each.startswith("tables.")]
    assert [each for each in tables if taken[each] == source[each]] == [
        "tables.city_emb.weight",
        name,
    ], "city is not trained, so it is the same in every run"


@pytest.mark.parametrize(
    ("content", "said"),
    [("a b c\n", "is not a name here, a tab, and a name there"), (None, "No such file")],
)
def test_a_map_that_cannot_be_read_names_its_setting(tmp_path, content, said) -> None:
    if content is not None:
        (tmp_path / "map.txt").write_text(content)
    with pytest.raises(ConfigError, match=f"fine_tune_ckpt_param_map: .*{said}"):
        read_map(tmp_path / "map.txt")


def test_a_resumed_run_does_not_fine_tune_again(tiny_folder, run, tmp_path) -> None:
    missing = {"train_config__fine_tune_checkpoint": tmp_path / "was/here"}
    before = tiny.tensors(run / "model.ckpt-12")
    go_on(tiny_folder, run, **missing)
    assert tiny.tensors(run / "model.ckpt-12") == before
    with pytest.raises(CheckpointError, match=r"was/here: no checkpoint there"):
        tiny.pipeline(tiny_folder, tmp_path / "fresh", **missing).fit()


EARLY = {
    "train_config__num_epochs": 50,
    "train_config__early_stopping": 'monitor: "auc_ctr" patience: 2',
}


def test_after_early_stopping_evaluation_and_export_use_the_best_checkpoint(
    tiny_folder, tmp_path, monkeypatch, caplog
) -> None:
    scripted(monkeypatch, [0.5, 0.7, 0.6, 0.7])
    run = tmp_path / "run"
    with caplog.at_level(logging.INFO):
        tiny.pipeline(tiny_folder, run, **EARLY).fit()
    assert steps(run) == [5, 10, 15, 20]
    assert "stopped early: auc_ctr did not improve on 0.7 for 2 evaluations" in caplog.text
    tiny.pipeline(tiny_folder, run).evaluate()
    assert json.loads((run / "eval_result.txt").read_text())["global_step"] == 10
    with caplog.at_level(logging.INFO):
        caplog.clear()
        tiny.pipeline(tiny_folder, run).export(str(tmp_path / "export"))
    assert f"weights of {run / 'model.ckpt-10'}" in caplog.text


def test_the_newest_checkpoint_is_the_result_where_the_best_is_not_wanted(
    tiny_folder, tmp_path, monkeypatch
) -> None:
    scripted(monkeypatch, [0.5, 0.7, 0.6, 0.7])
    changes = EARLY | {
        "train_config__early_stopping": 'monitor: "auc_ctr" patience: 2 restore_best_weights: false'
    }
    tiny.pipeline(tiny_folder, tmp_path, **changes).fit()
    assert checkpoint.preferred(tmp_path).name == "model.ckpt-20"


def test_a_run_that_stopped_early_stays_stopped_and_goes_on_with_more_patience(
    tiny_folder, tmp_path, monkeypatch
) -> None:
    scripted(monkeypatch, [0.5, 0.7, 0.6, 0.7])
    tiny.pipeline(tiny_folder, tmp_path, **EARLY).fit()
    go_on(tiny_folder, tmp_path, **EARLY)
    assert steps(tmp_path)[-1] == 20
    assert checkpoint.preferred(tmp_path).name == "model.ckpt-10"
    scripted(monkeypatch, [0.8, 0.1, 0.1, 0.1])
    patient = EARLY | {"train_config__early_stopping": 'monitor: "auc_ctr" patience: 3'}
    go_on(tiny_folder, tmp_path, **patient)
    assert steps(tmp_path)[-1] == 40, "0.8 at step 25 began the count anew"
    assert checkpoint.preferred(tmp_path).name == "model.ckpt-25"


@pytest.mark.parametrize(
    ("export", "step"),
    [
        ('exporter_type: "best" best_exporter_metric: "auc_ctr"', 10),
        ('exporter_type: "best" best_exporter_metric: "auc_ctr" metric_larger_is_better: false', 5),
        ('exporter_type: "latest"', 12),
    ],
)
def test_the_config_tells_which_checkpoint_is_exported(
    tiny_folder, tmp_path, monkeypatch, caplog, export, step
) -> None:
    scripted(monkeypatch, [0.5, 0.7, 0.6])
    tiny.pipeline(tiny_folder, tmp_path / "run", **ONE_EPOCH).fit()
    made = tiny.pipeline(tiny_folder, tmp_path / "run", export_config=export)
    with caplog.at_level(logging.INFO):
        made.export(str(tmp_path / "export"))
    assert f"weights of {tmp_path / 'run'}/model.ckpt-{step}" in caplog.text


def test_predictions_of_the_last_evaluation_lie_beside_labels_and_reserved_columns(
    tiny_folder, tmp_path, finished
) -> None:
    """The same file when the finished run is asked for it later, or evaluated with it."""
    files = [tmp_path / f"{name}.parquet" for name in ("fit", "later", "eval")]
    changes = ONE_EPOCH | {"eval_config__reserved_columns": "[row, city]"}
    tiny.pipeline(
        tiny_folder, tmp_path / "run", **changes, eval_config__predictions_path=files[0]
    ).fit()
    go_on(tiny_folder, tmp_path / "run", **changes, eval_config__predictions_path=files[1])
    tiny.pipeline(tiny_folder, tmp_path / "run", **changes).evaluate(predictions_path=files[2])
    fit, later, evaluated = (pq.read_table(file) for file in files)
    assert fit.equals(later)
    assert fit.equals(evaluated)
    rows = tiny.rows(100_000, tiny.EVAL_ROWS)
    for name in ("row", "city", "click", "buy"):
        assert fit[name].to_pylist() == rows[name].to_pylist()
    outputs = {f"{kind}_{task}" for kind in ("logits", "probs") for task in ("ctr", "cvr")}
    assert set(fit.column_names) == outputs | {"row", "city", "click", "buy"}
    logits, probs = (torch.tensor(fit[f"{kind}_ctr"].to_pylist()) for kind in ("logits", "probs"))
    torch.testing.assert_close(probs, logits.sigmoid())
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, torch.tensor(fit["click"].to_pylist(), dtype=torch.float32)
    )
    assert report.read(tmp_path / "run" / report.TRAINING)[-1][
        "binary_cross_entropy_ctr"
    ] == pytest.approx(float(loss), rel=1e-5)


def test_what_is_missing_for_the_end_is_told_before_the_first_step(tiny_folder, tmp_path) -> None:
    """A run should not fail after hours for an evaluation file that was never there."""
    run = tmp_path / "run"
    with pytest.raises(DataError, match=r"nowhere\.parquet: is not there \(--eval_input_path\)"):
        tiny.pipeline(tiny_folder, run, eval_input_path=tmp_path / "nowhere.parquet").fit()
    narrow = tiny.write(tiny.rows(0, 9).drop_columns(["buy"]), tmp_path / "narrow.parquet")
    with pytest.raises(DataError, match=r"narrow\.parquet: no column 'buy'"):
        tiny.pipeline(tiny_folder, run, eval_input_path=narrow).fit()
    with pytest.raises(ConfigError, match=r"'val_los' is not evaluated; did you mean 'val_loss'"):
        tiny.pipeline(tiny_folder, run, train_config__early_stopping='monitor: "val_los"').fit()
    with pytest.raises(ConfigError, match="has no effect without eval_input_path"):
        tiny.pipeline(tiny_folder, run, **EARLY, eval_input_path="").fit()
    assert not run.exists()


def test_a_seed_below_zero_is_refused(tiny_folder, tmp_path) -> None:
    """numpy would refuse it at the first shuffle, with a traceback."""
    with pytest.raises(ConfigError, match=r"runtime_config\.seed: is -1; give 0 or more"):
        tiny.pipeline(tiny_folder, tmp_path, runtime_config__seed=-1).check()


def test_a_warning_of_the_files_comes_once_for_each_path_and_not_with_every_evaluation(
    tiny_folder, tmp_path, caplog
) -> None:
    tiny.pipeline(tiny_folder, tmp_path, **ONE_EPOCH).fit()
    said = [line for line in caplog.messages if "which is Parquet" in line]
    assert len(said) == 2


def test_the_flags_of_the_command_do_what_their_names_say(tiny_folder, finished, tmp_path) -> None:
    flags = [
        *("--pipeline_config", str(tiny_folder / "tiny.config"), "--device", "cpu"),
        *("--model_dir", str(tmp_path / "run"), "--set", "train_config.num_steps=3"),
    ]
    predictions = tmp_path / "predictions.parquet"
    train.main([*flags, "--check", "--fine_tune_checkpoint", str(finished)])
    assert not (tmp_path / "run").exists()
    train.main(
        [*flags, "--fine_tune_checkpoint", str(finished), "--predictions_path", str(predictions)]
    )
    assert pq.read_table(predictions).num_rows == tiny.EVAL_ROWS
    assert f'fine_tune_checkpoint: "{finished}"' in (tmp_path / "run/pipeline.config").read_text()
    flags[-1] = "train_config.num_steps=5"
    train.main([*flags, "--continue_train", "--ignore_restore_optimizer"])
    assert checkpoint.open_checkpoint(tmp_path / "run/model.ckpt-4").state["sparse_steps"] == 2


def test_a_check_builds_and_reads_but_writes_nothing(tiny_folder, tmp_path, caplog) -> None:
    with caplog.at_level(logging.INFO):
        tiny.pipeline(tiny_folder, tmp_path / "run", train_config__use_tensorboard="true").check()
    assert "the config fits the data; the first batch has 16 rows" in caplog.text
    assert not (tmp_path / "run").exists()


def test_accumulating_over_more_batches_than_there_are_is_told(
    tiny_folder, tmp_path, caplog
) -> None:
    changes = ONE_EPOCH | {"train_config__gradient_accumulation_steps": 14}
    tiny.pipeline(tiny_folder, tmp_path, **changes).fit()
    assert "the dense part never steps: the run has 13 steps" in caplog.text
    first, last = (
        tiny.tensors(tmp_path / f"model.ckpt-{step}")["model.towers.tower_ctr.linear.weight"]
        for step in (5, 12)
    )
    assert first == last


def test_the_summary_counts_rows_and_bytes_of_tables(tiny_folder, tmp_path, caplog) -> None:
    with caplog.at_level(logging.INFO):
        tiny.pipeline(tiny_folder, tmp_path / "run").check()
    [summary] = [text for text in caplog.messages if text.startswith("table ")]
    lines = {line.split()[0]: line.split()[1:] for line in summary.splitlines()}
    assert lines["user_emb"] == ["20", "4", "320", "B"]
    assert lines["city_emb"] == ["9", "3", "108", "B", "(not", "trained)"]
    model = tiny.session(tiny_folder).built.model
    for name in ("body", "towers"):
        count = sum(parameter.numel() for parameter in model.get_submodule(name).parameters())
        assert lines[name] == [f"{count:,}", "parameters"]


def test_tensorboard_files_lie_in_the_folder_of_the_run(tiny_folder, tmp_path) -> None:
    changes = ONE_EPOCH | {"train_config__use_tensorboard": "true"}
    tiny.pipeline(tiny_folder, tmp_path, **changes).fit()
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1


def test_a_run_that_goes_on_restores_randomness_and_moments(tiny_folder, finished) -> None:
    """What the law of resuming rests on, named, so that a failure is easy to find."""
    opened = checkpoint.open_checkpoint(finished / "model.ckpt-12")
    session = tiny.session(tiny_folder)
    optimization = tiny.optimization(session)
    state.restore_weights(opened, session.built.model)
    state.restore_optimizers(opened, optimization)
    state.restore_random(opened, session.runtime.device)
    named = {
        **state.weights(session.built.model),
        **state.optimizer_state(optimization),
        **state.random_state(session.runtime.device),
    }
    assert named.keys() == opened.shapes().keys()
    found = tiny.tensors(finished / "model.ckpt-12")
    for name, tensor in named.items():
        assert found[name].endswith(tensor.detach().numpy().tobytes())


@pytest.mark.parametrize("which", ["train", "eval"])
def test_predictions_never_replace_a_file_that_the_config_names(
    tiny_folder, tmp_path, which
) -> None:
    """And that shows before the run, not after it."""
    folder = tiny.write_all(tmp_path / "data")
    target = folder / "train/1.parquet" if which == "train" else folder / "eval.parquet"
    before = target.read_bytes()
    run = tiny.pipeline(folder, tmp_path / "run", eval_config__predictions_path=target)
    for act in (run.check, run.fit):
        with pytest.raises(DataError, match="is read and would be replaced; name another output"):
            act()
    assert not checkpoint.find(tmp_path / "run")
    trained = tiny.pipeline(folder, tmp_path / "run", **ONE_EPOCH)
    trained.fit()
    with pytest.raises(DataError, match="is read and would be replaced"):
        trained.evaluate(predictions_path=str(target))
    with pytest.raises(DataError, match="is read and would be replaced"):
        trained.predict(str(tiny_folder / "eval.parquet"), str(target))
    assert target.read_bytes() == before


def test_a_later_file_that_lacks_a_column_shows_before_the_first_step(tmp_path) -> None:
    folder = tiny.write_all(tmp_path / "data")
    rows = pq.read_table(folder / "train/2.parquet")
    pq.write_table(rows.drop_columns(["click"]), folder / "train/2.parquet")
    with pytest.raises(DataError, match=r"2\.parquet: no column 'click'"):
        tiny.pipeline(folder, tmp_path / "run").fit()
    assert not (tmp_path / "run").exists()


def test_a_bad_value_costs_no_step_that_was_done(tmp_path) -> None:
    """The checkpoint of the steps before is there, and with the file mended the run goes on as if
    nothing had been wrong."""
    folder = tiny.write_all(tmp_path / "data")
    good = (folder / "train/1.parquet").read_bytes()
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
    (folder / "train/1.parquet").write_bytes(good)
    run.fit(continue_train=True)
    assert tiny.end(tmp_path / "run") == tiny.end(tmp_path / "whole")


@pytest.mark.parametrize("kind", ["file", "in a file"])
def test_a_model_dir_that_cannot_be_made_is_a_fault_of_the_config(
    tiny_folder, tmp_path, kind
) -> None:
    (tmp_path / "file").touch()
    model_dir = tmp_path / "file" / ("" if kind == "file" else "run")
    run = tiny.pipeline(tiny_folder, model_dir)
    for act in (run.check, run.fit):
        with pytest.raises(ConfigError, match=r"model_dir: .*file is a file; name a folder"):
            act()


def test_a_check_tells_the_values_of_the_first_rows_and_minds_the_checkpoints(
    tiny_folder, finished, tmp_path, caplog
) -> None:
    """That all ids lie outside their table should not show only in training."""
    caplog.set_level("INFO")
    first = "feature_configs[feature_name=user]__id_feature__num_buckets"
    tiny.pipeline(tiny_folder, tmp_path, **{first: 1}).check()
    assert "user: " in caplog.text
    assert "rows hold an id outside its table" in caplog.text
    assert "values of the first" in caplog.text
    with pytest.raises(CheckpointError, match="pass --continue_train"):
        tiny.pipeline(tiny_folder, finished).check()
    with pytest.raises(CheckpointError, match="nowhere"):
        tiny.pipeline(tiny_folder, tmp_path, train_config__fine_tune_checkpoint="nowhere").check()
