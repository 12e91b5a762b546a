"""Which rows lose the values of masked features in training, and which do not."""

import numpy as np
from assembled import chunk, id_text, ids_of, setting
from parts import features

from tzmmoe.data.encode import Assembler
from tzmmoe.data.plan.order import Pass
from tzmmoe.data.plan.span import Span

MASKED = [
    id_text("a", "user:x", 'hash_bucket_size: 100 use_mask: true default_value: "xyz"'),
    id_text("b", "user:x", "hash_bucket_size: 100 use_mask: true"),
    id_text("c", "user:x"),
    'raw_feature { feature_name: "n" expression: "user:y" use_mask: true default_value: "9" }',
    'raw_feature { feature_name: "m" expression: "user:y" }',
]


def masked(random: np.random.Generator | None, size: int, prob: float = 0.3) -> np.ndarray:
    """Which rows were masked, after checking that they lost exactly the values they should."""
    assembler = Assembler(features(*MASKED, setting=setting()), (), mask_prob=prob)
    rows = assembler.assemble(chunk({"x": ["abc"] * size, "y": [1.0] * size}), random)
    (batch,) = rows.batches(size)
    lost = batch.inputs.numbers[:, 0].numpy() == 9
    defaulted, emptied, kept = (ids_of(batch, place, 3) for place in range(3))
    assert defaulted == [[13] if gone else [33] for gone in lost]
    assert emptied == [[] if gone else [33] for gone in lost]
    assert kept == [[33]] * size
    assert batch.inputs.numbers[:, 1].tolist() == [1.0] * size
    return lost


def test_masked_rows_lose_the_values_of_the_features_that_say_so() -> None:
    order = Pass(0, (Span("a"),), True, 5, 1000)
    lost = masked(order.random(0, "mask"), 1000)
    assert abs(int(lost.sum()) - 300) < 6 * 14.5  # six standard deviations of 1000 draws


def test_the_mask_follows_from_seed_epoch_and_chunk_alone() -> None:
    def of(seed: int, epoch: int, number: int) -> tuple[bool, ...]:
        order = Pass(epoch, (Span("a"),), True, seed, 50)
        return tuple(masked(order.random(number, "mask"), 50).tolist())

    assert of(5, 0, 0) == of(5, 0, 0)
    assert len({of(5, 0, 0), of(6, 0, 0), of(5, 1, 0), of(5, 0, 1)}) == 4


def test_nothing_is_masked_outside_training_or_without_a_chance() -> None:
    assert not masked(None, 50).any()
    assert not masked(np.random.default_rng(0), 50, prob=0.0).any()
