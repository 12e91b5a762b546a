"""Every kind of feature goes through every pass under every fg_mode: no pass knows a kind by name.

Beside the schema's kinds goes one that only these tests know, with two origins and a file. A kind
that is not among ``EXAMPLES`` here has its ``EXAMPLE`` in ``features/test_<its word>.py``.
"""

import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from features import pair_feature
from features.example import NUM_ROWS, Example, cycled
from google.protobuf.descriptor import Descriptor
from written import load, notes, said_of_all

from tzmmoe import build
from tzmmoe.build import Built
from tzmmoe.config import Config
from tzmmoe.data.encode import Assembler, Rows
from tzmmoe.data.reading.base import Chunk, FileRows
from tzmmoe.errors import Faults
from tzmmoe.features import FEATURES, Feature
from tzmmoe.features.base import Layout
from tzmmoe.pipeline import Pipeline
from tzmmoe.protos.train_pb2 import REPLICATED
from tzmmoe.serving.scorer import Scorer

MODES = ("FG_NONE", "FG_NORMAL", "FG_BUCKETIZE", "FG_DAG")
RAW = ("FG_NORMAL", "FG_DAG")  # the columns are those that the expressions name


COLOURS, CARS = cycled("red", "blue", None), cycled("car", "van", "car", "bus")
PAIRS = [f"{a}_{b}" if a else None for a, b in zip(COLOURS, CARS, strict=True)]
EXAMPLES = {
    "id_feature": Example(
        'expression: "user:city" vocab_list: ["rome", "oslo"]',
        {"city": cycled("rome", None, "oslo", "lima")},
        cycled("rome", None, "oslo", "lima"),
    ),
    "raw_feature": Example(
        'expression: "item:price" boundaries: [1, 2]',
        {"price": cycled(0.5, 1.0, 2.5)},
        cycled(0.5, 1.0, 2.5),
    ),
    pair_feature.WORD: Example(
        'left: "user:colour" right: "item:car" words_file: "pairs.txt"',
        {"colour": COLOURS, "car": CARS},
        PAIRS,
    ),
}
EXAMPLES |= {
    word: import_module(f"features.test_{word}").EXAMPLE
    for word in FEATURES.words
    if word not in EXAMPLES
}
CONFIG = """
train_input_path: "{folder}/rows.parquet"
model_dir: "{folder}/model"
train_config {{
  sparse_optimizer {{ adagrad_optimizer {{ lr: 0.1 }} }}
  dense_optimizer {{ adam_optimizer {{ lr: 0.01 }} }}
  num_epochs: 1
  use_tensorboard: false
}}
data_config {{ batch_size: 16 label_fields: "click" fg_mode: {mode} num_workers: 1 }}
{features}
model_config {{
  feature_groups {{ group_name: "all" feature_names: [{names}] }}
  mmoe {{
    expert_mlp {{ hidden_units: 4 }} num_expert: 2
    task_towers {{ tower_name: "ctr" label_name: "click" }}
  }}
}}
"""


@pytest.fixture(autouse=True)
def two_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    pair_feature.enter(monkeypatch)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


def schema_of(word: str) -> Descriptor:
    """The kind's message."""
    pipeline = sys.modules["tzmmoe.config.load"].Pipeline.DESCRIPTOR
    kinds = pipeline.fields_by_name["feature_configs"].message_type
    return kinds.fields_by_name[word].message_type


def columns_of(mode: str, folder: Path) -> dict[str, pa.Array]:
    """What a file holds; under FG_NONE the ids or numbers that FG_DAG makes of raw columns."""
    if mode in RAW:
        return {n: pa.array(c) for each in EXAMPLES.values() for n, c in each.columns.items()}
    if mode == "FG_BUCKETIZE":
        return {word: pa.array(example.bucketized) for word, example in EXAMPLES.items()}
    return {word: pa.array(cells) for word, cells in cells_of("FG_DAG", folder).items()}


def text_of(folder: Path, mode: str, more: str = "", word: str | None = None) -> str:
    features = "".join(
        f'feature_configs {{ {each} {{ feature_name: "{each}" {_dim(each)} {example.fields} '
        f"{more if word in (None, each) else ''} }} }}\n"
        for each, example in EXAMPLES.items()
    )
    names = ", ".join(f'"{each}"' for each in EXAMPLES)
    return CONFIG.format(folder=folder, mode=mode, features=features, names=names)


