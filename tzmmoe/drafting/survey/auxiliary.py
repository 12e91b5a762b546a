"""A column that prediction will not have -> a task that only helps the others, and why."""

from dataclasses import replace

from tzmmoe.drafting.survey import task
from tzmmoe.drafting.survey.columns.profile import MOST_CLASSES, ColumnProfile
from tzmmoe.drafting.survey.task import LARGE, LabelTask
from tzmmoe.errors import Faults
from tzmmoe.protos.loss_pb2 import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy
from tzmmoe.protos.metric_pb2 import AUC, Accuracy, Metric

FLAG = "--auxiliary"
WEIGHT = 0.3  # of the task beside the others, whose weight is 1
SHOWN = 3  # classes in a comment


def draft(column: ColumnProfile, *, typed: bool, faults: Faults) -> LabelTask | None:
    """The task of a column; None after a fault.

    Two texts or whole numbers: a binary task. More, up to ``MOST_CLASSES``: a task of classes.
    Other numbers: a quantity, whose loss is divided by its variance.
    """
    if problem := _problem(column):
        faults.add(FLAG, f"{column.name!r} {problem}")
        return None
    own = Faults()
    made = task.draft(column, typed=typed, faults=own)  # as that of a label
    if _is_classes(column) or (column.classes is not None and not _needs_no_texts(made)):
        made = _of_classes(column)
    if made is None:
        faults.extend(replace(fault, path=FLAG) for fault in own)
        return None
    if made.is_quantity and max(abs(column.mean), column.deviation) > LARGE:
        faults.add(
            FLAG,
            f"{column.name!r} has mean {column.mean:.4g} and standard deviation "
            f"{column.deviation:.4g}, too much for a network that starts near 0; divide it in the "
            "data, take its logarithm, or leave it out with --ignore",
        )
        return None
    weight = float(f"{WEIGHT * made.weight:.2g}")
    return replace(made, weight=weight, advice="", auxiliary=True)


def _is_classes(column: ColumnProfile) -> bool:
    """Whether it holds few enough whole numbers to be classes, other than 0 and 1 alone."""
    whole = column.kind in ("whole", "number") and column.whole
    is_binary = whole and column.low == 0 and column.high == 1
    return column.classes is not None and whole and not is_binary


def _needs_no_texts(made: LabelTask | None) -> bool:
    """Whether the task of a label fits as it is, without ``label_classes``."""
    return made is not None and (made.binary or made.is_quantity)


def _problem(column: ColumnProfile) -> str | None:
    if not column.kind or column.listed:
        return f"is a column of {column.type}; a task needs one text or number in each row"
    if not column.num_values:
        return "has no value in any row; there is nothing to learn"
    if column.num_distinct == 1:
        return "has the same value in every row that is not empty; there is nothing to learn"
    if column.low is None and column.classes is None:
        return (
            f"holds {column.num_distinct:,} different texts, and a task has at most "
            f"{MOST_CLASSES} classes; group them in the data, or leave it out with --ignore"
        )
    if not column.finite:
        return "holds infinite numbers; make them finite, or empty"
    return None


def _of_classes(column: ColumnProfile) -> LabelTask:
    """The task of a column with ``classes``, which lists them."""
    names = column.classes
    shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    if len(names) == 2:
        loss, metric = (
            Loss(binary_cross_entropy=BinaryCrossEntropy()),
            Metric(auc=AUC(thresholds=0)),
        )
        why, num_class = f"{names[0]} is 0, {names[1]} is 1", 1
    else:
        loss = Loss(softmax_cross_entropy=SoftmaxCrossEntropy())
        metric = Metric(accuracy=Accuracy())
        why, num_class = f"{len(names)} classes: {shown}", len(names)
    why += task.note_of_missing(column)
    return LabelTask(column, loss, (metric,), num_class, 1.0, False, why, "", names)
