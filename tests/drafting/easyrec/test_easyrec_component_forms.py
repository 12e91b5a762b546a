"""EasyRec's samples from components are converted, trained, evaluated and exported."""

import math
from pathlib import Path

import pytest
from drafting.easyrec.component_forms import FORMS
from drafting.easyrec.pipelines import convert, write_rows

from tzmmoe import Pipeline as Runs


@pytest.mark.parametrize("form", FORMS)
def test_a_sample_from_components_trains_evaluates_and_exports(tmp_path: Path, form: str) -> None:
    made = convert(tmp_path, FORMS[form])
    settings = write_rows(tmp_path, made.config)
    runs = Runs.load(tmp_path / "ours.config", settings=settings)
    runs.fit()
    results = runs.evaluate()
    assert {"auc_ctr", "auc_cvr"} <= set(results)
    assert all(math.isfinite(value) for value in results.values())
    runs.export(str(tmp_path / "export"))
    assert (tmp_path / "export/model.pt2").exists()


def test_settings_of_another_strategy_are_reported_as_without_effect(tmp_path: Path) -> None:
    said = convert(tmp_path, FORMS["mirrored strategy"]).plain
    assert "train_distribute" in said
    assert "num_gpus_per_worker" in said
