"""All that tzmmoe uses of torch beyond its documented interface.

Any torch may drop these, or change them. Tried with torch 2.13.0 and no other version, so setup.py
asks for 2.13. Before another one is allowed, run all tests with it, and read how it loads a program
(``serving/archive.py``).

Everything is looked up when it is used: some of it takes seconds to import, and a torch without it
still does the rest.
"""

import importlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tzmmoe.errors import UserError

TRIED = "2.13"


def check_training() -> None:
    """Raise UserError now for what training would miss only at a step or a checkpoint."""
    storage_writer(), storage_reader(), overlaps()
    _member(torch, "_foreach_div_", "torch")
    _member(torch, "_foreach_lerp_", "torch")
    _member(Tensor, "_indices", "torch.Tensor")
    _member(Tensor, "_values", "torch.Tensor")


# Checkpoints. ``system/tensorfiles/`` plans what these write and read.


def storage_writer() -> Any:
    """Writes safetensors files."""
    return _imported("torch.distributed.checkpoint", "HuggingFaceStorageWriter")


def storage_reader() -> Any:
    """Reads them."""
    return _imported("torch.distributed.checkpoint", "HuggingFaceStorageReader")


def overlaps() -> Callable:
    """One item to read for each overlap of a saved part with a requested one."""
    name = "create_read_items_for_chunk_list"
    return _imported("torch.distributed.checkpoint.planner_helpers", name)


# Training.


def sparse_entries(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The rows (N,) of a sparse gradient and their values (N, D). A row may be listed twice: the
    documented methods would add such rows up first."""
    indices = _member(gradient, "_indices", "torch.Tensor")()
    return indices[0], _member(gradient, "_values", "torch.Tensor")()


def divide(tensors: Sequence[Tensor], number: float) -> None:
    """Divide all tensors in place, on a GPU with one call."""
    _member(torch, "_foreach_div_", "torch")(tensors, number)


def move(tensors: Sequence[Tensor], targets: Sequence[Tensor], share: float) -> None:
    """Move tensors in place towards their targets, on a GPU with one call: t += share (u - t)."""
    _member(torch, "_foreach_lerp_", "torch")(tensors, targets, share)


def leave_out(model: nn.Module, names: Sequence[str]) -> None:
    """Make DistributedDataParallel ignore the parameters and buffers of these names."""
    name = "_set_params_and_buffers_to_ignore_for_model"
    _member(DistributedDataParallel, name, "DistributedDataParallel")(model, names)


# Exported programs.


def archive_reader(path: Path) -> Any:
    """torch's own reader of the entries of a program's file."""
    return _imported("torch.export.pt2_archive", "PT2ArchiveReader")(str(path))


def violation() -> type[Exception]:
    """What torch raises for a program that contradicts its signature."""
    return _imported("torch._export.verifier", "SpecViolationError")


def drop_guards(program: torch.export.ExportedProgram) -> None:
    """Drop the Python text of a program's guards."""
    _member(program, "_guards_code", "ExportedProgram")
    program._guards_code = []


def is_operator(target: object) -> bool:
    """Whether a node of a program calls an operator of torch's."""
    return isinstance(target, _imported("torch._ops", "OperatorBase"))


def is_overload(target: object) -> bool:
    """Whether it calls one with a schema."""
    return isinstance(target, _imported("torch._ops", "OpOverload"))


def arguments(overload: Any) -> Sequence[Any]:
    """The arguments in the schema of an operator."""
    return _member(overload, "_schema", "OpOverload").arguments


def fake_tensors() -> AbstractContextManager:
    """Tensors made in this block have a shape and no content; others may be used in it. An operator
    that fails raises, without the lines that torch would also log."""
    module = "torch._subclasses.fake_tensor"
    mode = _imported(module, "FakeTensorMode")
    return _silencing(logging.getLogger(module), mode(allow_non_fake_inputs=True))


@contextmanager
def _silencing(logger: logging.Logger, block: AbstractContextManager) -> Iterator[None]:
    before, logger.disabled = logger.disabled, True
    try:
        with block:
            yield
    finally:
        logger.disabled = before


def watched(saw: Callable[[Tensor], None]) -> AbstractContextManager:
    """In this block, ``saw`` is called with each tensor that an operator returns, also where
    another operator calls it."""
    leaves = _imported("torch.utils._pytree", "tree_leaves")

    class Watch(_imported("torch.utils._python_dispatch", "TorchDispatchMode")):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple = (), kwargs: Mapping | None = None
        ) -> Any:
            made = func(*args, **(kwargs or {}))
            for tensor in leaves(made):
                if isinstance(tensor, Tensor):
                    saw(tensor)
            return made

    return Watch()


def storage_key(tensor: Tensor) -> int:
    """Equal for tensors that share a storage, fake ones too, whose addresses are all 0."""
    return _member(tensor.untyped_storage(), "_cdata", "torch.UntypedStorage")


def _imported(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise _missing(f"{module}.{name}") from error


def _member(owner: Any, name: str, kind: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError as error:
        raise _missing(f"{kind}.{name}") from error


def _missing(name: str) -> UserError:
    return UserError(
        f"torch {torch.__version__} has no {name}, which tzmmoe needs; install torch {TRIED}"
    )
