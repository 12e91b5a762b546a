"""Losses of pairs, sessions and several towers, and their weights, from config to prediction."""

from itertools import product
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from cases import some
from e2e import tiny

from tzmmoe.errors import ConfigError, DataError
from tzmmoe.system import checkpoint

LOSSES = "losses {{ binary_cross_entropy {{}} }}\n    }}"
PAIRS = """
      losses { binary_cross_entropy { ignore_weights: true } weight: 0.5 }
      losses { pair_wise_loss { session_name: "user" } loss_name: "by_user" weight: 2 }
      losses { pair_wise_loss {} }
      losses { pairwise_logistic_loss { session_name: "city" ohem_ratio: 0.5 } }
      losses { pairwise_focal_loss { hinge_margin: 1 } }
      losses { pairwise_hinge_loss { session_name: "city" } }
      metrics { gauc { uid_field: "user" reduction: "mean_by_sample_num" } }
      metrics { session_auc { session_id_field: "city" } }
      metrics { max_f1 {} }
"""
REWEIGHTED = """
      losses { f1_reweighted_loss { f1_beta_square: 0.5625 } }
      losses { binary_focal_loss { use_alpha: false ohem_ratio: 0.5 label_smoothing: 0.1 } }
      losses { order_calibrate_loss { tower_names: "ctr" } weight: 0.5 }
      task_space_indicator_name: "city" task_space_indicator_value: "city3"
      out_task_space_weight: 0.25
"""
SESSIONS = """
      num_class: 2
      losses { jrc_loss { session_name: "user" alpha: 0.6 } }
      metrics { recall_at_topk { topk: 1 } }
"""
NUMBERS = "losses { sigmoid_l2_loss {} learn_loss_weight: true }"
FAMILIES = {"pairs": PAIRS, "reweighted": REWEIGHTED, "sessions": SESSIONS, "numbers": NUMBERS}


def write(folder: Path, of_cvr: str, strategy: str = "Fixed", *, learns: bool = False) -> Path:
    """The tiny data with these losses of cvr, whose row weights stay."""
    tiny.write_all(folder)
    text = (folder / "tiny.config").read_text()
    old = LOSSES.replace("{{", "{").replace("}}", "}")
    before, found, after = text.rpartition(old)
    assert found
    before = before.rpartition("metrics { auc {} }")[0] if "metrics" in of_cvr else before
    if learns:
        before = before.replace(
            "losses { binary_cross_entropy {} }",
            "losses { binary_cross_entropy {} learn_loss_weight: true }",
        )
    if "sigmoid_l2" in of_cvr:
        before = before.rpartition("metrics { auc {} }")[0]
    text = f"{before}{of_cvr}\n    }}{after}"
    text = text.replace("model_config {", f"model_config {{ loss_weight_strategy: {strategy}", 1)
    (folder / "tiny.config").write_text(text)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_trains_evaluates_exports_and_predicts(family: str, tmp_path: Path) -> None:
    strategy = "Uncertainty" if family == "numbers" else "Fixed"
    folder = write(tmp_path, FAMILIES[family], strategy)
    made = tiny.pipeline(folder, tmp_path / "model", train_config__num_epochs=1)
    trained = made.fit()
    assert all(key in trained for key in ("val_loss", "binary_cross_entropy_ctr"))
    words = [
        line.split("{")[1].split()[0] for line in FAMILIES[family].splitlines() if "losses" in line
    ]
    names = ["by_user" if i == 1 and family == "pairs" else word for i, word in enumerate(words)]
    assert {f"{name}_cvr" for name in names} <= trained.keys()
    evaluated = made.evaluate()
    for key, value in trained.items():
        assert evaluated[key] == pytest.approx(value, rel=1e-6, nan_ok=True), key
    made.export(str(tmp_path / "export"))
    made.predict(f"{folder}/eval.parquet", str(tmp_path / "p.parquet"))
    columns = pq.read_table(tmp_path / "p.parquet").column_names
    kind = "y" if family == "numbers" else "probs"
    assert f"{kind}_cvr" in columns


