"""The SQL of corrections: all of it that depends on the catalogue's columns.

`python -m services.client.corrections_sql` writes schemas/views/catalogue_corrected.sql. The view is
generated, because its columns are those of the catalogue, and checked in, because Terraform and the local
cloud create views from files.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched

from services.client.corrections import Correction
from services.client.literals import identifier, string_literal
from services.client.queries import MAX_ROWS, declared_value, joined
from services.shared.catalogue import ProductTable
from services.shared.catalogue_config import bundled_config
from services.shared.events import Filters
from services.shared.labels import JOINT, NOT_APPLICABLE
from services.shared.wiring import SCHEMAS

FILE = SCHEMAS / "views" / "catalogue_corrected.sql"
MERGED = 500  # corrections of one statement: BigQuery takes at most 1 MB of SQL

_LATEST_LABELS = (SCHEMAS / "views" / "latest_labels.sql").read_text()


@dataclass(frozen=True)
class _Place:
    """Where the catalogue's table has an attribute.

    Args:
        column: its name.
        key: of the attribute in the column, if that is JSON.
        several: whether the attribute has several values.
        separator: between several values, if the column is a text.

    """

    column: str
    key: str | None = None
    several: bool = False
    separator: str | None = None

    def stored(self, product: str) -> str:
        """What a row stores."""
        column = f"{product}.{identifier(self.column)}"
        if self.key is None:
            return column
        return f"JSON_VALUE{'_ARRAY' if self.several else ''}({column}, '$.{self.key}')"

    def value(self, product: str) -> str:
        """The attribute of a row as reviews have it, as STRING."""
        stored = self.stored(product)
        if not self.several:
            return stored
        values = stored if self.separator is None else f"SPLIT({stored}, {string_literal(self.separator)})"
        return joined(values)

    def corrected(self, text: str) -> str:
        """What a row is to store, made of the text of a review."""
        if not self.several:
            return text
        values = f"SPLIT({text}, {string_literal(JOINT)})"
        return (
            values
            if self.separator is None
            else f"ARRAY_TO_STRING({values}, {string_literal(self.separator)})"
        )

    def assignment(self, text: str) -> str:
        """Stores the text of a review in the row `product`."""
        column, value = identifier(self.column), self.corrected(text)
        if self.key is None:
            return f"{column} = {value}"
        return f"{column} = JSON_SET(IFNULL(product.{column}, JSON '{{}}'), '$.{self.key}', {value})"


def _places(products: ProductTable) -> Mapping[str, _Place]:
    """The attributes that can be corrected, and where the catalogue's table has them.

    `products` has a column for the bundled catalogue's attributes; others it stores as JSON.
    """
    config = products.config
    places = {}
    for name in config.named("value", "values"):
        attribute = config.attributes[name]
        several = attribute.type == "values"
        if config.table is None:
            own = name in Filters.COLUMNS and not several
            places[name] = _Place(name) if own else _Place("attributes", name, several)
        else:
            column = config.columns[f"attributes.{name}"]
            text = several and column not in products.repeated
            places[name] = _Place(column, None, several, attribute.separator if text else None)
    return places


def _table(products: ProductTable) -> str:
    return identifier(products.config.table or f"{products.dataset}.products")


def _id_column(products: ProductTable) -> str:
    return identifier("product_id" if products.config.table is None else products.config.id)


def view(products: ProductTable) -> str:
    """The query of the view `catalogue_corrected`.

    It has the columns of the catalogue's table. Of a catalogue whose attributes `products` stores as JSON, it
    has a column for each attribute instead.
    """
    places = _places(products)
    if stored_as_json := any(place.key for place in places.values()):
        places = {name: _Place(name, several=place.several) for name, place in places.items()}
    source = f"({products.sql})" if stored_as_json else _table(products)
    holds = {
        name: f"review.attribute = {string_literal(name)} AND {_holds(place.value('product'), 'review')}"
        for name, place in places.items()
    }
    replaced = ",\n  ".join(
        "IFNULL((\n"
        f"    SELECT {place.corrected('review.corrected')} FROM UNNEST(reviewed.reviews) AS review\n"
        f"    WHERE {holds[name]}\n"
        f"  ), {place.stored('product')}) AS {identifier(place.column)}"
        for name, place in places.items()
    )
    replacing = f" REPLACE (\n  {replaced}\n)" if places else ""
    either = "\n    OR ".join(holds.values()) or "FALSE"
    return f"""\
