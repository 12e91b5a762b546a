"""Follow the regularized leader: its update rule, and the optimizer of the dense part."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tzmmoe.errors import ConfigError, exactly


@dataclass(frozen=True)
class FtrlRule:
    """FTRL-Proximal as in Keras and TensorFlow.

    n' = n + g^2; z += g - (n'^-p - n^-p) / lr w;
    w = (l1 sign(z) - z) / (n'^-p / lr + 2 l2) where |z| > l1, else 0; p is learning_rate_power.
    McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013, algorithm 1.

    z starts at 0, so the first step leaves little of a weight's initial value. A weight depends on
    n, z and the step's rate alone: when the rate changes, the weight changes in proportion.
    """

    learning_rate_power: float
    initial_accumulator_value: float
    l1_reg: float
    l2_reg: float

    def __post_init__(self) -> None:
        if self.initial_accumulator_value <= 0:  # n = 0 and g = 0 would be 0 / 0
            words = f"is {exactly(self.initial_accumulator_value)}; give more than 0"
            raise ConfigError.at("initial_accumulator_value", words)

    def make_state(self, weight: Tensor) -> dict[str, Tensor]:
        """n and z, of the weight's shape."""
        n = torch.full_like(weight, self.initial_accumulator_value)
        return {"sum": n, "linear": torch.zeros_like(weight)}

    def step_(self, weight: Tensor, grad: Tensor, n: Tensor, z: Tensor, *, lr: float) -> None:
        """Update the weight, n and z in place. At a rate of 0, by which z would be divided, nothing
        changes."""
        if lr == 0:
            return
        before = n.pow(-self.learning_rate_power)
        n.addcmul_(grad, grad)
        after = n.pow(-self.learning_rate_power)
        z.add_(grad).addcmul_(after - before, weight, value=-1 / lr)
        torch.sub(z.clamp(-self.l1_reg, self.l1_reg), z, out=weight)
        weight.div_(after.div_(lr).add_(2 * self.l2_reg))


class Ftrl(torch.optim.Optimizer):
    """``FtrlRule`` for dense gradients. State is made at once, not at first use."""

    def __init__(
        self,
        params: Sequence[nn.Parameter],
        *,
        lr: float,
        learning_rate_power: float,
        initial_accumulator_value: float,
        l1_reg: float,
        l2_reg: float,
    ) -> None:
        rule = {
            "learning_rate_power": learning_rate_power,
            "initial_accumulator_value": initial_accumulator_value,
            "l1_reg": l1_reg,
            "l2_reg": l2_reg,
        }
        self._rule = FtrlRule(**rule)
        super().__init__(params, {"lr": lr, **rule})
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter] = self._rule.make_state(parameter.detach())

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        assert closure is None, "gradients must be computed before the step"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                n, z = state["sum"], state["linear"]
                self._rule.step_(parameter, parameter.grad, n, z, lr=group["lr"])
