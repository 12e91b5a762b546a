"""eval_config.output_file: which results it gets, and what it never replaces."""

import json
import shutil

import pytest
from e2e import tiny
from run.runs import ONE_EPOCH, go_on

from tzmmoe.errors import ConfigError


@pytest.mark.parametrize("name", ["test_input_path", "eval_input_path", "train_input_path"])
def test_a_file_that_is_read_is_never_replaced_by_results(tiny_folder, tmp_path, name) -> None:
    file = tmp_path / "rows.parquet"
    shutil.copyfile(tiny_folder / "eval.parquet", file)
    content = file.read_bytes()
    changes = ONE_EPOCH | {name: file, "eval_config__output_file": file}
    with pytest.raises(ConfigError, match=r"output_file: .*rows\.parquet .*overwritten"):
        tiny.pipeline(tiny_folder, tmp_path / "run", **changes).fit()
    tiny.pipeline(tiny_folder, tmp_path / "run", **ONE_EPOCH).fit()
    with pytest.raises(ConfigError, match=r"rows\.parquet .*overwritten; choose another"):
        tiny.pipeline(tiny_folder, tmp_path / "run", **changes).evaluate()
    assert file.read_bytes() == content


def test_results_and_predictions_do_not_share_a_file(tiny_folder, tmp_path) -> None:
    file = tmp_path / "out.parquet"
    changes = {"eval_config__output_file": file, "eval_config__predictions_path": file}
    with pytest.raises(ConfigError, match=r"out\.parquet .*predictions_path; choose another file"):
        tiny.pipeline(tiny_folder, tmp_path / "run", **changes).fit()


def test_the_checkpoint_in_the_file_is_the_one_whose_weights_were_evaluated(
    tiny_folder, tmp_path
) -> None:
    tiny.pipeline(tiny_folder, tmp_path / "run", **ONE_EPOCH).fit()
    out, named = tmp_path / "results.json", tmp_path / "run" / "model.ckpt-5"
    changes = ONE_EPOCH | {"eval_config__output_file": out}
    tiny.pipeline(tiny_folder, tmp_path / "elsewhere", **changes).evaluate(str(named))
    [[_, model, _]] = json.loads(out.read_text())["eval_results"]
    assert model == str(named)


def test_a_loss_of_a_task_is_without_its_weight_and_their_sum_is_weighted(
    tiny_folder, tmp_path
) -> None:
    """As Keras's ``<output>_loss`` and ``loss`` under loss_weights; with weight 0 nothing tells
    it."""
    tiny.pipeline(tiny_folder, tmp_path / "run", **ONE_EPOCH).fit()
    towers, found = "model_config__mmoe__task_towers", {}
    for weight in (1, 3, 0):
        out = tmp_path / f"{weight}.json"
        changes = ONE_EPOCH | {"eval_config__output_file": out, f"{towers}[1]__weight": weight}
        tiny.pipeline(tiny_folder, tmp_path / "run", **changes).evaluate()
        [[_, _, found[weight]]] = json.loads(out.read_text())["eval_results"]
    for weight in (3, 0):
        assert found[weight]["click_loss"] == found[1]["click_loss"]
        total = found[1]["click_loss"] + weight * found[1]["buy_loss"]
        assert found[weight]["loss"] == pytest.approx(total)
    assert found[3]["buy_loss"] == pytest.approx(found[1]["buy_loss"])
    assert found[0]["buy_loss"] is None


def test_a_finished_run_that_goes_on_with_other_files_is_evaluated_on_them(
    tiny_folder, tmp_path
) -> None:
    """And not given the results that an earlier start wrote for its step."""
    first = tiny.pipeline(tiny_folder, tmp_path / "run", **ONE_EPOCH).fit()
    other = tiny.write(tiny.rows(400_000, 50), tmp_path / "other.parquet")
    out = tmp_path / "results.json"
    changes = {"eval_input_path": other, "eval_config__output_file": out}
    results = go_on(tiny_folder, tmp_path / "run", **changes)
    assert results["auc_ctr"] != first["auc_ctr"]
    assert results == tiny.pipeline(tiny_folder, tmp_path / "run", **ONE_EPOCH | changes).evaluate()
    assert json.loads(out.read_text())["eval_results"][0][2]["click_auc"] == results["auc_ctr"]
