"""How much memory an exported program takes, found out without taking it.

The program runs on fake tensors, which have a shape and no content. So what it would take is known
before anything is allocated, whichever operators it uses: a size that is written in the program, a
tensor that is joined with itself forty times, or a product of all rows with all rows.
"""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from tzmmoe import private_torch
from tzmmoe.serving.operators import name_of

FIXED_BYTES = 64 << 20  # that a program may take for any number of rows, besides its weights
ROW_BYTES = 1 << 20  # that it may take for each row
WEIGHT_DIVISOR = 2  # and the size of its weights divided by this, since wide layers have many
MANY_ROWS = 1 << 20


# What torch raises for operators whose arguments do not fit.
CANNOT_RUN = (
    *(RuntimeError, ValueError, LookupError, TypeError, AttributeError, AssertionError),
    *(ArithmeticError, MemoryError),
)


class ProgramError(Exception):
    """The message names the operator, and what was found."""


@dataclass(frozen=True)
class Need:
    """Bytes that a program takes for one row, and for each further one, with an id for each
    feature."""

    fixed_bytes: int
    row_bytes: float

    @classmethod
    def of_all(cls, needs: Sequence["Need"]) -> "Need":
        """That of programs that run one after the other, if nothing is freed in between."""
        return cls(sum(n.fixed_bytes for n in needs), sum(n.row_bytes for n in needs))

    def of(self, num_rows: float) -> int:
        return self.fixed_bytes + int(num_rows * self.row_bytes)


class Ledger:
    """Adds up the bytes of the tensors that live at one time."""

    def __init__(self, limit_bytes: int, num_rows: int) -> None:
        self.limit_bytes, self.num_rows = limit_bytes, num_rows
        self.live_bytes = self.peak_bytes = 0
        self._holders: dict[int, int] = {}  # how many tensors share a storage

    def add(self, tensor: Tensor) -> None:
        """Count a tensor for as long as it lives.

        Raises:
            ProgramError: it is one too many; without the name of the call that made it.
        """
        key, size_bytes = private_torch.storage_key(tensor), tensor.untyped_storage().nbytes()
        if key not in self._holders:
            self.live_bytes += size_bytes
            self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        self._holders[key] = self._holders.get(key, 0) + 1
        weakref.finalize(tensor, self._remove, key, size_bytes)
        if self.live_bytes > self.limit_bytes:
            rows = f"{self.num_rows:,} row" + "s" * (self.num_rows > 1)
            shape = tuple(tensor.shape)
            raise ProgramError(
                f"makes a tensor of the shape {shape} for {rows}, bringing "
                f"memory use to {self.live_bytes:,} bytes; the limit is {self.limit_bytes:,}"
            )

    def _remove(self, key: int, size_bytes: int) -> None:
        self._holders[key] -= 1
        if not self._holders[key]:
            del self._holders[key]
            self.live_bytes -= size_bytes


class Steps(fx.Interpreter):
    """Runs a program call by call, and knows at which one it is."""

    call = "its first call"

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "call_function":
            self.call = name_of(n.target)
        return super().run_node(n)


def shapes_of(
    program: torch.export.ExportedProgram, inputs: Callable[[int], dict[str, Tensor]]
) -> tuple[dict[str, tuple[torch.dtype, tuple[int, ...]]], Need]:
    """Type and shape of each output for MANY_ROWS rows, and what the program needs.

    ``inputs``: the named tensors of a batch of so many rows, which are made as fake ones.

    Raises:
        ProgramError: an operator gets what it cannot take, or the program takes more memory than
            FIXED_BYTES, its weights, ROW_BYTES and WEIGHT_DIVISOR allow.
    """
    module = program.module()
    weights = (*program.state_dict.values(), *program.constants.values())
    weight_bytes = sum(weight.nbytes for weight in weights)
    row_bytes = ROW_BYTES + weight_bytes // WEIGHT_DIVISOR
    outputs: dict[str, Tensor] = {}
    peaks = []
    for num_rows in (1, MANY_ROWS):
        limit_bytes = FIXED_BYTES + weight_bytes + num_rows * row_bytes
        with private_torch.fake_tensors(), torch.no_grad():
            named = inputs(num_rows)
            steps = Steps(module)
            ledger = Ledger(limit_bytes, num_rows)
            with private_torch.watched(ledger.add):
                try:
                    outputs = steps.run(named)
                except ProgramError as error:
                    raise ProgramError(f"{steps.call} {error}") from error
                except CANNOT_RUN as error:
                    reason = str(error).strip().splitlines() or [type(error).__name__]
                    raise ProgramError(f"{steps.call}: {reason[0]}") from error
        peaks.append(ledger.peak_bytes)
    shapes = {name: (output.dtype, tuple(output.shape)) for name, output in outputs.items()}
    return shapes, Need(peaks[0], max(peaks[1] - peaks[0], 0) / MANY_ROWS)
