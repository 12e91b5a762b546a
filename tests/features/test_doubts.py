"""A vocabulary whose words the data do not hold is told before training, with a word of each."""

from pathlib import Path

import pyarrow as pa
import pytest
from features.id_features import encoded, id_feature, ids
from messages import says
from parts import features

from tzmmoe.features import FeatureSettings
from tzmmoe.features.column import read

COLOURS = ["red", "green", "blue", "white"]
VALUES = pa.array(COLOURS * 10)


def of_file(folder: Path, text: str, **options: str) -> object:
    (folder / "words.txt").write_bytes(text.encode(**options))
    return id_feature('vocab_file: "words.txt" default_bucketize_value: 0', folder=folder)


def lines(form: str, **changes: str) -> str:
    return "".join(form.format(word=word, n=n) for n, word in enumerate(COLOURS))


@pytest.mark.parametrize(
    ("form", "word", "difference"),
    [
        ("{word} \n", "'red '", "blanks"),
        (" {word}\n", "' red'", "blanks"),
        ('"{word}"\n', "'\"red\"'", "quotes"),
        ("'{word}'\n", "\"'red'\"", "quotes"),
        ("{word},{n}\n", "'red,0'", "number"),
        ("{word} 1{n}\n", "'red 10'", "number"),
        ("{word}\t{n} \n", "'red\\t0 '", ""),
        ("{word}\t{n}\t9\n", "'red\\t0'", "number"),
        ("the {word}\n", "'the red'", ""),
    ],
)
def test_a_form_that_makes_all_words_unknown_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, form: str, word: str, difference: str
) -> None:
    feature = of_file(tmp_path, lines(form))
    caplog.clear()
    for _ in range(3):
        encoded(feature, VALUES)
    [message] = caplog.messages
    says(message, "a: 100% of the first 40 values", "'red'", word, difference)


def test_other_upper_and_lower_case_is_told(tmp_path: Path, caplog) -> None:
    encoded(of_file(tmp_path, lines("{word}\n").upper()), VALUES)
    says(caplog.text, "'red'", "'RED'", "case")


@pytest.mark.parametrize(
    ("options", "numbers", "said"),
    [
        ("", [0.0] * 3 + [5.0] * 22, ["x: 12% of the first 25 values", "1e-10 or less", "-10"]),
        ("", [-1.0] + [5.0] * 19, ["x: 5% of the first 20 values", "log(x + 1)"]),
        (",threshold=4,default=7", [4.0, 5.0] * 10, ["50%", "4 or less", "into 7"]),
        ("", [5.0] * 30, []),
        ("", [None] * 5 + [5.0] * 20, []),
        ("", [0.0] * 19, []),
    ],
)
def test_numbers_without_a_logarithm_are_told_once(caplog, options, numbers, said) -> None:
    text = f'raw_feature {{ feature_name: "x" normalizer: "method=log10{options}" }}'
    setting = FeatureSettings("FG_DAG", "\x03", "MURMUR_HASH", Path())
    (feature,) = features(text, setting=setting)
    for _ in range(3):
        feature.encode([read(pa.array(numbers), "|", False)])
    assert len(caplog.messages) == bool(said)
    says("".join(caplog.messages), *said)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("form", ["{word}", "{word}\t{n}", "{word} {n}"])
def test_ends_of_lines_and_byte_order_marks_make_no_difference(
    tmp_path: Path, caplog, form: str, mark: str, end: str
) -> None:
    feature = of_file(tmp_path, lines(form + end), encoding=mark)
    assert ids(feature, pa.array(COLOURS)) == [[0], [1], [2], [3]]
    encoded(feature, VALUES)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("word\trow\nred\t0\ngreen\t1\nblue\t2\n", "'word\\trow'"),
        ("red\t0\ngreen\t1\nblue\t\nwhite\t3\n", "'blue\\t'"),
    ],
)
def test_a_line_that_is_no_pair_among_pairs_is_told_at_once(
    tmp_path: Path, caplog, text: str, shown: str
) -> None:
    of_file(tmp_path, text)
    says(caplog.text, "words.txt", "word<TAB>row", shown, "remove")


@pytest.mark.parametrize(
    "text", ["red\t9041\ngreen\t377\nblue\t5\n", "red\t3\ngreen\t2\nblue\t2\n"]
)
def test_counts_behind_tabs_are_told_at_once(tmp_path: Path, caplog, text: str) -> None:
    of_file(tmp_path, text)
    says(caplog.text, "words.txt", text.split("\n")[0].replace("\t", "\\t"), "count", "remove")


@pytest.mark.parametrize("text", ["red\t1\ngreen\t2\nblue\t3\n", "red\t2\ngreen\t0\nblue\t1\n"])
def test_rows_in_any_order_and_from_any_start_are_fine(tmp_path: Path, caplog, text: str) -> None:
    encoded(of_file(tmp_path, text), VALUES)
    assert not caplog.messages


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_data_with_many_unknown_words_are_no_sign(tmp_path: Path, caplog, share: float) -> None:
    unknown = int(40 * share)
    encoded(
        of_file(tmp_path, lines("{word}\n")), pa.array(["?"] * unknown + ["red"] * (40 - unknown))
    )
    assert not caplog.messages


@pytest.mark.parametrize("form", ["plain", "coded", "list"])
def test_lists_of_the_config_and_every_form_of_column_are_looked_at(caplog, form: str) -> None:
    column = {
        "plain": pa.array([7, 8] * 20),
        "coded": pa.array(["7", "8"] * 20).dictionary_encode(),
        "list": pa.array([[7, 8], [], None] * 20),
    }[form]
    feature = id_feature('vocab_list: ["item_7", "item_8"]')
    encoded(feature, pa.array(["x"] * 3))
    assert not caplog.messages, "too few to tell"
    encoded(feature, column)
    says(caplog.text, "'7'", "'item_7'")
