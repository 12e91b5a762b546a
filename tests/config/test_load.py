"""A file -> a canonical config; the configs that ship, and those that TorchEasyRec's users have."""

import math
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cases import some
from written import (
    CONFIG,
    FIXTURES,
    SHIPPED,
    changed,
    lines,
    load,
    loaded,
    raises,
    read,
    said,
    said_of_all,
)

from tzmmoe.build import build
from tzmmoe.config.walk import messages
from tzmmoe.errors import ConfigError, DataError, Faults
from tzmmoe.pipeline import Pipeline
from tzmmoe.run.session import Session
from tzmmoe.textformat.outline import TOKEN

RUNNING = ["raw_columns", "encoded_ids", "weighted_lists"]
# What the four MMoE configs that ship with TorchEasyRec set, but for the one with sequences.
FIELDS = """
data_config.batch_size data_config.dataset_type data_config.fg_mode data_config.label_fields
data_config.num_workers data_config.odps_data_quota_name eval_config eval_input_path
feature_configs.id_feature.embedding_dim feature_configs.id_feature.expression
feature_configs.id_feature.feature_name feature_configs.id_feature.hash_bucket_size
feature_configs.id_feature.num_buckets feature_configs.id_feature.weighted
feature_configs.raw_feature.boundaries feature_configs.raw_feature.embedding_dim
feature_configs.raw_feature.expression feature_configs.raw_feature.feature_name
model_config.feature_groups.feature_names model_config.feature_groups.group_name
model_config.feature_groups.group_type model_config.mmoe.expert_mlp.dropout_ratio
model_config.mmoe.expert_mlp.hidden_units model_config.mmoe.num_expert
model_config.mmoe.task_towers.in_task_space_weight model_config.mmoe.task_towers.label_name
model_config.mmoe.task_towers.losses.binary_cross_entropy
model_config.mmoe.task_towers.metrics.auc model_config.mmoe.task_towers.metrics.auc.thresholds
model_config.mmoe.task_towers.mlp.dropout_ratio model_config.mmoe.task_towers.mlp.hidden_units
model_config.mmoe.task_towers.out_task_space_weight
model_config.mmoe.task_towers.task_space_indicator_label
model_config.mmoe.task_towers.tower_name model_config.mmoe.task_towers.weight model_dir
train_config.dense_optimizer.adam_optimizer.lr
train_config.dense_optimizer.constant_learning_rate train_config.num_epochs
train_config.sparse_optimizer.adagrad_optimizer.lr
train_config.sparse_optimizer.constant_learning_rate train_input_path
"""


def fixture(name: str) -> Path:
    return FIXTURES / f"{name}.config"


def set_fields(path: Path) -> set[str]:
    """Paths of all that a config sets, without indices: scalars, and messages that are empty."""
    found = set()
    for place, message in messages(load(path).pipeline):
        fields = message.ListFields()
        if not fields:
            found.add(place)
        found |= {f"{place}.{f.name}".lstrip(".") for f, _ in fields if f.message_type is None}
    return {"".join(part.partition("]")[2] or part for part in f.split("[")) for f in found}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'model_dir: "a\xff"', "is not valid UTF-8: byte 13 is 0xff"),
        (b"\xff\xfem\x00", "is not valid UTF-8: byte 0 is 0xff"),
    ],
)
def test_a_file_that_is_no_text_says_so(tmp_path, content, words):
    (tmp_path / "my.config").write_bytes(content)
    with raises("--pipeline_config: .*my.config", words):
        load(tmp_path / "my.config")


