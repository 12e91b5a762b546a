"""Checksums and signatures of an export, and the values that its signature.json may hold."""

import hashlib
import hmac
import json
import logging
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from messages import fails
from serving.small import Small
from serving.sums import edit_signature, seal_up

from tzmmoe import predict
from tzmmoe.errors import CheckpointError, ConfigError, UserError
from tzmmoe.protos.data_pb2 import DataConfig, DatasetType, FgMode, FieldType, HashFunction
from tzmmoe.protos.feature_pb2 import FeatureConfig
from tzmmoe.serving import signature
from tzmmoe.serving.scorer import Scorer
from tzmmoe.serving.seal import Key
from tzmmoe.serving.service.faults import RowFaults

FEATURES = [
    'id_feature { feature_name: "one" num_buckets: 500 embedding_dim: 2 }',
    'id_feature { feature_name: "word" vocab_file: "words.txt" default_bucketize_value: 0 '
    "embedding_dim: 2 }",
    'id_feature { feature_name: "hashed" hash_bucket_size: 20 embedding_dim: 2 separator: "|" }',
    'raw_feature { feature_name: "cut" boundaries: [-1, 0.5] embedding_dim: 2 }',
    'raw_feature { feature_name: "log" normalizer: "method=log10,threshold=0.001" }',
]
NAMES = ["one", "word", "hashed", "cut", "log"]
ROWS = [
    {"one": one, "word": word, "hashed": hashed, "cut": cut, "log": cut + 2}
    for one, word, hashed, cut in [(1, "a", "x|y", -3.0), (499, "b", "", 0.2), (7, "z", "q", 5.0)]
]
KEY = bytes(range(32))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    folder = tmp_path_factory.mktemp("small")
    (folder / "words.txt").write_text("a\nb\nc\n")
    return Small.build(folder, FEATURES, names=NAMES)


