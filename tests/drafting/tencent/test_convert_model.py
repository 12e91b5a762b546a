"""model_args -> mmoe_v2, key by key."""

import itertools

import pytest
from drafting.tencent.documents import (
    JOB,
    LABELS,
    MODEL,
    REMOVED,
    TRAINING,
    UNMEASURED,
    convert,
    refused,
)

# Key: (another value, what is written when the job does not say).
PLAIN = {
    "name": ("another", "mmoe v2"),
    "task_use_bias": (False, True),
    "task_l1_reg": (0.25, 0.0),
    "task_l2_reg": (0.25, 0.0),
    "num_experts": (7, None),
    "expert_use_bias": (False, True),
    "expert_l1_reg": (0.25, 0.0),
    "expert_l2_reg": (0.25, 0.0),
    "gate_use_bias": (False, True),
    "gate_l1_reg": (0.25, 0.0),
    "gate_l2_reg": (0.25, 0.0),
    "share_gates": (True, False),
    "use_wide": (True, True),
    "wide_type": ("LR", "FM"),
    "wide_width": (16, 8),
    "feature_cross": (5, 0),
    "output_cross": (1, 0),
    "wide_l1_reg": (0.25, 0.0),
    "wide_l2_reg": (0.25, 0.0),
}
REGULARIZERS = [name for name in PLAIN if name.endswith("_reg")]


@pytest.mark.parametrize("name", PLAIN)
def test_a_key_of_the_model_becomes_the_field_of_its_name(tmp_path, name):
    """Entry, and left out. S0.12, S0.13, S0.14, S0.15, S0.16, S0.17, S0.18: the wide side; S0.19,
    S0.21, S0.25, S0.26: experts; S0.27, S0.32, S0.33: towers; S0.34, S0.35, S0.36, S0.37: gates;
    S0.38: the name."""
    value, default = PLAIN[name]
    found = convert(tmp_path, {f"{MODEL}.{name}": value})
    assert getattr(found.model, name) == value
    assert f"{name} " in found.plain
    if default is None:
        return
    changes = {f"{MODEL}.{name}": REMOVED} if name in JOB["job_detail"]["model_args"] else {}
    found = convert(tmp_path, changes)
    assert found.model.HasField(name)
    assert getattr(found.model, name) == default
    assert f"    {name}: " in found.text
    lines = found.text.partition("  mmoe_v2 {")[2].splitlines()
    assert "# default" in next(line for line in lines if line.startswith(f"    {name}: "))


@pytest.mark.parametrize("name", REGULARIZERS)
@pytest.mark.parametrize("value", [None, 0, 0.0, REMOVED])
def test_no_regularization_is_written_as_zero(tmp_path, name, value):
    """S0.39: 0, null and nothing mean the same."""
    there = name in JOB["job_detail"]["model_args"]
    changes = {f"{MODEL}.{name}": value} if there or value is not REMOVED else {}
    found = convert(tmp_path, changes).model
    assert found.HasField(name)
    assert getattr(found, name) == 0


@pytest.mark.parametrize("name", ["expert_dropout", "task_dropout"])
@pytest.mark.parametrize("value", [None, 0, 0.0, [0], [None, 0]])
def test_no_dropout_is_written_as_zero(tmp_path, name, value):
    """S0.39, S0.31: 0, null and nothing mean the same, also in a list."""
    assert set(getattr(convert(tmp_path, {f"{MODEL}.{name}": value}).model, name)) == {0.0}
    assert list(getattr(convert(tmp_path).model, name)) == [0.0]


@pytest.mark.parametrize("name", ["expert_act", "task_hidden_act"])
def test_layers_have_relu_unless_told(tmp_path, name):
    """S0.22, S0.28: published examples all say relu. null says none."""
    there = name in JOB["job_detail"]["model_args"]
    changes = {f"{MODEL}.{name}": REMOVED} if there else {}
    assert list(getattr(convert(tmp_path, changes).model, name)) == ["relu"]
    changes = {f"{MODEL}.{name}": None}
    assert list(getattr(convert(tmp_path, changes).model, name)) == ["none"]


