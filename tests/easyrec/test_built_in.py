"""EasyRec's MMoE in its built-in form: S1.1 to S1.19, and its own numbers."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from easyrec import taobao, weights
from torch import nn
from torch.testing import assert_close
from written import loaded, said, said_of_all

from tzmmoe.nn.mlp import StackedLinear
from tzmmoe.tables.penalties import penalized, regularization

GROUP = " ".join(f'feature_names: "{name}"' for name in taobao.GROUP)
TOWER = """
    task_towers {
      tower_name: "NAME" label_name: "LABEL"
      dnn { hidden_units: [256, 192, 128, 64] }
      num_class: 1 weight: 1.0 loss_type: CLASSIFICATION
      metrics_set: { auc {} }
    }"""
TOWERS = TOWER.replace("NAME", "ctr").replace("LABEL", "clk")
TOWERS += TOWER.replace("NAME", "cvr").replace("LABEL", "buy")
BUILT_IN = f"""
model_config {{
  model_class: "MMoE"
  feature_groups {{ group_name: "all" {GROUP} wide_deep: DEEP }}
  mmoe {{
    expert_dnn {{ hidden_units: [256, 192, 128, 64] }}
    num_expert: 4
    {TOWERS}
    l2_regularization: 1e-06
  }}
  embedding_regularization: 5e-05
}}
"""
LAYERS = "{ hidden_units: [256, 192, 128, 64] use_bn: true activation: 'nn.ReLU' }"
OURS = f"""
model_config {{
  feature_groups {{ group_name: "all" {GROUP} group_type: DEEP }}
  mmoe {{
    expert_mlp {LAYERS}
    num_expert: 4
    task_towers {{
      tower_name: "ctr" label_name: "clk" mlp {LAYERS} num_class: 1 weight: 1
      losses {{ binary_cross_entropy {{}} }} metrics {{ auc {{}} }}
    }}
    task_towers {{
      tower_name: "cvr" label_name: "buy" mlp {LAYERS} num_class: 1 weight: 1
      losses {{ binary_cross_entropy {{}} }} metrics {{ auc {{}} }}
    }}
    l2_regularization: 1e-06
  }}
  embedding_regularization: 5e-05
  dense_start: KERAS
}}
"""


def test_s1_2_to_s1_17_the_seeds_words_become_ours(tmp_path: Path) -> None:
    assert taobao.canonical(tmp_path, BUILT_IN) == taobao.parsed(OURS)


def test_s1_36_the_seeds_model_has_812810_dense_parameters(tmp_path: Path) -> None:
    made = taobao.model(tmp_path, BUILT_IN)
    by_hand = 0
    widths = [17 * 16, 256, 192, 128, 64]
    for before, after in pairwise(widths):
        by_hand += 4 * (before * after + 2 * after)  # kernel, and scale and shift of the norm
    widths = [64, 256, 192, 128, 64]
    for before, after in pairwise(widths):
        by_hand += 2 * (before * after + 2 * after)
    by_hand += 2 * (17 * 16 * 4 + 4) + 2 * (64 + 1)
    assert taobao.dense_parameters(made) == by_hand == 812_810


def test_networks_start_as_keras_starts_them(tmp_path: Path) -> None:
    """Glorot and Bengio, eq. 16: uniform within sqrt(6 / (in + out)), hence variance
    2 / (in + out); biases 0."""
    made = taobao.model(tmp_path, BUILT_IN)
    first = made.model.body.experts.layers[0]
    bound = (6 / (272 + 256)) ** 0.5
    weight = first.linear.weight.detach()
    assert 0.99 * bound < weight.abs().max() <= bound
    assert float(weight.var()) == pytest.approx(bound**2 / 3, rel=0.02)
    assert (first.norm.eps, first.norm.momentum) == (0.001, pytest.approx(0.01))
    assert not made.model.body.gates.final.bias.any()
    assert not made.model.towers["tower_ctr"].linear.bias.any()


def test_s1_16_kernels_of_experts_gates_and_towers_are_penalized_and_nothing_else(
    tmp_path: Path,
) -> None:
    """s sum w^2 / 2; EasyRec has 16 kernels of experts, 2 of gates, 8 of towers, 2 of outputs."""
    made = taobao.model(tmp_path, BUILT_IN.replace("1e-06", "0.5"))
    kernels = [
        part.weight.double()
        for part in made.model.modules()
        if isinstance(part, nn.Linear | StackedLinear)
    ]
    assert sum(len(kernel) if kernel.dim() == 3 else 1 for kernel in kernels) == 16 + 2 + 8 + 2
    by_hand = 0.5 * sum(float(kernel.detach().square().sum()) for kernel in kernels) / 2
    assert float(regularization(penalized(made.model)).detach()) == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("form", ["expert_dnn", "experts"])
def test_s1_16_unset_in_the_built_in_form_means_1e_4(tmp_path: Path, form: str) -> None:
    text = BUILT_IN.replace("l2_regularization: 1e-06", "")
    if form == "experts":
        text = text.replace(*EXPERTS).replace("num_expert: 4", "")
    assert taobao.canonical(tmp_path, text).mmoe.l2_regularization == 1e-4


def test_unset_in_our_own_words_means_none(tmp_path: Path) -> None:
    text = OURS.replace("l2_regularization: 1e-06", "")
    assert taobao.canonical(tmp_path, text).mmoe.l2_regularization == 0


EXPERTS = (
    "expert_dnn { hidden_units: [256, 192, 128, 64] }",
    " ".join(
        f'experts {{ expert_name: "expert{i}" dnn {{ hidden_units: [256, 192, 128, 64] }} }}'
        for i in range(4)
    ),
)


def test_s1_9_the_old_form_with_a_message_for_each_expert_is_the_same_model(tmp_path: Path) -> None:
    """And labels that no tower names are bound in order."""
    old = BUILT_IN.replace(*EXPERTS).replace("num_expert: 4", "")
    assert taobao.canonical(tmp_path, old) == taobao.parsed(OURS)
    unnamed = old.replace('label_name: "clk"', "").replace('label_name: "buy"', "")
    made = taobao.model(tmp_path, unnamed)
    assert [task.label for task in made.tasks.tasks] == ["clk", "buy"]


def test_s1_6_the_prose_calls_the_number_of_experts_expert_num(tmp_path: Path) -> None:
    text = BUILT_IN.replace("num_expert: 4", "expert_num: 4")
    assert taobao.canonical(tmp_path, text) == taobao.parsed(OURS)


def test_s1_17_embeddings_are_penalized_as_they_are_looked_up(tmp_path: Path) -> None:
    """s sum e^2 / 2 over rows, features and widths, after pooling; and in training alone."""
    text = BUILT_IN.replace("5e-05", "0.25")
    made = taobao.model(tmp_path, text, dim=4, rows=40)
    columns = {name: list(map(str, v)) for name, v in taobao.columns(64, 3).items()}
    inputs = taobao.inputs(made, columns)
    outputs = made.model.train()(inputs)
    x_BD = made.model.encoder(inputs)["all"].double()
    assert x_BD.shape == (64, 17 * 4)
    by_hand = 0.25 * float(x_BD.detach().square().sum()) / 2
    (penalty,) = [value for key, value in outputs.items() if key not in ("ctr", "cvr")]
    assert float(penalty.detach()) == pytest.approx(by_hand, rel=1e-5)
    penalty.backward()
    [tables] = made.model.encoder.tables.values()
    grad = tables.weight.grad.to_dense()
    tables.weight.grad = None
    (0.25 * made.model.encoder(inputs)["all"].double().square().sum() / 2).backward()
    assert_close(grad, tables.weight.grad.to_dense())
    assert set(made.model.eval()(inputs)) == {"ctr", "cvr"}


@taobao.needs_oracle
def test_logits_equal_those_of_easyrec_with_its_weights(tmp_path: Path) -> None:
    """Within 1e-6."""
    text = taobao.model_text(taobao.ORACLE / "seed1_small.config")
    made = taobao.model(tmp_path, text, dim=4, rows=40)
    made.model.double().eval()
    numbers = taobao.oracle("seed1_small")
    weights.load_built_in(made.model, numbers)
    logits = made.model(taobao.oracle_inputs(made))
    for name in ("ctr", "cvr"):
        wanted = torch.from_numpy(numbers[f"logits_{name}"].astype(np.float64))
        assert_close(logits[name], wanted, rtol=0, atol=1e-6)


WRONG = [
    (
        ('model_class: "MMoE"', 'model_class: "PLE"'),
        "model_config.model_class: is 'PLE', but the model is mmoe; write 'MMoE'",
    ),
    (
        ('model_class: "MMoE"', 'model_class: "DeepFM"'),
        "model_config.model_class: is 'DeepFM', which tzmmoe does not have",
    ),
    (
        ("expert_dnn {", "expert_mlp { hidden_units: [3] } expert_dnn {"),
        "model_config.mmoe.expert_dnn: is set, and so is expert_mlp; keep one",
    ),
    (
        (
            "      dnn { hidden_units: [256, 192, 128, 64] }\n",
            "      dnn { hidden_units: [0, 3] }\n",
        ),
        "task_towers[0].dnn.hidden_units: is [0, 3]; give widths above 0",
    ),
    (
        ("expert_dnn {", 'expert_dnn { activation: "tf.nn.rello" '),
        "mmoe.expert_dnn.activation: is 'tf.nn.rello'; give one of relu",
    ),
    (
        ("expert_dnn {", "expert_dnn { dropout_ratio: [0.1, 0.2] "),
        "mmoe.expert_dnn.dropout_ratio: has 2 values for 4 layers",
    ),
    (
        ("metrics_set: {", "metrics { auc {} } metrics_set: {"),
        "task_towers[0].metrics_set: is set, and so is metrics; keep one",
    ),
    (
        ("wide_deep: DEEP", "wide_deep: DEEP ..."),
        "stands for lines that a document left out; write them",
    ),
    (
        ("mmoe {", "mmoe { embedding_regularization: 5e-05"),
        "embedding_regularization: no such field here; it belongs in model_config",
    ),
    (
        ("embedding_regularization: 5e-05", "embedding_regularization: -1"),
        "embedding_regularization: is -1; give 0 or more",
    ),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_what_is_wrong_is_told_in_the_users_own_words_with_the_line(
    tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    assert change[0] in BUILT_IN
    text = taobao.config(BUILT_IN.replace(*change, 1))
    config = loaded(tmp_path, text)
    [line] = said(config) or said_of_all(config)
    assert words in line
    number = int(line.split(":")[1])
    own = words.split(":")[0].rsplit(".", 1)[-1]
    assert own in text.splitlines()[number - 1] or "..." in text.splitlines()[number - 1]


def test_experts_of_unequal_layers_are_told_by_the_first_difference(tmp_path: Path) -> None:
    one = "experts { dnn { hidden_units: [8] } }"
    other = "experts { dnn { hidden_units: [9] } }"
    text = BUILT_IN.replace(EXPERTS[0], one + other).replace("num_expert: 4", "")
    [line] = said(loaded(tmp_path, taobao.config(text)))
    assert "experts[1].dnn: has hidden_units [9], but the first expert [8]" in line


def test_a_range_of_features_stands_for_each_of_them(tmp_path: Path) -> None:
    names = "".join(taobao.feature(f"f{i}", 4, 3) for i in range(9, 12))
    text = taobao.config(BUILT_IN.replace(GROUP, f'{GROUP} feature_names: "f[9-11]"'))
    made = loaded(tmp_path, names + text)
    assert not said(made)
    [group] = made.pipeline.model_config.feature_groups
    assert list(group.feature_names) == [*taobao.GROUP, "f9", "f10", "f11"]
