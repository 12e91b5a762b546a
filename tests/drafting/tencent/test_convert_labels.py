"""Which label is learned by which tower."""

import itertools
import re

import pytest
from drafting.tencent.documents import INPUTS, MODEL, REMOVED, TRAINING, convert, refused

from tzmmoe.drafting.tencent.labels import bind
from tzmmoe.errors import ConfigError

LABELS = ["is_click", "play_num1", "play_num5", "playtime_3000", "is_favor"]


# By the text of S0.79, worked out by hand: labels in their order, the number of towers, the labels
# that have metrics in the job's order -> the labels of the towers. "x" has metrics but is no label.
BINDINGS = """
    a          1  -          a
    a          1  a          a
    a          1  x          a
    a b        1  a          a
    a b        1  b          b
    a b        1  b x        b
    a b        1  -          refused
    a b        1  x          refused
    a b        1  a b        refused
    a b        2  -          a b
    a b        2  b          a b
    a b        2  b a        a b
    b a        2  a b        b a
    a b        3  a b        refused
    a b        3  a b x      refused
    a b c      2  c a        a c
    a b c      2  c b        b c
    c b a      2  a c        c a
    a b c      2  x c a      a c
    a b c      2  a x        refused
    a b c      2  a b c      refused
    a b c      3  b          a b c
    a b c d e  3  a e b      a b e
    a b c d e  3  e d c      c d e
    e d c b a  3  c d e      e d c
    a b c d e  3  a b        refused
    a b c d e  3  a b c d    refused
    a b c d e  4  e c b a    a b c e
    a b c d e  5  e          a b c d e
    a b c d e  6  a b c d e  refused
"""


@pytest.mark.parametrize("case", BINDINGS.strip().splitlines())
def test_labels_bind_to_towers_by_the_rule(case):
    """S0.79."""
    labels, num_towers, measured, expected = re.split(r"\s{2,}", case.strip())
    labels, measured = labels.split(), measured.replace("-", "").split()
    if expected == "refused":
        with pytest.raises(ConfigError) as raised:
            bind(labels, int(num_towers), measured, None)
        (fault,) = raised.value.faults
        assert fault.path == f"{MODEL}.task_structs"
        assert f"{num_towers} towers" in fault.text
        assert "--labels" in fault.text
    else:
        found = bind(labels, int(num_towers), measured, None)
        assert found.labels == expected.split()
        assert sorted([*found.labels, *found.unused]) == sorted(labels)


def test_chosen_labels_go_before_the_rule():
    """S0.79."""
    for chosen in itertools.permutations(LABELS, 2):
        assert bind(LABELS, 2, LABELS[:2], list(chosen)).labels == list(chosen)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (["is_clik", "is_favor"], r"'is_clik' .*; choose from .*; did you mean 'is_click'\?$"),
        (["is_click"], "names 1 labels for 2 towers"),
        (["is_click", "is_click"], "names a label twice"),
        ([], "names 0 labels for 2 towers"),
    ],
)
def test_labels_that_cannot_be_chosen_are_refused(chosen, words):
    """S0.79."""
    with pytest.raises(ConfigError, match=f"^--labels: .*{words}"):
        bind(LABELS, 2, LABELS[:2], chosen)


def towers(found) -> list[str]:
    labels = [tower.label_name for tower in found.model.task_towers]
    assert labels == list(found.pipeline.data_config.label_fields)
    assert labels == [tower.tower_name for tower in found.model.task_towers]
    return labels


def test_the_seeds_three_towers_take_the_labels_with_metrics_in_the_order_of_the_labels(tmp_path):
    """S0.79: 5 labels, 3 towers, metrics in another order. The report tells all of it."""
    found = convert(tmp_path)
    assert towers(found) == ["is_click", "play_num1", "is_favor"]
    for number, label in enumerate(towers(found), start=1):
        line = f"tower {number}, {MODEL}.task_structs[{number - 1}]: {label}"
        assert line in found.report
    assert "why: of 5 labels, those with metrics, in the order of the labels" in found.report
    assert "not used: play_num5, playtime_3000" in found.report


def test_as_many_towers_as_labels_take_them_in_order_whatever_has_metrics(tmp_path):
    """S0.79."""
    found = convert(tmp_path, {f"{MODEL}.task_structs": [[1]] * 5})
    assert towers(found) == LABELS
    assert "why: one tower for each label, in their order" in found.report


