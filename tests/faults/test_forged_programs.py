"""Programs of exports that are forged at random are refused, or give outputs of the usual form."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from faults import forged
from serving.small import Small

MOST_S, MOST_KIB = 30, 400_000
FEATURES = [
    'id_feature { feature_name: "one" num_buckets: 50 embedding_dim: 4 }',
    'id_feature { feature_name: "many" num_buckets: 30 embedding_dim: 4 separator: "|" '
    'pooling: "mean" }',
    'id_feature { feature_name: "weighted" num_buckets: 20 embedding_dim: 3 separator: "|" '
    "weighted: true }",
    'raw_feature { feature_name: "number" }',
]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    names = ["one", "many", "weighted", "number"]
    return Small.build(folder, FEATURES, names=names).export(folder / "export")


def opened(good: Path, folder: Path, seeds: range) -> list[dict]:
    """What came of the exports of the seeds, in a process of their own."""
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, forged.__file__, good, folder, str(seeds.start), str(seeds.stop)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tests), *sys.path])},
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (done.returncode, lines[-1:], done.stderr[-2000:])
    return [line for line in lines if "seed" in line]


LAST = 1200 if os.environ.get("ALL_FAULTS") else 200
SAMPLES = [range(60), pytest.param(range(60, LAST), marks=pytest.mark.long)]


@pytest.mark.parametrize("seeds", SAMPLES, ids=["sample", "many"])
def test_a_program_that_is_forged_at_random_is_refused_or_harmless(good, tmp_path, seeds) -> None:
    """Neither a traceback nor a crash, nor much time or memory."""
    found = opened(good, tmp_path, seeds)
    assert [line["seed"] for line in found] == list(seeds)
    for line in found:
        assert line["outcome"] in ("refused", "scored"), line
        assert line["s"] < MOST_S, line
        assert line["taken_kib"] < MOST_KIB, line
    outcomes = Counter(line["outcome"] for line in found)
    assert min(outcomes.values()) > len(seeds) / 50, outcomes
    assert len(outcomes) == 2, "the forgeries are all alike"
