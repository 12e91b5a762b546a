"""EasyRec's DBMTL, PLE, ESMM and SimpleMultiTask in their built-in forms."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from easyrec import taobao
from torch import Tensor, nn
from torch.testing import assert_close
from written import loaded, said, said_of_all

from tzmmoe import predict
from tzmmoe.nn.mlp import StackedLinear
from tzmmoe.pipeline import Pipeline
from tzmmoe.tables.penalties import penalized, regularization

GROUP = " ".join(f'feature_names: "{name}"' for name in taobao.GROUP)
ALL = f'feature_groups {{ group_name: "all" {GROUP} wide_deep: DEEP }}'
PARTED = {
    "user": taobao.GROUP[:8],
    "item": taobao.GROUP[8:14],
    "combo": taobao.GROUP[14:],
}


def groups(kind: str) -> str:
    """A feature group of each part of the columns."""
    texts = []
    for name, members in PARTED.items():
        listed = ", ".join(f'"{member}"' for member in members)
        texts.append(f'feature_groups {{ group_name: "{name}" feature_names: [{listed}] {kind} }}')
    return "\n".join(texts)


TOWER = """{
      tower_name: "NAME" label_name: "LABEL" loss_type: CLASSIFICATION
      metrics_set: { auc {} } weight: 1.0 MORE
    }"""
OUR_TOWER = """{
      tower_name: "NAME" label_name: "LABEL" losses { binary_cross_entropy {} }
      metrics { auc {} } weight: 1.0 MORE
    }"""


def tower(name: str, more: str, text: str = TOWER) -> str:
    label = {"ctr": "clk", "cvr": "buy"}[name]
    return text.replace("NAME", name).replace("LABEL", label).replace("MORE", more)


def dnn(*units: int) -> str:
    return f"{{ hidden_units: {list(units)} }}"


def mlp(*units: int) -> str:
    return f'{{ hidden_units: {list(units)} use_bn: true activation: "nn.ReLU" }}'


FORMS = {
    "dbmtl": f"""model_config {{
  model_class: "DBMTL"
  {ALL}
  dbmtl {{
    bottom_dnn {dnn(24)}
    expert_dnn {dnn(16, 8)}
    num_expert: 5
    task_towers {tower("ctr", f"dnn {dnn(12, 6)} relation_dnn {dnn(4)}")}
    task_towers {
        tower("cvr", f'dnn {dnn(12, 6)} relation_tower_names: ["ctr"] relation_dnn {dnn(4)}')
    }
    l2_regularization: 1e-6
  }}
  embedding_regularization: 5e-6
}}""",
    "ple": f"""model_config {{
  model_class: "PLE"
  {ALL}
  ple {{
    extraction_networks {{
      network_name: "layer1" expert_num_per_task: 3 share_num: 4
      task_expert_net {dnn(16, 8)} share_expert_net {dnn(12, 8)}
    }}
    extraction_networks {{
      network_name: "layer2" expert_num_per_task: 2 share_num: 2
      task_expert_net {{ hidden_units: [8] use_bn: false activation: "tf.nn.elu" }}
      share_expert_net {{ hidden_units: [8] dropout_ratio: [0.1] activation: "nn.SELU" }}
    }}
    task_towers {tower("ctr", f"dnn {dnn(12, 6)}")}
    task_towers {tower("cvr", f"dnn {dnn(6)}")}
    l2_regularization: 1e-6
  }}
  embedding_regularization: 5e-6
}}""",
    "esmm": f"""model_config {{
  model_class: "ESMM"
  {groups("wide_deep: DEEP")}
  esmm {{
    groups {{ input: "user" dnn {dnn(16, 8)} }}
    groups {{ input: "item" dnn {dnn(12)} }}
    groups {{ input: "combo" dnn {{ hidden_units: [0] }} }}
    cvr_tower {tower("cvr", f"dnn {dnn(10, 5)}")}
    ctr_tower {tower("ctr", f"dnn {dnn(12, 6)} num_class: 1")}
    l2_regularization: 1e-6
  }}
  embedding_regularization: 5e-5
}}""",
    "simple_multi_task": f"""model_config {{
  model_class: "SimpleMultiTask"
  {ALL}
  simple_multi_task {{
    task_towers {tower("ctr", f"dnn {dnn(12, 6)}")}
    task_towers {tower("cvr", f"dnn {dnn(8)}")}
    l2_regularization: 1e-6
  }}
  embedding_regularization: 5e-6
}}""",
}
OUR_ALL = f'feature_groups {{ group_name: "all" {GROUP} group_type: DEEP }}'
READS = f'mlp {mlp(12, 6)} relation_tower_names: ["ctr"] relation_mlp {mlp(4)}'
OURS = {
    "dbmtl": f"""model_config {{
  {OUR_ALL}
  dbmtl {{
    bottom_mlp {mlp(24)}
    expert_mlp {mlp(16, 8)}
    num_expert: 5
    task_towers {tower("ctr", f"mlp {mlp(12, 6)} relation_mlp {mlp(4)}", OUR_TOWER)}
    task_towers {tower("cvr", READS, OUR_TOWER)}
    l2_regularization: 1e-6
  }}
  embedding_regularization: 5e-6
  dense_start: KERAS
}}""",
    "ple": f"""model_config {{
  {OUR_ALL}
  ple {{
    extraction_networks {{
      network_name: "layer1" expert_num_per_task: 3 share_num: 4
      task_expert_net {{ hidden_units: [16, 8] use_bn: true }}
      share_expert_net {{ hidden_units: [12, 8] use_bn: true }}
    }}
    extraction_networks {{
      network_name: "layer2" expert_num_per_task: 2 share_num: 2
      task_expert_net {{ hidden_units: [8] use_bn: false activation: "nn.ELU" }}
      share_expert_net {{
        hidden_units: [8] use_bn: true dropout_ratio: [0.1] activation: "nn.SELU"
      }}
    }}
    task_towers {tower("ctr", f"mlp {mlp(12, 6)}", OUR_TOWER)}
    task_towers {tower("cvr", f"mlp {mlp(6)}", OUR_TOWER)}
    l2_regularization: 1e-6
  }}
  embedding_regularization: 5e-6
  dense_start: KERAS
}}""",
    "esmm": f"""model_config {{
  {groups("group_type: DEEP")}
  esmm {{
    group_networks {{ input: "user" mlp {mlp(16, 8)} }}
    group_networks {{ input: "item" mlp {mlp(12)} }}
    group_networks {{ input: "combo" }}
    ctr_tower {tower("ctr", f"mlp {mlp(12, 6)} num_class: 1", OUR_TOWER)}
    cvr_tower {tower("cvr", f"mlp {mlp(10, 5)}", OUR_TOWER)}
    l2_regularization: 1e-6
  }}
  embedding_regularization: 5e-5
  dense_start: KERAS
}}""",
    "simple_multi_task": f"""model_config {{
  {OUR_ALL}
  simple_multi_task {{
    task_towers {tower("ctr", f"mlp {mlp(12, 6)}", OUR_TOWER)}
    task_towers {tower("cvr", f"mlp {mlp(8)}", OUR_TOWER)}
    l2_regularization: 1e-6
  }}
  embedding_regularization: 5e-6
  dense_start: KERAS
}}""",
}
EACH = pytest.mark.parametrize("model", FORMS)


@EACH
def test_easyrecs_form_becomes_ours(model: str, tmp_path: Path) -> None:
    assert taobao.canonical(tmp_path, FORMS[model]) == taobao.parsed(OURS[model])


@EACH
def test_our_form_stays_as_it_is(model: str, tmp_path: Path) -> None:
    assert taobao.canonical(tmp_path, OURS[model]) == taobao.parsed(OURS[model])


@EACH
def test_a_config_without_model_class_is_recognized_by_its_words(
    model: str, tmp_path: Path
) -> None:
    text = FORMS[model].replace("model_class:", "model_name:")
    assert taobao.canonical(tmp_path, text) == taobao.parsed(OURS[model])


@EACH
@pytest.mark.parametrize("kind", ["easyrec", "ours"])
def test_l2_regularization_that_is_not_set_is_that_of_the_form(
    model: str, kind: str, tmp_path: Path
) -> None:
    forms, wanted = {"easyrec": (FORMS, 1e-4), "ours": (OURS, 0.0)}[kind]
    text = forms[model].replace("l2_regularization: 1e-6", "")
    found = getattr(taobao.canonical(tmp_path, text), model)
    assert found.l2_regularization == wanted


@EACH
def test_every_kernel_is_penalized_and_starts_as_keras_starts_it(
    model: str, tmp_path: Path
) -> None:
    """s sum w^2 / 2 over kernels, which lie within Glorot's bound; all biases are 0."""
    made = taobao.model(tmp_path, FORMS[model].replace("1e-6", "0.5"), dim=4, rows=40).model
    linear = [p for p in made.modules() if isinstance(p, nn.Linear | StackedLinear)]
    wanted = 0.5 * sum(p.weight.detach().double().square().sum() for p in linear) / 2
    found = regularization(penalized(made)).detach().double()
    assert_close(found, wanted, rtol=1e-5, atol=0)
    for part in linear:
        out_features, in_features = part.weight.shape[-2:]
        bound = (6 / (in_features + out_features)) ** 0.5
        assert 0.5 * bound < float(part.weight.detach().abs().max()) <= bound
        assert part.bias is None or not part.bias.any()


