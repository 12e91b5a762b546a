"""MMoE V2 in a config: what its fields say of the towers, what they contradict, what is void."""

from collections.abc import Iterator

from tzmmoe.errors import Faults, did_you_mean
from tzmmoe.protos.model_pb2 import MMoEV2, ModelConfig
from tzmmoe.protos.pipeline_pb2 import Pipeline

PATH = "model_config.mmoe_v2"
OF_THE_SIDE = (
    *("wide_type", "wide_width", "feature_cross", "output_cross", "wide_l1_reg", "wide_l2_reg"),
    *("wide_per_task", "wide_output_is_prob", "wide_use_bn", "wide_feature"),
    "dedup_cross_features",
)
OF_CLASSES = ("", "none", "linear", "softmax")  # activations under which logits stay logits
OF_A_MODEL = ("wide_l1_reg", "wide_l2_reg", "wide_per_task", "wide_output_is_prob")


def spread(pipeline: Pipeline, faults: Faults) -> dict[str, str]:
    """Give each tower its num_class and output_activation from task_structs and task_output_act; the
    paths that this fills, with those it reads."""
    written: dict[str, str] = {}
    if pipeline.model_config.WhichOneof("model") != "mmoe_v2":
        return written
    config = pipeline.model_config.mmoe_v2
    for index, tower in enumerate(config.task_towers):
        meant: dict[str, tuple[str, int | str]] = {}  # and where it stands
        units = config.task_structs[index].units if index < len(config.task_structs) else ()
        if units and units[-1]:  # the model refuses 0
            place = f"task_structs[{index}].units[{len(units) - 1}]"
            meant["num_class"] = place, units[-1]
        if config.HasField("task_output_act"):
            meant["output_activation"] = "task_output_act", config.task_output_act
        for name, (place, value) in meant.items():
            here = f"{PATH}.task_towers[{index}].{name}"
            if not tower.HasField(name):
                written[here] = f"{PATH}.{place}"
            elif getattr(tower, name) != value:
                words = f"is {getattr(tower, name)}, but by {place} it is {value}; remove it here"
                faults.add(here, words)
            setattr(tower, name, value)
    config.ClearField("task_output_act")
    return written


def check(model: ModelConfig, faults: Faults) -> None:
    """Add what contradicts itself."""
    config = model.mmoe_v2
    for index, tower in enumerate(config.task_towers):
        if tower.HasField("mlp"):
            words = "has no effect in mmoe_v2: task_structs gives the layers; remove it"
            faults.add(f"{PATH}.task_towers[{index}].mlp", words)
    names = [group.group_name for group in model.feature_groups]
    if config.HasField("use_wide") and config.use_wide and config.wide_group not in names:
        faults.add(
            f"{PATH}.use_wide",
            f"is true, but there is no feature group {config.wide_group!r}"
            f"{did_you_mean(config.wide_group, names)}; add it, or name it by wide_group",
        )


def notes(model: ModelConfig) -> Iterator[str]:
    """A line for each setting without effect."""
    if model.WhichOneof("model") != "mmoe_v2":
        return
    config = model.mmoe_v2
    has_group = config.wide_group in [group.group_name for group in model.feature_groups]
    if not has_group and not config.HasField("use_wide"):
        yield f"mmoe_v2 has no wide side: there is no feature group {config.wide_group!r}"
    if not (config.use_wide and has_group):
        void, why = OF_THE_SIDE, "without a wide side"
    else:
        void, why = _void_of(config), f"with wide_type: {config.wide_type!r}"
    given = [name for name in void if config.HasField(name)]
    if given:
        yield f"mmoe_v2: {', '.join(given)} {_verb(given)} no effect {why}"
    if config.use_wide and has_group and _has_model(config) and config.output_cross == 0:
        for tower in config.task_towers:
            if tower.num_class > 1 and tower.output_activation.lower() in OF_CLASSES:
                yield (
                    f"mmoe_v2: output_cross: 0 changes nothing for {tower.tower_name!r}: one "
                    "number more for all of its classes leaves their softmax as it is"
                )


def _void_of(config: MMoEV2) -> list[str]:
    """Settings that the kind of the wide model makes void."""
    kind = config.wide_type.upper()
    void = [] if kind == "FM" else ["wide_width"]
    void += [] if kind == "LR" else ["wide_use_bn"]
    return void + ([] if _has_model(config) else list(OF_A_MODEL))


def _has_model(config: MMoEV2) -> bool:
    return config.wide_type.upper() in ("FM", "LR")


def _verb(names: list[str]) -> str:
    return "has" if len(names) == 1 else "have"
