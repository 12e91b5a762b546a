"""Config -> objects: what is made of which setting, and every fault with the user's own path."""

import logging
import math
from pathlib import Path

import pytest
import torch
from written import CONFIG, ROOT, built, changed, load, loaded, said_of_all

from tzmmoe import build
from tzmmoe.build.features import feature_settings
from tzmmoe.data.reading.files import Reading
from tzmmoe.errors import Faults
from tzmmoe.features import FeatureSettings
from tzmmoe.tasks.task import TaskSpace

USER, ITEM, PRICE = ('feature_name: "user"', 'feature_name: "item"', 'feature_name: "price"')
HASH, BUCKETS = "hash_bucket_size: 10", "num_buckets: 20"
ID = "feature_configs[0].id_feature"
RAW = "feature_configs[2].raw_feature"
CTR = "model_config.mmoe.task_towers[0]"
LABEL = 'label_name: "click"'
LOSS, METRIC = "losses { binary_cross_entropy {} }", "metrics { auc {} }"
ADAM = "adam_optimizer { lr: 0.01 }"
DENSE = "train_config.dense_optimizer"

# What stands instead of what, and the path and a part of the fault that it makes.
FAULTS = [
    (HASH, "", ID, "has none of hash_bucket_size, num_buckets, vocab_list, vocab_dict, vocab_fil"),
    (HASH, f"{HASH} num_buckets: 3", ID, "has hash_bucket_size and num_buckets; give one"),
    (HASH, "vocab_file: 'words.txt'", f"{ID}.default_bucketize_value", "not in vocab_file"),
    (HASH, "vocab_file: 'words.txt' default_bucketize_value: 0", f"{ID}.vocab_file", "not exist"),
    (f"{HASH} embedding_dim: 4", HASH, f"{ID}.embedding_dim", "is not set; give the width"),
    (USER, f"{USER} expression: 'usr:user'", f"{ID}.expression", "is 'usr:user'; write user:, it"),
    (USER, f"{USER} expression: 'feature:itm'", f"{ID}.expression", "did you mean 'item'?"),
    (USER, f"{USER} expression: 'feature:user'", "feature_configs", "in a ring: user -> user"),
    (USER, f"{USER} pooling: 'max'", f"{ID}.pooling", "is 'max'; give 'sum' or 'mean'"),
    (USER, 'feature_name: "a b"', f"{ID}.feature_name", "is 'a b'; use letters, digits, _ and -"),
    (USER, f"{USER} init_fn: 'nn.init.normal'", f"{ID}.init_fn", "no initializer 'nn.init.normal'"),
    (USER, f"{USER} embedding_name: 'item_emb'", "feature_configs", "share the table 'item_emb'"),
    ("boundaries: [1, 2]", "boundaries: [2, 1]", f"{RAW}.boundaries", "increasing"),
    (PRICE, f"{PRICE} autodis {{}}", f"{RAW}.autodis", "is set, and so is boundaries; keep one"),
    *(
        (
            f"{PRICE} boundaries: [1, 2]",
            f"{PRICE} autodis {{ {fields} }}",
            f"{RAW}.autodis.{name}",
            f"{said}; give",
        )
        for fields, name, said in [
            ("", "num_channels", "is not set"),
            ("num_channels: 0", "num_channels", "is 0"),
            ("num_channels: 2 temperature: 0", "temperature", "is 0"),
        ]
    ),
    (PRICE, f"{PRICE} normalizer: 'log'", f"{RAW}.normalizer", "method="),
    (PRICE, f"{PRICE} value_dim: 0", f"{RAW}.value_dim", "is 0; give 1 or more"),
    ("[4]", "[0]", "model_config.mmoe.expert_mlp.hidden_units", "is [0]; give widths above 0"),
    ("expert_mlp { hidden_units: [4] }", "", "model_config.mmoe.expert_mlp", "is not set; give ex"),
    ("num_expert: 2", "num_expert: 0", "model_config.mmoe.num_expert", "is 0; give 1 or more"),
    ("num_expert: 2", "gate_mlp {}", "model_config.mmoe.gate_mlp.hidden_units", "is []; give wid"),
    ("num_expert: 2", "num_expert: 4294967295", "model_config", "is larger than the memory"),
    (LABEL, f"{LABEL} mlp {{}}", f"{CTR}.mlp.hidden_units", "is []; give widths above 0"),
    (LABEL, f"{LABEL} num_class: 3", f"{CTR}.num_class", "binary_cross_entropy takes 1 logit"),
    ('tower_name: "ctr"', 'tower_name: "c.tr"', f"{CTR}.tower_name", "is 'c.tr'; use letters"),
    (LOSS, "losses {}", f"{CTR}.losses[0]", "is empty; give one of binary_cross_entropy, soft"),
    (LOSS, LOSS * 2, f"{CTR}.losses[1]", "binary_cross_entropy is listed twice; remove"),
    (METRIC, "metrics {}", f"{CTR}.metrics[0]", "is empty; give one of auc, "),
    (METRIC, METRIC * 2, f"{CTR}.metrics[1]", "auc is listed twice; remove"),
    (METRIC, "metrics { grouped_auc {} }", f"{CTR}.metrics[0].grouped_auc.grouping_key", "not set"),
    (LOSS, "losses { l2_loss {} }", f"{CTR}.metrics[0]", "but the losses give y"),
    ("auc {}", "grouped_auc { grouping_key: 'buy' }", "model_config", "as group and as label"),
    (LOSS, "losses { binary_cross_entropy { label_smoothing: 1 } }",
     f"{CTR}.losses[0].binary_cross_entropy.label_smoothing", "is 1; give 0 to below 1"),
    ("lr: 0.01", "lr: -1", "train_config.sparse_optimizer.adagrad_optimizer.lr", "is -1; give 0 o"),
    (ADAM, "adam_optimizer { beta1: 2 }", f"{DENSE}.adam_optimizer.beta1", "is 2; give 0 to"),
    (ADAM, "", DENSE, "has no optimizer; give one of sgd_optimizer"),
    ("dense_optimizer { adam_optimizer { lr: 0.01 } constant_learning_rate {} }", "", DENSE,
     "is not set; set sparse_optimizer and dense_optimizer, or only optimizer { adam_optimizer {"),
    (f"{ADAM} constant_learning_rate {{}}", f"{ADAM} cosine_annealing_learning_rate {{}}",
     f"{DENSE}.cosine_annealing_learning_rate.T_max", "is not set; give 1 or more"),
    ("num_epochs: 1", "early_stopping { monitor: 'auc' }", "train_config.early_stopping.monitor",
     "'auc' is not evaluated; choose from"),
    ("data_config", "export_config { best_exporter_metric: 'gauc' } data_config",
     "export_config.best_exporter_metric", "'gauc' is not evaluated; "),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "path", "words"), FAULTS)
