"""What is required, what refers to what, and ranges: each fault shows, with its path."""

import ast
import sys
from pathlib import Path

import pytest
from messages import says
from written import CONFIG, changed, loaded, read, said

from tzmmoe.config import rules
from tzmmoe.errors import Faults

FEATURES = CONFIG[CONFIG.index("feature_configs") : CONFIG.index("model_config")]
GROUPS = '  feature_groups { group_name: "all" feature_names: ["user", "item", "price"] }\n'
TOWERS = "model_config.mmoe.task_towers"
LOSS = "      losses { binary_cross_entropy {} }\n"
LEARNED = LOSS.replace("{} }", "{} learn_loss_weight: true }")
LIGHT = LOSS.replace("{} }", "{} weight: -1 }")
HALF = '      task_space_indicator_name: "user"\n'
NAMED = f'{HALF}      task_space_indicator_value: "7"\n'
MODEL = CONFIG[CONFIG.index("  mmoe {") : CONFIG.rindex("}")]
TOWER = CONFIG[CONFIG.index("    task_towers") : CONFIG.index("  }\n}\n", CONFIG.index("mmoe {"))]
CVR = '      label_name: "buy"\n'
EPOCHS = "num_epochs: 1"
BATCH = "batch_size: 8"
ESMM = """esmm {
      ctr_tower { label_name: "click" }
      cvr_tower { label_name: "buy" }
      ctcvr_label: "both"
    }"""
PER_TASK = "export_config.per_task_best"

