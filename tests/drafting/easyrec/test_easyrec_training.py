"""Optimizers, learning rates, lengths, evaluation and export of EasyRec -> ours."""

import math
import re
from pathlib import Path

import pytest
from drafting.easyrec.pipelines import BUILT_IN, convert, refused
from messages import says
from written import changed

from tzmmoe.learning.settings import LearningSettings
from tzmmoe.registry import fields

AVERAGED = "use_moving_average: true"
CONSTANT = "learning_rate { constant_learning_rate { learning_rate: 0.01 } }"


def training(folder: Path, optimizer: str, *changes: tuple[str, str]):
    """What becomes of the pipeline with another ``optimizer_config``."""
    start, end = BUILT_IN.index("  optimizer_config"), BUILT_IN.index("  num_steps: 6")
    text = BUILT_IN[:start] + optimizer + "\n" + BUILT_IN[end:]
    return convert(folder, changed(*changes, text=text))


def schedules(made):
    return LearningSettings.of(fields(made.train)).schedules()


def optimizer(rate: str, word: str = "lazy_adam_optimizer", more: str = "") -> str:
    return f"optimizer_config {{ {word} {{ learning_rate {{ {rate} }} {more} }} }}"


def exponential(s: int, burnin: float) -> float:
    """EasyRec's exponential_decay_with_burnin of the rate below."""
    lr, steps = 0.1, 4
    if s < steps:
        return lr if burnin == 0 else burnin + (lr - burnin) / steps * s
    return max(lr * 0.5 ** ((s - steps) // 3), 0.02)


@pytest.mark.parametrize("burnin", [0.0, 0.01])
def test_exponential_decay_is_easyrecs_at_every_step(tmp_path: Path, burnin: float) -> None:
    """A burn-in from 0 holds the rate; the staircase is EasyRec's default."""
    rate = (
        "exponential_decay_learning_rate { initial_learning_rate: 0.1 decay_steps: 3 "
        f"decay_factor: 0.5 burnin_learning_rate: {burnin} burnin_steps: 4 "
        "min_learning_rate: 0.02 }"
    )
    made = schedules(training(tmp_path, optimizer(rate)))
    for s in range(20):
        wanted = pytest.approx(exponential(s, burnin))
        assert made.at(s, 0).tables == made.at(s, 0).dense == wanted


def test_unset_fields_of_a_rate_have_easyrecs_defaults(tmp_path: Path) -> None:
    made = training(tmp_path, optimizer("exponential_decay_learning_rate {}"))
    assert made.train.dense_optimizer.adam_optimizer.lr == 0.002
    decay = made.train.dense_optimizer.exponential_decay_learning_rate
    assert (decay.decay_size, decay.decay_factor, decay.staircase) == (4_000_000, 0.95, True)


def manual(s: int, *, warmup: bool) -> float:
    """EasyRec's manual_stepping: a rate holds from its step on."""
    rates, steps = [0.4, 0.1, 0.02], [3, 7]
    if warmup and s < steps[0]:
        return rates[0] + (rates[1] - rates[0]) * s / steps[0]
    return rates[sum(s >= step for step in steps)]


@pytest.mark.parametrize("warmup", [False, True])
def test_rates_at_listed_steps_are_easyrecs_at_every_step(tmp_path: Path, warmup: bool) -> None:
    rate = (
        "manual_step_learning_rate { initial_learning_rate: 0.4 "
        "schedule { step: 3 learning_rate: 0.1 } schedule { step: 7 learning_rate: 0.02 } "
        f"warmup: {str(warmup).lower()} }}"
    )
    made = schedules(training(tmp_path, optimizer(rate)))
    for s in range(12):
        assert made.at(s, 0).dense == pytest.approx(manual(s, warmup=warmup)), s


def cosine(s: int) -> float:
    """EasyRec's cosine_decay_with_warmup of the rate below."""
    lr, first, warmup, total = 0.1, 0.02, 4, 14
    if s < warmup:
        return first + (lr - first) / warmup * s
    return (
        0.0 if s > total else 0.5 * lr * (1 + math.cos(math.pi * (s - warmup) / (total - warmup)))
    )


def test_cosine_decay_is_easyrecs_at_every_step(tmp_path: Path) -> None:
    rate = (
        "cosine_decay_learning_rate { learning_rate_base: 0.1 total_steps: 14 "
        "warmup_learning_rate: 0.02 warmup_steps: 4 }"
    )
    made = schedules(training(tmp_path, optimizer(rate)))
    for s in range(20):
        assert made.at(s, 0).dense == pytest.approx(cosine(s), abs=1e-12), s


OPTIMIZERS = [
    (f"adam_optimizer {{ {CONSTANT} beta1: 0.8 }}",
     "adam_optimizer { lr: 0.01 beta1: 0.8 }", "adam_optimizer { lr: 0.01 beta1: 0.8 }",
     ["EasyRec's Adam moves all rows"]),
    (f"lazy_adam_optimizer {{ {CONSTANT} }}",
     "adam_optimizer { lr: 0.01 }", "adam_optimizer { lr: 0.01 }", []),
    (f"adagrad_optimizer {{ {CONSTANT} }}",
     "adagrad_optimizer { lr: 0.01 initial_accumulator_value: 0.1 }",
     "adagrad_optimizer { lr: 0.01 initial_accumulator_value: 0.1 }", []),
    (f"sgd_optimizer {{ {CONSTANT} }}",
     "sgd_optimizer { lr: 0.01 }", "sgd_optimizer { lr: 0.01 }", []),
    (f"momentum_optimizer {{ {CONSTANT} }}",
     "sgd_optimizer { lr: 0.01 }", "sgd_optimizer { lr: 0.01 momentum: 0.9 }",
     ["Tables have no momentum"]),
    (f"rms_prop_optimizer {{ {CONSTANT} momentum_optimizer_value: 0 }}",
     "rmsprop_optimizer { lr: 0.01 alpha: 0.9 eps: 1 }",
     "rmsprop_optimizer { lr: 0.01 alpha: 0.9 eps: 1 }", ["divides by sqrt(v + eps)"]),
    (f"ftrl_optimizer {{ {CONSTANT} l1_reg: 0.5 l2_reg: 0.25 }}",
     "ftrl_optimizer { lr: 0.01 l1_reg: 0.5 l2_reg: 0.25 }",
     "ftrl_optimizer { lr: 0.01 l1_reg: 0.5 l2_reg: 0.25 }", []),
    (f"adamw_optimizer {{ {CONSTANT} weight_decay: 1e-4 }}",
     "adam_optimizer { lr: 0.01 weight_decay: 0.01 }",
     "adamw_optimizer { lr: 0.01 weight_decay: 0.01 }", ["EasyRec takes weight_decay whatever"]),
]  # fmt: skip


@pytest.mark.parametrize(("theirs", "sparse", "dense", "told"), OPTIMIZERS)
def test_one_optimizer_is_that_of_tables_and_the_rest(
    tmp_path: Path, theirs: str, sparse: str, dense: str, told: list[str]
) -> None:
    made = training(tmp_path, f"optimizer_config {{ {theirs} }}")
    for name, wanted in (("sparse_optimizer", sparse), ("dense_optimizer", dense)):
        message = getattr(made.train, name)
        inner = getattr(message, message.WhichOneof("optimizer"))
        found = {field.name: value for field, value in inner.ListFields()}
        pairs = re.findall(r"(\w+): ([\d.e-]+)", wanted)
        assert message.WhichOneof("optimizer") == wanted.partition(" ")[0]
        for field, value in pairs:
            assert found[field] == pytest.approx(float(value)), field
        others = {f: v for f, v in found.items() if f not in dict(pairs)}
        fields_by_name = inner.DESCRIPTOR.fields_by_name
        assert all(v == fields_by_name[f].default_value or f == "eps" for f, v in others.items())
    assert all(words in made.plain for words in told)
    adam = "EasyRec's Adam moves all rows at each step" in made.plain
    assert adam == (theirs.partition("_")[0] in ("adam", "adamw"))


def test_the_first_of_two_optimizers_is_that_of_the_tables(tmp_path: Path) -> None:
    first = f"optimizer_config {{ adagrad_optimizer {{ {CONSTANT} }} }}"
    second = f"optimizer_config {{ adam_optimizer {{ {CONSTANT.replace('0.01', '0.5')} }} }}"
    made = training(tmp_path, f"{first} {second}")
    assert made.train.sparse_optimizer.adagrad_optimizer.lr == 0.01
    assert made.train.dense_optimizer.adam_optimizer.lr == 0.5
    assert "Adam" not in "".join(made.said.differences), "no table has it"


def test_the_multiplier_of_embeddings_scales_all_rates_of_the_tables(tmp_path: Path) -> None:
    rate = (
        "exponential_decay_learning_rate { initial_learning_rate: 0.1 decay_steps: 3 "
        "decay_factor: 0.5 burnin_learning_rate: 0.01 burnin_steps: 4 min_learning_rate: 0.02 }"
    )
    one = optimizer(rate).removesuffix("}") + " embedding_learning_rate_multiplier: 3 }"
    made = training(tmp_path, one)
    for s in range(20):
        rates = schedules(made).at(s, 0)
        assert rates.tables == pytest.approx(3 * rates.dense)
    assert "embedding_learning_rate_multiplier multiplies the rate of the tables" in made.plain


TABLES = "EasyRec averages those of the optimizers that have use_moving_average"


@pytest.mark.parametrize(
    ("first", "second", "decay", "is_of_all"),
    [
        (AVERAGED, None, 0.9999, True),
        (f"{AVERAGED} moving_average_decay: 0.99", None, 0.99, True),
        (AVERAGED, AVERAGED, 0.9999, True),
        ("", f"{AVERAGED} moving_average_decay: 0.5", 0.5, False),
        (AVERAGED, "", 0.9999, False),
        ("moving_average_decay: 0.5", None, None, True),
        ("use_moving_average: false", "", None, True),
    ],
)
def test_moving_averages_become_ema_and_the_report_says_what_differs(
    tmp_path: Path, first: str, second: str | None, decay: float | None, is_of_all: bool
) -> None:
    """EasyRec's default decay is written out, since ours is another."""
    theirs = [
        f"optimizer_config {{ lazy_adam_optimizer {{ {CONSTANT} }} {more} }}"
        for more in (first, second)
        if more is not None
    ]
    made = training(tmp_path, "\n".join(theirs))
    assert made.train.HasField("ema") == (decay is not None)
    assert decay is None or made.train.ema.decay == decay
    said = " ".join(made.said.differences)
    assert ("evaluates and exports the trained weights" in said) == (decay is not None)
    assert (TABLES in said) == (not is_of_all)


@pytest.mark.parametrize(
    ("theirs", "path", "words"),
    [
        (optimizer("poly_decay_learning_rate { power: 1 }"), "poly_decay_learning_rate",
         "give exponential_decay_learning_rate or cosine_decay_learning_rate"),
        (optimizer("transformer_learning_rate {}"), "transformer_learning_rate", "not supported"),
        (optimizer("cosine_decay_learning_rate { hold_base_rate_steps: 5 }"),
         "hold_base_rate_steps", "not supported"),
        (optimizer("manual_step_learning_rate {}"), "schedule", "needs steps of 1 or more"),
        ("optimizer_config { adam_optimizer {} }", "learning_rate", "is not set; give constant"),
        ("optimizer_config {}", "optimizer_config[0]", "has no optimizer; give one of adam"),
        ("", "train_config.optimizer_config", "is not set; give adam_optimizer"),
        (f"optimizer_config {{ momentumw_optimizer {{ {CONSTANT} }} }}", "momentumw_optimizer",
         "give adamw_optimizer"),
        (f"optimizer_config {{ ftrl_optimizer {{ {CONSTANT} l2_shrinkage_reg: 1 }} }}",
         "l2_shrinkage_reg", "not supported"),
        (f"optimizer_config {{ adam_optimizer {{ {CONSTANT} }} {AVERAGED} }} optimizer_config "
         f"{{ adam_optimizer {{ {CONSTANT} }} {AVERAGED} moving_average_decay: 0.9 }}",
         "optimizer_config[1].moving_average_decay", "is 0.9, but 0.9999 in the first; give both"),
        (f"optimizer_config {{ adam_optimizer {{ {CONSTANT} }} }}" * 3, "optimizer_config",
         "has 3 optimizers"),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_refused_at_its_line(
    tmp_path: Path, theirs: str, path: str, words: str
) -> None:
    start, end = BUILT_IN.index("  optimizer_config"), BUILT_IN.index("  num_steps: 6")
    said = refused(tmp_path, BUILT_IN[:start] + theirs + "\n" + BUILT_IN[end:])
    assert len(said) == 1
    line = BUILT_IN[:start].count("\n") + 1
    line -= not theirs  # that of train_config
    place, _, rest = said[0].partition(": ")
    assert place.startswith("theirs.config:")
    assert place.endswith(f":{line}") or not theirs
    assert path in rest.partition(": ")[0]
    assert words in rest


def test_lengths_and_checkpoints_are_carried_over_with_easyrecs_defaults(tmp_path: Path) -> None:
    gone = ("save_checkpoints_steps: 5\n  log_step_count_steps: 2", "")
    made = convert(tmp_path, changed(gone, text=BUILT_IN))
    assert made.train.save_checkpoints_steps == 1000
    assert made.train.log_step_count_steps == 10
    assert made.train.keep_checkpoint_max == 10
    assert (made.train.num_steps, made.train.HasField("num_epochs")) == (6, False)


def test_either_length_is_enough_and_none_is_endless(tmp_path: Path) -> None:
    epochs = ("input_type: CSVInput", "input_type: CSVInput num_epochs: 2")
    both = convert(tmp_path, changed(epochs, text=BUILT_IN)).train
    assert (both.num_steps, both.num_epochs) == (6, 2)
    none = ("num_steps: 6", "")
    made = convert(tmp_path, changed(epochs, none, text=BUILT_IN)).train
    assert (made.HasField("num_steps"), made.num_epochs) == (False, 2)
    [said] = refused(tmp_path, changed(none, text=BUILT_IN))
    says(said, "train_config.num_steps: is not set", "data_config.num_epochs is not set", "set one")
    [said] = refused(tmp_path, changed(("num_steps: 6", "num_steps: 0"), text=BUILT_IN))
    says(said, "train_config.num_steps: is 0", "data_config.num_epochs is not set", "set one")


IDLE = """
  save_checkpoints_secs: 600 train_distribute: MultiWorkerMirroredStrategy num_gpus_per_worker: 2
  dead_line: "20240908 23:59:59" incr_save_config { dense_save_steps: 10 fs {} }
  fine_tune_checkpoint: "oss://bucket/model.ckpt-1" is_profiling: true
"""


def test_settings_of_the_platform_are_told_and_left_out(tmp_path: Path) -> None:
    made = convert(tmp_path, changed(("num_steps: 6", f"num_steps: 6 {IDLE}"), text=BUILT_IN))
    for name in (
        *("sync_replicas", "save_checkpoints_secs", "train_distribute", "num_gpus_per_worker"),
        *("dead_line", "incr_save_config", "is_profiling"),
    ):
        assert f"train_config.{name}: {made.said.idle[f'train_config.{name}']}" in made.plain
    assert "torchrun decides" in made.said.idle["train_config.num_gpus_per_worker"]
    assert "--fine_tune_checkpoint" in made.said.left_out["train_config.fine_tune_checkpoint"]
    assert "fine_tune" not in made.text


def test_clipping_evaluation_and_export_are_carried_over(tmp_path: Path) -> None:
    made = convert(
        tmp_path,
        changed(
            ("num_steps: 6", "num_steps: 6 gradient_clipping_by_norm: 5"),
            ("eval_config {", "eval_config { num_examples: 10000 max_evals: 3"),
            ("data_config {", "export_config { exporter_type: 'best' best_exporter_metric: "
             "'auc_cvr' metric_bigger: true enable_early_stop: true max_check_steps: 12 }\n"
             "data_config {"),
            text=BUILT_IN,
        ),
    )  # fmt: skip
    clipping = made.train.grad_clipping
    assert (clipping.clipping_type, clipping.max_gradient) == ("norm", 5)
    assert made.pipeline.eval_config.num_steps == 3, "of 4,096 rows"
    export = made.pipeline.export_config
    assert (export.exporter_type, export.best_exporter_metric) == ("best", "auc_cvr")
    assert export.metric_larger_is_better
    stopping = made.train.early_stopping
    assert (stopping.monitor, stopping.mode, stopping.patience) == ("auc_cvr", "max", 3)
    assert "EasyRec's multi-task models do not read it" in made.said.idle["eval_config.metrics_set"]
    assert "that of the gradient of the dense part" in made.plain
    assert "Early stopping counts evaluations" in made.plain
