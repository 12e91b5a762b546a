"""Combines conflicting gradients of tasks so that no task works against another."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tzmmoe import private_torch
from tzmmoe.learning.replicas import Replicas
from tzmmoe.system.world import World
from tzmmoe.tasks.taskset import TaskSet


class Surgery:
    """PCGrad: each task's gradient loses the component that opposes another task's.

    For each task i, over the other tasks j in random order: if g_i . g_j < 0, then
    g_i -= (g_i . g_j) / |g_j|^2 g_j, where g_j is task j's own gradient. The update is sum_i g_i.
    Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, algorithm 1.

    A task is an output with all its losses. Its gradient is one vector over all parameters that at
    least two tasks reach. A parameter that only one task reaches keeps its gradient, as does one
    that holds a part for each task (``by_task``), such as the gates; losses of no task, such as
    regularization, are added unchanged.

    ``trained_rows``: of each table; its other rows do not count. A gradient that is sparse for all
    tasks stays sparse. The order is drawn from torch's global generator.

    ``by_task``: along which dimension a parameter's parts, one for each tower, follow each other.
    ``reached``: for each tower, the tasks that reach its part, by their places among those that
    learn. Where towers read each other, these are several, and the part then counts as a parameter
    that they share.
    """

    def __init__(
        self,
        tasks: TaskSet,
        parameters: Sequence[nn.Parameter],
        trained_rows: Mapping[nn.Parameter, int],
        by_task: Mapping[nn.Parameter, int],
        reached: Sequence[Set[int]] = (),
    ) -> None:
        self._keys = [[f"{word}_{task.name}" for word in task.losses] for task in tasks.learned()]
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._trained = trained_rows
        self._by_task = by_task
        self._reached = reached if any(len(tasks) > 1 for tasks in reached) else ()

    def backward(self, losses: Mapping[str, Tensor], replicas: Replicas | None = None) -> None:
        """In place of ``sum(losses.values()).backward()``: adds to the parameters' gradients.

        Each gradient is the mean over all ``replicas``.
        """
        of_tasks = {key for keys in self._keys for key in keys}
        others = [loss for key, loss in losses.items() if key not in of_tasks]
        by_task = []
        for number, keys in enumerate(self._keys, 1):
            loss = sum(losses[key] for key in keys)
            retain = number < len(self._keys) or bool(others)
            grads = torch.autograd.grad(
                loss, self._parameters, retain_graph=retain, allow_unused=True
            )
            by_task.append(grads)
        if replicas:
            by_task = [replicas.mean(grads) for grads in by_task]
        self._combine(by_task, replicas.world if replicas else World())
        if others:
            self._add(sum(others), replicas)

    def _add(self, loss: Tensor, replicas: Replicas | None) -> None:
        """Add the gradient of a loss of no task."""
        if replicas is None:
            loss.backward()
            return
        grads = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        for parameter, grad in zip(self._parameters, replicas.mean(grads), strict=True):
            if grad is not None:
                parameter.grad = grad if parameter.grad is None else parameter.grad + grad

    @torch.no_grad()
    def _combine(self, by_task: Sequence[Sequence[Tensor | None]], world: World) -> None:
        """``by_task``: for each task, the gradient of each parameter."""
        parts = []
        for parameter, *grads in zip(self._parameters, *by_task, strict=True):
            own = {task: grad for task, grad in enumerate(grads) if grad is not None}
            if own:
                is_shared = len(own) > 1 and parameter not in self._by_task
                trained = self._trained.get(parameter)
                part = ParameterGradients.of(parameter, own, trained, is_shared)
                if self._reached and parameter in self._by_task:
                    part = PartGradients.of(part, self._by_task[parameter], self._reached)
                parts.append(part)
        device, num_tasks = self._parameters[0].device, len(by_task)
        products_TT = torch.zeros(num_tasks, num_tasks, dtype=torch.float64, device=device)
        for part in parts:
            part.add_products(products_TT)
        coefficients_T = coefficients(products_TT, world)
        for part in parts:
            grad = _laid_out(part.sum(coefficients_T), part.parameter)
            before = part.parameter.grad
            part.parameter.grad = grad if before is None else before + grad


def _laid_out(grad: Tensor, parameter: Tensor) -> Tensor:
    """A dense gradient in the memory layout of its parameter, as fused optimizers expect it of
    ``backward``; what ``torch.autograd.grad`` returns may be transposed in memory."""
    if grad.is_sparse or grad.stride() == parameter.stride():
        return grad
    return torch.empty_like(parameter).copy_(grad)


def coefficients(products_TT: Tensor, world: World) -> Tensor:
    """The coefficient of each task's own gradient in the update (T,), from their dot products.

    Whatever algorithm 1 makes of a gradient is a linear combination of the tasks' own gradients, so
    it runs on the T coefficients of each; nothing waits for the device. The order is that of the
    first process.
    """
    num_tasks = len(products_TT)
    mixtures_TT = torch.eye(num_tasks, dtype=products_TT.dtype, device=products_TT.device)
    orders = world.from_first(torch.stack([torch.randperm(num_tasks - 1) for _ in mixtures_TT]))
    for task, mixture_T in enumerate(mixtures_TT):
        others = [other for other in range(num_tasks) if other != task]
        for place in orders[task].tolist():
            other = others[place]
            product = mixture_T @ products_TT[other]
            square = products_TT[other, other]
            mixture_T[other] -= torch.where(product < 0, product / square, 0.0)
    return mixtures_TT.sum(dim=0)


@dataclass(frozen=True)
class ParameterGradients:
    """The gradient of one parameter for each task that reaches it.

    ``rows``: the rows (U,) of a table that the gradients (U, D) belong to; None: all. The first
    ``trained`` rows of a table are trained; None: not a table. ``is_shared``: several tasks reach
    the same numbers.
    """

    parameter: nn.Parameter
    grads: Mapping[int, Tensor]
    rows: Tensor | None
    trained: int | None
    is_shared: bool

    @classmethod
    def of(
        cls,
        parameter: nn.Parameter,
        grads: Mapping[int, Tensor],
        trained: int | None,
        is_shared: bool,
    ) -> "ParameterGradients":
        if not all(grad.is_sparse for grad in grads.values()):
            dense = {task: g.to_dense() if g.is_sparse else g for task, g in grads.items()}
            return cls(parameter, dense, None, trained, is_shared)
        entries = [private_torch.sparse_entries(grad) for grad in grads.values()]
        ids = [rows for rows, _ in entries]
        rows, places = torch.unique(torch.cat(ids), return_inverse=True)
        merged = {}
        split = places.split([len(own) for own in ids])
        for task, (_, values), place in zip(grads, entries, split, strict=True):
            merged[task] = values.new_zeros(len(rows), values.shape[1]).index_add_(0, place, values)
        return cls(parameter, merged, rows, trained, is_shared)

    def add_products(self, products_TT: Tensor) -> None:
        """Add the dot products of the tasks' gradients."""
        if not self.is_shared:
            return
        absent = torch.zeros_like(next(iter(self.grads.values())))
        grads = [self.grads.get(task, absent) for task in range(len(products_TT))]
        if self.trained is not None and self.trained < len(self.parameter):
            trained = slice(self.trained) if self.rows is None else self.rows < self.trained
            grads = [grad[trained] for grad in grads]
        # In float32, the square of a small gradient would be 0.
        flat_TN = torch.stack([grad.flatten() for grad in grads]).double()
        products_TT += flat_TN @ flat_TN.T

    def sum(self, coefficients_T: Tensor) -> Tensor:
        """The weighted sum, sparse if all gradients were; unweighted unless shared."""
        return self.as_gradient(self.total(coefficients_T))

    def total(self, coefficients_T: Tensor) -> Tensor:
        """The weighted sum of ``grads``, in their shape."""
        total = torch.zeros_like(next(iter(self.grads.values())))
        for task, grad in self.grads.items():
            total += coefficients_T[task] * grad if self.is_shared else grad
        return total

    def as_gradient(self, total: Tensor) -> Tensor:
        """The gradient of the whole parameter that the ``rows`` of ``total`` stand for."""
        if self.rows is None:
            return total
        return torch.sparse_coo_tensor(
            self.rows.unsqueeze(0),
            total,
            self.parameter.shape,
            is_coalesced=True,
            check_invariants=False,
        )


