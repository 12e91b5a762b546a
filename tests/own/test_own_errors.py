"""Errors within classes of the user's: the class, the method, the task and the lines are told."""

import inspect
from pathlib import Path

import faulty
import pyarrow.parquet as pq
import pytest
from messages import fails, says
from test_own_classes import METRIC, OWN_LOSS, PARTS, ROOT, own, tiny_rows

from tzmmoe import predict
from tzmmoe.errors import ConfigError, UserError
from tzmmoe.pipeline import Pipeline
from tzmmoe.serving.scorer import Scorer

FILE = faulty.__file__


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("own")
    text = (tiny_folder / "tiny.config").read_text()
    (made / "plain.config").write_text(text)
    (made / "own.config").write_text(own(text, *PARTS).replace('"copies.', '"faulty.'))
    return made


def pipeline(folder: Path, model_dir: Path, **classes: str) -> Pipeline:
    """With classes of ``faulty`` in place of those of the package: a ``loss`` and a ``metric`` of
    the task cvr, the ``feature`` city, and the ``model``."""
    text = (folder / "plain.config").read_text()
    text = own(text, *(part for part in classes if part != "metric"))
    if "loss" in classes:  # of the second task only
        first = text.index("losses {")
        text = text[:first] + text[first:].replace(OWN_LOSS, PARTS["loss"][0], 1)
    if "metric" in classes:
        custom = f'metrics {{ custom_metric {{ class: "faulty.{classes["metric"]}" }} }}'
        before, _, after = text.rpartition(METRIC)
        text = f"{before}{METRIC} {custom}{after}"
    names = {"loss": "Entropy", "feature": "Category", "model": "Mixture"}
    for part, name in names.items():
        text = text.replace(f"copies.{name}", f"faulty.{classes.get(part)}")
    (folder / "faulty.config").write_text(text)
    settings = [f"model_dir={model_dir}", "train_config.num_steps=3"]
    return Pipeline.of_command(
        folder / "faulty.config", settings=settings, device="cpu", allow_modules="faulty"
    )


def line_of(name: str) -> str:
    """File and line of the last statement of a class's own method, which is where it fails."""
    method = next(m for m in vars(getattr(faulty, name)).values() if inspect.isfunction(m))
    lines, first = inspect.getsourcelines(method)
    return f'File "{FILE}", line {first + len(lines) - 1}, in {method.__name__}'


@pytest.mark.parametrize(
    ("part", "name", "method", "parts"),
    [
        ("loss", "LossForward", "forward", ["task 'cvr'", "KeyError: 'gamma'"]),
        ("loss", "LossPredict", "predict", ["task 'cvr'", "KeyError: 'scale'"]),
        ("metric", "MetricUpdate", "update", ["task 'cvr'", "RuntimeError: shape"]),
        ("metric", "MetricCompute", "compute", ["task 'cvr'", "ZeroDivisionError"]),
        ("feature", "FeatureEncode", "encode", ["feature 'city'", "KeyError: 'rows'"]),
        ("model", "ModelForward", "forward", ["Error: "]),
    ],
)
def test_an_error_of_a_run_names_class_method_task_and_line(
    folder, tmp_path, part, name, method, parts
) -> None:
    with pytest.raises(UserError) as error:
        pipeline(folder, tmp_path / "model", **{part: name}).fit()
    says(error.value, f"faulty.{name}.{method}", *parts, line_of(name))
    assert "site-packages" not in str(error.value)
    assert f"{ROOT}/tzmmoe" not in str(error.value)


@pytest.mark.parametrize(
    ("part", "name", "method", "parts"),
    [
        ("loss", "LossInit", "__init__", ["task_towers[1].losses[0]", "KeyError: 'weights'"]),
        ("loss", "LossLabels", "label_kind", ["task_towers[1]", "KeyError: 'kind'"]),
        ("metric", "MetricInit", "__init__", ["task_towers[1].metrics[1]", "RuntimeError: no st"]),
        ("feature", "FeatureInit", "__init__", ["custom_feature", "KeyError: 'words'"]),
        ("model", "ModelInit", "__init__", ["custom_model", "KeyError: 'experts'"]),
        ("model", "ModelTower", "tower", ["custom_model", "KeyError: 'tower'"]),
    ],
)
def test_an_error_of_a_constructor_is_a_fault_of_the_config(
    folder, tmp_path, part, name, method, parts
) -> None:
    run = pipeline(folder, tmp_path / "model", **{part: name})
    with pytest.raises(ConfigError) as error:
        run.check()
    says(error.value, "faulty.config:", f"faulty.{name}.{method}", *parts, line_of(name))


def test_all_classes_that_cannot_be_made_are_told_at_once(folder, tmp_path) -> None:
    names = {"loss": "LossInit", "metric": "MetricInit", "feature": "FeatureInit"}
    names["model"] = "ModelInit"
    with pytest.raises(ConfigError) as error:
        pipeline(folder, tmp_path / "model", **names).check()
    assert len(error.value.faults) == 4
    says(error.value, *(f"faulty.{name}.__init__" for name in names.values()))


def test_a_loss_of_another_shape_is_refused_instead_of_spread_over_all_rows(
    folder, tmp_path
) -> None:
    with fails(UserError, "faulty.LossShape", "task 'cvr'", "(16, 1)", "(16,)", "each row"):
        pipeline(folder, tmp_path / "model", loss="LossShape").check()


def test_the_log_of_the_run_keeps_the_whole_traceback(folder, tmp_path) -> None:
    with pytest.raises(UserError):
        pipeline(folder, tmp_path / "model", metric="MetricCompute").fit()
    says((tmp_path / "model/train.log").read_text(), "Traceback", "tzmmoe/tasks/task.py", FILE)


def test_an_error_that_no_class_of_the_users_raised_stays_a_bug(folder, tmp_path) -> None:
    run = pipeline(folder, tmp_path / "model", metric="Mean")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tzmmoe.run.fit.TrainRun.check_only", lambda run: {}["ours"])
        with pytest.raises(KeyError, match="ours"):
            run.check()


def test_a_scorer_names_the_feature_that_failed(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(faulty.FeatureEncode, "encode", faulty.IdFeature.encode)
    run = pipeline(folder, tmp_path / "model", feature="FeatureEncode")
    run.fit()
    run.export(str(tmp_path / "export"))
    monkeypatch.undo()
    rows = tiny_rows(folder)
    scorer = Scorer.load(tmp_path / "export", allow_modules="faulty")
    parts = ["faulty.FeatureEncode.encode", "feature 'city'", "KeyError", line_of("FeatureEncode")]
    with fails(UserError, *parts):
        scorer.score(pq.read_table(rows))
    with fails(UserError, *parts):
        predict.main(
            [
                *("--saved_model_dir", str(tmp_path / "export"), "--device", "cpu"),
                *("--allow_modules", "faulty", "--predict_input_path", str(rows)),
                *("--predict_output_path", str(tmp_path / "out.parquet")),
            ]
        )
