"""Loading a program runs nothing that someone has planted in its file.

Where torch alone would run a plant, the test shows that it does, so that a plant which does nothing
cannot pass for one that was rejected.
"""

import pickle
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from messages import fails
from serving.plants import (
    CONSTANTS,
    PROGRAM,
    REFUSED,
    RUN_BY_TORCH,
    WEIGHTS,
    edit,
    entries_of,
    older_layout,
    planted,
    saved,
    write,
)
from serving.small import Small, random_inputs
from serving.two_archives import two_in_one
from torch.export.pt2_archive import PT2ArchiveReader

from tzmmoe.errors import CheckpointError
from tzmmoe.serving.program import load, program_inputs, save, trace

FEATURE = 'id_feature { feature_name: "one" num_buckets: 5 embedding_dim: 2 }'


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return Small.build(tmp_path_factory.mktemp("small"), [FEATURE], names=["one"])


@pytest.fixture(scope="module")
def good(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("good") / "model.pt2"
    built = small.session.built
    save(trace(built.model, built.tasks, small.layout), file)
    return file


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The folder that a plant makes."""
    return tmp_path / "it_ran"


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("planted_module", None)


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize("plant", RUN_BY_TORCH, ids=lambda plant: plant.__name__)
def test_what_torch_would_run_is_rejected_and_does_not_run(
    plant: Callable, good: Path, mark: Path, tmp_path: Path
) -> None:
    file = planted(plant, good, mark, tmp_path)
    with fails(CheckpointError, f"{file}: rejected", "export"):
        load(file)
    assert not mark.exists()
    torch_runs_it(file)
    assert mark.is_dir(), "the plant does nothing; this test would prove nothing"


def torch_runs_it(file: Path) -> None:
    """Load a file without our check, whatever happens."""
    with warnings.catch_warnings(), suppress(Exception):
        warnings.simplefilter("ignore")
        torch.export.load(file)


def test_the_layout_of_older_versions_is_rejected(good: Path, mark: Path, tmp_path: Path) -> None:
    """torch falls back to it by itself, and unpickles what it holds."""
    file = write(older_layout(entries_of(good), mark), tmp_path / "model.pt2", root="")
    with fails(CheckpointError, f"{file}: cannot be loaded"):
        load(file)
    assert not mark.exists()
    torch_runs_it(file)
    assert mark.is_dir()


def test_a_file_that_two_readers_read_differently_is_rejected(
    good: Path, mark: Path, tmp_path: Path
) -> None:
    """torch reads a file with its own reader, and, if that fails, with Python's."""
    entries = entries_of(good)
    older = older_layout(entries, mark)

    def change(content: dict) -> None:
        content["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.aten.missing.default"

    edit(entries, PROGRAM, change)  # so that torch's own reader fails late
    first = write(entries, tmp_path / "first.pt2").read_bytes()
    second = write(older, tmp_path / "second.pt2", root="").read_bytes()
    file = tmp_path / "model.pt2"
    file.write_bytes(two_in_one(first, second))
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == list(older)
    assert PROGRAM in PT2ArchiveReader(str(file)).get_file_names()
    with fails(CheckpointError, str(file), "two ways"):
        load(file)
    assert not mark.exists()
    torch_runs_it(file)
    assert mark.is_dir()


def test_an_entry_that_is_listed_twice_is_rejected(good: Path, mark: Path, tmp_path: Path) -> None:
    file = tmp_path / "twice.pt2"
    file.write_bytes(good.read_bytes())
    with zipfile.ZipFile(file, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/data/sample_inputs/model.pt", saved(mark))
    with fails(CheckpointError, str(file), "two ways"):
        load(file)
    assert not mark.exists()


@pytest.mark.parametrize("plant", REFUSED, ids=lambda plant: plant.__name__)
def test_what_no_export_contains_is_rejected(
    plant: Callable, good: Path, mark: Path, tmp_path: Path
) -> None:
    file = planted(plant, good, mark, tmp_path)
    with fails(CheckpointError, f"{file}: rejected", "export"):
        load(file)
    assert not mark.exists()


def test_the_same_file_loads_when_nothing_was_planted(
    small: Small, good: Path, tmp_path: Path
) -> None:
    """So it is the plants that are rejected, not files that were packed again."""
    program = load(write(entries_of(good), tmp_path / "model.pt2"))
    inputs = random_inputs(small.layout, 3, 2)
    found = program.module()(program_inputs(inputs, small.layout))
    assert torch.equal(found["logits_ctr"], small.outputs(inputs)["logits_ctr"])


def test_loading_looks_up_no_class_of_a_pickle(good: Path) -> None:
    """Python tells its audit hooks of every class that an unpickler looks up, in C or not."""
    found: list[tuple] = []

    def watch(event: str, arguments: tuple) -> None:
        if event == "pickle.find_class":
            found.append(arguments)

    sys.addaudithook(watch)
    load(good)
    assert not found
    pickle.loads(pickle.dumps(Path("watched")))
    assert found


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99], ids=lambda keep: f"first {keep}")
def test_a_file_that_was_cut_short_is_an_error_with_its_name(
    keep: float, good: Path, tmp_path: Path
) -> None:
    content = good.read_bytes()
    file = tmp_path / "model.pt2"
    file.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    with fails(CheckpointError, f"{file}: cannot be loaded"):
        load(file)


DAMAGES = {
    "missing": None,
    "empty": b"",
    "no JSON": b"\xff{",
    "other JSON": b'{"config": {"a": 1}}',
}


@pytest.mark.parametrize("name", [PROGRAM, WEIGHTS, CONSTANTS])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_part_that_is_missing_or_damaged_is_an_error_with_the_files_name(
    name: str, damage: str, good: Path, tmp_path: Path
) -> None:
    entries = entries_of(good)
    entries[name] = DAMAGES[damage]
    kept = {name: content for name, content in entries.items() if content is not None}
    with pytest.raises(CheckpointError, match=r"model\.pt2"):
        load(write(kept, tmp_path / "model.pt2"))


def test_a_missing_file_and_a_folder_are_errors_with_the_name(tmp_path: Path) -> None:
    for place in (tmp_path / "missing.pt2", tmp_path):
        with pytest.raises(CheckpointError, match=place.name):
            load(place)
