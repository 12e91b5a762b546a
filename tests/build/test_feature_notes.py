"""A feature's setting without effect gives exactly one line; one that is used gives none."""

import pytest
from written import CONFIG, SHIPPED, changed, load, loaded, said

from tzmmoe.build.features import feature_notes

BATCH, EPOCHS, MODE = "batch_size: 8", "num_epochs: 1", "FG_DAG"
USER, ITEM, PRICE = ('feature_name: "user"', 'feature_name: "item"', 'feature_name: "price"')
BOUNDARIES = "boundaries: [1, 2] embedding_dim: 4"

# Changes to the config, and a part of the one line that they make.
NOTES = [
    ([(BATCH, "sample_mask_prob: 0.1")], "sample_mask_prob has no effect: no feature sets use_m"),
    ([(USER, f"{USER} use_mask: true")], "use_mask of user has no effect without data_config.sa"),
    ([(MODE, "FG_NONE"), (USER, f"{USER} expression: 'user:id'")],
     "expression of user has no effect under fg_mode: FG_NONE"),
    ([(MODE, "FG_NONE"), (USER, f"{USER} default_value: 'x'")],
     "default_value of user has no effect under fg_mode: FG_NONE"),
    ([(MODE, "FG_NONE"), (USER, f"{USER} separator: ';'"), (ITEM, f"{ITEM} separator: ';'")],
     "separator of user, item has no effect under fg_mode: FG_NONE"),
    ([(MODE, "FG_NONE"), (PRICE, f"{PRICE} normalizer: 'method=log10'")],
     "normalizer of price has no effect under fg_mode: FG_NONE"),
    ([(MODE, "FG_BUCKETIZE"), (USER, f"{USER} expression: 'user:id'")],
     "expression of user has no effect under fg_mode: FG_BUCKETIZE"),
    ([(MODE, "FG_BUCKETIZE"), (PRICE, f"{PRICE} normalizer: 'method=log10'")],
     "normalizer of price has no effect under fg_mode: FG_BUCKETIZE"),
    ([(MODE, "FG_BUCKETIZE"), (USER, f"{USER} fg_encoded_default_value: '1'")],
     "fg_encoded_default_value of user has no effect under fg_mode: FG_BUCKETIZE"),
    ([(MODE, "FG_NORMAL"), (USER, f"{USER} fg_encoded_default_value: '1'")],
     "fg_encoded_default_value of user has no effect under fg_mode: FG_NORMAL"),
    ([(USER, f"{USER} fg_encoded_default_value: '1'")],
     "fg_encoded_default_value of user has no effect under fg_mode: FG_DAG"),
    ([(USER, f"{USER} out_of_range: MODULO")], "out_of_range of user has no effect without num_"),
    *(([(BOUNDARIES, f"{name}: {value}")], f"{name} of price has no effect without boundaries")
      for name, value in [("embedding_name", "'x'"), ("init_fn", "'nn.init.zeros_'"),
                          ("pooling", "'mean'"), ("trainable", "false")]),
    *(([(BOUNDARIES, f"{BOUNDARIES} piecewise_linear {{}} {name}: {value}")],
       f"{name} of price has no effect with piecewise_linear")
      for name, value in [("init_fn", "'nn.init.zeros_'"), ("trainable", "false")]),
    ([(EPOCHS, "table_placement: REPLICATED"), (USER, f"{USER} embedding_constraints {{}}")],
     "embedding_constraints of user have no effect with table_placement: REPLICATED"),
    ([(MODE, "FG_NONE"), (USER, f"{USER} out_of_range: MODULO default_value: 'x'")],
     "default_value of user has no effect under fg_mode: FG_NONE"),
]  # fmt: skip

# Changes that have an effect, although something close to them has none.
QUIET = [
    [],
    [(BATCH, "sample_mask_prob: 0.1"), (USER, f"{USER} use_mask: true")],
    [(MODE, "FG_NONE"), (USER, f"{USER} expression: 'user:user'")],
    [(MODE, "FG_NONE"), (ITEM, f"{ITEM} out_of_range: MODULO fg_encoded_default_value: '1'")],
    [(MODE, "FG_NONE"), (USER, f"{USER} out_of_range: MODULO")],
    [(MODE, "FG_BUCKETIZE"), (USER, f"{USER} default_value: 'x' separator: ';'")],
    [(MODE, "FG_NORMAL"), (USER, f"{USER} expression: 'user:id' default_value: 'x'")],
    [(PRICE, f"{PRICE} normalizer: 'method=log10' embedding_name: 'x' trainable: false")],
    [(BOUNDARIES, f"{BOUNDARIES} piecewise_linear {{}} default_value: ''")],
    [(EPOCHS, "table_placement: SHARDED"), (USER, f"{USER} embedding_constraints {{}}")],
]


@pytest.mark.parametrize(("changes", "words"), NOTES)
def test_a_setting_without_effect_gives_exactly_one_line(tmp_path, changes, words):
    config = loaded(tmp_path, changed(*changes))
    assert said(config) == []  # it is no fault
    (only,) = feature_notes(config.pipeline)
    assert words in only


@pytest.mark.parametrize("changes", QUIET)
def test_a_setting_with_effect_gives_no_line(tmp_path, changes):
    config = loaded(tmp_path, changed(*changes))
    assert said(config) == []
    assert list(feature_notes(config.pipeline)) == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_config_sets_nothing_without_effect(path):
    assert list(feature_notes(load(path).pipeline)) == []


def test_the_small_config_of_these_tests_is_quiet(tmp_path):
    assert list(feature_notes(loaded(tmp_path, CONFIG).pipeline)) == []
