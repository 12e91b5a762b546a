"""Names of the other system -> the words of the schema."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tzmmoe.config.dialects.keras import METRIC_NAMES
from tzmmoe.errors import did_you_mean
from tzmmoe.nn import activations

T = TypeVar("T")


def meant(word: str, known: Mapping[str, T], foreign: str = "") -> T:
    """What a name stands for, in any case and with any mix of _ and blanks.

    Raises ValueError with words that go on from a path. ``foreign``: names that are not supported.
    """
    plain = _plain(word)
    for name, meaning in known.items():
        if _plain(name) == plain:
            return meaning
    if plain in {_plain(name) for name in foreign.split()}:
        raise ValueError(f"{word!r} is not supported; give one of {', '.join(_shortest(known))}")
    hint = did_you_mean(word, known)
    raise ValueError(f"is {word!r}; give one of {', '.join(_shortest(known))}{hint}")


def _plain(word: str) -> str:
    return re.sub(r"[\s_\-]", "", word).lower()


def _shortest(known: Mapping[str, Any]) -> list[str]:
    """One name for each meaning."""
    found: dict[str, str] = {}
    for name, meaning in known.items():
        found.setdefault(repr(meaning), name)
    return list(found.values())


def _names(names: str, meaning: T) -> dict[str, T]:
    return dict.fromkeys(names.split(), meaning)


DTYPES = {
    **_names("int int8 int16 int32 int64", "int"),
    **_names("float float16 float32 float64", "float"),
    **_names("str string", "text"),
}
DEVICES = {
    "only_gpu": "cuda",
    **_names("only_cpu pref_cpu", "cpu"),
    **_names("pref_gpu available", "auto"),
}
# Of the names of one layer, the first.
_LAYERS = {layer: name for name, layer in reversed(activations.KERAS.items())}
ACTIVATIONS = {name: _LAYERS[layer] for name, layer in activations.KERAS.items()}
ACTIVATIONS |= {"silu": "swish", "": "none"}
OF_LOGITS = {
    **{name: word for name, word in ACTIVATIONS.items() if word in activations.OF_LOGITS},
    "softmax": "softmax",
}
POOLINGS = {"mean": "mean", "sum": "sum"}
OTHER_POOLINGS = "max min seq_pad seq_nopad seq_max seq_min seq_sum seq_mean"
# Keras's, for a table of (rows, width).
INITIALIZERS = {
    **_names("uniform random_uniform", "nn.init.uniform_,a=-0.05,b=0.05"),
    **_names("normal random_normal", "nn.init.normal_,mean=0,std=0.05"),
    "truncated_normal": "nn.init.trunc_normal_,mean=0,std=0.05,a=-0.1,b=0.1",
    "glorot_uniform": "nn.init.xavier_uniform_",
    "zeros": "nn.init.zeros_",
    "ones": "nn.init.ones_",
}
LOSSES = {
    **_names("bce binary_cross_entropy bin_cross_entropy", "binary_cross_entropy"),
    **_names("cce categorical_cross_entropy cate_cross_entropy", "softmax_cross_entropy"),
    **_names(
        "scce sparse_categorical_cross_entropy sparse_cate_cross_entropy "
        "sparse_cate_crosse_entropy",
        "softmax_cross_entropy",
    ),
    **_names("mse mean_squared_error mean_square_error", "l2_loss"),
    **_names("mae mean_absolute_error mean_abs_error", "l1_loss"),
    **_names("huber huber_loss", "huber_loss"),
    **_names("msle mean_squared_logarithmic_error mean_squared_log_error", "msle_loss"),
    "mean_square_log_error": "msle_loss",
    "hinge": "hinge_loss",
    **_names("kld kullback_leibler_divergence kl_divergence", "kld_loss"),
}
OTHER_LOSSES = (
    "mape mean_absolute_percentage_error mean_abs_percent_error cosine cosine_similarity cossim "
    "cos_similarity cs bpr bpr_loss phinge pair_hinge pair_hinge_loss categorical_hinge cate_hinge "
    "chinge ch squared_hinge log_cosh poisson"
)


@dataclass(frozen=True)
class MetricWords:
    """A metric's word, its arguments by Keras's names, and Keras's defaults where ours differ."""

    word: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)


