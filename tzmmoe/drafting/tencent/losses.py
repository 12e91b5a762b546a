"""train_args.losses -> the losses and weights of the towers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tzmmoe.drafting.section import Entry, Section
from tzmmoe.drafting.tencent.keys import LOSS, keys
from tzmmoe.drafting.tencent.labels import by_label
from tzmmoe.drafting.tencent.words import LOSSES, OTHER_LOSSES, meant
from tzmmoe.drafting.traced import TracedPart
from tzmmoe.errors import few

ARGUMENTS = {
    "binary_cross_entropy": {"label_smoothing": 0.0},
    "softmax_cross_entropy": {"label_smoothing": 0.0},
    "huber_loss": {"delta": 1.0},
}
OF_LOGITS = ("binary_cross_entropy", "softmax_cross_entropy")  # losses that may have from_logits
KLD = "kld of one logit is of two classes, p and 1 - p; in Keras it is y log(y / p) alone"
MEANS = ("auto", "sum_over_batch_size")


@dataclass(frozen=True)
class LossOfTower:
    """The loss's word and arguments, the tower's weight, and the key that says so."""

    word: str
    arguments: dict[str, float]
    weight: Entry
    path: str


def losses(
    training: Section, num_towers: int, labels: Sequence[str], acts: Sequence[str]
) -> list[LossOfTower]:
    """One for each tower; none after a fault. ``labels`` are the towers', none if they are not
    known; ``acts`` are the towers' output activations."""
    given = training.any("losses")
    path, values = given.path, given.value
    if not values:
        training.fault(
            "losses", "is not set; give one, such as bce, or a list of one for each task"
        )
        return []
    if not num_towers:
        return []
    if by_label(values):
        return _labelled(training, given, labels, acts)
    if isinstance(values, list) and len(values) == 1:
        path, values = f"{path}[0]", values[0]
    if not isinstance(values, list):
        found = _loss(training, path, values, acts)
        return [found] * num_towers if found else []
    if len(values) != num_towers:
        words = f"has {len(values)} losses for {num_towers} towers; give one for each"
        training.fault("losses", words)
        return []
    return _each(training, [(f"{path}[{i}]", value) for i, value in enumerate(values)], acts)


def _labelled(
    training: Section, given: Entry, labels: Sequence[str], acts: Sequence[str]
) -> list[LossOfTower]:
    lacking = [label for label in labels if not given.value.get(label)]
    if lacking:
        words = f"has none of {few(lacking)}; give a loss for the label of each tower"
        training.fault("losses", words)
        return []
    named = [(f"{given.path}.{label}", given.value[label]) for label in labels]
    return _each(training, named, acts)


def _each(
    training: Section, named: Sequence[tuple[str, Any]], acts: Sequence[str]
) -> list[LossOfTower]:
    """The losses at these paths, one for each activation."""
    pairs = zip(named, acts, strict=False)
    found = [_loss(training, path, value, [act]) for (path, value), act in pairs]
    return found if all(found) else []


def put_loss(tower: TracedPart, loss: LossOfTower, num_class: int) -> None:
    """The loss and the weight of one tower."""
    if loss.word == "kld_loss" and num_class == 1:
        tower.note(KLD)
    owner = tower.part("losses")
    inner = owner.part(loss.word)
    for name, value in loss.arguments.items():
        inner.set(name, value)
    owner.made_from(loss.path, loss.word)
    if loss.weight:
        tower.put("weight", loss.weight)
    else:
        tower.set("weight", loss.weight.value)


def _loss(training: Section, path: str, value: Any, acts: Sequence[str]) -> LossOfTower | None:
    if isinstance(value, str):
        value = {"type": value}
    section = Section(value, path, LOSS, training.faults, training.report)
    if not section.text("type").value.strip():
        section.fault("type", "is not set; name the loss")
        return None
    try:
        word = meant(section.text("type").value, LOSSES, OTHER_LOSSES)
    except ValueError as error:
        section.fault("type", str(error))
        return None
    return LossOfTower(word, _arguments(section, word, acts), section.number("weight", 1.0), path)


def _arguments(section: Section, word: str, acts: Sequence[str]) -> dict[str, float]:
    """Arguments by the schema's names, all of them."""
    defaults = ARGUMENTS.get(word, {})
    logits = ("from_logits",) if word in OF_LOGITS else ()
    known = keys(" ".join([*defaults, *logits, "reduction"]), "name", "axis ignore_class")
    given = section.section("args", known)
    linked = [act for act in acts if act in ("sigmoid", "softmax")]
    if given.flag("from_logits").value and linked:
        given.fault("from_logits", f"is true, but task_output_act is {linked[0]}; remove one")
    reduction = given.text("reduction", MEANS[0])
    if reduction.value not in MEANS:
        given.fault("reduction", f"is {reduction.value!r}, which is not supported; remove it")
    return {name: given.number(name, default).value for name, default in defaults.items()}
