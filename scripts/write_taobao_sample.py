"""Writes made-up rows with the columns of Taobao's display ads, to try configs that read them.

    python scripts/write_taobao_sample.py --out data/taobao_sample

The real data (Alibaba's "Ad Display/Click Data on Taobao.com", joined as EasyRec's samples have it)
has the same columns in the same form; name its files in place of these. Clicks depend on price and
brand, and buys, which only clicks lead to, on the age level.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

# Different values of each column, at most; those of the samples' tables are as many or more.
VALUES = {
    "pid": 2,
    "adgroup_id": 9000,
    "cate_id": 2000,
    "campaign_id": 5000,
    "customer": 4000,
    "brand": 3000,
    "user_id": 20000,
    "cms_segid": 97,
    "cms_group_id": 13,
    "final_gender_code": 2,
    "age_level": 7,
    "pvalue_level": 4,
    "shopping_level": 3,
    "occupation": 2,
    "new_user_class_level": 5,
    "tag_category_list": 500,
    "tag_brand_list": 900,
    "price": 50,
}
LISTS = ("tag_category_list", "tag_brand_list")


def columns(num_rows: int, seed: int) -> dict[str, np.ndarray]:
    """By name, in the order of EasyRec's input_fields. A list has up to 3 values; a fortieth of the
    brands is missing."""
    random = np.random.default_rng(seed)
    numbers = {name: random.integers(0, count, num_rows) for name, count in VALUES.items()}
    lean = numbers["price"] / 20 - 1.5 + (numbers["brand"] % 3 - 1)
    clicks = random.random(num_rows) < 1 / (1 + np.exp(-lean))
    buys = clicks & (random.random(num_rows) < (numbers["age_level"] + 1) / 10)
    texts: dict[str, np.ndarray] = {"clk": clicks.astype(int), "buy": buys.astype(int)}
    for name, values in numbers.items():
        texts[name] = values
        if name in LISTS:
            lengths = random.integers(0, 4, num_rows)
            lists = [random.integers(0, VALUES[name], length) for length in lengths]
            texts[name] = np.array(["|".join(map(str, row)) for row in lists])
    brands = texts["brand"].astype(str)
    brands[random.random(num_rows) < 0.025] = ""
    texts["brand"] = brands
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for train.csv and eval.csv")
    parser.add_argument(
        "--rows", type=int, default=50_000, help="of train.csv, five times eval.csv"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    sizes = {"train": arguments.rows, "eval": max(arguments.rows // 5, 1)}
    for place, (name, rows) in enumerate(sizes.items()):
        table = pa.table(columns(rows, 2 * arguments.seed + place))
        csv.write_csv(table, arguments.out / f"{name}.csv")
    print(f"wrote {arguments.out}/train.csv and eval.csv")


if __name__ == "__main__":
    main()
