"""How quotes and missing values are written in CSV files: chosen, said, kept, and held to."""

import csv as standard
import io
import itertools
import json
import logging

import pyarrow.parquet as pq
import pytest
from e2e import tiny
from messages import fails, says
from numbered import csv_source

from tzmmoe.data.reading import csv
from tzmmoe.data.reading.quoting import chosen
from tzmmoe.errors import DataError
from tzmmoe.pipeline import Pipeline

HEAD = "title,row\n"
PLAIN = "".join(f"thing {row},{row}\n" for row in range(50))


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (PLAIN, "DOUBLED"),
        (PLAIN + '"with, comma",1\n', "DOUBLED"),
        (PLAIN + '"a ""word""",1\n', "DOUBLED"),
        (PLAIN + '5" nails,1\n6" nails,2\n', "DOUBLED"),
        (PLAIN + '"two\nlines",1\n', "DOUBLED"),
        (PLAIN + '"a \\"word\\", and more",1\n', "ESCAPED"),
        (PLAIN + '"unfinished,1\n' + PLAIN + '"another,2\n' + PLAIN, "OFF"),
        (PLAIN + '"unfinished,1\n' + PLAIN, "OFF"),
        (PLAIN + '"Great" product,1\n' + PLAIN, "OFF"),
        ('"a, b",1\n' * 9 + '"broken,2\n' + '"c, d",3\n' * 9, "DOUBLED"),
        ('"a",1\n' * 9 + '"b" c,2\n' + '"d",3\n' * 9, "DOUBLED"),
    ],
)
@pytest.mark.parametrize("mark", [",", "\t"])
def test_quoting_is_chosen_by_what_quotes_do_in_the_file(body, word, mark) -> None:
    text = (HEAD + body).replace(",", mark)
    assert chosen(text.encode(), mark)[0] == word


def test_a_sample_that_ends_within_a_quoted_cell_is_still_quoted() -> None:
    text = HEAD + "".join(f'"a b\nc, {row}",{row}\n' for row in range(50))
    for end in range(len(HEAD), len(text)):
        assert chosen(text[:end].encode(), ",")[0] == "DOUBLED", text[:end]


WORDS = {
    "DOUBLED": {"quoting": standard.QUOTE_MINIMAL},
    "ESCAPED": {"quoting": standard.QUOTE_ALL, "doublequote": False, "escapechar": "\\"},
}


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("block", [64, 65, 66, 1 << 20])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_cells_are_those_that_were_written_from_any_row_on(
    tmp_path, monkeypatch, word, block, suffix
) -> None:
    """Line breaks of two characters within quotes among them, wherever blocks end."""
    monkeypatch.setattr(csv, "BLOCK_BYTES", block)
    cells = [f'{"x" * (row % 7)}\r\n "{row}", or \\ so' for row in range(40)]
    text = io.StringIO(newline="")
    writer = standard.writer(text, lineterminator="\n", **WORDS[word])
    writer.writerows([["title", "row"], *([cell, row] for row, cell in enumerate(cells))])
    file = str(tmp_path / f"a{suffix}")
    with csv.pa.output_stream(file, compression="detect") as to:
        to.write(text.getvalue().encode())
    source = csv_source([file], quoting=word)
    for counts_first in (False, True):  # afterwards rows are found by an index
        for skip in (0, 1, 17, 40):
            batches = source.read(file, ["title"], skip)
            read = [cell for batch in batches for cell in batch.column(0).to_pylist()]
            assert read == cells[skip:]
        if not counts_first:
            assert source.num_rows(file) == len(cells)


