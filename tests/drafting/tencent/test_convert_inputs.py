"""The JSON of inputs -> features and feature groups: definitions, versions, groups."""

import math

import numpy as np
import pyarrow as pa
import pytest
from drafting.tencent.documents import INPUTS, MODEL, REMOVED, convert, definition, refused

from tzmmoe.build.features import feature_settings, feature_specs
from tzmmoe.drafting.tencent.words import INITIALIZERS
from tzmmoe.features.column import read
from tzmmoe.protos.data_pb2 import FARM_HASH, MURMUR_HASH
from tzmmoe.tables.initializers import table_initializer

INT = {"dtype": "int32", "vocab_size": 10, "embedding_dim": 4}
TEXT = {"dtype": "str", "vocab_size": 10, "embedding_dim": 4}


def age(found):
    """The message of the first feature."""
    return found.features["age"]


def made(folder, **settings):
    """The first feature as training would make it."""
    found = convert(folder, {}, definition(**settings)).pipeline
    path, spec = feature_specs(found)["age"]
    assert path
    return spec.make(feature_settings(found.data_config, folder))


def encoded(feature, *cells: str | None):
    """Ids or numbers of cells of a CSV file, and the tally."""
    values = read(pa.array(cells, pa.string()), feature.separator, weighted=False)
    return feature.encode([values])


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "int", "INT32", " int64 "])
def test_whole_numbers_with_vocab_size_are_rows_outside_of_it_by_their_remainder(tmp_path, dtype):
    """S0.75, S0.76, S0.78."""
    feature = made(tmp_path, dtype=dtype, vocab_size=10, embedding_dim=4)
    ids, tally = encoded(feature, "0", "9", "10", "-1", "123456789012", None)
    assert ids.values.tolist() == [0, 9, 0, 9, 123456789012 % 10, 0]
    assert tally.outside == 3
    assert (feature.table.rows, feature.table.dim, feature.width) == (10, 4, 4)


def test_the_report_tells_that_whole_numbers_are_not_hashed_unless_the_job_says_so(tmp_path):
    """S0.78: hash_type: hash brings the hash back, which is TensorFlow's."""
    found = convert(tmp_path)
    assert "hashed unless hash_type is mod" in found.plain
    assert found.pipeline.data_config.hash_function == MURMUR_HASH
    for kind, field in (("mod", "num_buckets"), ("hash", "hash_bucket_size"), ("HASH", "")):
        found = convert(tmp_path, {}, definition(**INT, hash_type=kind))
        assert getattr(age(found), field or "hash_bucket_size") == 10
        hashed = found.pipeline.data_config.hash_function == FARM_HASH
        assert hashed == (kind != "mod")


@pytest.mark.parametrize("dtype", ["str", "string"])
def test_text_with_vocab_size_is_hashed(tmp_path, dtype):
    """S0.76, S0.78."""
    found = convert(tmp_path, {}, definition(dtype=dtype, vocab_size=10, embedding_dim=4))
    assert age(found).hash_bucket_size == 10
    assert found.pipeline.data_config.hash_function == FARM_HASH
    assert not age(found).HasField("out_of_range")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "float", "int32", "int64"])
def test_numbers_without_vocabulary_enter_as_they_are(tmp_path, dtype):
    """S0.75, S0.76: a missing one is 0."""
    numbers, _ = encoded(made(tmp_path, dtype=dtype), "3", None, "-7")
    assert numbers.tolist() == [[3.0], [0.0], [-7.0]]
    found = convert(tmp_path, {}, definition(dtype=dtype, embedding_dim=4, embedding_name="x"))
    for name in ("embedding_dim", "embedding_name"):
        assert f"inputs.defs[0].{name}: a number without vocabulary" in found.plain


