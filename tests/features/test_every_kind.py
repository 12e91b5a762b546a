"""Every kind of feature goes through every pass under every fg_mode: no pass knows a kind by name.

Beside the schema's kinds goes one that only these tests know, with two origins and a file.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from features import pair_feature
from written import load, said_of_all

from tzmmoe import build
from tzmmoe.build import Built
from tzmmoe.build.features import check_constraints, feature_notes
from tzmmoe.config import Config
from tzmmoe.data.encode import Assembler, Rows
from tzmmoe.data.reading.base import Chunk, FileRows
from tzmmoe.errors import Faults
from tzmmoe.features import FEATURES
from tzmmoe.pipeline import Pipeline
from tzmmoe.protos.train_pb2 import REPLICATED
from tzmmoe.serving.scorer import Scorer

NUM_ROWS = 48
MODES = ("FG_NONE", "FG_NORMAL", "FG_BUCKETIZE", "FG_DAG")
RAW = ("FG_NORMAL", "FG_DAG")  # the columns are those that the expressions name


@dataclass(frozen=True)
class Example:
    """A kind's fields; the columns that it reads where they are raw; and what it makes of these
    just before lookup, which FG_BUCKETIZE finds in a column of the feature's name."""

    fields: str
    columns: dict[str, list]
    bucketized: list


def cycled(*values: object) -> list:
    return [values[row % len(values)] for row in range(NUM_ROWS)]


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


def test_every_word_of_the_schema_has_an_example_here() -> None:
    assert set(EXAMPLES) == set(FEATURES.words)


def columns_of(mode: str, folder: Path) -> dict[str, pa.Array]:
    """What a file holds; under FG_NONE the ids that FG_DAG makes of raw columns."""
    if mode in RAW:
        return {n: pa.array(c) for each in EXAMPLES.values() for n, c in each.columns.items()}
    if mode == "FG_BUCKETIZE":
        return {word: pa.array(example.bucketized) for word, example in EXAMPLES.items()}
    ids = ids_of("FG_DAG", folder)
    return {word: pa.array(each, pa.list_(pa.int64())) for word, each in ids.items()}


def text_of(folder: Path, mode: str, more: str = "", word: str | None = None) -> str:
    features = "".join(
        f'feature_configs {{ {each} {{ feature_name: "{each}" embedding_dim: 4 {example.fields} '
        f"{more if word in (None, each) else ''} }} }}\n"
        for each, example in EXAMPLES.items()
    )
    names = ", ".join(f'"{each}"' for each in EXAMPLES)
    return CONFIG.format(folder=folder, mode=mode, features=features, names=names)


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
    return assembler, assembler.assemble(Chunk(0, rows, (FileRows("a", 0, NUM_ROWS),)))


def ids_of(mode: str, folder: Path) -> dict[str, list]:
    """For each kind, the ids of each row."""
    found = {name: [] for name in EXAMPLES}
    _, rows = assembled(made(folder, mode), columns_of(mode, folder))
    for batch in rows.batches(7):
        ids = batch.inputs.ids[4]
        cells = np.split(ids.values.numpy(), np.cumsum(ids.lengths.numpy().ravel())[:-1])
        for place, name in enumerate(EXAMPLES):
            found[name] += [cell.tolist() for cell in cells[place :: len(EXAMPLES)]]
    return found


def test_all_modes_come_to_the_same_rows_of_the_tables(tmp_path: Path, mode: str) -> None:
    found = ids_of(mode, tmp_path)
    assert found == ids_of("FG_DAG", tmp_path)
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
    more = "fg_encoded_default_value: '1' use_mask: true embedding_constraints {}"
    found = config(tmp_path, mode, more, word)
    found.pipeline.train_config.table_placement = REPLICATED
    lines = list(feature_notes(found.pipeline))
    assert any(line.startswith(f"use_mask of {word} has no effect") for line in lines)
    assert any(line.startswith(f"embedding_constraints of {word} have") for line in lines)
    noted = f"fg_encoded_default_value of {word} has no effect under fg_mode: {mode}"
    assert (noted in lines) == (mode != "FG_NONE")
    for field in FEATURES[word].origin_fields:
        owners = [line for line in lines if line.startswith(f"{field} of ") and word in line]
        assert len(owners) == (mode not in RAW)


@pytest.mark.parametrize("word", list(EXAMPLES))
def test_constraints_that_cannot_be_met_are_faults(tmp_path: Path, mode: str, word: str) -> None:
    more = 'embedding_constraints { compute_kernels: "fused_uvm" }'
    found = config(tmp_path, mode, more, word)
    faults = Faults()
    check_constraints(found.pipeline, "cpu", faults, trains=True)
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
    assert assembler.needed == ["city", "price", "car"]
    found = config(tmp_path, "FG_DAG", word="id_feature", changed="expression=feature:pair_feature")
    built = build.build(found.pipeline, tmp_path, Faults())
    assembler, rows = assembled(built, columns)
    assert assembler.needed == ["colour", "car", "price"]
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
    assert signature["inputs"]["ids_4"]["features"] == list(EXAMPLES)
    scored = Scorer.load(tmp_path / "export").score(rows.drop_columns("click"))
    predicted = pq.read_table(tmp_path / "predicted.parquet")
    assert set(scored) <= set(predicted.column_names)
    for name, values in scored.items():
        np.testing.assert_allclose(values.numpy(), predicted[name].to_numpy(), atol=1e-6)
        assert len(np.unique(values.numpy().round(6))) > 3