@pytest.fixture(scope="module")
def good(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.export(tmp_path_factory.mktemp("good") / "export")


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "mine.key"
    file.write_bytes(KEY)
    return file


@pytest.fixture(scope="module")
def signed(small: Small, key_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.export(tmp_path_factory.mktemp("signed") / "export", key=Key.read(key_file))


@pytest.fixture
def export(good: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good, tmp_path / "export")


def scores(folder: Path, **how: object) -> dict[str, bytes]:
    """To the last bit."""
    return {
        name: each.numpy().tobytes()
        for name, each in Scorer.load(folder, **how).score(ROWS).items()
    }


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextmanager
def warned(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    caplog.clear()
    found: list[str] = []
    with caplog.at_level(logging.WARNING, logger="tzmmoe"):
        yield found
    found += [record.getMessage() for record in caplog.records]


def test_checksums_cover_every_file_and_are_what_sha256_gives(good: Path) -> None:
    files = files_of(good)
    sums = json.loads(files.pop("seal.json"))
    assert sums["sha256"] == {n: hashlib.sha256(each).hexdigest() for n, each in files.items()}
    assert set(files) == {"model.pt2", "pipeline.config", "signature.json", "vocab/word.txt"}


def test_the_signature_is_the_hmac_of_the_sorted_checksums(signed: Path) -> None:
    content = json.loads((signed / "seal.json").read_text())
    pairs = ", ".join(f'["{name}", "{each}"]' for name, each in sorted(content["sha256"].items()))
    expected = hmac.new(KEY, f"[{pairs}]".encode(), hashlib.sha256).hexdigest()
    assert content["hmac_sha256"] == expected


FLIPS = 200


def flipped(files: dict[str, bytes], source: random.Random) -> tuple[str, bytes, int, int]:
    """A file, its content with one bit flipped, and which: half of them in files of JSON."""
    names = sorted(files)
    json_files = [name for name in names if name.endswith(".json")]
    name = source.choice(json_files if source.random() < 0.5 else names)
    content = bytearray(files[name])
    place, bit = source.randrange(len(content)), source.randrange(8)
    content[place] ^= 1 << bit
    return name, bytes(content), place, bit


def outcome(export: Path, expected: dict[str, bytes]) -> str:
    """``told``: with the export's path; ``harmless``: the same scores, to the last bit."""
    try:
        found = scores(export)
    except UserError as error:
        return "told" if str(export) in str(error) else f"told without the path: {error}"
    return "harmless" if found == expected else "other scores"


def test_a_flipped_bit_in_any_file_is_told_or_harmless(good: Path, export: Path) -> None:
    """Harmless: blanks between the values of seal.json, for example."""
    files, expected, source = files_of(good), scores(good), random.Random(7)
    outcomes = []
    for _ in range(FLIPS):
        name, content, place, bit = flipped(files, source)
        (export / name).write_bytes(content)
        found = outcome(export, expected)
        assert found in ("told", "harmless"), f"{name}: byte {place}, bit {bit}: {found}"
        outcomes.append((name, found))
        (export / name).write_bytes(files[name])
    assert {name for name, found in outcomes if found == "harmless"} <= {"seal.json"}
    assert {name for name, _ in outcomes} == set(files)


@pytest.mark.parametrize(
    "name", ["model.pt2", "pipeline.config", "signature.json", "vocab/word.txt"]
)
def test_a_file_that_is_missing_or_empty_is_told_with_its_name(export: Path, name: str) -> None:
    (export / name).write_bytes(b"")
    with fails(CheckpointError, str(export), name, "damaged"):
        Scorer.load(export)
    (export / name).unlink()
    with fails(CheckpointError, str(export), name, "not an export"):
        Scorer.load(export)


def test_an_export_that_lost_its_checksums_is_told(export: Path) -> None:
    (export / "seal.json").unlink()
    with fails(CheckpointError, str(export / "seal.json"), "missing"):
        Scorer.load(export)


def older(export: Path) -> None:
    """As exports were before there was seal.json."""
    (export / "seal.json").unlink()
    file = export / "signature.json"
    content = json.loads(file.read_text())
    del content["checksums"]
    file.write_text(json.dumps(content))


def test_an_export_of_an_earlier_version_loads_with_one_warning(
    good: Path, export: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older(export)
    with warned(caplog) as said:
        assert scores(export) == scores(good)
    (line,) = said
    for part in (str(export), "signature.json", "export again"):
        assert part in line
    (export / "vocab" / "word.txt").write_text("b\na\nc\n")
    with fails(CheckpointError, str(export / "vocab/word.txt"), "damaged"):
        Scorer.load(export)


def test_a_signed_export_loads_with_its_key_and_says_nothing(
    good: Path, signed: Path, key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with warned(caplog) as said:
        assert scores(signed, key_file=key_file) == scores(good)
    assert said == []


def test_a_signed_export_without_a_key_says_that_nobody_checks(
    good: Path, signed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with warned(caplog) as said:
        assert scores(signed) == scores(good)
    (line,) = said
    assert str(signed) in line
    assert "--key_file" in line or "key_file" in line


def test_a_signed_export_with_another_key_is_refused(signed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    other.write_bytes(KEY[::-1])
    with fails(CheckpointError, str(signed), str(other), "another key"):
        Scorer.load(signed, key_file=other)


def test_an_unsigned_or_older_export_with_a_key_is_refused(export: Path, key_file: Path) -> None:
    for make_it in (lambda: None, lambda: older(export)):
        make_it()
        with fails(CheckpointError, str(export), "not signed", "key_file"):
            Scorer.load(export, key_file=key_file)


def changed(export: Path) -> None:
    edit_signature(export, {"setting": {"fg_mode": "FG_NORMAL"}})


def changed_with_the_old_signature(export: Path) -> None:
    old = json.loads((export / "seal.json").read_text())["hmac_sha256"]
    changed(export)
    content = json.loads((export / "seal.json").read_text())
    (export / "seal.json").write_text(json.dumps(content | {"hmac_sha256": old}))


def without_checksums(export: Path) -> None:
    older(export)


@pytest.mark.parametrize("tamper", [changed, changed_with_the_old_signature, without_checksums])
def test_what_somebody_without_the_key_changes_is_refused(
    tamper: Callable[[Path], None], signed: Path, key_file: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(signed, tmp_path / "export")
    tamper(copy)
    with fails(CheckpointError, str(copy), "sign"):
        Scorer.load(copy, key_file=key_file)


@pytest.mark.parametrize("size_bytes", [0, 15, (1 << 16) + 1])
def test_a_key_of_another_size_is_refused(good: Path, tmp_path: Path, size_bytes: int) -> None:
    file = tmp_path / "odd.key"
    file.write_bytes(bytes(size_bytes))
    with fails(ConfigError, str(file), f"{size_bytes:,} bytes", "key_file"):
        Scorer.load(good, key_file=file)


def test_a_key_that_is_missing_or_endless_is_refused(good: Path, tmp_path: Path) -> None:
    for file in (tmp_path / "missing.key", Path("/dev/zero"), tmp_path):
        with fails(ConfigError, str(file), "key_file"):
            Scorer.load(good, key_file=file)


def test_a_key_does_not_show_its_secret(key_file: Path) -> None:
    key = Key(str(key_file), b"a secret of mine, nobody else's")
    assert "secret of mine" not in f"{key!r} {key}"


def test_predict_takes_the_key_and_refuses_it_beside_a_config(
    signed: Path, key_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("one,word,hashed,cut,log\n1,a,x,-3,2\n")
    out = tmp_path / "out.csv"
    paths = ["--predict_input_path", str(rows), "--predict_output_path", str(out)]
    model = ["--saved_model_dir", str(signed), "--device", "cpu"]
    predict.main([*model, *paths, "--key_file", str(key_file)])
    assert len(out.read_text().splitlines()) == 2
    other = tmp_path / "other.key"
    other.write_bytes(KEY[::-1])
    with fails(CheckpointError, str(signed), "--key_file"):
        predict.main([*model, *paths, "--key_file", str(other)])
    with pytest.raises(SystemExit):
        predict.main(["--pipeline_config", "x.config", *paths, "--key_file", str(key_file)])
    assert "--key_file has no effect" in capsys.readouterr().err


def words_of(message: type) -> dict[str, list[str]]:
    fields = message.DESCRIPTOR.fields if hasattr(message, "DESCRIPTOR") else message.fields
    return {f.name: f.enum_type.values_by_name.keys() for f in fields if f.enum_type}


def test_the_words_that_a_signature_may_hold_are_those_of_the_schema() -> None:
    kinds = FeatureConfig.DESCRIPTOR.oneofs_by_name["feature"].fields
    of_features: dict[str, set] = {}
    for kind in kinds:
        for name, words in words_of(kind.message_type).items():
            of_features.setdefault(name, set()).update(words)
    found = {name: set(words) - {None} for name, words in signature.FEATURE_WORDS.items()}
    assert found == of_features
    assert set(signature.SETTING_WORDS["fg_mode"]) == set(FgMode.keys())
    assert set(signature.SETTING_WORDS["hash_function"]) == set(HashFunction.keys())
    assert set(signature.READING_WORDS["dataset_type"]) - {None} == set(DatasetType.keys())
    assert set(signature.READING_WORDS["quoting"]) == set(DataConfig.Quoting.keys())
    assert set(signature.COLUMN_TYPES) - {None} == set(FieldType.keys())


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("setting", "fg_mode", "GG_DAG"),
        ("setting", "hash_function", "FARM_HATH"),
        ("setting", "fg_mode", None),
        ("reading", "dataset_type", "CsvDataseT"),
        ("reading", "quoting", "AUTP"),
        ("features", "out_of_range", "ROW_ZERP"),
        ("features", "list_format", "PRINTEE"),
        ("features", "date_part", "DAZ"),
        ("features", "pooling", "sun"),
    ],
)
def test_a_value_that_is_no_word_of_the_schema_is_refused_when_loading(
    part: str, name: str, value: str | None, export: Path
) -> None:
    """Though the checksums are right, as in a file that was written by hand."""
    content = json.loads((export / "signature.json").read_text())
    place = content[part][0] if part == "features" else content[part]
    place[name] = value
    edit_signature(export, {part: content[part]})
    with fails(CheckpointError, str(export), name, repr(value)):
        Scorer.load(export)


def test_an_unknown_type_of_a_column_is_refused_when_loading(export: Path) -> None:
    reading = json.loads((export / "signature.json").read_text())["reading"]
    edit_signature(export, {"reading": reading | {"types": {"one": "INT65"}}})
    with fails(CheckpointError, str(export), "'one'", "INT65"):
        Scorer.load(export)


@pytest.mark.parametrize("name", ["signature.json", "seal.json"])
@pytest.mark.parametrize("depth", [100, 100_000])
def test_deep_json_is_told(export: Path, name: str, depth: int) -> None:
    (export / name).write_text("[" * depth + "]" * depth)
    if name == "signature.json":
        shutil.copyfile(export / name, export / "kept")
        seal_up(export)
    with fails(CheckpointError, str(export), "deep"):
        Scorer.load(export)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"sha256": []}', '{"sha256": {}}'])
def test_checksums_of_another_form_are_told(export: Path, content: str) -> None:
    (export / "seal.json").write_text(content)
    with fails(CheckpointError, str(export), "export"):
        Scorer.load(export)


def test_checksums_that_leave_out_the_signature_are_told(export: Path) -> None:
    content = json.loads((export / "seal.json").read_text())
    del content["sha256"]["signature.json"]
    (export / "seal.json").write_text(json.dumps(content))
    with fails(CheckpointError, str(export), "no checksum of signature.json"):
        Scorer.load(export)


def test_scores_of_an_export_equal_those_before_it(small: Small, good: Path) -> None:
    """So what the tests above call the same scores are those of the model."""
    scorer = Scorer.load(good)
    rows = scorer.assembler.assemble(scorer._reader.read(ROWS, RowFaults()).chunk)
    inputs = next(rows.batches(len(ROWS))).inputs
    expected = small.outputs(inputs)
    found = scorer.score(ROWS)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values)
