"""Dense."""

from torch import Tensor, nn

from tzmmoe.errors import ConfigError, within
from tzmmoe.nn.activations import output_activation
from tzmmoe.nn.initializers import initialize
from tzmmoe.nn.keras import dense


class Dense(nn.Module):
    """act(W x + b) over the last axis, with U = ``units``."""

    def __init__(
        self,
        in_features: int,
        *,
        units: int,
        activation: str,
        use_bias: bool,
        kernel_initializer: str,
        bias_initializer: str,
    ) -> None:
        super().__init__()
        if units < 1:
            raise ConfigError.at("units", f"is {units}; give 1 or more")
        with within("kernel_initializer"):
            self.linear = dense(in_features, units, bias=use_bias, initializer=kernel_initializer)
        if use_bias:
            with within("bias_initializer"):
                initialize(self.linear.bias.unsqueeze(0), bias_initializer)
        self.activation = Activation(activation=activation)
        self.out_features = units

    def forward(self, x: Tensor) -> Tensor:
        """(B, ..., D) -> (B, ..., U)."""
        return self.activation(self.linear(x))


class Activation(nn.Module):
    """A function of ``activations.OF_LOGITS``, Keras's names; softmax is over the last axis."""

    def __init__(self, *, activation: str) -> None:
        super().__init__()
        with within("activation"):
            self.function = output_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        """Of x's shape."""
        return x if self.function is None else self.function(x)
