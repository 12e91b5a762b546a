"""Two configs are compared field by field, in one form each."""

import re
from pathlib import Path

import pytest
from e2e import tiny
from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from tzmmoe.build import rules
from tzmmoe.build.changes import Kind, changes
from tzmmoe.build.changes.kinds import SUBTREES, classified
from tzmmoe.config import load
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.registry import Modules

ROOT = Path(__file__).parents[2]
CUSTOM = ("Args", "NamedValue", "ValueList")  # fields that the user names
WIDE = """
model_config {
  feature_groups { group_name: "mmoe" feature_names: ["user", "price", "day"] }
  feature_groups { group_name: "wide" feature_names: ["user"] }
  mmoe_v2 {
    num_experts: 2 expert_layers: [8, 4] expert_act: ["relu", "tanh"] task_hidden_act: "gelu"
    task_structs { units: [4, 4, 1] }
    task_structs { units: [1] }
    task_towers { tower_name: "ctr" label_name: "click" }
    task_towers { tower_name: "cvr" label_name: "buy" }
  }
}
data_config { fg_mode: FG_DAG label_fields: ["click", "buy"] }
train_config { optimizer { adam_optimizer { lr: 0.01 } } }
feature_configs { id_feature { feature_name: "user" num_buckets: 20 embedding_dim: 4 } }
feature_configs {
  raw_feature { feature_name: "price" normalizer: "method=zscore,mean=1,standard_deviation=2" }
}
feature_configs {
  id_feature { feature_name: "day" num_buckets: 31 embedding_dim: 4 date_part: DAY }
}
feature_configs {
  raw_feature {
    feature_name: "bins" boundaries: [1, 2] embedding_dim: 4 piecewise_linear {} default_value: ""
  }
}
feature_configs {
  raw_feature { feature_name: "waves" embedding_dim: 4 periodic { sigma: 0.1 } }
}
"""
READ = ("user", "tags", "scores", "city", "price", "age", "day", "bins", "waves")


def fields_below(message: Descriptor, done: set[str]) -> set[tuple[str, str]]:
    """Message, or message and oneof, and field of all that a change could be in."""
    if message.name in done or message.name in SUBTREES:
        return set()
    done.add(message.name)
    found: set[tuple[str, str]] = set()
    for field in message.fields:
        oneof, kind = field.containing_oneof, field.message_type
        if field.GetOptions().deprecated:
            continue
        is_leaf = kind is None or kind.GetOptions().map_entry or kind.name in CUSTOM
        if oneof is not None or is_leaf:
            found.add((f"{message.name}.{oneof.name}" if oneof else message.name, field.name))
        if not is_leaf:
            found |= fields_below(kind, done)
    return found


def test_every_field_of_the_schema_has_a_kind_and_every_kind_a_field() -> None:
    """So that whoever adds a field must say what a change of it does."""
    there = fields_below(Pipeline.DESCRIPTOR, set())
    assert not there - classified(), "add these to tzmmoe/build/changes/kinds.py"
    assert not classified() - there, "these are not in the schema"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("changes")
    (folder / "wide.config").write_text(WIDE)
    tiny.write_all(folder, files=[1])
    return folder


def text_of(file: Path, *settings: str) -> str:
    """The canonical text of a config with edits, as a checkpoint has it."""
    loaded = load(file, rules=rules(Modules.of(())), settings=settings)
    assert not loaded.faults, list(loaded.faults)
    return text_format.MessageToString(loaded.pipeline, as_utf8=True)


def found(config: Path, name: str, *settings: str) -> list[tuple[Kind, str]]:
    file = config / f"{name}.config"
    return [(c.kind, c.line) for c in changes(text_of(file), text_of(file, *settings), READ)]


MEANING, SHAPE, RESULTS, LEARNING = Kind.MEANING, Kind.SHAPE, Kind.RESULTS, Kind.LEARNING
USER = "feature_configs[feature_name=user].id_feature"
TAGS = "feature_configs[feature_name=tags].id_feature"
PRICE = "feature_configs[feature_name=price].raw_feature"
BINS = "feature_configs[feature_name=bins].raw_feature"
WAVES = "feature_configs[feature_name=waves].raw_feature"
DAY = "feature_configs[feature_name=day].id_feature"
TOWER = "model_config.mmoe.task_towers[tower_name=ctr]"

