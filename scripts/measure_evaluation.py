"""Speed of evaluation and of prediction with the same model and rows, taking turns in one process.

    python -m tzmmoe.synthetic --rows 100000 --eval_rows 1000000 --out data/million
    python scripts/measure_evaluation.py data/million configs/synthetic_mmoe.config

Each config is trained on 20,000 rows, then evaluates and predicts the rows of DATA/eval several
times. Printed are rows/s, the medians of them and of their ratio, and the processor.
"""

import argparse
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tzmmoe import Pipeline


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("data", type=Path, help="a folder that tzmmoe.synthetic wrote")
    flags.add_argument("configs", nargs="+", help="configs for these columns")
    flags.add_argument("--rounds", type=int, default=5)
    flags.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    given = flags.parse_args()
    logging.disable(logging.INFO)
    capability = torch.backends.cpu.get_cpu_capability()
    amx = torch.cpu._is_amx_tile_supported()
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {capability}, AMX {amx}")
    for config in given.configs:
        with tempfile.TemporaryDirectory() as folder:
            measure(config, given.data, Path(folder), given.set, given.rounds)


def measure(config: str, data: Path, folder: Path, edits: list[str], rounds: int) -> None:
    settings = [
        f"model_dir={folder}/model",
        f"train_input_path={data}/train",
        f"eval_input_path={data}/eval",
        "train_config.num_epochs=1",
        "train_config.num_samples=20000",
        "train_config.num_val_samples=8192",
        "train_config.use_tensorboard=false",
        *edits,
    ]
    pipeline = Pipeline.load(config, settings=settings)
    pipeline.fit()
    output = str(folder / "predictions.parquet")
    num_rows = pipeline.predict(f"{data}/eval", output)  # also warms up
    rates = []
    for _ in range(rounds):
        evaluation = seconds(pipeline.evaluate)
        prediction = seconds(lambda: pipeline.predict(f"{data}/eval", output))
        rates.append((num_rows / evaluation, num_rows / prediction, prediction / evaluation))
        print("  {:,.0f} and {:,.0f} rows/s, ratio {:.2f}".format(*rates[-1]), flush=True)
    line = "evaluation {:,.0f} rows/s, prediction {:,.0f}, ratio {:.2f}"
    print(config, line.format(*map(statistics.median, zip(*rates, strict=True))), flush=True)


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
