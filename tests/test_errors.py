"""Faults: collected with their paths, raised in the order of the text, without duplicates."""

from dataclasses import replace

import pytest

from tzmmoe.errors import (
    ConfigError,
    Fault,
    Faults,
    UserError,
    did_you_mean,
    did_you_mean_file,
    join,
    lies_in,
    within,
)

KNOWN = ["batch_size", "shuffle", "expert_units", "units_of_tasks"]


def raised(*faults: Fault, lines: dict[str, int] | None = None) -> list[str]:
    def locate(fault: Fault) -> Fault:
        return replace(fault, where=f"a.config:{lines[fault.path]}")

    with pytest.raises(ConfigError) as caught:
        Faults(faults).stop(locate if lines else None)
    return str(caught.value).splitlines()


def test_a_fault_reads_place_path_text():
    assert str(Fault("a.b", "is 0; give 1 or more", "my.config:3")) == (
        "my.config:3: a.b: is 0; give 1 or more"
    )
    assert str(Fault("a.b", "is 0")) == "a.b: is 0"
    assert str(Fault("", "holds nothing", "my.config")) == "my.config: holds nothing"


def test_without_faults_nothing_is_raised():
    Faults().stop()
    Faults().stop(lambda fault: replace(fault, where="nowhere"))


def test_flags_come_first_then_the_text_line_by_line_then_what_it_lacks():
    places = {
        "a": "my.config:10",
        "b": "my.config",
        "c": "--set",
        "--set x": "",
        "d": "my.config:9",
    }
    with pytest.raises(ConfigError) as caught:
        Faults(Fault(path, "is 0") for path in places).stop(
            lambda fault: replace(fault, where=places[fault.path])
        )
    assert [fault.path for fault in caught.value.faults] == ["c", "--set x", "d", "a", "b"]


def test_faults_come_in_the_order_of_the_text():
    found = raised(
        Fault("b", "x"), Fault("c", "y"), Fault("a", "z"), lines={"a": 30, "b": 9, "c": 10}
    )
    assert found == ["a.config:9: b: x", "a.config:10: c: y", "a.config:30: a: z"]


def test_a_fault_that_several_paths_lead_to_comes_once():
    found = Faults([Fault("a", "x"), Fault("b", "x"), Fault("b", "y")])
    with pytest.raises(ConfigError) as caught:
        found.stop(lambda fault: replace(fault, path="c", where="a.config:1"))
    assert str(caught.value).splitlines() == ["a.config:1: c: x", "a.config:1: c: y"]


def test_what_the_body_raises_is_collected_under_its_path():
    faults = Faults()
    with faults.under("tower"), within("mlp"):
        raise ConfigError([Fault("hidden_units", "is []"), Fault("", "is not set")])
    with faults.under("loss"):
        pass
    assert [(fault.path, fault.text) for fault in faults] == [
        ("tower.mlp.hidden_units", "is []"),
        ("tower.mlp", "is not set"),
    ]


def test_only_config_errors_are_collected():
    faults = Faults()
    with pytest.raises(KeyError), faults.under("a"):
        raise KeyError("b")
    with pytest.raises(UserError), faults.under("a"):
        raise UserError("b")
    assert not faults


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.b[0].c", "is not set"),  # the setting itself
        ("a.b[0].c.d", "is 0"),  # a part of it
        ("a.b[0]", "has none of c, d"),  # its owner, which lacks it
    ],
)
def test_what_merely_follows_from_a_setting_that_cannot_be_read_is_dropped(path, text):
    lost = Fault("a.b[0].c", "is x; give a number", lost=True)
    assert raised(lost, Fault(path, text)) == [str(lost)]


@pytest.mark.parametrize("path", ["a", "a.b[1]", "a.b[1].c", "a.b[0].d", "a.b[0].cc", "b", ""])
def test_what_does_not_follow_from_it_stays(path):
    lost = Fault("a.b[0].c", "is x; give a number", lost=True)
    other = Fault(path, "is 0")
    assert raised(lost, other) == [str(lost), str(other)]


def test_names_of_an_unreadable_list_or_item_are_not_reported_as_missing():
    labels = Fault("data.labels[1]", "is 3, without quotes", lost=True)
    tower = Fault("towers[0].label", "'buy' is not in data.labels")
    assert raised(labels, tower) == [str(labels)]
    name = Fault("features[2].id.feature_name", "is x, without quotes", lost=True)
    group = Fault("groups[0].names[1]", "'x' is not in features; did you mean 'y'?")
    assert raised(name, group) == [str(name)]
    size = Fault("features[2].id.size", "is x; give a number", lost=True)
    assert raised(size, group) == [str(size), str(group)]


def test_where_the_text_breaks_off_nothing_else_counts():
    lost = Fault("", "this { is not closed", lost=True)
    first = Fault("a", "no such field", lost=True)
    assert raised(first, lost, Fault("b", "is not set")) == [str(first), str(lost)]


def test_a_path_lies_in_itself_and_in_what_is_around_it():
    assert lies_in("a.b", "a.b")
    assert lies_in("a.b.c", "a.b")
    assert lies_in("a.b[0].c", "a.b")
    assert not lies_in("a.bc", "a.b")
    assert not lies_in("a", "a.b")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("batch_sise", "; did you mean 'batch_size'?"),
        ("BATCH_SIZE", "; did you mean 'batch_size'?"),
        ("shuf", "; did you mean 'shuffle'?"),
        ("batch", "; did you mean 'batch_size'?"),
        ("size", "; did you mean 'batch_size'?"),
        ("units", ""),
        ("atch", ""),
        ("b", ""),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_the_nearest_word_is_offered_if_it_is_near(word, expected):
    assert did_you_mean(word, KNOWN) == expected


def test_joining_paths_leaves_out_empty_ones():
    assert join("", "a", "", "b[0]") == "a.b[0]"
    assert join("", "") == ""


@pytest.mark.parametrize(
    ("word", "candidates", "expected"),
    [
        ("clk", ["click", "like"], "click"),
        ("cvr", ["ctr"], "ctr"),  # one letter differs
        ("crt", ["ctr"], "ctr"),  # two are exchanged
        ("user", ["buyer"], ""),
        ("buy", ["bye"], ""),
        ("no", ["on"], ""),
    ],
)
def test_short_words_must_be_very_similar(word: str, candidates: list[str], expected: str) -> None:
    assert expected in did_you_mean(word, candidates)
    assert bool(expected) is bool(did_you_mean(word, candidates))


@pytest.mark.parametrize(
    ("name", "names", "expected"),
    [
        ("nofile.csv", ["ev.csv", "tr.csv"], ""),
        ("trian.csv", ["train.csv", "train.parquet"], "'train.csv'"),
        ("train.parquet", ["train.csv"], "'train.csv'"),
        ("ev.cvs", ["ev.csv"], "'ev.csv'"),
        ("evl.csv.gz", ["eval.csv.gz", "ab.csv"], "'eval.csv.gz'"),
        ("my.config", ["model.config"], ""),
    ],
)
def test_names_of_files_are_compared_without_suffixes(
    name: str, names: list[str], expected: str
) -> None:
    assert expected in did_you_mean_file(name, names)
    assert bool(expected) is bool(did_you_mean_file(name, names))
