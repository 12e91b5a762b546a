"""A number that is too small is answered with a bound that is then accepted."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from written import built, changed, load, message_types, read, said

from tzmmoe.config.facts import FACTS

UNSIGNED = (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)


def unsigned(descriptor: Descriptor) -> list[FieldDescriptor]:
    return [field for field in descriptor.fields if field.cpp_type in UNSIGNED]


def refused_zeros(message: Message, lines: str) -> set[str]:
    """The unsigned fields that are 0 and of which lines say so."""
    return {
        f"{message.DESCRIPTOR.name}.{field.name}"
        for field in unsigned(message.DESCRIPTOR)
        if f"{field.name}: is 0; give 1 or more" in lines
    }


def test_all_fields_that_must_be_positive_exist() -> None:
    every = {f"{d.name}.{f.name}" for d in message_types().values() for f in unsigned(d)}
    assert set(FACTS.positive) <= every


@pytest.mark.parametrize("section", ["train_config", "eval_config", "data_config"])
def test_a_field_that_must_not_be_0_is_known_as_positive(tmp_path: Path, section: str) -> None:
    pipeline = read(changed())
    message = getattr(pipeline, section)
    for field in unsigned(message.DESCRIPTOR):
        if not field.is_repeated and field.name not in ("num_samples", "num_val_samples"):
            setattr(message, field.name, 0)
    (tmp_path / "zeros.config").write_text(text_format.MessageToString(pipeline))
    lines = "\n".join(built(load(tmp_path / "zeros.config"))[1])
    refused = refused_zeros(message, lines)
    assert refused
    assert refused <= set(FACTS.positive)


@pytest.mark.parametrize(
    ("old", "new", "bound"),
    [
        ("num_expert: 2", "num_expert: -4", "give 1 or more"),
        ("hidden_units: [4]", "hidden_units: [-4]", "give 1 or more"),
        ("batch_size: 8", "batch_size: -8", "give 1 or more"),
        ("batch_size: 8", "batch_size: 8 num_workers: -1", "give 0 or more"),
        ("num_epochs: 1", "num_epochs: 1 keep_checkpoint_max: -1", "give 0 or more"),
    ],
)
def test_a_negative_number_is_answered_with_the_true_bound(
    tmp_path: Path, old: str, new: str, bound: str
) -> None:
    (tmp_path / "a.config").write_text(changed((old, new)))
    [line] = said(load(tmp_path / "a.config"))
    assert bound in line
