"""label_classes: texts of a label are the numbers of their classes, in every type of column."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from messages import fails, says
from written import changed, loaded, said_of_all

from tzmmoe.batch import Column
from tzmmoe.data.labels import class_texts, read
from tzmmoe.features.forms import BadType, BadValue

COLORS = Column("y", "label", 0, 2, num_classes=3, texts=("red", "green", "blue"))
LEVELS = Column("y", "label", 0, 2, num_classes=3, texts=class_texts(["10", "20.0", "35"]))
FLAGS = Column("y", "label", 0, 1, texts=class_texts(["False", "true"]))
NAN = float("nan")

ARRAYS = {
    "text": (COLORS, pa.array(["blue", None, "red", "", "green"]), [2, NAN, 0, NAN, 1]),
    "dictionary": (COLORS, pa.array(["red", "blue"]).dictionary_encode(), [0, 2]),
    "no value at all": (COLORS, pa.nulls(2), [NAN, NAN]),
    "whole numbers": (LEVELS, pa.array([35, 10, None, 20], pa.int16()), [2, 0, NAN, 1]),
    "floats": (LEVELS, pa.array([20.0, NAN, 10.0]), [1, NAN, 0]),
    "numbers as text": (LEVELS, pa.array(["35.0", "20", "10"]), [2, 1, 0]),
    "flags": (FLAGS, pa.array([True, False, None]), [1, 0, NAN]),
    "flags as text": (FLAGS, pa.array(["true", "False", "1"]), [1, 0, 1]),
    "no rows": (COLORS, pa.array([], pa.string()), []),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_a_text_is_the_place_of_its_class(case: str) -> None:
    column, array, expected = ARRAYS[case]
    found = read(column, array)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_a_text_of_no_class_is_an_error_with_its_row_and_the_closest_class() -> None:
    with pytest.raises(BadValue) as caught:
        read(COLORS, pa.array(["red", None, "gren"]))
    assert caught.value.row == 2
    says(caught.value, "'gren'", "label_classes", "did you mean 'green'")


def test_a_text_like_no_class_comes_with_two_remedies() -> None:
    with fails(BadValue, "'7'", "label_classes", "add it", "leave the label empty"):
        read(COLORS, pa.array([7]))


@pytest.mark.parametrize("kind", [pa.date32(), pa.list_(pa.string())])
def test_a_type_that_is_neither_text_nor_number_is_refused(kind: pa.DataType) -> None:
    with fails(BadType, "text"):
        read(FLAGS, pa.nulls(0, kind))


def test_probabilities_of_the_classes_are_labels_too() -> None:
    found = read(COLORS, pa.array([[0.5, 0.25, 0.25]]))
    np.testing.assert_array_equal(found, [[0.5, 0.25, 0.25]])


def problems(folder: Path, *changes: tuple[str, str]) -> list[str]:
    return said_of_all(loaded(folder, changed(*changes)))


CTR = 'label_name: "click"\n      sample_weight_name'
FAULTS = {
    "too many": ('label_classes: ["a", "b", "c"]', ["label_classes", "3 texts", "num_class: 3"]),
    "one": ('label_classes: "a"', ["label_classes", "1 text,", "list 2"]),
    "twice": ('label_classes: ["1", "1.0"]', ["label_classes", "'1'", "2 times"]),
    "empty": ('label_classes: ["", "b"]', ["label_classes", "empty text", "remove it"]),
}


@pytest.mark.parametrize("case", FAULTS)
def test_classes_that_do_not_fit_the_tower_are_faults_of_the_config(
    tmp_path: Path, case: str
) -> None:
    text, parts = FAULTS[case]
    (fault,) = problems(tmp_path, (CTR, CTR.replace("sample", f"{text} sample")))
    says(fault, "task_towers[0]", *parts)


def test_a_number_that_is_learned_has_no_classes(tmp_path: Path) -> None:
    change = 'label_classes: ["a", "b"] sample_weight_name'
    (fault,) = problems(
        tmp_path,
        (CTR, CTR.replace("sample_weight_name", change)),
        ("losses { binary_cross_entropy {} }", "losses { l2_loss {} }"),
        ("metrics { auc {} }", ""),
    )
    says(fault, "task_towers[0].label_classes", "l2_loss", "remove it")


def test_two_towers_of_one_label_need_the_same_classes(tmp_path: Path) -> None:
    (fault,) = problems(
        tmp_path,
        (CTR, CTR.replace("sample", 'label_classes: ["a", "b"] sample')),
        ('label_name: "buy"', 'label_name: "click" label_classes: ["b", "a"]'),
        ('task_space_indicator_label: "click"\n      out_task_space_weight: 0', ""),
    )
    says(fault, "'click'", "task 'ctr'", "task 'cvr'", "list the same")


def test_a_tower_takes_the_classes_of_another_tower_of_its_label() -> None:
    one = Column("y", "label", 0, 1)
    assert one.meet(FLAGS).texts == FLAGS.meet(one).texts == ("0", "1")
