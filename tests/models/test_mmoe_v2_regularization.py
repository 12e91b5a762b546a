"""What the *_reg settings of MMoE V2 count, against sums over a checkpoint's tensors by name."""

import re
from itertools import product
from typing import Any

import pytest
import torch
from models.small_v2 import shaken_v2
from torch import Tensor
from torch.autograd import gradcheck
from torch.testing import assert_close

from tzmmoe.build import Built
from tzmmoe.errors import ConfigError
from tzmmoe.run.state import weights
from tzmmoe.tables.penalties import penalized, regularization

# Part -> the tensors that its penalty counts, by their names in a checkpoint.
KERNELS = {
    "expert": r"model\.body\.experts\.layers\.\d\.linear\.weight",
    "gate": r"model\.body\.gates\.final\.weight",
    "task": r"model\.towers\.tower_\w\.(mlp\.layers\.\d\.)?linear\.weight",
    "wide": r"model\.body\.wide\.linear\.weight|tables\.\w\.(latent|weight)\.weight"
    r"|model\.encoder\.factors\.(latent|weight)\.vectors\.weight",
}
REGS = {f"{part}_l{power}_reg": 0.1 + place / 10 for place, (part, power) in
        enumerate(product(KERNELS, (1, 2)))}  # fmt: skip
NORMS = {"expert_use_bn": [True, False], "task_use_bn": [True], "wide_use_bn": True}
TYPES = {
    "FM": {"expert": 2, "gate": 1, "task": 3, "wide": 2 * 5},  # u, s, w, p, and the numbers
    "LR": {"expert": 2, "gate": 1, "task": 3, "wide": 1},
    "raw": {"expert": 2, "gate": 1, "task": 3, "wide": 0},
}


def kernels(built: Built, part: str) -> list[Tensor]:
    return [
        each for name, each in weights(built.model).items() if re.fullmatch(KERNELS[part], name)
    ]


def by_hand(built: Built, regs: dict[str, float]) -> float:
    """sum over the parts of l1 sum |w| + l2 sum w^2."""
    total = 0.0
    for name, factor in regs.items():
        part, power = re.fullmatch(r"(\w+)_l(\d)_reg", name).groups()
        for kernel in kernels(built, part):
            total += factor * float((kernel.abs() ** int(power)).sum())
    return total


def found(built: Built) -> Tensor | None:
    return regularization(penalized(built.model))


@pytest.mark.parametrize("wide_type", TYPES)
@pytest.mark.parametrize("feature_cross", range(6))
def test_exactly_the_kernels_of_each_part_count_and_all_of_fms_tables(
    wide_type: str, feature_cross: int
) -> None:
    """S0.17, S0.18, S0.25, S0.26, S0.32, S0.33, S0.35, S0.36: sums of |w| and w^2 over the linear
    maps of experts, gates, towers (the output layer too) and LR, and over all rows of FM's latents
    and weights; no bias, no norm, no embedding table, no embedded number."""
    settings = REGS | NORMS | {"wide_type": wide_type, "feature_cross": feature_cross}
    built = shaken_v2(**settings)
    assert {part: len(kernels(built, part)) for part in KERNELS} == TYPES[wide_type]
    assert_close(found(built).item(), by_hand(built, REGS))


@pytest.mark.parametrize("wide_type", TYPES)
@pytest.mark.parametrize("reg", REGS)
def test_each_setting_alone_acts_on_its_own_part(reg: str, wide_type: str) -> None:
    """By its value, and by its gradient: l1 sign(w) or 2 l2 w there, none anywhere else."""
    built = shaken_v2(wide_type=wide_type, **{reg: 0.3})
    part, power = re.fullmatch(r"(\w+)_l(\d)_reg", reg).groups()
    if not kernels(built, part):
        assert found(built) is None
        return
    assert_close(found(built).item(), by_hand(built, {reg: 0.3}))
    found(built).backward()
    moved = 0
    for name, parameter in built.model.named_parameters():
        if parameter.grad is None:
            continue
        slope = parameter.sign() if power == "1" else 2 * parameter
        counted = parameter.grad != 0  # all but the row for what FM's tables do not read
        assert_close(parameter.grad[counted], 0.3 * slope.detach()[counted], msg=name)
        moved += int(counted.sum())
    assert moved == sum(each.numel() for each in kernels(built, part))


def test_its_gradient_equals_finite_differences() -> None:
    built = shaken_v2(**REGS)
    parameters = [part.weight for part in penalized(built.model)]
    assert len(parameters) > 8
    assert gradcheck(lambda *_: found(built), parameters)


@pytest.mark.parametrize("wide_type", TYPES)
@pytest.mark.parametrize("settings", [{}, dict.fromkeys(REGS, 0)])
def test_unset_and_zero_are_none(wide_type: str, settings: dict[str, Any]) -> None:
    """S0.39: then lookups keep the sparse gradients of the batch's rows."""
    built = shaken_v2(wide_type=wide_type, **settings)
    assert found(built) is None
    tables = [part for name, part in built.model.named_modules() if name.endswith("width_4")]
    assert tables
    assert all(part.sparse for part in tables)


def test_a_penalty_of_the_wide_side_leaves_the_embeddings_sparse() -> None:
    built = shaken_v2(wide_l2_reg=0.1)
    modules = dict(built.model.named_modules())
    sparse = {name: part.sparse for name, part in modules.items() if hasattr(part, "sparse")}
    assert sparse == {name: "factors" not in name for name in sparse}
    assert set(sparse.values()) == {True, False}


def test_every_negative_one_is_a_fault_and_all_show_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        shaken_v2(**dict.fromkeys(REGS, -0.5))
    paths = {fault.path for fault in error.value.faults}
    assert paths == {f"model_config.mmoe_v2.{part}_l1_reg" for part in KERNELS}
    for reg in REGS:
        with pytest.raises(ConfigError, match=f"mmoe_v2.{reg}: is -0.5; give 0 or more"):
            shaken_v2(**{reg: -0.5})


def test_what_no_tower_sees_is_not_penalized() -> None:
    """S0.50: without y_w there are no weights of FM, without both no wide side at all."""
    latents = shaken_v2(wide_l2_reg=0.5, feature_cross=1, output_cross=1)
    names = [name for name in weights(latents.model) if re.fullmatch(KERNELS["wide"], name)]
    assert names
    assert all("latent" in name for name in names)
    assert_close(found(latents).item(), by_hand(latents, {"wide_l2_reg": 0.5}))
    assert found(shaken_v2(wide_l2_reg=0.5, output_cross=1)) is None
    assert torch.is_tensor(found(shaken_v2(wide_l2_reg=0.5, wide_type="LR")))
