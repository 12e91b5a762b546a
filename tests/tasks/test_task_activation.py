"""Tasks: what output_activation makes of the logits, for losses, predictions and metrics.

The items of the seeds: S0.29, and S0.63 for losses of an activated output.
"""

import math
from collections.abc import Callable
from pathlib import Path

import oracles
import parts
import pytest
import torch
from serving.small import TOWER, Small, assert_same, random_inputs
from torch import Tensor
from torch.testing import assert_close
from written import built, changed, loaded, said_of_all

from tzmmoe.errors import ConfigError
from tzmmoe.serving.exporter import describe_outputs
from tzmmoe.serving.program import program_inputs, trace
from tzmmoe.tasks.task import Task, TaskSpace
from tzmmoe.tasks.taskset import TaskSet

BCE = "binary_cross_entropy {}"
NUMBERS = ["l2_loss {}", "l1_loss {}", "huber_loss {}", "msle_loss {}"]
LOGITS = torch.tensor([-200.0, -3.0, -0.5, 0.0, 0.5, 3.0, 200.0, 1.0])
LABELS = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, math.nan])
WEIGHTS = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0, 1.0, 1.0, 5.0])

# Of one number.
FORMULAS: dict[str, Callable[[float], float]] = {
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x: x if x > 0 else 0.2 * x,
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x)),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "gelu": lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2)),
    "swish": lambda x: x / (1 + math.exp(-x)),
    "elu": lambda x: x if x > 0 else math.expm1(x),
}
LOSSES: dict[str, Callable[[float, float], float]] = {
    "l2_loss {}": lambda x, y: (x - y) ** 2,
    "l1_loss {}": lambda x, y: abs(x - y),
    "huber_loss {}": lambda x, y: (x - y) ** 2 / 2 if abs(x - y) <= 1 else abs(x - y) - 0.5,
    "msle_loss {}": lambda x, y: (math.log1p(y) - math.log1p(max(x, 1e-7))) ** 2,
    "hinge_loss {}": lambda x, y: max(0.0, 1 - (2 * y - 1) * x),
}


