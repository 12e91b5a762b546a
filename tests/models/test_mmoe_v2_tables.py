"""The tables of MMoE V2: one for each feature, and FM's own beside them."""

import math
from collections.abc import Sequence

import oracles
import pytest
import torch
from models.small_v2 import GROUPS, SIZES, inputs, logits, made, rows, shaken_v2, text, v2
from torch.testing import assert_close

from tzmmoe.build import Built
from tzmmoe.run.state import weights

BOTH_SIDES = {"wide": ["n", "u", "w"], "mmoe": ["v", "n", "u", "w"]}
PLAIN = {"num_experts": 2, "expert_layers": [4], "task_structs": [{"units": [1]}]}


def tables(built: Built) -> dict[str, tuple[int, ...]]:
    """Shapes by their names in a checkpoint."""
    return {
        name.removeprefix("tables.").removesuffix(".weight"): tuple(tensor.shape)
        for name, tensor in weights(built.model).items()
        if name.startswith("tables.")
    }


@pytest.mark.parametrize("wide_type", ["LR", "raw"])
@pytest.mark.parametrize("feature_cross", [1, 2, 4])
def test_a_feature_of_both_groups_has_one_table(wide_type: str, feature_cross: int) -> None:
    """S0.49: both sides share the input layer."""
    built = v2(groups=BOTH_SIDES, wide_type=wide_type, feature_cross=feature_cross)
    assert tables(built) == {"v_emb": (9, 4), "u_emb": (7, 4), "w_emb": (5, 3)}


@pytest.mark.parametrize("heads", [1, 2])
def test_fm_has_latents_and_weights_in_tables_of_their_own(heads: int) -> None:
    """S0.49, S0.14: of wide_width and of one number for each head, whatever embedding_dim is; they
    share no number with the embeddings. A feature that only FM reads has no embedding."""
    built = v2(wide_per_task=heads > 1, wide_width=6)
    wide = [name for name in GROUPS["wide"] if name in SIZES]
    found = tables(built)
    assert found == {
        **{f"{name}.latent": (SIZES[name], 6) for name in wide},
        **{f"{name}.weight": (SIZES[name], heads) for name in wide},
        **{f"{n}_emb": (SIZES[n], 3 if n == "w" else 4) for n in GROUPS["mmoe"] if n in SIZES},
    }
    places = [parameter.data_ptr() for parameter in built.model.parameters()]
    assert len(set(places)) == len(places)
    named = weights(built.model)
    of_numbers = [named[f"model.encoder.factors.{n}.vectors.weight"] for n in ("latent", "weight")]
    assert [tuple(each.shape) for each in of_numbers] == [(3, 6), (3, heads)]  # two of n, one of q


def test_the_width_of_fms_latents_is_eight_unless_set() -> None:
    """S0.14."""
    built = made(text(PLAIN, GROUPS))
    assert tables(built)["u.latent"] == (7, 8)


def test_a_shared_table_learns_from_both_sides() -> None:
    """S0.49: its gradient is that of what experts read plus that of what LR reads."""
    built = shaken_v2(groups=BOTH_SIDES, wide_type="LR")
    model, raw = built.model, rows(6)
    grads = []
    for chosen in (["experts"], ["wide"], ["experts", "wide"]):
        model.zero_grad()
        read = model.encoder(inputs(built, raw))
        sum(read[name].square().sum() for name in chosen).backward()
        table = model.encoder.tables["width_4"]
        grads.append(table.rows_of("u_emb", table.weight.grad.to_dense()))
        assert grads[-1].any()
    assert_close(grads[0] + grads[1], grads[2])


def test_the_embeddings_start_the_same_with_and_without_a_wide_side() -> None:
    """S0.49: FM's tables draw from no other table's numbers."""
    found = [weights(v2(use_wide=wide).model) for wide in (True, False)]
    for name in ("u", "v", "w", "m"):
        assert torch.equal(*(each[f"tables.{name}_emb.weight"] for each in found))


def normal_distance(values: torch.Tensor, deviation: float) -> float:
    """Kolmogorov's, to the normal distribution: its probabilities are uniform."""
    chances = 0.5 * (1 + torch.erf(values.detach().double() / (deviation * math.sqrt(2))))
    return oracles.uniform_distance(chances, 0.0, 1.0)


def test_fms_weights_start_at_zero_and_its_latents_as_glorot_normal() -> None:
    """S0.53: sqrt(2 / (rows + width)) is their deviation; so FM's first logit is that of its
    pairs."""
    content = text(PLAIN, GROUPS).replace('"u" num_buckets: 7', '"u" num_buckets: 5000')
    named = weights(made(content).model)
    latents = named["tables.u.latent.weight"]
    assert latents.shape == (5000, 8)
    assert normal_distance(latents, math.sqrt(2 / 5008)) < 1.95
    assert normal_distance(latents, 1.1 * math.sqrt(2 / 5008)) > 1.95
    assert not named["tables.u.weight.weight"].any()
    assert not named["model.encoder.factors.weight.vectors.weight"].any()
    assert named["model.encoder.factors.latent.vectors.weight"].all()


def moved(built: Built, feature: str, change: float) -> dict[str, torch.Tensor]:
    """By how much the logits move when the first numbers of a feature do."""
    raw = rows(5)
    before = logits(built, raw)
    raw[feature] = [[numbers[0] + change, *numbers[1:]] for numbers in raw[feature]]
    return {name: each - before[name] for name, each in logits(built, raw).items()}


def test_a_number_of_fm_moves_the_logits_on_a_line() -> None:
    """S0.53: its value times w and its value times v, so that the logit is linear in each."""
    built = shaken_v2(groups={"wide": ["n", "u"], "mmoe": ["v"]})
    one, two = moved(built, "n", 1.0), moved(built, "n", 2.0)
    for name, each in one.items():
        assert_close(two[name], 2 * each)
        assert (each.abs() > 1e-6).all()


def bags(*values: Sequence[int]) -> list[list[tuple[int, float]]]:
    """One for each row."""
    return [[(number, 1.0) for number in ids] for ids in values]


@pytest.mark.parametrize("feature", ["w", "m"])
def test_fm_averages_several_values_whatever_the_pooling_of_the_embedding(feature: str) -> None:
    """S0.53: a value that is there twice is what it is once."""
    built = shaken_v2(groups={"wide": [feature, "u"], "mmoe": ["v"]})
    same = {name: [each[0]] * 3 for name, each in rows(1).items()}
    same[feature] = bags([2], [2, 2], [2, 2, 2])
    for found in logits(built, same).values():
        assert_close(found, found[:1].expand(3))
    mean = same | {feature: bags([1], [3], [1, 3])}
    alone = shaken_v2(groups={"wide": [feature], "mmoe": ["v"]})
    for found in logits(alone, mean).values():  # one field has no pairs: y_w is its weight
        assert_close(found[2], (found[0] + found[1]) / 2)
