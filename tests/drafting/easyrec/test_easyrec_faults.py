"""Faults of a pipeline: all at once, with their lines, and nothing is written."""

import subprocess
import sys
from pathlib import Path

import pytest
from drafting.easyrec.pipelines import BUILT_IN, FORMS, HIVE, convert, line_of, refused
from written import ROOT, changed, load

from tzmmoe.convert import main
from tzmmoe.drafting.easyrec.differences import DIFFERENCES
from tzmmoe.errors import ConfigError
from tzmmoe.system import cli

WRONG = [  # a part of the pipeline, what stands in its place, and what is said of it
    ("prefetch_size: 32", "prefetch_sise: 32", "data_config.prefetch_sise", "'prefetch_size'"),
    ("input_type: CSVInput", "input_type: CSVInptu", "data_config.input_type", "'CSVInput'"),
    ("sync_replicas: true", "sync_replica: true", "train_config.sync_replica", "'sync_replicas'"),
    ("feature_type: TagFeature", "feature_type: TagFeatur", "feature_type", "'TagFeature'"),
    ("num_expert: 3", "num_exprt: 3", "model_config.mmoe.num_exprt", "'num_expert'"),
    ('model_class: "MMoE"', 'model_class: "PLE"', "model_config.model_class", "write 'MMoE'"),
    ("hash_bucket_size: 40", "hash_bucket_size: -4", "hash_bucket_size", "is -4"),
    ('input_names: "price"', 'input_names: "cost"', "input_names[0]", "data_config.input_fields"),
    ("batch_size: 16", 'batch_size: 16 separator: ";;"', "data_config.separator", "give one ASCII"),
    ("batch_size: 16", "batch_size: 0", "data_config.batch_size", "is 0; give 1 or more"),
    ("batch_size: 16", "batch_size: 16 label_sep: ','", "label_sep", "one column per number"),
    ("batch_size: 16", "batch_size: 16 negative_sampler { input_path: 'x' }", "negative_sampler",
     "not supported"),
    ("batch_size: 16", "batch_size: 16 extra_label_func { label_name: 'x' label_func: 'f' }",
     "extra_label_func", "write this label into the data"),
    ('input_name: "clk"', 'input_name: "clk" user_define_fn: "tf.math.log1p"', "user_define_fn",
     "write its result into the data"),
    ('label_name: "buy"', 'label_name: "bye"', "task_towers[1].label_name", "bye"),
    ('feature_names: "price"', 'feature_names: "prize"', "feature_groups[0]", "prize"),
    ('feature_names: "price"', 'feature_names: "price" sequence_features { group_name: "s" }',
     "sequence_features", "sequences are not supported yet"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "path", "words"), WRONG)
def test_a_fault_has_its_line_and_a_remedy(
    tmp_path: Path, old: str, new: str, path: str, words: str
) -> None:
    text = changed((old, new), text=BUILT_IN)
    said = [line for line in refused(tmp_path, text) if words in line]
    assert said, refused(tmp_path, text)
    assert path in said[0]
    assert said[0].startswith(f"theirs.config:{line_of(text, new)}: ")


def test_all_faults_are_told_at_once_in_the_order_of_the_text(tmp_path: Path) -> None:
    some = [(old, new) for old, new, *_ in WRONG[:5]]
    said = refused(tmp_path, changed(*some, text=BUILT_IN))
    lines = [int(line.split(":")[1]) for line in said]
    assert len(said) == 5
    assert lines == sorted(line_of(changed(*some, text=BUILT_IN), new) for _, new in some)


def test_blocks_of_hive_are_not_read_whatever_they_hold(tmp_path: Path) -> None:
    whole = convert(tmp_path, HIVE).text
    start, end = HIVE.index("hive_train_input"), HIVE.index("train_config")
    without = convert(tmp_path, HIVE[:start] + HIVE[end:]).text
    assert whole == without


def run(*flags: str) -> None:
    main(["easyrec", *flags])


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    path = tmp_path / "theirs.config"
    path.write_text(BUILT_IN)
    return path


def test_the_command_writes_the_config_and_prints_the_report_and_the_next_command(
    tmp_path: Path, theirs: Path, capsys
) -> None:
    out = tmp_path / "ours.config"
    run("--config", str(theirs), "--out", str(out))
    printed = capsys.readouterr().out
    assert not load(out).faults
    assert "user (IdFeature) -> id_feature hash_bucket_size 40" in printed
    assert printed.endswith(f"python -m tzmmoe.train --pipeline_config {out}\n")


def test_paths_that_are_left_out_are_in_the_next_command(tmp_path: Path, capsys) -> None:
    (tmp_path / "theirs.config").write_text(FORMS["odps"])
    out = tmp_path / "ours.config"
    run("--config", str(tmp_path / "theirs.config"), "--out", str(out))
    flags = "--train_input_path TRAIN_INPUT_PATH --eval_input_path EVAL_INPUT_PATH"
    command = f"--pipeline_config {out} {flags} --model_dir MODEL_DIR"
    assert capsys.readouterr().out.endswith(f"{command}\n")
    assert command in out.read_text()