TOLD = [
    ("tiny", MEANING, f"{USER}.expression=item:age", 'not set, and is "item:age"'),
    ("tiny", MEANING, f"{USER}.expression=feature:age", 'not set, and is "feature:age"'),
    ("tiny", MEANING, f"{USER}.default_value=3", 'was "", and is "3"'),
    ("tiny", MEANING, f"{USER}.out_of_range=MODULO", "was ROW_ZERO, and is MODULO"),
    ("tiny", MEANING, f"{USER}.value_dim=1", "was 0, and is 1"),
    ("tiny", MEANING, f"{USER}.embedding_name=shared", 'was "user_emb", and is "shared"'),
    ("tiny", MEANING, f"{TAGS}.separator=;", 'was "|", and is ";"'),
    ("tiny", MEANING, f"{TAGS}.pooling=sum", 'was "mean", and is "sum"'),
    ("tiny", MEANING, f"{TAGS}.list_format=PRINTED", "was SEPARATED, and is PRINTED"),
    ("tiny", MEANING, f'{TAGS}.na_values=["?"]', 'was not set, and is ["?"]'),
    ("tiny", MEANING, f"{PRICE}.normalizer=method=log10", 'not set, and is "method=log10"'),
    ("tiny", MEANING, f"{PRICE}.default_value=1", 'was "0", and is "1"'),
    ("tiny", MEANING, f'{PRICE}.number_format=decimal: ","', 'was ".", and is ","'),
    ("tiny", MEANING, "data_config.fg_mode=FG_BUCKETIZE", "was FG_DAG, and is FG_BUCKETIZE"),
    ("tiny", MEANING, 'data_config.null_values=["NA"]', 'was not set, and is ["NA"]'),
    ("tiny", MEANING, f"{TOWER}.label_name=buy", 'was "click", and is "buy"'),
    ("tiny", MEANING, f"{TOWER}.task_space_indicator_label=buy", 'not set, and is "buy"'),
    ("tiny", MEANING, f"{TOWER}.output_activation=tanh", 'was "", and is "tanh"'),
    (
        "tiny",
        MEANING,
        f"{TOWER}.losses[0]=l2_loss {{}}",
        "was binary_cross_entropy, and is l2_loss",
    ),
    ("tiny", MEANING, f"{TOWER}.mlp.activation=nn.GELU", 'was "nn.ReLU", and is "nn.GELU"'),
    ("tiny", MEANING, "model_config.mmoe.expert_mlp.activation=Dice", 'and is "Dice"'),
    ("wide", MEANING, f"{DAY}.date_part=MONTH", "was DAY, and is MONTH"),
    ("wide", MEANING, f"{DAY}.date_format=%d.%m.%Y", 'was not set, and is "%d.%m.%Y"'),
    ("wide", MEANING, f"{DAY}.time_zone=Europe/Berlin", 'was "UTC", and is "Europe/Berlin"'),
    (
        *("wide", MEANING, f"{PRICE}.normalizer=method=zscore,mean=2,standard_deviation=2"),
        'was "method=zscore,mean=1,standard_deviation=2", and is',
    ),
    ("wide", MEANING, f"{BINS}.default_value=0", 'was "", and is "0"'),
    ("wide", MEANING, f"{BINS}.piecewise_linear.activation=nn.Tanh", 'and is "nn.Tanh"'),
    ("wide", MEANING, f"{WAVES}.periodic.activation=", 'was "nn.ReLU", and is ""'),
    ("wide", SHAPE, f"{WAVES}.periodic.frequencies=9", "was 16, and is 9"),
    ("wide", LEARNING, f"{WAVES}.periodic.sigma=0.2", "was 0.1, and is 0.2"),
    ("wide", MEANING, 'model_config.mmoe_v2.expert_act=["relu"]', "expert_act: was "),
    ("wide", MEANING, "model_config.mmoe_v2.wide_output_is_prob=true", "was false, and is true"),
    ("tiny", SHAPE, "model_config.mmoe.expert_mlp.bias=false", "was true, and is false"),
    ("tiny", SHAPE, "model_config.mmoe.expert_mlp.use_ln=true", "was false, and is true"),
    ("tiny", SHAPE, f"{TOWER}.mlp.hidden_units=[4, 4]", "was [4], and is [4, 4]"),
    ("wide", SHAPE, "model_config.mmoe_v2.use_wide=false", "was true, and is false"),
    ("wide", SHAPE, "model_config.mmoe_v2.output_cross=1", "was 0, and is 1"),
    ("wide", SHAPE, "model_config.mmoe_v2.share_gates=true", "was false, and is true"),
    ("tiny", RESULTS, f"{TOWER}.weight=2", "was 1, and is 2"),
    ("tiny", RESULTS, f"{TOWER}.sample_weight_name=importance", 'not set, and is "importance"'),
    ("tiny", RESULTS, f"{TOWER}.losses[0].binary_cross_entropy.pos_weight=3", "was 1, and is 3"),
    ("tiny", RESULTS, f"{TOWER}.metrics[0]=logloss {{}}", "metrics of 'ctr': was auc, and is logl"),
    ("tiny", RESULTS, "data_config.delimiter=;", 'was ",", and is ";"'),
    (
        *("tiny", RESULTS, f"{TOWER}.losses[0].binary_cross_entropy.label_smoothing=0.25"),
        "was 0, and is 0.25",
    ),
    ("tiny", LEARNING, "train_config.gradient_accumulation_steps=4", "was 2, and is 4"),
    ("tiny", LEARNING, "data_config.shuffle_buffer_size=4", "was 3, and is 4"),
    ("tiny", LEARNING, "train_config.num_epochs=3", "was 2, and is 3"),
    (
        *("tiny", LEARNING, "train_config.sparse_optimizer.adam_optimizer.lr=0.5"),
        "was 0.01, and is 0.5",
    ),
    ("tiny", LEARNING, "data_config.batch_size=32", "was 16, and is 32"),
    ("tiny", LEARNING, "data_config.shuffle=false", "was true, and is false"),
    ("tiny", LEARNING, "runtime_config.seed=7", "was 1024, and is 7"),
    ("tiny", LEARNING, f"{USER}.trainable=false", "was true, and is false"),
    ("tiny", LEARNING, "train_config.early_stopping=patience: 2", "was not set, and is set"),
    ("tiny", LEARNING, "train_config.mixed_precision=BF16", 'was "", and is "BF16"'),
    ("tiny", LEARNING, "model_config.mmoe.expert_mlp.dropout_ratio=[0.5]", "was [0.2], and is"),
]


