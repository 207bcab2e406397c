"""A request's filters become a query whose text no value can change."""

import re
from collections.abc import Mapping, Sequence, Set
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.catalogue import (
    ColumnError,
    ProductTable,
    invalid_filters,
    matches,
    query,
    team_table,
)
from services.shared.catalogue_config import CatalogueConfig, bundled_config
from services.shared.events import Filters, Product

BUNDLED = ProductTable(bundled_config(), "project.dataset")
SHOP = CatalogueConfig.model_validate(
    {
        "id": "sku",
        "attributes": {
            "colour": {},
            "kinds": {"type": "values"},
            "price": {"type": "number"},
            "listed": {"type": "date"},
        },
    }
)
OWN = ProductTable(SHOP, "project.dataset")
NUMBERS = ("start_year", "end_year", "limit")

values = st.lists(st.text(min_size=1, max_size=20), max_size=4).map(tuple)
filters = st.builds(
    lambda columns, years, limit, retry_of: Filters(
        **columns,
        start_year=min(years, default=None),
        end_year=max(years, default=None),
        limit=limit,
        retry_of=retry_of,
    ),
    st.fixed_dictionaries(dict.fromkeys(Filters.COLUMNS, values)),
    st.lists(st.integers(1900, 2100), max_size=2),
    st.none() | st.integers(1, 10**9),
    st.none() | st.from_regex(r"[a-z0-9][a-z0-9-]{1,62}", fullmatch=True),
)


def with_other_values(given_filters: Filters) -> Filters:
    """The same filters set, each to something else."""
    columns = {
        column: ("' OR TRUE; DROP TABLE `products` --",)
        for column in Filters.COLUMNS
        if getattr(given_filters, column)
    }
    numbers = {
        name: value
        for name, value in zip(NUMBERS, (1987, 1999, 5), strict=True)
        if getattr(given_filters, name) is not None
    }
    retried = {"retry_of": "another-job"} if given_filters.retry_of else {}
    return Filters.model_validate(columns | numbers | retried)


@given(filters)
def test_no_value_is_part_of_the_text(wanted: Filters) -> None:
    assert query(wanted, BUNDLED)[0] == query(with_other_values(wanted), BUNDLED)[0]


@given(filters)
def test_every_parameter_is_used_and_every_name_is_a_parameter(wanted: Filters) -> None:
    sql, parameters = query(wanted, BUNDLED)
    assert set(re.findall(r"@(\w+)", sql)) == parameters.keys()


@given(filters)
def test_every_filter_that_is_set_is_a_parameter_with_its_value(wanted: Filters) -> None:
    fields = {name: getattr(wanted, name) for name in Filters.model_fields}
    given_values = [value for value in fields.values() if value not in ((), None)]
    assert sorted(query(wanted, BUNDLED)[1].values(), key=str) == sorted(given_values, key=str)


def test_the_whole_query_of_a_request_with_old_and_new_filters() -> None:
    wanted = Filters.model_validate(
        {
            "gender": ("a", "b"),
            "start_year": 2010,
            "end_year": 2012,
            "limit": 9,
            "filters": {"season": "Summer"},
        }
    )
    sql, parameters = query(wanted, BUNDLED)
    assert sql.splitlines() == [
        "SELECT `product_id`, `gender`, `master_category`, `sub_category`, `article_type`, `base_colour`, "
        "`season`, `usage`, `year`, `display_name`, `photos`",
        "FROM (SELECT product_id, `gender` AS `gender`, `master_category` AS `master_category`, "
        "`sub_category` AS `sub_category`, `article_type` AS `article_type`, `base_colour` AS "
        "`base_colour`, `season` AS `season`, `usage` AS `usage`, CAST(`year` AS STRING) AS `year`, "
        "display_name, photos FROM `project.dataset.products`)",
        "WHERE `gender` IN UNNEST(@values_0) AND SAFE_CAST(`year` AS FLOAT64) >= @from_1 AND "
        "SAFE_CAST(`year` AS FLOAT64) <= @to_1 AND `season` IN UNNEST(@values_2)",
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY product_id ORDER BY display_name) = 1",
        "ORDER BY MD5(product_id), product_id LIMIT @limit",
    ]
    assert parameters == {
        "values_0": ("a", "b"),
        "from_1": 2010.0,
        "to_1": 2012.0,
        "values_2": ("Summer",),
        "limit": 9,
    }


def test_without_filters_everything_is_selected_once() -> None:
    sql, parameters = query(Filters(), BUNDLED)
    assert parameters == {}
    assert "\nWHERE TRUE\n" in sql
    assert "LIMIT" not in sql


def test_the_columns_are_those_of_a_product() -> None:
    selected = re.search(r"SELECT (.+)\n", query(Filters(), OWN)[0])
    assert selected
    assert selected[1] == "`product_id`, `colour`, `kinds`, `price`, `listed`, `display_name`, `photos`"


