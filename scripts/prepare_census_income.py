"""Converts Census-Income (KDD) to train, valid and test files.

The data set of the MMoE paper (Ma et al., KDD 2018, section 6.3): 199,523 training rows and 99,762
test rows, which are split 1:1 into validation and test with a fixed seed. Categories stay text and
numbers stay numbers; the labels of both task groups are 0 or 1. The last columns are crosses of
other columns, for a wide side.
https://archive.ics.uci.edu/dataset/117, CC BY 4.0.

Exit codes: 0 success, 3 UCI cannot be reached, 1 any other error; one line on stderr says which.
"""

import argparse
import gzip
import hashlib
import http.client
import io
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

URL = "https://archive.ics.uci.edu/static/public/117/census+income+kdd.zip"
SHA256 = {
    "census-income.data": "3676a81db7d3528f3f8b9f3c699d0f0aa28db45e6e994fa0b8ed38327539ee86",
    "census-income.test": "98402b1ab879573d0a7f38a699a40258080e25e33d3401e7bf9c96d3fa0fab8c",
}
COLUMNS = """
age class_worker det_ind_code det_occ_code education wage_per_hour hs_college marital_stat
major_ind_code major_occ_code race hisp_origin sex union_member unemp_reason full_or_part_emp
capital_gains capital_losses stock_dividends tax_filer_stat region_prev_res state_prev_res
det_hh_fam_stat det_hh_summ instance_weight mig_chg_msa mig_chg_reg mig_move_reg mig_same
mig_prev_sunbelt num_emp fam_under_18 country_father country_mother country_self citizenship
own_or_self vet_question vet_benefits weeks_worked year income_50k
""".split()
NUMBERS = (
    "age wage_per_hour capital_gains capital_losses stock_dividends num_emp weeks_worked "
    "instance_weight"
).split()
COLLEGE = (
    "Associates degree-occup /vocational",
    "Associates degree-academic program",
    "Bachelors degree(BA AB BS)",
    "Masters degree(MA MS MEng MEd MSW MBA)",
    "Prof school degree (MD DDS DVM LLB JD)",
    "Doctorate degree(PhD EdD)",
)
# Crosses of columns, as text such as "Male x Private"; none contains education, marital status, a
# label, or a status that reveals one.
CROSSES = {
    "cross_sex_class": ("sex", "class_worker"),
    "cross_sex_occupation": ("sex", "major_occ_code"),
    "cross_age_occupation": ("age", "major_occ_code"),
    "cross_age_sex": ("age", "sex"),
    "cross_time_industry": ("full_or_part_emp", "major_ind_code"),
    "cross_weeks_occupation": ("weeks_worked", "det_occ_code"),
}
# Lower bounds of the bands into which crossed numbers fall; a band is named after its lower bound.
BANDS = {
    "age": (0, 18, 25, 30, 35, 40, 45, 50, 55, 60, 65, 75),
    "weeks_worked": (0, 1, 14, 27, 40, 52),
}
SPLIT_SEED = 2018
UNREACHABLE = 3  # exit code


def read_source(folder: Path) -> dict[str, bytes]:
    """The two official files, plain or gzipped. SystemExit if one is missing."""
    files = {}
    for name in SHA256:
        plain, packed = folder / name, folder / f"{name}.gz"
        if packed.is_file():
            files[name] = unpacked(packed.read_bytes(), str(packed))
        elif plain.is_file():
            files[name] = plain.read_bytes()
        else:
            sys.exit(f"{folder}: contains neither {plain.name} nor {packed.name}")
    return files


def unpacked(content: bytes, name: str) -> bytes:
    """The content of a gzip file. SystemExit if it is truncated or not gzip."""
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        sys.exit(f"{name}: not a complete gzip file: {error}; download it again")


def download() -> dict[str, bytes]:
    """The two official files from UCI. SystemExit if that fails, with code UNREACHABLE if there is
    no network or the server is down."""
    remedy = "pass --source DIR with the official files"
    try:
        content = fetched()
    except urllib.error.HTTPError as error:
        if error.code < 500:
            sys.exit(f"cannot download {URL}: {error}; {remedy}")
        unreachable(f"cannot download {URL}: {error}; {remedy}")
    except (OSError, http.client.HTTPException) as error:
        unreachable(f"cannot download {URL}: {error}; {remedy}")
    try:
        files = official(content)
    except (zipfile.BadZipFile, tarfile.TarError, OSError, zlib.error, EOFError) as error:
        sys.exit(f"{URL}: incomplete archive: {error}; try again, or {remedy}")
    missing = [name for name in SHA256 if name not in files]
    if missing:
        sys.exit(f"{URL}: does not contain {' or '.join(missing)}; {remedy}")
    return files