def test_the_order_is_that_of_the_group_of_labels_and_then_of_the_definitions(tmp_path):
    """S0.77, S0.79."""
    job = {f"{MODEL}.task_structs": [[1]] * 5}
    found = convert(tmp_path, job, {"inputs.groups.labels": ["is_favor", "play_num5"]})
    rest = ["is_click", "play_num1", "playtime_3000"]
    assert towers(found) == ["is_favor", "play_num5", *rest]
    found = convert(tmp_path, job, {"inputs.groups.labels": REMOVED})
    assert towers(found) == LABELS
    (said,) = refused(tmp_path, job, {"inputs.groups.labels": ["age"]})
    assert "inputs.defs[0]: is in the group labels, but has no is_label: true" in said


def indices(values) -> dict:
    start = len(INPUTS["inputs"]["defs"]) - len(LABELS)
    return {f"inputs.defs[{start + n}].label_index": value for n, value in enumerate(values)}


def test_label_index_defines_the_order(tmp_path):
    """S0.80."""
    job = {f"{MODEL}.task_structs": [[1]] * 5}
    defined = [each["name"] for each in INPUTS["inputs"]["defs"] if each.get("is_label")]
    for values in ([4, 3, 2, 1, 0], [10, 0, 7, 3, 5]):
        expected = [name for _, name in sorted(zip(values, defined, strict=True))]
        assert towers(convert(tmp_path, job, indices(values))) == expected
    three = convert(tmp_path, {}, indices([4, 3, 2, 1, 0]))
    assert towers(three) == ["is_favor", "play_num1", "is_click"]


def test_label_index_is_set_for_all_labels_and_never_twice(tmp_path):
    """S0.80."""
    (said,) = refused(tmp_path, {}, indices([1, 0]))
    assert "label_index is set for is_click, play_num1, but not for play_num5" in said
    (said,) = refused(tmp_path, {}, indices([1, 0, 2, 3, 1]))
    assert "label_index is 1, 0, 2, 3, 1; give each its own" in said


def test_labels_may_be_chosen(tmp_path):
    """S0.79: --labels goes before all of it."""
    found = convert(
        tmp_path, {}, indices([4, 3, 2, 1, 0]), labels=["play_num5", "is_favor", "is_click"]
    )
    assert towers(found) == ["play_num5", "is_favor", "is_click"]
    assert "why: as --labels says" in found.report
    assert "not used: playtime_3000, play_num1" in found.report
    (said,) = refused(tmp_path, {}, labels=["is_click"])
    assert said == "--labels: names 1 labels for 3 towers; give one for each"


def test_towers_whose_labels_cannot_be_told_are_refused(tmp_path):
    """S0.79: two towers, three labels with metrics, five labels."""
    (said,) = refused(tmp_path, {f"{MODEL}.task_structs": [[1], [1]]})
    assert said.startswith(f"job.json: {MODEL}.task_structs: has 2 towers for 5 labels")
    assert "of which 3 have metrics" in said
    assert "--labels" in said
    (said,) = refused(tmp_path, {f"{TRAINING}.metrics": ["auc"], "job_detail.eval_args": REMOVED})
    assert "of which 0 have metrics" in said


def test_metrics_of_the_evaluation_tell_the_labels_where_training_has_none(tmp_path):
    """S0.79."""
    assert towers(convert(tmp_path, {f"{TRAINING}.metrics": REMOVED})) == [
        "is_click",
        "play_num1",
        "is_favor",
    ]


def test_labels_whose_towers_would_have_one_name_are_refused(tmp_path):
    """S0.79: towers are named after their labels, of letters, digits, _ and -."""
    inputs = {"inputs.defs[11].name": "play num1", "inputs.groups.labels[0]": "play num1"}
    job = {f"{TRAINING}.metrics": REMOVED, "job_detail.eval_args": REMOVED}
    job[f"{MODEL}.task_structs"] = [[1]] * 5
    found = convert(
        tmp_path, job, {name: text.replace("num1", "it") for name, text in inputs.items()}
    )
    assert found.model.task_towers[0].tower_name == "play_it"
    assert found.model.task_towers[0].label_name == "play it"
    said = "\n".join(refused(tmp_path, job, inputs))
    assert "the label 'play num1' and another both become 'play_num1'; rename it" in said


def test_inputs_without_labels_are_refused(tmp_path):
    changes = {f"inputs.defs[{n}].is_label": False for n in range(11, 16)}
    changes["inputs.groups.labels"] = REMOVED
    said = "\n".join(refused(tmp_path, {}, changes))
    assert "inputs: defines no label; set is_label: true of some" in said
