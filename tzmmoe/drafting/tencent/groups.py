"""Groups of the inputs -> the feature groups that the model reads."""

from tzmmoe.drafting.section import Entry, Section
from tzmmoe.drafting.tencent.inputs import LABELS, Inputs
from tzmmoe.drafting.traced import TracedPart
from tzmmoe.errors import Faults, did_you_mean, few

WIDE, DEEP = "wide", "mmoe"
NO_GROUP = "the inputs have no group wide"
ONE_LIST = "all features are in both groups, wide and mmoe"


def read_groups(inputs: Inputs, model: Section, faults: Faults) -> dict[str, list[str]]:
    """The features of each group that the model reads, in the order of the groups."""
    use_wide = model.flag("use_wide", True)
    if not inputs.definitions:  # they could not be read, which is a fault of its own
        return {}
    groups = inputs.groups
    if groups is None:
        groups = {WIDE: inputs.features, DEEP: inputs.features}
        if use_wide.value:
            model.report.notes.append(f"the inputs have no groups: {ONE_LIST}")
    wanted = [DEEP]
    if use_wide.value and WIDE in groups:
        wanted = [WIDE, DEEP]
    elif use_wide and use_wide.value:
        model.fault("use_wide", f"is true, but {NO_GROUP}{did_you_mean(WIDE, groups)}; add it")
    if DEEP not in groups:
        hint = did_you_mean(DEEP, groups)
        faults.add("inputs", f"has no group {DEEP}{hint}; name the features of the experts")
    _report_unused(inputs, groups, [*wanted, LABELS], model)
    found = {}
    for group in (group for group in wanted if group in groups):
        found[group] = [name for name in groups[group] if inputs.is_feature(name)]
        others = [name for name in groups[group] if not inputs.is_feature(name)]
        if others:
            model.report.notes.append(f"no features, and left out of {group}: {few(others, 20)}")
        if not found[group]:
            faults.add("inputs", f"the group {group} holds no features; name some")
    return found


def wide_side(groups: dict[str, list[str]], model: Section) -> Entry:
    """Whether there is a wide side; unset, it needs its group."""
    given = model.flag("use_wide", True)
    if given or WIDE in groups:
        return given
    model.report.notes.append(f"{NO_GROUP}: there is no wide side (use_wide: false)")
    return Entry(False)


def put_groups(
    groups: dict[str, list[str]], names: dict[str, str], model_config: TracedPart
) -> None:
    for group, columns in groups.items():
        part = model_config.part("feature_groups")
        part.set("group_name", group)
        part.put(
            "feature_names", Entry([names[name] for name in columns], f"inputs, group {group}")
        )
        part.set("group_type", part.message.group_type)


def _report_unused(
    inputs: Inputs, groups: dict[str, list[str]], wanted: list[str], model: Section
) -> None:
    """Name groups and definitions that the model does not read."""
    report = model.report
    for group in groups:
        if group not in wanted and inputs.groups is not None:
            why = "use_wide is false" if group == WIDE else "this model reads wide and mmoe"
            report.idle[f"inputs, group {group}"] = f"{why}{did_you_mean(group, (WIDE, DEEP))}"
    read = {name for group in wanted for name in groups.get(group, [])}
    unread = [name for name in inputs.features if name not in read]
    if unread:
        report.notes.append(f"in no group that is read, and left out: {few(unread, 20)}")
