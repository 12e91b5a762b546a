"""Members against a loop over k networks, in training and evaluation, and the laws of averages."""

import pytest
import torch
from models.small_v2 import FEATURES, SMALL, inputs, made, rows, spelled
from parts import batch, normal, shaken
from torch import Tensor, nn
from torch.testing import assert_close

from tzmmoe.batch import Batch, Inputs
from tzmmoe.build import Built
from tzmmoe.errors import ConfigError
from tzmmoe.jagged import Jagged
from tzmmoe.models.rank import RankModel
from tzmmoe.nn.members import MemberInputs, mean_of_probabilities
from tzmmoe.nn.mlp import Perceptron
from tzmmoe.tables.penalties import penalized, regularization

K, ROWS = 3, 7
LAYERS = {"hidden_units": [6, 5]}
NORMED = LAYERS | {"use_bn": True, "activation": "Dice"}
TOWERS = [
    {"tower_name": "a", "label_name": "a", "mlp": {"hidden_units": [4], "use_bn": True}},
    {
        "tower_name": "b",
        "label_name": "b",
        "num_class": 3,
        "losses": {"softmax_cross_entropy": {}},
    },
]
READING = [
    TOWERS[0] | {"relation_tower_names": ["b"], "relation_mlp": {"hidden_units": [3]}},
    TOWERS[1] | {"mlp": {"hidden_units": [4]}},
]
JOINING = [TOWERS[0] | {"relation_tower_names": ["b"]}, TOWERS[1]]
LEVEL = {
    "expert_num_per_task": 2,
    "share_num": 1,
    "task_expert_net": NORMED,
    "share_expert_net": LAYERS,
}
V2 = SMALL | {
    "task_towers": [{"tower_name": "a", "label_name": "a"}, TOWERS[1]],
    "task_structs": [{"units": [4, 1]}, {"units": [3]}],
    "task_use_bn": [True],
    "expert_use_bn": [True],
}
L2 = {"l2_regularization": 0.1}
MODELS = {
    "plain": ("mmoe", {"expert_mlp": LAYERS, "task_towers": TOWERS}),
    "gates": ("mmoe", {"expert_mlp": NORMED, "gate_mlp": NORMED, "task_towers": TOWERS, **L2}),
    "prelu": ("mmoe", {"expert_mlp": LAYERS | {"activation": "nn.PReLU"}, "task_towers": TOWERS}),
    "layer_norm": ("mmoe", {"expert_mlp": LAYERS | {"use_ln": True}, "task_towers": TOWERS}),
    "reading": ("mmoe", {"expert_mlp": LAYERS, "task_towers": READING, **L2}),
    "joining": ("mmoe", {"expert_mlp": LAYERS, "task_towers": JOINING}),
    "shared_bottom": ("shared_bottom", {"bottom_mlp": NORMED, "task_towers": TOWERS, **L2}),
    "dbmtl": ("dbmtl", {"bottom_mlp": LAYERS, "expert_mlp": NORMED, "task_towers": READING}),
    "ple": ("ple", {"extraction_networks": [LEVEL, LEVEL], "task_towers": TOWERS, **L2}),
    "v2": ("mmoe_v2", V2 | {"use_wide": False, "task_l2_reg": 0.1, "expert_l1_reg": 0.1}),
    "v2_features": ("mmoe_v2", V2 | {"wide_type": "FM", "feature_cross": 2, "output_cross": 0}),
    "v2_output": ("mmoe_v2", V2 | {"wide_type": "LR", "feature_cross": 1, "output_cross": 1}),
    "v2_logits": ("mmoe_v2", V2 | {"wide_type": "LR", "feature_cross": 0, "output_cross": 2}),
}
EACH = pytest.mark.parametrize("name", MODELS)
TRAINING = pytest.mark.parametrize("training", [True, False])


def built(name: str, members: int) -> Built:
    """In float64, every parameter off its start."""
    word, settings = MODELS[name]
    groups = {"wide": ["n", "u"], "mmoe": ["v", "n", "m"]} if word == "mmoe_v2" else {"all": "uvn"}
    used = {feature for each in groups.values() for feature in each}
    model = {
        "feature_groups": [
            {"group_name": group, "feature_names": list(each)} for group, each in groups.items()
        ],
        word: settings | {"num_members": members},
    }
    made_of = made(
        'data_config { label_fields: ["a", "b"] fg_mode: FG_DAG }'
        + "".join(f"feature_configs {{ {FEATURES[n]} }}" for n in FEATURES if n in used)
        + spelled({"model_config": model})
        + "train_config { sparse_optimizer { adam_optimizer { lr: 0.01 } }"
        " dense_optimizer { adam_optimizer { lr: 0.01 } } }"
    )
    shaken(made_of.model, seed=1)
    return made_of


