"""Archives of programs that would take more memory or time than they weigh."""

import json
import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from messages import fails
from serving.plants import CONSTANTS, PROGRAM, WEIGHTS, edit, entries_of, write
from serving.small import Small

from tzmmoe.errors import CheckpointError
from tzmmoe.serving import jsonfile, zipped
from tzmmoe.serving.program import load, save, trace

FEATURE = 'id_feature { feature_name: "one" num_buckets: 5 embedding_dim: 2 }'


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    small = Small.build(folder, [FEATURE], names=["one"])
    built = small.session.built
    save(trace(built.model, built.tasks, small.layout), folder / "model.pt2")
    load(folder / "model.pt2")
    return folder / "model.pt2"


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("name", [PROGRAM, WEIGHTS, "data/weights/weight_0"])
def test_a_compressed_entry_is_refused_without_unpacking_it(
    name: str, good: Path, tmp_path: Path
) -> None:
    """One of 400 MB takes 400 KB in the file."""
    file = tmp_path / "model.pt2"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, content in entries_of(good).items():
            if each != name:
                archive.writestr(zipfile.ZipInfo(f"model/{each}"), content)
        with archive.open(f"model/{name}", "w") as stream:
            for _ in range(400):
                stream.write(bytes(1_000_000))
    assert file.stat().st_size < 1_000_000
    before = peak_kib()
    with fails(CheckpointError, str(file), name, "compressed", "export"):
        load(file)
    assert peak_kib() < before + 20_000


def test_entries_that_share_their_bytes_are_refused(good: Path, tmp_path: Path) -> None:
    """Each of 100 names in the directory points to one weight of a megabyte."""
    entries = entries_of(good)
    entries["data/weights/weight_0"] = bytes(1_000_000)
    file = write(entries, tmp_path / "model.pt2")
    with zipfile.ZipFile(file, "a") as archive:
        shared = archive.getinfo("model/data/weights/weight_0")
        for place in range(100):
            copy = zipfile.ZipInfo(f"model/data/weights/weight_{900 + place}")
            for fact in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(copy, fact, getattr(shared, fact))
            archive.filelist.append(copy)
        archive._didModify = True
    assert file.stat().st_size < 2_000_000
    with fails(CheckpointError, str(file), "more bytes than the file"):
        load(file)


def before_it(content: bytes) -> bytes:
    return b"#!/bin/sh\n" + content


def after_it(content: bytes) -> bytes:
    return content + b"more"


def with_a_comment(content: bytes) -> bytes:
    return content[:-2] + struct.pack("<H", 4) + b"more"


def another_count(content: bytes) -> bytes:
    """Of entries, in the wide record of torch's own archives; the narrow one keeps the old."""
    place = content.rindex(b"PK\x06\x06")
    return content[: place + 32] + struct.pack("<Q", 1) + content[place + 40 :]


@pytest.mark.parametrize("change", [before_it, after_it, with_a_comment, another_count])
def test_an_archive_that_readers_could_take_differently_is_refused(
    change: Callable[[bytes], bytes], good: Path, tmp_path: Path
) -> None:
    file = tmp_path / "model.pt2"
    file.write_bytes(change(good.read_bytes()))
    with fails(CheckpointError, str(file)):
        load(file)


def test_more_entries_than_an_export_can_have_are_refused(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = len(entries_of(good))
    for most in (count, count - 1):
        monkeypatch.setattr(zipped, "MOST_ENTRIES", most)
        if most == count:
            load(good)
        else:
            with fails(CheckpointError, str(good), f"{most:,}"):
                load(good)


@pytest.mark.parametrize("name", [PROGRAM, WEIGHTS, CONSTANTS])
@pytest.mark.parametrize("depth", [100, 100_000])
def test_deep_json_is_refused_with_a_message(
    name: str, depth: int, good: Path, tmp_path: Path
) -> None:
    entries = entries_of(good)
    entries[name] = b'{"config": ' + b"[" * depth + b"]" * depth + b"}"
    with fails(CheckpointError, "model.pt2", name, "deep"):
        load(write(entries, tmp_path / "model.pt2"))


def test_deep_json_within_a_text_is_refused_with_a_message(good: Path, tmp_path: Path) -> None:
    def change(content: dict) -> None:
        signature = content["graph_module"]["module_call_graph"][0]["signature"]
        signature["out_spec"] = "[" * 100_000 + "]" * 100_000

    entries = entries_of(good)
    edit(entries, PROGRAM, change)
    with fails(CheckpointError, "model.pt2", "deep"):
        load(write(entries, tmp_path / "model.pt2"))


def test_json_of_more_bytes_than_an_export_can_have_is_refused(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonfile, "MOST_BYTES", len(entries_of(good)[PROGRAM]) - 1)
    with fails(CheckpointError, str(good), PROGRAM, "bytes"):
        load(good)


@pytest.mark.parametrize("sizes", [[10**6, 10**6], [6, 2], [-1, -10], [2**62, 4]])
def test_a_weight_that_claims_more_numbers_than_its_bytes_hold_is_refused(
    sizes: list[int], good: Path, tmp_path: Path
) -> None:
    def change(content: dict) -> None:
        facts = next(iter(content["config"].values()))["tensor_meta"]
        facts["sizes"] = [{"as_int": size} for size in sizes]
        facts["strides"] = [{"as_int": 0}] * len(sizes)

    entries = entries_of(good)
    edit(entries, WEIGHTS, change)
    with fails(CheckpointError, "model.pt2", "sizes"):
        load(write(entries, tmp_path / "model.pt2"))


@pytest.mark.parametrize("formula", ["Pow(9, Pow(9, Pow(9, 9)))", "Integer(1)" * 500])
def test_a_size_that_takes_forever_to_compute_is_refused(
    formula: str, good: Path, tmp_path: Path
) -> None:
    def change(content: dict) -> None:
        sizes = content["graph_module"]["graph"]["sym_int_values"]
        next(iter(sizes.values()))["as_expr"]["expr_str"] = formula

    entries = entries_of(good)
    edit(entries, PROGRAM, change)
    with fails(CheckpointError, "model.pt2", "formula"):
        load(write(entries, tmp_path / "model.pt2"))


def test_json_is_read_as_usual_up_to_the_limits() -> None:
    value = {"a": [1, 2.5, None, True, "ü"], "b": {}}
    assert jsonfile.parsed(json.dumps(value).encode()) == value
    deep = b"[" * jsonfile.DEEPEST + b"]" * jsonfile.DEEPEST
    assert jsonfile.parsed(deep)[0]
    with pytest.raises(ValueError, match="deep"):
        jsonfile.parsed(b"[" + deep + b"]")
    for wrong in (b"\xff", b"{", b"1" * 10_000, b""):
        with pytest.raises(ValueError, match=r"utf-8|Expect|digits"):
            jsonfile.parsed(wrong)
