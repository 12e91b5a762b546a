"""Towers of a model, whatever fields of its message hold them."""

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.message import Message

from tzmmoe.build.towers import tower_specs
from tzmmoe.config.walk import name_towers
from tzmmoe.errors import Faults
from tzmmoe.protos.model_pb2 import TaskTower


def test_fields_that_only_a_models_own_towers_have_reach_its_body() -> None:
    """A message with a tower_name is a tower, whatever else it has, in whatever field it stands."""
    file = FileDescriptorProto(name="towers_of_a_test.proto", package="of_a_test", syntax="proto2")
    file.dependency.append("tzmmoe/protos/module.proto")
    tower = file.message_type.add(name="OfTwo")
    tower.CopyFrom(copied(TaskTower))
    tower.name = "OfTwo"
    tower.field.add(name="reads", number=9999, label=3, type=9)
    model = file.message_type.add(name="Model")
    for number, (name, label) in enumerate({"towers": 3, "last_tower": 1}.items(), 1):
        kind = ".of_a_test.OfTwo"
        model.field.add(name=name, number=number, label=label, type=11, type_name=kind)
    for place in ("loss", "metric"):
        file.dependency.append(f"tzmmoe/protos/{place}.proto")
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName("of_a_test.Model"))()
    first = made.towers.add(tower_name="a", num_class=3)
    first.reads.append("last")
    made.last_tower.mlp.hidden_units.append(4)

    class Config:
        model_of_test = made

        def WhichOneof(self, oneof: str) -> str:
            return f"{oneof}_of_test"

    config, faults = Config(), Faults()
    name_towers(config)
    specs = tower_specs(config, faults)
    assert not faults
    place = "model_config.model_of_test"
    assert list(specs) == [f"{place}.towers[0]", f"{place}.last_tower"]
    one, last = specs.values()
    assert (one.name, one.num_class, one.mlp, one.further) == ("a", 3, None, {"reads": ("last",)})
    assert (last.name, last.num_class, last.further) == ("last", 1, {"reads": ()})
    assert last.mlp["hidden_units"] == (4,)


def copied(message: type[Message]) -> DescriptorProto:
    found = DescriptorProto()
    message.DESCRIPTOR.CopyToProto(found)
    return found
