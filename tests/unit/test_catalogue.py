"""A request's filters become a query whose text no value can change."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.catalogue import query
from services.shared.events import Filters, Product

DATASET = "project.dataset"
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
    assert query(wanted, DATASET)[0] == query(with_other_values(wanted), DATASET)[0]


@given(filters)
def test_every_parameter_is_used_and_every_name_is_a_parameter(wanted: Filters) -> None:
    sql, parameters = query(wanted, DATASET)
    assert set(re.findall(r"@(\w+)", sql)) == parameters.keys()


@given(filters)
def test_every_filter_that_is_set_is_a_parameter_with_its_value(wanted: Filters) -> None:
    fields = {name: getattr(wanted, name) for name in Filters.model_fields}
    assert query(wanted, DATASET)[1] == {
        name: value for name, value in fields.items() if value not in ((), None)
    }


def test_the_whole_query_of_a_request_with_all_filters() -> None:
    columns = dict.fromkeys(Filters.COLUMNS, ("a", "b"))
    wanted = Filters.model_validate(columns | {"start_year": 2010, "end_year": 2012, "limit": 9})
    assert query(wanted, DATASET)[0].splitlines() == [
        "SELECT product_id, gender, master_category, sub_category, article_type, base_colour, season, year, "
        "usage, display_name",
        "FROM `project.dataset.products`",
        "WHERE gender IN UNNEST(@gender) AND master_category IN UNNEST(@master_category) AND sub_category IN "
        "UNNEST(@sub_category) AND article_type IN UNNEST(@article_type) AND base_colour IN "
        "UNNEST(@base_colour) AND season IN UNNEST(@season) AND usage IN UNNEST(@usage) AND year >= "
        "@start_year AND year <= @end_year",
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY product_id ORDER BY display_name) = 1",
        "ORDER BY MD5(product_id), product_id LIMIT @limit",
    ]


def test_without_filters_everything_is_selected_once() -> None:
    sql, parameters = query(Filters(), DATASET)
    assert parameters == {}
    assert "\nWHERE TRUE\n" in sql
    assert "LIMIT" not in sql


def test_the_columns_are_those_of_a_product() -> None:
    selected = re.search(r"SELECT (.+)\n", query(Filters(), DATASET)[0])
    assert selected
    assert selected[1].split(", ") == list(Product.model_fields)


def test_a_retry_is_of_the_products_that_have_an_error_in_that_job() -> None:
    sql, parameters = query(Filters(retry_of="spring", gender=("Men",)), DATASET)
    assert sql.splitlines()[2] == (
        "WHERE gender IN UNNEST(@gender) AND product_id IN (SELECT product_id FROM "
        "`project.dataset.predictions` WHERE job_id = @retry_of AND error IS NOT NULL)"
    )
    assert parameters == {"gender": ("Men",), "retry_of": "spring"}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_alone_is_enough(name: str) -> None:
    assert query(Filters.model_validate({name: 2000}), DATASET)[1] == {name: 2000}
