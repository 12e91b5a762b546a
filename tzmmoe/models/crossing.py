"""Where the wide side of MMoE V2 enters the deep one."""

from collections.abc import Iterator
from dataclasses import dataclass

from tzmmoe.errors import ConfigError

IN_EXPERTS = (1, 2, 3)
IN_TOWERS = {2: "features", 3: "output", 4: "features", 5: "output"}


@dataclass(frozen=True)
class Crossing:
    """``experts``: experts and gates see the wide features x_w. ``towers``: what towers see, x_w
    ("features"), the wide model's output y_w ("output") or nothing (""). ``logits``: y_w is added
    to them."""

    experts: bool
    towers: str
    logits: bool

    @classmethod
    def of(cls, feature_cross: int, output_cross: int, *, has_model: bool) -> "Crossing":
        """Without a wide model x_w takes the place of y_w in the towers, and nothing is added."""
        if feature_cross not in range(6):
            raise ConfigError.at("feature_cross", f"is {feature_cross}; give 0 to 5")
        towers = IN_TOWERS.get(feature_cross, "")
        if towers and not has_model:
            towers = "features"
        return cls(feature_cross in IN_EXPERTS, towers, has_model and output_cross == 0)

    @property
    def features(self) -> bool:
        """Something sees x_w."""
        return self.experts or self.towers == "features"

    @property
    def output(self) -> bool:
        """Something sees y_w."""
        return self.logits or self.towers == "output"


def without_effect(
    feature_cross: int, output_cross: int, wide_type: str, *, has_model: bool
) -> Iterator[str]:
    """A line for each setting of a wide side that another one makes void."""
    crossing = Crossing.of(feature_cross, output_cross, has_model=has_model)
    if not has_model and IN_TOWERS.get(feature_cross) == "output":
        yield (
            f"feature_cross: {feature_cross} acts as {feature_cross - 1}: wide_type {wide_type!r} "
            "has no model, so towers see the wide features"
        )
    if not has_model and output_cross == 0:
        yield f"output_cross: 0 adds nothing: wide_type {wide_type!r} has no model"
    if not crossing.features and not crossing.output:
        yield (
            f"use_wide has no effect: with feature_cross: {feature_cross}, output_cross: "
            f"{output_cross} and wide_type {wide_type!r} nothing reads the wide side"
        )
