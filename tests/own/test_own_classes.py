"""Classes of a user's in a run, a checkpoint and an export."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import forked
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from e2e import tiny
from google.protobuf.message import Message
from messages import fails, says

from tzmmoe import predict
from tzmmoe.errors import CheckpointError, ConfigError
from tzmmoe.features.shared import SharedFields
from tzmmoe.pipeline import Pipeline
from tzmmoe.protos.feature_pb2 import IdFeature
from tzmmoe.protos.loss_pb2 import BinaryCrossEntropy
from tzmmoe.protos.model_pb2 import MMoE
from tzmmoe.registry import fields
from tzmmoe.serving.scorer import Scorer

ROOT = Path(__file__).parents[2]
COPIES = Path(__file__).with_name("copies.py")


def args(message: Message, *, without: Collection[str] = ()) -> str:
    """The fields of a message as arguments, with its defaults, as a constructor takes them all."""
    values = {name: value for name, value in fields(message).items() if name not in without}
    return f"args {_written(values)}"


def _written(value: object) -> str:
    if isinstance(value, dict):
        parts = [f"{n}: {_written(v)}" for n, v in value.items()]
        return f"{{ {' '.join(parts)} }}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    return json.dumps(value)


CITY = IdFeature(hash_bucket_size=9)
EXPERTS = MMoE(expert_mlp={"hidden_units": [8], "dropout_ratio": [0.2]}, num_expert=3)
ID = """id_feature {
    feature_name: "city" hash_bucket_size: 9 embedding_dim: 3 trainable: false
  }"""
OWN_ID = f"""custom_feature {{
    feature_name: "city" embedding_dim: 3 trainable: false
    class: "copies.Category"
    {args(CITY, without=(*SharedFields.names(), "expression"))}
  }}"""
MODEL = """mmoe {
    expert_mlp { hidden_units: [8] dropout_ratio: [0.2] }
    num_expert: 3"""
OWN_MODEL = f"""custom_model {{
    class: "copies.Mixture"
    {args(EXPERTS, without=["task_towers"])}"""
LOSS = "losses { binary_cross_entropy {} }"
OWN_LOSS = f"""losses {{
        custom_loss {{
          class: "copies.Entropy"
          {args(BinaryCrossEntropy())}
        }}
      }}"""
METRIC = "metrics { auc {} }"
PARTS = {"feature": (ID, OWN_ID), "model": (MODEL, OWN_MODEL), "loss": (LOSS, OWN_LOSS)}


def own(text: str, *parts: str) -> str:
    """The config with classes of the user's in place of those of the package."""
    for part in parts:
        old, new = PARTS[part]
        pattern = re.compile(r"\s+".join(map(re.escape, old.split())))
        text, count = pattern.subn(lambda _, new=new: new, text)
        assert count, part
    return text


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module is where Python looks for it."""
    monkeypatch.syspath_prepend(COPIES.parent)


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configs with and without classes of the user's, for the same rows."""
    made = tmp_path_factory.mktemp("own")
    text = (tiny_folder / "tiny.config").read_text()
    (made / "plain.config").write_text(text)
    (made / "own.config").write_text(own(text, *PARTS))
    (made / "program.config").write_text(own(text, "model", "loss"))
    (made / "feature.config").write_text(own(text, "feature"))
    return made


def pipeline(folder: Path, name: str, model_dir: Path, *settings: str, **more) -> Pipeline:
    settings = (f"model_dir={model_dir}", *settings)
    more = {"allow_modules": "copies", **more}
    return Pipeline.load(folder / f"{name}.config", settings=settings, device="cpu", **more)


@pytest.mark.usefixtures("copies")
def test_a_class_that_does_the_same_leaves_the_same_bits(folder, tmp_path) -> None:
    """In training, evaluation, checkpoint, resume, export, and prediction."""
    runs = {}
    for name in ("plain", "own"):
        model_dir = tmp_path / name
        pipeline(folder, name, model_dir, "train_config.num_steps=11").fit()
        run = pipeline(folder, name, model_dir)
        results = run.fit(continue_train=True)
        again = run.evaluate(predictions_path=str(tmp_path / f"{name}.parquet"))
        assert again == results
        run.export(str(tmp_path / f"{name}_export"))
        served = tmp_path / f"{name}_served.parquet"
        predict.main(
            [
                *("--saved_model_dir", str(tmp_path / f"{name}_export"), "--device", "cpu"),
                *(["--allow_modules", "copies"] if name == "own" else []),
                *("--predict_input_path", str(tiny_rows(folder))),
                *("--predict_output_path", str(served)),
            ]
        )
        evaluated = pq.read_table(tmp_path / f"{name}.parquet")
        runs[name] = (
            tiny.tensors(next(iter(sorted(model_dir.glob("*ckpt-25"))))),
            {key.replace("Entropy", "binary_cross_entropy"): each for key, each in again.items()},
            evaluated,
            pq.read_table(served),
        )
    assert runs["own"][0] == runs["plain"][0]
    assert runs["own"][1] == runs["plain"][1]
    assert runs["own"][2].equals(runs["plain"][2])
    assert runs["own"][3].equals(runs["plain"][3])


def tiny_rows(folder: Path) -> Path:
    text = (folder / "plain.config").read_text()
    return Path(re.search('eval_input_path: "(.*)"', text)[1])


@pytest.mark.usefixtures("copies")
def test_a_metric_of_the_users_has_its_class_name_also_in_task_metrics(folder, tmp_path) -> None:
    """The mean of |probability - label|^power, with another power in the final evaluation."""
    one = 'metrics { custom_metric { class: "copies.Error" args { power: %s } } }'
    text = (folder / "plain.config").read_text().replace(METRIC, METRIC + one % 2)
    text += f'eval_config {{ task_metrics {{ name: "ctr" {one % 3} }} }}'
    (folder / "metric.config").write_text(text)
    run = pipeline(folder, "metric", tmp_path / "model", "train_config.num_steps=3")
    results = run.fit()
    assert run.evaluate(predictions_path=str(tmp_path / "evaluated.parquet")) == results
    rows = pq.read_table(tmp_path / "evaluated.parquet")
    assert "auc_ctr" not in results
    for task, label, power in (("ctr", "click", 3), ("cvr", "buy", 2)):
        errors = np.abs(rows[f"probs_{task}"].to_numpy().astype(float) - rows[label].to_numpy())
        wanted = np.nanmean(errors**power)
        assert results[f"Error_{task}"] == pytest.approx(wanted, rel=1e-9)


WITHOUT = """
import sys
from pathlib import Path
import pyarrow.parquet as pq
import torch
from tzmmoe.serving.scorer import Scorer
folder, rows, out = sys.argv[1:]
scored = Scorer.load(folder).score(pq.read_table(rows))
assert "copies" not in sys.modules
torch.save(scored["probs_ctr"], out)
"""


@pytest.mark.usefixtures("copies")
def test_an_exported_model_and_loss_need_no_module(folder, tmp_path) -> None:
    """In another process, which has no such module."""
    run = pipeline(folder, "program", tmp_path / "model", "train_config.num_steps=3")
    run.fit()
    run.evaluate(predictions_path=str(tmp_path / "evaluated.parquet"))
    export = run.export(str(tmp_path / "export"))
    for file in export.rglob("*"):
        if file.suffix == ".pt2":
            assert b"copies" not in file.read_bytes()
    assert "copies" not in (export / "signature.json").read_text()
    rows, out = tiny_rows(folder), tmp_path / "scored.pt"
    done = forked.run("-c", WITHOUT, export, rows, out, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    evaluated = pq.read_table(tmp_path / "evaluated.parquet")["probs_ctr"].to_numpy()
    assert np.abs(torch.load(out).numpy() - evaluated).max() < 1e-6


@pytest.mark.usefixtures("copies")
def test_an_export_with_a_feature_of_the_users_loads_only_where_its_module_is_allowed(
    folder, tmp_path, monkeypatch
) -> None:
    run = pipeline(folder, "feature", tmp_path / "model", "train_config.num_steps=3")
    run.fit()
    export = run.export(str(tmp_path / "export"))
    rows = pq.read_table(tiny_rows(folder))
    scored = Scorer.load(export, allow_modules=["copies"]).score(rows)
    assert len(scored["probs_ctr"]) == len(rows)
    monkeypatch.delitem(sys.modules, "copies")
    for allowed in ((), ["copie"], ["copies.deep"], "copies_of_others"):
        with fails(CheckpointError, "'city'", "copies.Category", "allow_modules=", "not allowed"):
            Scorer.load(export, allow_modules=allowed)
        assert "copies" not in sys.modules
    monkeypatch.setattr(sys, "path", [p for p in sys.path if Path(p) != COPIES.parent])
    with fails(CheckpointError, "'city'", "no module copies", "PYTHONPATH"):
        Scorer.load(export, allow_modules=["copies"])


@pytest.mark.usefixtures("copies")
def test_files_of_a_feature_of_the_users_go_with_the_export(folder, tmp_path) -> None:
    (tmp_path / "cities.txt").write_text("".join(f"city{number}\n" for number in range(6)))
    text = own((folder / "plain.config").read_text(), "feature")
    changes = {
        "hash_bucket_size: 9": "hash_bucket_size: null",
        "vocab_file: null": 'vocab_file: "cities.txt"',
        "default_bucketize_value: null": "default_bucketize_value: 0",
    }
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "words.config").write_text(text)
    run = pipeline(tmp_path, "words", tmp_path / "model", "train_config.num_steps=3")
    run.fit()
    export = run.export(str(tmp_path / "export"))
    rows = pq.read_table(tiny_rows(folder))
    before = Scorer.load(export, allow_modules="copies").score(rows)
    shutil.move(export, tmp_path / "elsewhere")
    (tmp_path / "cities.txt").unlink()
    after = Scorer.load(tmp_path / "elsewhere", allow_modules="copies").score(rows)
    assert torch.equal(before["probs_ctr"], after["probs_ctr"])
    with (tmp_path / "elsewhere/vocab/city.txt").open("a") as file:
        file.write("more\n")
    with fails(CheckpointError, "city.txt", "damaged"):
        Scorer.load(tmp_path / "elsewhere", allow_modules="copies")


@pytest.mark.usefixtures("copies")
def test_an_export_refuses_operators_that_are_not_torchs_by_name(folder, tmp_path) -> None:
    text = (folder / "program.config").read_text().replace("copies.Entropy", "copies.WithOperator")
    (folder / "operator.config").write_text(text)
    run = pipeline(folder, "operator", tmp_path / "model", "train_config.num_steps=3")
    run.fit()
    with fails(CheckpointError, "torch.ops.tests_own.twice.default", "torch.ops.aten"):
        run.export(str(tmp_path / "export"))
    assert not (tmp_path / "export").exists()


@pytest.mark.usefixtures("copies")
def test_an_export_refuses_a_model_that_cannot_be_traced_by_its_class(folder, tmp_path) -> None:
    text = (folder / "program.config").read_text().replace("copies.Mixture", "copies.Branching")
    (folder / "branching.config").write_text(text)
    run = pipeline(folder, "branching", tmp_path / "model", "train_config.num_steps=3")
    run.fit()
    with fails(CheckpointError, "cannot be exported", "copies.Branching"):
        run.export(str(tmp_path / "export"))


@pytest.mark.usefixtures("copies")
def test_a_checkpoint_belongs_to_its_classes_by_name(folder, tmp_path) -> None:
    model_dir = tmp_path / "model"
    pipeline(folder, "own", model_dir, "train_config.num_steps=3").fit()
    state = json.loads(next(model_dir.glob("*ckpt-2/state.json")).read_text())
    assert state["meaning"]["classes"]["model"] == "copies.Mixture"
    assert "copies.Category" in state["meaning"]["classes"]["feature 'city'"]
    assert "copies.Entropy" in next(model_dir.glob("*ckpt-2/pipeline.config")).read_text()
    for name, parts in {"program": ["'city'"], "feature": ["model"], "plain": ["'city'"]}.items():
        with fails(CheckpointError, "copies.", *parts):
            pipeline(folder, name, model_dir).evaluate()
    other = "feature_configs[3].custom_feature.args.out_of_range=ERROR"
    with fails(CheckpointError, "'city'", "ROW_ZERO", "ERROR"):
        pipeline(folder, "own", model_dir, other).evaluate()
    assert pipeline(folder, "own", model_dir).evaluate()["val_loss"] > 0


def test_a_checkpoint_of_a_version_without_classes_is_still_read(folder, tmp_path) -> None:
    model_dir = tmp_path / "model"
    run = pipeline(folder, "plain", model_dir, "train_config.num_steps=3", allow_modules=())
    run.fit()
    session = run._trained(None)
    saved = session.matching_checkpoint(model_dir)
    del saved.state["meaning"]["classes"]
    session.fingerprint.check(saved)


@pytest.mark.usefixtures("copies")
def test_every_class_that_is_not_allowed_is_a_fault_with_its_line(folder, tmp_path) -> None:
    text = (folder / "own.config").read_text().splitlines()
    lines = [number for number, line in enumerate(text, 1) if "class:" in line]
    with pytest.raises(ConfigError) as error:
        pipeline(folder, "own", tmp_path / "model", allow_modules="copiesx").check()
    said = str(error.value).splitlines()
    assert len(said) == len(lines) == 4
    for number, line in zip(lines, said, strict=True):
        says(line, f"own.config:{number}: ", ".class: ", "allow_modules=['copies']")


@pytest.mark.usefixtures("copies")
def test_an_allowed_module_of_no_class_is_said_to_have_no_effect(folder, tmp_path, caplog) -> None:
    pipeline(folder, "program", tmp_path / "m", allow_modules="copies,json").check()
    [line] = [record.message for record in caplog.records if "allow_modules" in record.message]
    says(line, "json", "no effect")


@pytest.mark.usefixtures("copies")
@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("copies.Entropy", "copies.Error", ["custom_loss.class", "tzmmoe.tasks.losses.Loss"]),
        ("copies.Mixture", "copies.Entropy", ["custom_model.class", "tzmmoe.models.Body"]),
        ("copies.Category", "copies.Mixture", ["custom_feature.class", "tzmmoe.features.Feature"]),
        ("num_expert: 3", "num_experts: 3", ["custom_model.args.num_experts", "'num_expert'"]),
        ("num_expert: 3", "num_expert: 0", ["custom_model.args.num_expert", "is 0"]),
        ("hidden_units: [8]", "hidden_units: 8", ["custom_model.args"]),
        ("label_smoothing: 0.0", "label_smoothing: 2", ["custom_loss.args.label_smoothing"]),
        (
            "embedding_dim: 3 trainable: false\n    class",
            "trainable: false\n    class",
            ["custom_feature.embedding_dim", "not set"],
        ),
        (
            'out_of_range: "ROW_ZERO"',
            "num_bucket: 3",
            ["custom_feature.args.num_bucket:", "did you mean"],
        ),
        ('class: "copies.Mixture"', "", ["custom_model.class", "not set"]),
        ("args { expert_mlp", "arg { expert_mlp", ["custom_model.arg", "'args'"]),
    ],
)
def test_what_is_wrong_with_a_class_or_its_arguments_is_said_at_its_line(
    folder, tmp_path, old, new, parts
) -> None:
    text = (folder / "own.config").read_text()
    assert old in text
    (folder / "wrong.config").write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as error:
        pipeline(folder, "wrong", tmp_path / "model").check()
    [line] = [line for line in str(error.value).splitlines() if parts[0] in line]
    says(line, "wrong.config:", *parts)


@pytest.mark.usefixtures("copies")
def test_two_losses_or_a_loss_and_a_metric_of_one_name_are_refused(folder, tmp_path) -> None:
    text = (folder / "own.config").read_text()
    (folder / "twice.config").write_text(text.replace(OWN_LOSS, OWN_LOSS + OWN_LOSS, 1))
    with fails(ConfigError, "losses[1]", "Entropy", "twice"):
        pipeline(folder, "twice", tmp_path / "model").check()


@pytest.mark.long
def test_two_processes_import_the_allowed_module_each(folder, tmp_path) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    words = ["--pipeline_config", str(folder / "own.config"), "--device", "cpu"]
    words += ["--model_dir", str(tmp_path / "model"), "--set=train_config.num_steps=3"]
    ends = []
    for more in ([], ["--allow_modules", "copies"]):
        done = subprocess.run(
            [sys.executable, *torchrun, "-m", "tzmmoe.train", *words, *more],
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{COPIES.parent}", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        ends.append((done.returncode, done.stderr))
    assert ends[0][0] != 0
    assert ends[0][1].count("copies.Mixture") == 1  # said once, not by each process
    assert ends[1][0] == 0, ends[1][1]
    assert "Entropy" in ends[1][1]
