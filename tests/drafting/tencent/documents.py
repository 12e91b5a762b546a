"""The job and the inputs of the seed's document, changes to them, and what becomes of them."""

import copy
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from written import load

from tzmmoe.config import Config
from tzmmoe.drafting.placeholders import Placeholders
from tzmmoe.drafting.report import Report
from tzmmoe.drafting.tencent import conversion
from tzmmoe.errors import ConfigError
from tzmmoe.textformat import json_text

FIXTURES = Path(__file__).parent / "fixtures"
JOB = json_text.read(FIXTURES / "job.json", "--job")
INPUTS = json_text.read(FIXTURES / "model_input_config.json", "--inputs")
MODEL, TRAINING = "job_detail.model_args", "job_detail.train_args"
NOW = datetime(2024, 1, 31, 10, 30)
REMOVED = object()
LABELS = ["is_click", "play_num1", "is_favor"]
UNMEASURED = {f"{TRAINING}.metrics": REMOVED, "job_detail.eval_args.metrics": REMOVED}


# The names of metrics, and what each becomes.
METRICS = {
    "auc AUC": "auc { thresholds: 200 }",
    "bacc binary_accuracy binary_acc bin_acc": "binary_accuracy { threshold: 0.5 }",
    "acc accuracy cacc categorical_accuracy scacc": "accuracy {}",
    "top_k_cacc sparse_top_k_categorical_accuracy": "accuracy { top_k: 5 }",
    "precision prec": "precision { threshold: 0.5 }",
    "recall": "recall { threshold: 0.5 }",
    "f1 f1s f1_score": "f1 { threshold: 0.5 }",
    "mse mean_squared_error mean_square_error": "mean_squared_error {}",
    "mae mean_absolute_error": "mean_absolute_error {}",
    "rmse root_mean_squared_error": "root_mean_squared_error {}",
    "bce binary_crossentropy bin_cross_entropy logloss": "logloss {}",
    "balanced_accuracy balanced_acc": "balanced_accuracy { threshold: 0.5 }",
}


def changed(document: Any, changes: dict[str, Any]) -> Any:
    """A copy with other values at paths such as ``inputs.defs[0].dtype``; REMOVED takes one out."""
    document = copy.deepcopy(document)
    for path, value in changes.items():
        steps = [int(s) if s.isdecimal() else s for s in re.findall(r"[^.\[\]]+", path)]
        owner = document
        for step in steps[:-1]:
            owner = owner[step]
        if value is REMOVED:
            del owner[steps[-1]]
        else:
            owner[steps[-1]] = value
    return document


class Converted:
    """A config as it is loaded from what was written, and the report."""

    def __init__(self, text: str, config: Config, report: Report) -> None:
        self.text, self.config, self.pipeline = text, config, config.pipeline
        self.report = report.text()
        self.plain = " ".join(self.report.split())
        self.model = self.pipeline.model_config.mmoe_v2
        self.train = self.pipeline.train_config
        self.features = {}
        for each in self.pipeline.feature_configs:
            word = each.WhichOneof("feature")
            self.features[getattr(each, word).feature_name] = getattr(each, word)


def convert(
    folder: Path,
    job: dict[str, Any] | None = None,
    inputs: dict[str, Any] | None = None,
    *,
    labels: list[str] | None = None,
    variables: dict[str, str] | None = None,
) -> Converted:
    """What becomes of changes to the seed's job and inputs, which are written to the folder."""
    path = folder / "job.json"
    path.write_text(json.dumps(changed(JOB, job or {})), encoding="utf-8")
    text = json.dumps(changed(INPUTS, inputs or {}))
    (folder / "model_input_config.json").write_text(text, encoding="utf-8")
    placeholders = Placeholders(variables or {}, str(folder), NOW, Report())
    draft, sources = conversion.converted(path, None, placeholders, labels)
    out = folder / "out.config"
    out.write_text(draft.text(conversion.heading(sources, "train")), encoding="utf-8")
    config = load(out)
    assert not config.faults, config.faults
    return Converted(out.read_text(encoding="utf-8"), config, draft.report)


def refused(folder: Path, *documents: dict[str, Any], **arguments: Any) -> list[str]:
    """What is said instead, without the folder."""
    with pytest.raises(ConfigError) as raised:
        convert(folder, *documents, **arguments)
    return str(raised.value).replace(f"{folder}/", "").splitlines()


def definition(**settings: Any) -> dict[str, Any]:
    """Changes of the inputs: a definition in place of the first one, age."""
    return {"inputs.defs[0]": {"name": "age", **settings}}