def fetched() -> bytes:
    with urllib.request.urlopen(URL, timeout=30) as answer:
        return answer.read()


def unreachable(line: str) -> NoReturn:
    print(line, file=sys.stderr)
    sys.exit(UNREACHABLE)


def official(content: bytes) -> dict[str, bytes]:
    """All files in UCI's archive by name, unpacked."""
    archive = zipfile.ZipFile(io.BytesIO(content))
    files = {}
    for entry in archive.namelist():
        part = archive.read(entry)
        if entry.endswith((".tar.gz", ".tgz")):
            with tarfile.open(fileobj=io.BytesIO(part)) as inner:
                parts = {m.name: inner.extractfile(m).read() for m in inner if m.isfile()}
        else:
            parts = {entry: part}
        for name, part in parts.items():
            short = Path(name).name
            packed = short.endswith(".gz")
            files[short.removesuffix(".gz")] = unpacked(part, f"{URL}, {name}") if packed else part
    return files


def verify(files: dict[str, bytes]) -> None:
    """SystemExit unless the files equal the official ones, byte for byte."""
    for name, expected in SHA256.items():
        digest = hashlib.sha256(files[name]).hexdigest()
        if digest != expected:
            sys.exit(f"{name}: not the official file: SHA-256 is {digest}, expected {expected}")


def table(content: bytes) -> pa.Table:
    """The 42 columns with whitespace stripped, the labels of both task groups, and the crosses."""
    raw = csv.read_csv(
        io.BytesIO(content),
        read_options=csv.ReadOptions(column_names=COLUMNS),
        convert_options=csv.ConvertOptions(
            column_types={name: pa.string() for name in COLUMNS}, strings_can_be_null=False
        ),
    )
    columns = {name: pc.utf8_trim_whitespace(raw[name]) for name in COLUMNS}
    for name in NUMBERS:
        kind = pa.float64() if name == "instance_weight" else pa.int64()
        columns[name] = columns[name].cast(kind)
    income = pc.starts_with(columns.pop("income_50k"), "50000+")
    columns["income"] = income.cast(pa.int8())
    columns["never_married"] = pc.equal(columns["marital_stat"], "Never married").cast(pa.int8())
    college = pc.is_in(columns["education"], value_set=pa.array(COLLEGE))
    columns["college"] = college.cast(pa.int8())
    for name, (first, second) in CROSSES.items():
        columns[name] = pc.binary_join_element_wise(
            banded(columns, first), banded(columns, second), " x "
        )
    return pa.table(columns)


def banded(columns: dict[str, pa.ChunkedArray], name: str) -> pa.ChunkedArray | pa.Array:
    """A column as a cross shows it: text unchanged, a number as the lower bound of its band."""
    if name not in BANDS:
        return columns[name]
    bounds = np.array(BANDS[name])
    bands = bounds[np.searchsorted(bounds, columns[name].to_numpy(), side="right") - 1]
    return pa.array(bands).cast(pa.string())


def split(test: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Two halves of the official test file, by a permutation with a fixed seed."""
    order = np.random.default_rng(SPLIT_SEED).permutation(len(test))
    half = len(test) // 2
    return tuple(test.take(pa.array(np.sort(part))) for part in (order[:half], order[half:]))


def write(parts: dict[str, pa.Table], out: Path, as_csv: bool) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        pq.write_table(part, out / f"{name}.parquet")
        if as_csv:
            csv.write_csv(part, out / f"{name}.csv")
        shares = ", ".join(
            f"{label} {pc.mean(part[label]).as_py():.2%}"
            for label in ("income", "never_married", "college")
        )
        print(f"{out / name}.parquet: {len(part):,} rows; {shares}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--source", type=Path, help="folder with the official files")
    place.add_argument("--download", action="store_true", help=f"download them from {URL}")
    parser.add_argument("--out", type=Path, required=True, help="folder for the Parquet files")
    parser.add_argument("--csv", action="store_true", help="also write CSV files")
    arguments = parser.parse_args()
    if arguments.out.exists() and not arguments.out.is_dir():
        sys.exit(f"--out {arguments.out} is a file; choose a folder")
    try:
        files = download() if arguments.download else read_source(arguments.source)
        verify(files)
        valid, test = split(table(files["census-income.test"]))
        parts = {"train": table(files["census-income.data"]), "valid": valid, "test": test}
        write(parts, arguments.out, arguments.csv)
    except OSError as error:
        sys.exit(f"{error.filename or arguments.out}: {error.strerror or error}")


if __name__ == "__main__":
    main()
