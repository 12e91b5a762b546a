"""An auxiliary task is trained and evaluated as any other, and then has no outputs."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e import tiny
from messages import fails, says
from serving.small import Small
from written import changed, loaded, said_of_all

from tzmmoe import export, predict
from tzmmoe.errors import ConfigError, DataError
from tzmmoe.pipeline import Pipeline
from tzmmoe.run.results import read_results
from tzmmoe.serving.scorer import Scorer
from tzmmoe.system import checkpoint

CITIES = [f"city{number}" for number in range(6)]
TOWER = f"""
    task_towers {{
      tower_name: "town" label_name: "city" num_class: 6 weight: 0.3 auxiliary: true
      label_classes: {json.dumps(CITIES)}
      losses {{ softmax_cross_entropy {{}} }} metrics {{ accuracy {{}} }}
    }}
    task_towers {{
      tower_name: "ctr\""""
CTR = '\n    task_towers {\n      tower_name: "ctr"'
MAIN = ["logits_ctr", "probs_ctr", "logits_cvr", "probs_cvr"]
OF_TOWN = ["logits_town", "probs_town"]


def write(folder: Path, *, auxiliary: bool = True) -> Path:
    """The tiny data set with the city as a task in place of a feature. It comes first, and some
    rows lack it."""
    tiny.write_all(folder)
    text = changed(
        (CTR, TOWER if auxiliary else TOWER.replace("auxiliary: true", "")),
        ('["click", "buy"]', '["click", "buy", "city"]'),
        (', "city", "price"', ', "price"'),
        ('feature_name: "city" hash', 'feature_name: "unread" expression: "user:row" hash'),
        text=(folder / "tiny.config").read_text(),
    )
    (folder / "tiny.config").write_text(text)
    return folder


class Trained:
    def __init__(self, folder: Path) -> None:
        self.folder, self.model_dir = write(folder / "data"), folder / "model"
        self.pipeline = tiny.pipeline(self.folder, self.model_dir)
        self.results = self.pipeline.fit()
        self.rows = folder / "rows.parquet"
        rows = pq.read_table(self.folder / "eval.parquet")
        tiny.write(rows.drop_columns(["click", "buy", "city", "importance"]), self.rows)

    @property
    def flags(self) -> list[str]:
        config = str(self.folder / "tiny.config")
        return ["--pipeline_config", config, "--model_dir", str(self.model_dir)]

    def predict(self, out: Path, *flags: str) -> pa.Table:
        to = ["--predict_input_path", str(self.rows), "--predict_output_path", str(out)]
        predict.main([*self.flags, *to, *flags])
        return pq.read_table(out)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("auxiliary"))


def test_training_and_evaluation_are_those_of_any_task(trained: Trained, tmp_path: Path) -> None:
    folder = write(tmp_path / "data", auxiliary=False)
    results = tiny.pipeline(folder, tmp_path / "model").fit()
    assert results == trained.results
    assert {"accuracy_town", "softmax_cross_entropy_town"} <= results.keys()
    newest = [checkpoint.newest(each) for each in (tmp_path / "model", trained.model_dir)]
    assert tiny.tensors(newest[0]) == tiny.tensors(newest[1])


def test_rows_without_the_label_do_not_count(trained: Trained) -> None:
    """Accuracy is that of the rows with a city, which some lack."""
    file = trained.folder / "eval.parquet"
    out = trained.model_dir.parent / "all.parquet"
    trained.pipeline.predict(str(file), str(out), reserved_columns=["city"], auxiliary=True)
    table = pq.read_table(out)
    cities = table["city"].to_pylist()
    best = [CITIES[int(np.argmax(row))] for row in table["probs_town"].to_pylist()]
    hits = [one == other for one, other in zip(best, cities, strict=True) if other is not None]
    assert 0 < len(hits) < len(cities)
    assert trained.results["accuracy_town"] == pytest.approx(np.mean(hits), abs=1e-6)


def test_predictions_have_no_auxiliary_outputs_and_need_no_labels(
    trained: Trained, tmp_path: Path
) -> None:
    assert trained.predict(tmp_path / "a.parquet").column_names == MAIN


def test_auxiliary_outputs_are_written_where_they_are_asked_for(
    trained: Trained, tmp_path: Path
) -> None:
    whole = trained.predict(tmp_path / "a.parquet", "--auxiliary")
    assert whole.column_names == OF_TOWN + MAIN
    by_config = ["--set", "export_config.auxiliary=true"]
    assert trained.predict(tmp_path / "b.parquet", *by_config).equals(whole)
    named = trained.predict(tmp_path / "c.parquet", "--output_columns", "probs_town,probs_ctr")
    assert named.equals(whole.select(["probs_town", "probs_ctr"]))


def test_the_predictions_of_an_evaluation_leave_out_the_task_and_its_label(
    trained: Trained, tmp_path: Path
) -> None:
    file = tmp_path / "evaluated.parquet"
    trained.pipeline.evaluate(predictions_path=str(file))
    assert pq.read_table(file).column_names == ["click", "buy", *MAIN]


def test_an_export_scores_without_the_task(trained: Trained, tmp_path: Path) -> None:
    folder = trained.pipeline.export(str(tmp_path / "export"))
    rows = pq.read_table(trained.rows)
    found = Scorer.load(folder).score(rows)
    assert list(found) == MAIN
    expected = trained.predict(tmp_path / "a.parquet")
    for name in MAIN:
        assert found[name].numpy() == pytest.approx(expected[name].to_numpy(), abs=1e-6)


@pytest.mark.parametrize("flags", [["--auxiliary"], ["--set", "export_config.auxiliary=true"]])
def test_an_export_has_the_task_if_that_is_asked_for(
    trained: Trained, tmp_path: Path, flags: list[str]
) -> None:
    export.main([*trained.flags, "--export_dir", str(tmp_path / "export"), *flags])
    signature = json.loads((tmp_path / "export/signature.json").read_text())
    assert list(signature["outputs"]) == OF_TOWN + MAIN


def test_an_export_cannot_give_what_it_does_not_have(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--saved_model_dir", "e", "--predict_input_path", "i", "--predict_output_path", "o"]
    with pytest.raises(SystemExit):
        predict.main([*flags, "--auxiliary"])
    says(capsys.readouterr().err, "--auxiliary has no effect with --saved_model_dir")


def test_the_best_checkpoint_is_that_of_the_first_task_with_outputs(trained: Trained) -> None:
    """The auxiliary task stands first in the config."""
    newest = checkpoint.open_checkpoint(checkpoint.newest(trained.model_dir))
    state = newest.state
    assert state["watch"]["best"]["key"] == "auc_ctr"
    evaluated = read_results(trained.model_dir / "train_eval_result_v2.txt")
    before = [line for line in evaluated if line["global_step"] < newest.step]
    best = max(before, key=lambda line: line["auc_ctr"])
    assert state["watch"]["best"]["step"] == best["global_step"]


def auxiliary_cvr(*changes: tuple[str, str]) -> str:
    return changed(('tower_name: "cvr"', 'tower_name: "cvr" auxiliary: true'), *changes)


CHOICES = {
    "export_config.best_exporter_metric": ("model_config {", "export_config {}\nmodel_config {"),
    "train_config.early_stopping.monitor": (
        "num_epochs: 1",
        'num_epochs: 1\n  early_stopping { monitor: "auc_cvr" }',
    ),
}


@pytest.mark.parametrize("path", CHOICES)
def test_a_choice_by_an_auxiliary_task_is_refused_unless_it_is_exported(
    tmp_path: Path, path: str
) -> None:
    old, new = CHOICES[path]
    new = new.replace("export_config {}", 'export_config { best_exporter_metric: "auc_cvr" }')
    (fault,) = said_of_all(loaded(tmp_path, auxiliary_cvr((old, new))))
    says(fault, path, "'auc_cvr'", "auxiliary", "export_config.auxiliary")
    asked = auxiliary_cvr((old, new)).replace("export_config {", "export_config { auxiliary: true")
    if "export_config {" not in asked:
        asked += "\nexport_config { auxiliary: true }"
    assert said_of_all(loaded(tmp_path, asked)) == []


def test_only_auxiliary_towers_are_refused(tmp_path: Path) -> None:
    one = 'tower_name: "ctr"'
    text = auxiliary_cvr((one, f"{one} auxiliary: true"))
    (fault,) = said_of_all(loaded(tmp_path, text))
    says(fault, "model_config.mmoe", "every tower is auxiliary", "remove auxiliary")


def test_a_run_goes_on_to_the_same_weights_after_a_task_ceased_to_be_auxiliary(
    trained: Trained, tmp_path: Path
) -> None:
    folder = write(tmp_path / "data")
    tiny.pipeline(folder, tmp_path / "model", train_config__num_steps=3).fit()
    config = folder / "tiny.config"
    config.write_text(config.read_text().replace("auxiliary: true", "auxiliary: false"))
    tiny.pipeline(folder, tmp_path / "model").fit(continue_train=True)
    assert tiny.tensors(checkpoint.newest(tmp_path / "model")) == tiny.tensors(
        checkpoint.newest(trained.model_dir)
    )


def test_what_a_run_shows_marks_the_task(
    trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    graph = tmp_path / "model.svg"
    with caplog.at_level("INFO", logger="tzmmoe"):
        tiny.pipeline(trained.folder, tmp_path / "model").check(graph=str(graph))
        trained.pipeline.evaluate()
    lines = caplog.text.splitlines()
    assert any(line.startswith("tower town (auxiliary) ") for line in lines)  # the parts
    assert any(line.startswith("town (auxiliary) ") for line in lines)  # the results
    assert "tower town (auxiliary)" in graph.read_text()
    assert graph.read_text().count('<g class="tower auxiliary">') == 1


def test_a_text_that_is_no_class_ends_the_check_with_its_place(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    config = folder / "tiny.config"
    config.write_text(config.read_text().replace('"city3"', '"city9"'))
    with fails(DataError, "row ", "'city'", "'city3' is not in label_classes"):
        Pipeline.load(config, settings=[f"model_dir={tmp_path / 'model'}"]).check()


def test_all_towers_of_esmm_may_not_be_auxiliary(tmp_path: Path) -> None:
    text = """
    data_config { label_fields: ["a", "b"] fg_mode: FG_DAG }
    feature_configs { raw_feature { feature_name: "price" } }
    model_config {
      feature_groups { group_name: "all" feature_names: ["price"] }
      esmm { ctr_tower { auxiliary: true } cvr_tower { auxiliary: true } }
    }
    """
    with fails(ConfigError, "model_config.esmm", "every tower is auxiliary"):
        Small.of(tmp_path, text)
