"""Trains a Census-Income config with several seeds; prints each AUC, their mean and spread.

    python scripts/measure_census_income.py --pipeline_config configs/census_income_mmoe.config

The settings of the configs were chosen with ``--on valid``; their headers state ``--on test``. Both
are AUCs of the last checkpoint: no seed or epoch is selected by its result.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence

from tzmmoe import Pipeline
from tzmmoe.system import cli


def main(argv: Sequence[str]) -> None:
    args = _arguments(argv)
    runs = []
    for seed in args.seeds:
        begin = time.monotonic()
        runs.append(_run(args, seed))
        aucs = "  ".join(f"{key} {value:.4f}" for key, value in runs[-1].items())
        print(f"seed {seed}  {aucs}  {time.monotonic() - begin:.0f} s", flush=True)
    for key in runs[0]:
        values = [run[key] for run in runs]
        spread = statistics.stdev(values) if len(values) > 1 else float("nan")
        print(
            f"{key} on {args.on}: mean {statistics.mean(values):.4f}, standard deviation "
            f"{spread:.4f}, {min(values):.4f} to {max(values):.4f}, seeds {args.seeds}"
        )


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pipeline_config", required=True)
    parser.add_argument("--on", choices=["valid", "test"], default="test")
    parser.add_argument("--test_input_path", default="data/census_income/test.parquet")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    return parser.parse_args(argv)


def _run(args: argparse.Namespace, seed: int) -> dict[str, float]:
    """AUCs of one training run."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [
            f"model_dir={folder}",
            f"runtime_config.seed={seed}",
            f"test_input_path={args.test_input_path if args.on == 'test' else ''}",
            "train_config.use_tensorboard=false",
            *args.set,
        ]
        results = Pipeline.load(args.pipeline_config, settings=settings).fit()
    return {key: value for key, value in results.items() if key.startswith("auc_")}


if __name__ == "__main__":
    cli.run(main)
