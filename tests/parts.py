"""Small parts that several tests are made of."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from google.protobuf import text_format
from torch import Tensor, nn

from tzmmoe.batch import Batch, Inputs
from tzmmoe.features import Feature, FeatureSettings, FeatureSpec
from tzmmoe.jagged import Jagged
from tzmmoe.models.base import Group, TowerSpec
from tzmmoe.models.encoder import Encoder
from tzmmoe.models.mmoe import MMoE
from tzmmoe.models.rank import RankModel
from tzmmoe.models.tower import Tower
from tzmmoe.protos.feature_pb2 import FeatureConfig
from tzmmoe.protos.loss_pb2 import Loss as LossMessage
from tzmmoe.protos.metric_pb2 import Metric as MetricMessage
from tzmmoe.registry import Registry, fields
from tzmmoe.tables.initializers import table_initializer
from tzmmoe.tables.table import Table, fill_tables
from tzmmoe.tasks.losses import LOSSES, Loss
from tzmmoe.tasks.metrics import METRICS, Metric
from tzmmoe.tasks.relations import Relation
from tzmmoe.tasks.task import Task, TaskSpace

PLAIN = {
    "dropout_ratio": (),
    "activation": "nn.ReLU",
    "use_bn": False,
    "use_ln": False,
    "bias": True,
}
# EasyRec's defaults of its MLP, of two layers.
KERAS_MLP = {
    "hidden_units": [4, 3],
    "dropout_ratio": (),
    "activation": "relu",
    "use_bn": True,
    "use_final_bn": True,
    "final_activation": "relu",
    "use_bias": False,
    "initializer": "he_uniform",
    "use_bn_after_activation": False,
    "use_final_bias": False,
}
LAYERS = PLAIN | {"hidden_units": [5, 4]}
# Of a body that is a single network without penalties.
ALONE = {"num_members": 1, "l2_regularization": 0.0}
SETTING = FeatureSettings("FG_NONE", "\x03", "MURMUR_HASH", Path())


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*size: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Numbers from the normal distribution, the same in every run."""
    return torch.randn(size, generator=generator(seed), dtype=dtype)


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 with every parameter and running statistic moved off its start."""
    module = module.double()
    source = generator(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=source, dtype=torch.float64)
            parameter.add_(0.2 * noise)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(torch.randn(buffer.shape, generator=source, dtype=torch.float64))
            elif name.endswith("running_var"):
                buffer.mul_(0.5 + torch.rand(buffer.shape, generator=source, dtype=torch.float64))
    return module


def table(
    name: str, rows: int, dim: int, *, trainable: bool = True, init_fn: str | None = None
) -> Table:
    return Table(name, rows, dim, trainable, init_fn or "", table_initializer(init_fn, rows))


def features(*texts: str, setting: FeatureSettings = SETTING) -> list[Feature]:
    """From the text of feature_configs entries, such as ``id_feature { feature_name: "a" }``."""
    made = []
    for text in texts:
        message = text_format.Parse(text, FeatureConfig())
        word = message.WhichOneof("feature")
        made.append(FeatureSpec(word, fields(getattr(message, word))).make(setting))
    return made


def group(**widths: int) -> Group:
    """Of features with these widths, each one field."""
    return Group(widths, dict.fromkeys(widths, 1))


def specs(**num_class: int) -> list[TowerSpec]:
    """Of towers with so many logits, without layers."""
    return [TowerSpec(name, count, None, {}) for name, count in num_class.items()]


def losses(*texts: str) -> dict[str, Loss]:
    """From the text of losses entries, such as ``l2_loss {}``."""
    return _by_word(LOSSES, [text_format.Parse(text, LossMessage()) for text in texts])


def metrics(*texts: str) -> dict[str, Metric]:
    """From the text of metrics entries, such as ``auc { thresholds: 0 }``."""
    return _by_word(METRICS, [text_format.Parse(text, MetricMessage()) for text in texts])


def metric(text: str) -> Metric:
    return next(iter(metrics(text).values()))


def _by_word(registry: Registry, messages: Sequence) -> dict:
    return {registry.name(m): registry.create(m) for m in messages}


def task(
    name: str,
    *,
    label: str | None = None,
    loss: Sequence[str] = ("binary_cross_entropy {}",),
    metric: Sequence[str] = (),
    num_class: int = 1,
    weight: float = 1.0,
    sample_weight: str | None = None,
    space: TaskSpace | None = None,
    activation: str = "",
    relation: Relation | None = None,
) -> Task:
    """A task whose label has its name, unless ``label`` says otherwise."""
    return Task(
        name=name,
        label=label or name,
        num_class=num_class,
        weight=weight,
        sample_weight=sample_weight,
        space=space,
        losses=losses(*loss),
        metrics=metrics(*metric),
        space_metrics=metrics(*metric) if space else {},
        activation=activation,
        relation=relation or Relation(),
    )


def batch(columns: Mapping[str, Tensor | Sequence], inputs: Inputs | None = None) -> Batch:
    """Rows with these columns (whole-number ones are groups), and inputs if a model reads them."""
    tensors = {n: c if isinstance(c, Tensor) else torch.tensor(c) for n, c in columns.items()}
    num_rows = len(next(iter(tensors.values())))
    return Batch(inputs or Inputs({}, torch.zeros(num_rows, 0)), tensors)


def impressions(num_rows: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Logits of ctr and cvr, and the columns click, buy (a fifth missing), weight and user."""
    source = generator(0)
    logits = {name: torch.randn(num_rows, generator=source) for name in ("ctr", "cvr")}
    click = (torch.rand(num_rows, generator=source) < 0.4).float()
    buy = (torch.rand(num_rows, generator=source) < 0.5).float()
    buy[torch.rand(num_rows, generator=source) < 0.2] = torch.nan
    weight = torch.randint(0, 4, (num_rows,), generator=source).float()
    user = torch.randint(0, 5, (num_rows,), generator=source)
    return logits, {"click": click, "buy": buy, "weight": weight, "user": user}


