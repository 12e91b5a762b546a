"""Activations: text such as ``nn.LeakyReLU(negative_slope=0.1)`` or ``Dice``, or Keras's names."""

from collections.abc import Collection

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
    """x where positive, a x elsewhere; a is learned for each of ``copies`` equal parts."""

    def __init__(self, channels: int, copies: int, init: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((copies,), init))
        self.width = channels // copies

    def forward(self, x_BC: Tensor) -> Tensor:
        return nn.functional.prelu(x_BC, self.weight.repeat_interleave(self.width))


# The layers of torch.nn that a config may name, and the arguments that it may give them.
TORCH = {
    name: getattr(nn, name)
    for name in ("ReLU", "LeakyReLU", "GELU", "SiLU", "ELU", "SELU", "Sigmoid", "Tanh", "PReLU")
}
ARGUMENTS = {"negative_slope", "alpha", "approximate", "init"}

# Keras 3's names, and two that ranking models add.
KERAS = {
    "relu": "nn.ReLU",
    "leaky_relu": "nn.LeakyReLU(negative_slope=0.2)",
    "lrelu": "nn.LeakyReLU(negative_slope=0.2)",
    "selu": "nn.SELU",
    "sigmoid": "nn.Sigmoid",
    "tanh": "nn.Tanh",
    "gelu": "nn.GELU",
    "swish": "nn.SiLU",
    "elu": "nn.ELU",
    "dice": "Dice",
    "prelu": "nn.PReLU",
    "none": "",
    "linear": "",
}
# EasyRec's names in its components. Two differ from Keras's: gelu is the approximation by tanh, and
# prelu has a fixed slope. Behind one of PATHS, a name is Keras's.
EASYREC = KERAS | {
    "gelu": "nn.GELU(approximate='tanh')",
    "prelu": "nn.LeakyReLU(negative_slope=0.2)",
}
PATHS = ("tf.nn.", "tf.keras.activations.", "tf.math.", "tf.")
OF_LOGITS = [*(name for name in KERAS if name not in ("dice", "prelu")), "softmax"]


def activation(text: str, channels: int, copies: int) -> nn.Module | None:
    """The layer for the C = ``channels`` units of ``copies`` networks; None for ``""``."""
    if not text:
        return None
    try:
        name, arguments = parse_call(text)
        if name in ("Dice", "nn.Dice"):
            check_arguments(Dice, arguments, set())
            return Dice(channels)
        short = name.removeprefix("torch.").removeprefix("nn.")
        if short not in TORCH:
            choices = ", ".join(["Dice", *(f"nn.{word}" for word in TORCH)])
            near = did_you_mean(short, TORCH)
            raise ValueError(f"unknown activation {name!r}; give one of {choices}{near}")
        check_arguments(TORCH[short], arguments, ARGUMENTS)
        if short == "PReLU":
            return PReLU(channels, copies, float(arguments.get("init", 0.25)))
        layer = TORCH[short](**arguments)
        layer(torch.zeros(1))  # torch checks the arguments only here
    except (ValueError, RuntimeError) as error:
        raise ConfigError.at("activation", f"{text!r}: {error}") from error
    return layer


def keras_activation(name: str) -> str:
    """What ``activation`` calls a name of ``KERAS``, in upper or lower case; ``""`` is none.

    Raises ConfigError without a path.
    """
    return KERAS[_one_of(KERAS, name)]


def easyrec_activation(name: str) -> str:
    """What ``activation`` calls a name of ``EASYREC``, or a path such as ``tf.nn.relu``.

    Raises ConfigError without a path.
    """
    path = next((path for path in PATHS if name.startswith(path)), "")
    if name.removeprefix(path).lower() == "softmax":
        words = f"is {name!r}, which is a layer here; write 'linear', and add a Softmax layer"
        raise ConfigError.saying(words)
    table = KERAS if path else EASYREC
    return table[_one_of(table, name.removeprefix(path))]


def output_activation(name: str) -> nn.Module | None:
    """The layer, for logits (B,) or (B, C), of a name of ``OF_LOGITS``; None for none.

    It has no parameters. Raises ConfigError without a path.
    """
    word = _one_of(OF_LOGITS, name)
    return nn.Softmax(dim=-1) if word == "softmax" else activation(KERAS[word], 1, 1)


def _one_of(choices: Collection[str], name: str) -> str:
    word = name.lower() or "none"
    if word not in choices:
        words = f"is {name!r}; give one of {', '.join(choices)}"
        raise ConfigError.at("", words + did_you_mean(word, choices))
    return word
