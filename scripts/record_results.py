"""Records checksums of all results of training, evaluation, export and prediction, and compares two
checkouts by them.

Runs configs/synthetic_mmoe.config and configs/census_income_mmoe.config single-threaded in a work
folder. Writes the SHA-256 of every file without timestamps, of every tensor of a checkpoint, and of
every entry of an export's program. With --against, lists the differences and exits with 1 if there
are any.

    python scripts/record_results.py /tmp/work before.json --checkout ../before
    python scripts/record_results.py /tmp/work after.json --against before.json

Skips Census-Income unless CENSUS_INCOME_DIR is set to the folder with its files.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
from safetensors import safe_open

ROOT = Path(__file__).parents[1]
# These differ in every run: timestamps, and checksums of files whose header has no fixed order.
TIMED = ("train.log", "runs.jsonl", "events.out.tfevents", ".lock", "checksums.json")
CONFIGS = ("synthetic_mmoe", "census_income_mmoe")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder for data and runs")
    parser.add_argument("record", type=Path, help="file to write the checksums to")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="checkout whose package to run")
    parser.add_argument("--against", type=Path, help="record to compare with")
    parser.add_argument("--set", action="append", default=[], help="passed to tzmmoe.train")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    found = record(arguments.work.resolve(), arguments.checkout.resolve(), arguments.set)
    arguments.record.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.against:
        sys.exit(compared(json.loads(arguments.against.read_text()), found))


def record(work: Path, checkout: Path, settings: list[str]) -> dict[str, str]:
    """Checksums of the results of all runs, by path."""
    census = os.environ.get("CENSUS_INCOME_DIR")
    if not (work / "data/synthetic").is_dir():
        _run(work, ROOT, "-m", "tzmmoe.synthetic", "--out", "data/synthetic")
    if census and not (work / "data/census_income").is_dir():
        script = str(ROOT / "scripts/prepare_census_income.py")
        _run(work, ROOT, script, "--source", census, "--out", "data/census_income")
    shutil.rmtree(work / "experiments", ignore_errors=True)
    found: dict[str, str] = {}
    for name in CONFIGS if census else CONFIGS[:1]:
        flags = ["--pipeline_config", str(ROOT / f"configs/{name}.config"), "--device", "cpu"]
        flags += [word for setting in settings for word in ("--set", setting)]
        model_dir, inputs = f"experiments/{name}", _eval_files(name)
        _run(work, checkout, "-m", "tzmmoe.train", *flags)
        _run(work, checkout, "-m", "tzmmoe.eval", *flags)
        _run(work, checkout, "-m", "tzmmoe.export", *flags, "--export_dir", f"{model_dir}_export")
        _run(
            *(work, checkout, "-m", "tzmmoe.predict", "--saved_model_dir", f"{model_dir}_export"),
            *("--predict_input_path", inputs, "--predict_output_path", f"{model_dir}.parquet"),
        )
    for file in sorted((work / "experiments").rglob("*")):
        if file.is_file() and not file.name.startswith(TIMED):
            found |= checksums(file, str(file.relative_to(work)))
    return found


def _eval_files(name: str) -> str:
    return "data/synthetic/eval" if "synthetic" in name else "data/census_income/valid.parquet"


def _run(folder: Path, checkout: Path, *command: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    print("$ python", *command, flush=True)
    subprocess.run([sys.executable, *command], cwd=folder, env=environment, check=True)


def checksums(file: Path, name: str) -> dict[str, str]:
    """Checksums of a file, of each tensor of a checkpoint, or of each entry of a program."""
    if file.suffix == ".safetensors":
        with safe_open(file, "numpy") as tensors:
            keys = list(tensors.keys())
            return {f"{name}/{key}": _sha256(tensors.get_tensor(key)) for key in keys}
    if file.suffix != ".pt2":
        return {name: _sha256(file.read_bytes())}
    with zipfile.ZipFile(file) as archive:
        return {
            f"{name}/{entry}": _sha256(archive.read(entry)) for entry in sorted(archive.namelist())
        }


def _sha256(content: bytes | np.ndarray) -> str:
    """Digest of bytes, or of an array including its type and shape."""
    if isinstance(content, np.ndarray):
        content = f"{content.dtype} {content.shape} ".encode() + content.tobytes()
    return hashlib.sha256(content).hexdigest()


def compared(before: dict[str, str], after: dict[str, str]) -> int:
    """Print the differences; 1 if there are any, else 0."""
    names = sorted(before.keys() | after.keys())
    differing = [name for name in names if before.get(name) != after.get(name)]
    for name in differing:
        alone = "" if name in before and name in after else " (in one record only)"
        print(f"differs: {name}{alone}")
    print(f"{len(names) - len(differing)} of {len(names)} are equal")
    return 1 if differing else 0


if __name__ == "__main__":
    main()