@EACH
def test_it_trains_evaluates_exports_and_predicts_as_it_evaluates(
    model: str, tmp_path: Path
) -> None:
    path = taobao.write(tmp_path, FORMS[model], dim=4, rows=40, steps=8)
    run = Pipeline.load(path, settings=[f"model_dir={tmp_path / 'run'}"], device="cpu")
    results = run.fit()
    tasks = ("ctr", "cvr", "ctcvr") if model == "esmm" else ("ctr", "cvr")
    assert {name for name in results if name.startswith("auc")} == {f"auc_{t}" for t in tasks}
    assert results["regularization"] > 0
    run.evaluate(predictions_path=str(tmp_path / "evaluated.parquet"))
    run.export(str(tmp_path / "export"))
    predict.main(
        [
            *("--saved_model_dir", str(tmp_path / "export"), "--device", "cpu"),
            *("--predict_input_path", str(tmp_path / "eval.csv"), "--batch_size", "7"),
            *("--predict_output_path", str(tmp_path / "served.parquet")),
        ]
    )
    served, evaluated = (
        pq.read_table(tmp_path / f"{name}.parquet") for name in ("served", "evaluated")
    )
    for task in tasks:
        one, other = (each[f"probs_{task}"].to_numpy() for each in (served, evaluated))
        assert len(one) == 100
        assert np.abs(one - other).max() < 1e-6


