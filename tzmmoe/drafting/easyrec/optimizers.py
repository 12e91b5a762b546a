"""optimizer_config: one optimizer for everything, or one of the tables and one of the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tzmmoe.drafting.easyrec.rates import Rate, put_rate
from tzmmoe.drafting.easyrec.source import Part
from tzmmoe.drafting.traced import TracedPart
from tzmmoe.errors import join


@dataclass(frozen=True)
class Counterpart:
    """``word``: our optimizer. ``fields``: {EasyRec's field: ours}; ``dense``: those that our
    optimizers of tables lack. ``decayed``: the dense optimizer if it has weight decay, else "".
    ``differs``: keys of DIFFERENCES."""

    word: str
    fields: Mapping[str, str] = field(default_factory=dict)
    dense: Mapping[str, str] = field(default_factory=dict)
    differs: tuple[str, ...] = ()
    decayed: str = ""


_BETAS = {"beta1": "beta1", "beta2": "beta2"}
_ADAMW = Counterpart("adam_optimizer", _BETAS, {}, ("adam", "decay"), "adamw_optimizer")
OPTIMIZERS = {
    "adam_optimizer": Counterpart("adam_optimizer", _BETAS, differs=("adam",)),
    "adam_async_optimizer": Counterpart("adam_optimizer", _BETAS, differs=("adam",)),
    "lazy_adam_optimizer": Counterpart("adam_optimizer", _BETAS),
    "adamw_optimizer": _ADAMW,
    "adam_asyncw_optimizer": _ADAMW,
    "adagrad_optimizer": Counterpart(
        "adagrad_optimizer", {"initial_accumulator_value": "initial_accumulator_value"}
    ),
    "momentum_optimizer": Counterpart(
        "sgd_optimizer", {}, {"momentum_optimizer_value": "momentum"}, ("momentum",)
    ),
    "sgd_optimizer": Counterpart("sgd_optimizer"),
    "rms_prop_optimizer": Counterpart(
        "rmsprop_optimizer",
        {"decay": "alpha", "epsilon": "eps"},
        {"momentum_optimizer_value": "momentum"},
        ("rmsprop", "momentum"),
    ),
    "ftrl_optimizer": Counterpart(
        "ftrl_optimizer",
        {
            name: name
            for name in ("learning_rate_power", "initial_accumulator_value", "l1_reg", "l2_reg")
        },
    ),
}
OTHERS = {
    "momentumw_optimizer": "decay with momentum is not supported; give adamw_optimizer",
}


def put_optimizers(target: TracedPart, training: Part) -> None:
    """optimizer, or sparse_optimizer and dense_optimizer."""
    parts = training.parts("optimizer_config")
    if not parts:
        words = "is not set; give adam_optimizer { learning_rate { ... } }"
        training.fault("optimizer_config", words)
    elif len(parts) > 2:
        words = f"has {len(parts)} optimizers; give one, or one of the tables and one of the rest"
        training.fault("optimizer_config", words)
    elif len(parts) == 2:
        for name, part in zip(("sparse_optimizer", "dense_optimizer"), parts, strict=True):
            _Optimizer(part).put(target, name)
    else:
        one = _Optimizer(parts[0])
        names = ("sparse_optimizer", "dense_optimizer") if one.is_apart() else ("optimizer",)
        for name in names:
            one.put(target, name)
        for name in ("sparse_optimizer", "dense_optimizer"):  # a fault may be in either
            target.draft.origins[join(target.path, name)] = parts[0].path
    _put_averages(target, parts)


def _put_averages(target: TracedPart, parts: Sequence[Part]) -> None:
    """``ema``, which averages all weights, where one or both optimizers use_moving_average."""
    averaged = [part for part in parts if part.value("use_moving_average")]
    if not averaged:
        return
    decays = [part.entry("moving_average_decay") for part in averaged]
    if decays[0].value != decays[-1].value:
        words = f"is {decays[-1].value:g}, but {decays[0].value:g} in the first; give both the same"
        averaged[-1].fault("moving_average_decay", words)
        return
    made = target.part("ema")
    made.put("decay", decays[0], "EasyRec's default" if not decays[0].path else "")
    made.made_from(averaged[0].path_of("use_moving_average"))
    averaged[0].differs("averages")
    if len(averaged) < len(parts):
        averaged[0].differs("one average")


class _Optimizer:
    """One of the optimizers, as it is written for tables, for the rest, or for both."""

    def __init__(self, part: Part) -> None:
        self.part = part
        name = part.message.WhichOneof("optimizer")
        self.counterpart = OPTIMIZERS.get(name or "")
        self.inner = part.part(name) if name else None
        if name is None:
            part.faults.add(part.path, f"has no optimizer; give one of {', '.join(OPTIMIZERS)}")
        elif self.counterpart is None:
            part.fault(name, OTHERS[name])
        if not part.value("use_moving_average"):
            part.idle({"moving_average_decay": "use_moving_average is not set"})
        if part.message.WhichOneof("optimizer") == "ftrl_optimizer":
            self.inner.refuse({"l2_shrinkage_reg": "is not supported; give l2_reg"})

    def is_apart(self) -> bool:
        """Whether tables and the rest need settings of their own."""
        if self.counterpart is None:
            return False
        has_own = any(self.inner.value(name) for name in self.counterpart.dense)
        return has_own or bool(self.counterpart.decayed) or self._multiplier() != 1

    def _multiplier(self) -> float:
        name = "embedding_learning_rate_multiplier"
        return self.part.value(name) if self.part.has(name) else 1.0

    def put(self, target: TracedPart, name: str) -> None:
        """Write it in a field of train_config."""
        if self.counterpart is None:
            return
        is_dense = name != "sparse_optimizer"
        made = target.part(name)
        rate = Rate.of(self.inner)
        word = (self.counterpart.decayed if is_dense else "") or self.counterpart.word
        inner = made.part(word)
        factor = 1.0 if is_dense else self._multiplier()
        inner.set("lr", rate.lr * factor)
        for theirs, ours in self._fields(is_dense).items():
            value = self.inner.value(theirs)
            if value != inner.message.DESCRIPTOR.fields_by_name[ours].default_value:
                inner.set(ours, value)
        if self.counterpart.decayed and self.inner.value("weight_decay"):
            inner.set("weight_decay", self._decay(rate.lr))
        put_rate(made, rate, factor)
        made.made_from(self.part.path)
        self._tell(name)

    def _fields(self, is_dense: bool) -> dict[str, str]:
        return {**self.counterpart.fields, **(self.counterpart.dense if is_dense else {})}

    def _decay(self, lr: float) -> Any:
        return self.inner.value("weight_decay") / lr if lr else 0.0

    def _tell(self, name: str) -> None:
        """What differs, of tables only where the optimizer reaches them."""
        reaches_tables = name != "dense_optimizer"
        for difference in self.counterpart.differs:
            is_of_tables = difference in ("adam", "momentum")
            if reaches_tables or not is_of_tables:
                self.part.differs(difference)
        if reaches_tables and self._multiplier() != 1:
            self.part.differs("multiplier")