def by_the_seed(value, num_layers, none):
    """The seed's words: one value is for all layers; in a list, the first is for the first layer,
    surplus ones are ignored, layers that the list lacks have none."""
    if not isinstance(value, list):
        return [none if value is None else value] * num_layers
    found = [value[layer] if layer < len(value) else none for layer in range(num_layers)]
    return [none if each is None else each for each in found]


def by_the_schema(values, num_layers, none):
    """The schema's words: one value for all layers, or one for each; too long a list is cut, layers
    that it lacks have none."""
    if len(values) == 1:
        return [values[0]] * num_layers
    return [values[layer] if layer < len(values) else none for layer in range(num_layers)]


ACTS = ["relu", "sigmoid", "none", None]
LISTS = {
    "act": (
        "none",
        ["tanh", None, *(list(p) for n in range(3) for p in itertools.product(ACTS[:3], repeat=n))],
    ),
    "dropout": (0.0, [0.5, None, [], [0.5], [0.5, 0.25], [None, 0.5], [0.25, 0, 0.5, 0.75]]),
    "use_bn": (False, [True, False, None, [], [True], [True, False], [False, True, None, True]]),
}
CASES = [(kind, value) for kind, (_, values) in LISTS.items() for value in values]


@pytest.mark.parametrize(("kind", "value"), CASES, ids=str)
def test_settings_of_layers_mean_in_the_config_what_they_mean_in_the_job(tmp_path, kind, value):
    """S0.22, S0.23, S0.24: of experts; S0.28, S0.30, S0.31: of towers, whose last layer is not
    meant. A list of one is the first layer's alone, unlike one value."""
    none = LISTS[kind][0]
    for num_layers in (1, 2, 3):
        hidden = "task_hidden_act" if kind == "act" else f"task_{kind}"
        found = convert(
            tmp_path,
            {
                f"{MODEL}.expert_{kind}": value,
                f"{MODEL}.expert_layers": [8] * num_layers,
                f"{MODEL}.{hidden}": value,
                f"{MODEL}.task_structs": [[8] * num_layers + [1]] * 3,
            },
        )
        expected = by_the_seed(value, num_layers, none)
        for name in (f"expert_{kind}", hidden):
            written = list(getattr(found.model, name))
            assert written, "no field is left to its default"
            assert by_the_schema(written, num_layers, none) == expected, (name, num_layers)
        surplus = isinstance(value, list) and len(value) > num_layers
        assert (f"there are {num_layers} layers" in found.plain) == surplus


def test_towers_of_different_depths_have_lists_of_their_own(tmp_path):
    """S0.28, S0.30, S0.31: per layer from the input on, whatever the tower's depth."""
    structs, value = [[8, 8, 8, 1], [8, 1], [1]], ["tanh", "relu"]
    changes = {f"{MODEL}.task_structs": structs, f"{MODEL}.task_hidden_act": value}
    changes |= {f"{MODEL}.task_dropout": [0.5], f"{MODEL}.task_use_bn": True}
    model = convert(tmp_path, changes).model
    assert not model.task_hidden_act
    assert [list(each.hidden_act) for each in model.task_structs] == [
        ["tanh", "relu", "none"],
        ["tanh"],
        [],
    ]
    assert [list(each.dropout) for each in model.task_structs] == [[0.5, 0, 0], [0.5], []]
    assert list(model.task_use_bn) == [True]


def test_lists_in_a_list_are_those_of_the_tasks(tmp_path):
    """S0.28: an element beside a list is for all layers of its task."""
    changes = {
        f"{MODEL}.task_hidden_act": [["relu"], "tanh", ["none", "selu", "relu"]],
        f"{MODEL}.task_dropout": [[0.5, 0.25], None, []],
        f"{MODEL}.task_use_bn": [[False, True], [True], False],
    }
    model = convert(tmp_path, changes).model
    assert [list(each.hidden_act) for each in model.task_structs] == [
        ["relu", "none"],
        ["tanh"],
        ["none", "selu"],
    ]
    assert [list(each.dropout) for each in model.task_structs] == [[0.5, 0.25], [0], [0, 0]]
    assert [list(each.use_bn) for each in model.task_structs] == [
        [False, True],
        [True, False],
        [False],
    ]
    for shared in (model.task_hidden_act, model.task_dropout, model.task_use_bn):
        assert not shared


