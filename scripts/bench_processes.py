"""Measures training in several processes on one machine: rows/s, bytes sent per step, memory.

Trains a model of realistic size on synthetic Parquet files with torchrun, and compares the bytes
sent with the prediction of ``exchanged``. If it may create network namespaces (root on Linux), each
job runs in its own, and the bytes are those that passed through its loopback interface.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FEATURES, WIDTH = 16, 16
ALONE = ("REPLICATED",)  # placements that a single process supports
CONFIG = """
train_input_path: "{folder}/train"
train_config {{
  sparse_optimizer {{ adagrad_optimizer {{ lr: 0.01 }} }}
  dense_optimizer {{ adam_optimizer {{ lr: 0.001 }} }}
  num_steps: {steps} save_checkpoints_steps: 1000000 log_step_count_steps: 5 use_tensorboard: false
  table_placement: {placement}
}}
data_config {{ batch_size: {batch} label_fields: ["a", "b"] fg_mode: FG_NONE num_workers: 1 }}
{features}
model_config {{
  feature_groups {{ group_name: "all" feature_names: [{names}] }}
  mmoe {{
    expert_mlp {{ hidden_units: [512, 256, 128] }} num_expert: 3
    task_towers {{ tower_name: "a" label_name: "a" mlp {{ hidden_units: [256, 128, 64] }}
      losses {{ binary_cross_entropy {{}} }} }}
    task_towers {{ tower_name: "b" label_name: "b" mlp {{ hidden_units: [256, 128, 64] }}
      losses {{ binary_cross_entropy {{}} }} }}
  }}
}}
"""
RUN = """
import resource, sys
from tzmmoe.train import main
import logging, os
level = logging.INFO if os.environ["RANK"] == "0" else logging.ERROR
logging.basicConfig(level=level, format="%(message)s", stream=sys.stdout)
main(sys.argv[1:])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(f"peak {peak}", flush=True)
"""
COUNT = "awk '/lo:/ {print \"sent\", $10}' /proc/net/dev"


def exchanged(how: str, processes: int, batch: int, unique: float, dense: int) -> float:
    """Bytes that each of N processes sends per step, with ``batch`` rows in each process.

    Dense part: a ring all-reduce of ``dense`` float32 numbers; each process sends 2 (N - 1) / N of
    them. REPLICATED: each process sends the gradients of its ``unique`` rows, with int64 row
    numbers, to the N - 1 others. By tables: it sends ids and lengths, both int64, to the owners of
    the tables, receives pooled embeddings and sends gradients back, all except its own 1 / N. By
    rows: every process holds rows of every table, so lengths go to all, and all contribute to the
    pooled embeddings; gloo implements this reduce-scatter as a full reduction, which doubles it.
    """
    others, ids = processes - 1, FEATURES * batch
    ring = 2 * others / processes * 4 * dense
    if how == "REPLICATED":
        return ring + unique * (4 * WIDTH + 8) * others
    if how == "table_wise":
        return ring + ids * others / processes * (8 + 8 + 2 * 4 * WIDTH)
    return ring + ids * others * (8 / processes + 8 + 3 * 4 * WIDTH)


def write(folder: Path, rows: int, table_rows: int) -> None:
    """Ids with a skewed distribution, like those of users and items."""
    random = np.random.default_rng(1)
    ids = {
        f"f{i}": (random.random(rows) ** 3 * table_rows).astype(np.int64) for i in range(FEATURES)
    }
    labels = {name: random.integers(2, size=rows) for name in ("a", "b")}
    (folder / "train").mkdir()
    pq.write_table(pa.table(ids | labels), folder / "train" / "0.parquet", row_group_size=1 << 15)


def unique_rows(folder: Path, batch: int) -> float:
    """Distinct (feature, id) pairs per batch, averaged over five batches."""
    table = pq.read_table(folder / "train" / "0.parquet")
    counts = [
        sum(len(np.unique(table[f"f{i}"][first : first + batch])) for i in range(FEATURES))
        for first in range(0, 5 * batch, batch)
    ]
    return statistics.mean(counts)


def job(
    folder: Path, how: str, processes: int, arguments: argparse.Namespace, steps: int
) -> dict[str, float]:
    """One run: rows/s (median of its log lines except the first), peak memory, bytes sent."""
    threads, batch = max(arguments.threads // processes, 1), arguments.batch // processes
    table_rows = int((folder / "table_rows").read_text())
    features = "\n".join(
        f'feature_configs {{ id_feature {{ feature_name: "f{i}" num_buckets: {table_rows} '
        f"embedding_dim: {WIDTH} }} }}"
        for i in range(FEATURES)
    )
    names = ", ".join(f'"f{i}"' for i in range(FEATURES))
    config, script = folder / "bench.config", folder / "run.py"
    placement = "REPLICATED"
    if how != "REPLICATED":
        placement = f'SHARDED global_embedding_constraints {{ sharding_types: "{how}" }}'
    words = {"folder": folder, "features": features, "names": names, "placement": placement}
    config.write_text(CONFIG.format(steps=steps, batch=batch, **words))
    script.write_text(RUN)
    model_dir = folder / "model"
    shutil.rmtree(model_dir, ignore_errors=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc_per_node={processes}", str(script), "--pipeline_config", str(config)]
    words = " ".join([*command, "--model_dir", str(model_dir)])
    if os.geteuid() == 0:
        inner = f"ip link set lo up; {words}; {COUNT}"
        command = ["unshare", "--net", "sh", "-c", inner]
    else:
        command = ["sh", "-c", words]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-4000:])
    rates = [float(rate) * 1e3 for rate in re.findall(r"([\d.]+)k rows/s", done.stdout)]
    peaks = [int(peak) for peak in re.findall(r"peak (\d+)", done.stdout)]
    sent = re.search(r"sent (\d+)", done.stdout)
    return {
        "rows/s": statistics.median(rates[1:]),
        "peak": max(peaks),
        "sent": float(sent[1]) if sent else float("nan"),
        "dense": dense_numbers(done.stdout),
    }


def dense_numbers(text: str) -> int:
    """Number of dense parameters, from the run's summary."""
    counts = re.findall(r"^(?:body|towers)\s+([\d,]+) parameters", text, flags=re.MULTILINE)
    return sum(int(count.replace(",", "")) for count in counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--how", nargs="+", default=["REPLICATED"], help="REPLICATED, table_wise, row_wise"
    )
    parser.add_argument("--threads", type=int, default=2, help="in total, over all processes")
    parser.add_argument("--batch", type=int, default=8192, help="rows per global batch")
    parser.add_argument("--table_rows", type=int, default=200_000, help="rows per table")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, 2 * arguments.steps * arguments.batch, arguments.table_rows)
        (folder / "table_rows").write_text(str(arguments.table_rows))
        cases = [
            (how, n) for n in arguments.processes for how in arguments.how if n > 1 or how in ALONE
        ]
        runs_by_case: dict[tuple[str, int], list[dict[str, float]]] = {case: [] for case in cases}
        for _ in range(arguments.rounds):
            for how, count in cases:
                short = job(folder, how, count, arguments, arguments.steps)
                long = job(folder, how, count, arguments, 2 * arguments.steps)
                sent = (long["sent"] - short["sent"]) / arguments.steps / count
                runs_by_case[how, count].append(long | {"sent": sent})
        print("processes  tables      rows/s  peak of one  sent per step and process  as computed")
        for (how, count), runs in runs_by_case.items():
            median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            batch = arguments.batch // count
            computed = exchanged(how, count, batch, unique_rows(folder, batch), median["dense"])
            print(
                f"{count:9}  {how:10}  {median['rows/s'] / 1e3:5.1f}k  "
                f"{median['peak'] / 2**20:7.0f} MiB  {median['sent'] / 2**20:21.2f} MiB  "
                f"{computed / 2**20:6.2f} MiB"
            )


if __name__ == "__main__":
    main()
