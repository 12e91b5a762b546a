"""Squeeze and excitation against EasyRec's numbers and against loops over fields and groups."""

import math
from collections.abc import Sequence

import easyrec_numbers
import layer_laws
import parts
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.nn.gated.senet import SENet
from tzmmoe.nn.interactions.fibinet import FiBiNet

PLAIN = {
    "reduction_ratio": 4,
    "num_squeeze_group": 2,
    "use_skip_connection": True,
    "use_output_layer_norm": True,
}
BILINEAR = {"type": "all", "use_plus": True, "num_output_units": 6}


def fields(widths: Sequence[int], rows: int = 3) -> list[Tensor]:
    return [parts.normal(rows, width, seed=index) for index, width in enumerate(widths)]


def load(recording: easyrec_numbers.Recording, layer: SENet, prefix: str = "") -> None:
    recording.linear(layer.reduce, f"{prefix}W1")
    recording.linear(layer.excite, f"{prefix}W2")
    if layer.norm is not None:
        recording.norm(layer.norm, f"{prefix}output_ln")


@pytest.mark.parametrize(
    ("name", "widths", "settings"),
    [
        ("senet", [4] * 5, {}),
        ("senet_uneven", [4, 8, 2], {"reduction_ratio": 2, "use_output_layer_norm": False}),
    ],
)
def test_the_output_is_easyrecs(name: str, widths: list[int], settings: dict) -> None:
    recording = easyrec_numbers.Recording(name)
    layer = easyrec_numbers.ready(SENet(widths, **PLAIN | settings))
    load(recording, layer)
    recording.check(layer(recording.inputs))


