"""The reader of users' tables: what it accepts, and every way in which it refuses."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.tables import FAULTS_SHOWN, limit_faults, read_table


def write(tmp_path, content, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def faults(path, **options):
    with pytest.raises(InputError) as caught:
        read_table(path, **options)
    return list(caught.value.faults)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_delimiters_line_ends_and_bom(tmp_path, delimiter, newline, bom):
    rows = [["participant_id", "N1", "note"], ["007", "3", '"a, b; c"'], ["8", "n/a", ""]]
    path = write(tmp_path, bom + newline.join(delimiter.join(r) for r in rows) + newline)
    frame = read_table(path).frame
    assert frame["participant_id"].tolist() == ["007", "8"]
    np.testing.assert_array_equal(frame["N1"], [3.0, np.nan])
    assert frame["note"].tolist() == ["a, b; c", None]


def test_rows_are_numbered_as_in_the_file(tmp_path):
    table = read_table(write(tmp_path, "participant_id,x\na,1\n\n,,\nb,2\n"))
    assert table.rows.tolist() == [2, 5]
    assert table.place(1) == "row 5 of t.csv"


def test_numbers_are_read_to_the_last_bit(tmp_path):
    values = np.random.default_rng(0).normal(size=200) * 10.0 ** np.arange(-100, 100)
    body = "\n".join(f"s{i},{v!r}" for i, v in enumerate(values.tolist()))
    frame = read_table(write(tmp_path, f"participant_id,x\n{body}\n")).frame
    np.testing.assert_array_equal(frame["x"], values)


def test_bytes_that_are_not_utf8_are_named_with_row_and_column(tmp_path):
    path = write(tmp_path, "participant_id,note\na,fine\nb,Schüler\n".encode("cp1252"))
    assert faults(path) == [
        "t.csv: byte 0xfc in row 3, column 'note' is not UTF-8; save the file as UTF-8 or, of "
        "ratings, name its encoding, for example data.encoding: cp1252"
    ]
    many = write(tmp_path, b"participant_id,note\n" + b"a,\xe9\n" * 30, "many.csv")
    assert len(faults(many)) == 4
    assert faults(many)[-1] == "... and 27 more faults of this kind"
    assert read_table(path, encoding="cp1252").frame["note"].tolist() == ["fine", "Schüler"]
    assert faults(path, encoding="latin-99") == ["data.encoding: 'latin-99' is unknown"]
    assert faults(path, encoding="ascii") == ["t.csv: byte 0xfc in row 3 is not ascii"]


def test_utf16_needs_its_name(tmp_path):
    path = write(tmp_path, "participant_id,x\na,1\n".encode("utf-16"))
    assert "zero bytes" in faults(path)[0]
    assert read_table(path, encoding="utf-16").frame["x"].tolist() == [1.0]


def test_all_faults_at_once(tmp_path):
    path = write(tmp_path, "participant_id,x,x,,w\na,1,1,,2\nb,1\n,1,1,9,2\n")
    assert faults(path) == [
        "t.csv: column 'x' stands twice",
        "t.csv: column 4 has values but no name in the header",
        "row 3 of t.csv has 2 cells, the header has 5",
        "participant_id is empty (row 4 of t.csv)",
    ]
    path = write(tmp_path, "participant_id,y\na,1\n,1\nn/a,1\n")
    assert faults(path, required=("participant_id", "z")) == [
        "participant_id is empty (row 3 of t.csv)",
        "participant_id is empty (row 4 of t.csv)",
        "t.csv: column 'z' is missing; the columns are: participant_id, y",
    ]


def test_empty_trailing_columns_are_no_fault(tmp_path):
    frame = read_table(write(tmp_path, "participant_id,x,,\na,1,,\nb,2\n,,,\n")).frame
    assert list(frame.columns) == ["participant_id", "x"]
    assert frame["x"].tolist() == [1.0, 2.0]


def test_decimal_commas_are_refused(tmp_path):
    path = write(tmp_path, "participant_id;x;list\na;1;1,2\nb;1,5;a, b\n")
    assert faults(path) == [
        "column 'x' is written with decimal commas (row 3 of t.csv); write numbers with a decimal "
        "point"
    ]


def test_decimal_commas_of_many_columns_are_one_fault(tmp_path):
    names = [f"x{i}" for i in range(57)]
    rows = [";".join(["participant_id", *names]), *[";".join(["a", *["1,5"] * 57])] * 2]
    found = faults(write(tmp_path, "\n".join(rows)))
    assert [f"column 'x{i}'" in text for i, text in enumerate(found)] == [True] * 3 + [False]
    assert found[-1] == "... and 54 more faults of this kind"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n \n", "the file is empty"),
        (b"participant_id,x\n", "no rows below its header"),
        (b'participant_id,x\na,"1\n', "row 2 can not be read"),
    ],
)
def test_files_that_are_no_table(tmp_path, content, message):
    assert message in faults(write(tmp_path, content))[0]


def test_missing_files_and_folders(tmp_path):
    assert faults(tmp_path / "none.csv") == ["none.csv: no such file"]
    assert "got a folder" in faults(tmp_path)[0]


def test_infinity_and_words_are_text(tmp_path):
    frame = read_table(write(tmp_path, "participant_id,x,y\na,inf,1_0\nb,2,3\n")).frame
    assert frame["x"].tolist() == ["inf", "2"]
    assert frame["y"].tolist() == ["1_0", "3"]


def test_parquet(tmp_path):
    path = tmp_path / "t.parquet"
    wanted = pd.DataFrame(
        {
            "participant_id": [7, 8],
            "count": pd.array([1, None], dtype="Int64"),
            "flag": [True, False],
            "word": ["n/a", "b"],
            "embedding": [[0.1, 0.2], [0.3, 0.4]],
        }
    )
    wanted.to_parquet(path)
    frame = read_table(path).frame
    assert frame["participant_id"].tolist() == ["7", "8"]
    np.testing.assert_array_equal(frame["count"], [1.0, np.nan])
    assert frame["flag"].tolist() == [1.0, 0.0]
    assert frame["word"].tolist() == [None, "b"]
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 nonsense")
    assert faults(tmp_path / "broken.parquet") == ["broken.parquet: not a readable Parquet file"]


def test_long_lists_of_faults_end_in_a_count():
    shown = limit_faults([str(i) for i in range(FAULTS_SHOWN + 7)])
    assert len(shown) == FAULTS_SHOWN + 1
    assert shown[-1] == "... and 7 more faults of this kind"


def write_workbook(tmp_path, rows, name="t.xlsx"):
    from openpyxl import Workbook

    book = Workbook()
    for row in rows:
        book.active.append(row)
    path = tmp_path / name
    book.save(path)
    return path, book


def test_excel_reads_as_the_same_table_saved_as_text(tmp_path):
    rows = [
        ["participant_id", "N1", "when", "flag", "note"],
        ["007", 3, datetime(2024, 5, 17), True, " a, b "],
        [8, 2.5, None, False, "#N/A"],
        [None, None, None, None, None],
        ["s9", "n/a", datetime(2024, 5, 17, 9, 30), None, "5"],
    ]
    path, _ = write_workbook(tmp_path, rows)
    text = 'participant_id,N1,when,flag,note\n007,3,2024-05-17,TRUE,"a, b"\n8,2.5,,FALSE,\n,,,,\n'
    text += "s9,n/a,2024-05-17 09:30:00,,5\n"
    excel, plain = read_table(path), read_table(write(tmp_path, text))
    pd.testing.assert_frame_equal(excel.frame, plain.frame)
    assert excel.rows.tolist() == plain.rows.tolist() == [2, 3, 5]


def test_excel_keeps_leading_zeros_that_it_shows(tmp_path):
    path, book = write_workbook(tmp_path, [["participant_id", "x"], [14, 14]])
    book.active["A2"].number_format = "0000"
    book.save(path)
    frame = read_table(path).frame
    assert (frame["participant_id"][0], frame["x"][0]) == ("0014", 14.0)


def test_excel_faults_are_listed(tmp_path):
    path, book = write_workbook(
        tmp_path, [["participant_id", "x", "x"], ["a", "=1+1", 1], [None, "#DIV/0!", 2]]
    )
    assert faults(path) == [
        "t.xlsx: cell B2 holds a formula without a stored value; open, recalculate and save it",
        "t.xlsx: cell B3 holds the error #DIV/0!",
        "t.xlsx: column 'x' stands twice",
        "participant_id is empty (row 3 of t.xlsx)",
    ]
    book.create_sheet("more").append(["participant_id"])
    book.save(path)
    assert faults(path) == [
        "t.xlsx: one sheet with data is wanted, got 'Sheet', 'more'; keep one, or save it as CSV"
    ]
    for content in (b"", b"PK\x03\x04 nonsense", b"participant_id,x\na,1\n"):
        (tmp_path / "u.xlsx").write_bytes(content)
        assert faults(tmp_path / "u.xlsx") == ["u.xlsx: not a readable Excel workbook"]
    (tmp_path / "v.xls").write_bytes(b"\xd0\xcf\x11\xe0")
    assert faults(tmp_path / "v.xls") == ["v.xls: .xls is not read; save it as .xlsx or .csv"]


@pytest.mark.parametrize("content", ["\ufeff", "\ufeff\n\n", "\x1c", "\ufeff,,\n"])
def test_files_of_nothing_but_marks_are_empty(tmp_path, content):
    assert "the file has no header row" in faults(write(tmp_path, content))[0]


@pytest.mark.parametrize("kind", ["csv", "padded", "semicolon", "xlsx"])
def test_a_title_above_the_header_is_named_once(tmp_path, kind):
    rows = [["participant_id", "N1", "N2"], *([f"p{k}", k, 3] for k in range(40))]
    if kind == "xlsx":
        from openpyxl import Workbook

        book = Workbook()
        for row in [["PANSS, first visit"], [], *rows]:
            book.active.append(row)
        path = tmp_path / "t.xlsx"
        book.save(path)
    else:
        by = ";" if kind == "semicolon" else ","
        title = "PANSS at first visit" + (",," if kind == "padded" else "")
        lines = [title, "", *(by.join(map(str, row)) for row in rows)]
        path = write(tmp_path, "\n".join(lines) + "\n")
    found = faults(path)
    assert found[0] == (
        f"{path.name}: row 1 looks like a title (1 cell, the rows below have 3): delete it, the "
        "first row must hold the names of the columns"
    )
    assert found[1] == f"row 3 of {path.name} has 3 cells, the header has 1"
    assert found[4] == "... and 38 more faults of this kind"
    assert len(found) <= 6


def test_a_header_that_lacks_a_few_names_is_no_title(tmp_path):
    found = faults(write(tmp_path, "participant_id,x,y\na,1,2,3\nb,1,2,3\n"))
    assert found[0] == "row 2 of t.csv has 4 cells, the header has 3"


def test_one_column_needs_no_delimiter(tmp_path):
    table = read_table(write(tmp_path, "participant_id\na\nb\nc\n"))
    assert table.frame["participant_id"].tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["subject", "Participant ID", "ID"])
def test_a_key_of_another_name_is_named(tmp_path, name):
    assert faults(write(tmp_path, f"{name},x\na,1\nb,2\n")) == [
        f"t.csv: column 'participant_id' is missing; {name!r} may be it: rename it to "
        "'participant_id'"
    ]
