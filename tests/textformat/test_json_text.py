"""JSON as documents have it: what is read, and what is refused."""

import json

import pytest
from drafting.tencent.documents import FIXTURES, JOB

from tzmmoe.errors import ConfigError
from tzmmoe.textformat import json_text


def read(folder, text: str | bytes):
    path = folder / "job.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return json_text.read(path, "--job")


WRITTEN = {
    "tabs": '{\t"a":\t[1,\t2]\t}',
    "blanks at line ends": '{  \n  "a":  \n [1, 2]  \n}  \n',
    "a byte order mark": '\ufeff{"a": [1, 2]}',
    "no-break spaces": '{\u00a0"a":\u00a0[1,\u00a02]}',
    "ideographic spaces": '{\u3000"a": [1,\u30002]}',
    "full-width punctuation": '｛"a"：［1，2］｝',
    "curved quotes": "{“a”: [1, 2]}",
    "full-width quotes": "{＂a＂: [1, 2]}",
    "a comma after the last element": '{"a": [1, 2,],\n}',
    "such a comma before blanks": '{"a": [1, 2 , \n ]\t,\t}',
    "a fence": '```\n{"a": [1, 2]}\n```',
    "a fence with a language": '\n```json  \n{"a": [1, 2]}\n  ```  \n',
    "all of it": "\ufeff```json\n｛\t“a”：\u3000［1，\u00a02，］，\n｝  \n```\n",
}


@pytest.mark.parametrize("form", WRITTEN)
def test_json_is_read_as_documents_have_it(tmp_path, form):
    assert read(tmp_path, WRITTEN[form]) == {"a": [1, 2]}


@pytest.mark.parametrize(
    "text",
    ["，：｛｝［］", "a\u00a0b\u3000c", "a,]", "a, }", '\\"', "\\\\", "“x”", "```", "\\u3000", ""],
)
def test_the_inside_of_texts_is_not_touched(tmp_path, text):
    whole = f'{{"{text}": ["{text}", "{text}"]}}'
    assert read(tmp_path, whole) == json.loads(whole)


def test_plain_json_is_read_as_json_has_it(tmp_path):
    whole = json.dumps(JOB)
    assert json_text.plain(whole) == whole
    assert read(tmp_path, whole) == json.loads(whole)


NO_JSON = {
    '{"a": 1,, "b": 2}': (1, 9),
    '{"a": 1\n "b": 2}': (2, 2),
    '{\n\n"a": [1, 2}': (3, 11),
    "{'a': 1}": (1, 2),
    '{"a": [,]}': (1, 8),
    '{"a": ,}': (1, 7),
    '｛"a"：1，\n　"b"｝': (2, 5),
    '```\n{"a": }\n```': (2, 7),
    '{"a": 1} {"b": 2}': (1, 10),
    '{"a\tb": 1}': (1, 4),
    "": (1, 1),
}


@pytest.mark.parametrize("text", NO_JSON)
def test_what_then_is_no_json_is_refused_with_its_line_and_column(tmp_path, text):
    """Lines and columns are those of the file, so that an editor finds them."""
    line, column = NO_JSON[text]
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, text)
    assert str(raised.value).startswith(f"{tmp_path}/job.json:{line}: column {column}: is not JSON")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "is not an object"),
        ('"a"', "is not an object"),
        ('{"a": 1, "a": 2}', "one object has 'a' 2 times"),
        (b'{"a": "\xff"}', "is not valid UTF-8"),
        ("[" * 100_000, "too deep"),
    ],
)
def test_other_faults_of_a_file_are_told(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        read(tmp_path, text)


def test_a_file_that_is_not_there_is_told_by_its_flag(tmp_path):
    with pytest.raises(ConfigError, match=r"--job: cannot read .*nothing.json"):
        json_text.read(tmp_path / "nothing.json", "--job")


def test_the_documents_of_the_seed_are_kept_as_they_are():
    """S0.9, S0.10, S0.82: tabs, blanks at line ends, and backticks around a placeholder."""
    job = (FIXTURES / "job.json").read_text()
    assert job.count("\t") == 14
    assert "`${PACK_PATH}$`/model_input_config.json" in job
    assert all(line.endswith("  ") for line in job.splitlines() if line)
    assert set(JOB) == {"num_workers", "node_affin", "pod_affin", "timeout", "job_detail"}
