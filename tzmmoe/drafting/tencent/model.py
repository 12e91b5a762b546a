"""model_args -> model_config { mmoe_v2 { ... } }."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tzmmoe.drafting.section import Entry, Section, is_number, is_whole, shown
from tzmmoe.drafting.tencent.groups import DEEP, WIDE, wide_side
from tzmmoe.drafting.tencent.words import ACTIVATIONS, OF_LOGITS, meant
from tzmmoe.drafting.traced import TracedPart
from tzmmoe.errors import did_you_mean
from tzmmoe.textformat.scalars import json_kind

OF_WIDE = ("wide_type", "wide_width", "feature_cross", "output_cross")
PRELU = "prelu begins at a slope of 0.25, one for all units of a layer; in Keras at 0, one for each"
CROSSES = 5  # feature_cross goes up to it
UNSET = {
    "feature_cross": "0, experts and towers see the deep side alone",
    "output_cross": "0, the wide model's output is added to the logits",
}


def structs(model: Section) -> list[list[int]]:
    """Widths of each tower; none after a fault."""
    value = model.any("task_structs")
    if not value:
        model.fault("task_structs", "is not set; give the widths of each tower, [[64, 16, 1]]")
        return []
    if not isinstance(value.value, list) or not value.value:
        model.fault(
            "task_structs", f"is {shown(value.value)}; give a list of the widths of each tower"
        )
        return []
    found = [_widths(model, f"{value.path}[{i}]", each) for i, each in enumerate(value.value)]
    return found if all(found) else []


def put_model(
    part: TracedPart, model: Section, towers: list[list[int]], groups: dict[str, list[str]]
) -> None:
    """All fields of mmoe_v2 but its towers; ``groups`` are those that are read."""
    part.put("name", model.text("name", "mmoe v2"))
    put_structs(part, model, towers)
    part.put("task_use_bias", model.flag("task_use_bias", True))
    _regularization(part, model, "task")
    num_experts = model.whole("num_experts", None, least=1)
    if not num_experts:
        model.fault("num_experts", "is not set; give the number of experts")
    part.put("num_experts", num_experts)
    widths = model.any("expert_layers")
    if not widths:
        model.fault("expert_layers", "is not set; give the widths of an expert's layers")
        layers = []
    else:
        layers = _widths(model, widths.path, widths.value)
    part.put("expert_layers", Entry(layers, widths.path))
    part.put("expert_use_bias", model.flag("expert_use_bias", True))
    for name, kind in LISTS.items():
        part.put(f"expert_{name}", of_network(model, f"expert_{name}", kind, len(layers)))
    _regularization(part, model, "expert")
    part.put("gate_use_bias", model.flag("gate_use_bias", True))
    _regularization(part, model, "gate")
    part.put("share_gates", model.flag("share_gates"))
    _put_wide(part, model, groups)
    config = part.message
    acts = [*config.expert_act, *config.task_hidden_act]
    if "prelu" in [*acts, *(act for each in config.task_structs for act in each.hidden_act)]:
        model.report.notes.append(PRELU)


def put_structs(part: TracedPart, model: Section, towers: list[list[int]]) -> None:
    """Widths and settings of the towers' layers."""
    entries = [part.part("task_structs") for _ in towers]
    for index, (entry, widths) in enumerate(zip(entries, towers, strict=True)):
        entry.put("units", Entry(widths, f"{model.path}.task_structs[{index}]"))
    depths = [len(widths) - 1 for widths in towers]
    for name, kind in (("hidden_act", ACT), ("dropout", DROPOUT), ("use_bn", BN)):
        shared, own = of_towers(model, f"task_{name}", kind, depths)
        part.put(f"task_{name}", shared)
        for entry, values, depth in zip(entries, own, depths, strict=False):
            if depth:
                entry.put(name, values)


