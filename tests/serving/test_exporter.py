"""An export is complete, tells what it takes and gives, and needs nothing that training left."""

import json
from pathlib import Path

import pytest
from full_disk import files_up_to
from messages import fails
from serving.small import Small, assert_same, random_inputs
from written import load as load_config

from tzmmoe.errors import CheckpointError, UserError
from tzmmoe.serving.program import load, program_inputs

FEATURES = [
    'id_feature { feature_name: "tags" expression: "user:labels" vocab_file: "words.txt" '
    'default_bucketize_value: 0 embedding_dim: 4 separator: "|" pooling: "mean" }',
    'id_feature { feature_name: "helper" vocab_file: "more.txt" default_bucketize_value: 1 '
    "embedding_dim: 4 }",
    'id_feature { feature_name: "chained" expression: "feature:helper" hash_bucket_size: 9 '
    'embedding_dim: 4 default_value: "ünïcode" }',
    'id_feature { feature_name: "scores" num_buckets: 9 embedding_dim: 3 weighted: true }',
    'raw_feature { feature_name: "price" value_dim: 2 normalizer: "method=minmax,min=0,max=2" }',
    'raw_feature { feature_name: "age" boundaries: [0.1, 18, 65] embedding_dim: 3 }',
]
NAMES = ["tags", "chained", "scores", "price", "age"]
TOWERS = """
task_towers { tower_name: "ctr" label_name: "label" }
task_towers {
  tower_name: "kind" label_name: "label" num_class: 3 losses { softmax_cross_entropy {} }
}
task_towers {
  tower_name: "sure" label_name: "label" num_class: 2 losses { softmax_cross_entropy {} }
}
task_towers { tower_name: "price" label_name: "label" losses { l2_loss {} } }
"""
FILES = {
    *("model.pt2", "pipeline.config", "signature.json", "seal.json"),
    *("vocab/tags.txt", "vocab/helper.txt"),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    folder = tmp_path_factory.mktemp("training")
    (folder / "words.txt").write_text("red\ngreen\nblau-grün\n", encoding="utf-8")
    (folder / "more.txt").write_text("a\nb\n", encoding="utf-8")
    return Small.build(folder, FEATURES, names=NAMES, towers=TOWERS)


@pytest.fixture(scope="module")
def export(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.export(tmp_path_factory.mktemp("exports") / "export")


@pytest.fixture(scope="module")
def signature(export: Path) -> dict:
    return json.loads((export / "signature.json").read_text(encoding="utf-8"))


def files_of(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_an_export_holds_the_program_the_config_the_signature_and_the_vocabularies(
    small: Small, export: Path
) -> None:
    files = files_of(export)
    assert set(files) == FILES
    assert files["vocab/tags.txt"].decode() == "red\ngreen\nblau-grün\n"
    assert (export / "pipeline.config").read_text() == small.session.settings.text
    load_config(export / "pipeline.config").faults.stop()
    assert not list(export.parent.glob(".writing-*"))


def test_an_export_names_no_place_of_the_machine_that_made_it(small: Small, export: Path) -> None:
    training = small.session.built.setting.folder
    repository = Path(__file__).parents[2]
    for name, content in files_of(export).items():
        for place in (training, export.parent, repository):
            assert str(place).encode() not in content, name


@pytest.mark.parametrize("num_rows", [0, 1, 3])
def test_the_signature_lists_names_types_and_shapes_of_inputs_and_outputs(
    small: Small, export: Path, signature: dict, num_rows: int
) -> None:
    inputs = program_inputs(random_inputs(small.layout, num_rows, 2), small.layout)
    outputs = load(export / "model.pt2").module()(inputs)
    for described, tensors in ((signature["inputs"], inputs), (signature["outputs"], outputs)):
        assert list(described) == list(tensors)
        sizes = {"batch": num_rows}
        for name, tensor in tensors.items():
            facts = described[name]
            assert facts["dtype"] == str(tensor.dtype).removeprefix("torch.")
            for word, size in zip(facts["shape"], tensor.shape, strict=True):
                assert size == (word if isinstance(word, int) else sizes.setdefault(word, size))


def test_the_signature_lists_features_in_order_with_the_rows_of_their_tables(
    signature: dict,
) -> None:
    inputs = signature["inputs"]
    assert list(inputs) == ["ids_3", "lengths_3", "weights_3", "ids_4", "lengths_4", "numbers"]
    for name, facts in inputs.items():
        features = {"3": ["scores", "age"], "4": ["tags", "chained"], "s": ["price"]}
        assert facts["features"] == features[name[-1]]
    assert inputs["ids_3"]["rows"] == [9, 4]
    assert inputs["ids_4"]["rows"] == [3, 9]
    assert inputs["numbers"]["sizes"] == [2]


def test_the_features_of_the_signature_are_those_of_the_config(
    small: Small, signature: dict
) -> None:
    assert [each["feature_name"] for each in signature["features"]] == NAMES
    assert [each["feature_name"] for each in signature["helpers"]] == ["helper"]
    for each in (*signature["features"], *signature["helpers"]):
        spec = small.session.built.specs[each["feature_name"]]
        fields = json.loads(json.dumps(dict(spec.fields)))  # lists for tuples
        written = {name: value for name, value in each.items() if name != "kind"}
        if fields.get("vocab_file"):
            fields["vocab_file"] = f"vocab/{each['feature_name']}.txt"
        assert written == fields


def test_two_exports_of_one_model_predict_the_same_and_leave_it_as_it_predicts(
    small: Small, export: Path, tmp_path: Path
) -> None:
    inputs = random_inputs(small.layout, 9, 3)
    before = small.outputs(inputs)
    again = small.export(tmp_path / "again")
    named = program_inputs(inputs, small.layout)
    one, two = (load(folder / "model.pt2").module()(named) for folder in (export, again))
    assert_same(one, two, tolerance=0)
    assert_same(small.outputs(inputs), before, tolerance=0)


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A model that is quick to export."""
    feature = 'raw_feature { feature_name: "price" }'
    return Small.build(tmp_path_factory.mktemp("light"), [feature], names=["price"])


def test_a_folder_that_is_not_empty_is_not_written_to(light: Small, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with fails(CheckpointError, str(folder), "already", "--export_dir"):
        light.export(folder)
    assert files_of(tmp_path) == {"export/mine.txt": b"mine"}


def test_an_empty_folder_and_leftovers_of_a_killed_export_do_no_harm(
    light: Small, tmp_path: Path
) -> None:
    folder = tmp_path / "deep" / "export"
    folder.mkdir(parents=True)
    left = folder.parent / ".writing-export.123-0a1b2c3d"
    left.mkdir()
    (left / "model.pt2").write_text("half")
    light.export(folder)
    assert set(files_of(folder)) == {name for name in FILES if "/" not in name}
    assert not left.exists()


@pytest.mark.parametrize("size_bytes", [0, 100, 5000])
def test_a_full_disk_is_an_error_that_leaves_nothing_behind(
    light: Small, tmp_path: Path, size_bytes: int
) -> None:
    with files_up_to(size_bytes), fails(CheckpointError, "export", "cannot be written"):
        light.export(tmp_path / "export")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_a_folder_is_an_error(light: Small, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "export"):
        with pytest.raises(UserError, match=f"{place} cannot be written"):
            light.export(place)
    assert files_of(tmp_path) == {"file": b"mine"}
