"""JSON copied from a document: which repairs are made, and that nothing else is read or changed.

The oracle is Python's json: whatever it reads is read alike, a damaged copy of a document is read
as the document, and what is not JSON is refused with the line and column in the file.
"""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tzmmoe.errors import ConfigError
from tzmmoe.textformat import json_text

FIXTURES = Path(__file__).parents[1] / "drafting/tencent/fixtures"
# Texts that hold everything which is repaired outside of them.
AWKWARD = st.text(
    st.sampled_from(' \t\n,:{}[]"\\/，：｛｝［］“”„‟＂\u00a0\u3000\u200b\ufeff`x1'), max_size=8
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | AWKWARD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(AWKWARD, inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(AWKWARD, VALUES, max_size=4)


def read(folder, text: str | bytes):
    path = folder / "job.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return json_text.read(path, "--job")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("json")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(OBJECTS, st.sampled_from([None, 0, 1, "\t"]), st.booleans())
def test_what_json_reads_is_read_alike(folder, value, indent, escaped):
    """Also the inside of texts, which holds all that is repaired between them."""
    text = json.dumps(value, indent=indent, ensure_ascii=escaped)
    assert read(folder, text) == json.loads(text)


def written(value, damage) -> str:
    """A value as a document may have it: ``damage`` draws a form of each mark between texts."""
    blank = damage.draw(st.text(st.sampled_from(" \t\n\r\u00a0\u2003\u3000\u200b"), max_size=2))

    def mark(plain: str, wide: str) -> str:
        return blank + damage.draw(st.sampled_from([plain, wide])) + blank

    def quoted(text: str) -> str:
        inside = json.dumps(text, ensure_ascii=True)[1:-1]
        if '\\"' in inside:  # a straight quote within curved ones is not a repair of the page
            return f'"{inside}"'
        return damage.draw(st.sampled_from([f'"{inside}"', f"“{inside}”", f"＂{inside}＂"]))

    def several(parts: list[str], opening: str, closing: str) -> str:
        last = mark(",", "，") if parts and damage.draw(st.booleans()) else ""
        return opening + mark(",", "，").join(parts) + last + blank + closing

    if isinstance(value, dict):
        pairs = [quoted(k) + mark(":", "：") + written(v, damage) for k, v in value.items()]
        return several(pairs, mark("{", "｛"), mark("}", "｝"))
    if isinstance(value, list):
        parts = [written(each, damage) for each in value]
        return several(parts, mark("[", "［"), mark("]", "］"))
    return quoted(value) if isinstance(value, str) else json.dumps(value)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    OBJECTS,
    st.data(),
    st.sampled_from(["{}", "\ufeff{}", "```\n{}\n```", "\n``` json \n{}\n ``` \n"]),
)
def test_json_is_read_as_documents_have_it(folder, value, damage, page):
    """docs/convert.md: other blanks, full-width punctuation, curved quotes, a comma after the last
    element, a byte order mark, a fence around it all; alone and together."""
    assert read(folder, page.replace("{}", written(value, damage))) == value


NOT_JSON = {
    '{"a": 1,, "b": 2}': (1, 9),
    '{"a": 1\n "b": 2}': (2, 2),
    '{\n\n"a": [1, 2}': (3, 11),
    "{'a': 1}": (1, 2),
    '{"a": [,]}': (1, 8),
    '{"a": ,}': (1, 7),
    "{,}": (1, 2),
    '{"a": [1,,]}': (1, 10),
    '{"a"; 1}': (1, 5),
    '{"a": “1"}': (1, 7),
    '{"a": 1；}': (1, 8),
    '｛"a"：1，\n　"b"｝': (2, 5),
    '```\n{"a": }\n```': (2, 7),
    '```\n{"a": 1}': (1, 1),
    '{"a": 1}\n```': (2, 1),
    '{"a": 1} {"b": 2}': (1, 10),
    '{"a": 1} // b': (1, 10),
    '{"a\tb": 1}': (1, 4),
    "": (1, 1),
}


@pytest.mark.parametrize("text", NOT_JSON)
def test_what_then_is_no_json_is_refused_with_its_line_and_column(tmp_path, text):
    """Lines and columns are those of the file, so that an editor finds them."""
    line, column = NOT_JSON[text]
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, text)
    assert str(raised.value).startswith(f"{tmp_path}/job.json:{line}: column {column}: ")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(OBJECTS.filter(bool), st.data())
def test_a_document_that_breaks_off_is_refused_where_it_ends(folder, value, data):
    text = json.dumps(value, indent=1)
    cut = data.draw(st.integers(1, len(text) - 1))
    with pytest.raises(ConfigError) as raised:
        read(folder, text[:cut])
    line = int(str(raised.value).removeprefix(f"{folder}/job.json:").partition(":")[0])
    assert 1 <= line <= text[:cut].count("\n") + 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[1]", "object"),
        ('"a"', "object"),
        ("null", "object"),
        ('{"a": 1, "a": 2}', "'a'"),
        ('{"b": {"a": 1, "a": 2}}', "'a'"),
        (b'{"a": "\xff"}', "UTF-8"),
        ("[" * 100_000, "too deep"),
    ],
)
def test_other_faults_of_a_file_are_told(tmp_path, text, found):
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, text)
    assert f"{tmp_path}/job.json" in str(raised.value)
    assert found in str(raised.value)


def test_the_documents_of_the_seed_are_read_as_they_are():
    """S0.9, S0.10, S0.82: tabs, blanks at line ends, and backticks around a placeholder."""
    text = (FIXTURES / "job.json").read_text(encoding="utf-8")
    assert "\t" in text
    assert "`" in text
    assert json_text.read(FIXTURES / "job.json", "--job") == json.loads(text)


def test_a_file_that_is_not_there_is_told_by_its_flag(tmp_path):
    with pytest.raises(ConfigError, match=r"--job: cannot read .*nothing.json"):
        json_text.read(tmp_path / "nothing.json", "--job")