def learned(task: Task, logits: Tensor, columns: dict[str, Tensor]) -> tuple[dict, Tensor]:
    """Losses by key, and the gradient of their sum."""
    leaf = logits.clone().requires_grad_()
    losses = TaskSet([task]).losses({task.name: leaf}, parts.batch(columns))
    [grad] = torch.autograd.grad(sum(losses.values()), leaf)
    return {key: loss.item() for key, loss in losses.items()}, grad


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", FORMULAS)
def test_a_loss_gets_what_the_activation_makes_of_the_logits(loss: str, name: str) -> None:
    """Over the rows that have a label, by their weights, at logits of 200 too."""
    task = parts.task("t", loss=[loss], activation=name, sample_weight="s")
    found, grad = learned(task, LOGITS, {"t": LABELS, "s": WEIGHTS})
    activated = [FORMULAS[name](x) for x in LOGITS.tolist()]
    pairs = list(zip(activated, LABELS.nan_to_num().tolist(), strict=True))
    each = [LOSSES[loss](x, y) for x, y in pairs]
    counts = (WEIGHTS * ~LABELS.isnan()).tolist()
    wanted = oracles.weighted_mean(each, counts)
    assert list(found.values()) == pytest.approx([wanted], rel=1e-5, abs=1e-6)
    assert grad.isfinite().all()
    assert grad[-1] == 0


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", FORMULAS)
def test_its_gradient_goes_through_the_activation(loss: str, name: str) -> None:
    """By differences of the formulas in float64, away from their corners."""
    logits, labels = [-1.3, -0.4, 0.37, 0.8, 2.1], [0.0, 1.0, 1.0, 0.0, 1.0]
    task = parts.task("t", loss=[loss], activation=name)
    _, grad = learned(task, torch.tensor(logits), {"t": torch.tensor(labels)})
    step = 1e-6
    wanted = [
        (LOSSES[loss](FORMULAS[name](x + step), y) - LOSSES[loss](FORMULAS[name](x - step), y))
        / (2 * step * len(logits))
        for x, y in zip(logits, labels, strict=True)
    ]
    assert grad.tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_number_is_predicted_after_the_activation(name: str) -> None:
    task = parts.task("t", loss=NUMBERS, activation=name)
    found = task.predict(LOGITS)["y_t"]
    wanted = [FORMULAS[name](x) for x in LOGITS.tolist()]
    assert found.tolist() == pytest.approx(wanted, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("loss", "num_class", "name"),
    [
        (BCE, 1, "sigmoid"),
        (BCE, 1, "Sigmoid"),
        ("binary_cross_entropy { label_smoothing: 0.1 }", 1, "sigmoid"),
        ("kld_loss {}", 1, "sigmoid"),
        ("kld_loss {}", 3, "softmax"),
        ("softmax_cross_entropy {}", 2, "softmax"),
        ("softmax_cross_entropy {}", 5, "SOFTMAX"),
        *[(loss, 1, name) for loss in (BCE, *LOSSES) for name in ("none", "linear", "None")],
    ],
)
def test_the_link_of_the_loss_and_none_change_nothing_to_the_bit(
    loss: str, num_class: int, name: str
) -> None:
    """S0.29: sigmoid with bce is bce of the logits, never of a rounded probability."""
    logits = LOGITS if num_class == 1 else 50 * parts.normal(8, num_class, dtype=torch.float32)
    plain, active = (
        parts.task("t", loss=[loss], num_class=num_class, activation=each) for each in ("", name)
    )
    active.check()
    found, grad = learned(active, logits, {"t": LABELS})
    wanted, wanted_grad = learned(plain, logits, {"t": LABELS})
    assert found == wanted
    assert torch.equal(grad, wanted_grad)
    outputs, wanted_outputs = active.predict(logits), plain.predict(logits)
    assert list(outputs) == list(wanted_outputs)
    assert all(torch.equal(outputs[key], wanted_outputs[key]) for key in outputs)
    assert active.outputs() == plain.outputs()


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        (["l2_loss {}"], ["y", "logits", "probs"]),
        (NUMBERS, ["y", "logits", "probs"]),
        ([BCE, "l2_loss {}"], ["logits", "probs", "y"]),
        (["hinge_loss {}"], ["logits", "probs"]),
        (["hinge_loss {}", "kld_loss {}"], ["logits", "probs"]),
    ],
)
def test_sigmoid_gives_logits_and_probabilities_whatever_the_losses_are(
    loss: list[str], names: list[str]
) -> None:
    """Of hinge_loss too: not the sigmoid of the sigmoid, which the loss alone would give."""
    task = parts.task("t", loss=loss, activation="sigmoid", metric=["auc { thresholds: 0 }"])
    task.check()
    outputs = task.predict(LOGITS)
    assert list(outputs) == [f"{name}_t" for name in names]
    assert task.outputs() == names
    assert torch.equal(outputs["logits_t"], LOGITS)
    for name in set(names) - {"logits"}:
        assert_close(outputs[f"{name}_t"], 1 / (1 + torch.exp(-LOGITS)))


@pytest.mark.parametrize("num_class", [2, 4])
def test_softmax_gives_probabilities_and_that_of_the_second_of_two(num_class: int) -> None:
    loss = ["softmax_cross_entropy {}", "kld_loss {}"]
    task = parts.task("t", loss=loss, num_class=num_class, activation="softmax")
    task.check()
    logits = parts.normal(6, num_class, dtype=torch.bfloat16)
    outputs = task.predict(logits)
    assert list(outputs) == [f"{name}_t" for name in task.outputs()]
    powers = logits.float().exp()
    probs = powers / powers.sum(dim=1, keepdim=True)
    assert_close(outputs["probs_t"], probs)
    assert ("probs1_t" in outputs) == (num_class == 2)
    assert_close(outputs.get("probs1_t", probs[:, 1]), probs[:, 1])