# What stands instead of what, and the path and a part of the fault that it makes.
FAULTS = [
    ('label_fields: ["click", "buy"]', 'label_fields: ["click", "buy", ""]',
     "data_config.label_fields[2]", "is ''; name a column, or remove it"),
    (BATCH, "batch_size: 0", "data_config.batch_size", "is 0; give 1 or more"),
    (BATCH, "eval_batch_size: 0", "data_config.eval_batch_size", "is 0; give 1 or more"),
    (BATCH, "shuffle_buffer_size: 0", "data_config.shuffle_buffer_size", "is 0; give 1 or"),
    (BATCH, "num_workers: 1025", "data_config.num_workers", "is 1,025; give 0 to 1,024, about"),
    (BATCH, "delimiter: ''", "data_config.delimiter", "is ''; give one ASCII character"),
    (BATCH, "delimiter: ',,'", "data_config.delimiter", "is ',,'; give one ASCII character"),
    (BATCH, "delimiter: 'é'", "data_config.delimiter", "is 'é'; give one ASCII character"),
    (BATCH, r"delimiter: '\000'", "data_config.delimiter", "give one ASCII character"),
    (BATCH, r"delimiter: '\n'", "data_config.delimiter", "give one ASCII character"),
    (BATCH, r"delimiter: '\r'", "data_config.delimiter", "give one ASCII character"),
    (BATCH, "delimiter: '\"'", "data_config.delimiter", "give one ASCII character"),
    (BATCH, "fg_encoded_multival_sep: ''", "data_config.fg_encoded_multival_sep", "is empty"),
    (BATCH, "sample_mask_prob: 1", "data_config.sample_mask_prob", "is 1; give 0 or more"),
    (BATCH, "sample_mask_prob: -0.1", "data_config.sample_mask_prob", "is -0.1; give 0 or more"),
    (BATCH, "sample_mask_prob: nan", "data_config.sample_mask_prob", "is nan; give 0 or more"),
    (BATCH, "eval_split {}", "data_config.eval_split.fraction", "is 0; give more than 0"),
    (BATCH, "eval_split { fraction: 1 }", "data_config.eval_split.fraction", "less than 1"),
    (BATCH, "eval_split { fraction: nan }", "data_config.eval_split.fraction", "is nan; give more"),
    (BATCH, "input_fields {}", "data_config.input_fields[0].input_name", "name the column"),
    (
        BATCH,
        "input_fields { input_name: 'a' } input_fields { input_name: 'a' }",
        "data_config.input_fields",
        "'a' is listed twice; keep one",
    ),
    ('["click", "buy"]', "[]", "data_config.label_fields", "is empty; name the label columns"),
    ('"buy"]', '"buy", "buy"]', "data_config.label_fields", "'buy' is listed twice; keep one"),
    ('["importance"]', '["importance", "importance"]', "data_config.sample_weight_fields", "twice"),
    (FEATURES, "", "feature_configs", "is empty; describe the features"),
    (FEATURES, f"{FEATURES}feature_configs {{}}\n", "feature_configs[3]", "id_feature or raw_fe"),
    ('feature_name: "user"', "", "feature_configs[0].id_feature.feature_name", "is not set"),
    (
        'feature_name: "user"',
        'feature_name: "item"',
        "feature_configs",
        "'item' is listed twice; give each its own name",
    ),
    (GROUPS, "", "model_config.feature_groups", "is empty; give one group"),
    (GROUPS, GROUPS * 2, "model_config.feature_groups", "'all' is listed twice; give each its own"),
    ('group_name: "all"', "", "model_config.feature_groups[0].group_name", "is not set"),
    (
        'group_name: "all"',
        'group_name: "all" group_type: WIDE',
        "model_config.feature_groups[0].group_type",
        "is WIDE, which only a backbone reads, but the model is mmoe",
    ),
    ('["user", "item", "price"]', "[]", "model_config.feature_groups[0].feature_names", "empty"),
    (
        '"price"] }',
        '"price", "user"] }',
        "model_config.feature_groups[0].feature_names",
        "'user' is listed twice; keep one",
    ),
    (
        '"price"] }',
        '"prise"] }',
        "model_config.feature_groups[0].feature_names[2]",
        "'prise' is not in feature_configs; did you mean 'price'?",
    ),
    (MODEL, "", "model_config", "has no model; give "),
    (
        GROUPS,
        f"{GROUPS} embedding_regularization: -0.5",
        "model_config.embedding_regularization",
        "is -0.5; give 0 or more",
    ),
    (
        MODEL,
        ESMM,
        "model_config.esmm.ctcvr_label",
        "'both' is not in data_config.label_fields; add it to data_config.label_fields, or name "
        "one of click, buy",
    ),
    (
        CVR,
        '      label_name: "purchase"\n',
        f"{TOWERS}[1].label_name",
        "'purchase' is not in data_config.label_fields; add it to data_config.label_fields, or "
        "name one of click, buy",
    ),
    (TOWER, "", TOWERS, "is empty; give one tower for each task"),
    (LOSS, LEARNED, f"{TOWERS}[0].losses[0].learn_loss_weight", "loss_weight_strategy is Fixed"),
    (LOSS, LIGHT, f"{TOWERS}[0].losses[0].weight", "is -1; give 0 or more"),
    (CVR, f"{CVR}{NAMED}", f"{TOWERS}[1].task_space_indicator_name", "beside task_space_ind"),
    (LOSS, f"{LOSS}{HALF}", f"{TOWERS}[0].task_space_indicator_name", "is not set; set both"),
    ('tower_name: "cvr"', 'tower_name: "ctr"', TOWERS, "'ctr' is listed twice; give each its own"),
    ('tower_name: "cvr"', "", f"{TOWERS}[1].tower_name", "is not set; give the task a name"),
    (CVR, "", f"{TOWERS}[1].label_name", "is not set, but other towers"),
    (
        CVR,
        '      label_name: "buyy"\n',
        f"{TOWERS}[1].label_name",
        "'buyy' is not in data_config.label_fields; did you mean 'buy'?",
    ),
    (
        'sample_weight_name: "importance"',
        'sample_weight_name: "import"',
        f"{TOWERS}[0].sample_weight_name",
        "'import' is not in data_config.sample_weight_fields; did you mean 'importance'?",
    ),
    (
        'indicator_label: "click"',
        'indicator_label: "clicks"',
        f"{TOWERS}[1].task_space_indicator_label",
        "'clicks' is not in data_config.label_fields; did you mean 'click'?",
    ),
    (CVR, f"{CVR}weight: -1", f"{TOWERS}[1].weight", "is -1; give 0 or more"),
    (CVR, f"{CVR}weight: inf", f"{TOWERS}[1].weight", "is inf; give a finite number"),
    (CVR, f"{CVR}in_task_space_weight: nan", f"{TOWERS}[1].in_task_space_weight", "is nan; give"),
    ("_weight: 0", "_weight: -2", f"{TOWERS}[1].out_task_space_weight", "is -2; give 0 or more"),
    (
        '      task_space_indicator_label: "click"\n',
        "",
        f"{TOWERS}[1].out_task_space_weight",
        "has no effect without task_space_indicator_label",
    ),
    (CVR, f"{CVR}in_task_space_weight: 0", f"{TOWERS}[1].in_task_space_weight", "is 0, and so is"),
    (CVR, f"{CVR}num_class: 0", f"{TOWERS}[1].num_class", "is 0; give 1 or more"),
    (EPOCHS, "num_epochs: 0", "train_config.num_epochs", "is 0; give 1 or more"),
    (EPOCHS, "num_steps: 0", "train_config.num_steps", "is 0; give 1 or more"),
    (EPOCHS, "num_samples: 0", "train_config.num_samples", "is 0; give 1 or more"),
    (EPOCHS, "num_val_samples: 0", "train_config.num_val_samples", "is 0; give 1 or more"),
    (
        EPOCHS,
        "train_speed_logger { every_batches: 0 }",
        "train_config.train_speed_logger.every_batches",
        "is 0; give 1 or more",
    ),
    *(
        (
            EPOCHS,
            f"tensorboard {{ profile_batch: {window} }}",
            "train_config.tensorboard.profile_batch",
            words,
        )
        for window, words in [
            ("[1, 2, 3]", "has 3 numbers; give the first batch and the last, or only one"),
            ("[300, 200]", "is [300, 200]; give the first batch, counted from 1"),
            ("[0, 5]", "is [0, 5]; give the first batch, counted from 1"),
        ]
    ),
    (EPOCHS, "save_checkpoints_steps: 0", "train_config.save_checkpoints_steps", "is 0; give"),
    (EPOCHS, "save_checkpoints_epochs: 0", "train_config.save_checkpoints_epochs", "is 0; giv"),
    (
        EPOCHS,
        "save_checkpoints_steps: 1 save_checkpoints_epochs: 1",
        "train_config.save_checkpoints_steps",
        "is set, and so is save_checkpoints_epochs; keep one",
    ),
    (EPOCHS, "log_step_count_steps: 0", "train_config.log_step_count_steps", "is 0; give 1"),
    (EPOCHS, "gradient_accumulation_steps: 0", "train_config.gradient_accumulation_steps", "0;"),
    (EPOCHS, "mixed_precision: 'bf16'", "train_config.mixed_precision", "give BF16 or FP16"),
    (EPOCHS, "num_samples: 0", "train_config.num_samples", "is 0; give 1 or more"),
    (EPOCHS, "num_val_samples: 0", "train_config.num_val_samples", "is 0; give 1 or more"),
    (EPOCHS, "train_speed_logger { every_batches: 0 }",
     "train_config.train_speed_logger.every_batches", "is 0; give 1 or more"),
    (EPOCHS, "tensorboard { profile_batch: [1, 2, 3] }",
     "train_config.tensorboard.profile_batch", "has 3 numbers; give the first batch and the last"),
    (EPOCHS, "tensorboard { profile_batch: [3, 2] }",
     "train_config.tensorboard.profile_batch", "is [3, 2]; give the first batch, counted from 1"),
    *(
        (EPOCHS, f"ema {{ decay: {decay} }}", "train_config.ema.decay", words)
        for decay, words in [
            ("0", "is 0; give more than 0 and less than 1, such as 0.999"),
            ("1", "is 1; give more than 0 and less than 1, such as 0.999"),
            ("nan", "is nan; give more than 0 and less than 1"),
        ]
    ),
    (EPOCHS, "grad_process: 'PCGrad'", "train_config.grad_process", "give pcgrad, or remove it"),
    (EPOCHS, "grad_scaler {}", "train_config.grad_scaler", "has no effect without mixed_prec"),
    *(
        (EPOCHS, f"mixed_precision: 'FP16' grad_scaler {{ {name}: {value} }}", path, words)
        for name, value, words in [
            ("init_scale", "0", "is 0; give a number above 0"),
            ("init_scale", "inf", "is inf; give a finite number"),
            ("growth_factor", "1", "is 1; give a number above 1"),
            ("backoff_factor", "1", "is 1; give more than 0 and less than 1"),
            ("backoff_factor", "nan", "is nan; give more than 0 and less than 1"),
            ("growth_interval", "0", "is 0; give 1 or more"),
        ]
        for path in [f"train_config.grad_scaler.{name}"]
    ),
    *(
        (EPOCHS, f"grad_clipping {{ {name}: {value} }}", f"train_config.grad_clipping.{name}", say)
        for name, value, say in [
            ("clipping_type", "'max'", "is 'max'; give norm, value or none"),
            ("max_gradient", "0", "is 0; give a number above 0"),
            ("norm_type", "-1", "is -1; give a number above 0"),
        ]
    ),
    (
        EPOCHS,
        "fine_tune_ckpt_param_map: 'map.txt'",
        "train_config.fine_tune_ckpt_param_map",
        "has no effect without fine_tune_checkpoint",
    ),
    *(
        (EPOCHS, f"partial_restore: true {others}", "train_config.partial_restore", words)
        for others, words in [
            ("", "has no effect without fine_tune_checkpoint"),
            ("fine_tune_checkpoint: 'a' fine_tune_ckpt_param_map: 'b'", "keep one"),
        ]
    ),
    (EPOCHS, "early_stopping { mode: 'up' }", "train_config.early_stopping.mode", "auto, min or"),
    (EPOCHS, "early_stopping { min_delta: -1 }", "train_config.early_stopping.min_delta", "-1; g"),
    (EPOCHS, "early_stopping { min_delta: nan }", "train_config.early_stopping.min_delta", "nan"),
    *(
        (old, f"export_config {{ per_task_best: true {more} }} {new}", PER_TASK, words)
        for old, new, more, words in [
            ("data_config", "data_config", "exporter_type: 'best'", "exporter_type"),
        ]
    ),
    *(
        ("data_config", f"{top} {{ {name}: {value} }} data_config", f"{top}.{name}", words)
        for top, name, value, words in [
            ("export_config", "exporter_type", "'newest'", "is 'newest'; give latest or best"),
            ("eval_config", "num_steps", "0", "is 0; give 1 or more"),
            ("eval_config", "log_step_count_steps", "0", "is 0; give 1 or more"),
            ("eval_config", "batch_size", "0", "is 0; give 1 or more"),
            ("runtime_config", "seed", "-1", "is -1; give 0 or more"),
            ("runtime_config", "timeout", "'1x'", "is '1x'; give a positive number and a unit"),
        ]
    ),
]  # fmt: skip


