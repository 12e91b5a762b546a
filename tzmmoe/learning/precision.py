"""The arithmetic of the forward pass, and the scale that keeps FP16's gradients from vanishing."""

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")

DTYPES = {"BF16": torch.bfloat16, "FP16": torch.float16}


class Precision:
    """Full precision, or one of ``DTYPES`` by its ``word``.

    ``scaler`` is disabled, and then leaves everything as it is, unless the word is FP16.
    ``scaling``: its settings; None: torch's, which are those of the schema.
    """

    def __init__(self, word: str, scaling: Mapping[str, Any] | None, device: torch.device) -> None:
        self._device, self._dtype = device, DTYPES.get(word)
        self.scaler = torch.amp.GradScaler(device.type, enabled=word == "FP16", **(scaling or {}))

    def within(self, forward: Callable[P, T]) -> Callable[P, T]:
        """The same function in this arithmetic; itself in full precision."""
        if self._dtype is None:
            return forward

        def cast(*arguments: P.args, **named: P.kwargs) -> T:
            with torch.autocast(self._device.type, self._dtype):
                return forward(*arguments, **named)

        return cast

    def scale(self) -> Tensor:
        """What an enabled scaler multiplies the gradients of this step by."""
        return self.scaler.scale(torch.ones((), device=self._device))
