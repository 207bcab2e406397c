"""Where products are read from: one query over a team's own table or `products`, for all that read them.

A request's filters are conditions on it, and a catalogue's values are checked here.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from services.shared.catalogue_config import ID, RESERVED, Attribute, CatalogueConfig, Photos
from services.shared.events import MAX_PRODUCT_ID, AttributeValue, Condition, Filters, Product
from services.shared.nearest import did_you_mean, nearest

type Parameters = Mapping[str, tuple[str, ...] | tuple[float, ...] | str | int | float]

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif", ".heic", ".heif")
DEFAULT_PATTERN = Photos(pattern=f"images/{ID}")


class ColumnError(ValueError):
    """A team's table has not the columns that its catalogue.yaml names; the message says which."""


@dataclass(frozen=True)
class ProductTable:
    """Where products are read from.

    Args:
        config: what the catalogue's columns mean.
        dataset: `project.dataset` of the pipeline's own tables.
        repeated: the columns of the team's table that are arrays.

    """

    config: CatalogueConfig
    dataset: str
    repeated: frozenset[str] = frozenset()

    @property
    def columns(self) -> Sequence[str]:
        """The columns of `sql`: product_id, the attributes by name, display_name, photos."""
        return ("product_id", *self.config.attributes, "display_name", "photos")

    @cached_property
    def sql(self) -> str:
        """A query for all products: attributes are STRING, those of several values ARRAY<STRING>.

        A team's table may have an id more than once. Rows whose id is NULL, or cannot be a product's id, are
        left out.
        """
        return self._own_table if self.config.table is None else self._teams_table

    @property
    def _own_table(self) -> str:
        attributes = [f"{_stored(name, each)} AS `{name}`" for name, each in self.config.attributes.items()]
        columns = ", ".join(["product_id", *attributes, "display_name", "photos"])
        return f"SELECT {columns} FROM `{self.dataset}.products`"

    @property
    def _teams_table(self) -> str:
        own = self.config.columns
        product_id = f"CAST(`{own['id']}` AS STRING)"
        name = own.get("display_name")
        columns = [
            f"{product_id} AS product_id",
            *(
                f"{self._values(own[f'attributes.{name}'], each)} AS `{name}`"
                for name, each in self.config.attributes.items()
            ),
            f"{f'CAST(`{name}` AS STRING)' if name else 'CAST(NULL AS STRING)'} AS display_name",
            f"{self._photos(product_id)} AS photos",
        ]
        return f"SELECT {', '.join(columns)} FROM `{self.config.table}` WHERE {self.usable(product_id)}"

    @property
    def ids_sql(self) -> str:
        """A query for the product_id of each row of the table, whatever it is."""
        if self.config.table is None:
            return f"SELECT product_id FROM `{self.dataset}.products`"
        return (
            f"SELECT CAST(`{self.config.columns['id']}` AS STRING) AS product_id FROM `{self.config.table}`"
        )

    def usable(self, product_id: str) -> str:
        """The condition that a product's id can be what an SQL expression is, as `ProductId` has it."""
        return (
            f"LENGTH({product_id}) BETWEEN 1 AND {MAX_PRODUCT_ID} AND NOT REGEXP_CONTAINS({product_id}, "
            r"r'^\s|\s$|[\x00-\x1f\x7f]')"
        )

    def _values(self, column: str, attribute: Attribute) -> str:
        text = f"CAST(`{column}` AS STRING)"
        if attribute.type != "values":
            return f"IF(TRIM({text}) = '', NULL, {text})"
        if column in self.repeated:
            return _texts(f"`{column}`")
        separator = json.dumps(attribute.separator)
        return _texts(f"SPLIT({text}, {separator})")

    def _photos(self, product_id: str) -> str:
        photos = self.config.photos
        if photos.column is None:
            if photos == DEFAULT_PATTERN:
                return "CAST([] AS ARRAY<STRING>)"
            before, _, after = (photos.pattern or "").partition(ID)
            suffix = "" if PurePosixPath(f"x{after}").suffix.lower() in PHOTO_SUFFIXES else ".jpg"
            return f"[CONCAT({json.dumps(before)}, {product_id}, {json.dumps(after + suffix)})]"
        if photos.column in self.repeated:
            return _texts(f"`{photos.column}`")
        text = f"CAST(`{photos.column}` AS STRING)"
        if photos.separator is not None:
            return _texts(f"SPLIT({text}, {json.dumps(photos.separator)})")
        return f"IF(TRIM({text}) != '', [TRIM({text})], CAST([] AS ARRAY<STRING>))"


