"""Learning that is switched off says so: rates of 0, rates that are not reached, and batches whose
gradients are still pending at the end."""

import logging
from itertools import product

import pytest
from cases import some
from e2e import tiny
from messages import says
from run.runs import ONE_EPOCH, go_on

from tzmmoe.learning.schedules import schedule

EPOCH = 13  # steps: 200 rows in batches of 16
CONSTANT = "constant_learning_rate {}"
MANUAL = "manual_step_learning_rate { schedule_sizes: [4, 9] learning_rates: [0.02, 0.01] %s }"
PARTS = {"sparse": "tables", "dense": "towers"}
OPTIMIZERS = ["sgd_optimizer", "adam_optimizer", "adagrad_optimizer", "ftrl_optimizer"]
MANUAL_CASES = list(product(PARTS, OPTIMIZERS, ["", "warmup: true"]))


def both(sparse: str, dense: str) -> dict[str, str]:
    return {"train_config__sparse_optimizer": sparse, "train_config__dense_optimizer": dense}


def of_part(part: str, text: str) -> dict[str, str]:
    """``text`` for one part, and a rate of 0.01 for the other."""
    other = f"adam_optimizer {{ lr: 0.01 }} {CONSTANT}"
    return both(text, other) if part == "sparse" else both(other, text)


def learned(folder, model_dir, part: str) -> bool:
    """Whether a run with checkpoints after steps 5, 10 and 12 changed a part between them."""
    first, last = (tiny.tensors(model_dir / f"model.ckpt-{step}") for step in (5, 12))
    names = [name for name in first if PARTS[part] in name and name.endswith("weight")]
    assert names
    return any(first[name] != last[name] for name in names)


@pytest.mark.parametrize(("part", "optimizer", "warmup"), some(MANUAL_CASES, *MANUAL_CASES[::3]))
def test_manual_steps_from_a_rate_of_0_are_taken(
    tiny_folder, tmp_path, caplog, part, optimizer, warmup
) -> None:
    text = f"{optimizer} {{ lr: 0 }} {MANUAL % warmup}"
    tiny.pipeline(tiny_folder, tmp_path, **ONE_EPOCH | of_part(part, text)).fit()
    assert learned(tiny_folder, tmp_path, part)
    assert "learning rate" not in caplog.text


@pytest.mark.parametrize("text", [
    f"adam_optimizer {{ lr: 0 }} {CONSTANT}",
    "adam_optimizer { lr: 0 } exponential_decay_learning_rate { decay_size: 3 }",
    "adam_optimizer { lr: 0.1 } cosine_annealing_learning_rate "
    "{ T_max: 3 warmup_size: 1 by_epoch: true }",
    "adam_optimizer { lr: 0.1 } exponential_decay_learning_rate "
    "{ decay_size: 3 warmup_size: 2 by_epoch: true }",
])  # fmt: skip
@pytest.mark.parametrize("part", PARTS)
def test_a_run_whose_rate_is_0_in_every_step_says_so_before_it_begins(
    tiny_folder, tmp_path, caplog, part, text
) -> None:
    made = tiny.pipeline(tiny_folder, tmp_path, **ONE_EPOCH | of_part(part, text))
    made.check()
    [said] = [line for line in caplog.messages if "rate is 0" in line]
    says(said, f"train_config.{part}_optimizer", "every step", "raise lr")
    caplog.clear()
    made.fit()
    assert not learned(tiny_folder, tmp_path, part)
    assert sum("learning rate" in line for line in caplog.messages) == 1


@pytest.mark.parametrize("part", PARTS)
def test_an_epoch_whose_rate_is_0_in_every_step_says_so(
    tiny_folder, tmp_path, caplog, part
) -> None:
    """The rate is 0 in the first of two epochs, and from step 26 on in the third."""
    text = (
        "adam_optimizer { lr: 0 } manual_step_learning_rate "
        f"{{ schedule_sizes: [{EPOCH - 1}, {2 * EPOCH - 1}] learning_rates: [0.01, 0] }}"
    )
    changes = of_part(part, text) | {"train_config__num_epochs": 3}
    tiny.pipeline(tiny_folder, tmp_path, **changes).fit()
    said = [line for line in caplog.messages if "rate was 0" in line]
    assert len(said) == 2
    for line, epoch in zip(said, (1, 3), strict=True):
        says(line, f"train_config.{part}_optimizer", f"13 steps of epoch {epoch}")


