"""The ranking model, from features to logits."""

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from tzmmoe.batch import Inputs
from tzmmoe.models.base import Body
from tzmmoe.models.encoder import Encoder
from tzmmoe.models.tower import Tower
from tzmmoe.nn.gates import Gates
from tzmmoe.nn.keras_moe.layer import MMoE
from tzmmoe.tables.penalties import penalized
from tzmmoe.tasks.taskset import FURTHER

PENALTY = "embeddings/penalty"  # no tower has a name with a slash


class RankModel(nn.Module):
    """Encoder, body, towers; and the learned weights of the losses if there are any, which are
    trained and saved with them. ``auxiliary``: towers to mark as such in tables and
    pictures."""

    auxiliary: Collection[str] = ()

    def __init__(
        self,
        encoder: Encoder,
        body: Body,
        towers: Mapping[str, Tower],
        loss_weights: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.loss_weights = loss_weights
        self.encoder = encoder
        self.body = body
        self.names = list(towers)
        self.towers = nn.ModuleDict({f"tower_{name}": tower for name, tower in towers.items()})
        self.order = body.order(self.names)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """{tower: logits}, (B,) or (B, C); of members (B, k) or (B, k, C). In training, also
        ``PENALTY`` if embeddings are regularized: the encoder's penalty of this batch. In
        evaluation, also the body's outputs, with ``FURTHER`` before their names."""
        encoded = self.encoder(inputs)
        hidden, addends, further = self.body(encoded)
        if self.body.num_members > 1:
            hidden = [each.unflatten(0, (-1, self.body.num_members)) for each in hidden]
        addends = [None] * len(hidden) if addends is None else addends
        parts = dict(zip(self.names, zip(hidden, addends, strict=True), strict=True))
        states, logits = {}, {}
        for name in self.order:
            tower, (part, addend) = self.towers[f"tower_{name}"], parts[name]
            read = [states[other] for other in self.body.reads.get(name, ())]
            states[name] = tower.state(part, read)
            logits[name] = tower.logits(states[name], addend, read)
        outputs = {name: logits[name] for name in self.names}
        if self.training and self.encoder.regularization:
            outputs[PENALTY] = self.encoder.embedding_penalty(encoded)
        return outputs | {f"{FURTHER}{name}": value for name, value in further.items()}

    def serving(self, towers: Collection[str] | None) -> "RankModel":
        """The model for an export that needs the logits of ``towers`` (None: of all): these towers
        and those whose hidden states they read, on a body without what only others need."""
        readers = dict(zip(self.names, self.readers(), strict=True))
        if towers is None or all(read & set(towers) for read in readers.values()):
            return self
        kept = [name for name in self.names if readers[name] & set(towers)]
        body = self.body.serving([self.names.index(name) for name in kept])
        body.reads = {name: self.body.reads.get(name, ()) for name in kept}
        return RankModel(self.encoder, body, {n: self.towers[f"tower_{n}"] for n in kept})

    def readers(self) -> list[set[str]]:
        """For each tower in order, itself and those that read it, directly or through others."""
        readers = {name: {name} for name in self.names}
        for name in reversed(self.order):  # a tower's readers come after it
            for other in self.body.reads.get(name, ()):
                readers[other] |= readers[name]
        return [readers[name] for name in self.names]

    @property
    def is_regularized(self) -> bool:
        """Whether the loss has a term for weights or embeddings."""
        return bool(self.encoder.regularization or penalized(self) or self.penalized_outputs())

    def penalized_outputs(self) -> list[Gates | MMoE]:
        """The layers that penalize their outputs, and so each batch."""
        layers = [part for part in self.modules() if isinstance(part, (Gates, MMoE))]
        return [layer for layer in layers if layer.penalizes_outputs]
