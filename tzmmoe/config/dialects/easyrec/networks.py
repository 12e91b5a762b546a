"""EasyRec's ``DNN`` -> ``MLP``, and its names of activations."""

from google.protobuf.message import Message

from tzmmoe.config.dialects.easyrec.rewriting import Rewriting
from tzmmoe.errors import did_you_mean, join
from tzmmoe.protos.module_pb2 import DNN, MLP

# EasyRec's names, which may have tf. or tf.nn. before them, and torch's layers. Its GELU is the
# approximation by tanh.
ACTIVATIONS = {
    "relu": "nn.ReLU",
    "gelu": "nn.GELU(approximate=tanh)",
    "leaky_relu": "nn.LeakyReLU(negative_slope=0.2)",
    "prelu": "nn.PReLU",
    "dice": "Dice",
    "elu": "nn.ELU",
    "selu": "nn.SELU",
    "tanh": "nn.Tanh",
    "swish": "nn.SiLU",
    "silu": "nn.SiLU",
    "sigmoid": "nn.Sigmoid",
    "linear": "",
    "": "",
}


def canonical_activation(text: str) -> str | None:
    """What ``nn.activations`` calls an activation of EasyRec; None for an unknown name."""
    name = text.removeprefix("tf.").removeprefix("nn.").removeprefix("keras.activations.")
    return ACTIVATIONS.get(name.lower())


def rewrite_network(owner: Message, path: str, alias: str, name: str, rewriting: Rewriting) -> None:
    """The field ``alias`` of an owner, a DNN, becomes ``name``, an MLP."""
    dnn = getattr(owner, alias)
    if rewriting.take(owner, path, alias, name):
        rewriting.keras = rewriting.keras or join(path, alias)
        fill(getattr(owner, name), dnn, join(path, alias), rewriting)
        if list(dnn.hidden_units) == [0]:  # EasyRec's way to have no layers
            owner.ClearField(name)
    owner.ClearField(alias)


def as_dnn(mlp: MLP, path: str, rewriting: Rewriting) -> None:
    """Give an MLP that was written as a DNN the defaults and the activation of a DNN. Names that
    begin with ``nn.`` are torch's in both."""
    if not mlp.HasField("use_bn") and not mlp.use_ln:
        mlp.use_bn = True
    if not mlp.activation.startswith("nn."):
        _name_activation(mlp, mlp.activation, path, rewriting)


def fill(mlp: MLP, dnn: DNN, path: str, rewriting: Rewriting) -> None:
    """Write the layers of a DNN, with those defaults that an MLP does not have."""
    mlp.hidden_units[:], mlp.dropout_ratio[:] = dnn.hidden_units, dnn.dropout_ratio
    mlp.use_bn = dnn.use_bn
    _name_activation(mlp, dnn.activation, path, rewriting)


def _name_activation(mlp: MLP, name: str, path: str, rewriting: Rewriting) -> None:
    activation = canonical_activation(name)
    if activation is None:
        names = [word for word in ACTIVATIONS if word]
        words = f"is {name!r}; give one of {', '.join(names)}"
        rewriting.faults.add(join(path, "activation"), words + did_you_mean(name, names))
        mlp.ClearField("activation")
        return
    mlp.activation = activation
