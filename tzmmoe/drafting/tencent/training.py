"""train_args and eval_args -> model_dir, train_config and eval_config."""

import re
from collections.abc import Callable
from typing import Any

from tzmmoe.drafting.section import Entry, Keys, Section, is_whole
from tzmmoe.drafting.tencent.keys import OPTIMIZER, SPEED, STOPPING, TENSORBOARD, keys
from tzmmoe.drafting.tencent.metrics import of_towers, put_metrics
from tzmmoe.drafting.tencent.words import (
    OPTIMIZERS,
    OTHER_ARGUMENTS,
    OTHER_OPTIMIZERS,
    OptimizerWords,
    meant,
)
from tzmmoe.drafting.traced import TracedPart
from tzmmoe.errors import join

MOST_ROWS = 2**63 - 1
BATCH_SIZE = 128  # of a job that names none
RATES = ("learning_rate", "lr")
APART = "tables take the plain {word}; {names} act on the dense part alone (experts, gates, towers)"


def put_training(part: TracedPart, training: Section, *, has_validation: bool) -> None:
    """Everything of train_config."""
    _put_optimizer(part, training)
    epochs = training.whole("epochs", 1, least=1)
    part.put("num_epochs", epochs, "passes over the data")
    part.put("save_checkpoints_epochs", Entry(1), "save and evaluate after every pass")
    part.put("num_samples", training.whole("num_samples", None, 1, MOST_ROWS), "rows of an epoch")
    num_val_samples = training.whole("num_val_samples", None, 1, MOST_ROWS)
    if has_validation:
        part.put("num_val_samples", num_val_samples)
    else:
        training.idle("num_val_samples", "there is no val_data_args")
    mixed = training.flag("mix_precision")
    part.put("mixed_precision", Entry("FP16" if mixed.value else "", mixed.path))
    _stopping(part, training, has_validation)
    _speed(part, training)
    _tensorboard(part, training)


def put_model_dir(
    root: TracedPart, training: Section, name: str, place: Callable[[Entry], str]
) -> None:
    """Where the run writes: the job's folder for checkpoints, or one named after the model."""
    given = training.text("ckpt_path")
    if given.value:
        root.put("model_dir", Entry(place(given), given.path))
    else:
        plain = re.sub(r"[^\w\-.]+", "_", name)
        root.put("model_dir", Entry(f"experiments/{plain}"), "after model_args.name")


def put_evaluation(
    root: TracedPart, evaluation: Section, towers: dict[str, str], place: Callable[[Entry], str]
) -> None:
    """The final evaluation; ``towers`` are {label: tower}."""
    part = root.part("eval_config")
    if not root.message.test_input_path:
        evaluation.report.notes.append(
            "test_data_args is not set, so eval_args measures val_data_args"
        )
    part.put("batch_size", batch_size(evaluation), "changes no result")
    output = evaluation.text("output_file")
    if output.value:
        part.put("output_file", Entry(place(output), output.path))
    metrics = of_towers(evaluation, list(towers))
    for name, each in zip(towers.values(), metrics or [], strict=False):
        if each:
            own = part.part("task_metrics")
            own.set("name", name)
            put_metrics(own, each, evaluation)


def batch_size(section: Section) -> Entry:
    return section.whole("batch_size", BATCH_SIZE, least=1)


def _stopping(part: TracedPart, training: Section, has_validation: bool) -> None:
    if not training.has("early_stopping"):
        return
    section = training.section("early_stopping", STOPPING)
    if not has_validation:
        training.fault(
            "early_stopping", "needs val_data_args to watch; add it, or remove early_stopping"
        )
    stopping = part.part("early_stopping")
    stopping.put("monitor", section.text("monitor", "val_loss"))
    stopping.put("mode", section.text("mode", "auto"))
    stopping.put("patience", section.whole("patience", 0, least=0), "evaluations without gain")
    delta = section.number("min_delta", 0.0)
    stopping.put("min_delta", Entry(abs(delta.value), delta.path), "a gain is larger")
    if not section.flag("restore_best_weights", True).value:
        section.idle("restore_best_weights", "the best weights are always restored")
    stopping.put("restore_best_weights", Entry(True))


