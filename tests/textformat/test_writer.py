"""Message -> commented text, which says the same, with each comment at its field."""

import re

from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from textformat.test_reader import messages, same

from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.textformat import writer


def paths(message, path: str = "") -> list[str]:
    """Each field that is set, and each message of a list, as comments name them."""
    found = []
    for field, value in message.ListFields():
        here = f"{path}.{field.name}".lstrip(".")
        if field.message_type is None:
            found.append(here)
            continue
        if field.message_type.GetOptions().map_entry:
            found += [f"{here}[{number}]" for number in range(len(value))]
            continue
        several = list(enumerate(value)) if field.is_repeated else [("", value)]
        for number, each in several:
            place = f"{here}[{number}]" if field.is_repeated else here
            found += [place, *paths(each, place)]
    return found


@settings(max_examples=150, deadline=None, derandomize=True)
@given(messages(), st.data())
def test_comments_and_remarks_change_nothing_that_is_set(message, data):
    known = st.sampled_from([*paths(message), "eval_input_path"])
    texts = st.sampled_from(["why", "a # b: { } [", "long words of a comment " * 12])
    comments = data.draw(st.dictionaries(known, texts, max_size=5))
    remarks = data.draw(st.dictionaries(known, texts, max_size=3))
    text = "\n".join(writer.lines(message, comments, remarks))
    assert same(text_format.Parse(text, Pipeline()), message)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(messages(), st.data())
def test_a_comment_stands_beside_its_field_or_right_above_it(message, data):
    places = paths(message)
    if not places:
        return
    path = data.draw(st.sampled_from(places))
    name = re.sub(r"\[\d+\]$", "", path).rpartition(".")[2]
    for comment in ("MARK", f"MARK {'and more of it ' * 12}"):
        lines = list(writer.lines(message, {path: comment}, {}))
        number = next(n for n, line in enumerate(lines) if "# MARK" in line)
        while lines[number].lstrip().startswith("#"):
            number += 1
        assert re.match(rf"\s*{name}\b", lines[number])


def test_a_remark_stands_for_a_field_that_is_not_set():
    message = Pipeline(train_input_path="a", model_dir="b")
    text = list(writer.lines(message, {}, {"eval_input_path": 'eval_input_path: ""'}))
    assert text == ['train_input_path: "a"', '# eval_input_path: ""', 'model_dir: "b"']


def test_lines_are_short_but_for_what_cannot_be_cut():
    message = Pipeline()
    group = message.model_config.feature_groups.add(group_name="all")
    group.feature_names.extend([f"feature_{number}" for number in range(50)])
    why = "words of a comment " * 20
    lines = list(writer.lines(message, {"model_config.feature_groups[0].group_name": why}, {}))
    assert max(map(len, lines)) <= writer.WIDTH
    group.feature_names.append("x" * 120)
    lines = list(writer.lines(message, {}, {"model_config": why}))
    assert [line.strip(" ,") for line in lines if len(line) > writer.WIDTH] == [f'"{"x" * 120}"']


def test_code_in_a_remark_is_not_wrapped():
    command = f"    python -m tzmmoe.train --pipeline_config {'very/long/' * 12}x.config"
    assert f"# {command}" in list(writer.remark(f"It trains:\n{command}"))