@pytest.mark.parametrize(("shape", "width"), [(1, 1), ([1], 1), (3, 3), ([3], 3), ([2, 2], 4)])
def test_the_shape_of_numbers_is_how_many_a_row_has(tmp_path, shape, width):
    """S0.75, S0.81: between val_sep."""
    feature = made(tmp_path, dtype="float32", shape=shape, val_sep="|")
    numbers, _ = encoded(feature, "|".join(str(n) for n in range(width)), None)
    assert numbers.tolist() == [[float(n) for n in range(width)], [0.0] * width]


@pytest.mark.parametrize("default", [None, 0, 4, -2.5])
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (3.0, 2.0), (-1e3, 1e-3)])
def test_numbers_are_scaled_and_so_is_what_stands_for_a_missing_one(tmp_path, default, mean, std):
    """S0.75: where the job comes from, the default goes in before the scaling."""
    feature = made(
        tmp_path, dtype="float32", zscore=True, mean=mean, std=std, default_value=default
    )
    numbers, _ = encoded(feature, "5", None)
    expected = [[(5 - mean) / std], [((default or 0) - mean) / std]]
    np.testing.assert_allclose(numbers, expected, rtol=1e-6)


def test_mean_and_deviation_without_zscore_are_reported(tmp_path):
    """S0.75."""
    found = convert(tmp_path, {}, definition(dtype="float32", mean=1, std=2))
    assert not age(found).HasField("normalizer")
    assert "inputs.defs[0].mean: zscore is not true" in found.plain


@pytest.mark.parametrize("cuts", [[0, 10, 100], [100, 0, 10], [-1.5]])
def test_boundaries_cut_numbers_into_rows(tmp_path, cuts):
    """S0.75: the bucket is the number of boundaries that are not above the number."""
    feature = made(tmp_path, dtype="int32", bucket_boundaries=cuts, embedding_dim=4)
    cells = ["-5", "0", "5", "10", "1000", None]
    ids, _ = encoded(feature, *cells)
    assert ids.values.tolist() == [sum(cut <= float(cell or 0) for cut in cuts) for cell in cells]
    assert feature.table.rows == len(cuts) + 1


def test_boundaries_go_before_a_vocabulary(tmp_path):
    """S0.75."""
    found = convert(tmp_path, {}, definition(**INT, bucket_boundaries=[1, 2]))
    assert list(age(found).boundaries) == [1, 2]
    assert "inputs.defs[0].vocab_size: bucket_boundaries are set" in found.plain


@pytest.mark.parametrize("dtype", ["int32", "str"])
def test_words_have_rows_and_unknown_ones_have_one_for_all(tmp_path, dtype):
    """S0.75: from a list, or from a file in the folder of the job."""
    (tmp_path / "words.txt").write_text("30\n10\n 20 \n\n")
    for settings in ({"vocab_list": ["30", "10", "20"]}, {"vocab_file": "words.txt"}):
        feature = made(tmp_path, dtype=dtype, embedding_dim=4, **settings)
        ids, tally = encoded(feature, "10", "20", "30", "40", "50")
        rows = ids.values.tolist()
        assert len(set(rows[:3])) == 3
        assert rows[3] == rows[4]
        assert rows[3] not in rows[:3]
        assert tally.unknown == 2
    if dtype == "int32":
        found = convert(
            tmp_path, {}, definition(dtype=dtype, vocab_list=[7, "08"], embedding_dim=4)
        )
        assert list(age(found).vocab_list) == ["7", "8"]


@pytest.mark.parametrize(
    ("settings", "ids"),
    [
        ({**INT}, [0]),
        ({**INT, "default_value": 3}, [3]),
        ({**INT, "default_value": 13}, [3]),
        ({**INT, "default_value": -1}, [9]),
        ({**INT, "default_value": "7"}, [7]),
        ({**INT, "default_value": 7.0}, [7]),
        ({**INT, "val_sep": "|"}, []),
        ({**INT, "val_sep": "|", "default_value": "1|2"}, [1, 2]),
        ({**TEXT}, []),
    ],
)
def test_a_missing_id_is_the_default_or_zero_or_nothing(tmp_path, settings, ids):
    """S0.75: 0 for a number, nothing for text and for lists, as where the job comes from."""
    found, _ = encoded(made(tmp_path, **settings), None)
    assert found.values.tolist() == ids


