"""Draws the six pictures of docs/mmoe_v2.md, one per feature_cross, from the model's own wiring.

With --check it compares the pictures without writing them.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tzmmoe.models.mmoe_v2.crossing import Crossing

FOLDER = Path(__file__).parents[1] / "docs/images"
WIDTH, HEIGHT = 630, 470
DEEP, WIDE, INK = "#1f5fa8", "#b35900", "#1b1b1b"
TASKS = {1: 130, 2: 310}  # task -> x of its column
GATES = {1: 60, 2: 380}
EXPERTS = 220
# y of each row, from the input up.
INPUT, JOINED, EXPERT, MIXTURE, SEEN, TOWER, SUM, LOGIT = 430, 365, 290, 225, 165, 112, 56, 20
# The wide side: x of its columns, then y of its output and of the lines that leave it.
FEATURES, MODEL, OUTPUT, TO_TOWERS, TO_LOGITS = 480, 570, 235, 196, 82
STYLE = f"""\
text {{ font: 14px "DejaVu Sans", Verdana, Arial, sans-serif; fill: {INK}; text-anchor: middle }}
.title {{ font-weight: bold; text-anchor: end }}
.sub {{ font-size: 10px }}
path {{ fill: none; stroke-width: 1.6 }}
rect, circle {{ fill: #ffffff; stroke-width: 1.6 }}
.deep {{ stroke: {DEEP} }}
.wide {{ stroke: {WIDE} }}
.dashed {{ stroke-dasharray: 5 4 }}"""


def picture(feature_cross: int) -> str:
    """The SVG. Dashed parts exist only with output_cross 0."""
    crossing = Crossing.of(feature_cross, 1, "FM", "auto")
    added = Crossing.of(feature_cross, 0, "FM", "auto")
    assert added.logits, "the dashed lines show that output_cross 0 adds y_w"
    name = f"feature_cross: {feature_cross}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img">',
        f"<title>MMoE V2 with {name}</title>",
        f"<style>\n{STYLE}\n</style>",
        f"<defs>{head('deep', DEEP)}{head('wide', WIDE)}</defs>",
        f'<rect x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="8" stroke="#c8c8c8"/>',
        f'<text class="title" x="{WIDTH - 18}" y="30">{name}</text>',
        *deep_side(crossing),
        *wide_side(crossing),
        *to_towers(crossing),
        *to_logits(),
    ]
    return "\n".join([*parts, "</svg>", ""])


def deep_side(crossing: Crossing) -> Iterator[str]:
    """Inputs, experts, gates, mixtures, towers, logits."""
    yield box(EXPERTS, INPUT, 180, "mmoe group: x_m")
    bottom = INPUT - 18
    if crossing.experts:
        yield arrow(f"M {EXPERTS} {bottom} V {JOINED + 16}")
        yield box(EXPERTS, JOINED, 96, "[x_m, x_w]", round_ends=True)
        bottom = JOINED - 14
    fork = EXPERT + 42
    yield arrow(f"M {EXPERTS} {bottom} V {EXPERT + 24}")
    for task, middle in GATES.items():
        yield arrow(f"M {EXPERTS} {fork} H {middle} V {EXPERT + 24}")
        yield box(middle, EXPERT, 84, f"gate {task}")
    for shift in (12, 6, 0):
        yield box(EXPERTS + shift, EXPERT - shift, 120, "" if shift else "experts")
    seen = {"features": "x_w", "output": "y_w"}.get(crossing.towers)
    for task, middle in TASKS.items():
        inward = 1 if middle < EXPERTS else -1
        top, begin = EXPERT - 30, EXPERTS + 6 - inward * 36
        yield arrow(f"M {begin} {top} L {middle + inward * 17} {MIXTURE + 8}")
        yield arrow(f"M {GATES[task]} {EXPERT - 18} L {middle - inward * 17} {MIXTURE + 8}")
        yield ring(middle, MIXTURE, 17, f"g_{task}")
        bottom = MIXTURE - 17
        if seen:
            yield arrow(f"M {middle} {bottom} V {SEEN + 16}")
            yield box(middle, SEEN, 96, f"[g_{task}, {seen}]", round_ends=True)
            bottom = SEEN - 14
        yield arrow(f"M {middle} {bottom} V {TOWER + 20}")
        yield box(middle, TOWER, 92, f"tower {task}")
        yield arrow(f"M {middle} {TOWER - 18} V {SUM + 14}")
        yield ring(middle, SUM, 12, "+", kind="wide dashed")
        yield arrow(f"M {middle} {SUM - 12} V {LOGIT + 10}")
        yield text(middle, LOGIT, f"logit {task}")


def wide_side(crossing: Crossing) -> Iterator[str]:
    """The wide group, its features, its model, and the model's output."""
    yield box((FEATURES + MODEL) / 2, INPUT, 160, "wide group", kind="wide")
    if crossing.features:
        yield arrow(f"M {FEATURES} {INPUT - 18} V {JOINED + 16}", kind="wide")
        yield box(FEATURES, JOINED, 46, "x_w", kind="wide", round_ends=True)
    if crossing.experts:
        yield arrow(f"M {FEATURES - 23} {JOINED} H {EXPERTS + 50}", kind="wide")
    kind = "wide" if crossing.output else "wide dashed"
    yield arrow(f"M {MODEL} {INPUT - 18} V {EXPERT + 20}", kind=kind)
    yield box(MODEL, EXPERT, 90, "FM or LR", kind=kind)
    yield arrow(f"M {MODEL} {EXPERT - 18} V {OUTPUT + 16}", kind=kind)
    yield box(MODEL, OUTPUT, 46, "y_w", kind=kind, round_ends=True)


def to_towers(crossing: Crossing) -> Iterator[str]:
    """x_w or y_w to the inputs of the towers."""
    if not crossing.towers:
        return
    features = crossing.towers == "features"
    begin, top = (FEATURES, JOINED - 14) if features else (MODEL - 10, OUTPUT - 14)
    way = f"M {begin} {top} V {TO_TOWERS}"
    for middle in reversed(TASKS.values()):
        yield arrow(f"{way} H {middle + 75} V {SEEN} H {middle + 50}", kind="wide")
        way = f"M {middle + 75} {TO_TOWERS}"  # the next line branches off here


def to_logits() -> Iterator[str]:
    way = f"M {MODEL + 10} {OUTPUT - 14} V {TO_LOGITS}"
    for middle in reversed(TASKS.values()):
        yield arrow(f"{way} H {middle + 36} V {SUM} H {middle + 14}", kind="wide dashed")
        way = f"M {middle + 36} {TO_LOGITS}"
    yield text(465, TO_LOGITS - 12, "output_cross: 0")


def head(name: str, colour: str) -> str:
    """An arrowhead whose tip is the end of the line."""
    return (
        f'<marker id="{name}" viewBox="0 0 10 10" refX="10" refY="5" markerWidth="8" '
        f'markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">'
        f'<path d="M 0 1 L 10 5 L 0 9 z" style="fill:{colour};stroke:none"/></marker>'
    )


def arrow(way: str, kind: str = "deep") -> str:
    return f'<path class="{kind}" d="{way}" marker-end="url(#{kind.split()[0]})"/>'


def box(
    x: float, y: float, width: int, label: str, *, kind: str = "deep", round_ends: bool = False
) -> str:
    """A box centred on (x, y); round ends stand for vectors, concatenated or passed on."""
    height, radius = (28, 14) if round_ends else (36, 4)
    rectangle = (
        f'<rect class="{kind}" x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width}" '
        f'height="{height}" rx="{radius}"/>'
    )
    return f"{rectangle}{text(x, y, label)}" if label else rectangle


def ring(x: float, y: float, radius: int, label: str, *, kind: str = "deep") -> str:
    return f'<circle class="{kind}" cx="{x}" cy="{y}" r="{radius}"/>{text(x, y, label)}'


def text(x: float, y: float, label: str) -> str:
    """Text centred on (x, y); what follows a single letter and _ becomes a subscript."""
    lowered = re.sub(
        r"\b([a-z])_(\w)(.?)",
        r'\1<tspan class="sub" dy="4">\2</tspan><tspan dy="-4">\3</tspan>',
        label,
    )
    return f'<text x="{x:g}" y="{y + 5:g}">{lowered}</text>'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare without writing")
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for feature_cross in range(6):
        path = FOLDER / f"mmoe_v2_feature_cross_{feature_cross}.svg"
        drawn = picture(feature_cross)
        if not arguments.check:
            path.write_text(drawn)
        elif not path.is_file() or path.read_text() != drawn:
            sys.exit(f"docs/images/{path.name} is out of date; run scripts/draw_mmoe_v2.py")


if __name__ == "__main__":
    main()
