"""The seed's second config, S1.20 to S1.36: the component form, with and without SENet."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from easyrec import taobao, weights
from easyrec.test_built_in import GROUP
from torch.testing import assert_close

from tzmmoe.build import Built
from tzmmoe.tables.penalties import penalized, regularization

TOWER = """
    task_towers {
      tower_name: "NAME" label_name: "LABEL"
      dnn { hidden_units: [128, 64] }
      num_class: 1 weight: 1.0 loss_type: CLASSIFICATION
      metrics_set: { auc {} }
    }"""
TOWERS = TOWER.replace("NAME", "ctr").replace("LABEL", "clk")
TOWERS += TOWER.replace("NAME", "cvr").replace("LABEL", "buy")
SENET = """
    blocks {
      name: "senet"
      inputs { block_name: "all" }
      keras_layer { class_name: 'SENet' senet { reduction_ratio: 4 } }
    }"""
BACKBONE = f"""
model_config {{
  model_name: "MMoE"
  model_class: "MultiTaskModel"
  feature_groups {{ group_name: "all" {GROUP} wide_deep: DEEP }}
  backbone {{
    blocks {{
      name: 'all'
      inputs {{ feature_group_name: 'all' }}
      input_layer {{ only_output_feature_list: true }}
    }}{SENET}
    blocks {{
      name: "mmoe"
      inputs {{ block_name: "senet" }}
      keras_layer {{
        class_name: 'MMoE'
        mmoe {{ num_task: 2 num_expert: 3 expert_mlp {{ hidden_units: [256, 128] }} }}
      }}
    }}
  }}
  model_params {{
    {TOWERS}
    l2_regularization: 1e-06
  }}
  embedding_regularization: 5e-05
}}
"""
WITHOUT_SENET = (
    BACKBONE.replace(SENET, "")
    .replace('block_name: "senet"', "feature_group_name: 'all'")
    .replace("only_output_feature_list: true", "")
)


def by_hand(*, senet: bool) -> int:
    """Trained numbers outside the tables."""
    count = 0
    for before, after in pairwise([17 * 16, 256, 128]):
        count += 3 * (before * after + 2 * after)
    for before, after in pairwise([128, 128, 64]):
        count += 2 * (before * after + 2 * after)
    count += 2 * (17 * 16 * 3 + 3) + 2 * (64 + 1)
    if senet:
        count += (68 * 17 + 17) + (17 * 272 + 272) + 2 * 272
    return count


@pytest.mark.parametrize(
    ("text", "count"), [(BACKBONE, 367_805), (WITHOUT_SENET, 361_192)], ids=["senet", "plain"]
)
def test_s1_33_the_seeds_model_has_the_parameters_of_easyrecs(
    tmp_path: Path, text: str, count: int
) -> None:
    made = taobao.model(tmp_path, text)
    assert taobao.dense_parameters(made) == count == by_hand(senet=text is BACKBONE)


def small(folder: Path) -> Built:
    return taobao.model(
        folder, taobao.model_text(taobao.ORACLE / "seed2_small.config"), dim=4, rows=40
    )


@taobao.needs_oracle
def test_logits_equal_those_of_easyrec_with_its_weights(tmp_path: Path) -> None:
    """Within 1e-6."""
    made = small(tmp_path)
    made.model.double().eval()
    numbers = taobao.oracle("seed2_small")
    weights.load_backbone(made.model, numbers)
    logits = made.model(taobao.oracle_inputs(made))
    for name in ("ctr", "cvr"):
        wanted = torch.from_numpy(numbers[f"logits_{name}"].astype(np.float64))
        assert_close(logits[name], wanted, rtol=0, atol=1e-6)


def test_kernels_of_towers_are_penalized_and_none_of_blocks(tmp_path: Path) -> None:
    """Decision 12: 2 kernels of each tower and its output."""
    made = taobao.model(tmp_path, BACKBONE.replace("1e-06", "0.5"))
    towers = made.model.towers
    kernels = [layer.linear.weight for tower in towers.values() for layer in tower.mlp.layers]
    kernels += [tower.linear.weight for tower in towers.values()]
    wanted = 0.5 / 2 * sum(float(kernel.detach().double().square().sum()) for kernel in kernels)
    assert len(kernels) == 6
    assert float(regularization(penalized(made.model)).detach()) == pytest.approx(wanted, rel=1e-5)


def test_towers_start_as_keras_starts_them_and_experts_by_he_uniform(tmp_path: Path) -> None:
    made = taobao.model(tmp_path, BACKBONE)
    experts = [p for n, p in made.model.body.named_parameters() if p.shape == (3, 256, 272)]
    [kernel] = [each.detach() for each in experts]
    bound = (6 / 272) ** 0.5  # He et al., ICCV 2015, as Keras has it: fan in alone
    assert 0.99 * bound < kernel.abs().max() <= bound
    tower = made.model.towers["tower_ctr"].mlp.layers[0]
    weight = tower.linear.weight.detach()
    bound = (6 / (128 + 128)) ** 0.5
    assert 0.99 * bound < weight.abs().max() <= bound
    assert tower.norm.eps == 0.001
