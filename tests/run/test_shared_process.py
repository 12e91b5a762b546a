"""A process that trains may belong to a larger program: its state, threads, forks and pickles."""

import logging
import os
import pickle
import random
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest
import torch
from e2e import tiny
from forked import CONTEXT
from run.runs import ONE_EPOCH, weights

from tzmmoe.errors import ConfigError
from tzmmoe.pipeline import Pipeline
from tzmmoe.system.runtime import borrowed

DROPOUT = ONE_EPOCH | {"model_config__mmoe__expert_mlp__dropout_ratio": "[0.3]"}
LAST = "model.ckpt-12"


def shared() -> dict[str, Any]:
    """What all threads and libraries of a process share."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    loggers = [logging.getLogger(), logging.getLogger("tzmmoe")]
    return {
        "torch": torch.get_rng_state().tolist(),
        "seed": torch.initial_seed(),
        "numpy": [str(part) for part in np.random.get_state()],  # noqa: NPY002
        "python": random.getstate(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warns": torch.is_deterministic_algorithms_warn_only_enabled(),
        "benchmark": torch.backends.cudnn.benchmark,
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "environment": dict(os.environ),
        "signals": [signal.getsignal(signum) for signum in signals],
        "loggers": [(logger.level, list(logger.handlers)) for logger in loggers],
        "dtype": torch.get_default_dtype(),
        "folder": Path.cwd(),
    }


@pytest.fixture
def users_settings() -> Iterator[None]:
    """Settings that differ from those of a run."""
    torch.manual_seed(7)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = True
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = False


@pytest.mark.usefixtures("users_settings")
def test_the_process_is_afterwards_as_it_was(tiny_folder: Path, tmp_path: Path) -> None:
    """All that sets seeds or modes: loading, training, evaluating, predicting, exporting, and a run
    that fails."""
    settings = {"runtime_config__deterministic": True, "train_config__cuda_matmul_allow_tf32": True}
    before = shared()
    made = tiny.pipeline(tiny_folder, tmp_path / "m", **DROPOUT, **settings)
    made.fit()
    assert shared() == before
    made.evaluate()
    made.predict(str(tiny_folder / "eval.parquet"), str(tmp_path / "predictions.parquet"))
    made.export(str(tmp_path / "export"))
    assert shared() == before
    with pytest.raises(ConfigError):
        tiny.pipeline(tiny_folder, tmp_path / "n", train_config__num_epochs=-1).fit()
    assert shared() == before


def test_runs_of_several_threads_end_like_each_alone(tiny_folder: Path, tmp_path: Path) -> None:
    """With dropout and two seeds, so that a shared random state would show."""

    def trained(name: str, seed: int) -> tuple[dict[str, bytes], dict[str, float]]:
        changes = DROPOUT | {"runtime_config__seed": seed}
        results = tiny.pipeline(tiny_folder, tmp_path / name, **changes).fit()
        return weights(tmp_path / name / LAST), results

    alone = [trained(f"alone{seed}", seed) for seed in (1, 2)]
    assert alone[0] != alone[1]
    with ThreadPoolExecutor(4) as pool:
        names = [f"thread{number}" for number in range(4)]
        assert list(pool.map(trained, names, [1, 2, 1, 2])) == alone * 2


FORKS = """
import multiprocessing, os, sys, threading
import torch
from pathlib import Path
from e2e import tiny
from run.runs import ONE_EPOCH

data, folder = map(Path, sys.argv[1:])

def fit(name):
    tiny.pipeline(data, folder / name, **ONE_EPOCH).fit()

def count():
    return len(os.listdir("/proc/self/task"))

def train(name, queue):
    before = count()
    torch.ones(10 ** 6).add_(1)
    queue.put((name, torch.get_num_threads(), count() - before))
    fit(name)

torch.set_num_threads(3)
torch.ones(10 ** 6).add_(1)  # starts threads
fit("parent")
torch.ones(10 ** 6).add_(1)
context = multiprocessing.get_context("fork")
queue = context.Queue()
for name in ("first", "second"):
    child = context.Process(target=train, args=(name, queue), daemon=True)
    child.start()
    print(*queue.get(timeout=60))
    child.join(60)
    assert child.exitcode == 0, child.exitcode
fit("again")
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux does")
def test_forked_processes_train_like_their_parent_with_as_many_threads(
    tiny_folder: Path, tmp_path: Path
) -> None:
    """OpenMP's threads do not survive a fork, and a process that waits for them hangs."""
    done = forked.run("-c", FORKS, tiny_folder, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["first 3 2", "second 3 2"]  # beside the child's own thread
    of_parent = weights(tmp_path / "parent" / LAST)
    for name in ("first", "second", "again"):
        assert weights(tmp_path / name / LAST) == of_parent


def test_a_pickled_pipeline_predicts_the_same_in_a_new_process(
    tiny_folder: Path, run: Path, tmp_path: Path
) -> None:
    made = tiny.pipeline(tiny_folder, run, **ONE_EPOCH)
    source, here, there = tiny_folder / "eval.parquet", tmp_path / "1.csv", tmp_path / "2.csv"
    made.predict(str(source), str(here))
    with ProcessPoolExecutor(1, mp_context=CONTEXT) as pool:
        pool.submit(made.predict, str(source), str(there)).result(timeout=120)
    assert there.read_text() == here.read_text()


def test_a_pickled_pipeline_still_names_the_lines_of_its_config(
    tiny_folder: Path, tmp_path: Path
) -> None:
    made = tiny.pipeline(tiny_folder, tmp_path / "m")
    copy: Pipeline = pickle.loads(pickle.dumps(made))
    for pipeline in (made, copy):
        pipeline.config.faults.add("data_config.batch_size", "is odd")
    with pytest.raises(ConfigError) as one:
        made.fit()
    with pytest.raises(ConfigError) as other:
        copy.fit()
    assert str(one.value) == str(other.value)
    assert ":" in str(one.value).partition("data_config")[0]


def test_a_call_of_another_thread_waits_and_says_so(
    tiny_folder: Path, run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    results: list[dict[str, float]] = []
    made = tiny.pipeline(tiny_folder, run, **ONE_EPOCH)
    thread = threading.Thread(target=lambda: results.append(made.evaluate()))
    with borrowed():
        thread.start()
        thread.join(0.5)
        assert not results
    thread.join(60)
    assert results == [made.evaluate()]
    assert any("waiting for another thread" in line for line in caplog.messages)
