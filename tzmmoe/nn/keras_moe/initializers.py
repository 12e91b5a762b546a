"""Keras 3's initializers by name: functions of a shape that give values.

A kernel has Keras's shape (inputs, outputs), a bias (outputs,). Formulas:
https://keras.io/api/layers/initializers. Without STFT, which is for kernels of convolutions.
"""

import inspect
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError
from tzmmoe.nn.initializers import CUT_SPREAD, SPREAD, fans
from tzmmoe.nn.keras_moe.lookup import by_names, check_choice, check_number, look_up

Shape = Sequence[int]
Initializer = Callable[..., Tensor]  # of a shape and dtype=


class Constant:
    """``value`` everywhere, or an array that is broadcast."""

    def __init__(self, *, value: object = 0.0) -> None:
        try:
            self.value = torch.as_tensor(value, device="cpu")
        except (TypeError, ValueError, RuntimeError) as error:
            words = f"is {value!r}; give a number or an array of numbers"
            raise ConfigError.at("config.value", words) from error

    def __call__(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        try:
            return self.value.to(dtype).expand(tuple(shape)).clone()
        except RuntimeError as error:
            words = f"of shape {tuple(self.value.shape)} cannot be broadcast to {tuple(shape)}"
            raise ConfigError.at("config.value", words) from error


class Zeros(Constant):
    """0 everywhere."""

    def __init__(self) -> None:
        super().__init__(value=0.0)


class Ones(Constant):
    """1 everywhere."""

    def __init__(self) -> None:
        super().__init__(value=1.0)


class Identity:
    """``gain`` on the diagonal of a matrix, 0 elsewhere."""

    def __init__(self, *, gain: float = 1.0) -> None:
        self.gain = check_number("config.gain", gain)

    def __call__(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        _check_matrix(shape, "Identity")
        return self.gain * torch.eye(*shape, dtype=dtype, device="cpu")


class Given:
    """The values of a tensor or array, for a weight of its shape."""

    def __init__(self, values: Tensor | np.ndarray) -> None:
        self.values = torch.as_tensor(values, device="cpu").detach().clone()

    def __call__(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        if tuple(self.values.shape) != tuple(shape):
            found = tuple(self.values.shape)
            words = f"is an array of shape {found}; give one of shape {tuple(shape)}, as the weight"
            raise ConfigError.saying(words)
        return self.values.to(dtype)


class Random:
    """Values drawn on the CPU, so that they do not depend on the device.

    With ``seed``, an integer, one sequence of numbers serves all weights, one after the other;
    Keras 3 would give equal values to all of them, and so equal experts. None: torch's seed.
    """

    def __init__(self, seed: int | None) -> None:
        if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
            raise ConfigError.at("config.seed", f"is {seed!r}; give an integer or None")
        self.generator = None if seed is None else torch.Generator().manual_seed(seed)

    def __call__(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        values = torch.empty(tuple(shape), dtype=wide, device="cpu")
        self.fill(values)
        return values.to(dtype)

    def fill(self, values: Tensor) -> None:
        """In place."""
        raise NotImplementedError

    def fill_normal(self, values: Tensor, mean: float, spread: float, *, cut: bool) -> None:
        """From the normal distribution; ``cut``: drawn again beyond two standard deviations."""
        if cut and spread > 0:
            low, high = mean - 2 * spread, mean + 2 * spread
            nn.init.trunc_normal_(values, mean, spread, low, high, generator=self.generator)
        else:
            nn.init.normal_(values, mean, spread, generator=self.generator)


class RandomNormal(Random):
    """A normal distribution."""

    cut = False

    def __init__(
        self, *, mean: float = 0.0, stddev: float = SPREAD, seed: int | None = None
    ) -> None:
        super().__init__(seed)
        self.mean = check_number("config.mean", mean)
        self.stddev = check_number("config.stddev", stddev, least=0)

    def fill(self, values: Tensor) -> None:
        self.fill_normal(values, self.mean, self.stddev, cut=self.cut)


class TruncatedNormal(RandomNormal):
    """Without what lies beyond two standard deviations; ``stddev`` is that before."""

    cut = True


class RandomUniform(Random):
    """Equally likely values from ``minval`` to ``maxval``."""

    def __init__(
        self, *, minval: float = -SPREAD, maxval: float = SPREAD, seed: int | None = None
    ) -> None:
        super().__init__(seed)
        self.low = check_number("config.minval", minval)
        self.high = check_number("config.maxval", maxval, least=minval)

    def fill(self, values: Tensor) -> None:
        nn.init.uniform_(values, self.low, self.high, generator=self.generator)


class VarianceScaling(Random):
    """Mean 0 and variance ``scale`` / n; n: inputs, outputs, or their average.

    ``input_axes`` and ``output_axes``, if both are given, are those whose sizes are multiplied.
    Glorot and Bengio, AISTATS 2010, eq. 16; He et al., ICCV 2015, eq. 10.
    """

    MODES = ("fan_in", "fan_out", "fan_avg")
    DISTRIBUTIONS = ("truncated_normal", "untruncated_normal", "uniform", "normal")

    def __init__(
        self,
        *,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(seed)
        self.axes = (input_axes, output_axes)
        for field, axes in (("input_axes", input_axes), ("output_axes", output_axes)):
            if axes is not None and (input_axes is None or output_axes is None):
                raise ConfigError.at(f"config.{field}", f"is {axes!r}; give both kinds of axes")
        self.scale = check_number("config.scale", scale, least=0)
        if not scale:
            raise ConfigError.at("config.scale", f"is {scale!r}; give a number above 0")
        self.mode = check_choice("config.mode", mode, self.MODES)
        self.distribution = check_choice("config.distribution", distribution, self.DISTRIBUTIONS)

    def fill(self, values: Tensor) -> None:
        inner, outer = self.fans(values.shape)
        count = {"fan_in": inner, "fan_out": outer, "fan_avg": (inner + outer) / 2}[self.mode]
        spread = math.sqrt(self.scale / max(count, 1))
        if self.distribution == "uniform":
            bound = math.sqrt(3) * spread
            nn.init.uniform_(values, -bound, bound, generator=self.generator)
        elif self.distribution == "untruncated_normal":
            self.fill_normal(values, 0.0, spread, cut=False)
        else:
            self.fill_normal(values, 0.0, spread / CUT_SPREAD, cut=True)

    def fans(self, shape: Shape) -> tuple[int, int]:
        """The sizes of inputs and outputs."""
        if None in self.axes:
            return fans(shape)
        inner, outer = (math.prod(shape[axis] for axis in axes) for axes in self.axes)
        return inner, outer


class Orthogonal(Random):
    """``gain`` times a matrix with orthonormal columns, or rows if there are fewer of them.

    Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks", ICLR 2014.
    """

    def __init__(self, *, gain: float = 1.0, seed: int | None = None) -> None:
        super().__init__(seed)
        self.gain = check_number("config.gain", gain)

    def fill(self, values: Tensor) -> None:
        _check_matrix(values.shape, "Orthogonal")
        nn.init.orthogonal_(values, self.gain, generator=self.generator)


def _scaling(scale: float, mode: str, distribution: str) -> Callable[..., VarianceScaling]:
    """What makes a VarianceScaling, whose other settings are those of ``make``."""

    def make(
        *,
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> VarianceScaling:
        return VarianceScaling(
            scale=scale,
            mode=mode,
            distribution=distribution,
            seed=seed,
            input_axes=input_axes,
            output_axes=output_axes,
        )

    return make


SCALINGS = {"glorot": (1.0, "fan_avg"), "he": (2.0, "fan_in"), "lecun": (1.0, "fan_in")}
MAKERS: dict[str, Callable[..., Initializer]] = (
    by_names(
        *(Constant, Zeros, Ones, Identity, Orthogonal),
        *(RandomNormal, RandomUniform, TruncatedNormal, VarianceScaling),
    )
    | {
        f"{name}{shape}": _scaling(*setting, word)
        for name, setting in SCALINGS.items()
        for shape, word in (("_uniform", "uniform"), ("_normal", "truncated_normal"))
    }
    | {
        f"{name.capitalize()}{shape}": _scaling(*setting, word)
        for name, setting in SCALINGS.items()
        for shape, word in (("Uniform", "uniform"), ("Normal", "truncated_normal"))
    }
    | {"normal": RandomNormal, "uniform": RandomUniform, "zero": Zeros, "one": Ones}
    | {"IdentityInitializer": Identity, "OrthogonalInitializer": Orthogonal}
)


def get(identifier: object) -> Initializer:
    """As ``keras.initializers.get``; None is glorot_uniform, as for any weight in Keras. A callable
    takes a shape and ``dtype``. Raises ConfigError without a path."""
    if isinstance(identifier, Tensor | np.ndarray):
        return Given(identifier)
    found = look_up("glorot_uniform" if identifier is None else identifier, MAKERS)
    try:
        inspect.signature(found).bind((1, 1), dtype=torch.float32)
    except TypeError as error:
        words = "which does not take a shape and dtype; give f(shape, dtype=None) -> values"
        raise ConfigError.saying(f"is {identifier!r}, {words}") from error
    return found


def _check_matrix(shape: Shape, name: str) -> None:
    if len(shape) != 2:
        words = f"{name} is for matrices, and the weight has the shape {tuple(shape)}"
        raise ConfigError.saying(f"{words}; give another initializer for a bias")