def by_groups(layer: SENet, inputs: list[Tensor], groups: int, skip: bool) -> Tensor:
    rows = []
    for row in zip(*inputs, strict=True):
        squeezed = []
        for field in row:
            size = len(field) // groups
            cut = [field[g * size : (g + 1) * size].tolist() for g in range(groups)]
            squeezed += [max(group) for group in cut] + [sum(group) / size for group in cut]
        z = torch.tensor(squeezed, dtype=torch.float64)
        inner = [max(0.0, y) for y in (layer.reduce.weight @ z + layer.reduce.bias).tolist()]
        weights = layer.excite.weight @ torch.tensor(inner, dtype=torch.float64) + layer.excite.bias
        e = [value for field in row for value in field.tolist()]
        y = [v * w + v * skip for v, w in zip(e, weights.tolist(), strict=True)]
        if layer.norm is not None:
            mean = sum(y) / len(y)
            spread = math.sqrt(sum((v - mean) ** 2 for v in y) / len(y) + 0.001)
            scales, shifts = layer.norm.weight.tolist(), layer.norm.bias.tolist()
            y = [(v - mean) / spread * s + t for v, s, t in zip(y, scales, shifts, strict=True)]
        rows.append(y)
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(
    ("widths", "groups", "ratio"),
    [([4], 2, 4), ([4, 4, 8, 4], 2, 3), ([3, 6], 3, 1), ([1, 5, 5], 1, 100), ([8, 8], 4, 2)],
)
def test_features_are_weighted_by_maxima_and_means_of_their_groups(
    skip: bool, norm: bool, widths: list[int], groups: int, ratio: int
) -> None:
    settings = {
        "reduction_ratio": ratio,
        "num_squeeze_group": groups,
        "use_skip_connection": skip,
        "use_output_layer_norm": norm,
    }
    layer, inputs = parts.shaken(SENet(widths, **settings)), fields(widths)
    assert layer.reduce.out_features == max(1, 2 * groups * len(widths) // ratio)
    assert layer.out_features == sum(widths)
    assert_close(layer(inputs), by_groups(layer, inputs, groups, skip))
    layer_laws.check_gradients(layer, inputs)


def test_its_kernels_start_by_he_and_glorot_normal() -> None:
    torch.manual_seed(0)
    layer = SENet([4] * 200, **PLAIN | {"reduction_ratio": 2})
    kernels = [part.weight.detach() for part in (layer.reduce, layer.excite)]
    assert all(2.2 < kernel.abs().max() / kernel.std() < 2.3 for kernel in kernels)  # not uniform
    spreads = [kernel.std().item() for kernel in kernels]
    wanted = [math.sqrt(2 / 800), math.sqrt(2 / (400 + 800))]
    assert spreads == pytest.approx(wanted, rel=0.01)
    assert not layer.reduce.bias.any()
    assert not layer.excite.bias.any()


def test_the_taobao_config_has_the_sizes_of_easyrec() -> None:
    """17 fields of width 16: 68 squeezed numbers, 17 units, 272 outputs."""
    layer = SENet([16] * 17, **PLAIN)
    assert layer.reduce.weight.shape == (17, 68)
    assert layer.excite.weight.shape == (272, 17)


@pytest.mark.parametrize("widths", [[4], [4, 4, 8]])
def test_it_obeys_the_laws_of_layers(widths: list[int]) -> None:
    layer_laws.check_laws(parts.shaken(SENet(widths, **PLAIN)), fields(widths))


@pytest.mark.parametrize(
    ("widths", "settings", "words"),
    [
        ([], {}, "gets 0 inputs; it needs a list"),
        ([4, 3], {}, "num_squeeze_group: is 2, but inputs[1] has width 3"),
        ([4], {"num_squeeze_group": 0}, "num_squeeze_group: is 0"),
        ([4], {"reduction_ratio": 0}, "reduction_ratio: is 0"),
    ],
)
def test_a_bad_setting_or_shape_is_named(widths: list[int], settings: dict, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        SENet(widths, **PLAIN | settings)
    assert words in str(error.value)


def test_fibinet_is_easyrecs() -> None:
    recording = easyrec_numbers.Recording("fibinet")
    mlp = parts.KERAS_MLP | {"hidden_units": [4]}
    layer = easyrec_numbers.ready(FiBiNet([4] * 4, senet=PLAIN, bilinear=BILINEAR, mlp=mlp))
    load(recording, layer.senet, "t/senet/")
    recording.linear(layer.bilinear.left.linear, "t/bilinear/all")
    recording.linear(layer.bilinear.final, "t/bilinear/output")
    recording.mlp(layer.mlp.network, "t/mlp")
    recording.check(layer(recording.inputs))


@pytest.mark.parametrize("bilinear", [None, BILINEAR | {"type": "interaction"}])
@pytest.mark.parametrize("mlp", [None, parts.KERAS_MLP])
def test_fibinet_puts_its_parts_of_the_raw_fields_side_by_side(
    bilinear: dict | None, mlp: dict | None
) -> None:
    widths = [4, 2, 8]
    layer = FiBiNet(widths, senet=PLAIN, bilinear=bilinear, mlp=mlp)
    layer, inputs = parts.shaken(layer).eval(), fields(widths)
    wanted = [layer.senet(inputs)] + ([layer.bilinear(inputs)] if bilinear else [])
    wanted = torch.cat(wanted, dim=1)
    wanted = layer.mlp(wanted) if mlp else wanted
    assert_close(layer(inputs), wanted)
    assert layer.out_features == wanted.shape[1]
    layer_laws.check_laws(layer, inputs)


def test_a_fault_of_a_part_of_fibinet_names_the_part() -> None:
    for field, settings in {
        "senet.reduction_ratio": {"senet": PLAIN | {"reduction_ratio": 0}},
        "bilinear.type": {"bilinear": BILINEAR | {"type": "none"}},
        "mlp.hidden_units": {"mlp": parts.KERAS_MLP | {"hidden_units": []}},
    }.items():
        with pytest.raises(ConfigError) as error:
            FiBiNet([4, 4], **{"senet": PLAIN, "bilinear": None, "mlp": None} | settings)
        assert [fault.path for fault in error.value.faults] == [field]
