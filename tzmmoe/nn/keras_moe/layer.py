"""MMoE with the arguments of a Keras layer, in torch."""

import warnings
from collections.abc import Callable
from numbers import Integral

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError, DataError, Faults, did_you_mean
from tzmmoe.nn.keras_moe import activations, constraints, initializers, regularizers
from tzmmoe.nn.keras_moe.activations import Activation, acts_along_last_axis
from tzmmoe.nn.keras_moe.dense import Dense, WeightSettings, side_by_side

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
}
# Arguments of other Keras layers, and what replaces them.
REPLACED = dict.fromkeys(("input_shape", "input_dim", "batch_input_shape"), "give in_features")
WEIGHTS = ("expert_kernel", "expert_bias", "gate_kernel", "gate_bias")


class MMoE(nn.Module):
    """Multi-gate mixture of experts with the arguments of a Keras layer: T mixtures (B, U) of
    E experts, for T = ``num_tasks``, U = ``units`` and E = ``num_experts``.

    y_t = sum_e g_t(x)_e f_e(x), f_e(x) = expert_activation(x K_e + b_e),
    g_t(x) = gate_activation(x G_t + c_t)
    Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
    Mixture-of-Experts", KDD 2018, eq. 6-7.

    Every expert and gate is a Dense of its own, with D inputs, and draws its own initial values.
    Activations, initializers, regularizers and constraints are what ``keras.activations.get`` and
    the like take: a name, a config dict, a callable, None. ``activity_regularizer`` acts on each
    output and is divided by B. ``losses`` gives the penalties, ``constrain_`` applies constraints.

    ``in_features``: D; None: that of the first call, before which the weights have no shape.
    ``trainable``: False freezes the weights. ``dtype``: that of the weights, such as "float64";
    None: torch's default. Raises ConfigError with all faults of the arguments.

    Not to be confused with ``nn.gated.mixture.MMoE``, a layer of EasyRec's blocks whose experts are
    MLPs, and ``models.mmoe.MMoE``, the model of the config's word ``mmoe``.
    """

    def __init__(
        self,
        units,
        num_experts,
        num_tasks,
        use_expert_bias=True,
        use_gate_bias=True,
        expert_activation="relu",
        gate_activation="softmax",
        expert_bias_initializer="zeros",
        gate_bias_initializer="zeros",
        expert_bias_regularizer=None,
        gate_bias_regularizer=None,
        expert_bias_constraint=None,
        gate_bias_constraint=None,
        expert_kernel_initializer="VarianceScaling",
        gate_kernel_initializer="VarianceScaling",
        expert_kernel_regularizer=None,
        gate_kernel_regularizer=None,
        expert_kernel_constraint=None,
        gate_kernel_constraint=None,
        activity_regularizer=None,
        *,
        in_features=None,
        name=None,
        trainable=True,
        dtype=None,
        **unknown,
    ) -> None:
        given = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        super().__init__()
        made = _checked(given)
        self.name = made["name"]
        self.units, self.num_experts, self.num_tasks = units, num_experts, num_tasks
        self.expert_activation: Activation = made["expert_activation"]
        self.gate_activation: Activation = made["gate_activation"]
        self.activity_regularizer = made["activity_regularizer"]
        experts, gates = _weights(made, "expert"), _weights(made, "gate")
        dtype = made["dtype"]
        self.expert_layers = nn.ModuleList(Dense(units, experts, dtype) for _ in range(num_experts))
        self.gate_layers = nn.ModuleList(Dense(num_experts, gates, dtype) for _ in range(num_tasks))
        self.trainable = trainable
        self._activity_penalties: list[Tensor] = []
        if in_features is not None:
            self._initialize(in_features)

    @property
    def in_features(self) -> int | None:
        """D; None before the first call."""
        return self.expert_layers[0].in_features

    @property
    def trainable(self) -> bool:
        """Whether any weight is trained; setting it is for all of them."""
        return any(parameter.requires_grad for parameter in self.parameters())

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for parameter in self.parameters():
            parameter.requires_grad = value

    @property
    def losses(self) -> list[Tensor]:
        """The penalties, each a scalar, to be added to the loss; new after every call.

        First those of the last call's outputs, each divided by its rows, then those of the weights
        that are trained: experts, then gates, a kernel before its bias.
        """
        return self.activity_penalties + self.weight_penalties()

    @property
    def penalizes_outputs(self) -> bool:
        """Whether a call has penalties of its outputs."""
        return self.activity_regularizer is not None

    @property
    def activity_penalties(self) -> list[Tensor]:
        """The part of ``losses`` that is of the last call's outputs."""
        return list(self._activity_penalties)

    def weight_penalties(self) -> list[Tensor]:
        """The part of ``losses`` that is of the weights."""
        if self.in_features is None:
            return []
        layers = [*self.expert_layers, *self.gate_layers]
        return [penalty for layer in layers for penalty in layer.penalties()]

    def constrain_(self) -> None:
        """Apply the constraints to the weights that are trained; call it after each step of the
        optimizer, as Keras does. Initial values are left as they are."""
        if self.in_features is not None:
            for layer in (*self.expert_layers, *self.gate_layers):
                layer.constrain_()

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """(B, D) -> T mixtures (B, U), in the weights' dtype. Raises DataError for other inputs."""
        x_BD = self._checked_input(inputs)
        experts_BEU = self._activated("expert_activation", self.expert_layers, x_BD)
        gates_BTE = self._activated("gate_activation", self.gate_layers, x_BD)
        mixtures = list(torch.bmm(gates_BTE, experts_BEU).unbind(1))
        if self.activity_regularizer is not None and not torch.compiler.is_exporting():
            self._activity_penalties = [self._activity_penalty(y_BU) for y_BU in mixtures]
        return mixtures

    def extra_repr(self) -> str:
        sizes = f"units={self.units}, num_experts={self.num_experts}, num_tasks={self.num_tasks}"
        return f"{sizes}, in_features={self.in_features}, name={self.name!r}"

    def __getstate__(self) -> dict:
        """Without the penalties of the last call, whose graph cannot be copied or saved."""
        return self.__dict__ | {"_activity_penalties": []}

    def _checked_input(self, inputs: Tensor) -> Tensor:
        """The input in the weights' dtype, which Keras also casts it to."""
        if not isinstance(inputs, Tensor):
            kind = type(inputs).__name__
            words = f"input is of type {kind}; give a tensor of torch, such as torch.as_tensor(x)"
            raise DataError(f"{self.name}: {words}")
        if inputs.ndim != 2 or not inputs.shape[1] or inputs.is_complex():
            found = f"{str(inputs.dtype).removeprefix('torch.')} of shape {tuple(inputs.shape)}"
            raise DataError(f"{self.name}: input is {found}; give real numbers (rows, columns)")
        if self.in_features is None:
            self._initialize(inputs.shape[1])
        if inputs.shape[1] != self.in_features:
            words = f"input has {inputs.shape[1]} columns, but the weights were made for"
            raise DataError(
                f"{self.name}: {words} {self.in_features}; give (rows, {self.in_features})"
            )
        return inputs.to(self.expert_layers[0].kernel.dtype)

    def _activated(self, argument: str, layers: nn.ModuleList, x_BD: Tensor) -> Tensor:
        """The outputs (B, N, U) of N Dense layers. A function of the user's own sees one layer's
        (B, U) at a time, as in Keras."""
        outputs_BNU = side_by_side(layers, x_BD)
        function: Activation = getattr(self, argument)
        if acts_along_last_axis(function):
            return function(outputs_BNU)
        activated = [function(part) for part in outputs_BNU.unbind(1)]
        before, after = tuple(outputs_BNU[:, 0].shape), tuple(activated[0].shape)
        if after != before:
            words = (
                f"returned {after} for an input of {before}; give a function that keeps the shape"
            )
            raise ConfigError.at(f"{self.name}.{argument}", words)
        return torch.stack(activated, dim=1)

    def _initialize(self, in_features: int) -> None:
        """Give the weights their shapes and initial values; all of them or, on an error, none."""
        layers = (*self.expert_layers, *self.gate_layers)
        with torch.inference_mode(False):  # or the weights could never be trained
            values = [layer.initial_values(in_features) for layer in layers]
            for layer, first in zip(layers, values, strict=True):
                layer.initialize(first)

    def _activity_penalty(self, y_BU: Tensor) -> Tensor:
        penalty = torch.as_tensor(self.activity_regularizer(y_BU))
        rows = y_BU.shape[0]
        return penalty / rows if rows else torch.zeros_like(penalty)


