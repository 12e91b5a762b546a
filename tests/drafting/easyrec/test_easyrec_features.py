"""Features of EasyRec -> ours, and the values that they make of cells."""

from pathlib import Path

import numpy as np
import pytest
from data.assembled import chunk
from drafting.easyrec.pipelines import BUILT_IN, convert, line_of, refused
from written import changed

from tzmmoe.build import build
from tzmmoe.data.encode import Assembler
from tzmmoe.errors import Faults

PRICE = 'features { input_names: "price" feature_type: IdFeature embedding_dim: 4 num_buckets: 50 }'
PRICE_COLUMN = 'input_name: "price" input_type: INT32'


def pipeline(feature: str, kind: str = "STRING", more: str = "") -> str:
    """The pipeline with another feature of another column in place of the price."""
    column = f'input_name: "price" input_type: {kind} {more}'
    return changed((PRICE, feature), (PRICE_COLUMN, column), text=BUILT_IN)


def feature(type_: str, settings: str, kind: str = "STRING", more: str = "") -> str:
    """The pipeline with a feature of this type, of a column of this kind."""
    given = f'features {{ input_names: "price" feature_type: {type_} {settings} }}'
    return pipeline(given, kind, more)


def encoded(folder: Path, made, cells: list):
    """The inputs of the model for these cells of the price."""
    faults = Faults()
    built = build(made.pipeline, folder, faults)
    assert not faults
    rows = chunk({"user": ["u"] * len(cells), "tags": ["t"] * len(cells), "price": cells})
    [batch] = Assembler(built.features, (), helpers=built.helpers).assemble(rows).batches(100)
    return built, batch.inputs


def group(folder: Path, made, cells: list) -> np.ndarray:
    """What the model is fed for the price: the last columns of the group."""
    built, inputs = encoded(folder, made, cells)
    x_BD = built.model.eval().encoder(inputs)["all"].detach().numpy()
    return x_BD[:, 8:]


def table(folder: Path, made) -> np.ndarray:
    """The rows of the price's table, as encoding each of them in turn shows it."""
    faults = Faults()
    built = build(made.pipeline, folder, faults)
    for tables in built.model.encoder.tables.values():
        if "price_emb" in {table.name for table in tables.tables}:
            return tables.rows_of("price_emb", tables.weight).detach().numpy()
    raise AssertionError("no table of the price")


def test_numbers_outside_the_buckets_read_row_0_and_missing_ones_nothing(tmp_path: Path) -> None:
    """-1 and an empty cell add nothing; 50 and 99 lie outside."""
    made = convert(tmp_path, feature("IdFeature", "embedding_dim: 4 num_buckets: 50", kind="INT32"))
    own = table(tmp_path, made)
    found = group(tmp_path, made, [7, 0, 50, 99, -1, None])
    wanted = [own[7], own[0], own[0], own[0], np.zeros(4), np.zeros(4)]
    np.testing.assert_allclose(found, wanted)
    assert "an empty cell and -1 add nothing" in made.plain


def test_an_empty_text_adds_nothing_and_an_empty_integer_is_0_or_default_val(
    tmp_path: Path,
) -> None:
    hashed = "embedding_dim: 4 hash_bucket_size: 11"
    text = convert(tmp_path, feature("IdFeature", hashed))
    assert not group(tmp_path, text, ["", None]).any()
    assert group(tmp_path, text, ["-1"]).any(), "only num_buckets leaves it out"
    for more, wanted in (("", "0"), ('default_val: "7"', "7")):
        made = convert(tmp_path, feature("IdFeature", hashed, kind="INT64", more=more))
        assert made.features["price"].default_value == wanted
        found = group(tmp_path, made, [None, int(wanted)])
        np.testing.assert_array_equal(found[0], found[1])


