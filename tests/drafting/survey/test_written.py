"""Numbers as people write them in texts."""

import pytest

from tzmmoe.drafting.survey.cells.written import Written, written


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["17,33", "1,5", "3"], Written(",", "", (), ())),
        (["$17.33", "$1,234.50", "-$2.00"], Written(".", ",", ("$",), ())),
        (["1.234,56 €", "7,1 €"], Written(",", ".", ("€",), ())),
        (["1 234,5", "12"], Written(",", " ", (), ())),
        (["1,234", "17,500"], Written(".", ",", (), (), (), "1,234")),  # or 1.234?
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
        ([*map(str, range(1, 20)), "abc"], Written(".", "", (), (), ("abc",))),
        (["1'234.50", "7"], Written(".", "'", (), ())),
        (["1\u202f234,5", "-2"], Written(",", " ", (), ())),
        (["12,34,567", "8,900"], Written(".", ",", (), ())),  # as in India
        (["+-3 €"], None),
        ([], None),
    ],
)
def test_a_way_of_writing_numbers_is_told_from_all_cells(words, expected):
    assert written(words) == expected
