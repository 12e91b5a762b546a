"""The exported program: it computes what the model computes, and loading it runs nothing else."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from serving.small import Small, assert_same, random_inputs

from tzmmoe.batch import Inputs
from tzmmoe.jagged import Jagged
from tzmmoe.serving.program import load, program_inputs, save, trace

IDS = [
    'id_feature { feature_name: "one" num_buckets: 50 embedding_dim: 4 }',
    'id_feature { feature_name: "mean" num_buckets: 30 embedding_dim: 4 pooling: "mean" }',
    'id_feature { feature_name: "weighted" num_buckets: 20 embedding_dim: 4 weighted: true }',
    'id_feature { feature_name: "narrow" num_buckets: 10 embedding_dim: 3 }',
    'id_feature { feature_name: "shared" num_buckets: 10 embedding_dim: 3 pooling: "mean" '
    'embedding_name: "narrow_emb" }',
    'raw_feature { feature_name: "bucket" boundaries: [0, 1] embedding_dim: 2 }',
]
NUMBERS = [
    'raw_feature { feature_name: "plain" value_dim: 2 }',
    'raw_feature { feature_name: "soft" embedding_dim: 3 value_dim: 2 '
    "autodis { num_channels: 4 } }",
    'raw_feature { feature_name: "linear" embedding_dim: 3 value_dim: 2 mlp {} }',
    'raw_feature { feature_name: "waves" embedding_dim: 3 value_dim: 2 default_value: "" '
    "periodic { sigma: 0.5 } }",
]
TOWERS = """
task_towers {
  tower_name: "ctr" label_name: "label"
  mlp { hidden_units: 4 activation: "Dice" dropout_ratio: 0.5 }
}
task_towers {
  tower_name: "two" label_name: "label" num_class: 2 losses { softmax_cross_entropy {} }
}
task_towers {
  tower_name: "three-way" label_name: "label" num_class: 3 losses { softmax_cross_entropy {} }
  mlp { hidden_units: 4 use_bn: true activation: "nn.PReLU" }
}
task_towers {
  tower_name: "rare" label_name: "label"
  losses { binary_cross_entropy { pos_weight: 4 label_smoothing: 0.1 } }
}
task_towers {
  tower_name: "focal" label_name: "label" losses { binary_focal_loss { gamma: 1 alpha: 0.3 } }
}
task_towers { tower_name: "price" label_name: "label" losses { l2_loss {} } }
"""
DEEP = """
expert_mlp { hidden_units: [6, 5] use_bn: true dropout_ratio: 0.5 activation: "nn.PReLU" }
gate_mlp { hidden_units: 4 use_ln: true }
"""
CASES: dict[str, dict] = {
    "everything": {"features": IDS + NUMBERS, "network": DEEP, "towers": TOWERS},
    "one id": {"features": IDS[:1]},
    "mean and weighted ids": {"features": IDS[1:3]},
    "only numbers": {"features": NUMBERS, "towers": TOWERS},
}


@pytest.fixture(scope="module", params=CASES)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Small, torch.export.ExportedProgram]:
    """A model, and its program after it was saved and loaded."""
    folder = tmp_path_factory.mktemp("program")
    settings = CASES[request.param]
    names = [feature.split('"')[1] for feature in settings["features"]]
    small = Small.build(folder, names=names, **settings)
    built = small.session.built
    built.model.train()  # as training leaves it
    save(trace(built.model, built.tasks, small.layout), folder / "model.pt2")
    return small, load(folder / "model.pt2")


@pytest.mark.parametrize("num_rows", [0, 1, 2, 1000])
@pytest.mark.parametrize("most_ids", [0, 1, 5])
def test_the_loaded_program_equals_the_model_for_any_number_of_rows_and_ids(
    case: tuple, num_rows: int, most_ids: int
) -> None:
    small, program = case
    inputs = random_inputs(small.layout, num_rows, most_ids)
    found = program.module()(program_inputs(inputs, small.layout))
    assert_same(found, small.outputs(inputs))
    assert all(len(output) == num_rows for output in found.values())


def test_one_id_for_each_feature_needs_no_lengths_from_the_reader(case: tuple) -> None:
    """Readers leave lengths out when all are 1; the model then takes another, faster way."""
    small, program = case
    inputs = random_inputs(small.layout, 7, 1)
    values = {width: torch.arange(7).repeat_interleave(len(f)) for width, f in _ids(small).items()}
    plain = {width: Jagged(each % 2) for width, each in values.items()}
    inputs = Inputs(plain, inputs.numbers)
    found = program.module()(program_inputs(inputs, small.layout))
    assert_same(found, small.outputs(inputs))


def _ids(small: Small) -> Mapping[int, tuple]:
    return small.layout.pooled


def test_the_program_computes_each_row_by_itself(case: tuple) -> None:
    """Batch norm and dropout are as in evaluation, though the model was traced in training."""
    small, program = case
    run = program.module()
    inputs = random_inputs(small.layout, 5, 3)
    together = run(program_inputs(inputs, small.layout))
    rows = [run(program_inputs(_row(inputs, row), small.layout)) for row in range(5)]
    apart = {name: torch.cat([row[name] for row in rows]) for name in together}
    assert_same(apart, together)


def _row(inputs: Inputs, row: int) -> Inputs:
    ids = {}
    for width, ragged in inputs.ids.items():
        begin, end = (int(ragged.lengths[:until].sum()) for until in (row, row + 1))
        weights = None if ragged.weights is None else ragged.weights[begin:end]
        ids[width] = Jagged(ragged.values[begin:end], ragged.lengths[row : row + 1], weights)
    return Inputs(ids, inputs.numbers[row : row + 1])


def test_lengths_that_do_not_fit_the_ids_are_an_error_and_no_prediction(case: tuple) -> None:
    small, program = case
    named = program_inputs(random_inputs(small.layout, 4, 2), small.layout)
    run = program.module()
    for name in named:
        if name.startswith("lengths"):
            longer = named[name] + torch.eye(4, named[name].shape[1], dtype=torch.int64)
            with pytest.raises(RuntimeError):
                run({**named, name: longer})
            with pytest.raises(RuntimeError):
                run({**named, name: named[name][:, 1:]})


def test_every_entry_of_the_file_is_json_a_mark_or_the_raw_bytes_of_a_weight(
    case: tuple, tmp_path: Path
) -> None:
    """So no pickle can be among them: all bytes of the file are accounted for."""
    _, program = case
    save(program, tmp_path / "model.pt2")
    with zipfile.ZipFile(tmp_path / "model.pt2") as archive:
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    raw = {}
    for part, prefix in (("weights", "weight_"), ("constants", "tensor_")):
        config = json.loads(entries.pop(f"data/{part}/model_{part}_config.json"))["config"]
        for name, facts in config.items():
            assert facts["path_name"].startswith(prefix)
            raw[f"data/{part}/{facts['path_name']}"] = program.state_dict.get(
                name, program.constants.get(name)
            )
    for place, tensor in raw.items():
        assert entries.pop(place) == tensor.detach().numpy().tobytes(), place
    json.loads(entries.pop("models/model.json"))
    assert entries.pop("data/sample_inputs/model.pt") == b""
    marks = {".data/serialization_id", ".data/version", "archive_format", "archive_version"}
    assert set(entries) == marks | {"byteorder"}
    assert all(len(entry) <= 40 and entry.isalnum() for entry in map(bytes.strip, entries.values()))
