"""What is said of a word of another system: the field that does the same, where it stands."""

import pytest
from google.protobuf.descriptor import Descriptor
from messages import says
from written import changed, loaded, message_types, said, said_of_all

from tzmmoe.config.dialects.words import ELSEWHERE, SYNONYMS, counterpart
from tzmmoe.config.facts import unknown_field
from tzmmoe.protos.pipeline_pb2 import Pipeline

TYPES = list(message_types().values())


def owners(field: str, word: str) -> list[Descriptor]:
    """The messages in which a word stands for a field."""
    return [t for t in TYPES if field in t.fields_by_name and word not in t.fields_by_name]


PAIRS = [(field, word) for field, words in SYNONYMS.items() for word in words.split()]


def test_every_word_is_answered_with_a_field_of_the_message_in_which_it_stands() -> None:
    for field, word in PAIRS:
        places = owners(field, word)
        assert places, f"{field} is in no message without {word}"
        for place in places:
            answer = counterpart(word, place)
            suggested = answer.split("'")[1]
            assert suggested in place.fields_by_name, (place.name, word)
        assert any(f"{field!r}" in counterpart(word, p) for p in places), f"{word} never: {field}"


def test_no_word_is_listed_twice_for_a_field_and_fields_are_those_of_the_schema() -> None:
    assert len(set(PAIRS)) == len(PAIRS)
    names = {field.name for kind in TYPES for field in kind.fields}
    assert set(SYNONYMS) <= names


ELSEWHERE_PAIRS = [(m, w, path) for m, words in ELSEWHERE.items() for w, path in words.items()]


@pytest.mark.parametrize(("message", "word", "path"), ELSEWHERE_PAIRS)
def test_every_other_place_exists_and_the_word_is_not_a_field_where_it_was_written(
    message: str, word: str, path: str
) -> None:
    [owner] = [kind for kind in TYPES if kind.name == message]
    assert word not in owner.fields_by_name
    assert counterpart(word, owner).endswith(f" {path}")
    here = Pipeline.DESCRIPTOR
    for name in path.split("."):
        assert name in here.fields_by_name, f"{here.name} has no {name}"
        here = here.fields_by_name[name].message_type


# What stands in the small config instead of what, and the field to write.
WRITTEN = [
    ("adagrad_optimizer { lr: 0.01 }", "adagrad_optimizer { learning_rate: 0.01 }", "'lr'"),
    ("num_epochs: 1", "epochs: 1", "'num_epochs'"),
    ("num_epochs: 1", "num_epochs: 1 early_stop { }", "'early_stopping'"),
    (
        "num_epochs: 1",
        "num_epochs: 1 learning_rate: 0.1",
        "train_config.optimizer.adam_optimizer.lr",
    ),
    ("num_epochs: 1", "num_epochs: 1 batch_size: 8", "data_config"),
    ('label_fields: ["click", "buy"]', 'labels: ["click", "buy"]', "'label_fields'"),
    ("hash_bucket_size: 10", "vocab_size: 10", "'num_buckets'"),
    ("embedding_dim: 4", "embedding_size: 4", "'embedding_dim'"),
    ('feature_name: "user"', 'name: "user"', "'feature_name'"),
    ("boundaries: [1, 2]", "bins: [1, 2]", "'boundaries'"),
    ("num_expert: 2", "n_experts: 2", "'num_expert'"),
    ("num_expert: 2", "num_experts: 2", "'num_expert'"),
    ("hidden_units: [4]", "hidden_units: [4] dropout: 0.1", "'dropout_ratio'"),
    ("hidden_units: [4]", 'hidden_units: [4] activation_fn: "relu"', "'activation'"),
    ("hidden_units: [4]", "hidden_units: [4] batch_normalization: true", "'use_bn'"),
    ("hidden_units: [4]", "units: [4]", "'hidden_units'"),
    ("losses { binary_cross_entropy {} }", "loss { binary_cross_entropy {} }", "'losses'"),
    ("losses { binary_cross_entropy {} }", "losses { bce {} }", "'binary_cross_entropy'"),
    ("losses { binary_cross_entropy {} }", "losses { focal_loss {} }", "'binary_focal_loss'"),
    ("metrics { auc {} }", "metrics { group_auc {} }", "'grouped_auc'"),
    ('tower_name: "ctr"', 'task_name: "ctr"', "'tower_name'"),
    ("task_towers {", "towers {", "'task_towers'"),
    ('model_dir: "model"', 'output_dir: "model"', "'model_dir'"),
    ('model_dir: "model"', 'model_dir: "model" epochs: 3', "train_config.num_epochs"),
]


@pytest.mark.parametrize(("old", "new", "answer"), WRITTEN)
def test_a_word_in_a_config_has_one_line_and_no_consequences(tmp_path, old, new, answer) -> None:
    [line] = said(loaded(tmp_path, changed((old, new))))
    says(line, "my.config:", answer)
    [line] = said_of_all(loaded(tmp_path, changed((old, new))))
    says(line, answer)


EASY_REC = """
train_input_path: "a.csv"
model_dir: "m"
train_config {
  optimizer_config { adam_optimizer { learning_rate { constant_learning_rate {} } } }
  num_steps: 100
}
eval_config { metrics_set { auc {} } }
data_config {
  input_fields { input_name: "clk" input_type: INT32 }
  labels: "clk" input_type: CSVInput batch_size: 1024 separator: ","
}
feature_configs { id_feature { name: "a" vocab_size: 10 embedding_size: 4 } }
feature_configs { combo_feature { feature_name: "b" } }
model_config {
  model_class: "MMoE"
  feature_groups { group_name: "all" feature_names: ["a", "b"] wide_deep: DEEP }
  mmoe {
    n_experts: 3
    expert_dnn { hidden_units: [8] dropout: 0.1 }
    task_towers { tower_name: "ctr" label_name: "clk" dnn { hidden_units: [8] } num_classes: 1 }
    l2_regularization: 1e-6
  }
  embedding_regularization: 1e-5
}
"""


def test_of_a_whole_config_of_a_neighbour_only_the_words_themselves_are_refused(tmp_path) -> None:
    """Nothing is also said to be missing, and no name to be unknown."""
    lines = said_of_all(loaded(tmp_path, EASY_REC))
    answers = ("no such field", "does not support yet")
    assert all(any(answer in line for answer in answers) for line in lines), lines
    words = "optimizer_config labels input_type separator name vocab_size combo_feature"
    words += " n_experts num_classes"
    for word in words.split():
        assert sum(f".{word}: " in line for line in lines) == 1, word


def test_a_field_that_only_another_model_has_is_not_said_to_belong_there() -> None:
    mmoe = next(kind for kind in TYPES if kind.name == "MMoE")
    assert "esmm" not in unknown_field("l2_regularization", mmoe)
    assert "esmm" not in unknown_field("ctcvr_label", mmoe)