@dataclass(frozen=True)
class PartGradients:
    """The gradients of a parameter with a part for each tower, where towers read each other.

    Each of ``parts`` has those of the tasks that reach it; they follow each other along ``dim``.
    """

    whole: ParameterGradients
    parts: Sequence[ParameterGradients]
    dim: int

    @property
    def parameter(self) -> nn.Parameter:
        return self.whole.parameter

    @classmethod
    def of(
        cls, whole: ParameterGradients, dim: int, reached: Sequence[Set[int]]
    ) -> "PartGradients":
        by_task = {task: g.chunk(len(reached), dim) for task, g in whole.grads.items()}
        parts = []
        for place, tasks in enumerate(reached):
            grads = {task: chunks[place] for task, chunks in by_task.items() if task in tasks}
            if not grads:  # the part of a task that does not learn
                chunk = next(iter(by_task.values()))[place]
                grads = {0: torch.zeros_like(chunk)}
            parts.append(replace(whole, grads=grads, is_shared=len(grads) > 1))
        return cls(whole, parts, dim)

    def add_products(self, products_TT: Tensor) -> None:
        """Add the dot products of the tasks' gradients."""
        for part in self.parts:
            part.add_products(products_TT)

    def sum(self, coefficients_T: Tensor) -> Tensor:
        """As ``ParameterGradients.sum``; parts that one task reaches are unweighted."""
        totals = [part.total(coefficients_T) for part in self.parts]
        return self.whole.as_gradient(torch.cat(totals, self.dim))
