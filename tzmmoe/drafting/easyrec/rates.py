"""learning_rate: the first rate, and how it changes."""

from dataclasses import dataclass
from typing import Any

from tzmmoe.drafting.easyrec.source import Part
from tzmmoe.drafting.traced import TracedPart

NEAR = "give exponential_decay_learning_rate or cosine_decay_learning_rate"
OTHERS = {
    "poly_decay_learning_rate": f"decay by a power is not supported; {NEAR}",
    "transformer_learning_rate": f"decay by the root of the steps is not supported; {NEAR}",
}
RATES = ("warmup_learning_rate", "min_learning_rate", "learning_rates")  # fields that hold rates


@dataclass(frozen=True)
class Rate:
    """The base rate, our word for its schedule, and the fields of that."""

    lr: float
    word: str
    fields: dict[str, Any]

    @classmethod
    def of(cls, optimizer: Part) -> "Rate":
        """Of an optimizer; a constant one after a fault."""
        outer = optimizer.part("learning_rate")
        word = outer.message.WhichOneof("learning_rate")
        if word is None:
            words = "is not set; give constant_learning_rate { learning_rate: 0.001 }"
            optimizer.fault("learning_rate", words)
        elif word in OTHERS:
            outer.fault(word, OTHERS[word])
        else:
            return SCHEDULES[word](outer.part(word))
        return cls(1.0, "constant_learning_rate", {})


def put_rate(target: TracedPart, rate: Rate, factor: float) -> None:
    """Write the schedule into an optimizer; all its rates are multiplied by the factor."""
    made = target.part(rate.word)
    for name, value in rate.fields.items():
        field = made.message.DESCRIPTOR.fields_by_name[name]
        if name in RATES:
            value = [number * factor for number in value] if field.is_repeated else value * factor
        if field.is_repeated or value != field.default_value:
            made.set(name, value)


def _constant(part: Part) -> Rate:
    return Rate(part.value("learning_rate"), "constant_learning_rate", {})


def _exponential(part: Part) -> Rate:
    lr, warmup = part.value("initial_learning_rate"), part.value("burnin_steps")
    fields = {
        "decay_size": part.value("decay_steps"),
        "decay_factor": part.value("decay_factor"),
        "staircase": part.value("staircase"),
        "min_learning_rate": part.value("min_learning_rate"),
    }
    if warmup:  # a burn-in from 0 holds the rate
        first = part.value("burnin_learning_rate") or lr
        fields |= {"warmup_size": warmup, "warmup_learning_rate": first}
    return Rate(lr, "exponential_decay_learning_rate", fields)


def _manual(part: Part) -> Rate:
    """A rate holds from its step on; ours, from the step after schedule_sizes on."""
    warms = part.value("warmup")
    schedule = part.parts("schedule")
    steps = [entry.value("step") for entry in schedule]
    if not steps or min(steps) < 1:
        part.fault("schedule", "needs steps of 1 or more; give schedule { step: learning_rate: }")
        steps = [max(step, 1) for step in steps]
    # A warm-up ends at its step exactly, where both forms have the new rate.
    sizes = [step if warms and index == 0 else step - 1 for index, step in enumerate(steps)]
    fields = {
        "schedule_sizes": sizes,
        "learning_rates": [entry.value("learning_rate") for entry in schedule],
        "warmup": warms,
    }
    return Rate(part.value("initial_learning_rate"), "manual_step_learning_rate", fields)


def _cosine(part: Part) -> Rate:
    total, warmup = part.value("total_steps"), part.value("warmup_steps")
    part.refuse({"hold_base_rate_steps": "is not supported; give a longer warmup_steps"})
    if total <= warmup:
        part.fault("total_steps", f"is {total}; give more than warmup_steps, which is {warmup}")
    fields = {"T_max": max(total - warmup, 1)}
    if warmup:
        first = part.value("warmup_learning_rate")
        fields |= {"warmup_size": warmup, "warmup_learning_rate": first}
    return Rate(part.value("learning_rate_base"), "cosine_annealing_learning_rate", fields)


SCHEDULES = {
    "constant_learning_rate": _constant,
    "exponential_decay_learning_rate": _exponential,
    "manual_step_learning_rate": _manual,
    "cosine_decay_learning_rate": _cosine,
}
