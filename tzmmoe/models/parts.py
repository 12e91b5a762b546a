"""A model as its parts: what each reads, and what it gives."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from tzmmoe.nn.mlp import StackedLinear

MEMBERS = "member_inputs"  # the part of a body that makes the inputs of its members


@dataclass(frozen=True)
class Part:
    """``reads``: names of parts; ``layer``: what kind of thing it is; ``gives``: the shape of its
    output; ``parameters``: the numbers that it learns."""

    name: str
    reads: Sequence[str]
    layer: str
    gives: str
    parameters: int


def part_of(name: str, module: nn.Module, reads: Sequence[str]) -> Part:
    """A module as a part. Its output is that of its last linear map, (B, H), of several networks
    side by side E x (B, H); unknown without one."""
    maps = [part for part in module.modules() if isinstance(part, nn.Linear | StackedLinear)]
    gives = ""
    if maps:
        *copies, width, _ = maps[-1].weight.shape
        gives = f"{copies[0]} x (B, {width})" if copies and copies[0] > 1 else f"(B, {width})"
    return Part(name, reads, type(module).__name__, gives, trained(module))


def trained(module: nn.Module) -> int:
    """The numbers that a module learns."""
    return sum(each.numel() for each in module.parameters() if each.requires_grad)


def parts_of_children(
    module: nn.Module, reads: Sequence[str], of_members: Sequence[str]
) -> Iterator[Part]:
    """The modules of a body, each of which may read all of its inputs; those that members share
    read ``of_members``."""
    for name, child in module.named_children():
        if name != MEMBERS and trained(child):
            shared = any(getattr(part, "members", 1) > 1 for part in child.modules())
            yield part_of(name, child, of_members if shared else reads)
