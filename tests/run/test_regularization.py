"""Penalties of weights in a run: in the loss, in the log, in the evaluation, and nowhere else."""

import logging
import re
from pathlib import Path

import pytest
import torch
from e2e import tiny
from run.runs import ONE_EPOCH
from safetensors.torch import load_file

from tzmmoe.pipeline import Pipeline
from tzmmoe.run.results import read_results
from tzmmoe.system import checkpoint

V2 = """mmoe_v2 {
  num_experts: 2 expert_layers: [4] REGS
  task_structs { units: [3, 1] } task_structs { units: [1] }
  task_towers { tower_name: "ctr" label_name: "click" metrics { auc {} } }
  task_towers { tower_name: "cvr" label_name: "buy" metrics { auc {} } }
}"""
REGS = (
    "expert_l1_reg: 0.01 expert_l2_reg: 0.02 gate_l2_reg: 0.03 task_l2_reg: 0.04 "
    "wide_l1_reg: 0.001 wide_l2_reg: 0.05"
)


def pipeline(folder: Path, tmp_path: Path, regs: str, **changes: object) -> Pipeline:
    """The tiny config as MMoE V2: users, tags and prices on the wide side too."""
    text = (folder / "tiny.config").read_text()
    head = text.partition("  mmoe {")[0].replace("num_epochs: 2", "")
    wide = 'feature_groups { group_name: "wide" feature_names: ["user", "tags", "price"] }'
    head = head.replace('group_name: "all"', 'group_name: "mmoe"')
    config = tmp_path / f"v2{abs(hash(regs))}.config"
    config.write_text(f"{head}{wide}\n{V2.replace('REGS', regs)}\n}}")
    settings = [f"{path.replace('__', '.')}={value}" for path, value in changes.items()]
    return Pipeline.load(config, settings=settings, device="cpu")


def penalty(folder: Path) -> float:
    """By hand, from the tensors of a checkpoint: kernels and FM's tables, no bias, no embedding."""
    tensors = {}
    for file in (folder / "tensors").glob("*.safetensors"):
        tensors |= load_file(file)
    total = 0.0
    for name, tensor in tensors.items():
        weight = tensor.double()
        if re.fullmatch(r"model\.body\.experts\.layers\.\d\.linear\.weight", name):
            total += 0.01 * weight.abs().sum() + 0.02 * (weight**2).sum()
        elif name == "model.body.gates.final.weight":
            total += 0.03 * (weight**2).sum()
        elif re.fullmatch(r"model\.towers\..*linear\.weight", name):
            total += 0.04 * (weight**2).sum()
        elif re.fullmatch(r"tables\.\w+\.(latent|weight)\.weight|model\..*vectors\.weight", name):
            total += 0.001 * weight.abs().sum() + 0.05 * (weight**2).sum()
    return float(total)


def test_the_evaluation_reports_it_as_a_line_of_its_own_and_within_val_loss(
    tiny_folder, tmp_path, caplog
) -> None:
    """S0.17, S0.18, S0.25, S0.26, S0.33, S0.36: sum |w| and sum w^2, exactly; val_loss is the sum
    of the tasks' losses, which do not have it, and of the penalty, as in Keras."""
    caplog.set_level(logging.INFO)
    run = tmp_path / "run"
    changes = ONE_EPOCH | {"model_dir": run, "train_config__log_step_count_steps": 1}
    results = pipeline(tiny_folder, tmp_path, REGS, **changes).fit()
    expected = penalty(checkpoint.newest(run))
    assert results["regularization"] == pytest.approx(expected, rel=1e-5)
    tasks = results["binary_cross_entropy_ctr"] + results["binary_cross_entropy_cvr"]
    assert results["val_loss"] == pytest.approx(tasks + expected, rel=1e-5)
    assert f"regularization {results['regularization']:.5f}" in caplog.text
    first = next(line for line in caplog.messages if line.startswith("step 1 "))
    parts = dict(part.rsplit(" ", 1) for part in first.split(" | ")[2:6])
    assert float(parts["loss"]) == pytest.approx(
        sum(float(value) for name, value in parts.items() if name != "loss"), abs=2e-4
    )
    plain = pipeline(tiny_folder, tmp_path, "", **changes | {"model_dir": tmp_path / "plain"}).fit()
    assert "regularization" not in plain
    assert not any("regularization" in line for line in read_results(tmp_path / "plain"))


def test_a_table_that_is_penalized_as_a_whole_decays_where_no_row_of_the_batch_is(
    tiny_folder, tmp_path, caplog
) -> None:
    """S0.18: under SGD a row that no batch holds moves by -2 lr l2 w alone, step after step; a line
    of the training announces it, with the setting."""
    caplog.set_level(logging.INFO)
    lr, l2, steps = 0.1, 0.05, 4
    changes = {
        "model_dir": tmp_path / "run",
        "train_config__num_steps": steps,
        "train_config__save_checkpoints_steps": 1,
        "train_config__sparse_optimizer": f"sgd_optimizer {{ lr: {lr} }}",
        "feature_configs[0].id_feature.num_buckets": 5000,
    }
    made = pipeline(tiny_folder, tmp_path, f"wide_l2_reg: {l2}", **changes)
    made.fit()
    tables = [f"{name}.{end}" for end in ("latent", "weight") for name in ("user", "tags")]
    [line] = [line for line in caplog.text.splitlines() if "wide_l2_reg" in line]
    assert f" all rows of {', '.join(tables)} at every step" in line
    caplog.clear()
    made.evaluate()
    assert "all rows of" not in caplog.text
    states = [checkpoint.open_checkpoint(path) for path in checkpoint.find(tmp_path / "run")]
    tables = [torch.zeros(5000, 8) for _ in states]
    for state, table in zip(states, tables, strict=True):
        state.read({"tables.user.latent.weight": table})
    unseen = slice(100, 5000)  # users are 0 to 19
    gaps = states[-1].step - states[0].step
    shrunk = tables[0][unseen].double() * (1 - 2 * lr * l2) ** gaps
    torch.testing.assert_close(tables[-1][unseen].double(), shrunk, rtol=1e-5, atol=1e-9)
    assert gaps > 0
    embedding = [torch.zeros(5000, 4) for _ in states]
    for state, table in zip(states, embedding, strict=True):
        state.read({"tables.user_emb.weight": table})
    assert torch.equal(embedding[0][unseen], embedding[-1][unseen])


def test_a_penalized_run_goes_on_bit_for_bit(tiny_folder, tmp_path) -> None:
    changes = {"train_config__num_epochs": 2}
    whole = tmp_path / "whole"
    pipeline(tiny_folder, tmp_path, REGS, model_dir=whole, **changes).fit()
    parts = tmp_path / "parts"
    pipeline(tiny_folder, tmp_path, REGS, model_dir=parts, train_config__num_epochs=1).fit()
    pipeline(tiny_folder, tmp_path, REGS, model_dir=parts, **changes).fit(continue_train=True)
    names = [path.name for path in checkpoint.find(whole)]
    assert tiny.tensors(whole / names[-1]) == tiny.tensors(parts / names[-1])
