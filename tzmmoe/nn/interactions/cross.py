"""A layer of the Deep and Cross Network."""

from collections.abc import Sequence

from torch import Tensor, nn

from tzmmoe.errors import ConfigError, exactly, within
from tzmmoe.nn.initializers import initialize
from tzmmoe.nn.keras import dense
from tzmmoe.nn.keras_mlp import easyrec_layer
from tzmmoe.nn.shapes import check_count, check_equal


class Cross(nn.Module):
    """x0 * (act(W x + b) + c x) + x, with c = ``diag_scale`` and act = ``preactivation``.

    W is V U of rank ``projection_dim`` if that is set.
    Wang et al., "DCN V2: Improved Deep and Cross Network and Practical Lessons for Web-scale
    Learning to Rank Systems", WWW 2021, eq. 1 and 2.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        projection_dim: int | None,
        diag_scale: float,
        use_bias: bool,
        preactivation: str,
        kernel_initializer: str,
        bias_initializer: str,
    ) -> None:
        super().__init__()
        check_count(widths, 2, "two: x0, the input of the first Cross, and x", most=2)
        width = check_equal(widths, "Cross multiplies x0 by x, so they need one width")
        if not diag_scale >= 0:
            raise ConfigError.at("diag_scale", f"is {exactly(diag_scale)}; give 0 or more")
        if projection_dim is not None and projection_dim < 1:
            raise ConfigError.at("projection_dim", f"is {projection_dim}; give 1 or more")
        with within("kernel_initializer"):
            self.down = None
            if projection_dim is not None:
                start = {"initializer": kernel_initializer}
                self.down = dense(width, projection_dim, bias=False, **start)
            inner = projection_dim or width
            self.linear = dense(inner, width, bias=use_bias, initializer=kernel_initializer)
        if use_bias:
            with within("bias_initializer"):
                initialize(self.linear.bias.unsqueeze(0), bias_initializer)
        self.activation = easyrec_layer("preactivation", preactivation, width)
        self.diag_scale = diag_scale
        self.out_features = width

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """x0 and x, each (B, D) -> (B, D)."""
        x0_BD, x_BD = inputs
        inner = x_BD if self.down is None else self.down(x_BD)
        y_BD = self.activation(self.linear(inner))
        if self.diag_scale:
            y_BD = y_BD + self.diag_scale * x_BD
        return x0_BD * y_BD + x_BD
