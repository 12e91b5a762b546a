"""A sequence travels with its rows from the column to the batch, in an array of its own."""

import numpy as np
import pyarrow as pa
from assembled import cells_of, chunk, id_text, setting
from parts import features

from tzmmoe.data.encode import Assembler
from tzmmoe.features.base import Layout
from tzmmoe.features.id import IdFeature


class History(IdFeature):
    """Ids that are not pooled; no kind of the schema has such yet."""

    is_sequence = True


CELLS = [[1, 2, 3], [], [4], None, [5, 6]]
IDS = [[1, 2, 3], [], [4], [], [5, 6]]


def test_a_sequence_is_permuted_and_cut_as_its_rows_are() -> None:
    texts = [id_text(name, more="num_buckets: 9") for name in ("before", "seen", "after")]
    made = features(*texts, setting=setting())
    made[1].__class__ = History
    layout = Layout.of(made)
    assert [slot.kind for slot in layout.slots] == ["pooled", "sequence", "pooled"]
    assert [slot.feature.name for slot in layout.sequences] == ["seen"]
    single = pa.array(range(len(CELLS)))
    rows = Assembler(made, ()).assemble(chunk({"before": single, "seen": CELLS, "after": single}))
    order = np.array([4, 0, 1, 2, 3])
    batches = list(rows.permuted(order).batches(2))
    found = [row for batch in batches for row in cells_of(batch.inputs.sequences["seen"], 1)]
    assert [[each for each, _ in ids] for (ids,) in found] == [IDS[row] for row in order]
    for batch, begin in zip(batches, range(0, 5, 2), strict=True):
        pooled = cells_of(batch.inputs.ids[4], 2)
        assert [row[0][0][0] for row in pooled] == order[begin : begin + 2].tolist()
        moved = batch.map(lambda tensor: tensor.clone()).inputs.sequences["seen"]
        assert cells_of(moved, 1) == cells_of(batch.inputs.sequences["seen"], 1)