def _speed(part: TracedPart, training: Section) -> None:
    if not training.has("train_speed_logger"):
        return
    section = training.section("train_speed_logger", SPEED)
    logger = part.part("train_speed_logger")
    logger.put("every_batches", section.whole("every_batches", 100, least=1))
    logger.put("with_metrics", section.flag("with_metrics"))


def _tensorboard(part: TracedPart, training: Section) -> None:
    """Off unless the job asks for it, as in Keras."""
    given = training.any("tensorboard")
    part.put("use_tensorboard", Entry(bool(given), given.path))
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
    part.part("tensorboard").put("profile_batch", Entry(values, batches.path), "traced batches")


def _put_optimizer(part: TracedPart, training: Section) -> None:
    """One optimizer for everything, or one of tables and one of the rest where they must differ."""
    given = training.any("optimizer")
    section = _section(training, given.value)
    _put_grad_process(part, training, section)
    try:
        words = meant(section.text("type", "adam").value, OPTIMIZERS, OTHER_OPTIMIZERS)
    except ValueError as error:
        section.fault("type", str(error))
        return
    arguments = section.section("args", _keys(words))
    values = _values(arguments, words)
    own = _own(arguments, words)
    source = given.path if given else ""
    if not own:
        _put(part, "optimizer", words.word, values, source)
        return
    _put(part, "sparse_optimizer", words.word, values, source)
    decays = "weight_decay" in own
    _put(part, "dense_optimizer", words.decayed if decays else words.word, values | own, source)
    training.report.notes.append(APART.format(word=words.word, names=" and ".join(own)))


def _put_grad_process(part: TracedPart, training: Section, section: Section) -> None:
    """Told beside the optimizer, or in it."""
    if training.has("grad_process") and section.has("grad_process"):
        section.fault("grad_process", "is set beside the optimizer too; keep one")
    given = (section if section.has("grad_process") else training).text("grad_process")
    word = given.value.strip().lower()
    part.put("grad_process", Entry("" if word == "none" else word, given.path))


def _section(training: Section, value: Any) -> Section:
    """The optimizer as an object; a text is its type, a list of one is that one."""
    path = training.path_of("optimizer")
    if isinstance(value, list) and len(value) == 1:
        value, path = value[0], f"{path}[0]"
    if isinstance(value, list):
        training.fault(
            "optimizer", f"has {len(value)} optimizers, which is not supported; give one"
        )
        value = {}
    if isinstance(value, str | None):
        value = {"type": value}
    return Section(value, path, OPTIMIZER, training.faults, training.report)


def _keys(words: OptimizerWords) -> Keys:
    read = [*RATES, *words.arguments, *words.dense]
    foreign = [name for name in OTHER_ARGUMENTS.split() if name not in read]
    return keys(" ".join(read), "name", " ".join(foreign))


def _values(section: Section, words: OptimizerWords) -> dict[str, float]:
    """The schema's names and values of what tables and the dense part share."""
    if all(section.has(name) for name in RATES):
        section.fault("lr", "is set, and so is learning_rate; keep one")
    rate = "lr" if section.has("lr") else "learning_rate"
    values = {"lr": section.number(rate, words.lr, least=0).value}
    for name, (ours, default) in words.arguments.items():
        values[ours] = section.number(name, default).value
    return values


def _own(section: Section, words: OptimizerWords) -> dict[str, Any]:
    """What only the dense part can have, where it is not off."""
    values: dict[str, Any] = {}
    for name, (ours, default) in words.dense.items():
        is_flag = isinstance(default, bool)
        given = section.flag(name, default) if is_flag else section.number(name, default, least=0)
        values[ours] = given.value
    if values.get("nesterov") and not values["momentum"]:
        section.idle("nesterov", "momentum is not set")
        values["nesterov"] = False
    if values.get("momentum") and values.get("weight_decay"):
        section.fault("weight_decay", "is not supported together with momentum; keep one")
    return {name: value for name, value in values.items() if value}


def _put(part: TracedPart, name: str, word: str, values: dict[str, Any], source: str) -> None:
    optimizer = part.part(name)
    inner = optimizer.part(word)
    for field, value in values.items():
        inner.set(field, value)
    optimizer.part("constant_learning_rate")
    if source:
        optimizer.made_from(source)
        for each in ("sparse_optimizer", "dense_optimizer"):  # which the one becomes
            part.draft.origins[join(part.path, each)] = source
    else:
        optimizer.default(f"{word}, lr {values['lr']:g}")
