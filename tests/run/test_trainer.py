"""The training loop: when it saves, evaluates and stops, and what stops it."""

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from cases import some
from e2e import tiny
from torch import Tensor

from tzmmoe.batch import Position
from tzmmoe.errors import DataError, Interrupted, NotFiniteError
from tzmmoe.learning.schedules import IdleParts
from tzmmoe.run import state
from tzmmoe.run.ends import Best, Finite, Interruption, Timeout, Watch
from tzmmoe.run.fit import TrainRun
from tzmmoe.run.history import History
from tzmmoe.run.progress import Progress
from tzmmoe.run.shown.profile import Profile
from tzmmoe.run.trainer import Evaluate, Trainer
from tzmmoe.system import checkpoint
from tzmmoe.system.environment import STOPPING

EPOCH = 13  # steps: 200 rows in batches of 16


def trainer(
    folder: Path,
    model_dir: Path,
    evaluate: Evaluate | None = None,
    watch: Watch | None = None,
    **changes: object,
) -> Trainer:
    session = tiny.session(folder, model_dir, **changes)
    settings, tasks = session.settings, session.built.tasks
    path, every = settings.files.train_input_path, settings.training.log_step_count_steps
    interruption = Interruption(session.runtime.world, Timeout())
    refuse, device = interruption.lockstep.refuse, session.runtime.device
    return Trainer(
        session=session,
        step=tiny.train_step(session),
        schedules=settings.learning.schedules(),
        idle=IdleParts(settings.learning.schedules(), {}),
        loader=session.loader(path, "--train_input_path", tasks.columns(), training=True),
        evaluate=evaluate,
        watch=watch or Watch(),
        interruption=interruption,
        finite=Finite(tasks.loss_keys(), device, model_dir, refuse),
        progress=Progress(every=every, total_steps=lambda: None, folder=None),
        history=History(model_dir, session.runtime.world),
        speed=None,
        profile=Profile(),
    )


def saved_steps(model_dir: Path) -> list[int]:
    return [checkpoint.open_checkpoint(path).step for path in checkpoint.find(model_dir)]


def following(values: Sequence[float]) -> tuple[Evaluate, list[int]]:
    """Gives these values of ``auc``, one after the other, and notes when it was asked."""
    asked: list[int] = []

    def evaluate(step: int, *, is_last: bool) -> dict[str, float]:
        asked.append(step)
        return {"auc": values[len(asked) - 1]}

    return evaluate, asked


def loading_threads() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("read", "encode"))]


@pytest.mark.parametrize(
    ("changes", "saved"),
    [
        ({"train_config__num_steps": 1}, [0]),
        ({"train_config__num_steps": 7}, [5, 6]),
        ({"train_config__num_steps": 11}, [5, 10]),
        ({"train_config__num_epochs": 1}, [5, 10, 12]),
        ({"train_config__num_steps": 30}, [5, 10, 15, 20, 25, 29]),
        ({"train_config__num_epochs": 2, "train_config__num_steps": 11}, [5, 10]),
        ({"train_config__num_epochs": 1, "train_config__num_steps": 30}, [5, 10, 12]),
        ({"train_config__num_epochs": 3, "train_config__save_checkpoints_epochs": 1}, [12, 25, 38]),
        ({"train_config__num_epochs": 3, "train_config__save_checkpoints_epochs": 2}, [25, 38]),
        ({"train_config__num_steps": 20, "train_config__save_checkpoints_epochs": 1}, [12, 19]),
        (
            {"train_config__num_epochs": 1, "train_config__save_checkpoints_steps": 1},
            list(range(1, 13)),
        ),
        ({"train_config__num_epochs": 1, "train_config__save_checkpoints_steps": 999}, [12]),
    ],
    ids=lambda value: str(value) if isinstance(value, list) else "",
)
def test_checkpoints_come_by_steps_or_epochs_and_at_the_end_and_each_is_evaluated_once(
    tiny_folder, tmp_path, changes, saved
) -> None:
    """After N steps the checkpoint is called N - 1; none comes after the very first step."""
    evaluate, asked = following([0.5] * 100)
    made = trainer(tiny_folder, tmp_path, evaluate, **changes)
    made.fit()
    assert saved_steps(tmp_path) == asked == saved
    assert made.steps == saved[-1] + 1


def test_epochs_are_passes_over_all_rows(tiny_folder, tmp_path) -> None:
    """30 steps are 2 epochs of 13 and 4 batches of the third; its order is its own."""
    made = trainer(tiny_folder, tmp_path, train_config__num_steps=30)
    made.fit()
    assert made.position.epoch == 2
    assert made.position.row == 4 * 16
    assert made.loader.order.epoch == 2