@pytest.mark.parametrize(("name", "kind", "edit", "words"), TOLD, ids=lambda part: str(part)[:60])
def test_an_edit_is_told_with_its_path_both_values_and_its_kind(
    config, name, kind, edit, words
) -> None:
    path = re.match(r"(?:\w+(?:\[[\w=]+\])?\.)*(\w+)", edit)
    lines = found(config, name, edit)
    assert any(k is kind and path[1] in line and words in line for k, line in lines), lines


SILENT = [
    ("tiny", "train_input_path=elsewhere"),
    ("tiny", "model_dir=elsewhere"),
    ("tiny", "train_config.save_checkpoints_steps=7"),
    ("tiny", "train_config.log_step_count_steps=7"),
    ("tiny", "data_config.num_workers=0"),
    ("tiny", "data_config.eval_batch_size=64"),
    ("tiny", "runtime_config.device=cpu"),
    ("tiny", "eval_config.output_file=there.json"),
    ("tiny", "export_config.exporter_type=best"),
    ("tiny", 'data_config.label_fields=["buy", "click"]'),  # towers name theirs
    # Defaults, written out
    ("tiny", f"{USER}.expression=user"),
    ("tiny", f"{USER}.expression=item:user"),
    ("tiny", f"{USER}.default_value="),
    ("tiny", f"{USER}.embedding_name=user_emb"),
    ("tiny", f"{PRICE}.default_value=0.0"),
    ("tiny", f"{TOWER}.weight=1"),
    ("tiny", f"{TOWER}.output_activation=sigmoid"),  # the loss's own
    ("tiny", "train_config.dense_optimizer.adam_optimizer.beta1=0.9"),
    ("tiny", "train_config.dense_optimizer.adam_optimizer.weight_decay=0"),
    ("tiny", "train_config.sparse_optimizer.constant_learning_rate="),
    ("tiny", "model_config.mmoe.gate_mlp="),
    # Other words for the same
    ("tiny", "data_config.fg_mode=FG_NORMAL"),
    ("tiny", f"{TOWER}.mlp.activation=ReLU"),
    ("wide", f"{PRICE}.normalizer=method=zscore, standard_deviation=2.0, mean=1e0"),
    ("wide", 'model_config.mmoe_v2.task_hidden_act=["gelu", "gelu"]'),
    ("wide", "model_config.mmoe_v2.expert_dropout=[0, 0]"),
    ("wide", f"{DAY}.date_format="),
]


@pytest.mark.parametrize(("name", "edit"), SILENT)
def test_what_changes_no_meaning_is_silent(config, name, edit) -> None:
    assert found(config, name, edit) == []


def test_a_setting_of_all_towers_is_told_at_each_tower_that_it_holds_for(config) -> None:
    """The second tower has no hidden layer."""
    lines = found(config, "wide", 'model_config.mmoe_v2.task_hidden_act=["relu"]')
    path = "model_config.mmoe_v2.task_structs[0].hidden_act"
    words = f'{path}: was ["gelu", "gelu"], and is ["relu", "relu"] in the config'
    assert lines == [(MEANING, words)]