def _texts(array: str) -> str:
    return (
        f"ARRAY(SELECT TRIM(CAST(each AS STRING)) FROM UNNEST({array}) AS each WITH OFFSET AS place "
        "WHERE TRIM(CAST(each AS STRING)) != '' ORDER BY place)"
    )


def team_table(
    config: CatalogueConfig, dataset: str, columns: Mapping[str, tuple[str, bool]]
) -> ProductTable:
    """A team's own table as products, once its columns are known.

    Args:
        config: names the table.
        dataset: `project.dataset` of the pipeline's own tables.
        columns: of the team's table: name -> its type in BigQuery, and whether it is an array.

    Raises:
        ColumnError: a column is missing, or cannot be what the configuration says; names all that are.

    """
    by_lower = {name.lower(): name for name in columns}
    problems = []
    for field, column in config.columns.items():
        # BigQuery does not tell columns apart by their case.
        found = by_lower.get(column.lower())
        if found is None:
            hint = did_you_mean(column, [*columns])
            problems.append(f"{field}: {config.table} has no column {column!r}{hint}")
            continue
        type_, several = columns[found]
        if type_ in ("RECORD", "STRUCT", "JSON", "BYTES", "GEOGRAPHY"):
            problems.append(f"{field}: {column} is a {type_}; expected a plain column, such as one of a view")
        elif field == "id" and type_ not in ("STRING", "INTEGER", "INT64"):
            problems.append(f"id: {column} is a {type_}; expected STRING or INT64")
        elif field == "photos.column" and type_ != "STRING":
            problems.append(f"{field}: {column} is a {type_}; expected STRING, of names or URIs")
        elif several and not _may_be_repeated(field, config):
            problems.append(f"{field}: {column} is an array; expected one value, or `type: values`")
    if problems:
        raise ColumnError("; ".join(problems))
    repeated = (column for column in config.columns.values() if columns[by_lower[column.lower()]][1])
    return ProductTable(config, dataset, frozenset(repeated))


def _may_be_repeated(field: str, config: CatalogueConfig) -> bool:
    group, _, name = field.partition(".")
    return field == "photos.column" or (group == "attributes" and config.attributes[name].type == "values")


# ------------------------------------------------------------------------------------- the table `products`


def _has_column(name: str, attribute: Attribute) -> bool:
    """Whether `products` has a column of its own for an attribute, as it had in release 0.1."""
    if name == Filters.YEAR:
        return attribute.type == "number"
    return name in Filters.COLUMNS and attribute.type == "value"


def _stored(name: str, attribute: Attribute) -> str:
    if _has_column(name, attribute):
        return f"CAST(`{name}` AS STRING)" if attribute.type == "number" else f"`{name}`"
    get = "JSON_VALUE_ARRAY" if attribute.type == "values" else "JSON_VALUE"
    return f"{get}(attributes, '$.{name}')"


def product_row(product: Product, config: CatalogueConfig) -> Mapping[str, Any]:
    """A product as a row of the table `products`, all of whose columns it has."""
    row: dict[str, Any] = dict.fromkeys((*Filters.COLUMNS, Filters.YEAR))
    others: dict[str, str | Sequence[str]] = {}
    for name, attribute in config.attributes.items():
        values = product.values(name)
        if not values:
            continue
        if not _has_column(name, attribute):
            others[name] = values if attribute.type == "values" else values[0]
        else:
            row[name] = int(values[0]) if attribute.type == "number" else values[0]
    return {
        "product_id": product.product_id,
        **row,
        "display_name": product.display_name,
        "photos": product.photos,
        "attributes": others or None,
    }


def product_of(row: Mapping[str, Any]) -> Product:
    """The product of a row of `ProductTable.sql`."""
    attributes: dict[str, AttributeValue] = {name: row[name] for name in row if name not in RESERVED}
    return Product.of(row["product_id"], row["display_name"], row["photos"] or (), **attributes)


type Described = Mapping[str, str | int | float | tuple[str, ...] | None]