def test_evaluation_sees_the_weights_of_the_checkpoint_and_training_goes_on_after_it(
    tiny_folder, tmp_path
) -> None:
    modes, seen = [], {}

    def evaluate(step: int, *, is_last: bool) -> dict[str, float]:
        made.model.eval()
        seen[step] = {n: t.clone() for n, t in state.weights(made.model).items()}
        return {}

    made = trainer(tiny_folder, tmp_path, evaluate, train_config__num_epochs=1)
    made.model.register_forward_pre_hook(lambda module, inputs: modes.append(module.training))
    made.fit()
    assert modes == [True] * EPOCH
    for step, weights in seen.items():
        opened = checkpoint.open_checkpoint(tmp_path / f"model.ckpt-{step}")
        found = {name: torch.full_like(tensor, 7) for name, tensor in weights.items()}
        opened.read(found)
        assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())


def test_evaluating_does_not_change_what_is_learned(tiny_folder, tmp_path) -> None:
    tiny.pipeline(tiny_folder, tmp_path / "a").fit()
    tiny.pipeline(tiny_folder, tmp_path / "b", eval_input_path="").fit()
    one, other = (tiny.tensors(tmp_path / run / "model.ckpt-25") for run in ("a", "b"))
    assert one == other


def test_the_newest_checkpoints_are_kept_and_the_best_beside_them(tiny_folder, tmp_path) -> None:
    evaluate, _ = following([0.5, 0.9, 0.6, 0.7, 0.8])
    watch = Watch(best=Best("auc", larger_is_better=True))
    made = trainer(tiny_folder, tmp_path, evaluate, watch, train_config__keep_checkpoint_max=2)
    made.fit()
    assert saved_steps(tmp_path) == [10, 20, 25]


def test_early_stopping_counts_evaluations_and_leaves_the_best_checkpoint(
    tiny_folder, tmp_path
) -> None:
    evaluate, asked = following([0.5, 0.7, 0.6, 0.7, 0.65, 0.9])
    watch = Watch(stopping=Best("auc", larger_is_better=True), patience=3)
    made = trainer(
        tiny_folder,
        tmp_path,
        evaluate,
        watch,
        train_config__num_epochs=100,
        train_config__keep_checkpoint_max=1,
    )
    made.fit()
    assert asked == [5, 10, 15, 20, 25]
    assert made.steps == 26
    assert saved_steps(tmp_path) == [10, 25]
    assert loading_threads() == []


def with_rows(folder: Path, source: Path, change: Callable[[pa.Table], pa.Table]) -> Path:
    """Another tiny folder, whose training rows are changed; read in their order."""
    made = tiny.write_all(folder)
    for file in (made / "train").iterdir():
        number = int(file.stem)
        tiny.write(change(tiny.rows(sum(tiny.FILES[:number]), tiny.FILES[number])), file)
    return made


def test_a_loss_that_is_not_finite_stops_the_run_with_its_task_and_step(
    tiny_folder, tmp_path, monkeypatch
) -> None:
    made = trainer(tiny_folder, tmp_path / "run")
    loss = made.tasks.tasks[1].losses["binary_cross_entropy"]
    original, calls = loss.forward, count()

    def overflowing(logits: Tensor, labels: Tensor) -> Tensor:
        return original(logits, labels) * (math.inf if next(calls) == 6 else 1)

    monkeypatch.setattr(loss, "forward", overflowing)
    with pytest.raises(NotFiniteError) as caught:
        made.fit()
    message = str(caught.value)
    assert message.startswith("binary_cross_entropy_cvr is NaN or infinite at step 6; ")
    assert f"the last checkpoint is {tmp_path / 'run' / 'model.ckpt-5'}" in message
    assert saved_steps(tmp_path / "run") == [5]
    assert loading_threads() == [], "although the error still holds the frames of the loop"


def test_weights_that_a_step_made_infinite_are_not_saved(tiny_folder, tmp_path) -> None:
    """The loss of that step is finite; without a look at the weights they would be kept."""
    changes = {
        "train_config__dense_optimizer": "sgd_optimizer { lr: 1e-3 } manual_step_learning_rate "
        "{ schedule_sizes: [9] learning_rates: [1e300] }",
        "train_config__gradient_accumulation_steps": 1,
    }
    made = trainer(tiny_folder, tmp_path, **changes)
    with pytest.raises(NotFiniteError) as caught:
        made.fit()
    message = str(caught.value)
    assert " is NaN or infinite after step 10; the last checkpoint is" in message
    assert message.startswith("model.")
    assert saved_steps(tmp_path) == [5]