def test_a_fault_of_what_is_made_has_the_path_of_its_setting(tmp_path, old, new, path, words):
    found = said_of_all(loaded(tmp_path, changed((old, new))))
    assert [line for line in found if f": {path}: " in line and words in line], found


def test_a_correct_config_builds_without_fault(tmp_path):
    made, found = built(loaded(tmp_path, CONFIG))
    assert found == []
    assert made is not None


def test_faults_of_text_checks_features_model_towers_and_optimizers_show_at_once(tmp_path):
    content = changed(
        ("batch_size", "batch_sise"),
        ("num_epochs: 1", "num_epochs: 0"),
        (HASH, ""),
        (f"{BUCKETS} embedding_dim: 4", BUCKETS),
        ("[4]", "[]"),
        ("num_expert: 2", "num_expert: 0"),
        (LABEL, f"{LABEL} mlp {{ hidden_units: 4 dropout_ratio: 2 }}"),
        (LOSS, "losses { xauc {} } losses {}"),
        (ADAM, "adam_optimizer { lr: -1 }"),
    )
    found = said_of_all(loaded(tmp_path, content))
    assert sorted(line.partition(": ")[2].partition(":")[0] for line in found) == sorted(
        [
            "data_config.batch_sise",
            "train_config.num_epochs",
            ID,
            "feature_configs[1].id_feature.embedding_dim",
            "model_config.mmoe.expert_mlp.hidden_units",
            "model_config.mmoe.num_expert",
            f"{CTR}.mlp.dropout_ratio",
            f"{CTR}.losses[0].xauc",
            f"{CTR}.losses[1]",
            f"{DENSE}.adam_optimizer.lr",
        ]
    )


