"""``nn.ReLU``, ``nn.LeakyReLU(negative_slope=0.1)``, ``Dice`` -> a layer."""

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError, did_you_mean
from tzmmoe.nn.calls import check_arguments, parse_call
from tzmmoe.nn.norms import BatchNorm


class Dice(nn.Module):
    """p x + (1 - p) alpha x with p = sigmoid(batch norm of x), for each of C channels.

    Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, eq. 3-4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = BatchNorm(channels, affine=False)
        self.alpha = nn.Parameter(torch.zeros(channels))

    def forward(self, x_BC: Tensor) -> Tensor:
        p = torch.sigmoid(self.norm(x_BC))
        return self.alpha * (1 - p) * x_BC + p * x_BC


class PReLU(nn.Module):
    """x where positive, a x elsewhere, with one learned a for each of ``copies`` equal parts."""

    def __init__(self, channels: int, copies: int, init: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((copies,), init))
        self.width = channels // copies

    def forward(self, x_BC: Tensor) -> Tensor:
        return nn.functional.prelu(x_BC, self.weight.repeat_interleave(self.width))


KNOWN = {
    name: getattr(nn, name)
    for name in ("ReLU", "LeakyReLU", "GELU", "SiLU", "ELU", "SELU", "Sigmoid", "Tanh", "PReLU")
}
ARGUMENTS = {"negative_slope", "alpha", "approximate", "init"}


def activation(text: str, channels: int, copies: int) -> nn.Module | None:
    """The layer for C = ``channels`` units of ``copies`` networks side by side; None for ``""``."""
    if not text:
        return None
    try:
        name, arguments = parse_call(text)
        if name in ("Dice", "nn.Dice"):
            check_arguments(Dice, arguments, set())
            return Dice(channels)
        short = name.removeprefix("torch.").removeprefix("nn.")
        if short not in KNOWN:
            known = ", ".join(["Dice", *(f"nn.{each}" for each in KNOWN)])
            raise ValueError(f"no activation {name!r}{did_you_mean(short, KNOWN)}; known: {known}")
        check_arguments(KNOWN[short], arguments, ARGUMENTS)
        if short == "PReLU":
            return PReLU(channels, copies, float(arguments.get("init", 0.25)))
        layer = KNOWN[short](**arguments)
        layer(torch.zeros(1))  # torch looks at words only when it computes
    except (ValueError, RuntimeError) as error:
        raise ConfigError.at("activation", f"{text!r}: {error}") from error
    return layer
