"""Which tower learns which label."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tzmmoe.drafting.section import Section
from tzmmoe.errors import ConfigError, did_you_mean, few


@dataclass(frozen=True)
class Binding:
    """The label of each tower, in the order of task_structs; why; and the labels left over."""

    labels: list[str]
    why: str
    unused: list[str]


def bind(
    labels: Sequence[str], num_towers: int, measured: Sequence[str], chosen: Sequence[str] | None
) -> Binding:
    """``measured`` are the labels that have metrics, ``chosen`` those of --labels.

    Raises:
        ConfigError: these do not determine the labels of the towers.
    """
    if chosen is not None:
        taken, why = _chosen(chosen, labels, num_towers), "as --labels says"
    elif len(labels) == num_towers:
        taken, why = list(labels), "one tower for each label, in their order"
    else:
        taken = [label for label in labels if label in measured]
        why = f"of {len(labels)} labels, those with metrics, in the order of the labels"
        if len(taken) != num_towers:
            raise ConfigError.at(
                "job_detail.model_args.task_structs",
                f"has {num_towers} towers for {len(labels)} labels ({few(labels)}), of which "
                f"{len(taken)} have metrics; name the labels of the towers with --labels",
            )
    return Binding(taken, why, [label for label in labels if label not in taken])


def _chosen(chosen: Sequence[str], labels: Sequence[str], num_towers: int) -> list[str]:
    for name in chosen:
        if name not in labels:
            raise ConfigError.at(
                "--labels",
                f"{name!r} is not a label; choose from {few(labels)}{did_you_mean(name, labels)}",
            )
    if len(set(chosen)) < len(chosen):
        raise ConfigError.at("--labels", "names a label twice; remove one")
    if len(chosen) != num_towers:
        words = f"names {len(chosen)} labels for {num_towers} towers; give one for each"
        raise ConfigError.at("--labels", words)
    return list(chosen)


def by_label(value: Any) -> bool:
    """Whether losses or metrics are an object with a key for each label."""
    return isinstance(value, dict) and "type" not in value


def check_labels(section: Section, name: str, learned: Sequence[str], known: Sequence[str]) -> None:
    """Find faults of a key whose value goes by label; report labels that no tower learns."""
    given = section.any(name)
    for label in given.value if by_label(given.value) else ():
        path = f"{given.path}.{label}"
        if label not in known:
            hint = did_you_mean(label, [*known, "type"]) or "; set its is_label, or remove it here"
            section.faults.add(path, f"{label!r} is not a label of the inputs{hint}")
        elif label not in learned:
            section.report.idle[path] = "no tower learns this label"