def test_a_retry_is_of_the_products_that_have_an_error_in_that_job() -> None:
    sql, parameters = query(Filters(retry_of="spring", gender=("Men",)), BUNDLED)
    assert sql.splitlines()[2] == (
        "WHERE `gender` IN UNNEST(@values_0) AND product_id IN (SELECT product_id FROM "
        "`project.dataset.predictions` WHERE job_id = @retry_of AND error IS NOT NULL)"
    )
    assert parameters == {"values_0": ("Men",), "retry_of": "spring"}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_alone_is_enough(name: str) -> None:
    assert [*query(Filters.model_validate({name: 2000}), BUNDLED)[1].values()] == [2000]


# ------------------------------------------------------------------------------------- what is refused


def known(names: Sequence[str]) -> Mapping[str, Set[str]]:
    """The values that products have."""
    found = {"colour": {"Red", "Blue"}, "kinds": {"new", "sale"}, "gender": {"Women"}}
    return {name: found[name] for name in names}


@pytest.mark.parametrize(
    ("wanted", "complaints"),
    [
        ({"filters": {"colour": "Red", "kinds": ["new"], "price": {"from": 1}}}, []),
        (
            {"filters": {"colour": "Rde"}},
            ["filters.colour: no product has 'Rde'; did you mean 'Red'?"],
        ),
        (
            {"filters": {"color": "Red"}},
            ["filters.color: the catalogue has no attribute 'color'; did you mean 'colour'?"],
        ),
        (
            {"gender": "Women"},
            [
                "gender: the catalogue has no attribute 'gender'; expected one of colour, kinds, price, "
                "listed",
            ],
        ),
        (
            {"end_year": 2012},
            ["end_year: the catalogue has no attribute 'year'; expected one of colour, kinds, price, listed"],
        ),
        (
            {"filters": {"colour": {"from": "A"}}},
            ["filters.colour: expected a value or a list of values, colour has no order"],
        ),
        (
            {"filters": {"price": {"from": "cheap"}}},
            ["filters.price.from: expected a number such as 10 (got 'cheap')"],
        ),
        ({"filters": {"price": "dear"}}, ["filters.price: expected a number such as 10 (got 'dear')"]),
        (
            {"filters": {"price": {"from": 10, "to": 9}}},
            ["filters.price.to: must not be before `from`, which is 10"],
        ),
        (
            {"filters": {"listed": {"to": "31.3.2026"}}},
            ["filters.listed.to: expected a date such as 2026-03-31 (got '31.3.2026')"],
        ),
    ],
)
def test_a_condition_that_no_product_can_meet_is_named(wanted: dict[str, Any], complaints: list[str]) -> None:
    invalid = invalid_filters(Filters.model_validate(wanted), SHOP, known)
    assert [str(each) for each in invalid] == complaints


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ({"colour": ["Red", "Green"]}, True),
        ({"colour": "red"}, False),
        ({"kinds": "sale"}, True),
        ({"price": {"from": 19.9}}, True),
        ({"price": {"to": "19.89"}}, False),
        ({"price": 19.9}, True),
        ({"listed": {"from": "2026-03-31", "to": "2026-03-31"}}, True),
        ({"listed": {"from": "2026-04-01"}}, False),
    ],
)
def test_a_product_matches_by_the_type_of_the_attribute(condition: dict[str, Any], found: bool) -> None:
    product = Product.of("1", colour="Red", kinds=["new", "sale"], price="19.90", listed="2026-03-31 12:00")
    assert matches(product, Filters.model_validate({"filters": condition}), SHOP) == found


# ------------------------------------------------------------------------------------- a team's own table

VIEW = {
    "SKU": ("STRING", False),
    "shade": ("STRING", False),
    "tags": ("STRING", True),
    "cost": ("NUMERIC", False),
}


def team(**others: Any) -> CatalogueConfig:
    return CatalogueConfig.model_validate(
        {"table": "shop.pim.view", "id": "sku", "attributes": {"colour": {"column": "shade"}}, **others}
    )


def test_a_teams_table_is_read_by_its_own_columns() -> None:
    attributes = {"colour": {"column": "shade"}, "tags": {"type": "values"}, "cost": {"type": "number"}}
    sql = team_table(team(attributes=attributes), "project.dataset", VIEW).sql
    assert "CAST(`sku` AS STRING) AS product_id" in sql
    assert "CAST(`shade` AS STRING)) AS `colour`" in sql
    assert "UNNEST(`tags`)" in sql
    assert "FROM `shop.pim.view`" in sql


@pytest.mark.parametrize(
    ("others", "complaint"),
    [
        ({"id": "sku_no"}, "id: shop.pim.view has no column 'sku_no'; did you mean 'SKU'?"),
        (
            {"attributes": {"colour": {"column": "shades"}}},
            "attributes.colour: shop.pim.view has no column 'shades'; did you mean 'shade'?",
        ),
        ({"id": "cost"}, "id: cost is a NUMERIC; expected STRING or INT64"),
        ({"attributes": {"tags": {}}}, "attributes.tags: tags is an array; expected one value"),
        ({"photos": {"column": "cost"}}, "photos.column: cost is a NUMERIC; expected STRING"),
    ],
)
def test_a_column_that_cannot_be_used_is_named(others: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ColumnError) as refusal:
        team_table(team(**others), "project.dataset", VIEW)
    assert complaint in str(refusal.value)
