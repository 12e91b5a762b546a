"""Placeholders in a job: their values, and where these come from."""

from datetime import datetime

import pytest
from drafting.tencent.documents import NOW, convert, refused

from tzmmoe.drafting.placeholders import Placeholders, variables
from tzmmoe.drafting.report import Report
from tzmmoe.errors import ConfigError, Faults

FOLDER = "jobs/first"
NAMES = ["PACK_PATH", "PROJ_PATH", "DATA_PATH", "RUN_PATH", "EXPORT_PATH"]


def expanded(text, given=None, now: datetime = NOW, folder: str = FOLDER):
    """The text, and the report."""
    report, faults = Report(), Faults()
    found = Placeholders(given or {}, folder, now, report).expand(text, "", faults)
    faults.stop()
    return found, report.text()


@pytest.fixture(autouse=True)
def _bare(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "form", ["${{{}}}$/x", "${}$/x", "`${{{}}}$`/x", "`${}$`/x", "`${{{}}}$/x`"]
)
def test_a_folder_is_that_of_the_job(name, form):
    """S0.10: in both spellings, with backticks or without."""
    found, report = expanded({"a": [form.format(name)]})
    assert found == {"a": [f"{FOLDER}/x"]}
    assert f"{name} = {FOLDER} (default, the folder of the job)" in report
    assert f"a[0]: {FOLDER}/x" in report


def test_a_flag_goes_before_the_environment_and_that_before_the_default(monkeypatch):
    """S0.10."""
    monkeypatch.setenv("PACK_PATH", "from/environment")
    found, report = expanded("${PACK_PATH}$", {"PACK_PATH": "from/flag"})
    assert (found, "(--var)" in report) == ("from/flag", True)
    found, report = expanded("${PACK_PATH}$")
    assert (found, "(environment)" in report) == ("from/environment", True)
    monkeypatch.setenv("PACK_PATH", "")
    assert expanded("${PACK_PATH}$")[0] == FOLDER


@pytest.mark.parametrize(
    ("name", "other"),
    [("PACK_PATH", "PROJ_PATH"), ("DATA_PATH", "RUN_PATH")],
)
def test_two_names_of_a_folder_have_one_value(name, other, monkeypatch):
    """S0.10."""
    for one, two in ((name, other), (other, name)):
        assert expanded(f"${{{one}}}$", {two: "there"})[0] == "there"
    monkeypatch.setenv(name, "elsewhere")
    assert expanded(f"${other}$")[0] == "elsewhere"
    assert expanded(f"${other}$", {other: "there"})[0] == "there"


DATES = {
    "${DATE}$": "20240131",
    "$DATE$": "20240131",
    "${DATE:%Y-%m-%d}$": "2024-01-31",
    "${DATE:%H:%M}$": "10:30",
    "${DATE-1d}$": "20240130",
    "${DATE+1d}$": "20240201",
    "${DATE-31d:%d.%m.%Y}$": "31.12.2023",
    "${DATE+2w}$": "20240214",
    "${DATE-11h:%Y%m%d %H}$": "20240130 23",
    "${DATE+45m:%H:%M}$": "11:15",
    "${DATE+90s:%H:%M:%S}$": "10:31:30",
    "${DATE+1M}$": "20240229",
    "${DATE-2M}$": "20231130",
    "${DATE+11M}$": "20241231",
    "${DATE-1y}$": "20230131",
    "days/${DATE-1d}$/${DATE}$": "days/20240130/20240131",
}


@pytest.mark.parametrize("text", DATES)
def test_dates_count_from_now(text):
    """S0.10: n days, weeks, hours, minutes, seconds, months, years; %Y%m%d unless told."""
    assert expanded(text)[0] == DATES[text]


def test_a_leap_day_a_year_later_is_the_last_of_its_month():
    assert expanded("${DATE+1y}$", now=datetime(2024, 2, 29))[0] == "20250228"


def test_texts_without_placeholders_and_other_values_stay():
    value = {"a": [1, 2.5, True, None, "x$y", "5$"], "val_sep": "$A$", "field_delim": "`"}
    found, report = expanded(value)
    assert found == value
    assert report == ""


