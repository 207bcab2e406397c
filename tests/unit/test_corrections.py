"""Corrections as CSV and as GoogleSQL, into which no value can put anything of its own."""

import csv
import re
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.client import corrections_sql
from services.client.correction_exports import export
from services.client.corrections import CSV_COLUMNS, Correction, outdated, to_csv
from services.client.corrections_sql import MERGED, create_view, merge
from services.client.literals import identifier, string_literal
from services.shared.catalogue import ProductTable
from services.shared.catalogue_config import Attribute, CatalogueConfig, bundled_config
from tests.unit.corrected import REVIEWED_AT, STATUSES, TEXTS, correction

# The tokens of GoogleSQL that may contain others: comments and quoted texts.
TOKENS = re.compile(r"(?P<comment>(?:--|#)[^\r\n]*)|(?P<quoted>'(?:\\.|[^'\\\r\n])*'|`(?:\\.|[^`\\\r\n])*`)")


BUNDLED = ProductTable(bundled_config(), "project.dataset")


def unquoted(literal: str) -> str:
    """What a quoted text of GoogleSQL stands for."""
    escapes = re.compile(r"\\(?:U([0-9a-f]{8})|(.))")
    return escapes.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2], literal[1:-1])


def lexed(sql: str) -> tuple[str, list[str]]:
    """A statement without its comments, with ? for each quoted text; and the texts."""
    texts: list[str] = []

    def replace(found: re.Match[str]) -> str:
        if found["comment"]:
            return ""
        texts.append(unquoted(found["quoted"]))
        return "?"

    return " ".join(TOKENS.sub(replace, sql).split()), texts


@settings(deadline=None)  # machines that run this are shared
@given(TEXTS)
def test_a_text_is_one_literal_on_one_line(text: str) -> None:
    assert lexed(string_literal(text)) == ("?", [text])
    assert lexed(identifier(text)) == ("?", [text])
    assert len(string_literal(text).splitlines()) == 1


@settings(deadline=None)  # machines that run this are shared
@given(st.tuples(TEXTS, st.none() | TEXTS, TEXTS, TEXTS))
def test_no_value_changes_what_a_merge_says(values: tuple[str, str | None, str, str]) -> None:
    product_id, declared, corrected, reviewer = values
    harmless = correction(declared=None if declared is None else "Red")
    hostile = correction(corrected=corrected, product_id=product_id, declared=declared, reviewer=reviewer)
    expected, _ = lexed("".join(merge([harmless], BUNDLED)))
    statement, texts = lexed("".join(merge([hostile], BUNDLED)))
    assert statement == expected
    assert statement.count(";") == 1
    quoted = [product_id, *([] if declared is None else [declared]), corrected]
    assert texts == ["project.dataset.products", *quoted, "product_id", "base_colour", "base_colour"]


def test_a_merge_says_who_reviewed_what_and_when() -> None:
    sql = "".join(merge([correction(reviewer="ada\nDROP TABLE x")], BUNDLED))
    (line,) = [line for line in sql.splitlines() if "'Blue'" in line]
    assert line.strip() == (
        r"('1', 'Red', 'Blue') -- 'ada\U0000000aDROP TABLE x' at 2026-03-04T05:06:07+00:00 in job 'spring'"
    )


def test_a_merge_has_pending_corrections_only() -> None:
    found = [correction(product_id=status, status=status) for status in STATUSES]
    _, texts = lexed("".join(merge(found, BUNDLED)))
    assert set(texts) & set(STATUSES) == {"pending"}
    assert "no corrections" in "".join(merge(found[1:], BUNDLED))
    assert lexed("".join(merge(found[1:], BUNDLED))) == ("", [])


def test_a_merge_of_many_is_several_statements() -> None:
    found = [correction(product_id=str(number)) for number in range(2 * MERGED + 1)]
    found.append(correction("gender", "Women", declared="Men"))
    statements = list(merge(found, BUNDLED))
    rows = [sum(text.isdecimal() for text in lexed(statement)[1]) for statement in statements]
    assert rows == [MERGED, MERGED, 1, 1]


