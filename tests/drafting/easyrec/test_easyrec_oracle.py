"""The seed's pipeline, converted whole: EasyRec's rows, tables and logits."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from drafting.easyrec.pipelines import convert
from easyrec import taobao, weights

from tzmmoe import Pipeline as Runs
from tzmmoe.build import Built, build
from tzmmoe.errors import Faults

pytestmark = taobao.needs_oracle


def made(folder: Path) -> Built:
    text = (taobao.ORACLE / "seed1_small.config").read_text()
    config = convert(folder, text).config
    faults = Faults()
    built = build(config.pipeline, folder, faults)
    assert not faults
    return built


def cells() -> dict[str, list[str]]:
    """The columns of the oracle's file, in the order of input_fields."""
    lines = (taobao.ORACLE / "rows.csv").read_text().splitlines()
    names = [*taobao.LABELS, *taobao.ROWS]
    columns = zip(*(line.split(",") for line in lines), strict=True)
    return dict(zip(names, map(list, columns), strict=True))


def rows_by_hand(name: str, cell: str) -> list[int]:
    values = [value for value in cell.split("|") if value]
    if name == "price":
        return [int(value) for value in values]
    return [fingerprint(value) % 40 for value in values]


def fingerprint(text: str) -> int:
    """FarmHash's Fingerprint64 of 1 to 7 bytes (Hash64Len0to16), in plain integers."""
    mask, k0, k2 = 2**64 - 1, 0xC3A5C85C97CB3127, 0x9AE16A3B2F90404F
    data, size = text.encode(), len(text.encode())
    if size >= 4:
        mul = (k2 + size * 2) & mask
        u = (size + (int.from_bytes(data[:4], "little") << 3)) & mask
        v = int.from_bytes(data[-4:], "little")
        a = ((u ^ v) * mul) & mask
        a ^= a >> 47
        b = ((v ^ a) * mul) & mask
        b ^= b >> 47
        return (b * mul) & mask
    y = data[0] + (data[size >> 1] << 8)
    z = size + (data[size - 1] << 2)
    mixed = (y * k2) & mask ^ (z * k0) & mask
    return ((mixed ^ (mixed >> 47)) * k2) & mask


def test_the_features_find_the_rows_that_easyrec_finds(tmp_path: Path) -> None:
    """By its hash, in the tables that it trained: pooled by hand in float64."""
    built, table = made(tmp_path), cells()
    numbers = taobao.oracle("seed1_small")
    weights.load_tables(built.model, numbers)
    columns = {name: pa.array(table[name]) for name in taobao.ROWS}
    x_BD = built.model.double().eval().encoder(taobao.inputs(built, columns))["all"]
    by_hand = []
    for row in range(len(table["pid"])):
        pooled = []
        for name in taobao.GROUP:
            own = numbers[f"var:input_layer/{name}_embedding/embedding_weights"].astype(float)
            rows = rows_by_hand(name, table[name][row])
            pooled.append(own[rows].sum(axis=0) if rows else np.zeros(4))
        by_hand.append(np.concatenate(pooled))
    np.testing.assert_allclose(x_BD.detach(), by_hand, atol=1e-12)


def test_with_easyrecs_weights_the_logits_are_easyrecs(tmp_path: Path) -> None:
    built, numbers = made(tmp_path), taobao.oracle("seed1_small")
    model = built.model.double().eval()
    weights.load_built_in(model, numbers)
    with torch.no_grad():
        outputs = model(taobao.oracle_inputs(built))
    for task in ("ctr", "cvr"):
        wanted = numbers[f"logits_{task}"]
        np.testing.assert_allclose(outputs[task].reshape(-1), wanted, atol=1e-6)


def test_the_file_of_rows_trains_as_it_is(tmp_path: Path) -> None:
    made(tmp_path)
    rows = str(taobao.ORACLE / "rows.csv")
    settings = {
        "train_input_path": rows,
        "eval_input_path": rows,
        "model_dir": str(tmp_path / "model"),
        "train_config.use_tensorboard": "false",
    }
    results = Runs.load(tmp_path / "ours.config", settings=settings).fit()
    assert np.isfinite(results["auc_ctr"])
