"""train_args.optimizer -> the optimizers of train_config."""

from typing import Any

from tzmmoe.convert.draft import Part
from tzmmoe.convert.keys import OPTIMIZER, Keys
from tzmmoe.convert.section import Given, Section
from tzmmoe.convert.words import (
    OPTIMIZERS,
    OTHER_ARGUMENTS,
    OTHER_OPTIMIZERS,
    OptimizerWords,
    meant,
)
from tzmmoe.errors import join

RATES = ("learning_rate", "lr")
APART = "tables take the plain {word}; {names} act on the dense part alone (experts, gates, towers)"


def put_optimizer(part: Part, training: Section) -> None:
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


def _put_grad_process(part: Part, training: Section, section: Section) -> None:
    """Told beside the optimizer, or in it."""
    if training.has("grad_process") and section.has("grad_process"):
        section.fault("grad_process", "is set beside the optimizer too; keep one")
    given = (section if section.has("grad_process") else training).text("grad_process")
    word = given.value.strip().lower()
    part.put("grad_process", Given("" if word == "none" else word, given.path))


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
    read = (*RATES, *words.arguments, *words.dense)
    foreign = tuple(name for name in OTHER_ARGUMENTS.split() if name not in read)
    return Keys(read, ("name",), foreign)


def _values(section: Section, words: OptimizerWords) -> dict[str, float]:
    """The schema's names and values of what tables and the dense part share."""
    if all(section.has(name) for name in RATES):
        section.fault("lr", "and learning_rate are both set; keep one")
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
        section.idle("nesterov", "there is no momentum")
        values["nesterov"] = False
    if values.get("momentum") and values.get("weight_decay"):
        section.fault("weight_decay", "is not supported together with momentum; keep one")
    return {name: value for name, value in values.items() if value}


def _put(part: Part, name: str, word: str, values: dict[str, Any], source: str) -> None:
    optimizer = part.part(name)
    inner = optimizer.part(word)
    for field, value in values.items():
        inner.set(field, value)
    optimizer.part("constant_learning_rate")
    if source:
        optimizer.told(source)
        for each in ("sparse_optimizer", "dense_optimizer"):  # which the one becomes
            part.draft.origins[join(part.path, each)] = source
    else:
        optimizer.draft.mark(optimizer.path, "")
        optimizer.draft.report.defaults[optimizer.path] = f"{word}, lr {values['lr']:g}"