def test_lists_of_tasks_are_as_many_as_the_tasks(tmp_path):
    """S0.28."""
    (said,) = refused(tmp_path, {f"{MODEL}.task_hidden_act": [["relu"], ["relu"]]})
    assert said == f"job.json: {MODEL}.task_hidden_act: has 2 lists for 3 towers; give one for each"


NAMES = {
    "RELU": "relu",
    " relu ": "relu",
    "lrelu": "leaky_relu",
    "leaky_relu": "leaky_relu",
    "LeakyReLU": "leaky_relu",
    "selu": "selu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "dice": "dice",
    "Dice": "dice",
    "prelu": "prelu",
    "PReLU": "prelu",
    "gelu": "gelu",
    "swish": "swish",
    "silu": "swish",
    "elu": "elu",
    "none": "none",
    "None": "none",
    "linear": "none",
    "": "none",
}


@pytest.mark.parametrize("name", NAMES)
def test_activations_go_by_their_names_in_any_case(tmp_path, name):
    """S0.22."""
    model = convert(tmp_path, {f"{MODEL}.expert_act": name}).model
    assert list(model.expert_act) == [NAMES[name]]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("expert_act", "rellu", "did you mean 'relu'"),
        ("expert_act", ["relu", "softmx"], "expert_act[1]: is 'softmx'; give one of relu"),
        ("expert_act", 1, "is 1; give a name"),
        ("task_hidden_act", [["relu"], ["rellu"], "relu"], "task_hidden_act[1][0]: is 'rellu'"),
        ("expert_dropout", 1, "is 1; give a number in [0, 1)"),
        ("expert_dropout", [0.5, -0.1], "expert_dropout[1]: is -0.1"),
        ("task_dropout", "0.5", 'is "0.5"; give a number'),
        ("expert_use_bn", 1, "is 1; give true or false"),
        ("task_use_bn", [True, "no", True], 'task_use_bn[1]: is "no"'),
        ("task_output_act", "dice", "'dice' is not supported"),
        ("task_output_act", "sigmod", "did you mean 'sigmoid'"),
        ("task_output_act", ["sigmoid"], "has 1 names for 3 towers"),
        ("expert_l2_reg", -1, "is -1; give 0 or more"),
        ("num_experts", 0, "is 0; give 1 or more"),
        ("num_experts", 2.5, "is 2.5; give a whole number"),
        ("expert_layers", [], "is []; give a list of widths above 0"),
        ("expert_layers", [8, 0], "is [8, 0]; give a list of widths above 0"),
        ("expert_layers", 64, "is 64; give a list"),
        ("task_structs", [], "is []; give a list"),
        ("task_structs", [[64, 1], [], [1]], "task_structs[1]: is []"),
        ("task_structs", [[64, 1], [1], [-1]], "task_structs[2]: is [-1]"),
        ("task_structs", [64, 1], "task_structs[0]: is 64; give a list"),
        ("task_use_bias", "true", 'is "true"; give true or false'),
        ("wide_width", 0, "is 0; give 1 or more"),
        ("wide_type", 5, "is 5; give FM, LR"),
        ("feature_cross", 6, "is 6; give 0 to 5"),
        ("feature_cross", -1, "is -1; give 0 to 5"),
        ("output_cross", "0", 'is "0"; give a number'),
        ("share_gates", 1, "is 1; give true or false"),
        ("name", 5, "is 5; give a string"),
    ],
)
def test_what_a_key_cannot_be_is_refused(tmp_path, name, value, words):
    """S0.11 to S0.38."""
    said = refused(tmp_path, {f"{MODEL}.{name}": value})
    assert any(words in line and line.startswith(f"job.json: {MODEL}.{name}") for line in said), (
        said
    )


OUTPUTS = {
    "sigmoid": "sigmoid",
    None: "none",
    "none": "none",
    "Sigmoid": "sigmoid",
    "linear": "none",
}