@torch.no_grad()
def alone(whole: RankModel, single: RankModel, member: int) -> RankModel:
    """``single`` with the weights of a member: the shared ones, and its part of the others. What a
    single network lacks, the scales of inputs and of layers, acts by hooks."""
    state = whole.state_dict()
    for name, own in single.state_dict().items():
        given = state[name]
        if given.numel() > own.numel():  # the member's own
            given = given.reshape(K, *own.shape)[member]
        own.copy_(given)
    parts = dict(single.named_modules())
    for name, part in whole.named_modules():
        if isinstance(part, Perceptron) and part.scale is not None:
            parts[name].register_forward_hook(scaled(part.scale.reshape(K, -1)[member]))
        if isinstance(part, MemberInputs):
            parts[name].register_forward_hook(scaled(part.vectors[member]))
    return single


def scaled(factors: Tensor):
    """Multiplies what a module gives (B, ...) by these numbers, in order."""
    return lambda module, given, output: output * factors.reshape(output.shape[1:])


def by_loop(name: str, whole: Built, training: bool) -> list[RankModel]:
    """The k networks."""
    each = [alone(whole.model, built(name, 1).model, m) for m in range(K)]
    return [model.train(training) for model in each]


@EACH
@TRAINING
def test_members_are_k_networks_that_share_their_kernels(name: str, training: bool) -> None:
    whole = built(name, K)
    networks = by_loop(name, whole, training)
    given = inputs(whole, rows(ROWS))
    logits = whole.model.train(training)(given)
    each = [model(given) for model in networks]
    for tower, found in logits.items():
        wanted = torch.stack([own[tower] for own in each], dim=1)
        assert found.shape == wanted.shape
        assert_close(found, wanted)
    for buffer, found in whole.model.named_buffers():
        if buffer.endswith(("running_mean", "running_var")):
            each = torch.stack([dict(m.named_buffers())[buffer] for m in networks])
            assert_close(found, each.reshape(found.shape))


def labelled() -> Batch:
    """One label is missing."""
    a = torch.tensor([1, 0, 0, 1, float("nan"), 1, 0])
    return batch({"a": a, "b": torch.tensor([0.0, 1, 2, 2, 1, 0, 1])})


@EACH
def test_they_learn_the_mean_of_the_losses_of_k_networks(name: str) -> None:
    """Losses, penalties and gradients; that of a shared kernel is the mean of k."""
    whole = built(name, K)
    networks = by_loop(name, whole, training=True)
    given, columns = inputs(whole, rows(ROWS)), labelled()
    losses = whole.tasks.losses(whole.model(given), columns)
    each = [whole.tasks.losses(model(given), columns) for model in networks]
    for key, found in losses.items():
        assert_close(found, sum(own[key] for own in each) / K)
    penalties = [regularization(penalized(model)) for model in networks]
    if penalties[0] is not None:
        assert_close(regularization(penalized(whole.model)), sum(penalties) / K)
    sum(losses.values()).backward()
    for own in each:
        sum(own.values()).backward()
    for parameter, found in whole.model.named_parameters():
        gradients = [dict(model.named_parameters()).get(parameter) for model in networks]
        if None in gradients or found.grad is None:
            continue
        gradients = [one.grad.to_dense() for one in gradients]
        dense = found.grad.to_dense()
        if dense.shape == gradients[0].shape:
            assert_close(dense, sum(gradients) / K, atol=1e-7, rtol=1e-4)
        else:
            stacked = torch.stack(gradients).reshape(dense.shape)
            assert_close(dense, stacked / K, atol=1e-7, rtol=1e-4)


@EACH
def test_the_prediction_is_the_mean_of_the_members_probabilities(name: str) -> None:
    whole = built(name, K)
    given = inputs(whole, rows(ROWS))
    outputs = whole.tasks.predict(whole.model.eval()(given))
    each = [whole.tasks.predict(model(given)) for model in by_loop(name, whole, training=False)]
    for tower in ("a", "b"):
        wanted = sum(own[f"probs_{tower}"].double() for own in each) / K
        assert_close(outputs[f"probs_{tower}"].double(), wanted, atol=1e-6, rtol=1e-5)
    assert_close(outputs["logits_a"].sigmoid(), outputs["probs_a"])
    assert_close(outputs["logits_b"].softmax(dim=1), outputs["probs_b"])