def _weights(made: dict, kind: str) -> list[WeightSettings]:
    """Of the kernels and, if there are any, the biases of all experts or gates."""
    names = [f"{kind}_kernel"] + ([f"{kind}_bias"] if made[f"use_{kind}_bias"] else [])
    parts = ("initializer", "regularizer", "constraint")
    return [WeightSettings(name, *(made[f"{name}_{part}"] for part in parts)) for name in names]


def _checked(given: dict[str, object]) -> dict:
    """The arguments, with callables for what names mean. Raises ConfigError with all faults, and
    warns of arguments without effect."""
    faults, made = Faults(), dict(given)
    known = set(given) - {"unknown"}
    for word in given["unknown"]:
        hint = f"; {REPLACED[word]}" if word in REPLACED else did_you_mean(word, known)
        faults.add(word, f"unknown argument{hint}")
    for field in ("units", "num_experts", "num_tasks", "in_features"):
        count = given[field]
        is_whole = isinstance(count, Integral) and not isinstance(count, bool)
        if not (is_whole and count > 0) and (field, count) != ("in_features", None):
            faults.add(field, f"is {count!r}; give a whole number of 1 or more")
    for field in ("use_expert_bias", "use_gate_bias", "trainable"):
        if not isinstance(given[field], bool):
            faults.add(field, f"is {given[field]!r}; give True or False")
    if not isinstance(given["name"], str | None):
        faults.add("name", f"is {given['name']!r}; give a text or None")
    made["name"] = given["name"] or "mmoe"
    for field, get in GETTERS.items():
        with faults.under(field):
            made[field] = get(given[field])
    with faults.under("dtype"):
        made["dtype"] = _dtype(given["dtype"])
    faults.stop()
    _warn_of_missing_biases(given)
    return made


