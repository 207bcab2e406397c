"""What the columns of a table probably mean."""

import json
from collections.abc import Mapping, Sequence

import pytest

from services.client.guess import Guess, GuessError, guess
from services.shared.catalogue_config import CatalogueConfig, Photos, parse_config
from services.shared.table_files import read_table

FAMILIES = {"Shirts": "Tops", "Polos": "Tops", "Jeans": "Bottoms", "Skirts": "Bottoms"}
TYPES = [*FAMILIES]


def products(count: int = 60) -> list[dict[str, object]]:
    return [
        {
            "sku": f"SKU-{number:03}",
            "title": f"A nice thing called number {number}",
            "type": TYPES[number % 4],
            "family": FAMILIES[TYPES[number % 4]],
            "colours": ("Red", "Red/Blue", "Blue/White", "White", "Red/White")[number % 5],
            "price": 10 + number / 2,
            "launched": f"20{10 + number % 9}-03-01",
            "image_url": f"https://shop.example/{number}.jpg?size=large",
            "size": ("S", "M", "L")[number % 3],
            "brand_id": number % 7,
            "text": f"Text {number} with many words that nobody would want to filter by",
        }
        for number in range(count)
    ]


def guessed(rows: Sequence[Mapping[str, object]]) -> Guess:
    return guess(read_table("a.jsonl", "\n".join(map(json.dumps, rows)).encode()))


def test_columns_are_told_by_their_values() -> None:
    found = guessed(products())
    assert found.config == CatalogueConfig.model_validate(
        {
            "id": "sku",
            "display_name": "title",
            "photos": {"column": "image_url"},
            "time": "launched",
            "attributes": {
                "type": {"parent": "family"},
                "family": {},
                "colours": {"type": "values", "separator": "/"},
                "price": {"type": "number"},
                "launched": {"type": "date"},
                "size": {},
            },
        }
    )
    assert found.doubts["ignored"] == ["Not used: brand_id, text."]


def test_the_text_is_a_config_with_the_doubts_as_comments() -> None:
    rows = products()
    rows[4]["family"] = "Bottoms"  # a shirt, so that types no longer determine families everywhere
    rows = [*rows, *products(400)[60:]]
    found = guessed(rows)
    text = found.to_yaml()
    assert parse_config(text, "catalogue.yaml") == found.config
    assert (
        "  # 0.25% of the products have another family than most of their type.\n  type: {parent: family}"
        in text
    )
    assert "# Not used: brand_id, text.\n" in text


def test_the_hosts_of_photos_are_named_and_not_allowed() -> None:
    hosts = ("a.example", "b.example:8443")
    rows = [
        row | {"image_url": f"https://{hosts[number % 3 == 0]}/photo?id={number}"}
        for number, row in enumerate(products())
    ]
    found = guessed(rows)
    assert found.config.photos == Photos(column="image_url")
    doubt = (
        "60 photos are at web addresses. They are fetched only from hosts that you allow: add hosts: "
        "[a.example, b.example:8443] to photos."
    )
    assert found.doubts["photos"] == [doubt]
    assert f"# {doubt}\nphotos:\n  column: image_url\n" in found.to_yaml()


def test_lists_and_names_in_several_words_are_attributes() -> None:
    rows = [
        {"id": str(number), "Main Colour": ["Red", "Blue"][: 1 + number % 2], "size": "SML"[number % 3]}
        for number in range(30)
    ]
    config = guessed(rows).config
    assert config.attributes["main_colour"].model_dump() == {
        "column": "Main Colour",
        "type": "values",
        "separator": "|",
        "parent": None,
        "applies_to": {},
    }


def test_ids_that_repeat_or_are_missing_are_told() -> None:
    rows = products(400)
    rows[1]["sku"] = "SKU-000"
    rows[2]["sku"] = ""
    found = guessed([{key: row[key] for key in ("sku", "type")} for row in rows])
    assert found.config.id == "sku"
    assert found.doubts["id"] == [
        "1 ids come more than once, such as 'SKU-000'; the first row counts.",
        "1 rows have no id and are left out.",
    ]


def test_another_column_that_could_be_the_id_is_told_where_no_name_decides() -> None:
    rows = [{"a": str(number), "b": f"x{number}", "type": TYPES[number % 4]} for number in range(40)]
    found = guessed(rows)
    assert found.config.id == "a"
    assert found.doubts["id"] == ["These columns could be the id as well: b."]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"type": "Shirts"}, {"type": "Shirts"}], "no column can be the id"),
        (
            [{"id": str(number), "name": f"Shirt {number}"} for number in range(9)],
            "no column can be an attribute",
        ),
    ],
)
def test_a_table_without_an_id_or_an_attribute_is_refused(rows: list[dict[str, object]], reason: str) -> None:
    with pytest.raises(GuessError, match=reason):
        guessed(rows)