@EACH
@pytest.mark.parametrize("towers", [{"a"}, {"b"}, {"a", "b"}])
def test_a_model_for_some_towers_gives_their_logits(name: str, towers: set[str]) -> None:
    """As in exports without auxiliary towers; it holds no more than they need."""
    whole = built(name, K).model.eval()
    given = inputs(built(name, K), rows(ROWS))
    logits, served = whole(given), whole.serving(towers)
    found = served.eval()(given)
    assert towers <= set(found)
    for tower, own in found.items():
        assert_close(own, logits[tower])
    if set(found) == {"b"}:
        assert not [n for n in dict(served.named_parameters()) if "tower_a" in n]


@EACH
def test_its_parts_read_the_inputs_of_members(name: str) -> None:
    """Networks that members share read them, and towers read those networks."""
    body = built(name, K).model.body
    parts = {part.name: part for part in body.parts()}
    made = parts["member_inputs"]
    assert made.parameters == body.member_inputs.vectors.numel()
    assert made.gives == f"{K} x (B, {body.member_inputs.vectors.shape[1]})"
    first = {n for n, part in parts.items() if part.reads == ["member_inputs"]}
    assert first == {"experts", "gates", "levels", "bottom"} & set(parts) - (
        {"experts", "gates"} if "bottom" in parts else set()
    )
    assert "member_inputs" not in body.ends()
    assert set(body.ends()) <= set(parts)


def test_members_start_with_random_signs_of_their_inputs() -> None:
    torch.manual_seed(0)
    x_BD = normal(5, 40)
    found = MemberInputs(40, 64)(x_BD).unflatten(0, (5, 64))
    signs = found / x_BD.unsqueeze(1)
    assert_close(signs, signs[0].expand_as(signs))
    assert_close(signs.abs(), torch.ones_like(signs))
    assert len({tuple(row) for row in signs[0].round().tolist()}) == 64
    share = float((signs[0] > 0).double().mean())
    assert abs(share - 0.5) < 4 * 0.5 / (40 * 64) ** 0.5


@EACH
def test_one_member_adds_no_parameters(name: str) -> None:
    names = dict(built(name, 1).model.named_parameters())
    ends = (".scale", "member_inputs.vectors")
    assert not [n for n in names if n.endswith(ends)]
    added = [n for n in dict(built(name, K).model.named_parameters()) if n not in names]
    assert added == [n for n in added if n.endswith(ends)] != []


@EACH
@pytest.mark.parametrize("num_rows", [0, 1])
def test_a_batch_of_one_row_or_none_has_the_logits_of_its_rows(name: str, num_rows: int) -> None:
    whole, raw = built(name, K), rows(ROWS)
    expected = whole.model.eval()(inputs(whole, raw))
    given = inputs(whole, {feature: values[:1] for feature, values in raw.items()})
    if not num_rows:
        ids = {
            width: Jagged(
                each.values[:0],
                each.lengths[:0],
                None if each.weights is None else each.weights[:0],
            )
            for width, each in given.ids.items()
        }
        given = Inputs(ids, given.numbers[:0])
    logits = whole.model(given)
    assert logits.keys() == expected.keys()
    for tower, found in logits.items():
        assert_close(found, expected[tower][:num_rows])


@EACH
def test_no_members_are_an_error_at_their_field(name: str) -> None:
    with pytest.raises(ConfigError, match=r"num_members is 0; give 1 or more|num_members: is 0"):
        built(name, 0)


def test_mean_probabilities_are_exact_where_sigmoids_are_0_or_1() -> None:
    """In float32, against float64: sigmoid(-200) is 0 there, and its logit would be infinite."""
    logits = torch.tensor([[-200.0, -190.0], [200.0, 190.0], [-40.0, 40.0], [0.0, 0.0]])
    found = mean_of_probabilities(logits, several_classes=False)
    half = torch.tensor(2.0).log()
    wanted = torch.tensor([-190.0 - half, 190.0 + half, 0.0, 0.0])
    assert_close(found, wanted, atol=1e-4, rtol=1e-6)
    classes = normal(5, 4, 3).float() * 30
    found = mean_of_probabilities(classes, several_classes=True)
    assert_close(found.double().softmax(1), classes.double().softmax(2).mean(1))


def test_a_single_network_reads_its_inputs_unchanged() -> None:
    assert isinstance(built("plain", 1).model.body.member_inputs, nn.Identity)