def test_a_merge_sets_attributes_that_are_stored_as_json() -> None:
    config = CatalogueConfig(id="sku", attributes={"base_colour": Attribute(), "sleeve": Attribute()})
    made = export(
        [correction(), correction("sleeve", "long")], "merge", ProductTable(config, "project.dataset")
    )
    assert made.left_out == ()
    assert "SET `attributes` = JSON_SET(IFNULL(product.`attributes`, JSON '{}'), '$.sleeve'," in made.text
    assert "JSON_VALUE(product.`attributes`, '$.sleeve') IS NOT DISTINCT FROM review.declared" in made.text


def test_a_view_can_be_created_under_another_name() -> None:
    config = CatalogueConfig(id="sku", attributes={"sleeve": Attribute(), "price": Attribute(type="number")})
    sql = create_view("shop.reports.corrected", ProductTable(config, "project.vitrine"))
    assert sql.startswith("CREATE OR REPLACE VIEW `shop.reports.corrected` AS\n")
    assert "FROM `project.vitrine.labels`" in sql
    assert "FROM `project.vitrine.products`" in sql
    assert "{" not in sql


def test_the_sql_is_about_the_columns_of_the_catalogue() -> None:
    team = CatalogueConfig(
        table="shop.sales.items",
        id="sku",
        attributes={"base_colour": Attribute(column="farbe"), "tags": Attribute(type="values")},
    )
    products = ProductTable(team, "project.vitrine", frozenset({"tags"}))
    sql = "".join(merge([correction()], products))
    assert "MERGE `shop.sales.items`" in sql
    assert "CAST(product.`sku` AS STRING)" in sql
    assert "SET `farbe` = review.corrected" in sql
    view = corrections_sql.view(products)
    assert "FROM `shop.sales.items`" in view
    assert "FROM `project.vitrine.labels`" in view
    assert set(re.findall(r"AS `(\w+)`", view)) == {"farbe", "tags"}
    assert "review.attribute = 'base_colour'" in view


def test_the_written_view_is_current() -> None:
    written = corrections_sql.FILE.read_text()
    assert written == corrections_sql.view(ProductTable(bundled_config(), "{project}.{dataset}")), (
        "python -m services.client.corrections_sql"
    )


@settings(deadline=None)  # machines that run this are shared
@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS, TEXTS), max_size=4))
def test_csv_reads_back_as_it_was_written(rows: list[tuple[str, str, str, str]]) -> None:
    found = [
        correction(corrected=corrected, product_id=product_id, declared=declared, reviewer=reviewer)
        for product_id, declared, corrected, reviewer in rows
    ]
    header, *lines = csv.reader(StringIO("".join(to_csv(found)), newline=""))
    assert tuple(header) == CSV_COLUMNS
    assert lines == [
        [product_id, "base_colour", declared, corrected, reviewer, REVIEWED_AT.isoformat(), "spring", "7"]
        for product_id, declared, corrected, reviewer in rows
    ]


def test_csv_has_pending_corrections_and_an_empty_field_where_nothing_was_declared() -> None:
    found = [correction(product_id=status, status=status, declared=None) for status in STATUSES]
    (row,) = csv.DictReader(StringIO("".join(to_csv(found)), newline=""))
    assert (row["product_id"], row["declared"]) == ("pending", "")


@pytest.mark.parametrize(
    ("late", "reason"),
    [
        (
            correction(status="changed"),
            "1 base_colour: the catalogue said 'Red' when it was reviewed, and says 'Green' now",
        ),
        (correction(status="missing"), "1 base_colour: the catalogue no longer has the product"),
        (correction("collar", status="no-column"), "1 collar: the catalogue has no column for collar"),
    ],
)
def test_what_is_out_of_date_is_left_out_with_the_reason(late: Correction, reason: str) -> None:
    made = export([late, correction()], "csv", BUNDLED)
    assert [str(each) for each in made.left_out] == [reason]
    assert len(made.text.splitlines()) == 2
    assert outdated([correction(), correction(status="applied")]) == []