Weights = Mapping[str, Tensor]


def layers(weights: Weights, prefix: str, number: int, x_D: Tensor) -> Tensor:
    """One network of a stack, after EasyRec's DNN: relu(norm(W x)), layer by layer."""
    place = 0
    while f"{prefix}.layers.{place}.linear.weight" in weights:
        own = f"{prefix}.layers.{place}"
        y_H = weights[f"{own}.linear.weight"][number] @ x_D
        part = slice(number * len(y_H), (number + 1) * len(y_H))
        mean, var, scale, shift = (
            weights[f"{own}.norm.{name}"][part]
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        x_D = ((y_H - mean) / (var + 0.001).sqrt() * scale + shift).relu()
        place += 1
    return x_D


def test_logits_of_dbmtl_with_experts_equal_easyrecs_steps_row_by_row(tmp_path: Path) -> None:
    """Bottom, experts, gates, dnn of each tower, relation_dnn over [own, related], output."""
    made = taobao.model(tmp_path, FORMS["dbmtl"], dim=4, rows=40)
    torch.manual_seed(1)
    for parameter in made.model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    model = made.model.double().eval()
    columns = {name: list(map(str, v)) for name, v in taobao.columns(5, 3).items()}
    inputs = taobao.inputs(made, columns)
    weights, logits = model.state_dict(), model(inputs)
    for row, x_D in enumerate(model.encoder(inputs)["all"]):
        h_D = layers(weights, "body.bottom", 0, x_D)
        experts = [layers(weights, "body.experts", e, h_D) for e in range(5)]
        relations: dict[str, Tensor] = {}
        for task, name in enumerate(("ctr", "cvr")):
            scores = weights["body.gates.final.weight"][task] @ h_D
            shares = (scores + weights["body.gates.final.bias"][task]).softmax(0)
            mixed = sum(share * expert for share, expert in zip(shares, experts, strict=True))
            own = layers(weights, f"towers.tower_{name}.mlp", 0, mixed)
            read = torch.cat([own, *relations.values()])
            relations[name] = layers(weights, f"towers.tower_{name}.relation", 0, read)
            linear = f"towers.tower_{name}.linear"
            [wanted] = weights[f"{linear}.weight"] @ relations[name] + weights[f"{linear}.bias"]
            assert_close(logits[name][row].detach(), wanted.detach())


@pytest.mark.parametrize(
    ("model", "change", "words"),
    [
        ("dbmtl", ('"DBMTL"', '"DBMLT"'), "is 'DBMLT', which tzmmoe does not have"),
        ("ple", ('"PLE"', '"DBMTL"'), "is 'DBMTL', but the model is ple; write 'PLE'"),
        ("dbmtl", ("bottom_dnn {", "bottom_mlp {} bottom_dnn {"), "bottom_dnn: is set, and so is"),
        ("esmm", ("groups { input:", "group_networks {} groups { input:"), "groups: is set, and"),
        ("dbmtl", ("num_expert: 5", "num_expert: 0"), "dbmtl.num_expert: is 0; give 1"),
        ("dbmtl", ('["ctr"]', '["cvr"]'), "relation_tower_names: 'cvr' is the tower itself"),
        ("esmm", ("dnn { hidden_units: [12] }", "dnn { hidden_units: [] }"),
         "groups[1].dnn.hidden_units: is []; give widths"),
        ("ple", ("tf.nn.elu", "tf.nn.ello"), "task_expert_net.activation: is 'tf.nn.ello'"),
        ("dbmtl", ("bottom_dnn {", "use_feature_bn: true bottom_dnn {"), "a word of EasyRec that"),
        ("esmm", ("weight: 1.0", "num_class: 2"), "cvr_tower.num_class: is 2; esmm multiplies"),
        ("simple_multi_task", ("dnn {", 'dnn { activation: "rello" '),
         "task_towers[0].dnn.activation: is 'rello'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_the_users_own_words_with_the_line(
    model: str, change: tuple[str, str], words: str, tmp_path: Path
) -> None:
    assert change[0] in FORMS[model]
    config = loaded(tmp_path, taobao.config(FORMS[model].replace(*change, 1)))
    [line] = said(config) or said_of_all(config)
    assert words in line
    assert line.split(":")[1].isdecimal()


def test_labels_that_no_tower_of_esmm_names_are_those_of_cvr_and_ctr(tmp_path: Path) -> None:
    """In EasyRec's form, as it binds them; in ours they are bound in the order of the schema."""
    unnamed = [
        forms["esmm"].replace('label_name: "clk"', "").replace('label_name: "buy"', "")
        for forms in (FORMS, OURS)
    ]
    found = taobao.canonical(tmp_path, unnamed[0]).esmm  # label_fields: ["clk", "buy"]
    assert (found.cvr_tower.label_name, found.ctr_tower.label_name) == ("clk", "buy")
    made = taobao.model(tmp_path, unnamed[1], dim=4, rows=40)
    assert {task.name: task.label for task in made.tasks.tasks}["ctr"] == "clk"


def test_hidden_units_of_0_leave_a_relation_without_layers(tmp_path: Path) -> None:
    """The output then reads its own and the related tower's state."""
    old = 'relation_tower_names: ["ctr"] relation_dnn { hidden_units: [4] }'
    assert old in FORMS["dbmtl"]
    text = FORMS["dbmtl"].replace(old, old.replace("[4]", "[0]"))
    made = taobao.model(tmp_path, text, dim=4, rows=40)
    assert made.model.towers["tower_cvr"].relation is None
    assert made.model.towers["tower_cvr"].linear.in_features == 6 + 4