WRONG = {
    "${PAK_PATH}$/x": ["'${PAK_PATH}$' has no value", "did you mean 'PACK_PATH'"],
    "$NOTHING$": ["'$NOTHING$' has no value", "--var NOTHING=VALUE"],
    "${PACK_PATH}/x": ["holds an incomplete placeholder", "write ${NAME}$"],
    "${PACK_PATH-1d}$": ["only DATE can be shifted or formatted"],
    "${PACK_PATH:%Y}$": ["only DATE can be shifted or formatted"],
    "${DATE-1x}$": ["holds an incomplete placeholder"],
    "${DATE-9999999999d}$": ["is not a date"],
    "${DATE-9999y}$": ["is not a date"],
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_placeholder_is_refused_with_its_path(text):
    with pytest.raises(ConfigError) as raised:
        expanded({"a": {"b": text}})
    assert str(raised.value).startswith("a.b: ")
    assert all(words in str(raised.value) for words in WRONG[text])


@pytest.mark.parametrize("setting", ["PACK_PATH", "=x", "1A=x", "A=", "A B=x"])
def test_a_variable_has_a_name_and_a_value(setting):
    with pytest.raises(ConfigError, match="--var"):
        variables([setting])
    with pytest.raises(ConfigError, match="set twice"):
        variables(["A=1", "A=2"])
    assert variables(["A=b=c", "_1= "]) == {"A": "b=c", "_1": " "}


def test_every_expansion_of_the_seeds_job_is_in_the_report(tmp_path):
    """S0.10: the file of the inputs is found behind its backticks."""
    found = convert(tmp_path)
    assert f"PACK_PATH = {tmp_path} (default, the folder of the job)" in found.plain
    assert f"EXPORT_PATH = {tmp_path} (default, the folder of the job)" in found.plain
    for path, end in {
        "model_input_config_file": "model_input_config.json",
        "train_data_args.data_file": "dataset/train_data.csv",
        "val_data_args.data_file": "dataset/vali_data.csv",
        "test_data_args.data_file": "dataset/test_data.csv",
        "eval_args.output_file": "mmoev2-fm-2-res.json",
    }.items():
        assert f"job_detail.{path}: {tmp_path}/{end}" in found.plain


def test_paths_without_placeholder_lie_in_the_folder_of_the_job(tmp_path):
    changes = {
        "job_detail.train_data_args.data_file": "a/train.csv",
        "job_detail.val_data_args.data_file": "/b/valid.csv",
        "job_detail.eval_args.output_file": "result.json",
        "job_detail.model_input_config_file": "model_input_config.json",
    }
    found = convert(tmp_path, changes).pipeline
    assert found.train_input_path == f"{tmp_path}/a/train.csv"
    assert found.eval_input_path == "/b/valid.csv"
    assert found.eval_config.output_file == f"{tmp_path}/result.json"
    changes = {"job_detail.train_data_args.data_file": "${DATE}$/train.csv"}
    changes["job_detail.val_data_args.data_file"] = "`${DATA_PATH}$`/valid.csv"
    found = convert(tmp_path, changes, variables={"DATA_PATH": "here"}).pipeline
    assert found.train_input_path == f"{tmp_path}/20240131/train.csv"
    assert found.eval_input_path == "here/valid.csv"


def test_a_placeholder_without_value_is_told_with_all_other_faults(tmp_path):
    """S0.10."""
    changes = {
        "job_detail.train_data_args.data_file": "${PAK_PATH}$/train.csv",
        "job_detail.model_args.num_experts": 0,
    }
    said = refused(tmp_path, changes, {"inputs.defs[0].dtype": "${X}$"})
    assert [line.split(": ")[:2] for line in said][:2] == [
        ["job.json", "job_detail.train_data_args.data_file"],
        ["job.json", "job_detail.model_args.num_experts"],
    ]
    assert "inputs.defs[0].dtype: '${X}$' has no value" in "\n".join(said)