def _dim(word: str) -> str:
    return "embedding_dim: 4" if "embedding_dim" in schema_of(word).fields_by_name else ""


def config(
    folder: Path, mode: str, more: str = "", word: str | None = None, changed: str = ""
) -> Config:
    """Of all kinds, with ``more`` fields in that of the ``word``, and one field ``changed``."""
    words = sorted({pair for pair in PAIRS if pair})
    (folder / "pairs.txt").write_text("\n".join(["unknown", *words[1:]]))
    (folder / "my.config").write_text(text_of(folder, mode, more, word))
    path = f"feature_configs[{list(EXAMPLES).index(word)}].{word}" if word else ""
    return load(folder / "my.config", settings=[f"{path}.{changed}"] if changed else ())


def made(folder: Path, mode: str) -> Built:
    found = config(folder, mode)
    assert said_of_all(found) == []
    return build.build(found.pipeline, folder, Faults())


def assembled(built: Built, columns: dict[str, pa.Array]) -> tuple[Assembler, Rows]:
    assembler = Assembler(built.features, (), helpers=built.helpers)
    rows = pa.RecordBatch.from_pydict({name: columns[name] for name in assembler.needed})
    return assembler, assembler.assemble(Chunk(0, (rows,), (FileRows("a", 0, NUM_ROWS),)))


def cells_of(mode: str, folder: Path) -> dict[str, list]:
    """For each kind, the ids, or else the numbers, of each row."""
    found = {name: [] for name in EXAMPLES}
    built = made(folder, mode)
    layout = Layout.of(built.features)
    _, rows = assembled(built, columns_of(mode, folder))
    for batch in rows.batches(7):
        ids, pooled = batch.inputs.ids[4], layout.pooled[4]
        cells = np.split(ids.values.numpy(), np.cumsum(ids.lengths.numpy().ravel())[:-1])
        for slot in pooled:
            found[slot.feature.name] += [each.tolist() for each in cells[slot.place :: len(pooled)]]
        for slot in layout.numbers:
            numbers = batch.inputs.numbers[:, slot.place : slot.end]
            found[slot.feature.name] += numbers.tolist()
    return found


def test_all_modes_come_to_the_same_ids_and_numbers(tmp_path: Path, mode: str) -> None:
    found = cells_of(mode, tmp_path)
    assert found == cells_of("FG_DAG", tmp_path)
    assert found["id_feature"][:4] == [[2], [], [3], [1]]
    assert found["raw_feature"][:3] == [[0], [1], [2]]
    assert found[pair_feature.WORD][:3] == [[4], [2], []]


def test_only_the_columns_of_the_origins_are_read(tmp_path: Path, mode: str) -> None:
    assembler, _ = assembled(made(tmp_path, mode), columns_of(mode, tmp_path))
    raw = [name for example in EXAMPLES.values() for name in example.columns]
    assert assembler.needed == (raw if mode in RAW else list(EXAMPLES))


@pytest.mark.parametrize("word", list(EXAMPLES))
def test_what_a_mode_does_not_read_is_noted(tmp_path: Path, mode: str, word: str) -> None:
    """And so are a mask without a probability, and constraints on tables that stay whole."""
    optional = {
        "fg_encoded_default_value": "fg_encoded_default_value: '1'",
        "use_mask": "use_mask: true",
        "embedding_constraints": "embedding_constraints {}",
    }
    has = optional.keys() & schema_of(word).fields_by_name.keys()
    found = config(tmp_path, mode, " ".join(optional[field] for field in has), word)
    found.pipeline.train_config.table_placement = REPLICATED
    lines = notes(found)
    masked = any(line.startswith(f"use_mask of {word} has no effect") for line in lines)
    constrained = any(line.startswith(f"embedding_constraints of {word} have") for line in lines)
    assert masked == ("use_mask" in has)
    assert constrained == ("embedding_constraints" in has)
    noted = f"fg_encoded_default_value of {word} has no effect under fg_mode: {mode}"
    assert (noted in lines) == (mode != "FG_NONE" and "fg_encoded_default_value" in has)
    for field in FEATURES[word].origin_fields:
        owners = [line for line in lines if line.startswith(f"{field} of ") and word in line]
        assert len(owners) == (mode not in RAW)


