"""Masks against EasyRec's numbers and their formula in plain products."""

import easyrec_numbers
import layer_laws
import parts
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tzmmoe.errors import ConfigError
from tzmmoe.nn.gated.masks import MaskBlock, MaskNet

BLOCK = {
    "reduction_factor": None,
    "output_size": None,
    "aggregation_size": 4,
    "input_layer_norm": False,
    "projection_dim": None,
}
NET = {
    "mask_blocks": [BLOCK | {"output_size": 3}, BLOCK | {"output_size": 3}],
    "use_parallel": True,
    "mlp": None,
    "input_layer_norm": True,
}


def load(recording: easyrec_numbers.Recording, block: MaskBlock, prefix: str = "") -> None:
    for name in ("project", "aggregate", "weights", "output"):
        if (part := getattr(block, name)) is not None:
            keras = "aggregation" if name == "aggregate" else name
            recording.linear(part, f"{prefix}{keras}")
    if block.norm is not None:
        recording.norm(block.norm, f"{prefix}input_ln")
    if block.output_norm is not None:
        recording.norm(block.output_norm, f"{prefix}output_ln")


@pytest.mark.parametrize(
    ("name", "widths", "settings"),
    [
        ("mask_block", [5, 4], {"output_size": 6, "aggregation_size": 7}),
        (
            "mask_block_reduction",
            [5],
            {
                "aggregation_size": None,
                "reduction_factor": 1.5,
                "input_layer_norm": True,
                "projection_dim": 2,
            },
        ),
    ],
)
def test_a_block_is_easyrecs(name: str, widths: list[int], settings: dict) -> None:
    recording = easyrec_numbers.Recording(name)
    block = easyrec_numbers.ready(MaskBlock(widths, **BLOCK | settings))
    load(recording, block)
    inputs = recording.inputs
    recording.check(block(inputs if len(inputs) > 1 else inputs[0]))


def test_a_net_side_by_side_is_easyrecs() -> None:
    recording = easyrec_numbers.Recording("masknet")
    mlp = parts.KERAS_MLP | {"hidden_units": [4]}
    net = easyrec_numbers.ready(MaskNet(5, **NET | {"mlp": mlp}))
    for index, block in enumerate(net.blocks):
        load(recording, block, f"block_{index}/")
    recording.norm(net.norm, "input_ln")
    recording.mlp(net.mlp.network, "mlp")
    recording.check(net(recording.inputs[0]))


def test_a_net_in_series_is_easyrecs() -> None:
    recording = easyrec_numbers.Recording("masknet_serial")
    blocks = [BLOCK | {"output_size": 5}, BLOCK | {"output_size": 3}]
    net = easyrec_numbers.ready(MaskNet(5, **NET | {"mask_blocks": blocks, "use_parallel": False}))
    for index, block in enumerate(net.blocks):
        load(recording, block, f"block_{index}/")
    recording.norm(net.norm, "input_ln")
    recording.check(net(recording.inputs[0]))


def normed(norm: nn.LayerNorm, row: Tensor) -> Tensor:
    mean = row.sum() / len(row)
    spread = ((row - mean).pow(2).sum() / len(row) + 0.001).sqrt()
    return (row - mean) / spread * norm.weight + norm.bias


def mapped(linear: nn.Linear, row: Tensor) -> Tensor:
    out = [sum(w * v for w, v in zip(line, row, strict=True)) for line in linear.weight]
    return torch.stack(out) + (0 if linear.bias is None else linear.bias)


def by_rows(block: MaskBlock, x: Tensor, mask: Tensor) -> Tensor:
    rows = []
    for own, guide in zip(x, mask, strict=True):
        masked = own if block.norm is None else normed(block.norm, own)
        guide = guide if block.project is None else mapped(block.project, guide)
        hidden = mapped(block.aggregate, guide)
        masked = masked * mapped(block.weights, torch.where(hidden > 0, hidden, 0.0 * hidden))
        if block.output is not None:
            masked = normed(block.output_norm, mapped(block.output, masked))
            masked = torch.where(masked > 0, masked, 0.0 * masked)
        rows.append(masked)
    return torch.stack(rows)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("output_size", [None, 3])