@pytest.mark.parametrize("combiner", [None, "mean", "sum", "MEAN"])
def test_several_values_of_a_cell_lie_between_val_sep_and_are_combined(tmp_path, combiner):
    """S0.75, S0.81: the mean unless told. Without val_sep a cell is one value."""
    feature = made(tmp_path, **INT, val_sep="|", embedding_combiner=combiner)
    ids, _ = encoded(feature, "1|2|13", "4")
    assert ids.values.tolist() == [1, 2, 3, 4]
    assert ids.lengths.tolist() == [3, 1]
    assert feature.pooling == (combiner or "mean").lower()
    whole, _ = encoded(made(tmp_path, **TEXT), "1|2|13", "4")
    assert len(whole.values) == 2


def test_features_with_one_table_name_it(tmp_path):
    """S0.75."""
    inputs = definition(**INT, embedding_name="shared")
    inputs["inputs.defs[1]"] = {"name": "age_level", **INT, "embedding_name": "shared"}
    found = convert(tmp_path, {}, inputs)
    assert {found.features[name].embedding_name for name in ("age", "age_level")} == {"shared"}
    inputs["inputs.defs[1]"]["embedding_dim"] = 5
    (said,) = refused(tmp_path, {}, inputs)
    assert "inputs.defs[1].embedding_name: is 'shared', but inputs.defs[0] describes that" in said