def test_words_that_a_vocabulary_lacks_read_its_first_row(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a\nb\nc\n")
    for settings in ('vocab_list: ["a", "b", "c"]', 'vocab_file: "words.txt"'):
        made = convert(tmp_path, feature("IdFeature", f"embedding_dim: 4 {settings}"))
        own = table(tmp_path, made)
        assert own.shape == (3, 4)
        np.testing.assert_allclose(group(tmp_path, made, ["b", "x", "a", "c"]), own[[1, 0, 0, 2]])


def test_weights_of_tags_follow_a_colon(tmp_path: Path) -> None:
    made = convert(
        tmp_path, feature("TagFeature", "embedding_dim: 4 num_buckets: 9 kv_separator: ':'")
    )
    own = table(tmp_path, made)
    found = group(tmp_path, made, ["1:0.5|3:2", "", "8:1|99:1"])
    wanted = [0.5 * own[1] + 2 * own[3], np.zeros(4), own[8] + own[0]]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_tables_start_as_easyrecs_a_truncated_normal_by_the_root_of_the_width(
    tmp_path: Path,
) -> None:
    """Its standard deviation, cut at two of those, is 0.87963 of the whole one's."""
    made = convert(tmp_path, feature("IdFeature", "embedding_dim: 16 hash_bucket_size: 5000"))
    own, std = table(tmp_path, made), 0.01 / 4
    assert abs(own).max() <= 2 * std
    assert own.std() == pytest.approx(0.87963 * std, rel=0.02)
    assert own.mean() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("truncated_normal_initializer { mean: 1 stddev: 0.5 }",
         "nn.init.trunc_normal_,mean=1,std=0.5,a=0,b=2"),
        ("random_normal_initializer { stddev: 0.25 }", "nn.init.normal_,mean=0,std=0.25"),
        ("glorot_normal_initializer {}", "nn.init.xavier_normal_"),
        ("constant_initializer { consts: 0.5 }", "nn.init.constant_,val=0.5"),
    ],
)  # fmt: skip
def test_initializers(tmp_path: Path, theirs: str, ours: str) -> None:
    settings = f"embedding_dim: 4 hash_bucket_size: 9 initializer {{ {theirs} }} combiner: 'mean'"
    made = convert(tmp_path, feature("IdFeature", settings)).features["price"]
    assert (made.init_fn, made.pooling) == (ours, "mean")


def test_numbers_are_scaled_and_an_empty_cell_with_them(tmp_path: Path) -> None:
    """An empty cell is 0, or default_val, before the scaling."""
    for more, empty in (("", 0.0), ('default_val: "15"', 15.0)):
        settings = "min_val: 10 max_val: 20"
        made = convert(tmp_path, feature("RawFeature", settings, kind="DOUBLE", more=more))
        found = group(tmp_path, made, [10.0, 20.0, 12.5, None])
        np.testing.assert_allclose(found[:, 0], [0, 1, 0.25, (empty - 10) / 10])


def test_functions_apply_after_the_scaling(tmp_path: Path) -> None:
    settings = 'min_val: 10 max_val: 20 normalizer_fn: "tf.math.log1p"'
    made = convert(
        tmp_path, feature("RawFeature", settings, kind="DOUBLE", more='default_val: "10"')
    )
    found = group(tmp_path, made, [10.0, 20.0, None])
    np.testing.assert_allclose(found[:, 0], np.log1p([0, 1, 0]), rtol=1e-6)


def test_buckets_of_equal_width_cut_the_scaled_number(tmp_path: Path) -> None:
    """At 0, 1/4, 2/4 and 3/4: five rows, the first for numbers below min_val."""
    settings = "min_val: 0 max_val: 8 num_buckets: 4 embedding_dim: 4"
    made = convert(tmp_path, feature("RawFeature", settings, kind="DOUBLE"))
    own = table(tmp_path, made)
    assert own.shape == (5, 4)
    found = group(tmp_path, made, [-1.0, 0.0, 1.9, 2.0, 4.0, 7.0, 99.0, None])
    np.testing.assert_allclose(found, own[[0, 1, 1, 2, 3, 4, 4, 1]])


def test_boundaries_are_sorted_and_cut_as_they_are(tmp_path: Path) -> None:
    settings = "boundaries: [5, 1] embedding_dim: 4 hash_bucket_size: 7 num_buckets: 3"
    made = convert(tmp_path, feature("RawFeature", settings, kind="FLOAT"))
    own = table(tmp_path, made)
    np.testing.assert_allclose(group(tmp_path, made, [0.0, 1.0, 5.0]), own[[0, 1, 2]])
    assert "features[2].hash_bucket_size: a RawFeature has no table by number" in made.plain
    assert "features[2].num_buckets: boundaries are set" in made.plain


def test_a_number_with_an_embedding_is_a_sum_of_vectors(tmp_path: Path) -> None:
    """value_i times vector_i, without bias."""
    settings = 'embedding_dim: 4 raw_input_dim: 2 separator: "|"'
    made = convert(tmp_path, feature("RawFeature", settings))
    found = group(tmp_path, made, ["1|0", "0|1", "3|-2", ""])
    np.testing.assert_allclose(found[2], 3 * found[0] - 2 * found[1], rtol=1e-5, atol=1e-7)
    assert not found[3].any()
    assert found[:2].any()


