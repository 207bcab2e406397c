"""catalogue.yaml: each mistake is named with what to write instead."""

from pathlib import Path

import pytest

from services.shared.catalogue_config import ConfigError, parse_config, read_config
from services.shared.events import Product

WHOLE = """
table: shop.catalogue.products_view
id: sku
display_name: title
photos: {column: images}
time: launched
attributes:
  department: {}
  family: {column: product_family, parent: department}
  article_type: {column: type, parent: family}
  colours: {type: values, separator: "/"}
  price: {type: number}
  launched: {column: launch_date, type: date}
"""
DEPENDENT = "id: sku\nattributes: {{kind: {{}}, price: {{type: number}}, sleeve: {{applies_to: {}}}}}\n"
SMALL = "id: sku\nattributes: {colour: {}}\n"


def test_a_config_says_which_columns_are_read() -> None:
    config = parse_config(WHOLE, "catalogue.yaml")
    assert config.columns == {
        "id": "sku",
        "display_name": "title",
        "photos.column": "images",
        "attributes.department": "department",
        "attributes.family": "product_family",
        "attributes.article_type": "type",
        "attributes.colours": "colours",
        "attributes.price": "price",
        "attributes.launched": "launch_date",
    }
    assert config.ancestors("article_type") == ["family", "department"]
    assert parse_config(SMALL, "catalogue.yaml").photos.pattern == "images/{id}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected fields such as `id: sku`"),
        ("- id", "expected fields such as `id: sku`"),
        ("id: {", "while parsing"),
        ("id: sku\nid: asin\nattributes: {a: {}}\n", "'id' is given twice"),
        ("id: [sku, asin]\nattributes: {a: {}}\n", "id: Input should be a valid string"),
        ("id: sku\n", "attributes: Field required"),
        ("id: sku\nattributes: {}\n", "attributes: Dictionary should have at least 1 item"),
        (SMALL + "dispaly_name: x\n", "dispaly_name: no such field; did you mean 'display_name'?"),
        (
            "id: sku\nattributes: {a: {kind: values}}\n",
            "attributes.a.kind: no such field; expected one of column",
        ),
        (
            "id: sku\nattributes: {a: {colunm: x}}\n",
            "attributes.a.colunm: no such field; did you mean 'column'?",
        ),
        ("id: sku\nattributes: {a: {type: list}}\n", "attributes.a.type: Input should be 'value', 'values'"),
        ("id: sku\nattributes: {a b: {}}\n", "attributes.a b: String should match pattern"),
        (SMALL + "time: year\n", "time: there is no attribute 'year'; expected one of colour"),
        (SMALL + "time: colour\n", "time: colour must be of type number or date"),
        ("id: sku\nattributes: {a: {parent: b}, bb: {}}\n", "attributes.a.parent: there is no attribute 'b'"),
        (
            "id: sku\nattributes: {a: {parent: b}, b: {parent: a}}\n",
            "attributes.a.parent: a is its own ancestor",
        ),
        ("id: sku\nattributes: {a: {parent: b}, b: {type: number}}\n", "a and b must both be of type value"),
        ("id: a\nattributes: {a: {}}\n", "attributes.a: the column 'a' is already that of id"),
        (SMALL + "photos: {}\n", "photos.column: expected either `column` or `pattern`"),
        (SMALL + "photos: {column: a, pattern: 'b/{id}'}\n", "photos.column: expected either"),
        (
            SMALL + "photos: {column: a, hosts: ['https://b.example']}\n",
            "photos.hosts: expected lower-case names",
        ),
        (SMALL + "photos: {column: a, hosts: [B.example]}\n", "without https:// (got 'B.example')"),
        (SMALL + "photos: {column: a, hosts: ['*.b.example']}\n", "photos.hosts: expected lower-case names"),
        (SMALL + "photos: {column: a, hosts: b.example}\n", "photos.hosts: Input should be a valid tuple"),
        (
            SMALL + "photos: {pattern: 'b/{id}', hosts: [b.example]}\n",
            "photos.hosts: photos have web addresses",
        ),
        (SMALL + "photos: {pattern: images}\n", "photos.pattern: expected {id} once, such as images/{id}"),
        (SMALL + "table: shop.pim.products` WHERE\n", "table: String should match pattern"),
        ("id: sku\nattributes: {photos: {}}\n", "attributes.photos: every product has a photos"),
        ("id: sku\nattributes: {a: {}, A: {}}\n", "attributes.A: differs from a in case only"),
        (
            "table: shop.pim.products\nid: sku\nattributes: {a: {column: 'a` FROM b --'}}\n",
            "attributes.a: BigQuery has no column of the name",
        ),
        (SMALL + "table: products\n", "table: String should match pattern"),
        (DEPENDENT.format("{kindd: [Shoes]}"), "there is no attribute 'kindd'; did you mean 'kind'?"),
        (DEPENDENT.format("{kind: []}"), "attributes.sleeve.applies_to.kind: Tuple should have at least 1"),
        (
            DEPENDENT.format("{sleeve: [Long]}"),
            "attributes.sleeve.applies_to: sleeve cannot depend on itself",
        ),
        (DEPENDENT.format("{price: [1]}"), "attributes.sleeve.applies_to.price.0: Input should be a valid"),
        (DEPENDENT.format("{price: ['1']}"), "attributes.sleeve.applies_to: price must be of type value"),
        (
            "id: sku\nattributes: {a: {applies_to: {b: [x]}}, b: {applies_to: {c: [y]}}, c: {}}\n",
            "attributes.a.applies_to: b depends on others itself; name those instead",
        ),
        (
            "id: sku\nattributes: {a: {type: number, applies_to: {b: [x]}}, b: {}}\n",
            "attributes.a.applies_to: a must be of type value or values",
        ),
        (
            "id: sku\nattributes: {a: {parent: b, applies_to: {b: [x]}}, b: {}}\n",
            "attributes.a.applies_to: a has a parent; leave out one of both",
        ),
    ],
)
def test_a_mistake_is_named_with_what_was_expected(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse_config(text, "catalogue.yaml")
    assert str(refusal.value).startswith("catalogue.yaml: ")
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)


SLEEVES = parse_config(
    """
id: sku
attributes:
  kind: {}
  size: {}
  sleeve: {applies_to: {kind: [Shirt, Dress], size: [S, M]}}
""",
    "catalogue.yaml",
)


@pytest.mark.parametrize(
    ("attributes", "labels"),
    [
        ({"kind": "Shirt", "size": "S", "sleeve": "Long"}, ("Long",)),
        ({"kind": "Shirt", "size": "S"}, ()),
        ({"kind": "Shoes", "size": "S"}, ("Not applicable",)),
        ({"kind": "Shoes"}, ("Not applicable",)),
        ({"kind": "Dress", "size": "42"}, ("Not applicable",)),
        ({"kind": "Dress", "sleeve": "Long"}, ("Long",)),
        ({"sleeve": "not  applicable"}, ("Not applicable",)),
        ({"kind": "Shoes", "sleeve": "not applicable"}, ("Not applicable",)),
        ({"size": "S"}, ()),
        # The catalogue contradicts itself.
        ({"kind": "Shoes", "sleeve": "Long"}, ()),
    ],
)
def test_an_attribute_that_does_not_apply_has_a_label_of_its_own(
    attributes: dict[str, str], labels: tuple[str, ...]
) -> None:
    assert SLEEVES.labels("sleeve", Product.of("1", **attributes)) == labels


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        read_config(tmp_path / "none.yaml")