def _warn_of_missing_biases(given: dict[str, object]) -> None:
    for kind in ("expert", "gate"):
        for part, default in (
            ("initializer", "zeros"),
            ("regularizer", None),
            ("constraint", None),
        ):
            field = f"{kind}_bias_{part}"
            is_set = type(given[field]) is not type(default) or given[field] != default
            if is_set and not given[f"use_{kind}_bias"]:
                words = f"{field} has no effect, since use_{kind}_bias is False"
                warnings.warn(f"MMoE: {words}", stacklevel=4)


GETTERS: dict[str, Callable] = {
    "expert_activation": activations.get,
    "gate_activation": activations.get,
    "activity_regularizer": regularizers.get,
} | {
    f"{weight}_{part}": get
    for weight in WEIGHTS
    for part, get in (
        ("initializer", initializers.get),
        ("regularizer", regularizers.get),
        ("constraint", constraints.get),
    )
}


def _dtype(given: object) -> torch.dtype:
    if given is None:
        return torch.get_default_dtype()
    name = str(given).removeprefix("torch.") if isinstance(given, torch.dtype) else given
    if not isinstance(name, str) or name not in DTYPES:
        words = f"is {given!r}; give one of {', '.join(DTYPES)}"
        if "mixed" in str(given):
            words += ", and call the layer within torch.autocast"
        raise ConfigError.saying(words)
    return DTYPES[name]
