"""What holds for every layer, whatever it computes."""

from collections.abc import Sequence

import parts
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.func import functional_call
from torch.testing import assert_close

Inputs = Tensor | list[Tensor]
Outputs = Tensor | Sequence["Outputs"]


def tensors(value: Outputs) -> list[Tensor]:
    """All tensors of nested lists, in order."""
    if isinstance(value, Tensor):
        return [value]
    return [tensor for part in value for tensor in tensors(part)]


def mapped(function: object, inputs: Inputs) -> Inputs:
    if isinstance(inputs, Tensor):
        return function(inputs)
    return [function(part) for part in inputs]


def check_laws(module: nn.Module, inputs: Inputs) -> None:
    """In evaluation, rows do not see each other; every parameter is trained; and the layer runs
    where shapes alone are known, and as an exported graph for any number of rows above one."""
    module = module.eval()
    check_all_is_trained(module, inputs)
    check_rows(module, inputs)
    check_meta(module, inputs)
    check_export(module, inputs)


def check_rows(module: nn.Module, inputs: Inputs) -> None:
    whole = tensors(module(inputs))
    rows = len(tensors(inputs)[0])
    order = torch.randperm(rows, generator=parts.generator(1))
    for part in (order, order[:1], order[:0]):
        chosen = tensors(module(mapped(lambda x, part=part: x[part], inputs)))
        for found, wanted in zip(chosen, whole, strict=True):
            assert_close(found, wanted[part])


def check_all_is_trained(module: nn.Module, inputs: Inputs) -> None:
    """Or several processes would wait for a gradient that never comes."""
    names = [name for name, _ in module.named_parameters()]
    total = sum(tensor.sum() for tensor in tensors(module(inputs)))
    if names:
        values = list(module.parameters())
        gradients = torch.autograd.grad(total, values, allow_unused=True)
        assert not [n for n, g in zip(names, gradients, strict=True) if g is None]


def check_meta(module: nn.Module, inputs: Inputs) -> None:
    shapes = [tensor.shape[1:] for tensor in tensors(module(inputs))]
    state = {name: value.to("meta") for name, value in module.state_dict().items()}
    for training in (False, True):
        module.train(training)
        found = functional_call(module, state, mapped(lambda x: x[:2].to("meta"), inputs))
        assert [tensor.shape for tensor in tensors(found)] == [(2, *shape) for shape in shapes]
    module.eval()


def check_export(module: nn.Module, inputs: Inputs) -> None:
    rows = torch.export.Dim("rows", min=2)
    shapes = ({0: rows},) if isinstance(inputs, Tensor) else ([{0: rows}] * len(inputs),)
    model = nn.Sequential(
        module
    )  # as part of one: its graphs refuse a parameter of the name "meta"
    program = torch.export.export(model, (inputs,), dynamic_shapes=shapes, strict=False)
    twice = mapped(lambda x: torch.cat([x, x]), inputs)
    for found, wanted in zip(tensors(program.module()(twice)), tensors(module(twice)), strict=True):
        assert_close(found, wanted)


def check_gradients(module: nn.Module, inputs: Inputs) -> None:
    """Of inputs and parameters, against finite differences, in float64."""
    names, values = zip(*[*module.named_parameters(), ("", None)], strict=True)
    given = [x.detach().requires_grad_(x.is_floating_point()) for x in tensors(inputs)]

    def run(*arguments: Tensor) -> tuple[Tensor, ...]:
        own, rest = arguments[: len(given)], arguments[len(given) :]
        state = dict(zip(names[:-1], rest, strict=True))
        value = own[0] if isinstance(inputs, Tensor) else list(own)
        return tuple(tensors(functional_call(module, state, (value,))))

    assert gradcheck(run, (*given, *values[:-1]))
