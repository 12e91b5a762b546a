"""Taking a batch into metrics stays in one thread."""

import subprocess
import sys
from pathlib import Path

import pytest

COUNTED = """
import os
import torch
import parts
from tzmmoe.tasks.task import TaskSpace
from tzmmoe.tasks.taskset import TaskSet

def count():
    return len(os.listdir("/proc/self/task"))

torch.set_num_threads(4)
num_rows = 8192
space = TaskSpace("click", 1.0, 0.0)
metrics = ["auc {}", "grouped_auc { grouping_key: 'user' }", "f1 {}", "calibration {}"]
tasks = TaskSet([
    parts.task("cvr", label="buy", space=space, metric=metrics),
    parts.task("ctr", label="click", metric=["auc { thresholds: 200 }", "accuracy {}"]),
])
one = torch.ones(num_rows)
one[::2] = 0
columns = {"click": one, "buy": one.flip(0), "user": torch.arange(num_rows) % 100}
batch = parts.batch(columns)
outputs = tasks.predict({"cvr": one - 0.5, "ctr": one - 0.5})
before = count()
tasks.update(outputs, batch)
after = count()
big = torch.ones(10 ** 6)
big[big > 0].add_(1)
print(torch.get_num_threads(), before, after, count())
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux does")
def test_metrics_of_a_batch_of_8192_rows_start_no_threads() -> None:
    """They are too small to gain from threads, and where other jobs share the cores, each meeting
    of threads may take as long as the batch. A large tensor shows that there are threads to start.
    """
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-W", "ignore", "-c", COUNTED]
    environment = {"PYTHONPATH": f"{tests}:{tests.parent}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    threads, before, after, with_large = map(int, done.stdout.split())
    assert threads == 4
    assert after == before
    assert with_large == before + 3