def output_acts(model: Section, num_towers: int) -> list[str]:
    """Activation of each tower's last layer."""
    value = model.any("task_output_act").value
    values = value if isinstance(value, list) else [value] * num_towers
    if len(values) != num_towers:
        words = f"has {len(values)} names for {num_towers} towers; give one for each"
        model.fault("task_output_act", words)
        return ["none"] * num_towers
    found = []
    for each in values:
        try:
            if not isinstance(each, str | None):
                raise ValueError(f"is {json_kind(each)}; give a name such as sigmoid, or none")
            found.append(meant(each or "none", OF_LOGITS, "dice prelu"))
        except ValueError as error:
            model.fault("task_output_act", str(error))
            return ["none"] * num_towers
    return found


def _widths(model: Section, path: str, value: Any) -> list[int]:
    widths = value if isinstance(value, list) else []
    if not widths or not all(is_whole(width) for width in widths):
        model.faults.add(path, f"is {shown(value)}; give a list of widths above 0")
        return []
    return [int(width) for width in widths]


def _regularization(part: TracedPart, model: Section, owner: str) -> None:
    """L1 and L2; null is 0."""
    for name in (f"{owner}_l1_reg", f"{owner}_l2_reg"):
        part.put(name, model.number(name, 0.0, least=0))


def _put_wide(part: TracedPart, model: Section, groups: dict[str, list[str]]) -> None:
    """The wide side; settings that cannot have an effect are left out."""
    use_wide, kind = wide_side(groups, model), _wide_type(model)
    width = model.whole("wide_width", 8, least=1)
    feature_cross, output_cross = model.whole("feature_cross", 0), model.whole("output_cross", 0)
    if feature_cross.value not in range(CROSSES + 1):
        model.fault("feature_cross", f"is {feature_cross.value}; give 0 to {CROSSES}")
    part.put("use_wide", use_wide)
    part.put("mmoe_group", Entry(DEEP))
    _report_wide(model, use_wide.value, kind.value, feature_cross.value, output_cross.value)
    if not use_wide.value:
        return
    part.put("wide_group", Entry(WIDE))
    part.put("wide_type", kind, "" if kind.value in ("FM", "LR") else "no wide model")
    part.put("feature_cross", feature_cross, "where x_w and y_w enter")
    part.put("output_cross", output_cross, "at 0, y_w is added to the logits")
    part.put("wide_feature", Entry("auto"), "x_w: latents for FM, embeddings otherwise")
    part.put("dedup_cross_features", Entry(True))
    if kind.value == "FM":
        part.put("wide_width", width)
    if kind.value == "LR":
        part.put("wide_use_bn", Entry(False))
    if kind.value in ("FM", "LR"):
        _regularization(part, model, "wide")
        part.put("wide_per_task", Entry(False), "one y_w for all towers")
        part.put("wide_output_is_prob", Entry(False), "y_w is a logit")
    for name, given in (("feature_cross", feature_cross), ("output_cross", output_cross)):
        if not given:
            words = f"{name} is not set: {UNSET[name]}; where the job comes from, the wide side"
            model.report.notes.append(f"{words} would not take part")


def _wide_type(model: Section) -> Entry:
    """FM and LR in any case, and with blanks; anything else means no wide model."""
    if "wide_type" not in model.value:
        return Entry("FM")
    value, path = model.value["wide_type"], model.path_of("wide_type")
    text = "none" if value is None else value
    if not isinstance(text, str):
        model.fault("wide_type", f"is {json_kind(value)}; give FM, LR, or another name for none")
        return Entry("none", path)
    plain = re.sub(r"\s", "", text).upper()
    if plain in ("FM", "LR"):
        return Entry(plain, path)
    hint = did_you_mean(plain, ("FM", "LR"))
    words = f"{path} is {text!r}, neither FM nor LR: the wide side has no model{hint}"
    model.report.notes.append(words)
    return Entry(text or "none", path)


