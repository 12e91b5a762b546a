"""Logits of MMoE V2 against its specification, row by row, for every combination of its sides."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from models.oracle_mmoe_v2 import Oracle
from models.small_v2 import GROUPS, KINDS, SMALL, Rows, logits, rows, shaken_v2
from torch.testing import assert_close

from tzmmoe.build import Built
from tzmmoe.run.state import weights

CROSSES = list(product(range(6), (0, 1)))  # feature_cross, output_cross
TYPES = ["FM", "LR", "raw"]
NORMED = {"expert_use_bn": [True, False], "task_use_bn": [True], "wide_use_bn": True}
EVERY_CROSS = pytest.mark.parametrize(("feature_cross", "output_cross"), CROSSES)
EVERY_TYPE = pytest.mark.parametrize("wide_type", TYPES)


def wanted(
    built: Built, raw: Rows, settings: dict[str, Any], groups: dict[str, list[str]] = GROUPS
) -> dict[str, torch.Tensor]:
    """By the oracle, with the model's weights."""
    arrays = {name: tensor.detach().numpy() for name, tensor in weights(built.model).items()}
    oracle = Oracle(SMALL | settings, groups, KINDS, arrays, built.model.training)
    return {
        name: torch.from_numpy(np.asarray(each))
        for name, each in oracle.logits(raw, built.model.names).items()
    }


def check(raw: Rows, *, training: bool = False, **settings: Any) -> Built:
    """The logits are those of the oracle; the model."""
    built = shaken_v2(**settings)
    built.model.train(training)
    expected = wanted(built, raw, settings)  # before the batch enters running statistics
    found = logits(built, raw)
    assert list(found) == list(expected)
    for name, each in expected.items():
        assert_close(found[name], each)
    return built


@EVERY_CROSS
@EVERY_TYPE
@pytest.mark.parametrize("use_wide", [True, False])
def test_the_logits_of_every_combination_are_those_of_the_specification(
    feature_cross: int, output_cross: int, wide_type: str, use_wide: bool
) -> None:
    """S0.1, S0.12, S0.13, S0.15, S0.16; S0.40 to S0.46: what experts, gates and towers see, and
    what is added to the logits; S0.47: x_w is FM's latents, else the embeddings; S0.48: only
    embeddings of both groups enter the experts once; S0.50: without a model 3 acts as 2, 5 as 4 and
    output_cross adds nothing; S0.52 and S0.53: FM's logit, by pairs, over categories and numbers;
    S0.54: LR is one linear map without batch norm. Of 72 combinations, 6 rows each."""
    check(
        rows(6),
        feature_cross=feature_cross,
        output_cross=output_cross,
        wide_type=wide_type,
        use_wide=use_wide,
    )


@pytest.mark.parametrize("feature_cross", range(6))
@EVERY_TYPE
def test_so_they_are_in_training_with_batch_norm_everywhere(
    feature_cross: int, wide_type: str
) -> None:
    """S0.24, S0.30: batch norm stands between the linear map and the activation, and has the
    batch's own moments; S0.54: wide_use_bn is that of LR's output."""
    settings = {"feature_cross": feature_cross, "wide_type": wide_type} | NORMED
    check(rows(7), training=True, **settings)
    check(rows(7), **settings)


@EVERY_CROSS
@pytest.mark.parametrize("wide_type", ["FM", "LR"])
@pytest.mark.parametrize("is_prob", [False, True])
def test_wide_per_task_gives_each_task_a_wide_output_of_its_own(
    feature_cross: int, output_cross: int, wide_type: str, is_prob: bool
) -> None:
    """S0.51: FM's weights and LR's kernel are each task's own, the latents are shared; S0.52:
    wide_output_is_prob makes y_w the sigmoid of the model's output wherever it is seen."""
    check(
        rows(4),
        feature_cross=feature_cross,
        output_cross=output_cross,
        wide_type=wide_type,
        wide_per_task=True,
        wide_output_is_prob=is_prob,
        task_structs=[{"units": [1]}, {"units": [4, 1]}, {"units": [3, 2, 1]}],
    )


@pytest.mark.parametrize("wide_type", ["FM", "LR"])
@pytest.mark.parametrize("feature_cross", [0, 3, 5])
@pytest.mark.parametrize("use_bn", [False, True])
def test_one_wide_output_may_be_a_probability(
    wide_type: str, feature_cross: int, use_bn: bool
) -> None:
    """S0.52, S0.54: it is off unless asked for, and follows LR's batch norm."""
    check(
        rows(5),
        feature_cross=feature_cross,
        wide_type=wide_type,
        wide_output_is_prob=True,
        wide_use_bn=use_bn,
    )