def test_a_kind_with_neither_table_nor_numbers_is_refused(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = FEATURES["id_feature"]
    monkeypatch.setattr(kind, "__init__", lambda self, shared, **_: Feature.__init__(self, shared))
    found = config(tmp_path, mode)
    with pytest.raises(TypeError, match="IdFeature has neither a table nor a value_dim"):
        build.build(found.pipeline, tmp_path, Faults())


@pytest.mark.parametrize("word", ["id_feature", "raw_feature", pair_feature.WORD])
def test_constraints_that_cannot_be_met_are_faults(tmp_path: Path, mode: str, word: str) -> None:
    more = 'embedding_constraints { compute_kernels: "fused_uvm" }'
    found = config(tmp_path, mode, more, word)
    faults = Faults()
    build.check_constraints(found.pipeline, "cpu", faults, trains=True)
    place = list(EXAMPLES).index(word)
    path = f"feature_configs[{place}].{word}.embedding_constraints.compute_kernels"
    assert [fault.path for fault in faults] == [path]


@pytest.mark.parametrize("word", list(EXAMPLES))
def test_a_bad_name_is_a_fault_at_its_feature(tmp_path: Path, mode: str, word: str) -> None:
    found = config(tmp_path, mode, word=word, changed="feature_name=a b")
    place = list(EXAMPLES).index(word)
    assert any(
        f"feature_configs[{place}].{word}.feature_name" in line for line in said_of_all(found)
    )


def test_an_origin_that_is_not_there_is_a_fault_at_the_field_that_names_it(tmp_path: Path) -> None:
    found = config(tmp_path, "FG_DAG", word=pair_feature.WORD, changed="right=feature:nothing")
    assert [
        line for line in said_of_all(found) if "pair_feature.right" in line and "nothing" in line
    ]
    found = config(tmp_path, "FG_DAG", word=pair_feature.WORD, changed="right=")
    assert [
        line for line in said_of_all(found) if "pair_feature.right" in line and "not set" in line
    ]


def test_a_feature_of_two_origins_is_read_by_others_and_reads_others(tmp_path: Path) -> None:
    found = config(tmp_path, "FG_DAG", word=pair_feature.WORD, changed="left=feature:id_feature")
    assert said_of_all(found) == []
    built = build.build(found.pipeline, tmp_path, Faults())
    columns = columns_of("FG_DAG", tmp_path)
    assembler, _ = assembled(built, columns)
    assert set(assembler.needed) == columns.keys() - {"colour"}
    found = config(tmp_path, "FG_DAG", word="id_feature", changed="expression=feature:pair_feature")
    built = build.build(found.pipeline, tmp_path, Faults())
    assembler, rows = assembled(built, columns)
    assert set(assembler.needed) == columns.keys() - {"city"}
    assert rows.tallies["id_feature"].unknown == sum(pair is not None for pair in PAIRS)


def test_all_kinds_train_and_score_alike_from_the_config_and_from_the_export(
    tmp_path: Path, mode: str
) -> None:
    """The export lists each kind's files, and reads its own copies of them."""
    columns = columns_of(mode, tmp_path) | {"click": pa.array(cycled(0, 1, 1))}
    rows = pa.table(columns)
    pq.write_table(rows, tmp_path / "rows.parquet")
    assert said_of_all(config(tmp_path, mode)) == []
    pipeline = Pipeline.load(tmp_path / "my.config", device="cpu")
    pipeline.fit()
    pipeline.predict(str(tmp_path / "rows.parquet"), str(tmp_path / "predicted.parquet"))
    pipeline.export(str(tmp_path / "export"))
    (tmp_path / "pairs.txt").unlink()
    signature = json.loads((tmp_path / "export" / "signature.json").read_text())
    assert [each["kind"] for each in signature["features"]] == list(EXAMPLES)
    assert sorted(signature["sha256"]) == ["model.pt2", f"words/{pair_feature.WORD}.txt"]
    numbers = signature["inputs"].get("numbers", {"features": []})["features"]
    assert not {"id_feature", "raw_feature", pair_feature.WORD} & set(numbers)
    assert signature["inputs"]["ids_4"]["features"] == [n for n in EXAMPLES if n not in numbers]
    scored = Scorer.load(tmp_path / "export").score(rows.drop_columns("click"))
    predicted = pq.read_table(tmp_path / "predicted.parquet")
    assert set(scored) <= set(predicted.column_names)
    for name, values in scored.items():
        np.testing.assert_allclose(values.numpy(), predicted[name].to_numpy(), atol=1e-6)
        assert len(np.unique(values.numpy().round(6))) > 3
