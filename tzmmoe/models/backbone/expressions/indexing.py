"""Indexes and slices: of lists as in Python, of tensors without touching the rows."""

from collections.abc import Sequence

from torch import Tensor

from tzmmoe.models.backbone.expressions.operands import Refused, Value, described, is_whole

ALL = slice(None)


def sliced(*ends: Value) -> slice:
    """From start, stop and step."""
    for end in ends:
        if end is not None and not is_whole(end):
            raise Refused(f"has {described(end)} in a slice; write whole numbers")
    return slice(*ends)


def check_index(index: Value) -> None:
    if not (index is None or index is ... or isinstance(index, slice) or is_whole(index)):
        raise Refused(f"is {described(index)} as an index; write a whole number or a slice")


def check_indexes(indexes: Sequence[Value], remedy: str) -> None:
    """Raise Refused for what no tensor and no list can be indexed by."""
    if list(indexes).count(...) > 1:
        raise Refused("has ... twice; remove one")
    if indexes and indexes[0] is None:
        raise Refused(f"puts a new axis before the rows; {remedy}")
    if len(indexes) > 1 and not (indexes[0] is ... or _keeps_rows(indexes[0])):
        raise Refused(f"indexes the rows; {remedy}")


def indexed(value: Value, indexes: Sequence[Value], remedy: str) -> Value:
    """``remedy``: what to write in place of an index of the rows."""
    for index in indexes:
        check_index(index)
    if isinstance(value, Tensor):
        return _of_tensor(value, indexes, remedy)
    if not isinstance(value, list | tuple):
        raise Refused(f"indexes {described(value)}; only tensors and lists have items")
    if len(indexes) != 1 or indexes[0] is None or indexes[0] is ...:
        raise Refused(f"indexes {described(value)}; write one number or slice, such as x[0]")
    try:
        return value[indexes[0]]
    except (IndexError, ValueError) as error:  # ValueError: a step of 0
        raise Refused(f"indexes {described(value)} by {indexes[0]}: {error}") from error


def _of_tensor(tensor: Tensor, indexes: Sequence[Value], remedy: str) -> Tensor:
    check_indexes(indexes, remedy)
    filled = _without_ellipsis(tensor, indexes)
    if filled and not _keeps_rows(filled[0]):
        did = "puts a new axis before" if filled[0] is None else "indexes"
        raise Refused(f"{did} the rows of {described(tensor)}; {remedy}")
    axis = 0
    for index in filled:
        if index is None:
            continue
        size = tensor.shape[axis]
        if is_whole(index) and isinstance(size, int) and not -size <= index < size:
            raise Refused(f"has the index {index} for axis {axis} of {described(tensor)}")
        if isinstance(index, slice) and index.step is not None and index.step < 1:
            raise Refused(f"has the step {index.step}; a step over a tensor is at least 1")
        axis += 1
    return tensor[tuple(filled)]


def _without_ellipsis(tensor: Tensor, indexes: Sequence[Value]) -> list[Value]:
    """One index for each axis of the tensor, and None for each new one."""
    num_given = sum(index is not None and index is not ... for index in indexes)
    if num_given > tensor.dim():
        raise Refused(f"has {num_given} indexes for {described(tensor)}")
    end = list(indexes).index(...) if ... in list(indexes) else len(indexes)
    free = [ALL] * (tensor.dim() - num_given)
    return [*indexes[:end], *free, *indexes[end + 1 :]]


def _keeps_rows(index: Value) -> bool:
    """Whether it is the slice of everything."""
    return (
        isinstance(index, slice)
        and index.start in (None, 0)
        and index.stop is None
        and index.step in (None, 1)
    )
