"""A scorer in other processes: those that were forked after it was used, and new ones."""

import os
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
from forked import CONTEXT
from messages import says
from serving.small import Small

from tzmmoe.errors import CheckpointError
from tzmmoe.serving.scorer import Scorer

FEATURE = 'id_feature { feature_name: "word" hash_bucket_size: 50 embedding_dim: 4 }'
ROWS = [{"word": str(number)} for number in range(64)]

FORKS = """
import ctypes, json, os, signal, sys
import torch
from tzmmoe.serving.scorer import Scorer

torch.set_num_threads(2)
scorer = Scorer.load(sys.argv[1])
rows = [{"word": ["a", "b"]}] * 64
before = scorer.score(rows)["probs_ctr"].tolist()
torch.set_num_threads(3)
torch.ones(10 ** 6).add_(1)

def work():
    signal.alarm(60)  # ends a process that hangs
    same = scorer.score(rows)["probs_ctr"].tolist() == before
    torch.ones(10 ** 6).add_(1)
    print(same, torch.get_num_threads(), flush=True)
    os._exit(0)

for _ in range(2):
    child = os.fork() if sys.argv[2] == "python" else ctypes.pythonapi.fork()
    if child == 0:
        if sys.argv[2] == "c":
            ctypes.pythonapi.PyOS_AfterFork_Child()
        work()
    assert os.waitpid(child, 0)[1] == 0
assert scorer.score(rows)["probs_ctr"].tolist() == before
"""


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    return Small.build(folder, [FEATURE], names=["word"]).export(folder / "export")


@pytest.mark.parametrize(("forked_by", "threads"), [("python", 3), ("c", 1)])
def test_workers_that_were_forked_after_a_request_answer(
    forked_by: str, threads: int, export: Path
) -> None:
    """OpenMP's threads do not survive a fork, and a program that waits for them hangs. They end
    before Python forks. A server written in C forks without telling Python; its child uses one
    thread."""
    run = forked.run("-c", FORKS, export, forked_by)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [f"True {threads}"] * 2
    if forked_by == "c":
        says(run.stderr, "forked", "one thread")


def scored(scorer: Scorer) -> tuple[int, dict[str, list[float]]]:
    return os.getpid(), {name: part.tolist() for name, part in scorer.score(ROWS).items()}


def test_a_pool_of_new_processes_scores_with_a_pickled_scorer(
    export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that was loaded by a relative path, and one on a device."""
    monkeypatch.chdir(export.parent)
    scorers = [Scorer.load(export), Scorer.load("export", torch.device("cpu"))]
    with ProcessPoolExecutor(2, mp_context=CONTEXT) as pool:
        monkeypatch.chdir("/")
        answers = list(pool.map(scored, scorers * 2, timeout=120))
    assert os.getpid() not in {process for process, _ in answers}
    assert [outputs for _, outputs in answers] == [scored(scorers[0])[1]] * 4


def test_a_scorer_of_an_export_that_was_replaced_is_not_unpickled(
    export: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    shutil.copytree(export, folder)
    content: Any = pickle.dumps(Scorer.load(folder))
    assert scored(pickle.loads(content)) == scored(Scorer.load(export))
    shutil.rmtree(folder)
    other = FEATURE.replace("50", "51")
    (tmp_path / "other").mkdir()
    Small.build(tmp_path / "other", [other], names=["word"]).export(folder)
    with pytest.raises(CheckpointError) as error:
        pickle.loads(content)
    says(error.value, str(folder), "another model", "pickle")
