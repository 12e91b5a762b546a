"""MMoE V2 in a config: tower fields that follow from others, contradictions, unused settings."""

from collections.abc import Iterator

from tzmmoe.config.rulebook import Rules
from tzmmoe.errors import Faults, did_you_mean
from tzmmoe.models.mmoe_v2.crossing import IN_TOWERS, Crossing
from tzmmoe.protos.model_pb2 import MMoEV2
from tzmmoe.protos.pipeline_pb2 import Pipeline

PATH = "model_config.mmoe_v2"
# Settings of the wide side. All but these four count as unset when they equal their default.
CHOICES = ("wide_type", "wide_width", "feature_cross", "output_cross")
OF_A_MODEL = ("wide_l1_reg", "wide_l2_reg", "wide_per_task", "wide_output_is_prob")
OF_THE_SIDE = (
    *(*CHOICES, *OF_A_MODEL, "wide_group", "wide_use_bn", "wide_feature"),
    "dedup_cross_features",
)
OF_CLASSES = ("", "none", "linear", "softmax")  # activations under which logits stay logits


def fill_towers(pipeline: Pipeline, faults: Faults) -> dict[str, str]:
    """Set each tower's num_class and output_activation by task_structs and task_output_act.

    Returns {path set: path that it follows from}.
    """
    sources: dict[str, str] = {}
    config = pipeline.model_config.mmoe_v2
    for index, tower in enumerate(config.task_towers):
        derived: dict[str, tuple[str, int | str]] = {}  # field: path of its value, value
        units = config.task_structs[index].units if index < len(config.task_structs) else ()
        if units and units[-1]:  # the model refuses 0
            place = f"task_structs[{index}].units[{len(units) - 1}]"
            derived["num_class"] = place, units[-1]
        if config.HasField("task_output_act"):
            derived["output_activation"] = "task_output_act", config.task_output_act
        for name, (place, value) in derived.items():
            here = f"{PATH}.task_towers[{index}].{name}"
            if not tower.HasField(name):
                sources[here] = f"{PATH}.{place}"
            elif getattr(tower, name) != value:
                words = f"is {getattr(tower, name)}, but {place} makes it {value}; remove it here"
                faults.add(here, words)
            setattr(tower, name, value)
    config.ClearField("task_output_act")
    return sources


def check(pipeline: Pipeline, faults: Faults) -> None:
    """Add a fault for each contradiction."""
    model, config = pipeline.model_config, pipeline.model_config.mmoe_v2
    _check_relations(config, faults)
    names = [group.group_name for group in model.feature_groups]
    if not config.use_wide or config.wide_group in names:
        return
    wide, hint = config.wide_group, did_you_mean(config.wide_group, names)
    if config.HasField("wide_group"):
        words = f"{wide!r} is not in model_config.feature_groups; add it, or set use_wide: false"
        faults.add(f"{PATH}.wide_group", words + hint)
    elif config.HasField("use_wide"):
        words = f"is true, but there is no feature group {wide!r}; add it, or name it in wide_group"
        faults.add(f"{PATH}.use_wide", words + hint)


def _check_relations(config: MMoEV2, faults: Faults) -> None:
    for index, tower in enumerate(config.task_towers):
        for name, value in (
            ("relation_tower_names", bool(tower.relation_tower_names)),
            ("relation_mlp", tower.HasField("relation_mlp")),
        ):
            if value:
                words = "is set, but the towers of mmoe_v2 read no other towers; remove it"
                faults.add(f"{PATH}.task_towers[{index}].{name}", words)


def notes(pipeline: Pipeline) -> Iterator[str]:
    """A line for each setting without effect, or for several with the same reason."""
    model, config = pipeline.model_config, pipeline.model_config.mmoe_v2
    has_group = config.wide_group in [group.group_name for group in model.feature_groups]
    if not has_group and not config.HasField("use_wide"):
        yield f"mmoe_v2 has no wide side: there is no feature group {config.wide_group!r}"
    if config.use_wide and has_group:
        yield from _of_the_crosses(config)
        void = _void(config, crossing(config))
    else:
        void = dict.fromkeys(OF_THE_SIDE, " without a wide side")
    by_reason: dict[str, list[str]] = {}
    for name, reason in void.items():
        default = MMoEV2.DESCRIPTOR.fields_by_name[name].default_value
        if config.HasField(name) and (name in CHOICES or getattr(config, name) != default):
            by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        verb = "has" if len(names) == 1 else "have"
        yield f"mmoe_v2: {', '.join(names)} {verb} no effect{reason}"


def crossing(config: MMoEV2) -> Crossing:
    """Where the wide side enters the deep one."""
    names = ("feature_cross", "output_cross", "wide_type", "wide_feature")
    return Crossing.of(*(getattr(config, name) for name in names))


def _of_the_crosses(config: MMoEV2) -> Iterator[str]:
    """Lines for a feature_cross or output_cross that does not do what its number stands for."""
    enters, kind = crossing(config), f"wide_type {config.wide_type!r}"
    cross, added = config.feature_cross, config.output_cross
    if not enters.model and IN_TOWERS.get(cross) == "output":
        yield (
            f"mmoe_v2: feature_cross: {cross} acts as {cross - 1}: {kind} has no model, so towers "
            "see the wide features"
        )
    if not enters.model and added == 0:
        yield f"mmoe_v2: output_cross: 0 adds nothing: {kind} has no model"
    if not (enters.features or enters.output):
        yield (
            f"mmoe_v2: use_wide has no effect: with feature_cross: {cross}, output_cross: {added} "
            f"and {kind} nothing reads the wide side"
        )
    for tower in config.task_towers if enters.logits else ():
        if tower.num_class > 1 and tower.output_activation.lower() in OF_CLASSES:
            yield (
                f"mmoe_v2: output_cross: 0 changes nothing for {tower.tower_name!r}: one number "
                "more for all of its classes leaves their softmax as it is"
            )


def _void(config: MMoEV2, enters: Crossing) -> dict[str, str]:
    """The settings of a wide side that have no effect, with the reason."""
    kind = f" with wide_type: {config.wide_type!r}"
    void = {} if enters.model == "FM" else {"wide_width": kind}
    void |= {} if enters.model == "LR" else {"wide_use_bn": kind}
    void |= {} if enters.model else dict.fromkeys(OF_A_MODEL, kind)
    unread: dict[str, str] = {}
    if not enters.weights:
        names = ("wide_type",) if enters.model else ()
        names = (*names, "wide_width", "wide_l1_reg", "wide_l2_reg")
        unread |= dict.fromkeys(names, ": nothing reads the wide model")
    if not enters.output:
        names = ("wide_per_task", "wide_output_is_prob", "wide_use_bn")
        unread |= dict.fromkeys(names, ": nothing reads the wide model's output")
    if not enters.features:
        unread["wide_feature"] = ": nothing reads the wide features"
    if not enters.experts or enters.latents:
        reason = ": the embeddings of the wide group do not enter experts and gates"
        unread["dedup_cross_features"] = reason
    return unread | void


RULES = Rules(rewrite=fill_towers, check=check, notes=notes)
