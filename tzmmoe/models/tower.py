"""A tower: the network of one task."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tzmmoe.errors import Faults
from tzmmoe.nn.mlp import MLP, Network, StackedLinear


class Tower(nn.Module):
    """Layers, a relation to other towers, then a linear layer to the logits.

    h = mlp(x); with a relation, r = relation([h, h_1, h_2, ...]) of the hidden states h_i that the
    tower reads, and logits = linear(r). Without one, logits = linear([h, h_1, h_2, ...]).
    Wang et al., "Deep Bayesian Multi-Target Learning for Recommender Systems", 2019, section 3.

    ``mlp``, ``relation``: the fields of an MLP, or the layers themselves; None for none.
    ``read_features``: the total width of the hidden states h_i. Other towers read this one's r or,
    without a relation, its h, of width ``state_features``. Without ``linear``, the hidden state
    itself is the logits. With k > 1 ``members`` (``nn/members.py``), it is one tower for each,
    and tensors are (B, k, H) in place of (B, H).
    """

    def __init__(
        self,
        in_features: int,
        num_class: int,
        mlp: Mapping[str, Any] | Network | None,
        *,
        bias: bool = True,
        linear: bool = True,
        read_features: int = 0,
        relation: Mapping[str, Any] | Network | None = None,
        members: int = 1,
    ) -> None:
        super().__init__()
        self.mlp = self.relation = None
        faults = Faults()
        with faults.under("mlp"):
            self.mlp = _network(in_features, mlp, members)
        hidden = in_features if self.mlp is None else self.mlp.out_features
        with faults.under("relation_mlp"):
            self.relation = _network(hidden + read_features, relation, members)
        faults.stop()
        self.state_features = hidden if self.relation is None else self.relation.out_features
        self.joins = self.relation is None and read_features > 0
        width = self.state_features + (read_features if self.joins else 0)
        self.num_class, self.members = num_class, members
        self.linear = None
        if linear and members > 1:
            self.linear = StackedLinear(width, num_class, members, bias)
        elif linear:
            self.linear = nn.Linear(width, num_class, bias=bias)

    def state(self, x_BH: Tensor, read: Sequence[Tensor] = ()) -> Tensor:
        """What other towers read (B, state_features), from the body's input for the tower and the
        states that it reads."""
        hidden_BH = x_BH if self.mlp is None else self._through(self.mlp, x_BH)
        if self.relation is None:
            return hidden_BH
        return self._through(self.relation, _joined(hidden_BH, read))

    def _through(self, network: Network, x_BH: Tensor) -> Tensor:
        return network(x_BH) if self.members > 1 else network(x_BH).squeeze(1)

    def logits(
        self, state_BH: Tensor, addend_B1: Tensor | None = None, read: Sequence[Tensor] = ()
    ) -> Tensor:
        """(B,), or (B, C) for several classes; of members (B, k) or (B, k, C)."""
        x_BD = _joined(state_BH, read) if self.joins else state_BH
        logits = x_BD if self.linear is None else self.linear(x_BD)
        if addend_B1 is not None:
            logits = logits + (addend_B1.unsqueeze(1) if self.members > 1 else addend_B1)
        return logits.squeeze(-1) if self.num_class == 1 else logits

    def forward(self, x_BH: Tensor, addend_B1: Tensor | None = None) -> Tensor:
        """The logits of a tower that reads no other tower."""
        return self.logits(self.state(x_BH), addend_B1)


def _network(
    in_features: int, layers: Mapping[str, Any] | Network | None, members: int
) -> Network | None:
    return MLP(in_features, copies=members, **layers) if isinstance(layers, Mapping) else layers


def _joined(state_BH: Tensor, read: Sequence[Tensor]) -> Tensor:
    return torch.cat([state_BH, *read], dim=-1) if read else state_BH