@pytest.mark.parametrize(
    ("text", "unreached"),
    [
        ("{ lr: 0.1 } manual_step_learning_rate "
         "{ schedule_sizes: [4, 12, 900] learning_rates: [0.3, 0.2, 0.1] }",
         ["learning_rates[1], learning_rates[2]", "13 steps", "has 13"]),
        ("{ lr: 0.1 } manual_step_learning_rate "
         "{ schedule_sizes: [1] learning_rates: [0.3] by_epoch: true }",
         ["learning_rates[0]", "2 epochs", "has 1"]),
        ("{ lr: 0.1 } cosine_annealing_learning_rate { T_max: 9 warmup_size: 13 }",
         ["lr", "13 steps", "has 13"]),
        ("{ lr: 0.1 } cosine_annealing_warm_restarts_learning_rate { T_0: 9 warmup_size: 99 }",
         ["lr", "99 steps"]),
        ("{ lr: 0.1 } exponential_decay_learning_rate "
         "{ decay_size: 9 warmup_size: 1 warmup_learning_rate: 0.1 by_epoch: true }",
         ["lr", "1 epoch"]),
        ("{ lr: 0.1 } manual_step_learning_rate "
         "{ schedule_sizes: [4, 11] learning_rates: [0.3, 0.2] }", []),
        ("{ lr: 0.1 } cosine_annealing_learning_rate { T_max: 9 warmup_size: 12 }", []),
    ],
)  # fmt: skip
def test_rates_that_a_run_of_13_steps_does_not_reach_are_told(
    tiny_folder, tmp_path, caplog, text, unreached
) -> None:
    changes = ONE_EPOCH | of_part("dense", f"adam_optimizer {text}")
    tiny.pipeline(tiny_folder, tmp_path, **changes).check()
    said = [line for line in caplog.messages if "not reached" in line]
    assert len(said) == bool(unreached)
    for line in said:
        says(line, "train_config.dense_optimizer", *unreached)


def test_a_goal_begins_where_the_rate_reaches_it() -> None:
    """By the rates of the schedules themselves, at the step of each goal and the one before."""
    manual = {
        "schedule_sizes": (3, 7),
        "learning_rates": (0.5, 0.25),
        "warmup": False,
        "by_epoch": False,
    }
    made = schedule(1.0, "manual_step_learning_rate", manual)
    for (name, s), rate in zip(made.goals.items(), (0.5, 0.25), strict=True):
        assert made.at(s, 0) == rate != made.at(s - 1, 0), name
    cosine = {
        "T_max": 9,
        "min_learning_rate": 0.0,
        "warmup_learning_rate": 0.1,
        "warmup_size": 4,
        "by_epoch": False,
    }
    made = schedule(1.0, "cosine_annealing_learning_rate", cosine)
    assert made.goals == {"lr": 4}
    assert made.at(4, 0) == 1.0 > made.at(3, 0)


def test_a_run_that_goes_on_is_told_about_the_steps_that_are_left(
    tiny_folder, tmp_path, caplog
) -> None:
    text = (
        "adam_optimizer { lr: 0.01 } manual_step_learning_rate "
        "{ schedule_sizes: [12] learning_rates: [0] }"
    )
    tiny.pipeline(tiny_folder, tmp_path, **ONE_EPOCH | of_part("dense", text)).fit()
    caplog.clear()
    go_on(tiny_folder, tmp_path, **of_part("dense", text), train_config__num_epochs=2)
    [said] = [line for line in caplog.messages if "rate is 0" in line]
    says(said, "train_config.dense_optimizer")


ACCUMULATION = {
    "train_config__gradient_accumulation_steps": 4,
    "train_config__save_checkpoints_steps": 100,
}


def accumulated(folder, model_dir, num_steps: int, *, goes_on: bool = False) -> dict[str, bytes]:
    """Everything that a run of so many steps, over epochs of 13, leaves in its checkpoint."""
    changes = ACCUMULATION | {
        "train_config__num_epochs": 9,
        "train_config__num_steps": num_steps,
    }
    tiny.pipeline(folder, model_dir, **changes).fit(continue_train=goes_on)
    return tiny.tensors(model_dir / f"model.ckpt-{num_steps - 1}")


def dense(tensors: dict[str, bytes]) -> dict[str, bytes]:
    """Weights that only the dense optimizer changes."""
    return {
        name: content
        for name, content in tensors.items()
        if name.startswith("model.") and name.endswith("linear.weight")
    }


def test_batches_that_are_left_at_the_end_of_a_run_wait_for_the_next(
    tiny_folder, tmp_path, caplog
) -> None:
    """After 14 steps, 12 batches in a first epoch of 13 and 2 after them, the dense part is that of
    12 steps; the 2 batches are not lost."""
    with caplog.at_level(logging.INFO):
        short = accumulated(tiny_folder, tmp_path / "a", 12)
        assert "--continue_train" not in caplog.text
        longer = accumulated(tiny_folder, tmp_path / "b", 14)
    [said] = [line for line in caplog.messages if "--continue_train" in line]
    says(said, "gradient_accumulation_steps", "last 2 batches")
    assert dense(longer) == dense(short)
    assert accumulated(tiny_folder, tmp_path / "b", 21, goes_on=True) == accumulated(
        tiny_folder, tmp_path / "c", 21
    )


def test_an_epoch_does_not_end_an_accumulation(tiny_folder, tmp_path) -> None:
    """Of 13 batches a 14th to 16th in the next epoch complete the fourth update."""
    after = {n: dense(accumulated(tiny_folder, tmp_path / str(n), n)) for n in (12, 13, 15, 16)}
    assert after[12] == after[13] == after[15] != after[16]