@pytest.mark.parametrize("name", INITIALIZERS)
def test_tables_begin_as_in_keras(tmp_path, name):
    """S0.75: mean 0 and Keras's spread, over a large table; uniform in +-0.05 unless told."""
    import torch

    found = convert(tmp_path, {}, definition(**INT, embedding_initializer=name))
    table = torch.empty(400, 100, dtype=torch.float64)
    table_initializer(age(found).init_fn, 400)(table, torch.Generator().manual_seed(1), 400)
    cut = 0.05 * math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))
    spread = {
        **dict.fromkeys(["uniform", "random_uniform"], 0.05 / math.sqrt(3)),
        **dict.fromkeys(["normal", "random_normal"], 0.05),
        "truncated_normal": cut,
        "glorot_uniform": math.sqrt(2 / 500),
        "zeros": 0,
        "ones": 0,
    }[name]
    assert abs(float(table.std()) - spread) < 0.02 * spread + 1e-12
    assert abs(float(table.mean()) - (name == "ones")) < 0.02 * spread + 1e-12
    default = convert(tmp_path, {}, definition(**INT))
    assert age(default).init_fn == "nn.init.uniform_,a=-0.05,b=0.05"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dtype": "in32"}, "dtype: is 'in32'; give one of int, float, str; did you mean 'int32'"),
        ({}, "dtype: is not set"),
        ({**INT, "embedding_combiner": "max"}, "embedding_combiner: 'max' is not supported"),
        ({**INT, "embedding_combiner": "min"}, "embedding_combiner: 'min' is not supported"),
        ({**INT, "embedding_combiner": "men"}, "did you mean 'mean'"),
        ({**INT, "embedding_initializer": "he_uniform"}, "embedding_initializer: is 'he_uniform'"),
        ({**INT, "embedding_dim": None}, "embedding_dim: is not set"),
        ({**INT, "embedding_dim": 0}, "embedding_dim: is 0; give 1 or more"),
        ({**INT, "vocab_size": 0}, "vocab_size: is 0; give 1 or more"),
        ({**INT, "vocab_list": ["1"]}, "vocab_list: is set, and so is vocab_size; keep one"),
        ({**INT, "hash_type": "md5"}, "hash_type: is 'md5'; give hash or mod"),
        ({**TEXT, "hash_type": "mod"}, "hash_type: is mod, which text cannot have"),
        ({**INT, "num_oov_buckets": 2}, "num_oov_buckets: above 1 is not supported"),
        ({**INT, "default_value": [1]}, "default_value: is a list; give one value"),
        ({**INT, "default_value": "x"}, "default_value: is 'x'; give a whole number"),
        ({**INT, "one_hot": True}, "one_hot: is not supported; give embedding_dim"),
        ({**INT, "weight_col": "w"}, "weight_col: is not supported"),
        ({**INT, "self_weighted": True}, "self_weighted: is not supported"),
        ({**INT, "max_len": 5}, "max_len: is not supported"),
        ({**INT, "padding": 1}, "padding: is not supported"),
        ({**INT, "embedding_l1_reg": 0.1}, "embedding_l1_reg: is not supported"),
        ({**INT, "embedding_l2_reg": 0.1}, "embedding_l2_reg: is not supported"),
        ({"dtype": "str", "embedding_dim": 4}, "vocab_size: is not set; give vocab_size"),
        ({"dtype": "float32", "vocab_size": 5}, "vocab_size: is not supported for floats"),
        ({"dtype": "str", "bucket_boundaries": [1], "embedding_dim": 4}, "dtype is text"),
        ({"dtype": "int32", "bucket_boundaries": [1, 1], "embedding_dim": 4}, "a number twice"),
        (
            {"dtype": "int32", "bucket_boundaries": [], "embedding_dim": 4},
            "is []; give a list of numbers",
        ),
        ({"dtype": "int32", "bucket_boundaries": [1]}, "embedding_dim: is not set"),
        ({"dtype": "float32", "zscore": True, "mean": 1}, "zscore: needs mean, and std above 0"),
        ({"dtype": "float32", "zscore": True, "mean": 1, "std": 0}, "std above 0"),
        ({"dtype": "float32", "shape": [0]}, "shape: is [0]; give the number of values"),
        ({"dtype": "float32", "shape": [None]}, "shape: is [None]"),
        ({"dtype": "float32", "default_value": "x"}, 'default_value: is "x"; give a number'),
        (
            {"dtype": "str", "vocab_list": [], "embedding_dim": 4},
            "is []; give a list of words",
        ),
        ({"dtype": "str", "vocab_list": ["a", "a"], "embedding_dim": 4}, "lists a word twice"),
        (
            {"dtype": "int", "vocab_list": ["a"], "embedding_dim": 4},
            "give whole numbers",
        ),
        ({"dtype": "str", "vocab_file": "no.txt", "embedding_dim": 4}, "cannot read no.txt"),
    ],
)
def test_what_a_definition_cannot_say_is_refused_with_its_path(tmp_path, settings, words):
    """S0.75, S0.76."""
    said = refused(tmp_path, {}, definition(**settings))
    assert any(words in line for line in said), said
    assert all(line.startswith("model_input_config.json: inputs.defs[0].") for line in said)


def test_all_faults_of_all_definitions_are_told_at_once(tmp_path):
    """S0.75."""
    inputs = {f"inputs.defs[{n}].dtype": "x" for n in (0, 3, 7)} | {"inputs.defs[4].vocabsize": 3}
    assert len(refused(tmp_path, {}, inputs)) == 4


def test_keys_that_tell_how_tensors_are_held_have_no_effect(tmp_path):
    """S0.75."""
    found = convert(tmp_path, {}, definition(**INT, is_ragged=True, is_sparse=False, shape=[3]))
    assert "inputs.defs[0].is_ragged: a row has as many values as its cell" in found.plain
    assert "is_sparse" not in found.plain
    assert "inputs.defs[0].shape: a row has as many values as its cell" in found.plain


