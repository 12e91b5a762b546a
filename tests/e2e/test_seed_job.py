"""The two JSON documents of Tencent's MMoE V2, from the converter to the JSON of results."""

import csv
import json
import shutil
import subprocess
from pathlib import Path

import forked
import numpy as np
import pytest

from tzmmoe.run.results import TRAINING_RESULTS, read_results
from tzmmoe.system import checkpoint

FIXTURES = Path(__file__).parents[1] / "drafting/tencent/fixtures"
SIZES = {"train_data": 3000, "vali_data": 700, "test_data": 900}
LABELS = ("is_click", "play_num1", "play_num5", "playtime_3000", "is_favor")


def write_rows(path: Path, count: int, seed: int) -> dict[str, np.ndarray]:
    """A CSV file with the columns of the documents in another order, and one that nobody reads.
    Ages of 33 and more lie outside the table. Labels follow age and play counts."""
    random = np.random.default_rng(seed)
    defs = json.loads((FIXTURES / "model_input_config.json").read_text())["inputs"]["defs"]
    sizes = {each["name"]: each["vocab_size"] for each in defs if "vocab_size" in each}
    columns = {name: random.integers(0, size, count) for name, size in sizes.items()}
    columns["age"] = random.integers(0, sizes["age"] + 3, count)
    score = (columns["age"] % 33 - 16) / 5 + (columns["bd_play_cnt"] - 29) / 20
    for number, name in enumerate(LABELS):
        chance = 1 / (1 + np.exp(number / 2 - score))
        columns[name] = (random.random(count) < chance).astype(int)
    columns["unread"] = np.arange(count)
    names = sorted(columns, reverse=True)
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(names)
        writer.writerows(zip(*(columns[name] for name in names), strict=True))
    return columns


def run(*command: str, folder: Path) -> subprocess.CompletedProcess:
    done = forked.run("-m", *command, folder=folder, EXPORT_PATH=str(folder / "exports"))
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the documents as they are, and data for their columns; all of it has run."""
    folder = tmp_path_factory.mktemp("job")
    for name in ("job.json", "model_input_config.json"):
        shutil.copyfile(FIXTURES / name, folder / name)
    for seed, (name, count) in enumerate(SIZES.items()):
        write_rows(folder / "dataset" / f"{name}.csv", count, seed)
    made = run(
        *("tzmmoe.convert", "tencent", "--job", "job.json", "--out", "mmoe_v2.config"),
        folder=folder,
    )
    (folder / "report.txt").write_text(made.stdout)
    trained = run(
        *("tzmmoe.train", "--pipeline_config", "mmoe_v2.config", "--device", "cpu"),
        *("--set", "train_config.num_epochs=40"),
        *("--set", "train_config.early_stopping.patience=1"),
        *("--set", "train_config.train_speed_logger.every_batches=5"),
        *("--set", "train_config.tensorboard.profile_batch=[3, 4]"),
        *("--set", "runtime_config.timeout='1h'"),
        folder=folder,
    )
    (folder / "train.txt").write_text(trained.stderr)
    shutil.copyfile(folder / "exports" / "mmoev2-fm-2-res.json", folder / "after_training.json")
    run("tzmmoe.eval", "--pipeline_config", "mmoe_v2.config", "--device", "cpu", folder=folder)
    return folder


def results(path: Path) -> tuple[str, str, dict[str, float]]:
    [[name, model, values]] = json.loads(path.read_text())["eval_results"]
    return name, model, values


def test_the_job_of_the_document_is_converted_trained_and_tested(job) -> None:
    """S0.4, S0.5, S0.55, S0.57, S0.72, S0.82: both files go in as the document prints them; the
    result of the test file comes out under the job's own path, by its own names."""
    name, model, values = results(job / "exports" / "mmoev2-fm-2-res.json")
    assert name == "mmoe_model_v2"
    assert values.keys() == {
        *("loss", "regularization"),
        *(f"{label}_{end}" for label in LABELS[:2] for end in ("loss", "auc", "bacc")),
        *(f"is_favor_{end}" for end in ("loss", "auc", "bacc")),
    }
    assert Path(model).name == checkpoint.preferred(job / "experiments/mmoe_model_v2").name
    tasks = sum(values[f"{label}_loss"] for label in ("is_click", "play_num1", "is_favor"))
    assert values["loss"] == pytest.approx(tasks + values["regularization"], rel=1e-6)
    assert all(values[f"{label}_auc"] > 0.75 for label in ("is_click", "play_num1", "is_favor"))
    trained = results(job / "after_training.json")
    assert trained[2] == pytest.approx(values)


def test_the_bacc_of_the_document_is_the_share_of_rows_on_the_right_side(job, tmp_path) -> None:
    """S0.66, S0.71, S0.83: counted by hand from the predictions, which have an output for each
    label."""
    output = tmp_path / "predictions.csv"
    run(
        *("tzmmoe.predict", "--pipeline_config", "mmoe_v2.config", "--device", "cpu"),
        *("--predict_input_path", "dataset/test_data.csv", "--predict_output_path", str(output)),
        *("--reserved_columns", "is_favor,unread"),
        folder=job,
    )
    with output.open() as opened:
        rows = list(csv.DictReader(opened))
    assert [int(row["unread"]) for row in rows] == list(range(SIZES["test_data"]))
    right = sum((float(row["probs_is_favor"]) > 0.5) == (row["is_favor"] == "1") for row in rows)
    values = results(job / "exports" / "mmoev2-fm-2-res.json")[2]
    assert values["is_favor_bacc"] == pytest.approx(right / len(rows), abs=1e-12)


def test_the_run_stopped_early_with_its_best_weights_on_validation(job) -> None:
    """S0.58, S0.59, S0.69, S0.70: one evaluation an epoch on the validation file; val_loss."""
    model_dir = job / "experiments/mmoe_model_v2"
    lines = read_results(model_dir / TRAINING_RESULTS)
    losses = [line["val_loss"] for line in lines]
    assert 1 < len(losses) < 40
    per_epoch = -(-SIZES["train_data"] // 256)
    ends = [per_epoch * (epoch + 1) - 1 for epoch in range(len(lines))]
    assert [line["global_step"] for line in lines] == ends
    assert not losses[-1] < losses[-2] - 0.001
    assert checkpoint.preferred(model_dir).name == f"model.ckpt-{lines[-2]['global_step']}"


def test_the_log_tells_the_speed_the_trace_the_binding_and_ids_outside(job) -> None:
    """S0.67, S0.68, S0.78, S0.79: as the job asks for them."""
    said = (job / "train.txt").read_text()
    speed = [line for line in said.splitlines() if line.startswith("speed | ")]
    assert "batch 5 " in speed[0]
    assert "auc_is_click" in speed[0]
    assert list((job / "experiments/mmoe_model_v2/profile").glob("*.pt.trace.json"))
    quality = next(line for line in said.splitlines() if line.startswith("age "))
    assert float(quality.split()[-1].strip("%")) > 0
    told = (job / "report.txt").read_text()
    assert "task_structs[2]: is_favor" in told
    assert "not used: play_num5, playtime_3000" in told