def described(product: Product, config: CatalogueConfig) -> Described:
    """A product as one object for people and programs: each attribute of the catalogue by its name.

    Of numbers it has numbers; of what the catalogue does not say, None.
    """
    found: dict[str, str | int | float | tuple[str, ...] | None] = {"product_id": product.product_id}
    for name, attribute in config.attributes.items():
        values, value = product.values(name), product.value(name)
        if attribute.type == "values":
            found[name] = values
        elif attribute.type == "number" and value is not None and is_number(value):
            found[name] = float(value) if "." in value else int(value)
        else:
            found[name] = value
    return {**found, "display_name": product.display_name, "photos": product.photos}


# ------------------------------------------------------------------------------------- selecting


def query(filters: Filters, products: ProductTable) -> tuple[str, Parameters]:
    """The query that selects the products that match, each product_id once.

    Args:
        filters: conditions on attributes that the catalogue has; their values become parameters, never text.
        products: the catalogue.

    Returns:
        GoogleSQL and the values of its named parameters. With a limit, the products are a sample that is
        the same at each run: they come in the order of a hash of their ids, which also spreads the
        copies' names over Cloud Storage's key ranges.

    """
    parameters: dict[str, tuple[str, ...] | tuple[float, ...] | str | int | float] = {}
    conditions = []
    for place, (name, condition) in enumerate(filters.conditions.items()):
        attribute = products.config.attributes[name]
        values, least, most = f"values_{place}", f"from_{place}", f"to_{place}"
        column = _comparable(name, attribute)
        if condition.values:
            parameters[values] = _parameters(condition.values, attribute)
            conditions.append(
                f"EXISTS (SELECT 1 FROM UNNEST({column}) AS each WHERE each IN UNNEST(@{values}))"
                if attribute.type == "values"
                else f"{column} IN UNNEST(@{values})"
            )
        for bound, sign, parameter in ((condition.from_, ">=", least), (condition.to, "<=", most)):
            if bound is not None:
                parameters[parameter] = _parameters((bound,), attribute)[0]
                conditions.append(f"{column} {sign} @{parameter}")
    if filters.retry_of is not None:
        conditions.append(
            f"product_id IN (SELECT product_id FROM `{products.dataset}.predictions` "
            "WHERE job_id = @retry_of AND error IS NOT NULL)"
        )
        parameters["retry_of"] = filters.retry_of
    lines = [
        f"SELECT {', '.join(f'`{column}`' for column in products.columns)}",
        f"FROM ({products.sql})",
        f"WHERE {' AND '.join(conditions) or 'TRUE'}",
        # A catalogue may list a product twice; a job has one row an image.
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY product_id ORDER BY display_name) = 1",
    ]
    if filters.limit is not None:
        lines.append("ORDER BY MD5(product_id), product_id LIMIT @limit")
        parameters["limit"] = filters.limit
    return "\n".join(lines), parameters


def _comparable(name: str, attribute: Attribute) -> str:
    match attribute.type:
        case "number":
            return f"SAFE_CAST(`{name}` AS FLOAT64)"
        case "date":
            return f"SUBSTR(`{name}`, 1, 10)"  # ISO dates are in the order of their letters
    return f"`{name}`"


def _parameters(values: tuple[str, ...], attribute: Attribute) -> tuple[str, ...] | tuple[float, ...]:
    return tuple(map(float, values)) if attribute.type == "number" else values


def matches(product: Product, filters: Filters, config: CatalogueConfig) -> bool:
    """Whether `query` would select a product."""
    return all(
        _satisfies(product.values(name), condition, config.attributes[name])
        for name, condition in filters.conditions.items()
    )


def _satisfies(values: Sequence[str], condition: Condition, attribute: Attribute) -> bool:
    def key(text: str) -> float | str:
        match attribute.type:
            case "number":
                return float(text) if is_number(text) else math.nan
            case "date":
                return text[:10]
        return text

    def within(value: Any) -> bool:
        above = condition.from_ is None or value >= key(condition.from_)
        return bool(above and (condition.to is None or value <= key(condition.to)))

    if condition.ranged:
        return any(within(key(value)) for value in values)
    return bool({key(value) for value in values} & {key(value) for value in condition.values})


def is_number(text: str) -> bool:
    """Whether a text is a decimal number, as catalogues write them."""
    return re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?", text) is not None


def decimal(text: str) -> str | None:
    """A number with a decimal point, where most of Europe writes a comma; None where it is no number."""
    pointed = text.replace(",", ".")
    return pointed if is_number(pointed) else None