def _report_wide(
    model: Section, use_wide: bool, kind: str, feature_cross: int, output_cross: int
) -> None:
    """Name the settings of the wide side that change nothing."""
    regularization = [n for n in ("wide_l1_reg", "wide_l2_reg") if model.value.get(n)]
    if not use_wide:
        for name in (*OF_WIDE, *regularization):
            model.idle(name, "there is no wide side")
        return
    if kind != "FM":
        model.idle("wide_width", "it is FM's")
    if kind in ("FM", "LR"):
        if feature_cross == 0 and output_cross != 0:
            words = f"feature_cross 0 with output_cross {output_cross}"
            model.report.notes.append(f"{words}: the wide side enters nowhere")
        return
    for name in regularization:
        model.idle(name, "there is no wide model")
    model.idle("output_cross", "there is no wide model whose output could be added")
    if feature_cross in (3, 5):
        words = f"feature_cross {feature_cross} without a wide model is {feature_cross - 1}"
        model.report.notes.append(f"{words}: towers see the wide features")
    if feature_cross == 0:
        words = "feature_cross 0 without a wide model"
        model.report.notes.append(f"{words}: the wide side enters nowhere")


@dataclass(frozen=True)
class Kind:
    """A setting of a layer: how a value is read, what null and a layer beyond the list's end get,
    and the default."""

    read: Callable[[Any], Any]
    none: Any
    default: Any


def _activation(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"is {json_kind(value)}; give a name such as relu, or none")
    return meant(value, ACTIVATIONS)


def _chance(value: Any) -> float:
    if not is_number(value) or not 0 <= value < 1:
        raise ValueError(f"is {json_kind(value)}; give a number in [0, 1)")
    return float(value)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"is {json_kind(value)}; give true or false")
    return value


ACT = Kind(_activation, "none", "relu")
DROPOUT = Kind(_chance, 0.0, 0.0)
BN = Kind(_switch, False, False)
LISTS = {"act": ACT, "dropout": DROPOUT, "use_bn": BN}


def of_network(section: Section, name: str, kind: Kind, num_layers: int) -> Entry:
    """Values for the layers of one network: one for all, or one for each."""
    if name not in section.value:
        return Entry([kind.default])
    path = section.path_of(name)
    return Entry(_filled(section, path, section.value[name], kind, num_layers), path)


def of_towers(
    section: Section, name: str, kind: Kind, depths: Sequence[int]
) -> tuple[Entry, list[Entry]]:
    """Values for the hidden layers of all towers, and each tower's own where they differ.

    ``depths``: their numbers of hidden layers. A list in the list is one tower's own, as is every
    element beside it.
    """
    value, path = section.value.get(name), section.path_of(name)
    nested = isinstance(value, list) and any(isinstance(each, list) for each in value)
    if nested and len(value) != len(depths):
        words = f"has {len(value)} lists for {len(depths)} towers; give one for each"
        section.fault(name, words)
        return Entry([kind.default]), []
    if not nested and (not isinstance(value, list) or len(set(depths)) == 1):
        return of_network(section, name, kind, max(depths, default=0)), []
    values = value if nested else [value] * len(depths)
    own = [
        Entry(_filled(section, f"{path}[{i}]" if nested else path, each, kind, depth), path)
        for i, (each, depth) in enumerate(zip(values, depths, strict=True))
    ]
    return Entry(None), own


def _filled(section: Section, path: str, value: Any, kind: Kind, num_layers: int) -> list[Any]:
    """A list is cut, or filled up to the last layer: ["relu"] is the first layer's alone."""
    if not isinstance(value, list):
        return [_read(section, path, value, kind)]
    values = [_read(section, f"{path}[{i}]", each, kind) for i, each in enumerate(value)]
    if len(values) > num_layers:
        surplus = f"{len(values) - num_layers} of {len(values)} values"
        section.report.idle[path] = f"{surplus}, for there are {num_layers} layers"
    values = [*values, *[kind.none] * (num_layers - len(values))]
    return values[: max(num_layers, 0)] or [kind.none]


def _read(section: Section, path: str, value: Any, kind: Kind) -> Any:
    if value is None:
        return kind.none
    try:
        return kind.read(value)
    except ValueError as error:
        section.faults.add(path, str(error))
        return kind.none