@pytest.mark.parametrize("value", OUTPUTS)
def test_the_activation_of_the_output_is_that_of_all_towers(tmp_path, value):
    """S0.29: none unless told."""
    found = convert(tmp_path, {f"{MODEL}.task_output_act": value})
    assert f'    task_output_act: "{OUTPUTS[value]}"' in found.text
    assert {tower.output_activation for tower in found.model.task_towers} == {OUTPUTS[value]}
    assert (
        '    task_output_act: "none"  # default'
        in convert(tmp_path, {f"{MODEL}.task_output_act": REMOVED}).text
    )


PRELU = "prelu begins at a slope of 0.25, one for all units of a layer; in Keras at 0, one for each"


@pytest.mark.parametrize(
    ("key", "value", "differs"),
    [
        ("expert_act", "PReLU", True),
        ("expert_act", ["relu", "prelu"], True),
        ("task_hidden_act", "prelu", True),
        ("task_hidden_act", [["relu"], ["relu"], ["selu", "prelu"]], True),
        ("task_hidden_act", "dice", False),
    ],
)
def test_learned_slopes_are_told_to_differ_from_keras(tmp_path, key, value, differs):
    """S0.22, S0.79."""
    assert convert(tmp_path, {f"{MODEL}.{key}": value}).plain.count(PRELU) == differs


def test_activations_of_outputs_may_be_each_towers_own(tmp_path):
    """S0.29: a list is per task where the job comes from."""
    changes = {f"{MODEL}.task_output_act": ["sigmoid", None, "relu"]}
    changes[f"{TRAINING}.losses"] = ["bce", "bce", "mse"]
    model = convert(tmp_path, changes | UNMEASURED, labels=LABELS).model
    assert [tower.output_activation for tower in model.task_towers] == ["sigmoid", "none", "relu"]


@pytest.mark.parametrize(
    ("loss", "act", "last", "fits"),
    [
        ("bce", "tanh", 1, False),
        ("bce", "sigmoid", 1, True),
        ("mse", "tanh", 1, True),
        ("kld", "sigmoid", 1, True),
        ("kld", "softmax", 1, False),
        ("kld", "softmax", 3, True),
        ("kld", "relu", 3, False),
        ("scce", "softmax", 3, True),
        ("scce", "sigmoid", 3, False),
    ],
)
def test_the_activation_of_the_output_suits_the_loss(tmp_path, loss, act, last, fits):
    """S0.29: a loss of chances makes chances of the logits itself."""
    changes = {f"{MODEL}.task_output_act": act, f"{TRAINING}.losses": loss}
    changes[f"{MODEL}.task_structs"] = [[4, last]] * 3
    if fits:
        found = convert(tmp_path, changes | UNMEASURED, labels=LABELS)
        assert found.model.task_towers[0].output_activation == act
        return
    said = refused(tmp_path, changes)
    assert said[0].startswith(f"job.json: {MODEL}.task_output_act: is {act!r}, but ")


@pytest.mark.parametrize("structs", [[[1], [1], [1]], [[64, 16, 1], [8, 1], [4, 4, 4, 1]]])
def test_the_structs_are_the_towers_layers(tmp_path, structs):
    """S0.11: from the input on, the last width is the output."""
    model = convert(tmp_path, {f"{MODEL}.task_structs": structs}).model
    assert [list(each.units) for each in model.task_structs] == structs
    assert [tower.num_class for tower in model.task_towers] == [1, 1, 1]
    assert not any(tower.HasField("mlp") for tower in model.task_towers)


@pytest.mark.parametrize("name", ["FM", "fm", "Fm", "fm ", " F M", "f\tm"])
def test_fm_is_fm_in_any_case_and_with_blanks(tmp_path, name):
    """S0.13."""
    assert convert(tmp_path, {f"{MODEL}.wide_type": name}).model.wide_type == "FM"
    assert (
        convert(
            tmp_path, {f"{MODEL}.wide_type": name.lower().replace("f", "l").replace("m", "r")}
        ).model.wide_type
        == "LR"
    )