@pytest.mark.parametrize(
    ("strategy", "surgery"),
    some(
        list(product(["Uncertainty", "Random"], ["", "pcgrad"])),
        ("Uncertainty", "pcgrad"),
        ("Random", ""),
    ),
)
def test_a_run_that_was_stopped_goes_on_bit_for_bit(
    strategy: str, surgery: str, tmp_path: Path
) -> None:
    learns = strategy == "Uncertainty"
    of_cvr = f"losses {{ sigmoid_l2_loss {{}} learn_loss_weight: {str(learns).lower()} }}"
    folder = write(tmp_path, of_cvr, strategy, learns=learns)
    more = {"train_config__grad_process": surgery} if surgery else {}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    steps = "train_config__num_epochs"
    tiny.pipeline(folder, whole, **{steps: 2}, **more).fit()
    tiny.pipeline(folder, parts, **{steps: 1}, **more).fit()
    tiny.pipeline(folder, parts, **{steps: 2}, **more).fit(continue_train=True)
    ended = tiny.tensors(checkpoint.newest(parts))
    assert ended == tiny.tensors(checkpoint.newest(whole))
    learned = [name for name in ended if name.startswith("model.loss_weights.")]
    assert len(learned) == (2 if learns else 0)


def test_weights_that_are_learned_enter_training_and_evaluation_as_they_should(
    tmp_path: Path,
) -> None:
    """exp(-s) L + s / 2, for squared errors exp(-s) L / 2 + s / 2."""
    of_cvr = "losses { sigmoid_l2_loss {} learn_loss_weight: true }"
    folder = write(tmp_path / "data", of_cvr, "Uncertainty", learns=True)
    made = tiny.session(folder)
    model, tasks = made.built.model, made.built.tasks
    with torch.no_grad():
        for number, (_, s) in enumerate(model.loss_weights.named_parameters(), 1):
            s.fill_(0.3 * number)
    [batch] = tiny.batches(made, 1)
    logits = model(batch.inputs)
    found = tasks.losses(logits, batch)
    means = {
        f"{w}_{t.name}": float((a / b).detach()) for t, w, a, b in tasks.loss_sums(logits, batch)
    }
    wanted = {
        "binary_cross_entropy_ctr": 2.718281828**-0.3 * means["binary_cross_entropy_ctr"] + 0.15,
        "sigmoid_l2_loss_cvr": 0.5 * 2.718281828**-0.6 * means["sigmoid_l2_loss_cvr"] + 0.3,
    }
    for key, value in wanted.items():
        assert float(found[key].detach()) == pytest.approx(value, rel=1e-5)
        assert tasks.weighting.evaluated(key, means[key]) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize(
    ("of_cvr", "strategy", "words"),
    [
        (
            "losses { l2_loss {} learn_loss_weight: true }",
            "Random",
            ["losses[0].learn_loss_weight", "is Random", "set that to Uncertainty"],
        ),
        (
            'losses { order_calibrate_loss { tower_names: "cvr" } }',
            "Fixed",
            ["order_calibrate_loss of 'cvr'", "the task itself", "give one of ctr"],
        ),
        (
            'losses { order_calibrate_loss { tower_names: "cttr" } }',
            "Fixed",
            ["'cttr', which is not a task", "did you mean 'ctr'"],
        ),
        (
            "losses { pair_wise_loss {} } losses { pair_wise_loss {} }",
            "Fixed",
            ["losses[1]", "pair_wise_loss is listed twice", "loss_name"],
        ),
        ("losses { l2_loss {} weight: -1 }", "Fixed", ["losses[0].weight", "is -1", "0 or more"]),
        (
            'losses { l2_loss {} } task_space_indicator_name: "city"',
            "Fixed",
            ["task_space_indicator_name", "'city'", "set both"],
        ),
        (
            'losses { jrc_loss { session_name: "user" } }',
            "Fixed",
            ["num_class", "is 1", "give 2"],
        ),
        (
            "losses { binary_cross_entropy {} } metrics { recall_at_topk {} }",
            "Fixed",
            ["recall_at_topk takes probs of several classes"],
        ),
        (
            'losses { l2_loss {} } metrics { gauc { uid_field: "user" reduction: "sum" } }',
            "Fixed",
            ["reduction", "'sum'", "mean_by_sample_num"],
        ),
    ],
)
def test_what_cannot_be_is_refused_with_place_value_and_remedy(
    of_cvr: str, strategy: str, words: list[str], tmp_path: Path
) -> None:
    folder = write(tmp_path, of_cvr, strategy)
    with pytest.raises(ConfigError) as error:
        tiny.session(folder)
    for word in words:
        assert word in str(error.value)


def test_a_session_column_that_is_not_in_the_data_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path, 'losses { pair_wise_loss { session_name: "sesion" } }')
    with pytest.raises(DataError, match="sesion"):
        tiny.pipeline(folder, tmp_path / "model").fit()
