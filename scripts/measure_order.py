"""Trains on the same rows in random order and sorted by label; prints the test AUCs of both.

    python scripts/measure_order.py /data/shared

The folder holds hotel-bookings/ and nycflights13/, each with train.parquet and test.parquet. Sorted
hotel bookings are in the order in which the data set is published: by hotel, then by cancellation.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tzmmoe import Pipeline
from tzmmoe.init import main as draft
from tzmmoe.synthetic.__main__ import main as synthesize
from tzmmoe.system import cli

# The labels, and the columns that the sorted file is sorted by.
SETS = {
    "hotel-bookings": (
        ["y_canceled", "y_no_show", "y_room_changed", "y_parking"],
        ["hotel", "y_canceled"],
    ),
    "nycflights13": (["y_cancelled", "y_dep15", "y_arr15"], ["y_dep15", "y_arr15"]),
    "synthetic": (["click", "conversion"], ["click", "conversion"]),
}
UNUSED = {"nycflights13": "y_arr_delay", "synthetic": "p_click,p_conversion"}


def main(argv: Sequence[str]) -> None:
    args = _arguments(argv)
    with tempfile.TemporaryDirectory() as name:
        for data in args.sets:
            folder = Path(name, data)
            folder.mkdir()
            config = _written(data, args.data, folder)
            for line in _compared(config, folder, args):
                print(f"{data}  {line}", flush=True)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="the folder with the data sets")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    return parser.parse_args(argv)


def _written(data: str, source: Path, folder: Path) -> Path:
    """A config, after writing ``random.parquet`` and ``sorted.parquet``, of one row group each."""
    labels, keys = SETS[data]
    train, test = source / data / "train.parquet", source / data / "test.parquet"
    if data == "synthetic":
        synthesize(["--out", str(folder / "made"), "--rows", "200000", "--seed", "1"])
        train, test = (next((folder / "made" / part).iterdir()) for part in ("train", "eval"))
    table = pq.read_table(train)
    table = table.take(np.random.default_rng(0).permutation(len(table)))
    _write(table, folder / "random.parquet")
    order = pa.compute.sort_indices(table, sort_keys=[(key, "ascending") for key in keys])
    _write(table.take(order), folder / "sorted.parquet")
    config = folder / "drafted.config"
    arguments = ["--data", str(folder / "random.parquet"), "--eval_data", str(test)]
    arguments += ["--labels", ",".join(labels), "--out", str(config)]
    with redirect_stdout(StringIO()):
        draft([*arguments, *(["--ignore", UNUSED[data]] if data in UNUSED else [])])
    return config


def _write(table: pa.Table, file: Path) -> None:
    pq.write_table(table, file, row_group_size=len(table))


def _compared(config: Path, folder: Path, args: argparse.Namespace) -> Iterator[str]:
    runs: dict[str, list[dict[str, float]]] = {"random": [], "sorted": []}
    for seed in args.seeds:
        for order, results in runs.items():
            begin = time.monotonic()
            results.append(_run(config, folder / f"{order}.parquet", seed, args))
            aucs = "  ".join(f"{key} {value:.4f}" for key, value in results[-1].items())
            yield f"{order}  seed {seed}  {aucs}  {time.monotonic() - begin:.0f} s"
    for key in runs["random"][0]:
        means = [statistics.mean(run[key] for run in results) for results in runs.values()]
        yield f"{key}: random {means[0]:.4f}, sorted {means[1]:.4f}, {means[1] - means[0]:+.4f}"


def _run(config: Path, train: Path, seed: int, args: argparse.Namespace) -> dict[str, float]:
    """Test AUCs after a training run, of no epoch selected by its result."""
    with tempfile.TemporaryDirectory() as model_dir:
        settings = [
            f"model_dir={model_dir}",
            f"train_input_path={train}",
            f"runtime_config.seed={seed}",
            f"train_config.num_epochs={args.epochs}",
            "train_config.early_stopping=",
            "train_config.use_tensorboard=false",
            f"train_config.save_checkpoints_epochs={args.epochs}",
            *args.set,
        ]
        results = Pipeline.load(str(config), settings=settings).fit()
    return {key: value for key, value in results.items() if key.startswith("auc_")}


if __name__ == "__main__":
    cli.run(main)