def test_a_correct_config_has_no_fault(tmp_path):
    assert said(loaded(tmp_path, CONFIG)) == []


def test_a_config_that_sets_no_more_than_it_must_has_no_fault(tmp_path):
    content = """
    data_config { label_fields: "click" }
    feature_configs { id_feature { feature_name: "user" } }
    model_config { feature_groups { group_name: "a" feature_names: "user" }
      mmoe { task_towers { tower_name: "ctr" } } }
    """
    assert said(loaded(tmp_path, content)) == []


@pytest.mark.parametrize(("old", "new", "path", "words"), FAULTS)
def test_a_fault_shows_with_its_path(tmp_path, old, new, path, words):
    found = said(loaded(tmp_path, changed((old, new))))
    assert [line for line in found if f": {path}: " in line and words in line], found


def test_towers_without_labels_must_be_as_many_as_the_labels(tmp_path):
    nameless = changed(('      label_name: "click"\n', ""), (CVR, ""))
    assert said(loaded(tmp_path, nameless)) == []
    (only,) = said(loaded(tmp_path, changed(('"buy"]', '"buy", "cart"]'), text=nameless)))
    assert f": {TOWERS}: " in only
    says(only, "2 towers", "3 label_fields", "set label_name")


# A model that names a label itself, beside those of its towers.
OWN_LABEL = """
data_config { label_fields: ["click", "buy"] }
model_config {
  esmm {
    ctr_tower { label_name: "click" }
    cvr_tower { label_name: "buy" }
    ctcvr_label: "bough"
  }
}
"""


