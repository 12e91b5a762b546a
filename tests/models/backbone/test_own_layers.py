"""Layers of a user's own: imported where that is allowed, and never by a config alone."""

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from e2e import tiny
from models.backbone import tiny_blocks
from models.backbone.blocks import faults
from models.backbone.test_block_rules import block

from tzmmoe.pipeline import Pipeline
from tzmmoe.registry import Modules
from tzmmoe.serving.scorer import Scorer

CODE = """
import torch
from torch import nn


class Scale(nn.Module):
    def __init__(self, shapes, *, start=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.full(shapes[0], start))

    def forward(self, x):
        return x * self.scale


class Odd(nn.Module):
    def __init__(self, *, kind):
        super().__init__()
        self.kind = kind

    def forward(self, x):
        if self.kind == "dict":
            return {"x": x}
        if self.kind == "rows":
            return x[:1]
        if self.kind == "sum":
            return x.sum()
        raise RuntimeError("no such kind")
"""
NAME = "own_layers_of_a_test"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / f"{NAME}.py").write_text(CODE)
    monkeypatch.syspath_prepend(folder)
    yield NAME
    sys.modules.pop(NAME, None)


def own(cls: str, args: str) -> str:
    return block("a", "all", f'keras_layer {{ custom_layer {{ class: "{NAME}.{cls}" {args} }} }}')


def test_a_config_alone_imports_nothing(tmp_path: Path, module: str) -> None:
    [line] = faults(tmp_path, own("Scale", "args { start: 2.0 }"))
    assert "blocks[0].keras_layer.custom_layer.class: " in line
    assert f"--allow_modules {module}" in line
    assert module not in sys.modules


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (("Scale", "args { begin: 2 }"), ("args.begin", "no argument 'begin'")),
        (("Scal", ""), ("has no class Scal", "did you mean 'Scale'?")),
        (("Odd", "args { kind: 'dict' }"), ("block 'a' gives a dict", "neither a tensor")),
        (("Odd", "args { kind: 'rows' }"), ("block 'a' gives (1, 12) for 2 rows",)),
        (("Odd", "args { kind: 'sum' }"), ("block 'a' gives () for 2 rows",)),
        (("Odd", "args { kind: '?' }"), ("block 'a' gets (B, 12) from 'all'", "no such kind")),
    ],
)
def test_what_does_not_fit_is_told_with_its_block(tmp_path, module, layer, words) -> None:
    [line] = faults(tmp_path, own(*layer), modules=Modules.of(module))
    for word in words:
        assert word in line


def test_an_export_needs_no_module(tmp_path: Path, module: str) -> None:
    folder = tiny_blocks.write(own("Scale", "args { start: 2.0 }"), tmp_path)
    settings = [f"model_dir={tmp_path / 'model'}", "train_config.num_steps=2"]
    run = Pipeline.load(
        folder / "tiny.config", settings=settings, device="cpu", allow_modules=module
    )
    run.fit()
    run.export(str(tmp_path / "export"))
    run.predict(str(folder / "eval.parquet"), str(tmp_path / "out.parquet"))
    (tmp_path / "code" / f"{NAME}.py").unlink()
    sys.modules.pop(NAME)
    scored = Scorer.load(str(tmp_path / "export")).score(pq.read_table(folder / "eval.parquet"))
    wanted = pq.read_table(tmp_path / "out.parquet")["probs_ctr"].to_numpy()
    np.testing.assert_allclose(scored["probs_ctr"].numpy(), wanted, atol=1e-6)
    assert NAME not in sys.modules
    assert len(wanted) == tiny.EVAL_ROWS
