"""Commands that are stopped by signals: what each is started with, and what it should leave."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from drafting.tencent.documents import INPUTS, JOB
from e2e import tiny

from tzmmoe import train
from tzmmoe.run.results import is_output
from tzmmoe.serving.scorer import Scorer
from tzmmoe.system import checkpoint
from tzmmoe.system.environment import STOPPING

LONG_S = 120


@dataclass(frozen=True)
class Made:
    """What the commands work on: a ``folder`` with data, a trained run and an export."""

    folder: Path

    @property
    def flags(self) -> list[str]:
        return ["--pipeline_config", str(self.folder / "tiny.config"), "--device", "cpu"]

    @classmethod
    def make(cls, folder: Path) -> "Made":
        tiny.write_all(folder)
        made = cls(folder)
        train.main([*made.flags, "--model_dir", str(folder / "run")])
        tiny.pipeline(folder, folder / "run").export(folder / "export")
        (folder / "job.json").write_text(json.dumps(JOB), encoding="utf-8")
        (folder / "inputs.json").write_text(json.dumps(INPUTS), encoding="utf-8")
        return made


def flags_of(command: str, made: Made, out: Path) -> list[str]:
    """Of a command that writes all it writes into ``out``."""
    data, run = str(made.folder / "train"), ["--model_dir", str(made.folder / "run")]
    export = ["--saved_model_dir", str(made.folder / "export")]
    reading = ["--predict_input_path", data, "--predict_output_path", str(out / "rows.parquet")]
    files = ["--job", str(made.folder / "job.json"), "--inputs", str(made.folder / "inputs.json")]
    return {
        "train": [
            *(*made.flags, "--model_dir", str(out / "run"), "--continue_train"),
            *("--predictions_path", str(out / "rows.parquet")),
        ],
        "eval": [
            *(*made.flags, *run, "--predictions_path", str(out / "rows.parquet")),
            *("--set", f'eval_config.output_file="{out / "results.json"}"'),
        ],
        "export": [*made.flags, *run, "--export_dir", str(out / "export")],
        "predict": [*export, *reading, "--batch_size", "16", "--device", "cpu"],
        "init": ["--data", data, "--labels", "click,buy", "--out", str(out / "draft.config")],
        "convert": ["tencent", *files, "--out", str(out / "draft.config")],
    }[command]


COMMANDS = ("train", "eval", "export", "predict", "init", "convert")


def start(command: str, made: Made, out: Path) -> subprocess.Popen:
    """A command, which has set its handlers of signals."""
    out.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", f"tzmmoe.{command}", *flags_of(command, made, out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        preexec_fn=heard,
    )
    deadline = time.monotonic() + LONG_S
    while not handles(process.pid) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return process


def heard() -> None:
    """Ignore no signal, even if the tests run under nohup."""
    for signum in STOPPING:
        signal.signal(signum, signal.SIG_DFL)


def handles(pid: int) -> bool:
    """Whether a process has set a handler for the last of the signals of STOPPING."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (STOPPING[-1] - 1) & 1)


def lasting(command: str, made: Made, out: Path) -> float:
    """The seconds that a command takes which nothing stops, from its first handler on."""
    process = start(command, made, out)
    began = time.monotonic()
    _, errors = process.communicate(timeout=LONG_S)
    assert process.returncode == 0, errors
    return time.monotonic() - began


def stopped(
    process: subprocess.Popen, signals: list[tuple[float, signal.Signals]]
) -> tuple[int, str]:
    """Send a command each signal after so many seconds; its exit code, and what it printed."""
    began = time.monotonic()
    for after_s, signum in signals:
        time.sleep(max(began + after_s - time.monotonic(), 0))
        if process.poll() is None:
            process.send_signal(signum)
    _, errors = process.communicate(timeout=LONG_S)
    return process.returncode, errors


def check_train(out: Path, undisturbed: Path, made: Made) -> None:
    """What is left continues to the same end."""
    train.main(flags_of("train", made, out))
    assert tiny.tensors(checkpoint.newest(out / "run")) == tiny.tensors(
        checkpoint.newest(undisturbed / "run")
    )
    assert tables(out) == tables(undisturbed)


def check_eval(out: Path, undisturbed: Path, made: Made) -> None:
    assert tables(out) in ([], tables(undisturbed))
    results = out / "results.json"
    if results.exists():
        assert is_output(results)
        assert results.read_bytes() == (undisturbed / "results.json").read_bytes()


def check_predict(out: Path, undisturbed: Path, made: Made) -> None:
    assert tables(out) in ([], tables(undisturbed))


def check_export(out: Path, undisturbed: Path, made: Made) -> None:
    if (out / "export").exists():
        rows = tiny.rows(0, 5).to_pylist()
        probabilities = Scorer.load(out / "export").score(rows)["probs_ctr"]
        expected = Scorer.load(undisturbed / "export").score(rows)["probs_ctr"]
        assert probabilities.tolist() == expected.tolist()


def check_config(out: Path, undisturbed: Path, made: Made) -> None:
    config = out / "draft.config"
    if config.exists():
        text = config.read_text(encoding="utf-8").replace(str(out), str(undisturbed))
        assert text == (undisturbed / "draft.config").read_text(encoding="utf-8")


CHECKS: dict[str, Callable[[Path, Path, Made], None]] = {
    "train": check_train,
    "eval": check_eval,
    "export": check_export,
    "predict": check_predict,
    "init": check_config,
    "convert": check_config,
}


def tables(out: Path) -> list:
    return [pq.read_table(file) for file in sorted(out.glob("*.parquet"))]
