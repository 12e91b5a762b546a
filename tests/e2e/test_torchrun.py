"""Jobs of several processes, as a user starts them, and what happens when something does."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cases import some
from e2e import tiny

from tzmmoe.data.plan.lanes import Lanes
from tzmmoe.run.results import TRAINING_RESULTS, results_of_step
from tzmmoe.system import checkpoint

VICTIM = Path(__file__).with_name("rank_victim.py")


def command(world: int, words: Sequence[str], *, restarts: int = 0) -> list[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*torchrun, f"--nproc_per_node={world}", f"--max_restarts={restarts}", *words]


def flags(folder: Path, model_dir: Path, **changes: object) -> list[str]:
    settings = [f"--set={path.replace('__', '.')}={value}" for path, value in changes.items()]
    return ["--pipeline_config", f"{folder}/tiny.config", "--model_dir", str(model_dir), *settings]


def job(world: int, words: Sequence[str], *, restarts: int = 0) -> tuple[int, str, float]:
    """Exit code, what was printed, and seconds."""
    begin = time.monotonic()
    done = subprocess.run(
        command(world, words, restarts=restarts),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr, time.monotonic() - begin


def train(world: int, folder: Path, model_dir: Path, *more: str, **changes: object) -> str:
    words = ["-m", "tzmmoe.train", *flags(folder, model_dir, **changes), *more]
    code, printed, _ = job(world, words)
    assert code == 0, printed
    return printed


@pytest.fixture(scope="module")
def of_two(tiny_folder, tmp_path_factory) -> tuple[Path, str]:
    """The model_dir of an undisturbed job of two processes, and what it printed."""
    model_dir = tmp_path_factory.mktemp("two") / "model"
    return model_dir, train(2, tiny_folder, model_dir)


def test_a_job_of_two_leaves_what_one_process_leaves_and_says_it_once(of_two, tiny_folder) -> None:
    """200 rows in batches of 16 for each: 7 steps an epoch, two epochs."""
    model_dir, printed = of_two
    steps = [checkpoint.open_checkpoint(path).step for path in checkpoint.find(model_dir)]
    assert steps == [5, 10, 13]
    assert {path.name for path in model_dir.iterdir()} >= {
        *("train.log", "runs.jsonl", "pipeline.config", TRAINING_RESULTS)
    }
    assert printed.count("values of the first 200 rows") == 1
    assert printed.count("saved ") == printed.count("evaluation of ") == 3


def test_the_evaluation_of_two_is_that_of_one_process(of_two, tiny_folder) -> None:
    model_dir, _ = of_two
    alone = tiny.pipeline(tiny_folder, model_dir).evaluate()
    together = results_of_step(model_dir / TRAINING_RESULTS, 13)
    assert alone["auc_ctr"] == together["auc_ctr"]
    assert alone["auc_cvr"] == together["auc_cvr"]
    for key in alone:
        assert together[key] == pytest.approx(alone[key], abs=1e-7), key  # losses are float32


@pytest.mark.long
def test_another_number_of_processes_goes_on_in_the_middle_of_an_epoch(
    tiny_folder, tmp_path
) -> None:
    """Two processes stop after 4 of 7 steps of 32 rows; three go on with the 72 rows left, in
    batches of 16 each, so in two steps; and one does with the next epoch."""
    model_dir = tmp_path / "model"
    train(2, tiny_folder, model_dir, train_config__num_steps=4)
    train(3, tiny_folder, model_dir, "--continue_train", train_config__num_epochs=1)
    assert checkpoint.newest(model_dir).name == "model.ckpt-5"
    tiny.pipeline(tiny_folder, model_dir).fit(continue_train=True)
    assert checkpoint.newest(model_dir).name == f"model.ckpt-{5 + 13}"


@pytest.mark.long
def test_predictions_of_three_are_those_of_one_in_the_order_of_the_rows(
    of_two, tiny_folder, tmp_path
) -> None:
    model_dir, _ = of_two
    words = ["--predict_input_path", f"{tiny_folder}/eval.parquet", "--reserved_columns", "row"]
    target = tmp_path / "parts"
    given = [*flags(tiny_folder, model_dir), *words, "--predict_output_path", str(target)]
    code, printed, _ = job(3, ["-m", "tzmmoe.predict", *given])
    assert code == 0, printed
    assert "wrote 60 predictions" in printed
    assert sorted(path.name for path in target.iterdir()) == [
        f"part-{rank}.parquet" for rank in range(3)
    ]
    alone = tmp_path / "alone.parquet"
    tiny.pipeline(tiny_folder, model_dir).predict(
        f"{tiny_folder}/eval.parquet", str(alone), reserved_columns=["row"]
    )
    parts = [pq.read_table(target / f"part-{rank}.parquet") for rank in range(3)]
    together, whole = pa.concat_tables(parts), pq.read_table(alone)
    assert together["row"].to_pylist() == whole["row"].to_pylist()
    for name in whole.column_names:
        found, expected = (np.array(each[name].to_pylist()) for each in (together, whole))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    file = [*given[:-1], str(tmp_path / "one.parquet")]
    code, printed, _ = job(2, ["-m", "tzmmoe.predict", *file])
    assert code != 0
    assert printed.count("2 processes cannot write to a single file; choose a folder") == 1


@pytest.mark.long
@pytest.mark.parametrize("step", [3, 8])
def test_a_job_whose_process_is_killed_goes_on_by_itself_to_the_same_end(
    of_two, tiny_folder, tmp_path, step
) -> None:
    """Before the first checkpoint and after it; torchrun starts all processes anew."""
    model_dir = tmp_path / "model"
    words = [str(VICTIM), "killed", str(step), *flags(tiny_folder, model_dir)]
    code, printed, _ = job(2, words, restarts=1)
    assert code == 0, printed
    assert tiny.end(model_dir) == tiny.end(of_two[0])


@pytest.mark.parametrize(
    ("when", "doing"),
    # Who is killed at once after an exchange may take the end of it along.
    some([("killed", ".+"), ("killed before", "(taking step 3|summing values)")], ("killed", ".+")),
)
def test_a_killed_process_ends_the_job_in_seconds_and_is_named(
    tiny_folder, tmp_path, when, doing
) -> None:
    """Also while the others exchange the gradients of a step."""
    words = [str(VICTIM), when, "3", *flags(tiny_folder, tmp_path / "model")]
    code, printed, seconds = job(2, words)
    assert code != 0
    assert seconds < 40
    assert "(SIGKILL)" in printed
    assert "rank      : 1" in printed.partition("Root Cause")[2]
    assert re.search(f"rank 0: .*another process while {doing}: ", printed), printed
    assert "Traceback" not in printed.partition("another process")[0]


@pytest.mark.long
def test_a_loss_that_is_not_a_number_in_one_process_ends_all(tiny_folder, tmp_path) -> None:
    words = [str(VICTIM), "not a number", "7", *flags(tiny_folder, tmp_path / "model")]
    code, printed, _ = job(2, words)
    assert code != 0
    found = "rank 1: binary_cross_entropy_cvr is NaN or infinite at step 7; the last checkpoint is"
    assert printed.count(found) == 1
    assert "model.ckpt-5" in printed.split(found)[1].splitlines()[0]


@pytest.mark.long
def test_a_value_that_one_process_cannot_read_ends_all_with_its_place(
    tiny_folder, tmp_path
) -> None:
    """In the chunk after the first save, whose steps are kept."""
    table, file = tiny.rows(0, 1000), tmp_path / "bad" / "0.parquet"
    changes = {"train_input_path": tmp_path / "bad", "data_config__shuffle_buffer_size": 2}
    model_dir = tmp_path / "model"
    # The second process meets the row in its seventh chunk: after 6 chunks of 32 rows, 12 steps.
    delivery = tiny.session(tiny_folder, model_dir, **changes).settings.train_delivery
    (share,) = replace(delivery, rank=1, world=2).plan(0, [str(file)], {str(file): 1000})
    bad = Lanes(share.spans, share.lanes, share.chunk_rows).stretches(6)[0].begin
    clicks = [7 if row == bad else int(v) for row, v in enumerate(table["click"].to_pylist())]
    place = table.schema.get_field_index("click")
    tiny.write(table.set_column(place, "click", pa.array(clicks)), file)
    words = flags(tiny_folder, model_dir, data_config__num_workers=0, **changes)
    code, printed, _ = job(2, ["-m", "tzmmoe.train", *words])
    assert code != 0
    assert printed.count("rank 1: ") == 1
    assert f"rank 1: {file}, row {bad + 1:,}, column 'click' (label): 7 is" in printed
    assert "model.ckpt-11 holds the steps before" in printed
    assert checkpoint.newest(model_dir).name == "model.ckpt-11"


@pytest.mark.long
def test_a_signal_stops_all_at_one_step_and_the_job_goes_on_to_the_same_end(
    of_two, tiny_folder, tmp_path
) -> None:
    model_dir = tmp_path / "model"
    many = {"train_config__save_checkpoints_steps": 50, "eval_input_path": ""}
    words = flags(tiny_folder, model_dir, train_config__num_epochs=300, **many)
    started = command(2, ["-m", "tzmmoe.train", *words])
    with subprocess.Popen(started, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "saved " in line:
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stderr.read()
    assert process.returncode != 0
    assert "stopping" in rest
    stopped = checkpoint.newest(model_dir)
    step = checkpoint.open_checkpoint(stopped).step
    assert 50 <= step < 2000
    more = many | {"train_config__num_steps": step + 8}
    train(2, tiny_folder, model_dir, "--continue_train", **more)
    whole = tmp_path / "whole"
    train(2, tiny_folder, whole, **more)
    assert tiny.tensors(checkpoint.newest(model_dir)) == tiny.tensors(checkpoint.newest(whole))


@pytest.mark.long
def test_a_process_that_is_stuck_is_named_and_the_others_end(tiny_folder, tmp_path) -> None:
    """torchrun gives the stuck one half a minute to end, and kills it then."""
    changes = {"runtime_config__collective_timeout": "5s"}
    words = [str(VICTIM), "stopped", "3", *flags(tiny_folder, tmp_path / "model", **changes)]
    code, printed, seconds = job(2, words)
    assert code != 0
    assert seconds < 90
    assert "Ranks 1 failed to pass monitoredBarrier" in printed


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"train_config__num_epoch": 3}, "no such field; did you mean 'num_epochs'?"),
        ({"train_input_path": "nowhere.parquet"}, "nowhere.parquet: does not exist"),
        ({"data_config__label_fields": '["clik"]'}, "click"),
    ],
)
def test_what_all_processes_meet_is_said_once(tiny_folder, tmp_path, changes, found) -> None:
    words = flags(tiny_folder, tmp_path / "model", **changes)
    code, printed, _ = job(4, ["-m", "tzmmoe.train", *words])
    assert code != 0
    assert sum(found in line for line in printed.splitlines()) == 1, printed


@pytest.mark.long
def test_when_a_machine_is_lost_those_that_are_left_go_on_to_the_end(tiny_folder, tmp_path) -> None:
    """Two agents of torchrun stand for two machines; one is killed, with its process, at step 8."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=1:2", "--max_restarts=2"]
    torchrun += ["--nproc_per_node=1", "--rdzv_backend=c10d", f"--rdzv_endpoint={endpoint}"]
    torchrun += ["--rdzv_id=machines", "--rdzv_conf=last_call_timeout=2"]
    model_dir = tmp_path / "model"
    words = [*torchrun, str(VICTIM), "machine lost", "8", *flags(tiny_folder, model_dir)]
    agents = []
    for name in ("first", "second"):
        with (tmp_path / name).open("w") as printed:
            agents.append(subprocess.Popen(words, stdout=printed, stderr=subprocess.STDOUT))
        time.sleep(1)
    codes = sorted(agent.wait(timeout=150) for agent in agents)
    printed = (tmp_path / "first").read_text() + (tmp_path / "second").read_text()
    assert codes == [-signal.SIGKILL, 0], printed
    assert "continuing after step 5 of" in printed
    assert len((model_dir / "runs.jsonl").read_text().splitlines()) == 2
    # Steps 0 to 5 of two processes take 6 * 32 of the 200 rows of the first epoch; one process then
    # has the other 8 in one step, and 13 steps of the second epoch.
    assert checkpoint.newest(model_dir).name == f"model.ckpt-{5 + 1 + 13}"
