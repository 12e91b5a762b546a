"""EasyRec's ``add_to_outputs`` of an MLP, which names an output of the model."""

from collections.abc import Iterator

from tzmmoe.config.dialects.easyrec.rewriting import Rewriting
from tzmmoe.config.walk import messages
from tzmmoe.errors import join
from tzmmoe.protos.backbone_pb2 import Block
from tzmmoe.protos.layer_pb2 import KerasMLP
from tzmmoe.protos.model_pb2 import Backbone

FIELD = "add_to_outputs"


def rewrite_outputs(backbone: Backbone, own: str, rewriting: Rewriting) -> None:
    """Each MLP with ``add_to_outputs`` is named in ``outputs``, as EasyRec names the layer."""
    for place, block in enumerate(backbone.blocks):
        for path, mlp, names in _named(block, join(own, f"blocks[{place}]")):
            if mlp.add_to_outputs:
                for name in (name for name in names if name not in backbone.outputs):
                    written = join(own, f"outputs[{len(backbone.outputs)}]")
                    rewriting.written[written] = join(path, FIELD)
                    backbone.outputs.append(name)
            mlp.ClearField(FIELD)
    for path, message in list(messages(backbone, own)):
        if isinstance(message, KerasMLP) and message.HasField(FIELD):
            if message.add_to_outputs:
                words = (
                    "is for an MLP that is a keras_layer, one of the layers, or in the repeat of a"
                )
                words += " block; give this MLP a block of its own"
                rewriting.faults.add(join(path, FIELD), words)
            message.ClearField(FIELD)


def _named(block: Block, path: str) -> Iterator[tuple[str, KerasMLP, list[str]]]:
    """The MLPs of a block that can be outputs: path, message, and the outputs' names."""
    if block.keras_layer.HasField("mlp"):
        yield f"{path}.keras_layer.mlp", block.keras_layer.mlp, [block.name]
    for place, layer in enumerate(block.layers):
        if layer.keras_layer.HasField("mlp"):
            own = f"{path}.layers[{place}].keras_layer.mlp"
            yield own, layer.keras_layer.mlp, [f"{block.name}_l{place}"]
    if block.repeat.keras_layer.HasField("mlp"):
        count, mlp = block.repeat.num_repeat, block.repeat.keras_layer.mlp
        names = [f"{block.name}_{place}" for place in range(count)] if count > 1 else [block.name]
        yield f"{path}.repeat.keras_layer.mlp", mlp, names