@pytest.mark.parametrize("name", ["FFM", "LRR", "none", "deep", "", None])
def test_another_wide_type_is_no_wide_model_and_the_report_says_so(tmp_path, name):
    """S0.13, S0.50: a name that only resembles FM or LR is one too."""
    found = convert(tmp_path, {f"{MODEL}.wide_type": name, f"{MODEL}.feature_cross": 4})
    assert found.model.wide_type.upper() not in ("FM", "LR")
    assert "neither FM nor LR: the wide side has no model" in found.plain
    assert ("did you mean" in found.plain) == (name in ("FFM", "LRR"))
    for field in ("wide_width", "wide_l1_reg", "wide_l2_reg", "wide_use_bn"):
        assert not found.model.HasField(field)


def section(report: str, title: str) -> str:
    """The lines under a title."""
    lines = report.partition(f"{title}:\n")[2].splitlines(keepends=True)
    return " ".join("".join(itertools.takewhile(lambda line: line[0] == " ", lines)).split())


def test_settings_of_the_wide_side_that_do_nothing_are_reported_and_left_out(tmp_path):
    """S0.12, S0.13, S0.14, S0.50: the job may say them, a run would warn of them."""
    found = convert(tmp_path, {f"{MODEL}.use_wide": False})
    idle = section(found.report, "no effect here")
    for name in ("wide_type", "wide_width", "feature_cross", "output_cross", "wide_l2_reg"):
        assert f"{MODEL}.{name}: there is no wide side" in idle
        assert not found.model.HasField(name)
    found = convert(tmp_path, {f"{MODEL}.wide_type": "LR"})
    assert f"{MODEL}.wide_width: it is FM's" in section(found.report, "no effect here")
    assert not found.model.HasField("wide_width")
    assert found.model.HasField("wide_use_bn")


@pytest.mark.parametrize(
    ("kind", "feature_cross", "output_cross", "words"),
    [
        ("FM", 0, 1, "the wide side enters nowhere"),
        ("LR", 0, -1, "the wide side enters nowhere"),
        ("none", 0, 0, "the wide side enters nowhere"),
        ("none", 3, 1, "feature_cross 3 without a wide model is 2"),
        ("none", 5, 1, "feature_cross 5 without a wide model is 4"),
        ("none", 2, 0, "there is no wide model whose output could be added"),
        ("FM", 0, 0, ""),
        ("FM", 3, 0, ""),
        ("LR", 5, 1, ""),
    ],
)
def test_combinations_that_do_not_do_what_they_say_are_reported(
    tmp_path, kind, feature_cross, output_cross, words
):
    """S0.15, S0.16, S0.50."""
    changes = {"wide_type": kind, "feature_cross": feature_cross, "output_cross": output_cross}
    found = convert(tmp_path, {f"{MODEL}.{name}": value for name, value in changes.items()})
    assert found.model.feature_cross == feature_cross
    assert found.model.output_cross == output_cross
    if words:
        assert words in found.plain
    for each in ("enters nowhere", "without a wide model", "could be added"):
        assert words or each not in found.plain


def test_crosses_that_are_not_set_are_zero_and_the_report_says_what_that_means(tmp_path):
    """S0.15, S0.16: where the job comes from, an unset output_cross leaves the wide side out."""
    changes = {f"{MODEL}.output_cross": REMOVED, f"{MODEL}.feature_cross": REMOVED}
    found = convert(tmp_path, changes)
    assert (found.model.feature_cross, found.model.output_cross) == (0, 0)
    notes = section(found.report, "take note")
    assert "output_cross is not set: 0, the wide model's output is added to the logits" in notes
    assert "feature_cross is not set: 0" in notes
    assert "is not set" not in convert(tmp_path).plain


def test_towers_are_named_after_their_labels_and_the_folder_after_the_model(tmp_path):
    """S0.38."""
    found = convert(tmp_path, {f"{MODEL}.name": "mmoe v2/α 1.0"})
    assert found.model.name == "mmoe v2/α 1.0"
    assert found.pipeline.model_dir == "experiments/mmoe_v2_α_1.0"
    assert convert(tmp_path, {f"{MODEL}.name": REMOVED}).pipeline.model_dir == "experiments/mmoe_v2"
    assert [(t.tower_name, t.label_name) for t in found.model.task_towers] == [
        ("is_click", "is_click"),
        ("play_num1", "play_num1"),
        ("is_favor", "is_favor"),
    ]