-- Generated by `python -m services.client.corrections_sql`.
-- The catalogue with reviewed values in place. `corrections` says which they are, who reviewed them and when.
-- A value that has changed in the catalogue since the review stays as it is.
WITH reviewed AS (
  SELECT
    product_id,
    ARRAY_AGG(STRUCT(
      head AS attribute, declared AS declared, label AS corrected, judged_by AS reviewer,
      judged_at AS reviewed_at, job_id AS job_id, model_version AS model_version
    ) ORDER BY head) AS reviews
  FROM ({_reviewed(products)})
  GROUP BY product_id
)
SELECT product.*{replacing}, ARRAY(
  SELECT review FROM UNNEST(reviewed.reviews) AS review
  WHERE {either}
) AS corrections
FROM {source} AS product
LEFT JOIN reviewed ON reviewed.product_id = CAST(product.{_id_column(products)} AS STRING)
"""


def create_view(name: str, products: ProductTable) -> str:
    """The statement that creates the view `catalogue_corrected` of a catalogue under a name of one's own.

    Args:
        name: `project.dataset.view`.
        products: the catalogue.

    """
    return f"CREATE OR REPLACE VIEW {identifier(name)} AS\n{view(products).rstrip()};\n"


def corrections(products: ProductTable, *, since: bool, limit: int | None, offset: int) -> str:
    """A row for each `Correction` of @job_id or all, newest first; with `since` only from @since on."""
    return f"""{_compared(products, since=since)}
SELECT * EXCEPT (label_id) FROM compared
ORDER BY reviewed_at DESC, label_id LIMIT {MAX_ROWS if limit is None else limit:d} OFFSET {offset:d}
"""


def counts(products: ProductTable, *, since: bool) -> str:
    """A row for each status: how many `corrections` have it."""
    return f"""{_compared(products, since=since)}
SELECT status, COUNT(*) AS corrections FROM compared GROUP BY status
"""


def _compared(products: ProductTable, *, since: bool) -> str:
    names = products.config.named("value", "values")
    # A model may have heads that the catalogue has no attribute for, or none that it has.
    known = ", ".join(map(string_literal, names)) or "''"
    values = " ".join(
        f"WHEN {string_literal(name)} THEN {declared_value(name, products.config)}" for name in names
    )
    current = f"CASE review.head {values} END" if names else "CAST(NULL AS STRING)"
    return f"""
