"""Relations between towers in a config: what is refused, and what any model makes of them."""

import re
from pathlib import Path

import pytest
from models import models_of_tiny
from written import built, changed, loaded, said_of_all

CTR, CVR = 'tower_name: "ctr"', 'tower_name: "cvr"'
TOWERS = "model_config.mmoe.task_towers"


def names(text: str, *others: str) -> tuple[str, str]:
    listed = ", ".join(f'"{name}"' for name in others)
    return text, f"{text} relation_tower_names: [{listed}]"


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ([names(CVR, "cvr")], f"{TOWERS}[1].relation_tower_names", "'cvr' is the tower itself"),
        (
            [names(CVR, "ctx")],
            f"{TOWERS}[1].relation_tower_names",
            "'ctx' is not a tower of the model; give one of ctr; did you mean 'ctr'?",
        ),
        ([names(CVR, "ctr", "ctr")], f"{TOWERS}[1].relation_tower_names", "'ctr' is listed twice"),
        (
            [names(CVR, "ctr"), names(CTR, "cvr")],
            f"{TOWERS}[0].relation_tower_names",
            "in a ring: 'ctr' reads 'cvr' reads 'ctr'; remove one",
        ),
        (
            [(CVR, f"{CVR} relation_mlp {{ hidden_units: [0] }}")],
            f"{TOWERS}[1].relation_mlp.hidden_units",
            "is [0]; give widths above 0",
        ),
        (
            [(CVR, f"{CVR} relation_mlp {{ hidden_units: [2] }} relation_dnn {{}}")],
            f"{TOWERS}[1].relation_dnn",
            "is set, and so is relation_mlp; keep one",
        ),
        (
            [(CVR, f'{CVR} relation_dnn {{ hidden_units: [2] activation: "rello" }}')],
            f"{TOWERS}[1].relation_dnn.activation",
            "is 'rello'; give one of relu",
        ),
    ],
)
def test_a_relation_that_cannot_be_is_a_fault_at_the_tower(changes, path, words, tmp_path) -> None:
    [line] = said_of_all(loaded(tmp_path, changed(*changes)))
    assert f"my.config:{line.split(':')[1]}: {path}: " in line
    assert words in line


def test_a_ring_of_three_is_told_with_all_of_its_towers(tmp_path: Path) -> None:
    third = f'task_towers {{ tower_name: "buy" label_name: "buy" {names("", "ctr")[1]} }}'
    changes = [("mmoe {", f"mmoe {{ {third}"), names(CTR, "cvr"), names(CVR, "buy")]
    [line] = said_of_all(loaded(tmp_path, changed(*changes)))
    ring = line.partition("in a ring: ")[2].removesuffix("; remove one").split(" reads ")
    place = ring.index("'buy'")
    assert ring[0] == ring[-1]
    assert [*ring[place:-1], *ring[:place]] == ["'buy'", "'ctr'", "'cvr'"]


def test_other_faults_are_told_beside_those_of_relations(tmp_path: Path) -> None:
    changes = [names(CVR, "cvr"), ("hidden_units: [4]", "hidden_units: [0]")]
    lines = said_of_all(loaded(tmp_path, changed(*changes)))
    assert len(lines) == 2
    assert any("expert_mlp.hidden_units" in line for line in lines)


@pytest.mark.parametrize("model", models_of_tiny.TEXTS)
def test_towers_of_any_model_may_read_each_other(model: str, tmp_path: Path) -> None:
    """Here the one that the config names first reads the other."""
    text = models_of_tiny.text(model).format(train="train", eval="eval")
    text = re.sub('relation_tower_names: "ctr"( relation_mlp { hidden_units: \\[3] })?', "", text)
    name = "cvr" if model == "dbmtl" else "ctr"
    own, other = ("ctr_tower {" if model == "esmm" else f'"{name}"'), CTR_CVR.replace(name, "")
    reads = f'relation_tower_names: "{other}" relation_mlp {{ hidden_units: [3] }}'
    made, lines = built(loaded(tmp_path, text.replace(own, f"{own} {reads}", 1)))
    assert not lines
    assert made.model.order == [other, name]
    read, (reader, last) = 0, made.model.towers.values()
    for tower, of_body in zip((reader, last), made.model.body.out_features, strict=True):
        read += tower.mlp.out_features if tower.mlp else of_body
    assert reader.relation.layers[0].linear.weight.shape == (
        made.model.body.num_members,
        3,
        read,
    )
    assert last.relation is None
    assert reader.linear.weight.shape[-1] == 3


CTR_CVR = "ctrcvr"
