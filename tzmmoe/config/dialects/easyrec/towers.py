"""EasyRec's towers: their layers, losses and metrics."""

from google.protobuf.message import Message

from tzmmoe.config.dialects.easyrec.losses import rewrite_losses
from tzmmoe.config.dialects.easyrec.networks import rewrite_network
from tzmmoe.config.dialects.easyrec.rewriting import Rewriting


def rewrite_tower(tower: Message, path: str, rewriting: Rewriting) -> None:
    """``dnn``, ``relation_dnn``, ``loss_type`` and ``metrics_set`` become ``mlp``,
    ``relation_mlp``, ``losses`` and ``metrics``."""
    rewrite_network(tower, path, "dnn", "mlp", rewriting)
    rewrite_network(tower, path, "relation_dnn", "relation_mlp", rewriting)
    rewrite_losses(tower, path, rewriting)
    if rewriting.take(tower, path, "metrics_set", "metrics"):
        tower.metrics.extend(tower.metrics_set)
    tower.ClearField("metrics_set")