WITH reviewed AS ({_reviewed(products)}),
catalogue AS (
  SELECT * FROM ({products.sql}) WHERE TRUE
  QUALIFY ROW_NUMBER() OVER (PARTITION BY product_id ORDER BY display_name) = 1
),
compared AS (
  SELECT
    review.label_id, review.product_id, review.head AS attribute, review.declared, review.label AS corrected,
    review.judged_by AS reviewer, review.judged_at AS reviewed_at, review.job_id, review.model_version,
    {current} AS current_value,
    CASE
      WHEN review.head NOT IN ({known}) THEN 'no-column'
      WHEN product.product_id IS NULL THEN 'missing'
      WHEN {current} IS NOT DISTINCT FROM review.label THEN 'applied'
      WHEN {current} IS NOT DISTINCT FROM review.declared THEN 'pending'
      ELSE 'changed'
    END AS status
  FROM reviewed AS review
  LEFT JOIN catalogue AS product ON product.product_id = review.product_id
  WHERE (@job_id IS NULL OR review.job_id = @job_id) {"AND review.judged_at >= @since" if since else ""}
)
"""


def _reviewed(products: ProductTable) -> str:
    """The last reviews of products that contradict what the catalogue declared."""
    project, _, name = products.dataset.rpartition(".")
    attributes = products.config.attributes
    # Of an attribute that does not apply, a catalogue that says nothing is right.
    dependent = ", ".join(string_literal(name) for name, each in attributes.items() if each.applies_to)
    silent = f"declared IS NULL AND label = {string_literal(NOT_APPLICABLE)} AND head IN ({dependent})"
    right = f"\n    AND NOT ({silent})" if dependent else ""
    # A label that differs from the declared value only in case or in outer blanks corrects nothing.
    return f"""
  SELECT * FROM (
{_LATEST_LABELS.replace("{project}", project).replace("{dataset}", name).strip()}
  )
  WHERE product_id IS NOT NULL AND label IS NOT NULL
    AND (declared IS NULL OR LOWER(TRIM(label)) != LOWER(TRIM(declared))){right}
"""


def _holds(value: str, review: str) -> str:
    """Whether the catalogue's value is the one that was reviewed, or is corrected already."""
    return f"({value} IS NOT DISTINCT FROM {review}.declared OR {value} = {review}.corrected)"


def merge(found: Iterable[Correction], products: ProductTable) -> Iterator[str]:
    """The pending corrections as MERGE statements of GoogleSQL for the catalogue's table.

    To run them again changes nothing, and a value that is no longer the one that was reviewed stays. Comments
    say who reviewed what and when.

    Args:
        found: the corrections.
        products: the catalogue.

    """
    places = _places(products)
    pending: dict[str, list[Correction]] = defaultdict(list)
    for each in found:
        if each.status == "pending" and each.attribute in places:
            pending[each.attribute].append(each)
    if not pending:
        yield "-- There are no corrections to apply.\n"
    for attribute in sorted(pending):
        for some in batched(pending[attribute], MERGED, strict=False):
            yield _merged(some, places[attribute], products)


def _merged(some: Sequence[Correction], place: _Place, products: ProductTable) -> str:
    rows = "\n".join(
        f"    ({', '.join(map(_literal_or_null, (each.product_id, each.declared, each.corrected)))})"
        f"{',' if number < len(some) else ''} {_comment(each)}"
        for number, each in enumerate(some, start=1)
    )
    table, id_column = _table(products), _id_column(products)
    reviews, is_unchanged = "", f"{place.value('product')} IS NOT DISTINCT FROM review.declared"
    if place.several:
        # Several values are compared in a subquery, which a WHEN clause may not have.
        reviews = f"""
  JOIN {table} AS product ON CAST(product.{id_column} AS STRING) = review.id
  WHERE {is_unchanged}"""
    and_unchanged = "" if place.several else f" AND {is_unchanged}"
    return f"""\
-- {len(some)} corrections of {identifier(place.key or place.column)}.
MERGE {table} AS product
USING (
  SELECT review.id AS id, review.declared AS declared, review.corrected AS corrected
  FROM UNNEST(ARRAY<STRUCT<id STRING, declared STRING, corrected STRING>>[
{rows}
  ]) AS review{reviews}
) AS review
ON CAST(product.{id_column} AS STRING) = review.id
WHEN MATCHED{and_unchanged}
  THEN UPDATE SET {place.assignment("review.corrected")};

"""


def _literal_or_null(text: str | None) -> str:
    return "NULL" if text is None else string_literal(text)


def _comment(each: Correction) -> str:
    job = f" in job {string_literal(each.job_id)}" if each.job_id else ""
    return f"-- {string_literal(each.reviewer)} at {each.reviewed_at.isoformat()}{job}"


if __name__ == "__main__":
    FILE.write_text(view(ProductTable(bundled_config(), "{project}.{dataset}")), encoding="utf-8")