def test_a_column_whose_name_cannot_be_a_features_is_read_by_expression(tmp_path):
    """S0.75."""
    inputs = {"inputs.defs[0].name": "the age (years)", "inputs.groups.wide[0]": "the age (years)"}
    inputs["inputs.groups.mmoe[0]"] = "the age (years)"
    found = convert(tmp_path, {}, inputs)
    feature = found.features["the_age_years_"]
    assert feature.expression == "user:the age (years)"
    assert found.pipeline.model_config.feature_groups[0].feature_names[0] == "the_age_years_"
    assert not found.features["sex"].HasField("expression")


def groups(found) -> dict[str, list[str]]:
    """{group: features}, and the check that just these have definitions."""
    pipeline = found.pipeline
    names = {g.group_name: list(g.feature_names) for g in pipeline.model_config.feature_groups}
    assert {name for group in names.values() for name in group} == set(found.features)
    return names


def test_the_groups_of_the_seed(tmp_path):
    """S0.73, S0.77, S0.82: 11 features, 7 wide, 6 deep, 3 of them in both; one in none."""
    found = convert(tmp_path)
    names = groups(found)
    assert [len(names["wide"]), len(names["mmoe"])] == [7, 6]
    assert set(names["wide"]) & set(names["mmoe"]) == {"age", "age_level", "sex"}
    assert "wifi_play_time" not in found.features
    assert "in no group that is read, and left out: wifi_play_time" in found.report


def test_a_list_without_groups_is_in_both_and_the_report_says_so(tmp_path):
    """S0.74: version 1, with and without saying so; version 2 without groups."""
    defs = INPUTS["inputs"]["defs"]
    features = [each["name"] for each in defs if not each.get("is_label")]
    for inputs in (
        {"version": 1, "inputs": defs},
        {"version": "1", "inputs": defs},
        {"version": REMOVED, "inputs": defs},
        {"version": 2, "inputs": {"defs": defs}},
        {"version": 2, "inputs": {"defines": defs, "groups": {}}},
    ):
        found = convert(tmp_path, {}, inputs)
        assert groups(found) == {"wide": features, "mmoe": features}
        assert "all features are in both groups, wide and mmoe" in found.plain
        only = convert(tmp_path, {f"{MODEL}.use_wide": False}, inputs)
        assert groups(only) == {"mmoe": features}


def test_version_1_may_define_inputs_by_group(tmp_path):
    """S0.74: one that stands in two groups alike is one feature; labels are no features."""
    defs = INPUTS["inputs"]["defs"]
    inputs = {"version": 1, "inputs": {"wide": defs[:3], "mmoe": [*defs[2:6], *defs[-5:]]}}
    found = convert(tmp_path, {}, inputs)
    assert groups(found) == {
        "wide": ["age", "age_level", "sex"],
        "mmoe": ["sex", "degree", "city_level", "os_type"],
    }
    labels = "is_click, play_num1, play_num5, playtime_3000, is_favor"
    assert f"no features, and left out of mmoe: {labels}" in found.plain
    other = {**defs[2], "vocab_size": 99}
    inputs["inputs"]["mmoe"] = [other, *defs[-5:]]
    (said,) = refused(tmp_path, {}, inputs)
    assert "'sex' is defined differently at inputs.wide[2]" in said


@pytest.mark.parametrize("version", [0, 3, "2.0", "two", 1.5])
def test_other_versions_are_refused(tmp_path, version):
    """S0.74."""
    said = refused(tmp_path, {}, {"version": version})
    assert said[0].startswith("model_input_config.json: version: is ")
    assert said[0].endswith("; give 1 or 2")


def test_a_forgotten_version_is_told(tmp_path):
    """S0.73."""
    said = refused(tmp_path, {}, {"version": REMOVED})
    assert "version: is 1, but inputs has defs, as version 2 does; set it to 2" in said[0]