def fill(message: Message) -> None:
    """Write out the defaults of all that is set."""
    for field in message.DESCRIPTOR.fields:
        is_plain = field.message_type is None and not field.is_repeated
        if is_plain and field.has_default_value and not field.GetOptions().deprecated:
            setattr(message, field.name, getattr(message, field.name))
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for part in value if field.is_repeated else [value]:
                fill(part)


CONFIGS = sorted(ROOT.glob("configs/*.config"))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_all_defaults_of_a_config_may_be_written_out(file) -> None:
    before = text_of(file)
    pipeline = text_format.Parse(before, Pipeline())
    fill(pipeline)
    after = text_format.MessageToString(pipeline, as_utf8=True)
    assert len(after) > 1.5 * len(before)
    read = re.findall(r'feature_name: "(\w+)"', before)
    assert changes(before, after, read) == changes(after, before, read) == []


def test_features_and_towers_go_by_their_names_wherever_they_stand(config) -> None:
    file = config / "tiny.config"
    pipeline = text_format.Parse(text_of(file), Pipeline())
    reversed_features = list(pipeline.feature_configs)[::-1]
    del pipeline.feature_configs[:]
    pipeline.feature_configs.extend(reversed_features)
    assert changes(text_of(file), str(pipeline), READ) == []
    pipeline.feature_configs[0].raw_feature.default_value = "7"
    (change,) = changes(text_of(file), str(pipeline), READ)
    assert change.line.startswith("feature_configs[0].raw_feature.default_value of 'age': was")


def test_a_feature_that_the_model_does_not_read_is_passed_over(config) -> None:
    file = config / "tiny.config"
    after = text_of(file, f"{USER}.expression=item:age")
    assert changes(text_of(file), after, READ)
    assert changes(text_of(file), after, [name for name in READ if name != "user"]) == []


def test_labels_bound_by_their_order_are_told_when_the_order_changes(config) -> None:
    unbound = [f"model_config.mmoe.task_towers[{n}].label_name=" for n in (0, 1)]
    file, swapped = config / "tiny.config", 'data_config.label_fields=["buy", "click"]'
    before, after = text_of(file, *unbound), text_of(file, *unbound, swapped)
    assert changes(text_of(file), before, READ) == []
    kinds = {(c.kind, c.line.rpartition(": ")[2]) for c in changes(before, after, READ)}
    assert kinds == {
        (MEANING, 'was "click", and is "buy" in the config'),
        (MEANING, 'was "buy", and is "click" in the config'),
    }


def csv(file: Path, *fields: str, header: bool = False) -> str:
    """The config of CSV files with these columns."""
    pipeline = text_format.Parse(text_of(file), Pipeline())
    pipeline.data_config.with_header = header
    for field in fields:
        text_format.Parse(field, pipeline.data_config.input_fields.add())
    return text_format.MessageToString(pipeline)


def named(*names: str) -> list[str]:
    return [f'input_name: "{name}"' for name in names]


def test_columns_of_csv_files_that_change_places_are_told_and_appended_ones_noted(config) -> None:
    file = config / "wide.config"
    before = csv(file, *named("user", "price", "day"))

    def kinds(after: str, first: str = before) -> list[Kind]:
        return [change.kind for change in changes(first, after, READ)]

    assert kinds(csv(file, *named("price", "user", "day"))) == [MEANING]
    assert kinds(csv(file, *named("user", "day"))) == [MEANING]
    assert kinds(csv(file, *named("user", "price", "day", "more"))) == [LEARNING]
    assert kinds(csv(file, 'input_name: "user" input_type: STRING', *named("price", "day"))) == [
        MEANING
    ]
    headed = csv(file, *named("user", "price"), header=True)
    assert kinds(csv(file, *named("price", "user"), header=True), headed) == []


def test_another_kind_of_feature_or_model_is_told_as_one_change(config) -> None:
    file = config / "tiny.config"
    kind = 'feature_configs[feature_name=user]=raw_feature { feature_name: "user" }'
    (change,) = changes(text_of(file), text_of(file, kind), READ)
    assert change.kind is MEANING
    assert "feature_configs[0] of 'user': was id_feature, and is raw_feature" in change.line


def test_a_config_of_another_version_is_compared_where_both_know_the_field(config) -> None:
    file = config / "tiny.config"
    saved = text_of(file) + 'some_later_field: "x"\n'
    assert changes(saved, text_of(file), READ) == []
    old = text_of(file).replace("num_expert: 3", "expert_num: 3")
    assert "expert_num" in old
    assert changes(old, text_of(file), READ) == []
    with pytest.raises(ValueError, match="no_quotes"):
        changes("model_dir: no_quotes", text_of(file), READ)
