"""What a request's filters mean, as one parameterised query over `products`, and `predictions` in a retry."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from services.shared.events import Filters, Product
from services.shared.nearest import nearest

type Parameters = dict[str, tuple[str, ...] | str | int]


def query(filters: Filters, dataset: str) -> tuple[str, Parameters]:
    """The query that selects the products that match, each product_id once.

    Args:
        filters: their values become parameters, never text.
        dataset: `project.dataset`, from the settings.

    Returns:
        GoogleSQL and the values of its named parameters. With a limit, the products are a sample that is
        the same at each run: they come in the order of a hash of their ids, which also spreads the
        copies' names over Cloud Storage's key ranges.

    """
    parameters: Parameters = {
        column: values for column in Filters.COLUMNS if (values := getattr(filters, column))
    }
    conditions = [f"{column} IN UNNEST(@{column})" for column in parameters]
    if filters.start_year is not None:
        conditions.append("year >= @start_year")
        parameters["start_year"] = filters.start_year
    if filters.end_year is not None:
        conditions.append("year <= @end_year")
        parameters["end_year"] = filters.end_year
    if filters.retry_of is not None:
        conditions.append(
            f"product_id IN (SELECT product_id FROM `{dataset}.predictions` "
            "WHERE job_id = @retry_of AND error IS NOT NULL)"
        )
        parameters["retry_of"] = filters.retry_of
    lines = [
        f"SELECT {', '.join(Product.model_fields)}",
        f"FROM `{dataset}.products`",
        f"WHERE {' AND '.join(conditions) or 'TRUE'}",
        # A catalogue may list a product twice; a job has one row an image.
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY product_id ORDER BY display_name) = 1",
    ]
    if filters.limit is not None:
        lines.append("ORDER BY MD5(product_id), product_id LIMIT @limit")
        parameters["limit"] = filters.limit
    return "\n".join(lines), parameters


@dataclass(frozen=True)
class UnknownValue:
    """A value that a request filters by and no product has."""

    column: str
    value: str
    near: str | None  # the most similar value that a product has

    @property
    def expected(self) -> str:
        """What to write instead."""
        hint = f"did you mean {self.near!r}?" if self.near else "expected a value of the catalogue"
        return f"no product has {self.value!r}; {hint}"

    def __str__(self) -> str:
        return f"{self.column}: {self.expected}"


def unknown_values(
    filters: Filters, values: Callable[[Sequence[str]], Mapping[str, Collection[str]]]
) -> Sequence[UnknownValue]:
    """The values of filters that no product has, in the order of the columns.

    Args:
        filters: of a request.
        values: the values that products have in some columns; not called where nothing is filtered by.

    """
    columns = [column for column in Filters.COLUMNS if getattr(filters, column)]
    if not columns:
        return []
    known = values(columns)
    return [
        UnknownValue(column, value, nearest(value, known[column]))
        for column in columns
        for value in getattr(filters, column)
        if value not in known[column]
    ]


def values_query(columns: Sequence[str], dataset: str) -> str:
    """The query for the values that products have: rows of `name`, a column, and `value`."""
    pairs = ", ".join(f"STRUCT('{column}' AS name, {column} AS value)" for column in columns)
    return f"""
SELECT DISTINCT pair.name, pair.value
FROM `{dataset}.products` CROSS JOIN UNNEST([{pairs}]) AS pair
WHERE pair.value IS NOT NULL
"""