def test_a_label_that_the_model_names_itself_must_be_one_of_the_labels(tmp_path):
    (line,) = [each for each in said(loaded(tmp_path, OWN_LABEL)) if "ctcvr_label" in each]
    assert "model_config.esmm.ctcvr_label: 'bough' is not in data_config.label_fields" in line


def test_independent_faults_show_all_at_once(tmp_path):
    found = said(
        loaded(
            tmp_path,
            changed(
                (BATCH, "batch_size: 0"),
                (EPOCHS, "num_epochs: 0"),
                ('"price"] }', '"prise"] }'),
                ('sample_weight_name: "importance"', 'sample_weight_name: "import"'),
                ('tower_name: "cvr"', ""),
            ),
        )
    )
    assert [line.split(": ")[1] for line in found] == [
        "train_config.num_epochs",
        "data_config.batch_size",
        "model_config.feature_groups[0].feature_names[2]",
        f"{TOWERS}[0].sample_weight_name",
        f"{TOWERS}[1].tower_name",
    ]


ADDING = {"faults.add", "at_least", "above", "one_of", "unique", "defined"}
SECTIONS = sorted(Path(rules.__file__).parent.glob("*.py"))


class Noting(Faults):
    """Notes the file and line of each call that leads to a fault."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[tuple[str, int]] = set()

    def add(self, path: str, text: str) -> None:
        frame = sys._getframe(1)
        while frame is not None:
            self.places.add((frame.f_code.co_filename, frame.f_lineno))
            frame = frame.f_back
        super().add(path, text)


@pytest.fixture(scope="module")
def noted() -> set[tuple[str, int]]:
    """Places of the code from which the cases above make it add a fault."""
    noting = Noting()
    for old, new, _, _ in FAULTS:
        rules.SECTIONS.check(read(changed((old, new))), noting)
    nameless = "model_config { mmoe { task_towers { tower_name: 'a' } } }"
    for text in (nameless, OWN_LABEL):
        rules.SECTIONS.check(read(text), noting)
    return noting.places


@pytest.mark.parametrize("file", SECTIONS, ids=lambda file: file.stem)
def test_every_fault_that_a_section_can_add_is_shown_by_a_case_above(file, noted):
    """A demand that several sections make counts where each of them makes it."""
    calls = [
        range(node.lineno, node.end_lineno + 1)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ADDING
    ]
    never = [c.start for c in calls if not {(str(file), line) for line in c} & noted]
    assert not never, f"faults that no case shows, by line: {never}"
