"""Thousands of faults take as much longer to report as there are more of them."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cases import some

from tzmmoe.errors import UserError
from tzmmoe.pipeline import Pipeline

FEW, MANY = 250, 750
FEATURES = {
    "unknown field": 'id_feature { feature_name: "%s" num_bucketz: 10 embedding_dim: 4 }',
    "unknown fields of many names": 'id_feature { feature_name: "%s" field_%s: 10 }',
    "value of another type": 'id_feature { feature_name: "%s" num_buckets: "x" embedding_dim: 4 }',
    "value out of range": 'id_feature { feature_name: "%s" num_buckets: -1 embedding_dim: 4 }',
    "unset field": 'id_feature { feature_name: "%s" num_buckets: 10 }',
    "unknown method": 'raw_feature { feature_name: "%s" normalizer: "method=zz" }',
    "misspelt in the group": 'id_feature { feature_name: "%s_" num_buckets: 9 embedding_dim: 4 }',
    "missing column": 'id_feature { feature_name: "%s" num_buckets: 9 embedding_dim: 4 }',
    "unknown source": 'id_feature { feature_name: "%s" expression: "feature:no%s" num_buckets: 9 '
    "embedding_dim: 4 }",
}
USUAL = [FEATURES[name] for name in ("unknown field", "value out of range", "missing column")]


def calls(act: Callable[[], None]) -> int:
    """How many functions a call of it calls, in Python and in C."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
    return count


def config(tiny_folder: Path, feature: str, count: int, file: Path) -> Path:
    names = [f"feature_{number}" for number in range(count)]
    wrong = [feature.replace("%s", name) for name in names]
    listed = ", ".join(f'"{name}"' for name in names)
    text = (tiny_folder / "tiny.config").read_text()
    file.write_text(
        text.replace('"price", "age"]\n', f'"price", "age", {listed}]\n')
        + "\n".join(f"feature_configs {{ {each} }}" for each in wrong)
    )
    return file


def said(file: Path) -> list[str]:
    with pytest.raises(UserError) as raised:
        Pipeline.load(file, settings=["model_dir=unused"], device="cpu").check()
    return str(raised.value).splitlines()


@pytest.mark.parametrize("feature", some(FEATURES.values(), *USUAL), ids=list(FEATURES))
def test_three_times_as_many_wrong_features_take_three_times_the_work(
    tiny_folder, tmp_path, feature
) -> None:
    """Pairs of them would be nine times as many. Each is named."""
    said(config(tiny_folder, feature, 1, tmp_path / "first.config"))  # fills what is cached
    work = {}
    for count in (FEW, MANY):
        file = config(tiny_folder, feature, count, tmp_path / f"{count}.config")
        lines: list[str] = []
        work[count] = calls(lambda file=file, lines=lines: lines.extend(said(file)))
        assert len(lines) >= count
    assert work[MANY] < 3.5 * work[FEW]