def test_the_first_step_may_fail_before_there_is_a_checkpoint(tiny_folder, tmp_path) -> None:
    folder = with_rows(
        tmp_path / "data",
        tiny_folder,
        lambda t: t.set_column(t.column_names.index("price"), "price", pa.array([3e38] * len(t))),
    )
    made = trainer(folder, tmp_path / "run", train_config__dense_optimizer="sgd_optimizer {}")
    with pytest.raises(NotFiniteError, match=r"at step [01]; there is no checkpoint yet"):
        made.fit()


def test_files_without_a_full_batch_are_an_error(tiny_folder, tmp_path) -> None:
    folder = tiny.write_all(tmp_path / "data", files=(3, 4))
    made = trainer(folder, tmp_path / "run", data_config__drop_remainder="true")
    with pytest.raises(
        DataError, match=r"parquet: .* 7 rows, fewer than a batch of 16.*drop_remainder"
    ):
        made.fit()
    assert checkpoint.find(tmp_path / "run") == []


@pytest.fixture
def at_step(monkeypatch) -> Callable[[int, Callable[[], None]], None]:
    """Calls something within a step of the next training, after the loss and before the end."""
    due: dict[int, Callable[[], None]] = {}
    tiny.after_each_step(monkeypatch, lambda number: due.pop(number, lambda: None)())
    return due.__setitem__


def kill(signum: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), signum)


@pytest.mark.parametrize("signum", STOPPING)
def test_a_signal_ends_the_run_after_its_step_with_a_checkpoint(
    tiny_folder, tmp_path, at_step, signum
) -> None:
    tests_own, before = signal.signal(signum, signal.SIG_DFL), signal.SIG_DFL
    try:
        made = trainer(tiny_folder, tmp_path)
        at_step(7, kill(signum))
        with pytest.raises(Interrupted) as caught:
            made.fit()
    finally:
        restored = signal.signal(signum, tests_own)
    assert caught.value.signum == signum
    assert made.steps == 8
    assert saved_steps(tmp_path) == [5, 7]
    assert restored is before
    assert loading_threads() == []


def test_a_second_signal_goes_where_it_would_have_gone_without_the_run(
    tiny_folder, tmp_path, at_step
) -> None:
    came = []
    before = signal.signal(signal.SIGTERM, lambda *arguments: came.append(arguments))
    try:
        made = trainer(tiny_folder, tmp_path)

        def twice() -> None:
            kill(signal.SIGTERM)()
            assert came == []
            kill(signal.SIGTERM)()

        at_step(7, twice)
        with pytest.raises(Interrupted):
            made.fit()
        assert len(came) == 1
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_second_signal_during_the_save_waits_for_its_end(
    tiny_folder, tmp_path, at_step, monkeypatch, caplog
) -> None:
    """Where it would have gone without the run, nothing arrives."""
    came, save = [], checkpoint.save
    before = signal.signal(signal.SIGTERM, lambda *arguments: came.append(arguments))

    def saving(*arguments: object) -> object:
        kill(signal.SIGTERM)()
        kill(signal.SIGINT)()
        return save(*arguments)

    monkeypatch.setattr(checkpoint, "save", saving)
    try:
        made = trainer(tiny_folder, tmp_path)
        at_step(7, lambda: None)
        with pytest.raises(Interrupted) as caught:
            made.fit()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (caught.value.signum, came) == (signal.SIGTERM, [])
    assert saved_steps(tmp_path) == [5]
    assert "stopping as soon as the checkpoint is saved" in caplog.messages


