"""Exports that someone has tampered with: nothing runs, and no file outside is read."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from messages import fails
from serving.plants import Plant
from serving.small import Small
from serving.sums import seal_up, sum_up

from tzmmoe.errors import CheckpointError
from tzmmoe.serving.scorer import Scorer
from tzmmoe.system.digest import sha256

FEATURES = [
    'id_feature { feature_name: "one" num_buckets: 5 embedding_dim: 2 }',
    'id_feature { feature_name: "word" vocab_file: "words.txt" default_bucketize_value: 0 '
    "embedding_dim: 2 }",
]
FILES = ["model.pt2", "signature.json", "pipeline.config", "vocab/word.txt", "seal.json"]
BESIDE = [
    *("model.pt", "model.pkl", "data.pkl", "signature.pkl", "vocab/word.pkl", "vocab/other.txt"),
    *("__init__.py", "sitecustomize.py", "conftest.py", "torch.py", "model.pt2.pkl", "archive.pth"),
]
FORMS = ["pickle", "torch.save", "torch.save without zip"]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    (folder / "words.txt").write_text("a\nb\n")
    return Small.build(folder, FEATURES, names=["one", "word"]).export(folder / "export")


@pytest.fixture
def export(good: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good, tmp_path / "export")


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The folder that a plant makes."""
    return tmp_path / "it_ran"


def plant(file: Path, form: str, mark: Path) -> None:
    if form == "pickle":
        file.write_bytes(pickle.dumps(Plant(mark)))
    else:
        zipped = form == "torch.save"
        torch.save({"weight": Plant(mark)}, file, _use_new_zipfile_serialization=zipped)


def springs(file: Path, mark: Path) -> None:
    """Show that the plant works, so that rejecting it means something."""
    with suppress(Exception):
        pickle.loads(file.read_bytes())
    with suppress(Exception):
        torch.load(file, weights_only=False)
    assert mark.is_dir()


def scored(export: Path) -> dict[str, torch.Tensor]:
    return Scorer.load(export).score([{"one": 1, "word": "a"}, {"one": 4, "word": "z"}])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("is_summed", [False, True], ids=["checksum kept", "checksum renewed"])
def test_a_pickle_in_the_place_of_a_file_of_an_export_never_runs(
    good, export, mark, name, form, is_summed
) -> None:
    """It is rejected. Exceptions, with a matching checksum, are pipeline.config, which nothing
    reads, and a vocabulary, of which a pickle is just more words, if it is text at all."""
    plant(export / name, form, mark)
    if is_summed and name not in ("signature.json", "seal.json"):
        sum_up(export)
    elif is_summed and name == "signature.json":
        seal_up(export)
    if name == "pipeline.config" and is_summed:
        found, wanted = scored(export), scored(good)
        assert all(torch.equal(found[each], wanted[each]) for each in wanted)
    else:
        with pytest.raises(CheckpointError, match="export"):
            scored(export)
    assert not mark.exists()
    springs(export / name, mark)


@pytest.mark.long
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", BESIDE)
def test_a_pickle_beside_the_files_of_an_export_is_not_looked_at(
    good, export, mark, name, form, monkeypatch
) -> None:
    plant(export / name, form, mark)
    monkeypatch.chdir(export)
    found, wanted = scored(export), scored(good)
    assert all(torch.equal(found[each], wanted[each]) for each in wanted)
    assert not mark.exists()
    springs(export / name, mark)


@pytest.mark.parametrize("name", ["model.pt2", "vocab/word.txt"])
def test_an_export_with_a_link_out_of_its_folder_is_rejected(export, tmp_path, name) -> None:
    """Even to a file with the right content."""
    outside = (export / name).rename(tmp_path / "outside")
    (export / name).symlink_to(outside)
    with pytest.raises(CheckpointError, match="outside its folder"):
        scored(export)


def test_an_export_with_a_folder_that_is_a_link_out_of_it_is_rejected(export, tmp_path) -> None:
    outside = (export / "vocab").rename(tmp_path / "outside")
    (export / "vocab").symlink_to(outside)
    with pytest.raises(CheckpointError, match="outside its folder"):
        scored(export)


def test_an_export_that_is_reached_by_a_link_is_like_any_other(good, tmp_path) -> None:
    """Such as a link named "current" to the newest of several."""
    (tmp_path / "current").symlink_to(good)
    assert scored(tmp_path / "current").keys() == scored(good).keys()


@pytest.mark.parametrize("name", ["../secret", "vocab/../../secret", "/etc/hostname", "vocab/.."])
def test_an_export_that_names_a_file_outside_is_rejected_for_it(export, tmp_path, name) -> None:
    (tmp_path / "secret").write_text("a\nb\n")
    signature = json.loads((export / "signature.json").read_text())
    signature["sha256"][name] = sha256(tmp_path / "secret")
    for feature in signature["features"]:
        if "vocab_file" in feature:
            feature["vocab_file"] = name
    (export / "signature.json").write_text(json.dumps(signature))
    sums = json.loads((export / "seal.json").read_text())
    sums["sha256"] |= {"signature.json": sha256(export / "signature.json")}
    sums["sha256"] |= {name: signature["sha256"][name]}
    (export / "seal.json").write_text(json.dumps(sums))
    with pytest.raises(CheckpointError, match="outside its folder"):
        scored(export)


def test_a_link_that_leads_nowhere_or_to_itself_is_rejected(export) -> None:
    def to_itself(file: Path) -> None:
        file.symlink_to(file.name)

    def nowhere(file: Path) -> None:
        file.symlink_to("missing")

    def to_a_folder(file: Path) -> None:
        file.symlink_to(".")

    makers: list[Callable[[Path], None]] = [to_itself, nowhere, to_a_folder, os.mkfifo]
    for make in makers:
        (export / "model.pt2").unlink()
        make(export / "model.pt2")
        with fails(CheckpointError, f"{export}: ", "not an export", "model.pt2"):
            scored(export)
