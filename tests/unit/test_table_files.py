"""Tables as people have them: encodings, delimiters, quotes, spreadsheets."""

import csv
import io
import json
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.shared.table_files import DELIMITERS, TableError, TableFile, find_column, read_table

# Whatever a cell may hold, but surrogates, which no encoding has, and the breaks that readers unify.
cells = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=20)


def values(table: TableFile) -> list[list[object]]:
    return [[*row.values.values()] for row in table.rows]


@given(
    rows=st.lists(st.lists(cells, min_size=3, max_size=3), max_size=6),
    delimiter=st.sampled_from(DELIMITERS),
    quoted=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_a_csv_writer_wrote_is_read(
    rows: list[list[str]], delimiter: str, quoted: bool, line_end: str
) -> None:
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    file = io.StringIO(newline="")
    form: Literal[0, 1] = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    writer = csv.writer(file, delimiter=delimiter, quoting=form, lineterminator=line_end)
    writer.writerows([["id", "colour", "name"], *rows])
    table = read_table("a.csv", file.getvalue().encode())
    assert table.columns == ["id", "colour", "name"]
    assert values(table) == rows
    assert not table.bad_rows


@settings(deadline=None)  # the first guess of an encoding loads tables
@given(st.binary(min_size=1, max_size=200))
def test_any_file_is_a_table_or_a_reason(data: bytes) -> None:
    table, reason = None, ""
    try:
        table = read_table("a.csv", data)
    except TableError as error:
        reason = str(error)
    if table is None:
        assert "a.csv" in reason
    else:
        assert all([*row.values] == [*table.columns] for row in table.rows)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id,name,colour\n1,Shirt, pale, Red\n", ["1", "Shirt, pale", " Red"]),
        ("id,name,colour\n1,Shirt,Red,,\n", ["1", "Shirt", "Red"]),
        ('id,name,colour\n1,6" heel,Red\n', ["1", '6" heel', "Red"]),
        ('id,name,colour\n1,"Anna" shirt,"Red"\n', ["1", '"Anna" shirt', "Red"]),
        ('id,name,colour\n1,"open, Red\n2,b,"c"\n', ["1", '"open', " Red"]),
        ('id,name,colour\n1,"two\nlines",Red\n', ["1", "two\nlines", "Red"]),
        ('id,name,colour\n"1","a ""b""",Red\n', ["1", 'a "b"', "Red"]),
        ("id;name;colour\n1;Shirt, pale;Red\n", ["1", "Shirt, pale", "Red"]),
        (",id,name,colour\n0,1,Shirt,Red\n", ["1", "Shirt", "Red"]),
        ("id,name,colour,\n1,Shirt,Red,\n", ["1", "Shirt", "Red"]),
        ("id,name,colour\r1,Shirt,Red\r", ["1", "Shirt", "Red"]),
        ("\n\nid,name,colour\n1,Shirt,Red", ["1", "Shirt", "Red"]),
    ],
)
def test_a_row_is_read_where_its_meaning_is_clear(text: str, expected: list[str]) -> None:
    table = read_table("a.csv", text.encode(), free_text="Name")
    assert values(table)[0] == expected
    assert not table.bad_rows


def test_a_row_with_too_few_columns_is_left_out_with_its_line() -> None:
    table = read_table("a.csv", b'id,name\n1,"a\nb"\noops\n3,c\n')
    assert [row.line for row in table.rows] == [2, 5]
    assert [(bad.line, bad.reason) for bad in table.bad_rows] == [(4, "1 columns instead of 2")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_is_found_in_each_form(encoding: str) -> None:
    table = read_table("a.csv", "id,name\n1,Röcke für Mädchen 👗\n".encode(encoding))
    assert (values(table), table.notes) == ([["1", "Röcke für Mädchen 👗"]], [])


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("cp1252", "Café crème"),
        ("cp1252", "Größe „Übergröße“"),
        ("cp1251", "Рубашка мужская синяя"),
        ("cp932", "メンズシャツ"),
    ],
)
def test_other_encodings_are_guessed_and_the_guess_is_told(encoding: str, name: str) -> None:
    table = read_table("a.csv", f"id,name\n1,{name}\n2,{name}\n".encode(encoding))
    assert values(table) == [["1", name], ["2", name]]
    assert encoding in table.notes[0]


def test_an_encoding_that_is_given_is_not_guessed() -> None:
    table = read_table("a.csv", "id,name\n1,Koszula męska\n".encode("cp1250"), encoding="cp1250")
    assert values(table) == [["1", "Koszula męska"]]
    with pytest.raises(TableError, match="cannot be read as cp9"):
        read_table("a.csv", b"id\n1\n", encoding="cp9")


def test_a_damaged_row_of_unicode_is_left_out_alone() -> None:
    table = read_table("a.csv", "id,name\n1,Röcke\n2,Kleid für\n".encode() + b"3,R\xf6cke\n4,Hut\n")
    assert [row.values["id"] for row in table.rows] == ["1", "2", "4"]
    assert [(bad.line, bad.reason) for bad in table.bad_rows] == [
        (4, "not UTF-8, unlike the rest of the file")
    ]


def test_json_lines_keep_their_types() -> None:
    lines = [{"id": "a", "colours": ["Red", "Blue"]}, {"id": "b", "price": 5.5}]
    table = read_table("a.jsonl", "\n".join(map(json.dumps, lines)).encode() + b"\n[1]\n{\n")
    assert [row.values for row in table.rows] == lines
    assert table.columns == ["id", "colours", "price"]
    assert [bad.line for bad in table.bad_rows] == [3, 4]


def test_parquet_keeps_its_types() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(
        pyarrow.table({"id": ["a", "b"], "colours": [["Red"], None], "year": [2014, None]}), file
    )
    table = read_table("a.parquet", file.getvalue())
    assert [row.values for row in table.rows] == [
        {"id": "a", "colours": ["Red"], "year": 2014},
        {"id": "b", "colours": None, "year": None},
    ]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.csv", b"", "a.csv is empty"),
        ("a.csv", b"\n , \n", "has no header"),
        ("a.csv", b"id,name,id\n1,2,3\n", "two columns are called 'id'"),
        ("a.xlsx", b"PK no", "a.xlsx is not a spreadsheet"),
        ("a.parquet", b"PAR1", "a.parquet is not a Parquet file"),
        ("a.jsonl", b"[]\n", "has no line with a JSON object"),
        ("a.docx", b"PK", "expected a file that ends with .csv"),
    ],
)
def test_what_is_no_table_says_why(name: str, data: bytes, reason: str) -> None:
    with pytest.raises(TableError, match=reason):
        read_table(name, data)


@pytest.mark.parametrize(
    ("wanted", "columns", "found"),
    [
        ("articleType", ["articletype"], "articletype"),
        ("articleType", ["Article Type", "id"], "Article Type"),
        ("articleType", ["article_type", "articleType"], "articleType"),
        ("articleType", ["article_type", "ARTICLETYPE"], None),
        ("articleType", ["type"], None),
    ],
)
def test_a_column_is_found_where_its_name_is_clear(
    wanted: str, columns: list[str], found: str | None
) -> None:
    assert find_column(wanted, columns) == found