def bagged(bags: Sequence[Sequence[Sequence[int]]], num_features: int) -> Jagged:
    """The ids of each row and feature, as a batch holds them."""
    values = [number for row in bags for ids in row for number in ids]
    lengths = torch.tensor([[len(ids) for ids in row] for row in bags], dtype=torch.int64)
    return Jagged(
        torch.tensor(values, dtype=torch.int64), lengths.view(len(bags), num_features), None
    )


def rank_model(num_class: Mapping[str, int], *, use_bn: bool = False) -> RankModel:
    """A small MMoE in float64, with a tower for each name; reads ``model_inputs``."""
    torch.manual_seed(0)
    user = 'id_feature { feature_name: "user" num_buckets: 9 embedding_dim: 4 }'
    age = 'raw_feature { feature_name: "age" value_dim: 2 }'
    layers, groups = LAYERS | {"use_bn": use_bn}, {"all": group(user=4, age=2)}
    towers = specs(**num_class)
    body = MMoE(
        groups,
        towers,
        expert_mlp=layers,
        gate_mlp=None,
        num_expert=3,
        **ALONE,
        gate_temperature=1.0,
        gate_dropout=0.0,
        gate_entropy_weight=0.0,
        gate_balance_weight=0.0,
    )
    encoder = Encoder(features(user, age), body, seed=0)
    fill_tables(encoder)
    towers = {name: Tower(4, classes, layers) for name, classes in num_class.items()}
    return shaken(RankModel(encoder, body, towers))


def model_inputs(num_rows: int) -> Inputs:
    """One user id and two numbers for each row."""
    ids = torch.randint(9, (num_rows,), generator=generator(1))
    return Inputs({4: Jagged(ids)}, normal(num_rows, 2))
