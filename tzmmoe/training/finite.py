"""Whether losses and weights are finite."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tzmmoe import checkpoint
from tzmmoe.errors import NotFiniteError
from tzmmoe.tensorfiles import Named, tensors


class Finite:
    """Refuses a run whose losses or weights are NaN or infinite.

    ``keys`` names the losses, in order. ``refuse`` gets the error, which tells the last checkpoint
    of ``model_dir``.
    """

    def __init__(
        self,
        keys: Sequence[str],
        device: torch.device,
        model_dir: Path,
        refuse: Callable[[NotFiniteError], None],
    ) -> None:
        self._keys, self._model_dir, self._refuse = list(keys), model_dir, refuse
        self._bad_step = torch.full((len(keys),), -1, dtype=torch.int64, device=device)

    def note(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Remember the first step at which each loss was not finite."""
        values = torch.stack([loss.detach() for loss in losses.values()])
        new = ~values.isfinite() & (self._bad_step < 0)
        self._bad_step = torch.where(new, step, self._bad_step)

    def check_losses(self) -> None:
        """Of all steps so far. This waits for the device."""
        steps = dict(zip(self._keys, self._bad_step.tolist(), strict=True))
        bad = {key: step for key, step in steps.items() if step >= 0}
        if bad:
            key, step = min(bad.items(), key=lambda item: item[1])
            self._stop(f"{key} is NaN or infinite at step {step}")

    def check_weights(self, step: int, weights: Named) -> None:
        """The loss of a step does not show what the step itself did to the weights."""
        for name, weight in tensors(weights):
            if not (weight.is_floating_point() and weight.numel()):
                continue
            if not torch.stack(torch.aminmax(weight)).isfinite().all():
                self._stop(f"{name} is NaN or infinite after step {step}")
                return

    def _stop(self, what: str) -> None:
        found = checkpoint.find(self._model_dir)
        last = f"the last checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
        self._refuse(
            NotFiniteError(
                f"{what}; {last}. Lower the learning rate, set grad_clipping, or look for extreme "
                "values in the features"
            )
        )
