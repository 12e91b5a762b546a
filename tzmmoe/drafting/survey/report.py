"""What was drafted, for the person who asked for it."""

import shlex
from collections import Counter
from pathlib import Path

from tzmmoe.drafting.survey.feature import shown
from tzmmoe.drafting.survey.findings import Findings


def summary(findings: Findings, out: Path, command: str) -> str:
    """A few lines, the last of which is the next command."""
    lines = [f"looked at {findings.survey.seen} of {len(findings.source.files)} file(s)"]
    lines += [f"task {shown(each.column.name)}: {each.why}" for each in findings.tasks]
    words = Counter(each.config.WhichOneof("feature") for each in findings.features)
    counts = ", ".join(f"{count} {word}" for word, count in sorted(words.items()))
    lines.append(f"{len(findings.features)} features: {counts}")
    lines += [f"left out {shown(each.column)}: {each.why}" for each in findings.left_out]
    for column, suspects in findings.leaks.items():
        found = " and ".join(f"{shown(label)} (AUC {auc:.4f})" for label, auc in suspects.items())
        lines.append(
            f"leaks? {shown(column)} alone tells {found}; if it is made from the label, draft anew "
            f"with --ignore {shlex.quote(column)}"
        )
    lines += [
        f"sorted by {shown(label)}? shuffle the files' rows; training permutes them only nearby"
        for label in findings.sorted_by
    ]
    lines += [each.advice for each in findings.tasks if each.advice]
    if not findings.request.eval_files:
        lines.append("no --eval_data: training will measure nothing")
    return "\n".join([*lines, f"wrote {out}; train with it:", f"  {command}"])
