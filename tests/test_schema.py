"""The schema holds only what works: each word has a class that takes exactly its fields, each
element a comment, and each config that ships is without fault."""

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import (
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from grpc_tools import protoc
from written import ROOT, SHIPPED, all_fields, load, message_types, said_of_all

from tzmmoe.build import build
from tzmmoe.config.walk import tower_fields
from tzmmoe.errors import Faults
from tzmmoe.features import FEATURES
from tzmmoe.features.shared import SharedFields
from tzmmoe.learning import optimizers as dense
from tzmmoe.learning import schedules
from tzmmoe.models import MODELS
from tzmmoe.nn.mlp import MLP
from tzmmoe.nn.numbers import AutoDis, LinearEmbedding
from tzmmoe.protos.compat.easyrec_pb2 import EasyRecConfig
from tzmmoe.registry import Registry
from tzmmoe.tables import ftrl, optimizers
from tzmmoe.tasks.losses import LOSSES
from tzmmoe.tasks.metrics import METRICS

PROTOS = sorted((ROOT / "protos").rglob("*.proto"))
REGISTRIES = {"feature": FEATURES, "loss": LOSSES, "metric": METRICS, "model": MODELS}
# What a constructor gets beside the fields of its message.
GIVEN = {"feature": ["shared"], "loss": [], "metric": [], "model": ["groups", "towers"]}
MODULES = {"modules"}  # which a body takes that imports classes of the user's
# Fields that build makes into something else.
REMOVED = {"feature": SharedFields.names()}
CLIPPING = {"gradient_clipping", "max_gradient"}  # acts where the gradients enter the tables
# Numbers of FileDescriptorProto and its parts, which make up the paths of its comments.
MESSAGES, ENUMS, FIELDS, NESTED_MESSAGES, NESTED_ENUMS, VALUES = 4, 5, 2, 3, 4, 2


@pytest.fixture
def files(tmp_path_factory: pytest.TempPathFactory) -> list[FileDescriptorProto]:
    out = tmp_path_factory.mktemp("schema") / "set"
    names = [f"tzmmoe/protos/{path.relative_to(ROOT / 'protos')}" for path in PROTOS]
    options = ["--include_source_info", f"--descriptor_set_out={out}"]
    place = f"-Itzmmoe/protos={ROOT / 'protos'}"
    assert protoc.main(["protoc", place, *options, *names]) == 0
    return list(FileDescriptorSet.FromString(out.read_bytes()).file)


def elements(file: FileDescriptorProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every message, field, enum and value, by name, with the path of its comment."""
    waiting = [(m.name, (MESSAGES, i), m) for i, m in enumerate(file.message_type)]
    enums = [(e.name, (ENUMS, i), e) for i, e in enumerate(file.enum_type)]
    while waiting:
        name, path, message = waiting.pop()
        if message.options.map_entry:
            continue
        yield name, path
        for index, field in enumerate(message.field):
            yield f"{name}.{field.name}", (*path, FIELDS, index)
        for index, inner in enumerate(message.nested_type):
            waiting.append((f"{name}.{inner.name}", (*path, NESTED_MESSAGES, index), inner))
        for index, inner in enumerate(message.enum_type):
            enums.append((f"{name}.{inner.name}", (*path, NESTED_ENUMS, index), inner))
    for name, path, enum in enums:
        yield name, path
        for index, value in enumerate(enum.value):
            yield f"{name}.{value.name}", (*path, VALUES, index)


def test_every_message_field_enum_and_value_has_a_comment(files):
    """Of our own schema; words of other systems are explained by what they become."""
    for file in files:
        if "/compat/" in file.name:
            continue
        comments = {
            tuple(each.path): each.leading_comments.strip()
            for each in file.source_code_info.location
        }
        silent = [name for name, path in elements(file) if not comments.get(path)]
        assert not silent, file.name


def normalised(file: FileDescriptorProto) -> FileDescriptorProto:
    """Without comments, and with names and numbers written in one of protoc's ways."""
    file.ClearField("source_code_info")
    waiting = list(file.message_type)
    while waiting:
        message = waiting.pop()
        waiting += message.nested_type
        for field in message.field:
            field.ClearField("json_name")
            if field.type == FieldDescriptorProto.TYPE_DOUBLE and field.HasField("default_value"):
                field.default_value = repr(float(field.default_value))
    return file


def test_the_compiled_schema_is_that_of_the_proto_files(files):
    """A forgotten `make proto` would test and run an old schema."""
    written = {file.name: file for file in files}
    assert len(written) == len(PROTOS)
    types = message_types() | message_types(EasyRecConfig.DESCRIPTOR)
    assert len({each.file.name for each in types.values()}) == len(PROTOS)
    for descriptor in {each.file for each in types.values()}:
        compiled = FileDescriptorProto.FromString(descriptor.serialized_pb)
        source = written[descriptor.name]
        assert normalised(compiled) == normalised(source), f"{source.name}: run make proto"


def test_nothing_is_required_and_every_number_is_used_once(files):
    """Required fields break text that other systems read, and the text parser ignores them."""
    for field in all_fields():
        assert not field.is_required, field.full_name
    for file in files:
        for message in file.message_type:
            numbers = [field.number for field in message.field]
            assert len(set(numbers)) == len(numbers), message.name


def fields_of(descriptor: Descriptor) -> set[str]:
    """Fields but other names of some."""
    return {field.name for field in descriptor.fields if not field.GetOptions().deprecated}


def keywords(function: Any) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(function).parameters
    return {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


WORDS = [(name, word) for name, registry in REGISTRIES.items() for word in registry.words]


@pytest.mark.parametrize(("name", "word"), WORDS)
def test_every_word_has_a_class_that_takes_exactly_its_fields_without_defaults(name, word):
    registry: Registry = REGISTRIES[name]
    assert word in registry, f"no class is registered as {word!r}"
    constructor = registry[word]
    descriptor = next(f.message_type for f in registry.schema.fields if f.name == word)
    expected = fields_of(descriptor) - REMOVED.get(name, set())
    if name == "feature":
        assert set(constructor.origin_fields) <= expected
        expected -= set(constructor.origin_fields)
    if name == "model":
        towers = {field.name for field in tower_fields(descriptor)}
        assert towers
        assert set(constructor.of_tasks) <= expected - towers
        expected -= towers | set(constructor.of_tasks)
    if not expected and "tzmmoe" not in getattr(constructor.__init__, "__module__", ""):
        return  # the class has no constructor of its own
    taken = {name: p for name, p in keywords(constructor).items() if name not in MODULES}
    assert set(taken) == expected
    assert all(p.default is p.empty for p in taken.values()), "defaults belong in protos/"
    others = [
        parameter.name
        for parameter in inspect.signature(constructor).parameters.values()
        if parameter.kind is not parameter.KEYWORD_ONLY
    ]
    assert others == GIVEN[name]


@pytest.mark.parametrize(
    ("message", "function", "beside"),
    [
        ("MLP", MLP, {"copies", "members"}),
        ("AutoDisEmbedding", AutoDis, set()),
        ("MLPEmbedding", LinearEmbedding, set()),
    ],
)
def test_a_message_within_others_has_a_class_that_takes_exactly_its_fields(
    message, function, beside
):
    expected = fields_of(message_types()[f"tzmmoe.protos.{message}"])
    taken = {name: p for name, p in keywords(function).items() if name not in beside}
    assert set(taken) == expected
    assert all(p.default is p.empty for p in taken.values())


def members(message: str, oneof: str) -> dict[str, Descriptor]:
    owner = message_types()[f"tzmmoe.protos.{message}"]
    return {f.name: f.message_type for f in owner.oneofs_by_name[oneof].fields}


def test_every_sparse_optimizer_has_a_class_that_takes_exactly_its_fields():
    words = members("SparseOptimizer", "optimizer")
    assert set(optimizers.OPTIMIZERS) == set(words)
    for word, descriptor in words.items():
        taken = keywords(optimizers.OPTIMIZERS[word])
        assert set(taken) == fields_of(descriptor) - CLIPPING
        assert all(p.default is p.empty for p in taken.values())


def test_every_dense_optimizer_is_torchs_or_ftrl_and_can_be_made_from_its_defaults():
    words = members("DenseOptimizer", "optimizer")
    assert set(dense.OPTIMIZERS) == set(words)
    for word, descriptor in words.items():
        parameter = torch.nn.Parameter(torch.zeros(1))
        defaults = {field.name: field.default_value for field in descriptor.fields}
        made = dense.dense_optimizer([parameter], word, defaults)
        assert type(made).__module__.startswith("torch.optim") or type(made) is ftrl.Ftrl
        group: Mapping[str, Any] = made.param_groups[0]
        known = {**group, **dict(zip(("beta1", "beta2"), group.get("betas", ()), strict=False))}
        assert {name: known[name] for name in defaults} == defaults


@pytest.mark.parametrize("optimizer", ["SparseOptimizer", "DenseOptimizer"])
def test_every_schedule_has_a_function_that_takes_exactly_its_fields(optimizer):
    words = members(optimizer, "learning_rate")
    assert set(words) == {*schedules.SCHEDULES, "constant_learning_rate"}
    for word, function in schedules.SCHEDULES.items():
        taken = keywords(function)
        assert set(taken) == fields_of(words[word]) - {"by_epoch"}
        assert all(p.default is p.empty for p in taken.values())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_config_loads_and_builds_without_fault(path: Path):
    assert said_of_all(load(path)) == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_config_has_a_tower_for_each_of_its_labels(path: Path):
    config = load(path)
    built = build(config.pipeline, config.folder, Faults())
    labels = dict.fromkeys(task.label for task in built.tasks.tasks)
    assert list(labels) == list(config.pipeline.data_config.label_fields)


def test_words_of_other_systems_are_compiled_and_shipped_but_not_in_the_reference():
    reference = (ROOT / "docs/reference.md").read_text()
    assert "easyrec.proto" not in reference
    assert "EasyRecConfig" not in reference
    assert "tzmmoe.protos.compat" in (ROOT / "setup.py").read_text()
    assert EasyRecConfig.DESCRIPTOR.file.name == "tzmmoe/protos/compat/easyrec.proto"