def test_a_signal_that_is_ignored_stays_ignored(tiny_folder, tmp_path, at_step) -> None:
    """As SIGHUP is under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        made = trainer(tiny_folder, tmp_path)
        at_step(7, kill(signal.SIGHUP))
        made.fit()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert saved_steps(tmp_path)[-1] == 25


def test_a_run_in_another_thread_leaves_signals_alone(tiny_folder, tmp_path) -> None:
    made = trainer(tiny_folder, tmp_path, train_config__num_steps=2)
    thread = threading.Thread(target=made.fit)
    thread.start()
    thread.join()
    assert saved_steps(tmp_path) == [1]


BY_STEPS = {"train_config__num_epochs": 2}
BY_EPOCHS = BY_STEPS | {"train_config__save_checkpoints_epochs": 1}


@pytest.mark.parametrize(
    ("changes", "step"),
    some(
        [(BY_STEPS, step) for step in (0, 5, 8, 12, 20, 25)]
        + [(BY_EPOCHS, step) for step in (3, 12, 25)],
        *((BY_STEPS, step) for step in (0, 5, 12, 25)),
        (BY_EPOCHS, 12),
    ),
    ids=lambda value: (
        str(value) if isinstance(value, int) else "epochs" if len(value) > 1 else "steps"
    ),
)
def test_a_run_that_was_stopped_by_a_signal_ends_like_one_that_was_not(
    tiny_folder, tmp_path, at_step, whole, changes, step
) -> None:
    """Also where a checkpoint was due at that step, at the end of an epoch, and of the run."""
    stopped = tiny.pipeline(tiny_folder, tmp_path / "stopped", **changes)
    at_step(step, kill(signal.SIGTERM))
    with pytest.raises(Interrupted):
        stopped.fit()
    tiny.pipeline(tiny_folder, tmp_path / "stopped", **changes).fit(continue_train=True)
    assert ends(tmp_path / "stopped") == whole[len(changes)]


@pytest.fixture(scope="module")
def whole(tiny_folder, tmp_path_factory) -> dict[int, dict[str, bytes]]:
    """What undisturbed runs come to, by the number of their changes."""
    found = {}
    for changes in (BY_STEPS, BY_EPOCHS):
        model_dir = tmp_path_factory.mktemp("whole")
        tiny.pipeline(tiny_folder, model_dir, **changes).fit()
        found[len(changes)] = ends(model_dir)
    return found


def ends(model_dir: Path) -> dict[str, bytes]:
    """As tiny.end; whether an evaluation is due is told by the results themselves."""
    found = tiny.end(model_dir)
    found["state.json"] = found["state.json"].replace(b'"evaluates": false', b'"evaluates": true')
    return found


def test_a_line_is_logged_every_so_many_steps_and_at_the_end(tiny_folder, tmp_path, caplog) -> None:
    made = trainer(
        tiny_folder,
        tmp_path,
        train_config__num_epochs=1,
        train_config__log_step_count_steps=5,
    )
    with caplog.at_level(logging.INFO):
        made.fit()
    lines = [line for line in caplog.messages if line.startswith("step ")]
    assert [line.split(" | ")[0] for line in lines] == ["step 5", "step 10", "step 13"]
    for line in lines:
        losses = dict(part.split() for part in line.split(" | ")[2:5])
        total = losses.pop("loss")
        assert math.isclose(float(total), sum(map(float, losses.values())), abs_tol=2e-4)


def test_the_values_of_the_first_epoch_are_reported_once(tiny_folder, tmp_path, caplog) -> None:
    with caplog.at_level(logging.INFO):
        trainer(tiny_folder, tmp_path, train_config__num_epochs=3).fit()
    reports = [line for line in caplog.messages if line.startswith("values of the first")]
    assert len(reports) == 1
    city = sum(value is None for value in tiny.rows(0, sum(tiny.FILES))["city"].to_pylist())
    assert f"{city / sum(tiny.FILES):.2%}" in reports[0]


def test_resuming_continues_from_position_and_step(tiny_folder, tmp_path) -> None:
    """Without a checkpoint due, nothing is saved or evaluated again."""
    evaluate, asked = following([0.5] * 10)
    made = trainer(tiny_folder, tmp_path, evaluate, train_config__num_steps=8)
    made.resume(Position(epoch=0, row=0), 8, is_reviewed=True)
    made.fit()
    assert made.steps == 8
    assert asked == saved_steps(tmp_path) == []


def test_fitting_builds_the_same_run_as_these_tests(tiny_folder, tmp_path) -> None:
    """So that what is shown here holds for the command line."""
    trainer(tiny_folder, tmp_path / "here").fit()
    session = tiny.session(tiny_folder, tmp_path / "there", eval_input_path="")
    TrainRun(session, began=time.monotonic()).run()
    one, other = (tiny.tensors(tmp_path / run / "model.ckpt-25") for run in ("here", "there"))
    assert one == other


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("which", [0, -1], ids=["first", "last"])
def test_a_signal_during_an_evaluation_ends_the_run_which_another_makes_up_for(
    tiny_folder, tmp_path, signum, which
) -> None:
    """The checkpoint is there already; whoever goes on evaluates it."""
    steps = [5, 10, 15, 20, 25]

    def evaluate(step: int, *, is_last: bool) -> dict[str, float]:
        if step == steps[which]:
            os.kill(os.getpid(), signum)
            made.interruption.stop_if_asked()
            pytest.fail("the evaluation went on")
        made.interruption.stop_if_asked()
        return {"auc": 0.5}

    made = trainer(tiny_folder, tmp_path, evaluate)
    with pytest.raises(Interrupted) as stopped:
        made.fit()
    assert stopped.value.signum == signum
    newest = checkpoint.open_checkpoint(checkpoint.newest(tmp_path))
    assert newest.step == steps[which]
    assert newest.state["evaluates"] is True