def test_without_a_wide_group_there_is_no_wide_side_unless_the_job_asks_for_it(tmp_path):
    """S0.12, S0.77."""
    inputs = {"inputs.groups.wide": REMOVED}
    (said,) = refused(tmp_path, {f"{MODEL}.use_wide": True}, inputs)
    assert said.startswith(
        f"job.json: {MODEL}.use_wide: is true, but the inputs have no group wide"
    )
    found = convert(tmp_path, {f"{MODEL}.use_wide": REMOVED}, inputs)
    assert not found.model.use_wide
    assert found.model.HasField("use_wide")
    assert "there is no wide side (use_wide: false)" in found.plain
    assert list(groups(found)) == ["mmoe"]


def test_a_wide_group_that_is_not_used_is_not_read(tmp_path):
    """S0.2, S0.12, S0.77."""
    found = convert(tmp_path, {f"{MODEL}.use_wide": False})
    assert list(groups(found)) == ["mmoe"]
    assert "inputs, group wide: use_wide is false" in found.plain
    assert "left out: degree, city_level, os_type, genre_0" in found.plain


def test_groups_of_other_names_are_reported_with_the_one_that_may_be_meant(tmp_path):
    """S0.77."""
    found = convert(tmp_path, {}, {"inputs.groups.deep": ["age"]})
    assert "inputs, group deep: this model reads wide and mmoe" in found.plain
    inputs = {"inputs.groups.mmoe": REMOVED, "inputs.groups.mmoe_v2": ["age"]}
    said = "\n".join(refused(tmp_path, {}, inputs))
    assert "inputs: has no group mmoe; did you mean 'mmoe_v2'" in said


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"inputs.groups.wide[1]": "age_levle"}, "'age_levle' is not in defs; did you mean 'age_l"),
        ({"inputs.groups.wide[1]": "age"}, "groups.wide[1]: 'age' is listed twice"),
        ({"inputs.groups.wide": "age"}, 'groups.wide: is "age"; give a list'),
        ({"inputs.groups.mmoe": ["is_click"]}, "the group mmoe holds no features"),
        ({"inputs.groups": ["wide"]}, "groups: is a list; give {group: [names]}"),
        ({"inputs.defs[1].name": "age"}, "defs[1].name: is 'age', which is defined twice"),
        ({"inputs.defs[1].name": " "}, "defs[1].name: is not set; name the column"),
        ({"inputs.defs[1]": "age"}, 'defs[1]: is "age"; give an object'),
        ({"inputs.defs": REMOVED}, "defs: is not set"),
        ({"inputs": REMOVED}, "inputs: is not set"),
        ({"inputs": []}, "inputs: is a list; give an object"),
        ({"version": 1, "inputs": []}, "inputs: defines nothing"),
        ({"version": 1, "inputs": 5}, "inputs: is 5; give a list"),
    ],
)
def test_what_groups_and_definitions_cannot_be_is_refused(tmp_path, inputs, words):
    """S0.73, S0.74, S0.77."""
    said = refused(tmp_path, {}, inputs)
    assert any(words in line for line in said), said


def test_an_excluded_input_is_no_feature(tmp_path):
    """S0.75."""
    found = convert(tmp_path, {}, {"inputs.defs[0].exclude": True})
    assert "age" not in found.features
    assert groups(found)["wide"][0] == "age_level"
    assert "no features, and left out of wide: age" in found.plain


def test_a_column_of_weights_weighs_the_rows_of_every_task(tmp_path):
    """S0.75."""
    inputs = {"inputs.defs[6]": {"name": "genre_0", "dtype": "float32", "is_sample_weight": True}}
    found = convert(tmp_path, {}, inputs)
    assert list(found.pipeline.data_config.sample_weight_fields) == ["genre_0"]
    assert {tower.sample_weight_name for tower in found.model.task_towers} == {"genre_0"}
    assert "genre_0" not in found.features
    assert "genre_0 weighs rows by their share of a batch's weights" in found.plain
    inputs["inputs.defs[5].is_sample_weight"] = True
    said = "\n".join(refused(tmp_path, {}, inputs))
    assert "os_type, genre_0 are all is_sample_weight: true; keep one" in said
