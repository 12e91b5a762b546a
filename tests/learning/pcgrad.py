"""PCGrad as the paper writes it down: loops over tasks, and one dense vector for each."""

from collections.abc import Mapping, Sequence
from itertools import permutations, product

import numpy as np
import torch
from torch import Tensor


def by_loops(
    found: Sequence[Mapping[str, Tensor]], orders: Sequence[Sequence[int]]
) -> dict[str, np.ndarray]:
    """Algorithm 1; ``orders``: for each task, the others one after the other."""
    names = list(dict.fromkeys(n for g in found for n in g))
    shared = [n for n in names if sum(n in grads for grads in found) >= 2]
    sizes = {n: next(g[n] for g in found if n in g).shape for n in names}
    vectors = [
        np.concatenate([g.get(n, torch.zeros(sizes[n])).numpy().ravel() for n in shared])
        for g in found
    ]
    total = np.zeros_like(vectors[0])
    for number, order in enumerate(orders):
        vector = vectors[number].copy()
        for other in order:
            dot = sum(a * b for a, b in zip(vector, vectors[other], strict=True))
            if dot < 0:
                vector -= dot / sum(b * b for b in vectors[other]) * vectors[other]
        total += vector
    made, begin = {}, 0
    for name in shared:
        count = int(np.prod(sizes[name]))
        made[name] = total[begin : begin + count].reshape(sizes[name])
        begin += count
    alone = {n: g[n].numpy() for n in names for g in found if n in g and n not in shared}
    return made | alone


def all_orders(num_tasks: int) -> list[tuple[tuple[int, ...], ...]]:
    others = [[o for o in range(num_tasks) if o != number] for number in range(num_tasks)]
    return list(product(*(permutations(each) for each in others)))
