"""The picture of a model: a box for each part, an arrow for each thing that is read."""

import re
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
from e2e import tiny
from models import models_of_tiny
from models.backbone import tiny_blocks

from tzmmoe import train
from tzmmoe.errors import ConfigError
from tzmmoe.models.rank import RankModel
from tzmmoe.run.shown.picture import picture
from tzmmoe.run.shown.summary import towers

SVG = "{http://www.w3.org/2000/svg}"
BLOCKS = {**tiny_blocks.MODELS, "everything": tiny_blocks.EVERYTHING}
MODELS = ["mmoe", *models_of_tiny.TEXTS, *BLOCKS]


def model(name: str, folder: Path) -> RankModel:
    if name in BLOCKS:
        tiny_blocks.write(BLOCKS[name], folder)
    elif name == "mmoe":
        tiny.write_all(folder)
    else:
        models_of_tiny.write(name, folder)
    return tiny.session(folder).built.model


def boxes(root: ElementTree.Element) -> dict[str, tuple[float, float, float, float]]:
    """Left, top, right, bottom of each part's box."""
    found = {}
    for group in root.iter(f"{SVG}g"):
        box, name = group.find(f"{SVG}rect"), group.find(f"{SVG}text").text
        x, y, width, height = (float(box.get(key)) for key in ("x", "y", "width", "height"))
        found[name] = (x, y, x + width, y + height)
    return found


@pytest.mark.parametrize("name", MODELS)
def test_each_part_has_a_box_and_each_input_an_arrow_that_leads_down_into_it(tmp_path, name):
    made = model(name, tmp_path)
    root = ElementTree.fromstring(picture(made))
    parts = [*made.body.parts(), *towers(made)]
    found = boxes(root)
    assert {part.name for part in parts} <= set(found)
    assert {n for n in found if n not in {p.name for p in parts}} == {
        f"group {group}" for group in made.body.groups
    }
    for one, other in combinations(found.values(), 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart
    ways = [p.get("d") for p in root.iter(f"{SVG}path") if p.get("marker-end")]
    assert len(ways) == sum(len(set(part.reads)) for part in parts)
    wanted = {(source, part.name) for part in parts for source in part.reads}
    ends = set()
    for way in ways:
        numbers = [float(number) for number in re.findall(r"-?\d+\.\d", way)]
        begin, end = numbers[:2], numbers[-2:]
        [source] = [n for n, b in found.items() if b[0] <= begin[0] <= b[2] and b[3] == begin[1]]
        [target] = [n for n, b in found.items() if b[0] <= end[0] <= b[2] and b[1] == end[1]]
        assert begin[1] < end[1]
        ends.add((source, target))
    assert ends == wanted


def test_check_draws_the_model_and_trains_nothing(tmp_path: Path) -> None:
    folder, target = tiny_blocks.write(BLOCKS["mixtures"], tmp_path), tmp_path / "model.svg"
    tiny.pipeline(folder, tmp_path / "run").check(graph=str(target))
    assert set(boxes(ElementTree.parse(target).getroot())) > {"senet", "l0", "l1", "tower ctr"}
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["model.png", "nowhere/model.svg"])
def test_a_file_that_cannot_be_drawn_to_is_refused_before_anything_is_built(
    tiny_folder, tmp_path, name: str
) -> None:
    with pytest.raises(ConfigError, match="graph: "):
        tiny.pipeline(tiny_folder, tmp_path).check(graph=str(tmp_path / name))


def test_a_graph_without_check_is_refused(capsys) -> None:
    with pytest.raises(SystemExit):
        train.main(["--pipeline_config", "my.config", "--graph", "model.svg"])
    assert "--graph has no effect without --check" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("joined", "read"),
    [
        ('output_blocks: ["left", "right"]', [["left"], ["right", "tower ctr"]]),
        ('concat_blocks: ["left", "right"]', [["left", "right"], ["left", "right", "tower ctr"]]),
    ],
)
def test_a_tower_reads_its_own_block_where_each_has_one(
    tmp_path: Path, joined: str, read: list[list[str]]
) -> None:
    blocks = "".join(
        tiny_blocks.layer(name, "all", "mlp { hidden_units: [4] }") for name in ("left", "right")
    )
    folder = tiny_blocks.write(blocks + joined, tmp_path)
    config = folder / "tiny.config"
    related = 'tower_name: "cvr" relation_tower_names: ["ctr"] relation_mlp { hidden_units: [3] }'
    config.write_text(config.read_text().replace('tower_name: "cvr"', related, 1))
    made = tiny.session(folder).built.model
    assert [list(tower.reads) for tower in towers(made)] == read


def test_the_experts_of_dbmtl_read_its_shared_layers_and_its_towers_the_experts(tmp_path) -> None:
    made = model("dbmtl", tmp_path)
    parts = {part.name: part for part in [*made.body.parts(), *towers(made)]}
    assert parts["experts"].reads == parts["gates"].reads == ["bottom"]
    assert {"experts", "gates"} == set(parts["tower ctr"].reads) - {"tower cvr"}


def test_what_the_levels_of_ple_give_is_as_wide_as_what_its_towers_read(tmp_path) -> None:
    made = model("ple", tmp_path)
    [levels] = made.body.parts()
    width = next(made.towers["tower_ctr"].parameters()).shape[-2]
    assert levels.gives == f"{len(made.names)} x (B, {width})"
