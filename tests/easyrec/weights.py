"""EasyRec's weights -> ours. A bias before batch norm, which ours does without, moves the mean."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from tzmmoe.models.rank import RankModel
from tzmmoe.nn.mlp import Perceptron

Numbers = Mapping[str, np.ndarray]


def tensor(numbers: Numbers, name: str) -> Tensor:
    return torch.from_numpy(numbers[f"var:{name}"].astype(np.float64))


@torch.no_grad()
def load_tables(model: RankModel, numbers: Numbers) -> None:
    for tables in model.encoder.tables.values():
        for table in tables.tables:
            name = table.name.removesuffix("_emb")
            own = tensor(numbers, f"input_layer/{name}_embedding/embedding_weights")
            tables.rows_of(table.name, tables.weight).copy_(own)


@torch.no_grad()
def load_layer(
    layer: Perceptron, numbers: Numbers, names: list[str], dense: str = "", norm: str = "/bn"
) -> None:
    """One layer of E networks, with the names of each."""
    kernels = [tensor(numbers, f"{name}{dense}/kernel").T for name in names]
    layer.linear.weight.copy_(torch.stack(kernels))

    def joined(part: str) -> Tensor:
        return torch.cat([tensor(numbers, f"{name}{norm}/{part}") for name in names])

    layer.norm.weight.copy_(joined("gamma"))
    layer.norm.bias.copy_(joined("beta"))
    layer.norm.running_var.copy_(joined("moving_variance"))
    mean = joined("moving_mean")
    if f"var:{names[0]}{dense}/bias" in numbers:
        mean = mean - torch.cat([tensor(numbers, f"{name}{dense}/bias") for name in names])
    layer.norm.running_mean.copy_(mean)


@torch.no_grad()
def load_linear(layer: nn.Linear, numbers: Numbers, name: str) -> None:
    layer.weight.copy_(tensor(numbers, f"{name}/kernel").T)
    layer.bias.copy_(tensor(numbers, f"{name}/bias"))


@torch.no_grad()
def load_built_in(model: RankModel, numbers: Numbers) -> None:
    load_tables(model, numbers)
    body = model.body
    num_experts = len(body.experts.layers[0].linear.weight)
    for place, layer in enumerate(body.experts.layers):
        load_layer(layer, numbers, [f"mmoe/expert_{e}/dnn_{place}" for e in range(num_experts)])
    gates = [f"mmoe/gate_{task}/dnn" for task in range(len(model.names))]
    body.gates.final.weight.copy_(torch.stack([tensor(numbers, f"{g}/kernel").T for g in gates]))
    biases = torch.stack([tensor(numbers, f"{g}/bias") for g in gates])
    body.gates.final.bias.copy_(biases.view_as(body.gates.final.bias))
    for task, name in enumerate(model.names):
        tower = model.towers[f"tower_{name}"]
        for place, layer in enumerate(tower.mlp.layers):
            load_layer(layer, numbers, [f"{name}/dnn_{place}"])
        load_linear(tower.linear, numbers, f"dnn_output_{task}")


@torch.no_grad()
def load_backbone(model: RankModel, numbers: Numbers) -> None:
    """Of the seed's second config."""
    load_tables(model, numbers)
    blocks = model.body.graph.blocks
    senet = blocks["block_senet"].steps[0].module
    for layer, name in ((senet.reduce, "W1"), (senet.excite, "W2")):
        load_linear(layer, numbers, f"backbone/senet/{name}")
    senet.norm.weight.copy_(tensor(numbers, "backbone/senet/output_ln/gamma"))
    senet.norm.bias.copy_(tensor(numbers, "backbone/senet/output_ln/beta"))
    mmoe = blocks["block_mmoe"].steps[0].module
    for place, layer in enumerate(mmoe.experts.layers):
        names = [f"backbone/mmoe/expert_{e}/layer_{place}" for e in range(3)]
        load_layer(layer, numbers, names, dense="/dense")
    gates = [f"backbone/mmoe/gate_{task}" for task in range(2)]
    final = mmoe.gates.final
    final.weight.copy_(torch.stack([tensor(numbers, f"{g}/kernel").T for g in gates]))
    final.bias.copy_(torch.stack([tensor(numbers, f"{g}/bias") for g in gates]).view_as(final.bias))
    for name in model.names:
        tower = model.towers[f"tower_{name}"]
        for place, layer in enumerate(tower.mlp.layers):
            load_layer(layer, numbers, [f"{name}/dnn_{place}"])
        load_linear(tower.linear, numbers, f"{name}/output")