def test_nothing_is_written_on_a_fault_or_over_a_file(tmp_path: Path, theirs: Path) -> None:
    out = tmp_path / "ours.config"
    theirs.write_text(BUILT_IN.replace("num_expert: 3", "num_exprt: 3"))
    with pytest.raises(ConfigError, match="num_exprt"):
        run("--config", str(theirs), "--out", str(out))
    assert not out.exists()
    theirs.write_text(BUILT_IN)
    out.write_text("mine")
    with pytest.raises(ConfigError, match="--force"):
        run("--config", str(theirs), "--out", str(out))
    with pytest.raises(ConfigError, match="is an input"):
        run("--config", str(theirs), "--out", str(theirs), "--force")
    assert (out.read_text(), theirs.read_text()) == ("mine", BUILT_IN)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read"),
        (b"", "holds no settings"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a: {", ":1"),
    ],
)
def test_what_is_no_pipeline_says_so(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "theirs.config"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        run("--config", str(path), "--out", str(tmp_path / "ours.config"))


def test_a_pipeline_without_its_parts_says_which(tmp_path: Path) -> None:
    said = "\n".join(refused(tmp_path, 'model_dir: "x"'))
    for name in ("train_config", "data_config", "model_config"):
        assert f"{name}: is not set; give a whole pipeline" in said


def test_help_names_both_commands() -> None:
    command = [sys.executable, "-m", "tzmmoe.convert", "easyrec", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--config FILE" in done.stdout
    command = [sys.executable, "-m", "tzmmoe.convert", "--help"]
    assert "easyrec" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("form", FORMS)
def test_training_with_a_pipeline_of_easyrec_names_the_converter_in_one_line(
    tmp_path: Path, form: str
) -> None:
    path = tmp_path / "theirs.config"
    path.write_text(FORMS[form])
    with pytest.raises(ConfigError) as raised:
        load(path)
    [said] = str(raised.value).splitlines()
    assert f"python -m tzmmoe.convert easyrec --config {path} --out" in said


@pytest.mark.parametrize(
    "slip",
    [
        ("dense_optimizer {", "optimizer_config {"),
        ("batch_size: 8", "batch_size: 8 input_type: CSVInput"),
        ("feature_configs {", "feature_config { features {} } feature_configs {"),
    ],
)
def test_one_word_of_easyrec_in_a_config_of_ours_is_a_fault_of_that_word(
    tmp_path: Path, slip: tuple[str, str]
) -> None:
    path = tmp_path / "ours.config"
    path.write_text(changed(slip))
    faults = load(path).faults
    assert faults
    assert not [fault for fault in faults if "convert" in fault.text]


def test_every_difference_is_in_the_document_and_told_only_where_it_concerns(tmp_path) -> None:
    page = " ".join((ROOT / "docs/convert.md").read_text().split())
    missing = [name for name, line in DIFFERENCES.items() if line not in page]
    assert not missing
    told = convert(tmp_path, BUILT_IN).said.differences
    names = {name for name, line in DIFFERENCES.items() if line in told}
    assert names == {"experts", "adam", "labels", "shuffle", "hashes", "identities"}


def test_row_weights_reach_every_tower_and_the_difference_is_told(tmp_path: Path) -> None:
    text = changed(("batch_size: 16", 'batch_size: 16 sample_weight: "price"'), text=BUILT_IN)
    made = convert(tmp_path, text)
    assert list(made.data.sample_weight_fields) == ["price"]
    towers = made.pipeline.model_config.mmoe.task_towers
    assert [tower.sample_weight_name for tower in towers] == ["price", "price"]
    assert DIFFERENCES["weights"] in made.said.differences


def test_an_exit_code_of_2_ends_a_refused_command(tmp_path: Path) -> None:
    (tmp_path / "theirs.config").write_text(BUILT_IN.replace("num_expert: 3", "num_exprt: 3"))
    flags = ["--config", "theirs.config", "--out", "ours.config"]
    command = [sys.executable, "-m", "tzmmoe.convert", "easyrec", *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == cli.USER_ERROR
    assert f"theirs.config:{line_of(BUILT_IN, 'num_expert: 3')}: " in done.stderr
    assert not (tmp_path / "ours.config").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("optimizer_config {", "optimizer_confg {"),
        ("input_type: CSVInput", "input_typ: CSVInput"),
        ("feature_config: {", "feature_confg: {"),
    ],
)
def test_what_a_misspelt_name_lacks_is_not_told_too(tmp_path: Path, old: str, new: str) -> None:
    text = changed((old, new), text=BUILT_IN)
    [said] = refused(tmp_path, text)
    assert said.startswith(f"theirs.config:{line_of(text, new)}: ")