def test_what_the_text_lacks_is_not_told_again_when_it_is_made(tmp_path):
    """The size and the layers cannot be read; that the feature and the MLP lack them follows."""
    content = changed((HASH, "hash_bucket_size: ten"), ("[4]", "[four]"))
    assert said_of_all(loaded(tmp_path, content)) == [
        f"my.config:15: {ID}.hash_bucket_size: is ten; give a whole number",
        "my.config:21: model_config.mmoe.expert_mlp.hidden_units[0]: is four; give a whole number",
    ]


@pytest.mark.parametrize("rows", [10**11, 2**63, 2**64 - 1])
def test_tables_larger_than_the_memory_are_a_fault_at_the_largest(tmp_path, rows):
    config = loaded(tmp_path, changed((BUCKETS, f"num_buckets: {rows}")))
    (only,) = said_of_all(config)
    assert only.startswith("my.config:16: feature_configs[1].id_feature: has a table of ")
    assert f"{rows * 16 / 1e9:,.1f} GB" in only  # 4 numbers of 4 bytes


def test_a_config_with_faults_has_no_model(tmp_path):
    assert built(loaded(tmp_path, changed((HASH, ""))))[0] is None
    assert built(loaded(tmp_path, changed(("batch_size: 8", "batch_size: 0"))))[0] is None


def weights(tmp_path: Path, *changes: tuple[str, str]) -> dict[str, torch.Tensor]:
    return dict(built(loaded(tmp_path, changed(*changes)))[0].model.named_parameters())


def test_the_seed_alone_decides_about_the_initial_weights(tmp_path):
    torch.manual_seed(7)
    first = weights(tmp_path)
    torch.manual_seed(8)
    second = weights(tmp_path)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = weights(tmp_path, ("data_config", "runtime_config { seed: 5 } data_config"))
    assert not any(torch.equal(first[n], other[n]) for n in first if first[n].count_nonzero())


def test_building_leaves_the_config_as_it_is(tmp_path):
    config = loaded(tmp_path, CONFIG)
    before = config.pipeline.SerializeToString(deterministic=True)
    built(config)
    assert config.pipeline.SerializeToString(deterministic=True) == before


def test_features_stand_in_the_order_of_the_groups_and_others_only_where_they_are_read(
    tmp_path, caplog
):
    content = changed(
        ('["user", "item", "price"]', '["price", "user"]'),
        (USER, f"{USER} expression: 'feature:source'"),
        (BUCKETS, f"{BUCKETS} expression: 'item:item'"),
        ("feature_configs", 'feature_configs { id_feature { feature_name: "source" num_buckets: 3 '
         "embedding_dim: 2 } } feature_configs"),
    )  # fmt: skip
    caplog.set_level(logging.WARNING)
    made, found = built(loaded(tmp_path, content))
    assert found == []
    assert [feature.name for feature in made.features] == ["price", "user"]
    assert [feature.name for feature in made.helpers] == ["source"]
    assert "these features are in no group that the model reads: item" in caplog.text


def test_towers_become_tasks_with_their_own_settings(tmp_path):
    content = changed((LABEL, f"{LABEL} weight: 0.25"))
    ctr, cvr = built(loaded(tmp_path, content))[0].tasks.tasks
    assert (ctr.name, ctr.label, ctr.weight, ctr.sample_weight) == (
        "ctr",
        "click",
        0.25,
        "importance",
    )
    assert (cvr.name, cvr.label, cvr.weight, cvr.sample_weight) == ("cvr", "buy", 1.0, None)
    assert ctr.space is None
    assert cvr.space == TaskSpace("click", inside=1.0, outside=0.0)
    assert not ctr.space_metrics
    assert set(cvr.space_metrics) == set(cvr.metrics)


