"""WIDE feature groups: embeddings of one width in the whole model, in tables of their own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from tzmmoe.errors import Faults, join
from tzmmoe.models.base import Factor, Group, Pooling
from tzmmoe.tables.penalties import Penalty

INPUT = "wide_columns"  # the name of the body's input
FIELD = "input_layer.wide_output_dim"

Blocks = Sequence[tuple[str, Mapping[str, Any]]]  # each with its path


def blocks_of(fields: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The blocks of a backbone and of its packages, each with its path."""
    graphs = [("", fields)]
    graphs += [(f"packages[{i}]", each) for i, each in enumerate(fields["packages"])]
    for path, graph in graphs:
        for place, block in enumerate(graph["blocks"]):
            yield join(path, f"blocks[{place}]"), block


def with_width(groups: Mapping[str, Group], blocks: Blocks, faults: Faults) -> dict[str, Group]:
    """The groups; every feature of a WIDE one has the width that a block sets for all of them.

    ``faults``: gets those of blocks that set no width, several widths or a wrong one.
    """
    width = _width(groups, blocks, faults)
    if width is None:
        _check_missing(groups, blocks, faults)
    return {
        name: replace(group, widths=dict.fromkeys(group.widths, width or 1))
        if group.is_wide
        else group
        for name, group in groups.items()
    }


def _width(groups: Mapping[str, Group], blocks: Blocks, faults: Faults) -> int | None:
    """The width that the first block with one sets; None if no block does."""
    first = None
    for path, block in blocks:
        width = (block["input_layer"] or {}).get("wide_output_dim")
        if width is None:
            continue
        if width == 0:
            faults.add(join(path, FIELD), "is 0; give 1 or more")
        for source in block["inputs"]:
            name = source["feature_group_name"]
            if name in groups and not groups[name].is_wide:
                words = f"is set in block {block['name']!r}, but the group {name!r} that it reads"
                remedy = "write group_type: WIDE in the group, or remove this"
                faults.add(join(path, FIELD), f"{words} is DEEP; {remedy}")
        if first is None:
            first = (width, block["name"])
        elif width != first[0]:
            words = f"is {width} in block {block['name']!r}, but {first[0]} in block {first[1]!r}"
            faults.add(join(path, FIELD), f"{words}; a model has one width for all WIDE groups")
    return None if first is None else first[0]


def _check_missing(groups: Mapping[str, Group], blocks: Blocks, faults: Faults) -> None:
    """Add a fault for each block that reads a WIDE group, where no block sets the width."""
    names = {block["name"] for _, block in blocks}
    for path, block in blocks:
        for place, source in enumerate(block["inputs"]):
            name, is_layer = source["feature_group_name"], block["input_layer"] is not None
            if name not in groups or not groups[name].is_wide:
                continue
            has_no_width = any(block[word] is not None for word in ("raw_input", "embedding_layer"))
            is_block = name in names and not is_layer  # which goes before a group of that name
            if has_no_width or is_block:
                continue
            words = f"block {block['name']!r} reads the WIDE group {name!r}, but no block says how"
            remedy = "write input_layer { wide_output_dim: 4 }"
            here = "input_layer" if is_layer else f"inputs[{place}].feature_group_name"
            faults.add(join(path, here), f"{words} wide it is; {remedy}")


class WideColumns:
    """The input of a body that holds the features of its WIDE groups one after the other."""

    def __init__(self, groups: Mapping[str, Group]) -> None:
        """``groups``: the WIDE groups that are read."""
        self.members = {name: list(group.widths) for name, group in groups.items()}
        widths = [width for group in groups.values() for width in group.widths.values()]
        features = [name for members in self.members.values() for name in members]
        self.factors: dict[str, Factor] = {}
        if features:
            self.factors[INPUT] = Factor(
                features,
                widths[0],
                None,
                Penalty(0.0, 0.0),
                pooling=Pooling.WEIGHTED_SUM,
                by_feature=True,
                shared=True,
            )

    def by_group(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(B, D) of each group, from the inputs of the body."""
        if not self.factors:
            return {}
        sizes = [len(members) for members in self.members.values()]
        parts = inputs[INPUT].split(sizes, dim=1)
        return {name: part.flatten(1) for name, part in zip(self.members, parts, strict=True)}
