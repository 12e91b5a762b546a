"""A picture of a model: its parts as boxes in layers, from groups down to towers, as SVG."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from html import escape
from itertools import pairwise
from pathlib import Path

from tzmmoe.errors import ConfigError
from tzmmoe.models.parts import Part
from tzmmoe.models.rank import RankModel
from tzmmoe.run.shown.summary import towers

PAD, GAP, ROW, HEIGHT, LETTER = 20, 28, 64, 58, 7.2  # LETTER: width of one in a name, about
SWEEPS = 6  # over all layers, each of which orders boxes by the middle of those beside them
STYLE = """\
text { font: 12px "DejaVu Sans", Verdana, Arial, sans-serif; fill: #1b1b1b; text-anchor: middle }
.name { font-weight: bold }
.shape { fill: #5a5a5a }
rect { fill: #eef3fa; stroke: #1f5fa8; stroke-width: 1.4 }
.group rect { fill: #f3f3f3; stroke: #7a7a7a }
.tower rect { fill: #fdf1e3; stroke: #b35900 }
.auxiliary rect { stroke-dasharray: 5 4 }
path { fill: none; stroke: #6b7785; stroke-width: 1.3 }"""
HEAD = (
    '<marker id="head" viewBox="0 0 10 10" refX="10" refY="5" markerWidth="8" markerHeight="8" '
    'markerUnits="userSpaceOnUse" orient="auto"><path d="M 0 1 L 10 5 L 0 9 z" '
    'style="fill:#6b7785;stroke:none"/></marker>'
)


def check_path(path: Path) -> None:
    """Raise ConfigError for a name that no SVG has, or a folder that does not exist."""
    if path.suffix != ".svg":
        raise ConfigError.at("--graph", f"is {str(path)!r}; give a name that ends in .svg")
    if not path.parent.is_dir():
        raise ConfigError.at(
            "--graph", f"{path.parent} is not a folder; create it, or choose another"
        )


def picture(model: RankModel) -> str:
    """The SVG."""
    parts = {part.name: part for part in _all(model)}
    layers = _layers(parts)
    chains = _chains(layers, parts)
    _order(layers, chains.values())
    places, width = _places(layers, parts)
    height = 2 * PAD + len(layers) * HEIGHT + (len(layers) - 1) * ROW
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" '
        f'width="{width:.0f}" height="{height}" role="img">',
        "<title>Parts of the model</title>",
        f"<style>\n{STYLE}\n</style>",
        f"<defs>{HEAD}</defs>",
        f'<rect x="0" y="0" width="{width:.0f}" height="{height}" style="fill:#fff;stroke:none"/>',
        *_arrows(parts, chains, places),
        *(_box(part, places[part.name]) for part in parts.values()),
    ]
    return "\n".join([*lines, "</svg>", ""])


def _all(model: RankModel) -> Iterator[Part]:
    """Groups, the body's parts, towers."""
    inner = list(model.body.parts())
    reads = {name for part in inner for name in part.reads} | {*model.body.ends()}
    for name, features in model.body.inputs().items():
        if f"group {name}" in reads:
            yield Part(f"group {name}", (), f"{len(features)} features", "", 0)
    yield from inner
    yield from towers(model)


def _layers(parts: Mapping[str, Part]) -> list[list[str]]:
    """By the longest way from an input; feature groups stand right above what reads them."""
    edges = {name: [each for each in part.reads if each in parts] for name, part in parts.items()}
    depth: dict[str, int] = {}
    for name in TopologicalSorter(edges).static_order():
        depth[name] = max((depth[each] + 1 for each in edges[name]), default=0)
    for name in [each for each in parts if each.startswith("group ")]:
        readers = [depth[other] for other, read in edges.items() if name in read]
        depth[name] = min(readers, default=1) - 1
    last = max(depth.values())
    read = {each for own in edges.values() for each in own}
    for name in parts:
        if name.startswith("tower ") and name not in read:
            depth[name] = last
    return [[name for name in parts if depth[name] == level] for level in range(last + 1)]


def _chains(layers: list[list[str]], parts: Mapping[str, Part]) -> dict[tuple[str, str], list[str]]:
    """Of each arrow the way from box to box, with a point in each layer between them, which is put
    into the layer. Arrows of one box share their points."""
    depth = {name: level for level, names in enumerate(layers) for name in names}
    chains = {}
    for name, part in parts.items():
        for source in (each for each in dict.fromkeys(part.reads) if each in parts):
            points = [f"{source}\n{level}" for level in range(depth[source] + 1, depth[name])]
            for level, point in enumerate(points, depth[source] + 1):
                if point not in layers[level]:
                    layers[level].append(point)
            chains[source, name] = [source, *points, name]
    return chains


def _order(layers: Sequence[list[str]], chains: Iterable[Sequence[str]]) -> None:
    """Sort each layer by the middle of what its boxes read, and are read by, so that few arrows
    cross."""
    beside: dict[str, set[str]] = {name: set() for names in layers for name in names}
    for one, other in (pair for chain in chains for pair in pairwise(chain)):
        beside[one].add(other)
        beside[other].add(one)
    spots = {n: (p + 0.5) / len(names) for names in layers for p, n in enumerate(names)}
    for sweep in range(SWEEPS):
        for names in layers if sweep % 2 == 0 else reversed(layers):
            middle = {n: sum(spots[o] for o in beside[n]) / max(1, len(beside[n])) for n in names}
            names.sort(key=middle.__getitem__)
            spots |= {name: (place + 0.5) / len(names) for place, name in enumerate(names)}


def _width(part: Part) -> float:
    longest = max(len(part.name) * 1.1, len(_layer(part)), len(part.gives))
    return max(80, longest * LETTER + 20)


def _layer(part: Part) -> str:
    count = f", {part.parameters:,} numbers" if part.parameters else ""
    return f"{part.layer}{count}"


def _places(
    layers: Sequence[Sequence[str]], parts: Mapping[str, Part]
) -> tuple[dict[str, tuple[float, float]], float]:
    """The middle of each box's upper edge, and the width of the picture."""
    wide = {n: _width(parts[n]) if n in parts else 0 for names in layers for n in names}
    widths = [sum(wide[n] for n in names) + GAP * (len(names) - 1) for names in layers]
    whole = max(widths) + 2 * PAD
    places = {}
    for level, (names, width) in enumerate(zip(layers, widths, strict=True)):
        x = (whole - width) / 2
        for name in names:
            places[name] = (x + wide[name] / 2, PAD + level * (HEIGHT + ROW))
            x += wide[name] + GAP
    return places, whole


def _arrows(
    parts: Mapping[str, Part],
    chains: Mapping[tuple[str, str], Sequence[str]],
    places: Mapping[str, tuple[float, float]],
) -> Iterator[str]:
    for name, part in parts.items():
        ways = [chain for (_, end), chain in chains.items() if end == name]
        ways.sort(key=lambda way: places[way[-2]][0])
        step = min(24, (_width(part) - 24) / max(1, len(ways) - 1))
        for place, (source, *points, _) in enumerate(ways):
            x, y = places[source]
            way = f"M {x:.1f} {y + HEIGHT:.1f}"
            y += HEIGHT
            for point in points:
                way += _bend(x, y, *places[point])
                x, y = places[point][0], places[point][1] + HEIGHT
                way += f" V {y:.1f}"
            end, bottom = places[name]
            way += _bend(x, y, end + (place - (len(ways) - 1) / 2) * step, bottom)
            yield f'<path d="{way}" marker-end="url(#head)"/>'


def _bend(x: float, y: float, to_x: float, to_y: float) -> str:
    middle = (y + to_y) / 2
    return f" C {x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"


def _box(part: Part, place: tuple[float, float]) -> str:
    x, y = place
    width = _width(part)
    kind = part.name.partition(" ")[0]
    kind += " auxiliary" if part.name.endswith(" (auxiliary)") else ""
    rows = [("name", part.name), ("layer", _layer(part)), ("shape", part.gives)]
    texts = [
        f'<text class="{word}" x="{x:.1f}" y="{y + 18 + 16 * line:.1f}">{escape(text)}</text>'
        for line, (word, text) in enumerate(rows)
        if text
    ]
    box = (
        f'<rect x="{x - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" height="{HEIGHT}" rx="6"/>'
    )
    return f'<g class="{kind}">{box}{"".join(texts)}</g>'