def is_date(text: str) -> bool:
    """Whether a text begins with an ISO date, such as 2026-03-31."""
    try:
        date.fromisoformat(text[:10])
    except ValueError:
        return False
    return text[4:5] == "-" and len(text) >= len("2026-03-31")


# ------------------------------------------------------------------------------------- checking


@dataclass(frozen=True)
class InvalidFilter:
    """What is wrong with a condition."""

    field: str  # of the request
    got: str
    expected: str  # what to write instead

    def __str__(self) -> str:
        return f"{self.field}: {self.expected}"


def invalid_filters(
    filters: Filters,
    config: CatalogueConfig,
    values: Callable[[Sequence[str]], Mapping[str, Collection[str]]],
) -> Sequence[InvalidFilter]:
    """The conditions that no product can meet, in the order of the filters.

    Args:
        filters: of a request.
        config: says which attributes there are, and their types.
        values: the values that products have of some attributes; not called where none is filtered by.

    """
    conditions = filters.conditions
    found = {name: _misplaced(name, conditions[name], filters, config) for name in conditions}
    asked = [
        name
        for name, condition in conditions.items()
        if found[name] is None and condition.values and config.attributes[name].type in ("value", "values")
    ]
    known = values(asked) if asked else {}
    invalid = []
    for name, condition in conditions.items():
        if (misplaced := found[name]) is not None:
            invalid.append(misplaced)
        for value in condition.values if name in asked else ():
            if value not in known[name]:
                near = nearest(value, known[name])
                hint = f"did you mean {near!r}?" if near else "expected a value of the catalogue"
                expected = f"no product has {value!r}; {hint}"
                invalid.append(InvalidFilter(filters.field_of(name), value, expected))
    return invalid


def _misplaced(
    name: str, condition: Condition, filters: Filters, config: CatalogueConfig
) -> InvalidFilter | None:
    """What the catalogue's configuration alone refuses."""
    field, attribute = filters.field_of(name), config.attributes.get(name)
    if attribute is None:
        hint = did_you_mean(name, [*config.attributes])
        return InvalidFilter(field, name, f"the catalogue has no attribute {name!r}{hint}")
    if attribute.type in ("value", "values"):
        if not condition.ranged:
            return None
        return InvalidFilter(
            field, str(condition), f"expected a value or a list of values, {name} has no order"
        )
    right, example = (is_number, "10") if attribute.type == "number" else (is_date, "2026-03-31")
    given = {"from": condition.from_, "to": condition.to}
    for bound, text in [
        *((f".{key}", text) for key, text in given.items()),
        *(("", v) for v in condition.values),
    ]:
        if text is not None and not right(text):
            expected = f"expected a {attribute.type} such as {example} (got {text!r})"
            return InvalidFilter(f"{field}{bound}", text, expected)
    least, most = condition.from_, condition.to
    if least is not None and most is not None:
        first, last = (float(each) if attribute.type == "number" else each for each in (least, most))
        if last < first:  # type: ignore[operator]  # both are of one type
            return InvalidFilter(f"{field}.to", most, f"must not be before `from`, which is {least}")
    return None


def values_query(names: Sequence[str], products: ProductTable) -> str:
    """The query for the values that products have: rows of `name`, an attribute's, and `value`."""
    return f"""
SELECT DISTINCT pair.name, value
FROM {_pairs(names, products)}
WHERE value IS NOT NULL
"""


def value_counts_query(products: ProductTable) -> str:
    """How many products have each value of an attribute, and of the time where it is a number.

    Rows of `name`, `value`, `products`; the most frequent ones first, times in order.
    """
    config = products.config
    time = config.time if config.time in config.named("number") else None
    names = [*config.named("value", "values"), *([time] if time else [])]
    return f"""
SELECT pair.name, value, COUNT(*) AS products
FROM {_pairs(names, products)}
WHERE value IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, IF(pair.name = '{time or ""}', value, NULL), 3 DESC, 2
"""


def _pairs(names: Sequence[str], products: ProductTable) -> str:
    several = products.config.named("values")
    pairs = ", ".join(
        f"STRUCT('{name}' AS name, {f'`{name}`' if name in several else f'[`{name}`]'} AS found)"
        for name in names
    )
    return f"({products.sql}) CROSS JOIN UNNEST([{pairs}]) AS pair CROSS JOIN UNNEST(pair.found) AS value"
