"""The seed's two configs from training to predictions."""

import subprocess
import sys
from pathlib import Path

import forked
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from easyrec import taobao
from easyrec.test_backbone_seed import BACKBONE, WITHOUT_SENET
from easyrec.test_built_in import BUILT_IN
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.pipeline import Pipeline
from tzmmoe.system import checkpoint

SMALL = {"[256, 192, 128, 64]": "[8, 6]", "[256, 128]": "[8, 6]", "[128, 64]": "[6]"}
FORMS = {"built_in": BUILT_IN, "backbone": BACKBONE, "without_senet": WITHOUT_SENET}
PLAIN_STEPS = ("adam_optimizer { lr: 0.001 }", "sgd_optimizer { lr: 0.5 }")
ROOT = Path(__file__).parents[2]


def text(form: str) -> str:
    """The seed's model with narrow layers."""
    found = FORMS[form]
    for old, new in SMALL.items():
        found = found.replace(old, new)
    return found


def weights(model_dir: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for file in sorted((checkpoint.newest(model_dir) / "tensors").glob("*.safetensors")):
        found |= load_file(file)
    assert found
    return found


def same(own: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return own.keys() == other.keys() and all(torch.equal(own[n], other[n]) for n in own)


@pytest.mark.parametrize("form", FORMS)
def test_s1_18_predictions_of_the_export_are_those_of_the_evaluation(
    tmp_path: Path, form: str
) -> None:
    config = taobao.write(tmp_path, text(form), dim=4, rows=40, steps=6)
    pipeline = Pipeline.load(config)
    pipeline.fit()
    results = pipeline.evaluate()
    assert {"auc_ctr", "auc_cvr"} <= set(results)
    pipeline.export(str(tmp_path / "export"))
    for place, source in enumerate(("checkpoint", "export")):
        target = tmp_path / f"{place}.parquet"
        words = ["--predict_input_path", str(tmp_path / "eval.csv"), "--reserved_columns", "clk"]
        of_export = ["--saved_model_dir", str(tmp_path / "export")]
        given = of_export if source == "export" else ["--pipeline_config", str(config)]
        written = ["--predict_output_path", target]
        done = forked.run("-m", "tzmmoe.predict", *given, *words, *written)
        assert not done.returncode, done.stderr
        table = pq.read_table(target)
        probs, labels = np.array(table["probs_ctr"]), np.array(table["clk"]).astype(int)
        clipped = np.clip(probs.astype(np.float64), 1e-12, 1 - 1e-12)
        loss = -np.mean(np.where(labels == 1, np.log(clipped), np.log(1 - clipped)))
        assert loss == pytest.approx(results["binary_cross_entropy_ctr"], abs=1e-6)
        logits = np.array(table["logits_ctr"]).astype(np.float64)
        assert probs == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-6)


@pytest.mark.parametrize("form", ["built_in", "backbone"])
def test_a_resumed_run_is_bit_for_bit_one_that_was_never_stopped(tmp_path: Path, form: str) -> None:
    whole = taobao.write(tmp_path / "whole", text(form), dim=4, rows=40, steps=6)
    Pipeline.load(whole).fit()
    parts = taobao.write(tmp_path / "parts", text(form), dim=4, rows=40, steps=6)
    Pipeline.load(parts, settings=["train_config.num_steps=3"]).fit()
    Pipeline.load(parts).fit(continue_train=True)
    assert same(weights(tmp_path / "whole/model"), weights(tmp_path / "parts/model"))


@pytest.mark.long
@pytest.mark.parametrize("surgery", ["", "pcgrad"])
@pytest.mark.parametrize("form", ["built_in", "backbone"])
def test_two_processes_with_half_the_batch_each_are_one_with_the_whole(
    tmp_path: Path, form: str, surgery: str
) -> None:
    """All rows are one batch, so that it is the same however they are shared. With
    sync_batch_norm, and with the penalty of what was looked up."""
    found = []
    for world in (1, 2):
        folder = tmp_path / str(world)
        size = 256 // world
        config = taobao.write(folder, text(form), dim=4, rows=40, steps=4, batch_size=size)
        plain = config.read_text().replace(*PLAIN_STEPS)  # Adam makes steps of rounding errors
        config.write_text(plain)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc_per_node={world}", "-m", "tzmmoe.train"]
        command += ["--pipeline_config", str(config), "--set=train_config.sync_batch_norm=true"]
        command += [f"--set=train_config.grad_process='{surgery}'"] if surgery else []
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert not done.returncode, done.stderr
        found.append(weights(folder / "model"))
    own, other = found
    for name in own:
        if own[name].is_floating_point():
            assert_close(own[name], other[name], rtol=1e-4, atol=1e-5)


def test_s1_34_the_shipped_configs_are_trained_on_the_made_up_rows(tmp_path: Path) -> None:
    script = ROOT / "scripts/write_taobao_sample.py"
    words = ["--out", "data/taobao_sample", "--rows", "300"]
    subprocess.run([sys.executable, script, *words], cwd=tmp_path, check=True)
    for name in ("easyrec_mmoe", "easyrec_mmoe_backbone"):
        config = ROOT / f"configs/{name}.config"
        settings = ["data_config.batch_size=100", "train_config.num_epochs=1"]
        pipeline = Pipeline.load(
            config,
            settings=[
                *settings,
                f"train_input_path={tmp_path}/data/taobao_sample/train.csv",
                f"eval_input_path={tmp_path}/data/taobao_sample/eval.csv",
                f"model_dir={tmp_path}/{name}",
            ],
        )
        pipeline.fit()
        assert 0 <= pipeline.evaluate()["auc_cvr"] <= 1
