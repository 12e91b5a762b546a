"""EasyRec's losses and metrics of a tower, S1.13 and S1.14, become ours with its defaults."""

from pathlib import Path

import pytest
from easyrec import taobao
from easyrec.test_built_in import BUILT_IN
from google.protobuf import text_format
from written import loaded, said

from tzmmoe.protos.loss_pb2 import Loss
from tzmmoe.protos.metric_pb2 import Metric

TYPE = "loss_type: CLASSIFICATION"


def losses(folder: Path, text: str, more: str = "") -> list[Loss]:
    """Of the first tower."""
    written = BUILT_IN.replace(TYPE, text, 1).replace("num_class: 1", more or "num_class: 1", 1)
    return list(taobao.canonical(folder, written).mmoe.task_towers[0].losses)


def ours(*texts: str) -> list[Loss]:
    return [text_format.Parse(text, Loss()) for text in texts]


CASES = [
    (TYPE, "binary_cross_entropy {}"),
    ("", ""),
    ("loss_type: L2_LOSS", "l2_loss {}"),
    ("loss_type: SIGMOID_L2_LOSS", "sigmoid_l2_loss {}"),
    (
        "losses { loss_type: CLASSIFICATION weight: 0.5 }",
        "binary_cross_entropy {} weight: 0.5",
    ),
    ("losses { loss_type: PAIR_WISE_LOSS weight: 1.0 }", "pair_wise_loss {} weight: 1"),
    (
        'losses { loss_type: PAIR_WISE_LOSS pairwise_loss { margin: 0.5 session_name: "pid" } }',
        'pair_wise_loss { margin: 0.5 session_name: "pid" }',
    ),
    ("losses { loss_type: BINARY_FOCAL_LOSS }", "binary_focal_loss { use_alpha: false }"),
    (
        "losses { loss_type: BINARY_FOCAL_LOSS binary_focal_loss { gamma: 1.5 alpha: 0.3 } }",
        "binary_focal_loss { gamma: 1.5 alpha: 0.3 }",
    ),
    (
        "losses { loss_type: F1_REWEIGHTED_LOSS f1_reweighted_loss { f1_beta_square: 0.5625 } }",
        "f1_reweighted_loss { f1_beta_square: 0.5625 }",
    ),
    (
        "losses { loss_type: PAIRWISE_HINGE_LOSS pairwise_hinge_loss { margin: 2 } }",
        "pairwise_hinge_loss { hinge_margin: 2 }",
    ),
    ("losses { loss_type: PAIRWISE_LOGISTIC_LOSS }", "pairwise_logistic_loss {}"),
    ("losses { loss_type: PAIRWISE_FOCAL_LOSS }", "pairwise_focal_loss {}"),
    (
        "losses { loss_type: BINARY_CROSS_ENTROPY_LOSS }",
        "binary_cross_entropy { ignore_weights: true }",
    ),
    (
        'losses { loss_type: CLASSIFICATION learn_loss_weight: true loss_name: "own" }',
        'binary_cross_entropy {} learn_loss_weight: true loss_name: "own"',
    ),
]


@pytest.mark.parametrize(("text", "wanted"), CASES)
def test_s1_13_a_loss_of_easyrec_is_the_word_with_its_defaults(
    tmp_path: Path, text: str, wanted: str
) -> None:
    written = BUILT_IN.replace("model_class", "loss_weight_strategy: Uncertainty model_class")
    source = BUILT_IN if "learn_loss_weight" not in text else written
    found = taobao.canonical(tmp_path, source.replace(TYPE, text, 1)).mmoe.task_towers[0].losses
    assert list(found) == (ours(wanted) if wanted else [])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (TYPE, "softmax_cross_entropy {}"),
        ("losses { loss_type: JRC_LOSS jrc_loss { alpha: 0.3 } }", "jrc_loss { alpha: 0.3 }"),
    ],
)
def test_s1_11_losses_of_several_classes(tmp_path: Path, text: str, wanted: str) -> None:
    assert losses(tmp_path, text, "num_class: 2") == ours(wanted)


def test_s1_14_metrics_have_easyrecs_words(tmp_path: Path) -> None:
    text = """metrics_set: { auc { num_thresholds: 200 } }
      metrics_set { gauc { uid_field: "user_id" reduction: "mean_by_sample_num" } }
      metrics_set { session_auc { session_id_field: "user_id" } }
      metrics_set { max_f1 {} }"""
    found = taobao.canonical(tmp_path, BUILT_IN.replace("metrics_set: { auc {} }", text, 1))
    wanted = [
        "auc { thresholds: 200 }",
        'gauc { uid_field: "user_id" reduction: "mean_by_sample_num" }',
        'session_auc { session_id_field: "user_id" }',
        "max_f1 {}",
    ]
    assert list(found.mmoe.task_towers[0].metrics) == [
        text_format.Parse(each, Metric()) for each in wanted
    ]


def test_a_loss_whose_name_and_settings_differ_is_told(tmp_path: Path) -> None:
    text = "losses { loss_type: L2_LOSS jrc_loss {} }"
    [line] = said(loaded(tmp_path, taobao.config(BUILT_IN.replace(TYPE, text, 1))))
    assert "losses[0].loss_type: is L2_LOSS, but jrc_loss is set; write l2_loss" in line


def test_a_loss_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    text = "loss_type: KL_DIVERGENCE_LOSS"
    [line] = said(loaded(tmp_path, taobao.config(BUILT_IN.replace(TYPE, text, 1))))
    assert "loss_type: is KL_DIVERGENCE_LOSS; give one of CLASSIFICATION, L2_LOSS" in line


def test_order_calibration_without_related_towers_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """EasyRec's has no effect then."""
    text = f"losses {{ {TYPE} }} losses {{ loss_type: ORDER_CALIBRATE_LOSS }}"
    assert losses(tmp_path, text) == ours("binary_cross_entropy {}")
    assert "ORDER_CALIBRATE_LOSS has no effect without relation_tower_names" in caplog.text
