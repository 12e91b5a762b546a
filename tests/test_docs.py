"""What README and docs say is true: their code runs, the reference is the schema's."""

import inspect
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tzmmoe.config.dialects.easyrec.backbone import CLASSES
from tzmmoe.models.backbone.expressions.rowwise import FUNCTIONS
from tzmmoe.models.backbone.layers import LAYERS
from tzmmoe.nn import MMoE

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


def test_the_python_files_that_the_documents_name_exist() -> None:
    roots = [ROOT, ROOT / "tzmmoe", ROOT / "tests", ROOT / "tests/features"]
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = BLOCK.sub("", page.read_text())
        names = set(re.findall(r"`((?:[a-z0-9_]+/)*[a-z0-9_]+\.py)\b", text))
        missing = {name for name in names if not any((root / name).exists() for root in roots)}
        assert not missing, f"{page.name} names {missing}"


COPIED = "protos tzmmoe tests docs scripts configs .ci Makefile README.md setup.py pyproject.toml"
# Whatever must hold for a loss, a metric, a kind of feature or a model that a reader adds.
HOLDS = [
    *("tests/test_house.py", "tests/test_schema.py", "tests/test_registry.py"),
    *("tests/build/test_rules.py", "tests/features/test_every_kind.py"),
    *("tests/tasks/losses/test_loss_laws.py", "tests/tasks/metrics/test_metric_laws.py"),
    "tests/textformat/test_reader.py::"
    "test_a_word_that_the_schema_has_learned_is_no_longer_listed_as_a_neighbours",
]


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} has {text.count(old)} times {old}"
    path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the extensions of docs/extending.md."""
    folder = tmp_path_factory.mktemp("extended")
    for source in map(ROOT.joinpath, COPIED.split()):
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / source.name, ignore=ignored)
        else:
            shutil.copy(source, folder)
    for language, place, code in blocks("docs/extending.md"):
        file, _, oneof = place.removeprefix("in ").partition(", oneof ")
        target = folder / file
        if language == "diff":
            lines = code.splitlines(keepends=True)
            old, new = ("".join(x[1:] for x in lines if x[0] == sign) for sign in "-+")
            replaced(target, old, new)
        elif oneof:
            replaced(target, f"oneof {oneof} {{\n", f"oneof {oneof} {{\n{code}")
        elif place:
            text = target.read_text() + "\n" if target.exists() else ""
            target.write_text(text + code)
    run([sys.executable, "setup.py", "-q", "compile_schema"], folder)
    run([sys.executable, "scripts/gen_reference.py"], folder)
    return folder


@pytest.mark.long
def test_the_extensions_pass_their_tests_and_those_that_hold_for_all(extended: Path) -> None:
    own = [place.removeprefix("in ") for _, place, _ in blocks("docs/extending.md")]
    own = [file for file in own if file.startswith("tests/")]
    assert len(own) == 5
    options = ["-q", "-n", "0", "-p", "no:cacheprovider", "--show-capture=no"]
    command = [sys.executable, "-m", "pytest", *options, *HOLDS, *own]
    run(command, extended, PYTHONPATH=str(extended))
    for check in (["check", "."], ["format", "--check", "."]):
        run([sys.executable, "-m", "ruff", *check], extended)


def test_the_loss_of_pairs_is_that_of_its_test() -> None:
    pages = blocks("docs/extending.md")
    [code] = [code for language, place, code in pages if language == "python" and not place]
    assert code in (ROOT / "tests/tasks/test_batch_losses.py").read_text()


CONFIG = """
train_input_path: "rows.parquet"
eval_input_path: "rows.parquet"
model_dir: "model"
train_config {
  sparse_optimizer { adagrad_optimizer { lr: 0.05 } }
  dense_optimizer { adam_optimizer { lr: 0.003 } }
  num_epochs: 20
  use_tensorboard: false
}
data_config { batch_size: 64 label_fields: ["count", "click"] fg_mode: FG_DAG num_workers: 1 }
feature_configs { id_feature { feature_name: "user" num_buckets: 8 embedding_dim: 4 } }
feature_configs {
  combo_feature {
    feature_name: "user_hour" expression: ["user:user", "context:hour"]
    hash_bucket_size: 1000 embedding_dim: 4
  }
}
model_config {
  feature_groups { group_name: "all" feature_names: ["user", "user_hour"] }
  MODEL
    task_towers {
      tower_name: "count" label_name: "count"
      losses { poisson_loss { max_logit: 10 } } metrics { bias {} }
    }
    task_towers { tower_name: "click" label_name: "click" metrics { bias {} } metrics { auc {} } }
  }
}
"""
MODELS = {
    "omoe": "omoe { expert_mlp { hidden_units: 8 } num_expert: 2",
    "adatt": "adatt { level_mlps { hidden_units: 8 } level_mlps { hidden_units: 6 }",
}
TRAINING = """
import pathlib
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from tzmmoe import Pipeline
from tzmmoe.serving.scorer import Scorer
import tzmmoe
assert pathlib.Path(tzmmoe.__file__).is_relative_to(pathlib.Path.cwd().parent), tzmmoe.__file__
random = np.random.default_rng(0)
user, hour = random.integers(0, 8, 2000), random.integers(0, 6, 2000)
rows = pa.table({
    "user": user,
    "hour": hour,
    "count": random.poisson(0.5 + user),
    "click": (random.random(2000) < np.where((user + hour) % 2, 0.8, 0.2)).astype(int),
})
pq.write_table(rows, "rows.parquet")
pipeline = Pipeline.load("new.config", device="cpu")
results = pipeline.fit()
print(results)
assert abs(results["bias_count"]) < 0.4 and abs(results["bias_click"]) < 0.05
assert results["auc_click"] > 0.7
assert pipeline.evaluate()["auc_click"] == results["auc_click"]
pipeline.export("export")
pipeline.predict("rows.parquet", "predicted.parquet")
predicted = pq.read_table("predicted.parquet")
scored = Scorer.load("export").score(rows)
for name in ("y_count", "probs_click"):
    np.testing.assert_allclose(scored[name].numpy(), predicted[name].to_numpy(), atol=1e-5)