def test_rows_after_the_first_thousands_are_found_by_their_bytes(tmp_path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(HEAD + "".join(f'"{row}\n",{row}\n\n' for row in range(20_000)))
    source = csv_source([str(file)], quoting="DOUBLED")
    assert source.num_rows(str(file)) == 20_000
    for skip in (4094, 4095, 4096, 12_345, 19_999, 20_000):
        batches = source.read(str(file), ["row"], skip)
        read = [int(cell) for batch in batches for cell in batch.column(0).to_pylist()]
        assert read == list(range(skip, 20_000))


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("num_rows", [0, 1, 4096, 100_000])
def test_blocks_of_a_csv_file_begin_at_rows_that_can_be_found(
    tmp_path, monkeypatch, header, num_rows
) -> None:
    monkeypatch.setattr(csv, "BLOCK_BYTES", 1 << 16)
    file = tmp_path / "a.csv"
    file.write_text("row,x\n" * header + "".join(f"{row},1\n" for row in range(num_rows)))
    names = {} if header else {"names": ("row", "x"), "with_header": False}
    if not (header or num_rows):
        return
    source = csv_source([str(file)], **names)
    blocks = source.blocks(str(file))
    assert sum(blocks) == num_rows
    assert len(blocks) > 8 or num_rows < 100_000
    for begin in [0, *itertools.accumulate(blocks)][:-1]:
        assert begin == 0 or source._indexes[str(file)].before(begin + header)[0] == begin + header


@pytest.mark.parametrize(
    ("body", "line", "reason"),
    [
        ('a,1\n"b,2\nc,3\n"d,4\n', 3, "text after"),
        ('a,1\nb,"2\nc,3"\nd,4\n', 3, "lines that look like rows"),
        ('a,1\n"b,2\nc,3"\nd,4\n', 3, "lines that look like rows"),
        ('a,1\n\n"b,2\nc,3\n', 4, "never closed"),
    ],
)
def test_a_quote_that_swallows_lines_is_an_error_with_its_line(
    tmp_path, body, line, reason
) -> None:
    first, later = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text(HEAD + '"a",1\n')
    later.write_text(HEAD + body)
    source = csv_source([str(first), str(later)])
    with fails(DataError, f"b.csv, line {line}: ", reason, "quoting: OFF"):
        list(source.read(str(later), ["row"], 0))


def test_a_row_that_arrow_blames_is_not_named_if_a_quote_above_is_the_cause(tmp_path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("title,x,row\n" + '"open,1,1\n' + "a,2,2\n" * 5 + '"b,",c,7\n')
    with fails(DataError, "a.csv, line 2: ", "quote"):
        list(csv_source([str(file)], quoting="DOUBLED").read(str(file), ["row"], 0))


@pytest.mark.parametrize("words", [[], ["\\N"], ["NULL", "NA"]])
def test_only_the_empty_cell_and_the_texts_that_are_listed_mean_missing(tmp_path, words) -> None:
    file = tmp_path / "a.csv"
    cells = ["", "\\N", "NULL", "NA", "null", "N/A", "nan"]
    file.write_text("x,y\n" + "".join(f"{cell},1\n" for cell in cells))
    read = csv_source([str(file)], null_values=words).read(str(file), ["x"], 0)
    expected = [None if cell in ("", *words) else cell for cell in cells]
    assert [cell for batch in read for cell in batch.column(0).to_pylist()] == expected


def lines_of(rows: list[dict]) -> str:
    head = list(rows[0])
    return "\n".join("\t".join(map(str, row)) for row in [head, *(r.values() for r in rows)]) + "\n"


@pytest.fixture
def stray(tmp_path):
    """A config, and the TSV file that it trains on: two of 400 titles begin with a quote."""
    rows = [
        {"row": row, "title": f"thing {row % 17}", "x": row % 5, "click": row % 2}
        for row in range(400)
    ]
    rows[50]["title"], rows[90]["title"] = '"unfinished sale', '"another one'
    (tmp_path / "t.tsv").write_text(lines_of(rows))
    text = f'''
train_input_path: "{tmp_path}/t.tsv" model_dir: "{tmp_path}/m"
train_config {{ sparse_optimizer {{ adam_optimizer {{ lr: 0.01 }} }}
  dense_optimizer {{ adam_optimizer {{ lr: 0.01 }} }} num_epochs: 1 }}
data_config {{ batch_size: 64 label_fields: "click" fg_mode: FG_DAG with_header: true
  delimiter: "\\t" num_workers: 0 }}
feature_configs {{ id_feature {{ feature_name: "title" hash_bucket_size: 50 embedding_dim: 4 }} }}
model_config {{ feature_groups {{ group_name: "all" feature_names: "title" }}
  mmoe {{ expert_mlp {{ hidden_units: 4 }} num_expert: 2 task_towers {{
    tower_name: "t" label_name: "click" losses {{ binary_cross_entropy {{}} }} }} }} }}
'''
    path = tmp_path / "a.config"
    path.write_text(text)
    return path


def test_what_was_chosen_is_said_once_and_kept_in_checkpoints_and_exports(stray, caplog) -> None:
    folder = stray.parent
    pipeline = Pipeline.load(stray)
    with caplog.at_level(logging.INFO):
        pipeline.fit()
    (said,) = [r.getMessage() for r in caplog.records if "quoting" in r.getMessage()]
    says(said, "OFF", "line 52", "t.tsv")
    (state,) = folder.glob("m/model.ckpt-*/state.json")
    assert json.loads(state.read_text())["csv_quoting"] == "OFF"
    assert pipeline.predict(str(folder / "t.tsv"), str(folder / "p.parquet")) == 400
    assert "earlier version" not in caplog.text
    # A file without any quote, or with one that would enclose a cell, is read in the same way.
    other = folder / "other.tsv"
    other.write_text('row\ttitle\tx\tclick\n1\t"thing 3"\t1\t0\n2\tthing 3\t1\t0\n')
    pipeline.predict(str(other), str(folder / "o.parquet"), reserved_columns=["title"])
    assert pq.read_table(folder / "o.parquet")["title"].to_pylist() == ['"thing 3"', "thing 3"]
    from tzmmoe.serving.scorer import Scorer

    pipeline.export(str(folder / "e"))
    assert Scorer.load(folder / "e").reading.quoting == "OFF"


def test_a_quoting_of_the_config_wins_and_a_file_that_contradicts_it_is_an_error(stray) -> None:
    with fails(DataError, "t.tsv, line 52: ", "quoting: OFF"):
        Pipeline.load(stray, settings=["data_config.quoting=DOUBLED"]).fit()


def test_settings_of_csv_files_are_said_to_have_no_effect_on_parquet(tmp_path, caplog) -> None:
    tiny.write_all(tmp_path)
    edits = {"data_config__quoting": "OFF", "data_config__null_values": '["NA"]'}
    tiny.pipeline(tmp_path, tmp_path / "m", **edits).check()
    says(caplog.text, "data_config.quoting", "data_config.null_values", "no effect")
