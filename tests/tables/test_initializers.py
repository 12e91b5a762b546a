"""First values of tables: the default, and what an init_fn asks for."""

import math
from pathlib import Path

import oracles
import parts
import pytest
import torch
from torch import Tensor

from tzmmoe.errors import ConfigError
from tzmmoe.tables.initializers import INITIALIZERS, table_initializer


def filled(text: str | None, rows: int, dim: int = 16, seed: int = 0) -> Tensor:
    weight = torch.full((rows, dim), math.nan)
    table_initializer(text, rows)(weight, parts.generator(seed), rows)
    return weight.double()


@pytest.mark.parametrize("rows", [1, 100, 50_000])
@pytest.mark.parametrize("text", [None, ""])
def test_by_default_values_are_uniform_within_one_over_the_root_of_the_rows(
    text: str | None, rows: int
) -> None:
    """The bound is FBGEMM's; Kolmogorov's distance."""
    bound = rows**-0.5 + 1e-7
    assert oracles.uniform_distance(filled(text, rows, dim=64), -bound, bound) < 1.95


def test_init_fn_uniform_is_uniform_within_its_bounds() -> None:
    for prefix in ("", "nn.init.", "torch.nn.init."):
        values = filled(f"{prefix}uniform_,a=-0.01,b=0.03", 1000)
        assert oracles.uniform_distance(values, -0.01 - 1e-8, 0.03 + 1e-8) < 1.95


@pytest.mark.parametrize(
    ("text", "mean", "std"),
    [
        ("nn.init.normal_,mean=0.5,std=0.01", 0.5, 0.01),
        ("nn.init.normal_", 0.0, 1.0),
        ("nn.init.xavier_normal_,gain=2", 0.0, 2 * math.sqrt(2 / (2000 + 16))),
        ("nn.init.kaiming_normal_,nonlinearity=linear", 0.0, math.sqrt(1 / 16)),
        ("nn.init.kaiming_normal_,mode=fan_out", 0.0, math.sqrt(2 / 2000)),
    ],
)
def test_init_fn_normal_has_its_mean_and_spread(text: str, mean: float, std: float) -> None:
    """Of n values, within five standard errors."""
    values = filled(text, 2000)
    n = values.numel()
    assert abs(values.mean() - mean) < 5 * std / n**0.5
    assert abs(values.std() - std) < 5 * std / (2 * n) ** 0.5


def test_init_fn_truncated_normal_stays_within_its_bounds() -> None:
    values = filled("nn.init.trunc_normal_,mean=0,std=1,a=-0.5,b=0.5", 1000)
    assert values.abs().max() <= 0.5
    assert values.std() > 0.25


@pytest.mark.parametrize(
    ("text", "value"),
    [("nn.init.constant_,val=0.25", 0.25), ("nn.init.zeros_", 0.0), ("nn.init.ones_", 1.0)],
)
def test_init_fn_constant_is_constant(text: str, value: float) -> None:
    assert torch.equal(filled(text, 10), torch.full((10, 16), value, dtype=torch.float64))


@pytest.mark.parametrize("name", [None, *INITIALIZERS])
def test_values_come_from_the_generator_alone(name: str | None) -> None:
    text = "constant_,val=2" if name == "constant_" else name
    torch.manual_seed(1)
    first = filled(text, 20, seed=3)
    torch.manual_seed(2)
    assert torch.equal(first, filled(text, 20, seed=3))
    drawn = name not in ("constant_", "ones_", "zeros_")
    assert torch.equal(first, filled(text, 20, seed=4)) == (not drawn)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nn.init.unifrm_,a=0,b=1", "nn.init.kaiming_normal_; did you mean 'uniform_'?"),
        ("nn.init.eye_", "no initializer"),
        ("partial", "no initializer"),
        ("nn.init.uniform_,c=1", "no argument 'c'"),
        ("nn.init.uniform_,tensor=1", "no argument 'tensor'"),
        ("nn.init.uniform_,generator=x", "no argument 'generator'"),
        ("nn.init.uniform_,a", "not of the form argument=value"),
        ("nn.init.uniform_,a=1+1", "plain number or word"),
        ("nn.init.constant_", "the argument 'val'"),
        ("nn.init.uniform_,a=small", "a"),
        ("nn.init.normal_,std=True", "std"),
        ("nn.init.uniform_,a=1,b=0", "uniform_"),
        ("nn.init.normal_,std=-1", "std"),
        ("nn.init.kaiming_uniform_,mode=fan_both", "mode"),
        ("nn.init.kaiming_uniform_,nonlinearity=rely", "rely"),
        ("nn.init.xavier_uniform_,gain=a", "gain"),
    ],
)
def test_a_bad_init_fn_is_refused_when_the_feature_is_made(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        table_initializer(text, 10)
    [fault] = error.value.faults
    assert fault.path == "init_fn"
    assert repr(text) in fault.text
    assert said in fault.text


def test_an_init_fn_runs_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "made"
    for text in (
        f"__import__('pathlib').Path({str(path)!r}).touch()",
        f"nn.init.uniform_,a=open({str(path)!r};'w')",
        f"open({str(path)!r}).write,a=1",
    ):
        with pytest.raises(ConfigError):
            table_initializer(text, 10)
    assert not path.exists()
