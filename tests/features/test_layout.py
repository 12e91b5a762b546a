"""Where each feature lies in a batch."""

from hypothesis import given, settings
from hypothesis import strategies as st
from parts import features

from tzmmoe.features import Feature
from tzmmoe.features.base import Layout

WIDTHS = [2, 4, 8]


@st.composite
def some_features(draw: st.DrawFn) -> list[Feature]:
    texts = []
    for number in range(draw(st.integers(0, 6))):
        name = f'feature_name: "f{number}"'
        width = draw(st.sampled_from(WIDTHS))
        numbers = f"{name} value_dim: {draw(st.integers(1, 3))}"
        texts.append(
            draw(
                st.sampled_from(
                    [
                        f"id_feature {{ {name} num_buckets: 5 embedding_dim: {width} }}",
                        f"raw_feature {{ {name} boundaries: 1 embedding_dim: {width} }}",
                        f"raw_feature {{ {numbers} }}",
                        f"raw_feature {{ {numbers} embedding_dim: {width} mlp {{}} }}",
                    ]
                )
            )
        )
    return features(*texts)


@settings(deadline=None, max_examples=60)
@given(some_features())
def test_each_feature_has_one_place(some: list[Feature]) -> None:
    """A feature with a table among the ids of its width, any other among the numbers, each in the
    order in which they are given; the numbers' columns touch and do not overlap."""
    layout = Layout.of(some)
    assert [slot.feature for slot in layout.slots] == some
    assert list(layout.pooled) == sorted({f.table.dim for f in some if f.table})
    for width, slots in layout.pooled.items():
        assert [s.feature for s in slots] == [f for f in some if f.table and f.table.dim == width]
        assert [slot.place for slot in slots] == list(range(len(slots)))
        assert {(slot.kind, slot.width) for slot in slots} == {("pooled", width)}
    assert [slot.feature for slot in layout.numbers] == [f for f in some if not f.table]
    columns = [column for slot in layout.numbers for column in range(slot.place, slot.end)]
    assert columns == list(range(layout.num_numbers))
    for slot in layout.numbers:
        assert (slot.kind, slot.width) == ("number", slot.feature.value_dim)
