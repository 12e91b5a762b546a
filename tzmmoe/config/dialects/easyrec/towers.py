"""EasyRec's towers: their layers, losses and metrics."""

import logging

from google.protobuf.message import Message

from tzmmoe.config.dialects.easyrec.networks import rewrite_network
from tzmmoe.config.dialects.easyrec.rewriting import Rewriting
from tzmmoe.errors import join
from tzmmoe.protos.loss_pb2 import Loss
from tzmmoe.protos.model_pb2 import LossType

log = logging.getLogger(__name__)

LOSSES = {"L2_LOSS": "l2_loss"}  # CLASSIFICATION depends on the number of classes


def rewrite_tower(tower: Message, path: str, rewriting: Rewriting) -> None:
    """``dnn``, ``relation_dnn``, ``loss_type`` and ``metrics_set`` become ``mlp``,
    ``relation_mlp``, ``losses`` and ``metrics``."""
    rewrite_network(tower, path, "dnn", "mlp", rewriting)
    rewrite_network(tower, path, "relation_dnn", "relation_mlp", rewriting)
    if tower.HasField("loss_type"):
        if tower.losses:
            log.warning("%s.loss_type has no effect beside losses; remove it", path)
        else:
            word = _loss(tower)
            tower.losses.append(Loss(**{word: {}}))
            rewriting.written[join(path, "losses")] = join(path, "loss_type")
        tower.ClearField("loss_type")
    if rewriting.take(tower, path, "metrics_set", "metrics"):
        tower.metrics.extend(tower.metrics_set)
    tower.ClearField("metrics_set")


def _loss(tower: Message) -> str:
    """The word of the loss that ``loss_type`` names."""
    word = LOSSES.get(LossType.Name(tower.loss_type))
    return word or ("softmax_cross_entropy" if tower.num_class > 1 else "binary_cross_entropy")
