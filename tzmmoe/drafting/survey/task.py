"""A label column -> the tower that learns it, and why."""

from dataclasses import dataclass

from tzmmoe.drafting.survey.columns.profile import ColumnProfile
from tzmmoe.drafting.survey.feature import share
from tzmmoe.drafting.survey.semantics import says_true_or_false
from tzmmoe.errors import Faults, exactly
from tzmmoe.protos.loss_pb2 import (
    BinaryCrossEntropy,
    L2Loss,
    Loss,
    SoftmaxCrossEntropy,
)
from tzmmoe.protos.metric_pb2 import AUC, Accuracy, MeanAbsoluteError, MeanSquaredError, Metric

CLASSES = 20  # whole numbers from here on are taken for quantities
LARGEST = 1e15  # of a label: the sum of squares of a batch must be a number of 32 bits
LARGE = 10  # a label of this size trains slowly, since a network begins near 0


@dataclass(frozen=True)
class LabelTask:
    """A label and what its tower needs. ``flag``: a CSV column of true and false. ``classes``: the
    label's values in the order of their classes; empty if the values are the classes' numbers."""

    column: ColumnProfile
    loss: Loss
    metrics: tuple[Metric, ...]
    num_class: int
    weight: float
    flag: bool
    why: str
    advice: str  # for the user, "" when there is none
    classes: tuple[str, ...] = ()
    auxiliary: bool = False

    @property
    def binary(self) -> bool:
        return self.loss.HasField("binary_cross_entropy")

    @property
    def is_quantity(self) -> bool:
        return self.loss.HasField("l2_loss")


def draft(column: ColumnProfile, *, typed: bool, faults: Faults) -> LabelTask | None:
    """The task of a label; None after a fault."""
    flag = not typed and column.kind == "text" and says_true_or_false(column)
    problem = None if flag else _problem(column)
    if problem:
        faults.add("--labels", f"{column.name!r} {problem}")
        return None
    note = note_of_missing(column)
    if flag or (column.whole and column.low == 0 and column.high == 1):
        loss = Loss(binary_cross_entropy=BinaryCrossEntropy())
        ones = "true or false" if flag else f"0 or 1, {share(column.mean)} are 1"
        return LabelTask(
            column, loss, (Metric(auc=AUC(thresholds=0)),), 1, 1.0, flag, ones + note, ""
        )
    if column.whole and column.low >= 0 and column.high < CLASSES:
        return _classes(column, note)
    return _quantity(column, note)


def note_of_missing(column: ColumnProfile) -> str:
    """What to say of rows without the label; empty if there are none."""
    if not column.num_missing:
        return ""
    return f"; {share(column.num_missing / column.num_rows)} missing, rows it does not learn"


def _problem(column: ColumnProfile) -> str | None:
    if not column.kind or column.listed:
        return f"is a column of {column.type}; a label is one number in each row"
    if not column.num_values:
        return "has no value in any row; there is nothing to learn"
    if column.low is None:
        words = ", ".join(repr(word) for word in column.words[:3])
        return f"holds text such as {words}; make it numbers, 0 and 1 for no and yes"
    if not column.finite:
        return "holds infinite numbers; make them finite, or empty"
    if max(-column.low, column.high) > LARGEST:
        return (
            f"holds numbers of up to {max(-column.low, column.high):.3g}, whose squares are too "
            "large for a loss; divide them, or take their logarithm"
        )
    if column.num_distinct == 1:
        return f"is {exactly(column.low)} in every row that has it; there is nothing to learn"
    return None


def _classes(column: ColumnProfile, note: str) -> LabelTask:
    classes = int(column.high) + 1
    why = f"whole numbers {column.low:.0f} to {column.high:.0f}: classes 0 to {classes - 1}"
    advice = ""
    if column.num_distinct == 2:
        advice = f"{column.name}: two values; make them 0 and 1 if they mean no and yes"
    elif column.num_distinct < classes:
        advice = (
            f"{column.name}: {column.num_distinct} of the classes 0 to {classes - 1} occur; number "
            "them from 0 without gaps, or take l2_loss {} without num_class if it is a quantity"
        )
    loss = Loss(softmax_cross_entropy=SoftmaxCrossEntropy())
    metrics = (Metric(accuracy=Accuracy()),)
    return LabelTask(column, loss, metrics, classes, 1.0, False, why + note, advice)


def _quantity(column: ColumnProfile, note: str) -> LabelTask:
    why = f"numbers {column.low:.6g} to {column.high:.6g}, mean {column.mean:.4g}"
    advice = ""
    if max(abs(column.mean), column.deviation) > LARGE:
        advice = (
            f"{column.name}: mean {column.mean:.4g}, deviation {column.deviation:.4g}; it trains "
            "far better when the data holds it divided by some 10 or 1,000, or its logarithm"
        )
    elif column.num_distinct == 2:
        advice = f"{column.name}: two values; make them 0 and 1 if they mean no and yes"
    metrics = (
        Metric(mean_absolute_error=MeanAbsoluteError()),
        Metric(mean_squared_error=MeanSquaredError()),
    )
    weight = float(f"{1 / max(column.deviation, 1e-6) ** 2:.2g}")
    loss = Loss(l2_loss=L2Loss())
    return LabelTask(column, loss, metrics, 1, weight, False, why + note, advice)