def test_a_click_learned_by_its_square_has_the_metrics_of_its_probability() -> None:
    """In the space too, as for a tower with binary_cross_entropy."""
    logits, columns = parts.impressions(200)
    metrics = ["auc { thresholds: 0 }", "logloss {}", "f1 {}", "mean_squared_error {}"]
    found = []
    for loss, name in (([BCE], ""), (["l2_loss {}"], "sigmoid")):
        space = TaskSpace("click", 1.0, 0.0)
        task = parts.task("cvr", label="buy", loss=loss, metric=metrics, space=space,
                          activation=name)  # fmt: skip
        task.check()
        tasks = TaskSet([task])
        tasks.update(tasks.predict(logits), parts.batch(columns))
        found.append(tasks.compute())
    assert len(found[0]) == 8
    assert found[1] == found[0]


@pytest.mark.parametrize(
    ("loss", "num_class", "name", "said"),
    [
        (
            [BCE],
            1,
            "relu",
            "is 'relu', but binary_cross_entropy itself applies sigmoid to the logits",
        ),
        ([BCE], 1, "tanh", "remove it or choose another loss"),
        (["l2_loss {}", BCE], 1, "relu", "but binary_cross_entropy itself applies"),
        (["kld_loss {}"], 1, "tanh", "but kld_loss itself applies sigmoid to the logits"),
        (["kld_loss {}"], 2, "tanh", "but kld_loss itself applies softmax to the logits"),
        (["softmax_cross_entropy {}"], 3, "relu", "softmax_cross_entropy itself applies softmax"),
        (["softmax_cross_entropy {}"], 3, "sigmoid", "but the tower has 3 logits; give 'softmax'"),
        (["l2_loss {}"], 1, "softmax", "is 'softmax', but the tower has 1 logit; give 'sigmoid'"),
        ([BCE], 1, "softmax", "is 'softmax', but the tower has 1 logit; give 'sigmoid'"),
        (["l2_loss {}"], 1, "sigmod", "is 'sigmod'; give one of relu, "),
        (["l2_loss {}"], 1, "sigmod", "did you mean 'sigmoid'?"),
        (["l2_loss {}"], 1, "prelu", "is 'prelu'; give one of relu, "),
    ],
)
def test_an_activation_that_does_not_fit_says_why_and_what_to_do(
    loss: list[str], num_class: int, name: str, said: str
) -> None:
    task = parts.task("t", loss=loss, num_class=num_class, activation=name)
    with pytest.raises(ConfigError) as error:
        task.check()
    [fault] = error.value.faults
    assert fault.path == "output_activation"
    assert said in fault.text


def test_the_activation_of_a_tower_arrives_and_its_fault_has_the_path_of_the_tower(
    tmp_path: Path,
) -> None:
    label = 'label_name: "buy"'
    content = changed((label, f'{label} losses {{ l1_loss {{}} }} output_activation: "sigmoid"'))
    made, found = built(loaded(tmp_path, content))
    assert found == []
    assert [task.activation for task in made.tasks.tasks] == ["", "sigmoid"]
    assert made.tasks.tasks[1].outputs() == ["y", "logits", "probs"]
    [line] = said_of_all(loaded(tmp_path, changed((label, f'{label} output_activation: "relu"'))))
    assert ": model_config.mmoe.task_towers[1].output_activation: is 'relu', but" in line


def test_an_export_gives_what_the_activation_makes(tmp_path: Path) -> None:
    ends = [
        'losses { l2_loss {} } output_activation: "sigmoid"',
        'losses { huber_loss {} } output_activation: "leaky_relu"',
        'losses { kld_loss {} } num_class: 2 output_activation: "softmax"',
    ]
    towers = [
        TOWER.replace("ctr", f"t{place}").replace("}", f"{end} }}")
        for place, end in enumerate(ends)
    ]
    feature = 'id_feature { feature_name: "one" num_buckets: 50 embedding_dim: 4 }'
    small = Small.build(tmp_path, [feature], names=["one"], towers="\n".join(towers))
    model, tasks = small.session.built.model, small.session.built.tasks
    program = trace(model, tasks, small.layout).module()
    inputs = random_inputs(small.layout, 30, most_ids=1)
    found = program(program_inputs(inputs, small.layout))
    assert_same(found, small.outputs(inputs))
    shapes = {name: len(each["shape"]) for name, each in describe_outputs(tasks).items()}
    assert shapes == {name: each.dim() for name, each in found.items()}
