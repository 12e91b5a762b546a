"""export_config.per_task_best: each task is exported with the weights of its own best step."""

import json
import pickle
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from e2e import tiny
from messages import fails, says
from written import changed, loaded, said_of_all

from tzmmoe import predict
from tzmmoe.errors import CheckpointError, ConfigError
from tzmmoe.pipeline import Pipeline
from tzmmoe.run.evaluate import Evaluations
from tzmmoe.run.results import TRAINING_RESULTS, append_results
from tzmmoe.serving.scorer import Scorer
from tzmmoe.system import checkpoint

BEST = {"export_config__per_task_best": "true", "train_config__keep_checkpoint_max": 1}
# The values of auc_ctr and auc_cvr after steps 5, 10, 15, 20 and 25.
APART = {5: (0.9, 0.1), 10: (0.5, 0.8), 15: (0.6, 0.3), 20: (0.6, 0.3), 25: (0.6, 0.3)}
TOGETHER = {step: (0.5, 0.5 - abs(step - 10) / 100) for step in APART} | {10: (0.9, 0.9)}


def trained(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    model_dir: Path,
    aucs: dict[int, tuple[float, float]],
    **changes: object,
) -> Pipeline:
    """A run whose evaluations find these values."""

    def after(self: Evaluations, step: int, *, is_last: bool) -> dict[str, float]:
        ctr, cvr = aucs.get(step, (0.0, 0.0))
        results = {"auc_ctr": ctr, "auc_cvr": cvr, "val_loss": 1.0}
        append_results(self.session.model_dir / TRAINING_RESULTS, step, results)
        return results

    monkeypatch.setattr(Evaluations, "after", after)
    pipeline = tiny.pipeline(folder, model_dir, **BEST | changes)
    pipeline.fit()
    return pipeline


@pytest.fixture(scope="module")
def apart(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, Path]:
    """Each program has the averages of its checkpoint, as an export of that one has."""
    folder, averages = tmp_path_factory.mktemp("apart"), {"train_config__ema": "decay: 0.9"}
    with pytest.MonkeyPatch.context() as patched:
        run = trained(patched, tiny_folder, folder / "model", APART, **averages)
        return run, folder / "model"


def rows(folder: Path) -> object:
    return pq.read_table(folder / "eval.parquet").drop_columns(["click", "buy", "importance"])


def listed(export: Path) -> dict[str, tuple[int, list[str]]]:
    content = json.loads((export / "signature.json").read_text())
    return {part["file"]: (part["step"], part["outputs"]) for part in content["programs"]}


def test_the_best_checkpoint_of_each_task_is_kept(apart: tuple[Pipeline, Path]) -> None:
    """keep_checkpoint_max is 1, and auc_cvr is not what best_exporter_metric would choose."""
    steps = [int(path.name.rpartition("-")[2]) for path in checkpoint.find(apart[1])]
    assert steps == [5, 10, 25]


def test_each_task_has_the_outputs_of_its_own_best_checkpoint(
    apart: tuple[Pipeline, Path], tiny_folder: Path, tmp_path: Path
) -> None:
    pipeline, model_dir = apart
    export = pipeline.export(str(tmp_path / "export"))
    assert listed(export) == {
        "model.pt2": (5, ["logits_ctr", "probs_ctr"]),
        "model-2.pt2": (10, ["logits_cvr", "probs_cvr"]),
    }
    found = Scorer.load(export).score(rows(tiny_folder))
    assert list(found) == ["logits_ctr", "probs_ctr", "logits_cvr", "probs_cvr"]
    others = {}
    for step, task in ((5, "ctr"), (10, "cvr")):
        path = str(model_dir / f"model.ckpt-{step}")
        of_step = pipeline.export(str(tmp_path / task), checkpoint_path=path)
        whole = Scorer.load(of_step).score(rows(tiny_folder))
        for name, values in whole.items():
            if name.endswith(task):
                torch.testing.assert_close(found[name], values, rtol=0, atol=1e-6)
            else:
                others[name] = values
    assert all((found[name] - values).abs().max() > 1e-4 for name, values in others.items())


def test_tasks_that_share_their_best_step_share_a_program(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, tmp_path: Path
) -> None:
    pipeline = trained(monkeypatch, tiny_folder, tmp_path / "model", TOGETHER)
    export = pipeline.export(str(tmp_path / "export"))
    outputs = ["logits_ctr", "probs_ctr", "logits_cvr", "probs_cvr"]
    assert listed(export) == {"model.pt2": (10, outputs)}
    assert list(Scorer.load(export).score(rows(tiny_folder))) == outputs


def test_an_auxiliary_task_keeps_no_checkpoint_and_has_no_program(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, tmp_path: Path
) -> None:
    auxiliary = {"model_config__mmoe__task_towers[1]__auxiliary": "true"}
    pipeline = trained(monkeypatch, tiny_folder, tmp_path / "model", APART, **auxiliary)
    steps = [int(path.name.rpartition("-")[2]) for path in checkpoint.find(tmp_path / "model")]
    assert steps == [5, 25]
    export = pipeline.export(str(tmp_path / "export"))
    assert listed(export) == {"model.pt2": (5, ["logits_ctr", "probs_ctr"])}


