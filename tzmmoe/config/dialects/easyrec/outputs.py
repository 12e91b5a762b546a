"""EasyRec's ``add_to_outputs``, which makes the value of an MLP an output of the model."""

from collections.abc import Iterable, Iterator

from tzmmoe.config.dialects.easyrec.rewriting import Rewriting
from tzmmoe.config.walk import messages
from tzmmoe.errors import join
from tzmmoe.protos.backbone_pb2 import Block
from tzmmoe.protos.layer_pb2 import KerasMLP
from tzmmoe.protos.model_pb2 import Backbone

FIELD = "add_to_outputs"


def rewrite_outputs(backbone: Backbone, root: str, rewriting: Rewriting) -> None:
    """Add each MLP with ``add_to_outputs`` to ``outputs``, by EasyRec's name for the layer.

    ``root``: the path of the backbone.
    """
    for place, block in enumerate(backbone.blocks):
        for path, mlp, names in _exportable(block, join(root, f"blocks[{place}]")):
            if mlp.add_to_outputs:
                _add(names, path, backbone, root, rewriting)
            mlp.ClearField(FIELD)
    for path, message in list(messages(backbone, root)):
        if isinstance(message, KerasMLP) and message.HasField(FIELD):
            if message.add_to_outputs:
                words = "works only in the keras_layer, the layers or the repeat of a block"
                remedy = "give this MLP a block of its own"
                rewriting.faults.add(join(path, FIELD), f"{words}; {remedy}")
            message.ClearField(FIELD)


def _add(
    names: Iterable[str], path: str, backbone: Backbone, root: str, rewriting: Rewriting
) -> None:
    """Add names that are not outputs yet, because of the MLP at ``path``."""
    for name in names:
        if name not in backbone.outputs:
            added = join(root, f"outputs[{len(backbone.outputs)}]")
            rewriting.written[added] = join(path, FIELD)
            backbone.outputs.append(name)


def _exportable(block: Block, path: str) -> Iterator[tuple[str, KerasMLP, list[str]]]:
    """The MLPs of a block that can be outputs: path, message, and the outputs' names."""
    if block.keras_layer.HasField("mlp"):
        yield f"{path}.keras_layer.mlp", block.keras_layer.mlp, [block.name]
    for place, layer in enumerate(block.layers):
        if layer.keras_layer.HasField("mlp"):
            mlp = layer.keras_layer.mlp
            yield f"{path}.layers[{place}].keras_layer.mlp", mlp, [f"{block.name}_l{place}"]
    if block.repeat.keras_layer.HasField("mlp"):
        count, mlp = block.repeat.num_repeat, block.repeat.keras_layer.mlp
        names = [f"{block.name}_{place}" for place in range(count)] if count > 1 else [block.name]
        yield f"{path}.repeat.keras_layer.mlp", mlp, names
