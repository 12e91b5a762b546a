"""make demo: a real MMoE on real data, from files to predictions, command by command.

The data are the MMoE paper's Census-Income, from the folder CENSUS_INCOME_DIR if it is set, else
from UCI; where that cannot be reached, and only there, the built-in synthetic set stands in.
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
    """Show a command and run it; its exit code."""
    print(f"\n$ {' '.join(command)}", flush=True)
    words = [sys.executable if word == "python" else word for word in command]
    return subprocess.run(words, check=False).returncode


def must(*command: str, but: int = 0) -> int:
    """Run a command that must succeed, or end with the exit code ``but``."""
    code = run(*command)
    if code not in (0, but):
        sys.exit(f"demo: this command failed: {' '.join(command)}")
    return code


def census_income() -> bool:
    """Prepare data/census_income; False when there is no way to UCI."""
    prepare, out = "scripts/prepare_census_income.py", "data/census_income"
    source = os.environ.get("CENSUS_INCOME_DIR")
    if source:
        must("python", prepare, "--source", source, "--out", out)
        return True
    return must("python", prepare, "--download", "--out", out, but=UNREACHABLE) == 0


def chosen() -> tuple[str, str, str]:
    """Config, test files and the columns to show, of the data that can be had."""
    if census_income():
        return (
            "configs/census_income_mmoe.config",
            "data/census_income/test.parquet",
            "age,sex,weeks_worked,income,never_married",
        )
    print("demo: no CENSUS_INCOME_DIR and no way to UCI; the synthetic set stands in")
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
    print(f"demo: model, log and results are in {OUT}; the config is {config}")


if __name__ == "__main__":
    main()