def test_the_command_tells_files_steps_and_sizes_and_predicts_as_the_scorer(
    apart: tuple[Pipeline, Path],
    tiny_folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO", logger="tzmmoe"):
        export = apart[0].export(str(tmp_path / "export"))
    says(caplog.text, "model.pt2: ctr", "step 5,", "model-2.pt2: cvr", "step 10,", "MB")
    file, out = tiny.write(rows(tiny_folder), tmp_path / "rows.parquet"), tmp_path / "o.parquet"
    flags = ["--predict_input_path", str(file), "--predict_output_path", str(out)]
    predict.main(["--saved_model_dir", str(export), *flags])
    found = Scorer.load(export).score(rows(tiny_folder))
    for name, values in found.items():
        assert pq.read_table(out)[name].to_numpy() == pytest.approx(values.numpy(), abs=1e-6)


def test_a_signed_export_of_several_programs_is_checked_file_by_file(
    apart: tuple[Pipeline, Path], tiny_folder: Path, tmp_path: Path
) -> None:
    key = tmp_path / "my.key"
    key.write_bytes(bytes(range(32)))
    export = apart[0].export(str(tmp_path / "export"), key_file=str(key))
    scorer = Scorer.load(export, key_file=key)
    again = pickle.loads(pickle.dumps(scorer))
    one, other = scorer.score(rows(tiny_folder)), again.score(rows(tiny_folder))
    assert all(torch.equal(one[name], other[name]) for name in one)
    program = export / "model-2.pt2"
    content = bytearray(program.read_bytes())
    content[len(content) // 2] ^= 1
    program.write_bytes(content)
    with fails(CheckpointError, "model-2.pt2", "damaged"):
        Scorer.load(export, key_file=key)
    program.unlink()
    with fails(CheckpointError, "model-2.pt2"):
        Scorer.load(export, key_file=key)


def outputs_twice(content: dict) -> None:
    content["programs"][1]["outputs"] += content["programs"][0]["outputs"]


def output_missing(content: dict) -> None:
    del content["programs"][1]


def same_file(content: dict) -> None:
    content["programs"][1]["file"] = "model.pt2"


def no_checksum(content: dict) -> None:
    content["programs"][1]["file"] = "pipeline.config"


def swapped(content: dict) -> None:
    first, second = content["programs"]
    first["outputs"], second["outputs"] = second["outputs"], first["outputs"]


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (outputs_twice, ["each output must be of one program"]),
        (output_missing, ["each output must be of one program"]),
        (same_file, ["each output must be of one program"]),
        (no_checksum, ["no checksum of 'pipeline.config'"]),
        (swapped, ["model.pt2", "rejected", "signature.json"]),
    ],
)
def test_a_signature_that_does_not_fit_its_programs_is_refused(
    apart: tuple[Pipeline, Path], tmp_path: Path, change, parts: list[str]
) -> None:
    export = apart[0].export(str(tmp_path / "export"))
    content = json.loads((export / "signature.json").read_text())
    change(content)
    content["checksums"] = ""  # as of an earlier version, whose signature has no checksum
    (export / "signature.json").write_text(json.dumps(content))
    (export / "seal.json").unlink()
    with fails(CheckpointError, *parts):
        Scorer.load(export)


def test_a_named_checkpoint_is_one_program_and_the_setting_is_said_to_have_no_effect(
    apart: tuple[Pipeline, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(apart[1] / "model.ckpt-10")
    export = apart[0].export(str(tmp_path / "export"), checkpoint_path=path)
    says(caplog.text, "per_task_best has no effect", "checkpoint_path")
    content = json.loads((export / "signature.json").read_text())
    assert content["format"] == 1
    assert "programs" not in content


EXPORT = "export_config { per_task_best: true"


def test_it_excludes_one_best_checkpoint(tmp_path: Path) -> None:
    text = changed(("model_config {", f'{EXPORT} exporter_type: "best" }}\nmodel_config {{'))
    (fault,) = said_of_all(loaded(tmp_path, text))
    says(fault, "export_config.per_task_best", "exporter_type", "remove one")


def test_it_needs_an_evaluation(tmp_path: Path) -> None:
    text = changed(
        ("model_config {", f"{EXPORT} }}\nmodel_config {{"),
        ('eval_input_path: "eval.parquet"\n', ""),
    )
    (fault,) = said_of_all(loaded(tmp_path, text))
    says(fault, "export_config.per_task_best", "set eval_input_path")


def test_a_run_that_was_never_evaluated_has_no_best_of_a_task(
    tiny_folder: Path, tmp_path: Path
) -> None:
    run = tiny.pipeline(
        tiny_folder, tmp_path / "model", eval_input_path="", train_config__num_steps=3
    )
    run.fit()
    with fails(CheckpointError, "no evaluation", "per_task_best: false"):
        tiny.pipeline(tiny_folder, tmp_path / "model", **BEST).export(str(tmp_path / "export"))


def test_without_an_evaluation_there_is_no_best_checkpoint(tiny_folder: Path) -> None:
    run = tiny.pipeline(tiny_folder, tiny_folder / "no", eval_input_path="", **BEST)
    with fails(ConfigError, "export_config.per_task_best", "nothing is evaluated"):
        run.check()
