"""Whoever loads a config asks all rules: the sections', the dialects', the chosen model's."""

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest
from written import CONFIG, ROOT, changed, lines, load, loaded, notes, read, said

from tzmmoe import config
from tzmmoe.config.rulebook import Rules, joined
from tzmmoe.errors import Faults
from tzmmoe.models import MODELS
from tzmmoe.models.mmoe import MMoE
from tzmmoe.pipeline import Pipeline
from tzmmoe.protos import pipeline_pb2

GATE = "model_config.mmoe.gate_mlp"


def halve(pipeline: pipeline_pb2.Pipeline, faults: Faults) -> dict[str, str]:
    """An invented shorthand: a gate without layers has one of half the experts."""
    mmoe = pipeline.model_config.mmoe
    if mmoe.HasField("gate_mlp") and not mmoe.gate_mlp.hidden_units:
        mmoe.gate_mlp.hidden_units.append(mmoe.num_expert // 2)
        return {f"{GATE}.hidden_units[0]": "model_config.mmoe.num_expert"}
    return {}


def refuse_zero(pipeline: pipeline_pb2.Pipeline, faults: Faults) -> None:
    for index, units in enumerate(pipeline.model_config.mmoe.gate_mlp.hidden_units):
        if units == 0:
            faults.add(f"{GATE}.hidden_units[{index}]", "is 0; give 1 or more")


def note_one(pipeline: pipeline_pb2.Pipeline) -> Iterator[str]:
    if pipeline.model_config.mmoe.num_expert == 1:
        yield "model_config.mmoe.gate_mlp has no effect with one expert"


@pytest.fixture
def own_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of this test, with rules beside it, in the place of ``mmoe``."""
    monkeypatch.delitem(MODELS._classes, "mmoe")

    @MODELS.register("mmoe")
    class Own(MMoE):
        rules = Rules(rewrite=halve, check=refuse_zero, notes=note_one)


def with_gate(num_expert: int) -> str:
    return changed(("num_expert: 2", f"gate_mlp {{}} num_expert: {num_expert}"))


@pytest.mark.usefixtures("own_model")
def test_the_rewrite_of_a_model_is_done_when_a_config_is_loaded(tmp_path):
    made = loaded(tmp_path, with_gate(6))
    assert said(made) == []
    assert made.pipeline == read(
        changed(("num_expert: 2", "gate_mlp { hidden_units: 3 } num_expert: 6"))
    )


@pytest.mark.usefixtures("own_model")
def test_a_fault_of_a_model_is_told_where_its_rewrite_read_it(tmp_path):
    [fault] = said(loaded(tmp_path, with_gate(1)))
    assert fault.startswith("my.config:22: model_config.mmoe.num_expert: ")
    assert "give 1 or more" in fault


@pytest.mark.usefixtures("own_model")
def test_the_notes_of_a_model_are_among_those_of_the_config(tmp_path):
    assert notes(loaded(tmp_path, CONFIG)) == []
    [note] = notes(loaded(tmp_path, changed(("num_expert: 2", "num_expert: 1"))))
    assert note.startswith("model_config.mmoe.gate_mlp has no effect")


CONTRADICTING = [
    ("mmoe {", "mmoe_v2 { mmoe_group: 'all' num_experts: 2 expert_layers: 3 use_wide: true"),
    ("expert_mlp { hidden_units: [4] }", "task_structs { units: [4, 1] }"),
    ("num_expert: 2", "task_structs { units: 1 }"),
]


def test_the_python_interface_asks_the_rules_of_the_chosen_model(tmp_path):
    path = tmp_path / "v2.config"
    path.write_text(changed(*CONTRADICTING))
    through_interface, as_tests_load = Pipeline.of_command(path).config, load(path)
    [fault] = lines(through_interface.faults, through_interface)
    assert "model_config.mmoe_v2.use_wide: is true, but there is no feature group" in fault
    assert said(as_tests_load) == [fault]
    assert through_interface.pipeline == as_tests_load.pipeline


def test_a_config_cannot_be_loaded_without_naming_the_rules(tmp_path):
    path = tmp_path / "my.config"
    path.write_text(CONFIG)
    with pytest.raises(TypeError, match="rules"):
        config.load(path)


def test_the_package_loads_configs_with_all_rules_wherever_it_does():
    trees = [ast.parse(file.read_text()) for file in (ROOT / "tzmmoe").rglob("*.py")]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    passed = [ast.unparse(k.value) for call in calls for k in call.keywords if k.arg == "rules"]
    assert len(passed) >= 2  # the Python interface, and the check of a converted config
    assert set(passed) <= {"rules(modules)", "build.rules()"}


def recording(word: str, asked: list[str]) -> Rules:
    return Rules(
        rewrite=lambda pipeline, faults: asked.append(f"rewrite of {word}") or {},
        check=lambda pipeline, faults: asked.append(f"check of {word}"),
        notes=lambda pipeline: asked.append(f"notes of {word}") or (),
    )


@pytest.mark.parametrize("chosen", MODELS.words)
def test_the_chosen_model_is_asked_and_no_other(tmp_path, monkeypatch, chosen):
    asked: list[str] = []
    for word in MODELS.words:
        monkeypatch.setattr(MODELS[word], "rules", recording(word, asked))
    notes(loaded(tmp_path, f"model_config {{ {chosen} {{}} }}"))
    assert asked == [f"{kind} of {chosen}" for kind in ("rewrite", "check", "notes")]


def test_joined_rules_are_asked_in_order_and_a_part_may_leave_some_out():
    pipeline, faults = pipeline_pb2.Pipeline(), Faults()
    parts = [
        Rules(rewrite=lambda p, f: {"a": "b"}, notes=lambda p: ["first"]),
        Rules(check=lambda p, f: f.add("a", "is wrong")),
        Rules(rewrite=lambda p, f: {"c": "d"}, notes=lambda p: ["second"]),
    ]
    whole = joined(*parts)
    assert whole.rewrite(pipeline, faults) == {"a": "b", "c": "d"}
    assert not faults
    whole.check(pipeline, faults)
    assert [str(fault) for fault in faults] == ["a: is wrong"]
    assert list(whole.notes(pipeline)) == ["first", "second"]


def test_reading_a_config_needs_neither_torch_nor_arrow():
    code = (
        "import sys, tzmmoe.config, tzmmoe.config.rules, tzmmoe.config.dialects.keras\n"
        "assert not {'torch', 'pyarrow', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