_AT = {"threshold": "threshold", "thresholds": "threshold"}
_MEASURES = {
    "auc": MetricWords("auc", {"num_thresholds": "thresholds"}, {"thresholds": 200}),
    **{
        word: MetricWords(word, _AT, {"threshold": 0.5})
        for word in ("binary_accuracy", "precision", "recall", "f1", "balanced_accuracy")
    },
}
_TOP_K = MetricWords("accuracy", {"k": "top_k"}, {"top_k": 5})
METRICS = {
    name: _TOP_K if "top_k" in name else _MEASURES.get(word, MetricWords(word))
    for word, names in METRIC_NAMES.items()
    for name in names
}
OTHER_METRICS = (
    "gauc grouped_auc cce categorical_cross_entropy cate_cross_entropy scce "
    "sparse_categorical_cross_entropy sparse_cate_cross_entropy categorical_hinge cate_hinge "
    "chinge ch cosine_similarity cossim cos_similarity cs kld kullback_leibler_divergence mape "
    "mean_absolute_percentage_error msle mean_squared_logarithmic_error mean_squared_log_error "
    "precision_at_recall prec_at_recall recall_at_precision recall_at_prec po_acc pair_order_acc "
    "pair_order_accuracy"
)


@dataclass(frozen=True)
class OptimizerWords:
    """An optimizer's word, its rate, and {Keras's argument: (ours, Keras's default)}.

    ``dense``: arguments that only the optimizer of the dense part has. ``decayed``: the word of the
    dense part when weights decay by themselves.
    """

    word: str
    lr: float
    arguments: Mapping[str, tuple[str, float]]
    dense: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    decayed: str = ""


_EPS = {"epsilon": ("eps", 1e-7)}
_MOMENTS = {"beta_1": ("beta1", 0.9), "beta_2": ("beta2", 0.999), **_EPS}
_SUM = {"initial_accumulator_value": ("initial_accumulator_value", 0.1)}


def _adam(weight_decay: float) -> OptimizerWords:
    dense = {"weight_decay": ("weight_decay", weight_decay), "amsgrad": ("amsgrad", False)}
    return OptimizerWords("adam_optimizer", 0.001, _MOMENTS, dense, "adamw_optimizer")


OPTIMIZERS = {
    "adam": _adam(weight_decay=0.0),
    "adamw": _adam(weight_decay=0.004),
    "adamax": OptimizerWords("adamax_optimizer", 0.001, _MOMENTS),
    "nadam": OptimizerWords("nadam_optimizer", 0.001, _MOMENTS),
    "adadelta": OptimizerWords("adadelta_optimizer", 0.001, {"rho": ("rho", 0.95), **_EPS}),
    "adagrad": OptimizerWords("adagrad_optimizer", 0.001, {**_SUM, **_EPS}),
    "rmsprop": OptimizerWords(
        "rmsprop_optimizer", 0.001, {"rho": ("alpha", 0.9), **_EPS}, {"momentum": ("momentum", 0.0)}
    ),
    "sgd": OptimizerWords(
        "sgd_optimizer",
        0.01,
        {},
        {
            "momentum": ("momentum", 0.0),
            "nesterov": ("nesterov", False),
            "weight_decay": ("weight_decay", 0.0),
        },
        "sgd_optimizer",
    ),
    "ftrl": OptimizerWords(
        "ftrl_optimizer",
        0.001,
        {
            "learning_rate_power": ("learning_rate_power", -0.5),
            **_SUM,
            "l1_regularization_strength": ("l1_reg", 0.0),
            "l2_regularization_strength": ("l2_reg", 0.0),
        },
    ),
}
OTHER_OPTIMIZERS = "padagrad proximaladagrad adafactor lion lamb"
OTHER_ARGUMENTS = (
    "decay clipnorm clipvalue global_clipnorm centered beta l2_shrinkage_regularization_strength "
    "use_ema ema_momentum ema_overwrite_frequency jit_compile weight_decay amsgrad momentum "
    "nesterov"
)