def test_a_feature_may_have_another_name_than_its_column_and_share_its_setting(
    tmp_path: Path,
) -> None:
    text = pipeline(
        'features { feature_name: "cost" input_names: "price" feature_type: IdFeature '
        'embedding_dim: 4 hash_bucket_size: 9 embedding_name: "e" shared_names: "user2" }',
        more="} input_fields { input_name: 'user2'",
    )
    made = convert(
        tmp_path, changed(('feature_names: "price"', 'feature_names: "cost"'), text=text)
    )
    assert [*made.features] == ["user", "tags", "cost", "user2"]
    assert made.features["cost"].expression == "user:price"
    assert made.features["user2"].embedding_name == made.features["cost"].embedding_name == "e"


OTHERS = {
    "SequenceFeature": "sequences are not supported yet",
    "ComboFeature": "join the columns into one",
    "LookupFeature": "write the value into a column",
    "ExprFeature": "write the value into a column",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_kinds_without_counterpart_are_refused_with_what_is_near_or_left_out_where_unread(
    tmp_path: Path, kind: str
) -> None:
    given = f'features {{ input_names: "price" feature_type: {kind} hash_bucket_size: 9 }}'
    text = pipeline(given)
    [said] = refused(tmp_path, text)
    line = line_of(text, f"feature_type: {kind}")
    assert said.startswith(
        f"theirs.config:{line}: feature_config.features[2].feature_type: is {kind}"
    )
    assert OTHERS[kind] in said
    made = convert(tmp_path, changed(('feature_names: "price"', ""), text=text))
    assert "price" not in made.features
    assert f"feature_config.features[2]: price, a {kind}: no feature group reads it" in made.plain


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        ("IdFeature embedding_dim: 4", "hash_bucket_size", "is not set; give it, num_buckets"),
        ("IdFeature hash_bucket_size: 4", "embedding_dim", "is not set"),
        ("IdFeature embedding_dim: 4 hash_bucket_size: 4 combiner: 'sqrtn'", "combiner",
         "is 'sqrtn'; give sum or mean"),
        ("IdFeature embedding_dim: 4 hash_bucket_size: 4 ev_params {}", "ev_params",
         "give hash_bucket_size"),
        ("IdFeature embedding_dim: 4 hash_bucket_size: 4 precision: 2", "precision",
         "write ids as text"),
        ("IdFeature embedding_dim: 4 hash_bucket_size: 4 initializer { constant_initializer "
         "{ consts: [1, 2] } }", "consts", "give one"),
        ("TagFeature embedding_dim: 4 num_buckets: 4 kv_separator: '='", "kv_separator",
         "weights follow a colon"),
        ("TagFeature embedding_dim: 4 num_buckets: 4 input_names: 'user'", "input_names[1]",
         "write value:weight into one"),
        ("TagFeature embedding_dim: 4 num_buckets: 4 kv_separator: ':' combiner: 'mean'",
         "combiner", "weighted values are summed here"),
        ("RawFeature embedding_dim: 4 raw_input_dim: 2 boundaries: 1", "raw_input_dim",
         "split them into features"),
        ("RawFeature normalizer_fn: 'mine.scale'", "normalizer_fn", "give tf.math.log1p"),
        ("RawFeature normalizer_fn: 'tf.math.log'", "normalizer_fn", "another default_val"),
        ("RawFeature embedding_dim: 4 combiner: 'mean'", "combiner", "give sum"),
    ],
)  # fmt: skip
def test_settings_without_counterpart_are_refused_at_their_line(
    tmp_path: Path, given: str, path: str, words: str
) -> None:
    text = pipeline(f'features {{ input_names: "price" feature_type: {given} }}')
    [said] = refused(tmp_path, text)
    line = line_of(text, 'features { input_names: "price"')
    place, where, rest = said.split(": ", 2)
    assert place == f"theirs.config:{line}"
    assert where.startswith("feature_config.features[2]")
    assert where.endswith(path)
    assert words in rest


def test_a_column_that_is_not_listed_is_told_with_its_neighbour(tmp_path: Path) -> None:
    text = changed(
        ('features { input_names: "user"', 'features { input_names: "usr"'), text=BUILT_IN
    )
    said = refused(tmp_path, text)
    assert "'usr' is not among data_config.input_fields; did you mean 'user'?" in "\n".join(said)


def test_the_start_of_tables_and_kernels_is_reported_as_a_default(tmp_path: Path) -> None:
    made = convert(tmp_path, BUILT_IN)
    said = made.said.text()
    defaults = " ".join(said[said.index("not in the pipeline") :].split())
    assert (
        "feature_configs: init_fn a truncated normal of standard deviation 0.01 / sqrt" in defaults
    )
    assert "dense_start KERAS" in defaults
    assert all("# default" in line for line in made.text.splitlines() if "init_fn" in line)
