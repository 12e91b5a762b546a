"""train_args -> train_config, and the batches of data_config."""

import re
from collections.abc import Callable

from tzmmoe.convert.draft import Part
from tzmmoe.convert.keys import SPEED, STOPPING, TENSORBOARD
from tzmmoe.convert.optimizer import put_optimizer
from tzmmoe.convert.section import Given, Section, is_whole

MOST_ROWS = 2**63 - 1
BATCH_SIZE = 128  # of a job that names none


def put_training(part: Part, training: Section, *, has_validation: bool) -> None:
    """Everything of train_config."""
    put_optimizer(part, training)
    epochs = training.whole("epochs", 1, least=1)
    part.put("num_epochs", epochs, "passes over the data")
    part.put("save_checkpoints_epochs", Given(1), "save and evaluate after every pass")
    part.put("num_samples", training.whole("num_samples", None, 1, MOST_ROWS), "rows of an epoch")
    num_val_samples = training.whole("num_val_samples", None, 1, MOST_ROWS)
    if has_validation:
        part.put("num_val_samples", num_val_samples)
    else:
        training.idle("num_val_samples", "there is no val_data_args")
    mixed = training.flag("mix_precision")
    part.put("mixed_precision", Given("FP16" if mixed.value else "", mixed.path))
    _stopping(part, training, has_validation)
    _speed(part, training)
    _tensorboard(part, training)


def put_model_dir(root: Part, training: Section, name: str, place: Callable[[Given], str]) -> None:
    """Where the run writes: the job's folder for checkpoints, or one named after the model."""
    given = training.text("ckpt_path")
    if given.value:
        root.put("model_dir", Given(place(given), given.path))
    else:
        plain = re.sub(r"[^\w\-.]+", "_", name)
        root.put("model_dir", Given(f"experiments/{plain}"), "after model_args.name")


def batch_size(section: Section) -> Given:
    return section.whole("batch_size", BATCH_SIZE, least=1)


def _stopping(part: Part, training: Section, has_validation: bool) -> None:
    if not training.has("early_stopping"):
        return
    section = training.section("early_stopping", STOPPING)
    if not has_validation:
        training.fault("early_stopping", "needs val_data_args; there is nothing to watch")
    stopping = part.part("early_stopping")
    stopping.put("monitor", section.text("monitor", "val_loss"))
    stopping.put("mode", section.text("mode", "auto"))
    stopping.put("patience", section.whole("patience", 0, least=0), "evaluations without gain")
    delta = section.number("min_delta", 0.0)
    stopping.put("min_delta", Given(abs(delta.value), delta.path), "a gain is larger")
    if not section.flag("restore_best_weights", True).value:
        section.idle("restore_best_weights", "the best weights are always restored")
    stopping.put("restore_best_weights", Given(True))


def _speed(part: Part, training: Section) -> None:
    if not training.has("train_speed_logger"):
        return
    section = training.section("train_speed_logger", SPEED)
    logger = part.part("train_speed_logger")
    logger.put("every_batches", section.whole("every_batches", 100, least=1))
    logger.put("with_metrics", section.flag("with_metrics"))


def _tensorboard(part: Part, training: Section) -> None:
    """Keras writes nothing for TensorBoard unless told to."""
    given = training.any("tensorboard")
    part.put("use_tensorboard", Given(bool(given), given.path))
    if not given:
        return
    section = training.section("tensorboard", TENSORBOARD)
    batches = section.any("profile_batch")
    value = batches.value
    if isinstance(value, str):
        value = [int(n) if n.strip().isdecimal() else n for n in value.split(",")]
    values = [0] if value is None else value if isinstance(value, list) else [value]
    whole = all(is_whole(n, least=0) for n in values)
    is_window = len(values) == 2 and whole and 1 <= values[0] <= values[1]
    if not is_window and not (len(values) == 1 and whole):
        section.fault("profile_batch", f"is {value}; give a batch, or [first, last]")
        return
    part.part("tensorboard").put("profile_batch", Given(values, batches.path), "traced batches")
