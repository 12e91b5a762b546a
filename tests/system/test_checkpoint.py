"""Checkpoints: what was saved comes back, or everything that does not fit is listed."""

import pytest
import torch
from checkpoints import STATE, read, save
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import says
from torch import Tensor, nn

from tzmmoe.errors import CheckpointError
from tzmmoe.system import checkpoint
from tzmmoe.system.tensorfiles import parts

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


def test_every_type_and_shape_comes_back_bit_for_bit(tmp_path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"{dtype}/{'x'.join(map(str, shape))}": torch.randint(0, 2, shape, generator=generator).to(
            dtype
        )
        for dtype in DTYPES
        for shape in [(), (0,), (1,), (3, 0, 2), (7,), (2, 3, 4)]
    }
    tensors["special"] = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])
    path = save(tmp_path, tensors=tensors)
    for name, tensor in read(path, tensors).items():
        assert tensor.dtype == tensors[name].dtype
        same = tensor.view(torch.uint8) if tensor.dim() and tensor.numel() else tensor
        saved = (
            tensors[name].view(torch.uint8) if tensor.dim() and tensor.numel() else tensors[name]
        )
        assert torch.equal(same, saved), name
    shapes = checkpoint.open_checkpoint(path).shapes()
    assert shapes == {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def test_views_transposed_tensors_and_parameters_are_saved_as_what_they_show(tmp_path) -> None:
    whole = torch.randn(6, 4)
    tensors = {
        "parameter": nn.Parameter(whole),
        "rows": whole[2:5],
        "transposed": whole.t(),
        "strided": whole[::2, 1:3],
    }
    found = read(save(tmp_path, tensors=tensors), tensors)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


@settings(deadline=None, max_examples=25)
@given(rows=st.lists(st.integers(0, 5), min_size=1, max_size=5), data=st.data())
def test_tables_by_their_own_names_are_read_into_any_other_layout(
    tmp_path_factory, rows, data
) -> None:
    """Tables of one width lie in one parameter, in an order that may change between runs."""
    folder = tmp_path_factory.mktemp("layout")
    order = data.draw(st.permutations(range(len(rows))))

    def spans(of: list[int], parameter: Tensor) -> dict[str, Tensor]:
        begin, named = 0, {}
        for table in of:
            named[f"tables.t{table}.weight"] = parameter[begin : begin + rows[table]]
            begin += rows[table]
        return named

    before, after = torch.randn(sum(rows), 3), torch.zeros(sum(rows), 3)
    saved, wanted = spans(list(range(len(rows))), before), spans(order, after)
    checkpoint.open_checkpoint(save(folder, tensors=saved)).read(wanted)
    assert all(torch.equal(wanted[name], tensor) for name, tensor in saved.items())


def test_a_checkpoint_larger_than_a_file_is_spread_over_several(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(parts, "FILE_BYTES", 1000)
    tensors = {f"t{number:02}": torch.randn(10, 10) for number in range(12)}
    path = save(tmp_path, tensors=tensors)
    files = list((path / "tensors").glob("*.safetensors"))
    assert len(files) > 3
    assert max(file.stat().st_size for file in files) < 3000
    found = read(path, tensors)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_state_and_config_come_back(tmp_path) -> None:
    opened = checkpoint.open_checkpoint(save(tmp_path, step=41))
    assert opened.step == 41
    assert STATE.items() <= opened.state.items()
    assert (opened.path / "pipeline.config").read_text() == 'model_dir: "x"\n'
    assert opened.path.name == "model.ckpt-41"


def test_a_tensor_is_read_as_the_type_of_its_place(tmp_path) -> None:
    path = save(tmp_path, tensors={"a": torch.tensor([0.5, 2.0])})
    target = torch.zeros(2, dtype=torch.float64)
    checkpoint.open_checkpoint(path).read({"a": target})
    assert target.tolist() == [0.5, 2.0]


def test_a_part_of_the_tensors_may_be_read(tmp_path) -> None:
    tensors = {"a": torch.ones(2), "b": torch.zeros(3)}
    found = read(save(tmp_path, tensors=tensors), {"b": tensors["b"]})
    assert torch.equal(found["b"], tensors["b"])


def test_what_does_not_fit_is_listed_all_at_once_and_nothing_is_read(tmp_path) -> None:
    tensors = {
        "towers.ctr.weight": torch.ones(2, 3),
        "same": torch.ones(4),
        "only there": torch.ones(1),
    }
    opened = checkpoint.open_checkpoint(save(tmp_path, tensors=tensors))
    targets = {
        "towers.ctr.weight": torch.zeros(2, 4),
        "same": torch.zeros(4),
        "towers.ctr.wieght": torch.zeros(2, 3),
        "new": torch.zeros(1),
    }
    with pytest.raises(CheckpointError) as caught:
        opened.read(targets)
    first, shape, misspelt, new = str(caught.value).splitlines()
    says(first, str(opened.path), "model")
    says(shape, "towers.ctr.weight", "[2, 3] in the checkpoint", "[2, 4] in the model")
    says(misspelt, "towers.ctr.wieght", "did you mean 'towers.ctr.weight'")
    says(new, "new: ", "checkpoint")
    assert all((target == 0).all() for target in targets.values())