def test_towers_that_name_no_label_take_them_in_order_and_a_line_says_so(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    content = changed(
        (LABEL, ""), ('label_name: "buy"', ""), ('["click", "buy"]', '["buy", "click"]')
    )
    made, found = built(loaded(tmp_path, content))
    assert found == []
    assert [task.label for task in made.tasks.tasks] == ["buy", "click"]
    assert "in order: ctr <- buy, cvr <- click" in caplog.text


@pytest.mark.parametrize(
    ("tower", "losses", "metrics"),
    [
        ("", ["binary_cross_entropy"], ["auc"]),
        ("losses { binary_cross_entropy {} }", ["binary_cross_entropy"], ["auc"]),
        ("losses { l2_loss {} }", ["l2_loss"], ["mean_absolute_error", "mean_squared_error"]),
        ("losses { softmax_cross_entropy {} } num_class: 2", ["softmax_cross_entropy"], ["auc"]),
        (
            "losses { softmax_cross_entropy {} } num_class: 3",
            ["softmax_cross_entropy"],
            ["accuracy"],
        ),
        ("metrics { logloss {} }", ["binary_cross_entropy"], ["logloss"]),
    ],
)
def test_a_tower_without_losses_or_metrics_has_those_that_suit_it(tmp_path, tower, losses, metrics):
    content = changed((LOSS, tower), (METRIC, ""))
    made, found = built(loaded(tmp_path, content))
    assert found == []
    task = made.tasks.tasks[0]
    assert list(task.losses) == losses
    assert list(task.metrics) == metrics


def test_the_model_has_the_shapes_that_the_config_says(tmp_path):
    content = changed(
        ("[4]", "[6, 5]"),
        ("num_expert: 2", "num_expert: 3 gate_mlp { hidden_units: 7 }"),
        (LABEL, f"{LABEL} mlp {{ hidden_units: 8 }}"),
    )
    shapes = {name: tuple(each.shape) for name, each in weights_of(tmp_path, content).items()}
    experts, inputs, tasks = 3, 4 + 4 + 4, 2
    assert math.prod(shapes["body.experts.layers.0.linear.weight"]) == experts * 6 * inputs
    assert math.prod(shapes["body.experts.layers.1.linear.weight"]) == experts * 5 * 6
    assert math.prod(shapes["body.gates.mlp.layers.0.linear.weight"]) == tasks * 7 * inputs
    assert math.prod(shapes["body.gates.final.weight"]) == tasks * experts * 7
    assert shapes["towers.tower_ctr.linear.weight"] == (1, 8)
    assert shapes["towers.tower_cvr.linear.weight"] == (1, 5)
    assert shapes["encoder.tables.width_4.weight"] == (10 + 20 + 3, 4)


def weights_of(tmp_path: Path, content: str) -> dict[str, torch.Tensor]:
    return dict(built(loaded(tmp_path, content))[0].model.named_parameters())


def test_what_data_config_says_to_features_reading_and_batches_arrives(tmp_path):
    config = loaded(
        tmp_path,
        changed(
            (
                "batch_size: 8",
                "batch_size: 8 eval_batch_size: 9 shuffle: true shuffle_buffer_size: 5 "
                "drop_remainder: true num_workers: 3 delimiter: ';' with_header: true "
                "dataset_type: CsvDataset hash_function: FARM_HASH fg_encoded_multival_sep: '|' "
                "input_fields { input_name: 'click' input_type: INT64 } "
                "input_fields { input_name: 'user' }",
            )
        ),
    ).pipeline.data_config
    assert feature_settings(config, tmp_path) == FeatureSettings(
        "FG_DAG", "|", "FARM_HASH", tmp_path, one_form=True
    )
    assert build.reading(config) == Reading(
        dataset_type="CsvDataset",
        delimiter=";",
        with_header=True,
        types={"click": "INT64", "user": None},
        targets=["click", "buy", "importance"],
        only_csv=["data_config.delimiter", "data_config.with_header", "data_config.input_fields"],
    )
    train = build.delivery(config, training=True, seed=6)
    config.pin_memory = False
    other = build.delivery(config, training=False, seed=6)
    assert (train.batch_size, other.batch_size) == (8, 9)
    assert (train.shuffle, other.shuffle) == (True, False)
    assert (train.drop_remainder, other.drop_remainder) == (True, False)
    assert (train.pin_memory, other.pin_memory) == (True, False)
    assert (train.shuffle_batches, train.num_workers, train.seed) == (5, 3, 6)


def test_an_unset_dataset_type_and_eval_batch_size_follow_the_path_and_the_batch_size(tmp_path):
    config = loaded(tmp_path, CONFIG).pipeline.data_config
    assert build.reading(config).dataset_type is None
    assert build.reading(config).only_csv == []
    assert build.delivery(config, training=False, seed=0).batch_size == 8


def test_the_mistake_of_another_class_is_not_taken_for_a_lack_of_memory(tmp_path, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr("tzmmoe.build.model.Encoder", broken)
    config = load(ROOT / "configs/census_income_mmoe.config")
    with pytest.raises(RuntimeError, match="mat1"):
        build.build(config.pipeline, tmp_path, Faults())