@EVERY_CROSS
@pytest.mark.parametrize("dedup", [True, False])
@pytest.mark.parametrize(
    ("wide_type", "wide_feature"),
    [("FM", "embeddings"), ("FM", "latents"), ("LR", "embeddings"), ("raw", "embeddings")],
)
def test_wide_feature_chooses_what_is_crossed_and_dedup_whether_twice(
    feature_cross: int, output_cross: int, wide_type: str, wide_feature: str, dedup: bool
) -> None:
    """S0.47, S0.48: towers see all wide features, experts those that they have not seen yet."""
    built = check(
        rows(4),
        feature_cross=feature_cross,
        output_cross=output_cross,
        wide_type=wide_type,
        wide_feature=wide_feature,
        dedup_cross_features=dedup,
    )
    shared, wide, deep, latents = 2 + 4 + 3, 19, 17, 7 * 3
    extra = latents if wide_feature == "latents" else wide - shared if dedup else wide
    seen = deep + (extra if feature_cross in (1, 2, 3) else 0)
    assert built.model.body.experts.layers[0].linear.weight.shape == (3, 6, seen)


@EVERY_CROSS
@EVERY_TYPE
@pytest.mark.parametrize("per_task", [False, True])
def test_a_task_struct_that_ends_in_three_has_three_logits(
    feature_cross: int, output_cross: int, wide_type: str, per_task: bool
) -> None:
    """S0.11: the last width is that of the output; the task's y_w is added to each of them."""
    built = check(
        rows(4),
        feature_cross=feature_cross,
        output_cross=output_cross,
        wide_type=wide_type,
        wide_per_task=per_task,
        task_structs=[{"units": [4, 3]}, {"units": [1]}],
    )
    assert {name: found.shape for name, found in logits(built, rows(4)).items()} == {
        "a": (4, 3),
        "b": (4,),
    }


@EVERY_TYPE
@pytest.mark.parametrize("num_rows", [1, 2])
def test_single_rows_and_a_batch_whose_bags_are_all_empty_are_no_exception(
    wide_type: str, num_rows: int
) -> None:
    raw = rows(num_rows)
    for name in "wms":
        raw[name] = [[] for _ in range(num_rows)]
    check(raw, wide_type=wide_type, feature_cross=2)


@EVERY_TYPE
@pytest.mark.parametrize("feature_cross", [0, 2, 5])
@pytest.mark.parametrize(
    "groups",
    [
        {"wide": ["u"], "mmoe": ["v"]},
        {"wide": ["n"], "mmoe": ["u"]},
        {"wide": ["q", "u"], "mmoe": ["u", "q"]},
        {"mmoe": ["s", "m", "p"], "other": ["v"], "wide": ["p", "w", "m", "n"]},
    ],
)
def test_groups_of_one_feature_and_of_the_same_features_are_no_exception(
    wide_type: str, feature_cross: int, groups: dict[str, list[str]]
) -> None:
    """S0.77: a feature may be in several groups, a group may be in no side."""
    settings = {"wide_type": wide_type, "feature_cross": feature_cross}
    built, raw = shaken_v2(groups=groups, **settings), rows(5)
    for name, each in wanted(built, raw, settings, groups).items():
        assert_close(logits(built, raw)[name], each)


@pytest.mark.parametrize("wide_type", ["FM", "LR"])
@pytest.mark.parametrize("names", [("experts", "latent"), ("latent", "wide"), ("weight", "mmoe")])
def test_the_names_of_the_groups_do_not_matter(wide_type: str, names: tuple[str, str]) -> None:
    """Not even names that the model uses for what it reads."""
    settings = {"wide_type": wide_type, "feature_cross": 2, "wide_feature": "embeddings"}
    wide, deep = names
    plain = shaken_v2(**settings)
    groups = {wide: GROUPS["wide"], deep: GROUPS["mmoe"]}
    named = shaken_v2(groups=groups, wide_group=wide, mmoe_group=deep, **settings)
    named.model.load_state_dict(plain.model.state_dict())
    for name, each in logits(plain, rows(5)).items():
        assert torch.equal(logits(named, rows(5))[name], each)


def test_a_real_size_in_single_precision_stays_within_rounding() -> None:
    """S0.82: widths as in the published example: 4 experts of 128 and 64 units, towers of 64 and
    16, latents of 8."""
    settings = {
        "num_experts": 4,
        "expert_layers": [128, 64],
        "task_structs": [{"units": [64, 16, 1]}] * 3,
        "wide_width": 8,
        "feature_cross": 2,
    }
    built, raw = shaken_v2(**settings), rows(40)
    expected = wanted(built, raw, settings)
    built.model.float()
    for name, each in logits(built, raw).items():
        assert_close(each.double(), expected[name], rtol=1e-4, atol=1e-4)
