"""Where the wide side of MMoE V2 enters the deep one."""

from dataclasses import dataclass

from tzmmoe.errors import Faults

IN_EXPERTS = (1, 2, 3)
IN_TOWERS = {2: "features", 3: "output", 4: "features", 5: "output"}


@dataclass(frozen=True)
class Crossing:
    """``experts``: whether experts and gates see the wide features x_w. ``towers``: what each sees:
    x_w ("features"), the wide model's output y_w ("output") or nothing (""). ``logits``: whether
    y_w is added to them. ``model``: FM, LR, or "" for none. ``latents``: whether x_w is FM's latent
    vectors, concatenated, instead of the embeddings."""

    experts: bool
    towers: str
    logits: bool
    model: str
    latents: bool

    @classmethod
    def of(
        cls, feature_cross: int, output_cross: int, wide_type: str, wide_feature: str
    ) -> "Crossing":
        """Without a wide model, x_w replaces y_w in the towers and nothing is added to logits.

        Raises ConfigError.
        """
        faults, model = Faults(), wide_type.upper() if wide_type.upper() in ("FM", "LR") else ""
        if feature_cross not in range(6):
            faults.add("feature_cross", f"is {feature_cross}; give 0 to 5")
        if wide_feature not in ("auto", "latents", "embeddings"):
            words = f"is {wide_feature!r}; give auto, latents or embeddings"
            faults.add("wide_feature", words)
        if wide_feature == "latents" and model != "FM":
            words = "is 'latents', which need wide_type 'FM'; give embeddings or auto"
            faults.add("wide_feature", words)
        faults.stop()
        towers = IN_TOWERS.get(feature_cross, "")
        return cls(
            experts=feature_cross in IN_EXPERTS,
            towers="features" if towers and not model else towers,
            logits=bool(model) and output_cross == 0,
            model=model,
            latents=model == "FM" and wide_feature != "embeddings",
        )

    @property
    def features(self) -> bool:
        """Whether anything sees x_w."""
        return self.experts or self.towers == "features"

    @property
    def output(self) -> bool:
        """Whether anything sees y_w."""
        return self.logits or self.towers == "output"

    @property
    def weights(self) -> bool:
        """Whether anything sees what the wide model learns: its output or its latents."""
        return self.output or (self.features and self.latents)