@pytest.mark.parametrize("projection", [None, 1])
@pytest.mark.parametrize("mask_width", [1, 4])
def test_a_block_multiplies_by_a_mask_of_its_second_input(
    rows: int, norm: bool, output_size: int | None, projection: int | None, mask_width: int
) -> None:
    settings = {
        "input_layer_norm": norm,
        "output_size": output_size,
        "projection_dim": projection,
        "aggregation_size": None,
        "reduction_factor": 2.5,
    }
    block = parts.shaken(MaskBlock([5, mask_width], **BLOCK | settings))
    inputs = [parts.normal(rows, 5), parts.normal(rows, mask_width, seed=1)]
    assert block.aggregate.out_features == int(2.5 * mask_width)
    assert_close(block(inputs), by_rows(block, *inputs))
    assert block.out_features == (output_size or 5)
    layer_laws.check_gradients(block, inputs)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("mlp", [None, parts.KERAS_MLP])
def test_every_mask_of_a_net_comes_from_its_input(
    parallel: bool, norm: bool, mlp: dict | None
) -> None:
    settings = {
        "mask_blocks": [
            BLOCK | {"output_size": 3},
            BLOCK | {"input_layer_norm": True},
            BLOCK | {"output_size": 2},
        ],
        "use_parallel": parallel,
        "input_layer_norm": norm,
        "mlp": mlp,
    }
    net, x = parts.shaken(MaskNet(5, **NET | settings)).eval(), parts.normal(3, 5)
    base = torch.stack([normed(net.norm, row) for row in x]) if norm else x
    if parallel:
        wanted = torch.cat([by_rows(block, base, base) for block in net.blocks], dim=1)
    else:
        wanted = base
        for block in net.blocks:
            wanted = by_rows(block, wanted, base)
    wanted = net.mlp(wanted) if mlp else wanted
    assert_close(net(x), wanted)
    assert net.out_features == wanted.shape[1]


@pytest.mark.parametrize("parallel", [False, True])
def test_masks_obey_the_laws_of_layers(parallel: bool) -> None:
    settings = {"use_parallel": parallel, "mlp": parts.KERAS_MLP}
    layer_laws.check_laws(parts.shaken(MaskNet(5, **NET | settings)), parts.normal(3, 5))
    block = parts.shaken(MaskBlock([5, 4], **BLOCK | {"output_size": 3}))
    layer_laws.check_laws(block, [parts.normal(3, 5), parts.normal(3, 4, seed=1)])


def test_a_blocks_kernels_start_by_he_and_glorot_uniform() -> None:
    torch.manual_seed(0)
    settings = {"aggregation_size": 200, "output_size": 100, "projection_dim": 50}
    block = MaskBlock([300, 400], **BLOCK | settings)
    bounds = {
        "project": (6 / 450) ** 0.5,
        "aggregate": (6 / 50) ** 0.5,
        "weights": (6 / 500) ** 0.5,
        "output": (6 / 400) ** 0.5,
    }
    for name, bound in bounds.items():
        kernel = getattr(block, name).weight
        assert 0.99 * bound < kernel.abs().max() <= bound


@pytest.mark.parametrize(
    ("widths", "settings", "words"),
    [
        ([5, 4, 3], {}, "gets 3 inputs; it needs x"),
        ([5], {"aggregation_size": None}, "aggregation_size: is not set; give it, or reduction"),
        ([5], {"reduction_factor": 2.0}, "and so is reduction_factor; keep one"),
        ([5], {"aggregation_size": None, "reduction_factor": 0.1}, "reduction_factor: is 0.1"),
        ([5], {"aggregation_size": 0}, "aggregation_size: is 0"),
        ([5], {"output_size": 0}, "output_size: is 0"),
        ([5], {"projection_dim": 0}, "projection_dim: is 0"),
    ],
)
def test_a_bad_setting_or_shape_is_named(widths: list[int], settings: dict, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        MaskBlock(widths, **BLOCK | settings)
    assert words in str(error.value)


def test_a_fault_of_a_nets_block_names_the_block() -> None:
    blocks = [BLOCK, BLOCK | {"aggregation_size": 0}]
    with pytest.raises(ConfigError, match=r"^mask_blocks\[1\]\.aggregation_size: is 0"):
        MaskNet(5, **NET | {"mask_blocks": blocks})
    with pytest.raises(ConfigError, match=r"^mask_blocks: is empty"):
        MaskNet(5, **NET | {"mask_blocks": []})
