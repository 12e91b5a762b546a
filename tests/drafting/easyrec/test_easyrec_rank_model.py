"""A RankModel of EasyRec is measured by the metrics of its eval_config."""

import json
import re
from pathlib import Path

import pytest
from drafting.easyrec.component_forms import GROUP, components, mlp
from drafting.easyrec.pipelines import BUILT_IN, EVAL, convert, line_of, refused, write_rows
from written import changed

from tzmmoe import Pipeline as Runs
from tzmmoe.drafting.easyrec.differences import DIFFERENCES

METRICS = """eval_config {
  metrics_set { gauc { uid_field: "user" } }
  metrics_set { auc { num_thresholds: 50 } }
  metrics_set { max_f1 {} }
}
"""
BEST = 'export_config { exporter_type: "best" best_exporter_metric: "gauc" }\n'
RANK = changed(
    ('model_class: "MultiTaskModel"', 'model_class: "RankModel" label_name: "clk"'),
    (EVAL, METRICS),
    text=components(mlp("deep", GROUP, "[8, 4]"), towers=""),
)


def test_a_metric_by_a_column_that_is_not_there_is_refused_at_its_line(tmp_path: Path) -> None:
    text = RANK.replace('uid_field: "user"', 'uid_field: "usr"')
    [line] = refused(tmp_path, text)
    assert (
        f":{line_of(text, 'usr')}: eval_config.metrics_set[0].gauc.uid_field: 'usr' is not" in line
    )
    assert "among data_config.input_fields; did you mean 'user'?" in line


def test_metrics_of_the_evaluation_are_those_of_the_task(tmp_path: Path) -> None:
    made = convert(tmp_path, RANK + BEST)
    [tower] = made.pipeline.model_config.backbone.task_towers
    assert [metric.WhichOneof("metric") for metric in tower.metrics] == ["gauc", "auc", "max_f1"]
    assert tower.metrics[0].gauc.uid_field == "user"
    assert tower.metrics[1].auc.thresholds == 50
    assert "eval_config.metrics_set" not in made.said.idle
    assert ("eval_config.metrics_set[2]", "max_f1 {}") in [
        (own, value.strip("{ ").removesuffix(" }")) for own, _, value in made.said.became
    ]
    assert DIFFERENCES["max_f1"] in made.said.differences


def test_the_best_export_is_chosen_by_a_metric_of_the_evaluation(tmp_path: Path, caplog) -> None:
    every_step = ("save_checkpoints_steps: 5", "save_checkpoints_steps: 1")
    made = convert(tmp_path, changed(every_step, text=RANK + BEST))
    runs = Runs.load(tmp_path / "ours.config", settings=write_rows(tmp_path, made.config))
    runs.fit()
    assert {"gauc_clk", "auc_clk", "max_f1_clk"} <= set(runs.evaluate())
    lines = map(json.loads, (tmp_path / "model/history.jsonl").read_text().splitlines())
    by_step = {line["global_step"]: line["evaluation"]["gauc_clk"] for line in lines}
    assert by_step[max(by_step)] < max(by_step.values())
    with caplog.at_level("INFO", "tzmmoe"):
        caplog.clear()
        runs.export(str(tmp_path / "export"))
    [step] = re.findall(r"weights of .*model\.ckpt-(\d+)", caplog.text)
    assert by_step[int(step)] == max(by_step.values())


@pytest.mark.parametrize(
    ("wrong", "path", "words"),
    [
        ('gauc { uid_field: "user" reduction: "median" }', "metrics_set[0].gauc.reduction", "mean"),
        ("aux {}", "metrics_set[0].aux", "auc"),
    ],
)
def test_a_fault_of_a_metric_has_the_users_path_and_line(
    tmp_path: Path, wrong: str, path: str, words: str
) -> None:
    text = RANK.replace('gauc { uid_field: "user" }', wrong)
    [line] = refused(tmp_path, text)
    assert line.startswith(f"theirs.config:{line_of(text, wrong)}: eval_config.{path}: ")
    assert words in line


def test_metrics_that_a_multi_task_model_does_not_read_are_no_faults(tmp_path: Path) -> None:
    text = BUILT_IN.replace(EVAL, "eval_config { metrics_set { of_another_version { k: 1 } } }\n")
    made = convert(tmp_path, text)
    assert "eval_config.metrics_set" in made.said.idle
