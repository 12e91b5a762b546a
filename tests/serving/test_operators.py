"""The list of operators: what exports need is on it, and what could do harm is not."""

from pathlib import Path

import pytest
import torch
from serving import zoo
from serving.small import Small

from tzmmoe import private_torch
from tzmmoe.serving import operators
from tzmmoe.serving.memory import Ledger
from tzmmoe.serving.program import trace

# Taken for sizes only: what they give is bounded with the memory of the whole program.
UNSAFE = """
as_strided _reshape_alias as_strided_copy as_strided_scatter empty empty_like empty_strided
new_empty new_empty_strided empty_permuted from_file save manual_seed seed _print set_grad_enabled
rand randn randint randperm bernoulli multinomial normal rand_like randn_like poisson
native_dropout resize set_ set_data copy_ _to_copy_ index_put index_put_ scatter scatter_add
data_ptr item _local_scalar_dense nonzero masked_select unique_dim bincount one_hot record_stream
_embedding_bag embedding_bag.default view.dtype unsafe_index _unsafe_view unsafe_split _assert_async
to_mkldnn quantize_per_tensor _sparse_coo_tensor_unsafe sparse_coo_tensor
""".split()


def overload(name: str) -> torch._ops.OpOverload:
    found = torch
    for part in name.split(".")[1:]:
        found = getattr(found, part)
    assert isinstance(found, torch._ops.OpOverload), name
    return found


TENSORS = sorted(operators.OURS | operators.OF_USERS)


@pytest.mark.parametrize("name", TENSORS)
def test_an_operator_on_the_list_exists_and_changes_nothing(name: str) -> None:
    """By torch's own schema: no argument is written, and there is a result."""
    schema = overload(name)._schema
    assert not schema.is_mutable
    written = [each for each in schema.arguments if each.alias_info and each.alias_info.is_write]
    assert not written
    assert schema.returns or name == "torch.ops.aten._assert_tensor_metadata.default"


def test_an_operator_that_draws_random_numbers_is_listed_only_if_it_can_be_told_not_to() -> None:
    random = [name for name in TENSORS if torch.Tag.nondeterministic_seeded in overload(name).tags]
    for name in random:
        arguments = {each.name for each in overload(name)._schema.arguments}
        assert arguments & {"train", "training", operators.DROPOUT}, name


@pytest.mark.parametrize("name", UNSAFE)
def test_an_operator_that_could_do_harm_is_not_on_the_list(name: str) -> None:
    packet = name.partition(".")[0]
    listed = {each.removeprefix("torch.ops.aten.") for each in operators.ALL}
    wrong = {each for each in listed if each == name or each.partition(".")[0] == packet}
    assert wrong <= {"view.default", "embedding_bag.padding_idx"}
    assert name not in listed


def test_no_operator_on_the_list_takes_a_function_an_object_or_a_generator() -> None:
    kinds = {str(each.type) for name in TENSORS for each in overload(name)._schema.arguments}
    for kind in kinds:
        assert not any(word in kind for word in ("Any", "Generator", "Class", "Stream", "Storage"))


def calls(text: str, folder: Path) -> set[str]:
    small = Small.of(folder, text)
    built = small.session.built
    program = trace(built.model, built.tasks, small.layout)
    return {name for name, _ in operators.calls_of(program)}


@pytest.mark.long
def test_the_list_of_ours_is_what_all_models_together_need_and_no_more(tmp_path: Path) -> None:
    called = set().union(*(calls(text, tmp_path) for text in zoo.ALL.values()))
    assert called == operators.OURS


@pytest.mark.parametrize("name", ["deep experts and gates", "ple, 2 shared"])
def test_a_model_calls_only_what_is_on_the_list_of_ours(name: str, tmp_path: Path) -> None:
    called = calls(zoo.ALL[name], tmp_path)
    assert called
    assert called <= operators.OURS


def test_the_zoo_has_every_word_of_the_schema() -> None:
    """So that a new model, loss or activation cannot be forgotten."""
    from tzmmoe.nn.activations import KERAS, TORCH
    from tzmmoe.protos.feature_pb2 import FeatureConfig, RawFeature
    from tzmmoe.protos.loss_pb2 import Loss
    from tzmmoe.protos.model_pb2 import ModelConfig

    texts = "\n".join(zoo.ALL.values())
    words = [
        *(field.name for field in ModelConfig.DESCRIPTOR.oneofs_by_name["model"].fields),
        *(field.name for field in Loss.DESCRIPTOR.oneofs_by_name["loss"].fields),
        *(field.name for field in FeatureConfig.DESCRIPTOR.oneofs_by_name["feature"].fields),
        *(field.name for field in RawFeature.DESCRIPTOR.oneofs_by_name["dense_emb"].fields),
    ]
    for word in words:
        assert f"{word} {{" in texts or word.startswith("custom_"), word
    for word in (*(f'"nn.{name}"' for name in TORCH), '"Dice"', *(f'"{name}"' for name in KERAS)):
        assert word in texts or word == '"none"', word


def test_the_ledger_counts_what_lives_at_one_time_and_views_once() -> None:
    ledger = Ledger(10**9, 1)
    with private_torch.fake_tensors(), private_torch.watched(ledger.add):
        x = torch.zeros(1000)  # 4,000 bytes
        y = x.view(10, 100).t()  # none
        z = y + 1  # 4,000
        del x, y, z
        w = torch.zeros(1500)  # 6,000, after the others are gone
        del w
    assert (ledger.live_bytes, ledger.peak_bytes) == (0, 8000)
