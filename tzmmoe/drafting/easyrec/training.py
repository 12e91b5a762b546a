"""train_config: how long, how often, and with which gradients."""

from tzmmoe.drafting.easyrec.optimizers import put_optimizers
from tzmmoe.drafting.easyrec.source import Part
from tzmmoe.drafting.easyrec.words import OF_TRAINING
from tzmmoe.drafting.section import Entry
from tzmmoe.drafting.traced import TracedPart

FROZEN = "gradients are frozen by table: set trainable: false in the written feature; remove it"


def put_training(root: TracedPart, training: Part, data: Part) -> None:
    """train_config; num_epochs comes from data_config, and holds beside num_steps."""
    part = root.part("train_config")
    steps, epochs = training.entry("num_steps"), data.entry("num_epochs")
    if not steps.value and not epochs.value:
        state, other = ("is 0" if entry else "is not set" for entry in (steps, epochs))
        words = f"{state}, and data_config.num_epochs {other}, so training never ends"
        training.fault("num_steps", f"{words}; set one of them to 1 or more")
    part.put("num_steps", Entry(steps.value or None, steps.path))
    part.put("num_epochs", Entry(epochs.value or None, epochs.path), "passes over the data")
    for name in ("save_checkpoints_steps", "keep_checkpoint_max", "log_step_count_steps"):
        training.carry(part, name)
    if training.value("fine_tune_checkpoint"):
        words = "a checkpoint of TensorFlow cannot be read; pass --fine_tune_checkpoint with ours"
        training.leave_out("fine_tune_checkpoint", words)
    norm = training.entry("gradient_clipping_by_norm")
    if norm.value > 0:
        clipping = part.part("grad_clipping")
        clipping.set("clipping_type", "norm")
        clipping.set("max_gradient", norm.value)
        clipping.made_from(norm.path)
        training.differs("clipping")
    put_optimizers(part, training)
    if training.has("freeze_gradient"):
        training.fault("freeze_gradient", FROZEN)
    training.idle(OF_TRAINING)
