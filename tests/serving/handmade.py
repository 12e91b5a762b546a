"""Programs that somebody made by hand to read, take or change what is not theirs."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

Forward = Callable[["Handmade", Mapping[str, Tensor]], Tensor]


class Handmade(nn.Module):
    """Has the inputs and outputs of a model of one feature ``one`` and a tower ``ctr``."""

    def __init__(self, body: Forward) -> None:
        super().__init__()
        self.body = body
        self.weight = nn.Parameter(torch.zeros(5, 2))
        self.register_buffer("many", torch.full((4,), 2**40))

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        logits = 0.0 * inputs["lengths_2"].sum(1) + self.body(self, inputs)
        return {"logits_ctr": logits, "probs_ctr": logits.sigmoid()}


def program(body: Forward) -> torch.export.ExportedProgram:
    batch, ids = torch.export.Dim("batch"), torch.export.Dim("ids")
    example = {
        "ids_2": torch.zeros(5, dtype=torch.int64),
        "lengths_2": torch.ones(4, 1, dtype=torch.int64),
    }
    example["lengths_2"][0] = 2
    shapes = ({"ids_2": {0: ids}, "lengths_2": {0: batch}},)
    made = torch.export.export(Handmade(body).eval(), (example,), dynamic_shapes=shapes)
    made.example_inputs = None
    made._guards_code = []
    for node in made.graph.nodes:
        for note in ("stack_trace", "nn_module_stack", "torch_fn", "source_fn_stack", "from_node"):
            node.meta.pop(note, None)
    return made


A = torch.ops.aten


def doubled(model: Handmade, inputs: Mapping[str, Tensor]) -> Tensor:
    made = model.weight.flatten()
    for _ in range(40):
        made = A.cat.default([made, made])
    return made.sum()


def of_all_with_all(model: Handmade, inputs: Mapping[str, Tensor]) -> Tensor:
    rows = inputs["lengths_2"].flatten().float()
    return A.mul.Tensor(rows.unsqueeze(0), rows.unsqueeze(1)).sum(1)


def kept_at_once(model: Handmade, inputs: Mapping[str, Tensor]) -> Tensor:
    """Each is modest, all of them are not."""
    parts = [A.full.default([2**22], float(part)) for part in range(20)]
    return sum(part.sum() for part in parts)


def bagged(offsets: Callable[[Handmade, Mapping[str, Tensor]], Tensor], mode: int = 0) -> Forward:
    def body(model: Handmade, inputs: Mapping[str, Tensor]) -> Tensor:
        made = A.embedding_bag.padding_idx(
            *(model.weight, inputs["ids_2"], offsets(model, inputs)),
            *(False, mode, True, None, True, None),
        )
        return made[0].sum()

    return body


def ends(model: Handmade, inputs: Mapping[str, Tensor]) -> Tensor:
    found = inputs["lengths_2"].flatten().cumsum(0)
    return torch.cat([found.new_zeros(1), found])


def repeated(model: Handmade, inputs: Mapping[str, Tensor]) -> Tensor:
    size = A.sym_size.int(inputs["ids_2"], 0)
    return A.repeat_interleave.self_Tensor(model.many, model.many, output_size=size).sum()


# What each does, and the operator that it is refused for.
READS_OR_WRITES: dict[str, Forward] = {
    "as_strided": lambda model, _: A.as_strided.default(model.weight, [2], [1], 5).sum(),
    "_reshape_alias": lambda model, _: A._reshape_alias.default(model.weight, [10], [1]).sum(),
    "empty": lambda model, _: A.empty.memory_format([4096]).sum(),
    "new_empty": lambda model, _: A.new_empty.default(model.weight, [9]).sum(),
    "empty_like": lambda model, _: A.empty_like.default(model.weight).sum(),
    "rand": lambda model, _: A.rand.default([3]).sum(),
    "view.dtype": lambda model, _: A.view.dtype(model.weight, torch.int32).sum(),
    "embedding_bag": bagged(lambda model, _: model.many),
    "embedding_bag ": bagged(lambda model, inputs: -ends(model, inputs)),
    "embedding_bag.padding_idx": bagged(ends, mode=1),
    "repeat_interleave": repeated,
    "dropout": lambda model, _: A.dropout.default(model.weight, 0.5, True).sum(),
}
TAKES_MEMORY: dict[str, Forward] = {
    "full": lambda model, _: A.full.default([10**12], 0.0).sum(),
    "zeros": lambda model, _: A.zeros.default([10**6, 10**6]).sum(),
    "ones": lambda model, _: A.ones.default([2**24, 2]).sum(),
    "arange": lambda model, _: A.arange.default(10**12).sum(),
    "new_full": lambda model, _: A.new_full.default(model.weight, [10**12], 1.0).sum(),
    "clone": lambda model, _: A.clone.default(
        A.expand.default(model.many[0], [10**12]), memory_format=torch.contiguous_format
    ).sum(),
    "repeat": lambda model, _: A.repeat.default(model.weight, [10**6, 10**6]).sum(),
    "repeat_interleave.self_int": lambda model, _: A.repeat_interleave.self_int(
        model.many, 10**12
    ).sum(),
    "einsum": lambda model, _: A.einsum.default(
        "ab,cb->ac", [A.ones.default([10**5, 1])] * 2
    ).sum(),
    "cat": doubled,
    "mul": of_all_with_all,
    "full ": kept_at_once,
}
