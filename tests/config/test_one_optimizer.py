"""One optimizer for everything means the same as one for the tables and one for the rest: S0.62."""

import pytest
from e2e import tiny
from written import CONFIG, changed, loaded, read, said, said_of_all

from tzmmoe.protos.optimizer_pb2 import DenseOptimizer, SparseOptimizer

BEGIN, END = CONFIG.index("  sparse_optimizer"), CONFIG.index("  num_epochs")
TWO = CONFIG[BEGIN:END]
PATH = "train_config.optimizer"


def one(text: str, beside: str = "") -> str:
    """The config with ``optimizer { text }`` in place of the two."""
    return changed((TWO, f"  optimizer {{ {text} }} {beside}\n"))


def two(sparse: str, dense: str) -> str:
    return changed((TWO, f"  sparse_optimizer {{ {sparse} }}\n  dense_optimizer {{ {dense} }}\n"))


@pytest.mark.parametrize(
    ("given", "sparse"),
    [
        ("sgd_optimizer { lr: 0.5 }", "sgd_optimizer { lr: 0.5 }"),
        ("sgd_optimizer { momentum: 0 nesterov: false }", "sgd_optimizer { lr: 0.002 }"),
        (
            "adagrad_optimizer { lr: 0.5 }",  # whose eps is 1e-10 for the dense part
            "adagrad_optimizer { lr: 0.5 initial_accumulator_value: 0 eps: 1e-10 }",
        ),
        (
            "adam_optimizer { beta1: 0.8 weight_decay: 0 }",
            "adam_optimizer { lr: 0.002 beta1: 0.8 beta2: 0.999 eps: 1e-8 }",
        ),
        (
            "adadelta_optimizer { lr: 1 rho: 0.9 }",
            "adadelta_optimizer { lr: 1 rho: 0.9 eps: 1e-6 }",
        ),
        (
            "rmsprop_optimizer { eps: 1e-3 }",
            "rmsprop_optimizer { lr: 0.002 alpha: 0.99 eps: 1e-3 }",
        ),
        (
            "ftrl_optimizer { l1_reg: 0.1 l2_reg: 0.2 }",
            "ftrl_optimizer { lr: 0.002 learning_rate_power: -0.5 initial_accumulator_value: 0.1 "
            "l1_reg: 0.1 l2_reg: 0.2 }",
        ),
        (
            "adamax_optimizer {}",
            "adamax_optimizer { lr: 0.002 beta1: 0.9 beta2: 0.999 eps: 1e-8 }",
        ),
        ("nadam_optimizer {}", "nadam_optimizer { lr: 0.002 beta1: 0.9 beta2: 0.999 eps: 1e-8 }"),
    ],
)
@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "constant_learning_rate {}",
        "exponential_decay_learning_rate { decay_size: 9 staircase: false }",
        "manual_step_learning_rate { schedule_sizes: [2, 5] learning_rates: [0.1, 0.01] }",
        "cosine_annealing_learning_rate { T_max: 9 }",
        "cosine_annealing_warm_restarts_learning_rate { T_0: 4 T_mult: 2 }",
    ],
)
def test_it_is_rewritten_into_the_two(tmp_path, given, sparse, schedule):
    config = loaded(tmp_path, one(f"{given} {schedule}"))
    assert said_of_all(config) == []
    assert config.pipeline == read(two(f"{sparse} {schedule}", f"{given} {schedule}"))


def test_every_word_that_tables_have_can_be_given_for_both(tmp_path):
    words = {field.name for field in DenseOptimizer.DESCRIPTOR.oneofs_by_name["optimizer"].fields}
    of_tables = set(SparseOptimizer.DESCRIPTOR.fields_by_name)
    for word in words & of_tables:
        assert said_of_all(loaded(tmp_path, one(f"{word} {{}}"))) == []
    for word in words - of_tables:
        assert len(said_of_all(loaded(tmp_path, one(f"{word} {{}}")))) == 1


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        ("", PATH, "has no optimizer; give one of sgd_optimizer, adagrad_optimizer, adam_opt"),
        ("constant_learning_rate {}", PATH, "has no optimizer; give one of sgd_optimizer, "),
        ("adamw_optimizer { lr: 0.1 }", f"{PATH}.adamw_optimizer", "does not exist for tables"),
        *(
            (f"{word} {{ {name}: {value} }}", f"{PATH}.{word}.{name}", said_of_it)
            for word, name, value, said_of_it in [
                ("sgd_optimizer", "momentum", 0.9, "is 0.9, which does not exist"),
                (
                    "sgd_optimizer",
                    "weight_decay",
                    1e-5,
                    "is 1e-05, which does not exist",
                ),
                ("sgd_optimizer", "dampening", 0.5, "is 0.5, which does not exist"),
                ("sgd_optimizer", "nesterov", "true", "is true, which does not exist"),
                (
                    "adagrad_optimizer",
                    "weight_decay",
                    0.1,
                    "is 0.1, which does not exist",
                ),
                ("adam_optimizer", "amsgrad", "true", "is true, which does not exist"),
                (
                    "adam_optimizer",
                    "weight_decay",
                    0.1,
                    "is 0.1, which works differently for tables",
                ),
                (
                    "adadelta_optimizer",
                    "weight_decay",
                    0.1,
                    "is 0.1, which does not exist",
                ),
                (
                    "rmsprop_optimizer",
                    "weight_decay",
                    0.1,
                    "is 0.1, which does not exist",
                ),
                ("rmsprop_optimizer", "momentum", 0.1, "is 0.1, which does not exist"),
                (
                    "adamax_optimizer",
                    "weight_decay",
                    0.1,
                    "is 0.1, which does not exist",
                ),
                ("nadam_optimizer", "weight_decay", 0.1, "is 0.1, which does not exist"),
            ]
        ),
    ],
)
def test_what_tables_cannot_do_is_one_fault_with_its_line_and_the_way_out(
    tmp_path, given, path, words
):
    [line] = said_of_all(loaded(tmp_path, one(given)))
    assert f"my.config:5: {path}: {words}" in line
    assert "give sparse_optimizer and dense_optimizer instead" in line or path == PATH


def test_all_that_tables_cannot_do_shows_at_once(tmp_path):
    found = said(loaded(tmp_path, one("sgd_optimizer { momentum: 0.9 weight_decay: 0.1 }")))
    assert len(found) == 2


@pytest.mark.parametrize(
    "names", [("sparse_optimizer",), ("dense_optimizer",), ("sparse_optimizer", "dense_optimizer")]
)
def test_it_does_not_go_with_the_two(tmp_path, names):
    beside = " ".join(f"{name} {{ adam_optimizer {{}} }}" for name in names)
    [line] = said_of_all(loaded(tmp_path, one("sgd_optimizer {}", beside)))
    assert f": {PATH}: is set, and so " in line
    assert f" {' and '.join(names)}; keep optimizer, or" in line


def test_training_equals_training_with_the_two_spelled_out(tiny_folder, tmp_path):
    adagrad = "adagrad_optimizer { lr: 0.05 eps: 1e-5 } exponential_decay_learning_rate "
    adagrad += "{ decay_size: 3 }"
    unset = {f"train_config__{name}_optimizer": "" for name in ("sparse", "dense")}
    spelled = dict.fromkeys(unset, adagrad)
    for name, changes in (("one", unset | {PATH.replace(".", "__"): adagrad}), ("two", spelled)):
        tiny.pipeline(tiny_folder, tmp_path / name, **changes).fit()
    assert tiny.end(tmp_path / "one") == tiny.end(tmp_path / "two")
