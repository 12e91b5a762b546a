"""Numbers as people write them in texts."""

import numpy as np
import pytest
from drafting.survey.columns import CLICK, draft_of

from tzmmoe.drafting.survey.written import Written, written


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["17,33", "1,5", "3"], Written(",", "", (), ())),
        (["$17.33", "$1,234.50", "-$2.00"], Written(".", ",", ("$",), ())),
        (["1.234,56 €", "7,1 €"], Written(",", ".", ("€",), ())),
        (["1 234,5", "12"], Written(",", " ", (), ())),
        (["1,234", "12,345,678"], Written(".", ",", (), ())),
        (["1,234", "17,33"], Written(",", "", (), ())),
        (["1.5", "N/A", "?"], Written(".", "", (), ("N/A", "?"))),
        (["12%", "7.5 %"], Written(".", "", ("%",), ())),
        (["1.5", "2"], None),  # plain
        (["a1", "b2"], None),
        (["1.2.3", "4.5.6"], None),
        (["1,2,3", "4"], None),  # a list
        (["12:30"], None),
        (["N/A"], None),
        (["1.5", "abc"], None),
        (["+-3 €"], None),
        ([], None),
    ],
)
def test_a_way_of_writing_numbers_is_told_from_all_cells(words, expected):
    assert written(words) == expected


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (lambda x: f"${x:,.2f}", ["'$'"]),
        (lambda x: f"{x:.2f}".replace(".", ","), ["decimal ','"]),
        (lambda x: "N/A" if x > 20 else f"{x:.2f}", ["'N/A' for missing"]),
    ],
)
def test_numbers_that_are_not_plain_are_asked_about_and_not_split(tmp_path, capsys, form, words):
    cells = [form(x) for x in np.random.default_rng(0).gamma(2, 10, len(CLICK))]
    lines = [f"{click};{cell}" for click, cell in zip(CLICK, cells, strict=True)]
    (tmp_path / "x.csv").write_text("\n".join(["click;price", *lines]) + "\n")
    config = draft_of(tmp_path / "x.csv", "click")
    said = capsys.readouterr().out
    said = said[: said.index("tasks:")]
    assert all(word in said for word in ["price: texts such as", *words])
    assert "separator" not in config.read_text()
