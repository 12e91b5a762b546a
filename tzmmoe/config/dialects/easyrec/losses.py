"""EasyRec's losses: names in an enum, with their settings beside it."""

import logging

from google.protobuf.message import Message

from tzmmoe.config.dialects.easyrec.rewriting import Rewriting
from tzmmoe.errors import join
from tzmmoe.protos.loss_pb2 import Loss, LossType

log = logging.getLogger(__name__)

# CLASSIFICATION is not here: it depends on the number of classes.
WORDS = {
    "L2_LOSS": "l2_loss",
    "SIGMOID_L2_LOSS": "sigmoid_l2_loss",
    "CROSS_ENTROPY_LOSS": "binary_cross_entropy",
    "PAIR_WISE_LOSS": "pair_wise_loss",
    "F1_REWEIGHTED_LOSS": "f1_reweighted_loss",
    "BINARY_FOCAL_LOSS": "binary_focal_loss",
    "PAIRWISE_FOCAL_LOSS": "pairwise_focal_loss",
    "PAIRWISE_LOGISTIC_LOSS": "pairwise_logistic_loss",
    "JRC_LOSS": "jrc_loss",
    "ORDER_CALIBRATE_LOSS": "order_calibrate_loss",
    "BINARY_CROSS_ENTROPY_LOSS": "binary_cross_entropy",
    "PAIRWISE_HINGE_LOSS": "pairwise_hinge_loss",
}


def rewrite_losses(tower: Message, path: str, rewriting: Rewriting) -> None:
    """``loss_type`` of the tower and of its losses become words."""
    if tower.HasField("loss_type"):
        if tower.losses:
            log.warning("%s.loss_type has no effect beside losses; remove it", path)
        else:
            tower.losses.add().loss_type = tower.loss_type
            rewriting.written[join(path, "losses[0]")] = join(path, "loss_type")
        tower.ClearField("loss_type")
    kept = []
    for place, loss in enumerate(tower.losses):
        _rename(loss, f"{path}.losses[{place}]", rewriting)
        if loss.HasField("loss_type"):
            _rewrite(loss, tower, f"{path}.losses[{place}]", rewriting)
        if _has_no_effect(loss):
            words = "has no effect without relation_tower_names, as in EasyRec; it is left out"
            log.warning("%s.losses[%d]: ORDER_CALIBRATE_LOSS %s", path, place, words)
        else:
            kept.append(loss)
    if len(kept) < len(tower.losses):
        copies = [Loss.FromString(loss.SerializeToString()) for loss in kept]
        del tower.losses[:]
        tower.losses.extend(copies)


def _rename(loss: Loss, path: str, rewriting: Rewriting) -> None:
    """``pairwise_loss``, and the hinge loss's ``margin``."""
    if rewriting.take(loss, path, "pairwise_loss", "pair_wise_loss"):
        loss.pair_wise_loss.CopyFrom(loss.pairwise_loss)
    loss.ClearField("pairwise_loss")
    if loss.WhichOneof("loss") == "pairwise_hinge_loss":
        hinge = loss.pairwise_hinge_loss
        if rewriting.take(hinge, join(path, "pairwise_hinge_loss"), "margin", "hinge_margin"):
            hinge.hinge_margin = hinge.margin
        hinge.ClearField("margin")


def _rewrite(loss: Loss, tower: Message, path: str, rewriting: Rewriting) -> None:
    name = LossType.Name(loss.loss_type)
    loss.ClearField("loss_type")
    word, set_to = _word(name, tower), loss.WhichOneof("loss")
    if set_to not in (None, word):
        words = f"is {name}, but {set_to} is set; write {word} {{ ... }}, or remove one"
        rewriting.faults.add(join(path, "loss_type"), words)
        return
    message = getattr(loss, word)
    message.SetInParent()
    if set_to is None:
        rewriting.written[join(path, word)] = join(path, "loss_type")
    if name == "BINARY_CROSS_ENTROPY_LOSS":
        message.ignore_weights = True
    elif name == "BINARY_FOCAL_LOSS" and not message.HasField("alpha"):
        message.use_alpha = False  # EasyRec has no factor of classes by default
    elif name == "ORDER_CALIBRATE_LOSS" and not message.tower_names:
        message.tower_names.extend(getattr(tower, "relation_tower_names", ()))


def _word(name: str, tower: Message) -> str:
    of_classes = "softmax_cross_entropy" if tower.num_class > 1 else "binary_cross_entropy"
    return WORDS.get(name, of_classes)


def _has_no_effect(loss: Loss) -> bool:
    return loss.WhichOneof("loss") == "order_calibrate_loss" and not (
        loss.order_calibrate_loss.tower_names
    )