def test_a_file_that_is_not_there_is_named_with_its_nearest_neighbour(tmp_path):
    (tmp_path / "mmoe.config").write_text(CONFIG)
    with raises("mmoe.conf does not exist; did you mean 'mmoe.config'"):
        load(tmp_path / "mmoe.conf")
    with raises("mmoe.config does not exist"):
        load(tmp_path / "no folder" / "mmoe.config")
    with raises("is a folder; choose a file"):
        load(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_editors_of_all_systems_write_the_same_config(tmp_path, encoding, newline):
    path = tmp_path / "my.config"
    path.write_bytes(CONFIG.replace("\n", newline).encode(encoding))
    assert load(path).pipeline == read(CONFIG)
    path.write_bytes(changed(("batch_size", "batch")).replace("\n", newline).encode(encoding))
    assert said(load(path))[0].startswith("my.config:10: data_config.batch:")


@pytest.mark.parametrize("name", ["my.config", "my.json"])
@pytest.mark.parametrize("given", ["{name}", "./{name}", "configs/{name}", "{folder}/{name}"])
def test_a_fault_has_the_path_that_the_user_gave(tmp_path, monkeypatch, given, name):
    path = Path(given.format(folder=tmp_path, name=name))
    monkeypatch.chdir(tmp_path)
    path.parent.mkdir(exist_ok=True)
    for content in ("", '{"batch": 3}' if path.suffix == ".json" else "batch: 3"):
        path.write_text(content)
        with pytest.raises(ConfigError) as error:
            Session.start(load(path), needs=["model_dir"])
        for line in str(error.value).splitlines():
            assert line.startswith((f"{path}: ", f"{path}:1: "))


def test_a_fault_of_what_a_flag_set_names_the_flag_and_not_the_line(tmp_path):
    config = loaded(
        tmp_path,
        changed(
            ("num_epochs: 1", "num_epochs: 0"),
            ("batch_size: 8", "batch_size: 8 eval_batch_size: 0"),
        ),
        settings=["data_config.batch_size=0"],
        edits_json='{"feature_configs[1].id_feature": {"num_buckets": 3, "embedding_dim": 2}}',
    )
    assert said(config) == [
        "--set: data_config.batch_size: is 0; give 1 or more",
        "--edit_config_json: feature_configs[1].id_feature.feature_name: is not set; give the "
        "feature a name",
        "my.config:7: train_config.num_epochs: is 0; give 1 or more",
        "my.config:10: data_config.eval_batch_size: is 0; give 1 or more",
        "my.config:19: model_config.feature_groups[0].feature_names[1]: 'item' is not in "
        "feature_configs; add it to feature_configs, or name one of user, price",
    ]


def test_a_fault_in_a_list_of_several_lines_has_the_line_of_its_element(tmp_path):
    content = changed(('["user", "item", "price"]', '[\n"user",\n"itm",\n"price"]'))
    assert said(loaded(tmp_path, content)) == [
        "my.config:21: model_config.feature_groups[0].feature_names[1]: 'itm' is not in "
        "feature_configs; did you mean 'item'?"
    ]


def test_what_the_caller_needs_must_be_set_and_is_named_with_its_flag(tmp_path):
    content = changed(('train_input_path: "train.parquet"\n', ""), ('"model"', '""'))
    config = loaded(tmp_path, content)
    with pytest.raises(ConfigError) as error:
        Session.start(config, needs=["train_input_path", "eval_input_path", "model_dir"])
    assert str(error.value).replace(f"{tmp_path}/", "").splitlines() == [
        "my.config:2: model_dir: is not set; set it, or pass --model_dir",
        "my.config: train_input_path: is not set; set it, or pass --train_input_path",
    ]


def test_the_fixtures_set_what_torcheasyrecs_mmoe_configs_set():
    found = set().union(*(set_fields(fixture(name)) for name in RUNNING))
    assert found == set(FIELDS.split())


@pytest.mark.parametrize("name", RUNNING)
def test_torcheasyrecs_configs_load_and_build_unchanged(name):
    assert said_of_all(load(fixture(name))) == []


@pytest.mark.parametrize("name", RUNNING)
def test_tables_of_maxcompute_are_refused_with_the_field_that_replaces_them(name):
    with pytest.raises(DataError, match=r"odps://.*set train_input_path"):
        Pipeline.load(fixture(name)).check()


def test_sequences_are_not_supported_yet_and_nothing_else_is_said():
    found = said_of_all(load(fixture("history")))
    words = ["sequence_feature", "sequence_groups", "sequence_encoders"]
    assert len(found) == 3
    for line, word in zip(found, words, strict=True):
        assert f".{word}: a word of TorchEasyRec that tzmmoe does not support yet" in line


def columns(config: Path, num_rows: int) -> pa.Table:
    """Values that the features of a config can have."""
    random_numbers = np.random.default_rng(0)
    found = {}
    for each in load(config).pipeline.feature_configs:
        word = each.WhichOneof("feature")
        feature = getattr(each, word)
        if word == "raw_feature":
            found[feature.feature_name] = random_numbers.exponential(20, num_rows)
        elif feature.weighted:
            found[feature.feature_name] = [
                "\x1d".join(f"{i}:{i / 4}" for i in range(row % 4)) for row in range(num_rows)
            ]
        else:
            most = feature.num_buckets or 1000
            found[feature.feature_name] = random_numbers.integers(0, most, num_rows)
    found["clk"] = np.arange(num_rows) % 3 > 0
    found["buy"] = np.arange(num_rows) % 3 > 1
    return pa.table(found)


@pytest.mark.parametrize("name", RUNNING)
def test_torcheasyrecs_configs_train_on_parquet_files_with_nothing_but_paths_changed(
    tmp_path, name
):
    pq.write_table(columns(fixture(name), 96), tmp_path / "rows.parquet")
    rows, model = tmp_path / "rows.parquet", tmp_path / "model"
    results = Pipeline.load(
        fixture(name),
        settings=[f"train_input_path={rows}", f"eval_input_path={rows}", f"model_dir={model}"],
        device="cpu",
    ).fit()
    assert {"auc_ctr", "auc_cvr", "binary_cross_entropy_ctr"} <= set(results)
    assert all(math.isfinite(value) for key, value in results.items())


LARGEST = 2000  # of rows, units or experts: more would only be slow


def tokens(content: str) -> list[str]:
    return [match.group() for match in TOKEN.finditer(content) if match.lastgroup != "skip"]


def kind(token: str) -> str:
    return "0" if token[0].isdigit() else '"' if token[0] in "'\"" else "a" * token[0].isalpha()


def mutations(path: Path, chance: random.Random, count: int) -> Iterator[str]:
    """Texts with one or two tokens dropped, doubled, or replaced by others of any config."""
    known = {t for each in (*SHIPPED, *FIXTURES.glob("*")) for t in tokens(each.read_text())}
    others = sorted(t for t in known if not (t.isdecimal() and int(t) > LARGEST))
    written = tokens(path.read_text())
    for _ in range(count):
        mutated = list(written)
        for _ in range(chance.randint(1, 2)):
            place = chance.randrange(len(mutated))
            old = mutated[place]
            alike = [token for token in others if kind(token) == kind(old)]
            mutated[place : place + 1] = chance.choice(
                [[], [old, old], [chance.choice(others)], *[[chance.choice(alike)]] * 3]
            )
        yield "\n".join(mutated)


SMALL = list(map(fixture, RUNNING))
FEW = [(path, 40) for path in SMALL]  # a config, and how often it is mutated
MANY = [(path, 120) for path in (*SHIPPED, *SMALL)]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("path", "count"),
    some([*MANY, *FEW], *FEW),
    ids=lambda value: value if isinstance(value, int) else value.stem,
)
def test_a_mutated_config_builds_or_has_faults_and_never_fails_otherwise(tmp_path, path, count):
    chance = random.Random(path.stem)
    outcomes = {"built": 0, "refused": 0}
    for content in mutations(path, chance, count):
        config = loaded(tmp_path, content)
        faults = Faults(config.faults)
        made = build(config.pipeline, tmp_path, faults)
        assert (made is None) == bool(faults), content
        assert bool(lines(faults, config)) == bool(faults), content
        outcomes["built" if made else "refused"] += 1
    assert min(outcomes.values()) > 0, outcomes
