"""Every combination of MMoE V2's sides is trained, exported and scored from a file."""

import re
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cases import some
from models.small_v2 import text
from safetensors.torch import load_file
from torch import Tensor

from tzmmoe import Pipeline
from tzmmoe.run.session import Session
from tzmmoe.run.state import weights
from tzmmoe.serving.scorer import Scorer
from tzmmoe.system import checkpoint

SETTINGS = {
    "num_experts": 2,
    "expert_layers": [4],
    "task_structs": [{"units": [3, 1]}, {"units": [1]}],
    "wide_width": 2,
}
NUM_ROWS = 24
ONLY_WIDE = ("s", "p")  # categories that the deep side does not read
# A category of each side, a weighted one and one of several values, and numbers.
READ = {"wide": ["u", "n", "s", "p"], "mmoe": ["w", "u", "n"]}


def rows() -> pa.Table:
    random = np.random.default_rng(3)
    ids = {name: random.integers(0, size, NUM_ROWS) for name, size in {"u": 7, "s": 8}.items()}
    return pa.table(
        {
            "u": ids["u"],
            "w": ["|".join(map(str, random.integers(0, 5, n % 3))) for n in range(NUM_ROWS)],
            "s": [f"{number}:0.5|{(number + 1) % 8}:2" for number in ids["s"]],
            "n": random.normal(size=(NUM_ROWS, 2)).tolist(),
            "p": random.normal(size=NUM_ROWS),
            "a": random.integers(0, 2, NUM_ROWS),
            "b": random.integers(0, 2, NUM_ROWS),
        }
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    pq.write_table(rows(), path)
    return path


def pipeline(file: Path, folder: Path, **settings: object) -> Pipeline:
    (folder / "v2.config").write_text(text(SETTINGS | settings, READ))
    changes = [
        f"train_input_path={file}",
        f"model_dir={folder / 'model'}",
        "data_config.batch_size=8",
        "data_config.num_workers=0",
        "train_config.num_steps=3",
        "train_config.use_tensorboard=false",
    ]
    return Pipeline.load(folder / "v2.config", settings=changes, device="cpu")


def trained(made: Pipeline) -> dict[str, tuple[Tensor, Tensor]]:
    """Each tensor of the last checkpoint, at the start and at the end."""
    start = Session.start(made.config, device="cpu").built.model
    before = {name: tensor.detach().clone() for name, tensor in weights(start).items()}
    newest = checkpoint.newest(Path(made.config.pipeline.model_dir))
    after = {}
    for path in (newest / "tensors").glob("*.safetensors"):
        after |= load_file(path)
    return {name: (tensor, after[name]) for name, tensor in before.items()}


def of_the_side(feature_cross: int, output_cross: int, wide_type: str) -> list[str]:
    """Tensors that a wide side has that something sees, by the table of the specification."""
    has_model = wide_type in ("FM", "LR")
    output = has_model and (output_cross == 0 or feature_cross in (3, 5))
    features = feature_cross in (1, 2, 3, 4) or (feature_cross == 5 and not has_model)
    names = []
    if wide_type == "FM":
        factors = ["latent"] * (features or output) + ["weight"] * output
        for factor in factors:
            names += [f"tables.{name}.{factor}.weight" for name in ("u", "s", "p")]
            names.append(f"model.encoder.factors.{factor}.vectors.weight")
    elif features or output:
        names += [f"tables.{name}_emb.weight" for name in ONLY_WIDE]
    if wide_type == "LR" and output:
        names += ["model.body.wide.linear.weight", "model.body.wide.linear.bias"]
    return names


SIDE = re.compile(r"model\.body\.wide\..*|.*(latent|factors).*|tables\.\w\.weight\.weight")


def found_of_the_side(names: list[str]) -> list[str]:
    own = {f"tables.{name}_emb.weight" for name in ONLY_WIDE}
    return [name for name in names if SIDE.fullmatch(name) or name in own]


@pytest.mark.parametrize(
    ("feature_cross", "output_cross", "wide_type", "use_wide"),
    some(
        list(product(range(6), (0, 1), ("FM", "LR", "raw"), (True, False))),
        (0, 0, "LR", True),
        (5, 1, "FM", True),
        (5, 1, "raw", True),
        (5, 0, "FM", False),
    ),
)
def test_a_combination_trains_what_it_sees_and_its_export_predicts_the_same(
    file: Path,
    tmp_path: Path,
    feature_cross: int,
    output_cross: int,
    wide_type: str,
    use_wide: bool,
) -> None:
    """S0.1: all 72; S0.12, S0.50: a side that nothing sees has no parameter, and one that is seen
    has exactly its own, all of which training moves; S0.29, S0.83: each tower has logits and
    probabilities under its name."""
    made = pipeline(
        file,
        tmp_path,
        feature_cross=feature_cross,
        output_cross=output_cross,
        wide_type=wide_type,
        use_wide=use_wide,
    )
    made.fit()
    tensors = trained(made)
    expected = of_the_side(feature_cross, output_cross, wide_type) if use_wide else []
    assert sorted(found_of_the_side(list(tensors))) == sorted(expected)
    for name, (before, after) in tensors.items():
        if after.dtype.is_floating_point:
            assert (before != after).any(), name
    scores = Scorer.load(made.export(str(tmp_path / "export"))).score(rows().drop(["a", "b"]))
    made.predict(str(file), str(tmp_path / "predictions.parquet"))
    predicted = pq.read_table(tmp_path / "predictions.parquet")
    assert set(scores) == {"logits_a", "probs_a", "logits_b", "probs_b"}
    for name, score in scores.items():
        np.testing.assert_allclose(score.numpy(), predicted[name].to_numpy(), rtol=0, atol=1e-6)
