"""make demo: trains MMoE on real data, from files to predictions, one command at a time.

The data set is Census-Income from the MMoE paper, read from the folder CENSUS_INCOME_DIR if it is
set, otherwise downloaded from UCI. Only if UCI cannot be reached does the demo fall back to the
synthetic data set.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from prepare_census_income import UNREACHABLE

ROOT = Path(__file__).parents[1]
OUT = Path("experiments/demo")


def run(*command: str) -> int:
    """Print a command and run it; returns its exit code."""
    print(f"\n$ {' '.join(command)}", flush=True)
    words = [sys.executable if word == "python" else word for word in command]
    return subprocess.run(words, check=False).returncode


def must(*command: str, but: int = 0) -> int:
    """Run a command that must exit with 0 or with ``but``; returns the exit code."""
    code = run(*command)
    if code not in (0, but):
        sys.exit(f"demo: command failed: {' '.join(command)}")
    return code


def census_income() -> bool:
    """Prepare data/census_income; False if UCI cannot be reached."""
    prepare, out = "scripts/prepare_census_income.py", "data/census_income"
    source = os.environ.get("CENSUS_INCOME_DIR")
    if source:
        must("python", prepare, "--source", source, "--out", out)
        return True
    return must("python", prepare, "--download", "--out", out, but=UNREACHABLE) == 0


def chosen() -> tuple[str, str, str]:
    """Config, test files, and the columns to show, for the data set that is available."""
    if census_income():
        return (
            "configs/census_income_mmoe.config",
            "data/census_income/test.parquet",
            "age,sex,weeks_worked,income,never_married",
        )
    print("demo: CENSUS_INCOME_DIR is not set and UCI is unreachable; using synthetic data")
    must("python", "-m", "tzmmoe.synthetic", "--out", "data/synthetic")
    return "configs/synthetic_mmoe.config", "data/synthetic/eval", "user_id,item_id"


def main() -> None:
    os.chdir(ROOT)
    shutil.rmtree(OUT, ignore_errors=True)
    config, test, shown = chosen()
    begin = time.monotonic()
    with_config = ("--pipeline_config", config, "--model_dir", str(OUT))
    must("python", "-m", "tzmmoe.train", *with_config)
    minutes = (time.monotonic() - begin) / 60
    must("python", "-m", "tzmmoe.eval", *with_config, "--eval_input_path", test)
    must("python", "-m", "tzmmoe.export", *with_config, "--export_dir", str(OUT / "export"))
    must(
        *("python", "-m", "tzmmoe.predict", "--saved_model_dir", str(OUT / "export")),
        *("--predict_input_path", test, "--predict_output_path", str(OUT / "predictions.csv")),
        *("--reserved_columns", shown),
    )
    with (OUT / "predictions.csv").open() as lines:
        print("".join(line for line, _ in zip(lines, range(4), strict=False)))
    results = json.loads((OUT / "eval_result.txt").read_text().splitlines()[-1])
    aucs = {key: value for key, value in results.items() if key.startswith("auc")}
    print(f"demo: trained in {minutes:.1f} min; on {test}:")
    for key, value in aucs.items():
        print(f"  {key:24} {value:.4f}")
    print(f"demo: the model, log and results are in {OUT}; the config is {config}")


if __name__ == "__main__":
    main()
