"""From words of the schema to classes, and from messages to plain values."""

import pytest
from messages import fails

from tzmmoe import registry
from tzmmoe.features import FEATURES
from tzmmoe.models import MODELS
from tzmmoe.protos.feature_pb2 import FeatureConfig, IdFeature, RawFeature
from tzmmoe.protos.loss_pb2 import L2Loss, Loss
from tzmmoe.protos.metric_pb2 import AUC
from tzmmoe.protos.model_pb2 import MMoE
from tzmmoe.registry import Registry, fields
from tzmmoe.tasks.losses import LOSSES
from tzmmoe.tasks.metrics import METRICS


def example() -> Registry:
    return Registry(Loss, "loss")


@pytest.mark.parametrize("each", [FEATURES, LOSSES, METRICS, MODELS], ids=lambda r: r.schema.name)
def test_a_word_that_the_schema_lacks_fails_where_the_class_is_defined(each):
    with fails(TypeError, "'focal_los'", each.schema.full_name, each.words[0]):

        @each.register("focal_los")
        class FocalLoss:
            pass

    assert "focal_los" not in each


def test_a_word_cannot_have_two_classes():
    losses = example()

    @losses.register("l2_loss")
    class First:
        pass

    with fails(TypeError, "'l2_loss'", "already", "First"):
        losses.register("l2_loss")
    assert losses["l2_loss"] is First


def test_registering_gives_the_class_back_unchanged():
    class Square:
        pass

    assert example().register("l2_loss")(Square) is Square


def test_an_object_is_made_from_the_fields_of_the_word_that_the_message_sets():
    losses = example()

    @losses.register("softmax_cross_entropy")
    class Kept:
        def __init__(self, **given: object) -> None:
            self.given = given

    chosen = Loss(softmax_cross_entropy={"label_smoothing": 0.25})
    assert losses.create(chosen).given == {"label_smoothing": 0.25}
    assert losses.chosen(chosen) == ("softmax_cross_entropy", {"label_smoothing": 0.25})
    assert losses.create(Loss(softmax_cross_entropy={})).given == {"label_smoothing": 0.0}


def test_an_unset_field_is_its_default_or_none_without_one():
    found = fields(IdFeature(feature_name="a"))
    assert found["feature_name"] == "a"
    assert found["pooling"] == "sum"
    assert found["value_dim"] == 0
    assert found["trainable"] is True
    assert found["embedding_dim"] is None
    assert found["hash_bucket_size"] is None
    assert found["expression"] is None


def test_a_field_that_is_set_to_its_types_zero_is_not_unset():
    found = fields(IdFeature(embedding_dim=0, expression="", default_bucketize_value=0))
    assert found["embedding_dim"] == 0
    assert found["expression"] == ""
    assert found["default_bucketize_value"] == 0


def test_lists_are_tuples_maps_dicts_enums_their_names_and_messages_dicts_or_none():
    found = fields(IdFeature(vocab_list=["a", "b"], vocab_dict={"c": 2}, out_of_range="MODULO"))
    assert found["vocab_list"] == ("a", "b")
    assert found["vocab_dict"] == {"c": 2}
    assert found["out_of_range"] == "MODULO"
    raw = fields(RawFeature(boundaries=[1, 2.5], autodis={"num_channels": 3}))
    assert raw["boundaries"] == (1.0, 2.5)
    assert raw["autodis"] == {"num_channels": 3, "temperature": 0.1, "keep_prob": 0.8}
    assert raw["mlp"] is None
    towers = fields(MMoE(task_towers=[{"tower_name": "a"}, {}]))["task_towers"]
    assert [tower["tower_name"] for tower in towers] == ["a", None]


def test_other_names_of_a_field_do_not_reach_a_constructor():
    assert set(fields(AUC(num_thresholds=3))) == {"thresholds"}
    assert "expert_num" not in fields(MMoE(expert_num=3))


def test_a_message_without_fields_gives_no_arguments():
    assert fields(L2Loss()) == {}


def test_every_field_has_a_value_even_of_an_empty_message():
    assert set(fields(FeatureConfig())) == {f.name for f in FeatureConfig.DESCRIPTOR.fields}


def test_importing_all_modules_of_a_package_imports_those_beside_it(tmp_path, monkeypatch):
    package = tmp_path / "shelf"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for name in ("one", "two"):
        (package / f"{name}.py").write_text("import builtins\nbuiltins.shelf_seen.append(__name__)")
    monkeypatch.syspath_prepend(tmp_path)
    seen: list[str] = []
    monkeypatch.setattr("builtins.shelf_seen", seen, raising=False)
    registry.import_all("shelf", [str(package)])
    assert sorted(seen) == ["shelf.one", "shelf.two"]