assert np.corrcoef(scored["y_count"].numpy(), 0.5 + user)[0, 1] > 0.95
"""


@pytest.mark.long
@pytest.mark.parametrize("model", MODELS)
def test_the_extensions_train_evaluate_export_and_score(extended: Path, model: str) -> None:
    """2,000 rows whose counts depend on the user, and whose clicks on user and hour together."""
    folder = extended / model
    folder.mkdir()
    (folder / "new.config").write_text(CONFIG.replace("MODEL", MODELS[model]))
    run([sys.executable, "-c", TRAINING], folder, PYTHONPATH=str(extended))


@pytest.mark.long
def test_classes_of_ones_own_train_export_and_predict_as_the_page_says(extended: Path) -> None:
    """``mine.py`` and ``mine.config`` lie in the folder, as the page has them."""
    environment = {"PYTHONPATH": str(extended), "OMP_NUM_THREADS": "1"}
    small = ["--rows", "8000", "--eval_rows", "2000", "--out", "data/synthetic"]
    run([sys.executable, "-m", "tzmmoe.synthetic", *small], extended, **environment)
    [commands] = [code for language, _, code in blocks("docs/extending.md") if language == "bash"]
    commands = commands.replace("python -m", f"{sys.executable} -m")
    said = run(["bash", "-euo", "pipefail", "-c", commands], extended, **environment)
    assert "Brier" in said
    last = (extended / "experiments/mine/train_eval_result_v2.txt").read_text().splitlines()[-1]
    results = json.loads(last)
    truth = pq.read_table(extended / "data/synthetic/eval")["click"].to_numpy()
    squashed = pq.read_table(extended / "squash.parquet")["probs_ctr"].to_numpy()
    assert ((squashed > 0) & (squashed < 1)).all()
    predicted = pq.read_table(extended / "mine.parquet")["probs_ctr"].to_numpy()
    assert results["Brier_ctr"] == pytest.approx(np.square(predicted - truth).mean(), rel=1e-5)
    assert results["auc_ctr"] > 0.55


@pytest.mark.long
def test_a_bad_setting_of_an_extension_is_reported_with_path_and_line(extended: Path) -> None:
    folder = extended / "bad"
    folder.mkdir()
    text = CONFIG.replace("MODEL", MODELS["omoe"]).replace("max_logit: 10", "max_logit: -1")
    (folder / "bad.config").write_text(text)
    command = [sys.executable, "-m", "tzmmoe.train", "--pipeline_config", "bad.config"]
    environment = {**os.environ, "PYTHONPATH": str(extended)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    line = 1 + next(i for i, each in enumerate(text.splitlines()) if "max_logit" in each)
    path = "model_config.omoe.task_towers[0].losses[0].poisson_loss.max_logit"
    assert f"bad.config:{line}: {path}" in done.stderr


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


@pytest.mark.long
def test_the_readme_can_be_typed_from_top_to_bottom(reader: Path) -> None:
    outputs = pq.read_table(reader / "predictions.parquet")
    rows = pq.read_table(reader / "data/synthetic/eval")
    assert outputs["user_id"].equals(rows["user_id"])
    probabilities = np.asarray(outputs["probs_ctr"])
    assert ((probabilities > 0) & (probabilities < 1)).all()
    truth = np.asarray(rows["p_click"])
    assert np.corrcoef(probabilities, truth)[0, 1] > 0.5  # it learned what clicks depend on


@pytest.mark.long
def test_the_readme_lists_the_files_that_training_leaves(reader: Path) -> None:
    listing = next(code for language, _, code in blocks("README.md") if "runs.jsonl" in code)
    heads = [line.strip().split("  ")[0] for line in listing.splitlines()[1:]]
    names = [name for head in heads for name in head.split(", ")]
    there = [path.name for path in (reader / "experiments/first").iterdir()]
    for name in names:
        stem = re.escape(name.rstrip("/")).replace(r"\*", ".*").replace(r"\-97", r"\-\d+")
        assert any(re.fullmatch(stem, each) for each in there), f"{name} is not among {there}"


def test_the_readme_lists_the_flags_that_there_are() -> None:
    flags = set(re.findall(r"`(--\w+)", (ROOT / "README.md").read_text()))
    helps = [
        run([sys.executable, "-m", f"tzmmoe.{name}", "--help"], ROOT)
        for name in ("train", "eval", "export", "predict", "init")
    ]
    helps += [
        run([sys.executable, "-m", "tzmmoe.convert", source, "--help"], ROOT)
        for source in ("tencent", "easyrec")
    ]
    known = set(re.findall(r"--\w+", "\n".join(helps)))
    assert flags <= known, flags - known


@pytest.mark.long
def test_the_page_on_mmoe_v2_can_be_typed_and_its_config_learns_with_a_wide_side(tmp_path) -> None:
    type_all("docs/mmoe_v2.md", tmp_path)
    folder = tmp_path / "experiments/wide"
    last = json.loads((folder / "train_eval_result_v2.txt").read_text().splitlines()[-1])
    optimum = json.loads((tmp_path / "data/synthetic/optimum.json").read_text())
    assert 0.6 < last["auc_click"] < optimum["eval"]["auc_ctr"]
    assert "user_id.weight" in (folder / "train.log").read_text()  # FM's tables


@pytest.mark.long
def test_the_page_on_blocks_can_be_typed_and_shows_the_table_that_check_logs(tmp_path) -> None:
    type_all("docs/backbone.md", tmp_path)
    folder = tmp_path / "experiments/blocks"
    last = json.loads((folder / "train_eval_result_v2.txt").read_text().splitlines()[-1])
    assert last["auc_ctr"] > 0.55
    [table] = [code for language, _, code in blocks("docs/backbone.md") if language == "text"]
    assert table in (folder / "train.log").read_text()
    assert "senet" in (tmp_path / "blocks.svg").read_text()


def test_the_page_on_blocks_lists_every_layer_and_every_function() -> None:
    text = (ROOT / "docs/backbone.md").read_text()
    layers = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", text, re.MULTILINE)
    assert {word for _, word in layers} == set(LAYERS.words)
    assert all(CLASSES[name] == word for name, word in layers)
    listed = set()
    for line in text.splitlines():
        libraries, _, names = line.removeprefix("| ").partition(" | ")
        if re.fullmatch(r"`(tf|torch)\S*`(, `tf\S*`)?", libraries):
            for library in re.findall(r"`([\w.]+)`", libraries):
                listed |= {f"{library}.{name}" for name in re.findall(r"`(\w+)`", names)}
    assert listed == set(FUNCTIONS)


@pytest.mark.long
def test_the_page_on_days_can_be_typed_and_says_what_its_commands_log(tmp_path) -> None:
    """Three days of 20,000 rows in batches of 256: 79 steps each."""
    type_all("docs/daily.md", tmp_path)
    daily, grown = tmp_path / "experiments/daily", tmp_path / "experiments/grown"
    assert [path.name for path in sorted(daily.glob("*ckpt*"))] == [
        "model.ckpt-157",
        "model.ckpt-78",
    ]
    [said] = [code for language, _, code in blocks("docs/daily.md") if language == "text"]
    log = (grown / "train.log").read_text()
    assert said in re.sub(r"^\S+ \S+ INFO ", "", log, flags=re.MULTILINE)
    results = (daily / "eval_result.txt").read_text().splitlines()
    assert json.loads(results[-1])["auc_ctr"] > 0.6
    assert (tmp_path / "exports/2024-01-02/model.pt2").exists()


@pytest.mark.long
def test_the_page_on_python_can_be_typed_and_its_model_learns(tmp_path) -> None:
    type_all("docs/python.md", tmp_path)
    folder = tmp_path / "experiments/clicks"
    last = json.loads((folder / "train_eval_result_v2.txt").read_text().splitlines()[-1])
    optimum = json.loads((tmp_path / "data/synthetic/optimum.json").read_text())
    assert 0.55 < last["auc_ctr"] < optimum["eval"]["auc_ctr"] + 0.02
    assert 'train_input_path: "memory:train"' in (folder / "pipeline.config").read_text()


def test_the_page_on_layers_has_code_that_learns_and_lists_every_argument(tmp_path) -> None:
    [code] = [code for language, _, code in blocks("docs/layers.md") if language == "python"]
    chance = math.log(2)
    assert float(run([sys.executable, "-c", code], tmp_path)) < 0.8 * chance
    listed = set()
    for line in (ROOT / "docs/layers.md").read_text().splitlines():
        cell = re.match(r"\| (`[^|]*`) \|", line)
        for word in re.findall(r"`([^`]+)`", cell[1]) if cell else ():
            fields = [part.split(",") for part in re.split(r"[{}]", word)]
            listed |= {"".join(choice) for choice in itertools.product(*fields)}
    arguments = set(inspect.signature(MMoE).parameters) - {"unknown"}
    assert listed == arguments


def test_the_pictures_of_mmoe_v2_are_those_of_the_model() -> None:
    run([sys.executable, "scripts/draw_mmoe_v2.py", "--check"], ROOT)
