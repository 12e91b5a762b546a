"""Curved quotes and comments as in other languages are reported by line and column."""

from pathlib import Path

import pytest
from messages import says
from written import CONFIG, changed, load, said

COMMENT = "begins with #"


def faults(folder: Path, text: str, name: str = "my.config", **flags: object) -> list[str]:
    (folder / name).write_text(text)
    return said(load(folder / name, **flags))


@pytest.mark.parametrize("quotes", ["“”", "‘’", "„“"])
def test_curved_quotes_are_one_fault_with_line_and_column(tmp_path: Path, quotes: str) -> None:
    text = changed(('"model"', f"{quotes[0]}model{quotes[1]}"))
    [fault] = faults(tmp_path, text)
    says(fault, "my.config:3: column 12", "curved quote", 'write "')


def test_a_config_full_of_curved_quotes_has_one_fault_too(tmp_path: Path) -> None:
    [fault] = faults(tmp_path, CONFIG.replace('"', "”"))
    says(fault, "my.config:1: column 19", "more lines")


def test_strings_and_comments_may_contain_curved_quotes_and_slashes(tmp_path: Path) -> None:
    assert not faults(tmp_path, changed(('"model"', '"“model”" # “this” // that')))


def test_a_comment_at_the_very_beginning_is_found_whatever_the_text_ends_with(
    tmp_path: Path,
) -> None:
    lines = faults(tmp_path, f"// a comment\n{CONFIG}# the end:")
    says(lines[0], "my.config:1: column 1", COMMENT)


@pytest.mark.parametrize("comment", ["// a: comment", "//a", "/* a { */"])
def test_a_comment_of_another_language_is_one_fault(tmp_path: Path, comment: str) -> None:
    [fault] = faults(tmp_path, changed(("num_expert: 2", f"num_expert: 2 {comment}\n")))
    says(fault, "my.config:22: column 19", COMMENT)


def test_a_path_without_quotes_is_no_comment(tmp_path: Path) -> None:
    lines = faults(tmp_path, changed(('"model"', "oss://bucket/model")))
    assert lines
    assert not [line for line in lines if COMMENT in line]


SETTINGS = ["model_dir=“x”", "feature_configs[0]={ raw_feature { feature_name: ‘a’ } }"]


@pytest.mark.parametrize("setting", SETTINGS)
def test_curved_quotes_in_a_flag_are_named(tmp_path: Path, setting: str) -> None:
    lines = faults(tmp_path, CONFIG, settings=[setting])
    assert any("--set" in line and "curved quote" in line for line in lines)


def test_curved_quotes_in_json_are_named(tmp_path: Path) -> None:
    [fault] = faults(tmp_path, "{\n  “model_dir”: 1}", "my.json")
    says(fault, "my.json:2: column 3", "curved quote")


@pytest.mark.parametrize("field", ["label_fields", "sample_weight_fields"])
@pytest.mark.parametrize("name", ["", " "])
def test_a_column_without_a_name_is_refused_with_its_line(
    tmp_path: Path, field: str, name: str
) -> None:
    lines = CONFIG.splitlines()
    [number] = [n for n, line in enumerate(lines) if line.strip().startswith(field)]
    lines[number] = lines[number].replace('"]', f'", "{name}"]')
    [fault] = faults(tmp_path, "\n".join(lines))
    says(fault, f"my.config:{number + 1}: data_config.{field}[", repr(name), "remove it")
