"""What README and docs say is true: their code runs, the reference is the schema's."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path: str) -> list[tuple[str, str, str]]:
    """Language, rest of the line, and content of each fenced block."""
    return [(m[1], m[2].strip(), m[3]) for m in BLOCK.finditer((ROOT / path).read_text())]


def run(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_the_reference_is_made_from_the_schema_as_it_is() -> None:
    run([sys.executable, "scripts/gen_reference.py", "--check"], ROOT)


def test_links_in_the_documents_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the extensions of docs/extending.md."""
    folder = tmp_path_factory.mktemp("extended")
    for name in ("protos", "tzmmoe", "setup.py", "README.md"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    for _, place, code in blocks("docs/extending.md"):
        if not place:
            continue
        file, _, oneof = place.removeprefix("in ").partition(", oneof ")
        target = folder / file
        if oneof:
            head = f"oneof {oneof} {{\n"
            text = target.read_text()
            assert text.count(head) == 1
            target.write_text(text.replace(head, head + code))
        else:
            text = target.read_text() + "\n" if target.exists() else ""
            target.write_text(text + code)
    run([sys.executable, "setup.py", "-q", "compile_schema"], folder)
    return folder


CONFIG = """
train_input_path: "rows.parquet"
eval_input_path: "rows.parquet"
model_dir: "model"
train_config {
  sparse_optimizer { adagrad_optimizer { lr: 0.05 } }
  dense_optimizer { adam_optimizer { lr: 0.01 } }
  num_epochs: 20
  use_tensorboard: false
}
data_config { batch_size: 64 label_fields: ["count", "click"] fg_mode: FG_DAG num_workers: 1 }
feature_configs { id_feature { feature_name: "user" num_buckets: 8 embedding_dim: 4 } }
model_config {
  feature_groups { group_name: "all" feature_names: "user" }
  shared_network {
    mlp { hidden_units: 8 }
    task_towers {
      tower_name: "count" label_name: "count"
      losses { poisson_loss { max_logit: 10 } } metrics { bias {} }
    }
    task_towers { tower_name: "click" label_name: "click" metrics { bias {} } metrics { auc {} } }
  }
}
"""
TRAINING = """
import pathlib, sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from tzmmoe import Pipeline
import tzmmoe
assert pathlib.Path(tzmmoe.__file__).is_relative_to(pathlib.Path.cwd().parent), tzmmoe.__file__
random = np.random.default_rng(0)
user = random.integers(0, 8, 2000)
pq.write_table(pa.table({
    "user": user,
    "count": random.poisson(0.5 + user),
    "click": (random.random(2000) < 0.1 + user / 10).astype(int),
}), "rows.parquet")
results = Pipeline.load("new.config").fit()
print(results)
assert abs(results["bias_count"]) < 0.3 and abs(results["bias_click"]) < 0.05
assert results["auc_click"] > 0.7
Pipeline.load("new.config").export("export")
"""


def test_the_loss_metric_and_model_of_the_extension_guide_train_and_export(extended: Path) -> None:
    """2,000 rows whose counts and clicks depend on the user: the new loss learns their means."""
    folder = extended / "run"
    folder.mkdir()
    (folder / "new.config").write_text(CONFIG)
    run([sys.executable, "-c", TRAINING], folder, PYTHONPATH=str(extended))


def test_a_bad_setting_of_an_extension_is_reported_with_path_and_line(extended: Path) -> None:
    folder = extended / "bad"
    folder.mkdir()
    text = CONFIG.replace("mlp { hidden_units: 8 }", "mlp { hidden_units: 0 }")
    (folder / "bad.config").write_text(text)
    command = [sys.executable, "-m", "tzmmoe.train", "--pipeline_config", "bad.config"]
    environment = {**os.environ, "PYTHONPATH": str(extended)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    line = text.splitlines().index("    mlp { hidden_units: 0 }") + 1
    assert f"bad.config:{line}: model_config.shared_network.mlp.hidden_units" in done.stderr


def type_all(page: str, folder: Path) -> None:
    """Do in a folder what a reader of the page does who types all of it, from top to bottom."""
    small = {"--rows 100000": "--rows 20000 --eval_rows 5000"}  # as typed, but sooner done
    for language, place, code in blocks(page):
        for typed, quick in small.items():
            code = code.replace(typed, quick)
        if language == "protobuf":
            (folder / place).write_text(code)
        elif language == "python":
            run([sys.executable, "-c", code], folder)
        elif language == "bash":
            commands = code.replace("python -m", f"{sys.executable} -m")
            torchrun = f"{sys.executable} -m torch.distributed.run"
            commands = commands.replace("torchrun ", f"{torchrun} ")
            run(["bash", "-euo", "pipefail", "-c", commands], folder)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a reader of the README has typed all of it."""
    folder = tmp_path_factory.mktemp("reader")
    type_all("README.md", folder)
    return folder


def test_the_readme_can_be_typed_from_top_to_bottom(reader: Path) -> None:
    outputs = pq.read_table(reader / "predictions.parquet")
    rows = pq.read_table(reader / "data/synthetic/eval")
    assert outputs["user_id"].equals(rows["user_id"])
    probabilities = np.asarray(outputs["probs_ctr"])
    assert ((probabilities > 0) & (probabilities < 1)).all()
    truth = np.asarray(rows["p_click"])
    assert np.corrcoef(probabilities, truth)[0, 1] > 0.5  # it learned what clicks depend on


def test_the_readme_lists_the_files_that_training_leaves(reader: Path) -> None:
    listing = next(code for language, _, code in blocks("README.md") if "runs.jsonl" in code)
    heads = [line.strip().split("  ")[0] for line in listing.splitlines()[1:]]
    names = [name for head in heads for name in head.split(", ")]
    there = [path.name for path in (reader / "experiments/first").iterdir()]
    for name in names:
        stem = re.escape(name.rstrip("/")).replace(r"\*", ".*").replace(r"\-97", r"\-\d+")
        assert any(re.fullmatch(stem, each) for each in there), f"{name} is not among {there}"


def test_the_readme_lists_the_flags_that_there_are(reader: Path) -> None:
    flags = set(re.findall(r"`(--\w+)", (ROOT / "README.md").read_text()))
    helps = [
        run([sys.executable, "-m", f"tzmmoe.{name}", "--help"], reader)
        for name in ("train", "eval", "export", "predict", "init")
    ]
    helps.append(run([sys.executable, "-m", "tzmmoe.convert", "tencent", "--help"], reader))
    known = set(re.findall(r"--\w+", "\n".join(helps)))
    assert flags <= known, flags - known


def test_the_page_on_mmoe_v2_can_be_typed_and_its_config_learns_with_a_wide_side(tmp_path) -> None:
    type_all("docs/mmoe_v2.md", tmp_path)
    folder = tmp_path / "experiments/wide"
    last = json.loads((folder / "train_eval_result_v2.txt").read_text().splitlines()[-1])
    optimum = json.loads((tmp_path / "data/synthetic/optimum.json").read_text())
    assert 0.6 < last["auc_click"] < optimum["eval"]["auc_ctr"]
    assert "user_id.weight" in (folder / "train.log").read_text()  # FM's tables


def test_the_pictures_of_mmoe_v2_are_those_of_the_model() -> None:
    run([sys.executable, "scripts/draw_mmoe_v2.py", "--check"], ROOT)
