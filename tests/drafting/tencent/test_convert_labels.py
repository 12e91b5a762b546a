"""Which label is learned by which tower."""

import itertools

import pytest
from drafting.tencent.documents import INPUTS, MODEL, REMOVED, TRAINING, convert, refused

from tzmmoe.drafting.tencent.labels import bind
from tzmmoe.errors import ConfigError

LABELS = ["is_click", "play_num1", "play_num5", "playtime_3000", "is_favor"]


def by_the_rule(labels, num_towers, measured):
    """S0.79 in its own words; None for an error."""
    if len(labels) == num_towers:
        return list(labels)
    with_metrics = [label for label in labels if label in measured]
    if len(with_metrics) == num_towers:
        return with_metrics
    return None


@pytest.mark.parametrize("num_towers", [1, 2, 3, 4, 5, 6])
def test_labels_bind_to_towers_by_the_rule(num_towers):
    """S0.79: all sets of labels with metrics, in all orders that a job may name them in."""
    for size in range(6):
        for measured in itertools.permutations(LABELS, size):
            expected = by_the_rule(LABELS, num_towers, measured)
            if expected is None:
                with pytest.raises(ConfigError, match="tell the labels of the towers by --labels"):
                    bind(LABELS, num_towers, measured, None)
                continue
            found = bind(LABELS, num_towers, measured, None)
            assert found.labels == expected
            assert found.unused == [label for label in LABELS if label not in expected]


def test_chosen_labels_go_before_the_rule():
    """S0.79."""
    for chosen in itertools.permutations(LABELS, 2):
        assert bind(LABELS, 2, LABELS[:2], list(chosen)).labels == list(chosen)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (["is_clik", "is_favor"], "'is_clik' is no label; did you mean 'is_click'"),
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
    assert "of which 3 have metrics; tell the labels of the towers by --labels" in said
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
