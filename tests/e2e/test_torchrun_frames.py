"""Two processes that hold the same frame."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from e2e import tiny

PROGRAM = """
import os, sys
import numpy as np, pyarrow.parquet as pq
from tzmmoe import Pipeline

folder, rank = sys.argv[1], os.environ["RANK"]
settings = {"model_dir": f"{folder}/frames", "train_input_path": "", "eval_input_path": ""}
pipeline = Pipeline.load(f"{folder}/tiny.config", settings=settings, device="cpu")
train, evaluation = (pq.read_table(f"{folder}/{n}").to_pandas() for n in ("train", "eval.parquet"))
pipeline.fit(train=train, eval=evaluation)
settings = {"model_dir": f"{folder}/files"}
Pipeline.load(f"{folder}/tiny.config", settings=settings, device="cpu").fit()
found = pipeline.predict(evaluation, keep=["row"], batch_size=7)
np.savez(f"{folder}/{rank}.npz", **{name: found[name].to_numpy() for name in found})
"""


@pytest.mark.long
def test_two_processes_share_a_frame_and_each_gets_all_predictions_in_order(tmp_path: Path) -> None:
    """Weights are those of a run on files, predictions those of a single process."""
    folder = tiny.write_all(tmp_path, files=(151,))
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node=2", str(script), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert tiny.end(tmp_path / "frames").keys() == tiny.end(tmp_path / "files").keys()
    frames, files = (
        tiny.tensors(max((tmp_path / name).glob("model.ckpt-*"), key=lambda p: int(p.name[11:])))
        for name in ("frames", "files")
    )
    assert frames == files
    rows = pq.read_table(tmp_path / "eval.parquet").to_pandas()
    alone = tiny.pipeline(folder, tmp_path / "frames").predict(rows, keep=["row"])
    for rank in (0, 1):
        found = np.load(tmp_path / f"{rank}.npz")
        assert found["row"].tolist() == rows["row"].tolist()
        for name in alone:
            np.testing.assert_allclose(found[name], alone[name].to_numpy(), rtol=1e-5)
