"""The SQL behind `Tables`. All values are query parameters; only the dataset's name is put in."""

from collections.abc import Mapping, Sequence

from services.client.literals import string_literal
from services.client.ports import ResultFilter
from services.client.review import BINS, Against
from services.shared.catalogue import ProductTable, value_counts_query
from services.shared.catalogue_config import CatalogueConfig
from services.shared.jobs import MAX_PHOTOS
from services.shared.labels import JOINT, NOT_APPLICABLE
from services.shared.wiring import SCHEMAS

MAX_ROWS = 2**62
EXAMPLES = 3  # ids that are wrong
RECENT_DAYS = 30  # where no job is named, older predictions are not looked at

# How many photos of a product are classified.
PHOTOS = f"GREATEST(1, LEAST({MAX_PHOTOS}, IFNULL(ARRAY_LENGTH(photos), 0)))"

type Parameters = Mapping[str, str | int | float | bool | None]

_OF_A_JOB = "SELECT * FROM `{dataset}.predictions` WHERE job_id = @job_id"

# The partitions of the last days alone are read.
_NEWEST = f"""
  SELECT * FROM `{{dataset}}.predictions`
  WHERE predicted_at > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {RECENT_DAYS} DAY)
    AND product_id IS NOT NULL AND variant = 'original' AND photo_number IS NULL AND error IS NULL
  QUALIFY ROW_NUMBER() OVER (PARTITION BY product_id ORDER BY predicted_at DESC, prediction_id) = 1
"""

# What a result is. A catalogue may list a product twice: one of the rows counts. Only originals without
# `photo_number` are held against the catalogue: the answers for products, of which each product has one.
#
# `compared` has, of each head, the label of the model that the catalogue declares (`known_label`) and its
# probability. A row carries both as its `record`, which holds as long as the catalogue still says the same.
# If it does not, or if the row has no records, because it is of an upload or of an earlier release, the
# labels that were kept tell: they have the probability of today's value, or else a bound that it cannot
# exceed. A value that is not among them counts only in rows without any record, and only if it is one of
# the `given` labels; rows that have records never depend on other rows.
#
# Joins are on equal columns alone: on anything more, the emulator compares each row with each.
_RESULT = """
WITH rated AS ({rated}),
catalogue AS (
  SELECT * FROM ({products}) WHERE TRUE
  QUALIFY ROW_NUMBER() OVER (PARTITION BY product_id ORDER BY display_name) = 1
),
given AS (
  SELECT DISTINCT rated.model_version, label.head, label.label
  FROM rated CROSS JOIN UNNEST(rated.heads) AS label
),
labels AS (
  SELECT
    rated.prediction_id, rated.model_version, IFNULL(ARRAY_LENGTH(rated.declared), 0) > 0 AS recorded,
    label.head, label.rank, label.label, label.probability,
    {declared_label} AS declared_label,
    label.head IN UNNEST(rated.abstained) OR IFNULL(rated.unfamiliar, FALSE) AS unsure
  FROM rated CROSS JOIN UNNEST(rated.heads) AS label
  LEFT JOIN catalogue AS product ON product.product_id = rated.product_id
  WHERE rated.variant = 'original' AND rated.photo_number IS NULL
),
best AS (
  SELECT
    prediction_id, model_version, head, declared_label, unsure,
    IF(recorded, NULL, declared_label) AS unrecorded_label,
    MAX(IF(rank = 1, label, NULL)) AS label,
    MAX(IF(rank = 1, probability, NULL)) AS probability,
    MAX(IF(label = declared_label, label, NULL)) AS kept_label,
    MAX(IF(label = declared_label, probability, NULL)) AS kept_probability,
    GREATEST(0, LEAST(MIN(probability), 1 - SUM(probability))) AS bound
  FROM labels GROUP BY prediction_id, model_version, head, declared_label, unsure, recorded
),
records AS (
  SELECT rated.prediction_id, record.head, record.label, record.known, record.probability
  FROM rated CROSS JOIN UNNEST(rated.declared) AS record
  WHERE rated.variant = 'original' AND rated.photo_number IS NULL AND record.known IS NOT NULL
),
compared AS (
  SELECT
    best.prediction_id, best.head, best.label, best.probability, best.declared_label, best.unsure,
    COALESCE(
      IF(best.declared_label IN (record.label, record.known), record.known, NULL),
      best.kept_label,
      given.label
    ) AS known_label,
    COALESCE(
      IF(best.declared_label IN (record.label, record.known), record.probability, NULL),
      best.kept_probability,
      best.bound
    ) AS declared_probability
  FROM best
  LEFT JOIN records AS record ON record.prediction_id = best.prediction_id AND record.head = best.head
  LEFT JOIN given
    ON given.model_version = best.model_version AND given.head = best.head
    AND given.label = best.unrecorded_label
),
doubts AS (
  SELECT * FROM compared WHERE label != known_label
),
doubtful AS (
  SELECT
    prediction_id,
    MIN(declared_probability) AS lowest,
    MAX(probability) AS surest,
    LOGICAL_AND(unsure) AS unsure,
    ARRAY_AGG(head ORDER BY declared_probability, probability DESC, head) AS heads
  FROM doubts GROUP BY prediction_id
)
"""

_LATEST_LABELS = (SCHEMAS / "views" / "latest_labels.sql").read_text()

_JOINED = """
FROM rated
LEFT JOIN catalogue AS product ON product.product_id = rated.product_id
LEFT JOIN doubtful ON doubtful.prediction_id = rated.prediction_id
"""


# Not a combined answer for several photos.
_ONE_PHOTO = "IFNULL(ARRAY_LENGTH(decided), 0) = 0"


def tally(products: ProductTable) -> str:
    """One row: how many products, photos, predictions and disagreements a job has, and which heads."""
    return f"""{_result(products, _OF_A_JOB)}
SELECT
  COUNT(DISTINCT product_id) AS products,
  COUNT(DISTINCT CONCAT(CAST(IFNULL(photo_number, 1) AS STRING), '/', product_id)) AS photos,
  COUNTIF(error IS NULL AND {_ONE_PHOTO}) AS predictions,
  COUNTIF(NOT {_ONE_PHOTO}) AS combined,
  (SELECT COUNT(*) FROM doubtful) AS disagreements,
  (SELECT COUNTIF(unsure) FROM doubtful) AS unsure,
  ARRAY(SELECT DISTINCT given.head FROM given ORDER BY 1) AS heads
FROM rated
"""


def errors(dataset: str) -> str:
    """A row an error code of a job: how many rows have it, the most frequent first."""
    return f"""
SELECT error, COUNT(*) AS failed FROM ({_OF_A_JOB.format(dataset=dataset)}) WHERE error IS NOT NULL
GROUP BY error ORDER BY failed DESC, error
"""


def results(
    products: ProductTable, where: ResultFilter, limit: int | None, offset: int
) -> tuple[str, Parameters]:
    """The columns of `predictions`, with `product` and `disagreements`."""
    condition, parameters = _condition(where, products)
    # BigQuery takes no offset without a limit.
    page = f"""ORDER BY
  doubtful.lowest ASC NULLS LAST, doubtful.surest DESC NULLS LAST,
  error IS NULL, rated.product_id, photo_number, variant, rated.prediction_id
LIMIT {MAX_ROWS if limit is None else limit:d} OFFSET {offset:d}"""
    return (
        f"""{_result(products, _OF_A_JOB)}
SELECT rated.*, product, doubtful.heads AS disagreements
{_JOINED} {condition}
{"" if limit is None and not offset else page}
""",
        parameters,
    )


def count(products: ProductTable, where: ResultFilter) -> tuple[str, Parameters]:
    """One row: how many `results` has."""
    condition, parameters = _condition(where, products)
    return f"{_result(products, _OF_A_JOB)} SELECT COUNT(*) AS results {_JOINED} {condition}", parameters


def disagreements(
    products: ProductTable, *, of_a_job: bool, unsure: bool | None, limit: int, offset: int
) -> str:
    """The columns of `predictions`, with `product` and those of a doubt; takes @head."""
    chosen = "" if unsure is None else f"AND doubts.unsure = {unsure}"
    return f"""{_result(products, _OF_A_JOB if of_a_job else _NEWEST)}
SELECT
  rated.*, product,
  doubts.head AS doubted, doubts.label, doubts.probability,
  doubts.declared_label, doubts.declared_probability
FROM doubts
JOIN rated ON rated.prediction_id = doubts.prediction_id
JOIN catalogue AS product ON product.product_id = rated.product_id
LEFT JOIN ({_latest_labels(products.dataset)}) AS judged
  ON judged.product_id = rated.product_id AND judged.head = doubts.head
WHERE judged.label_id IS NULL AND (@head IS NULL OR doubts.head = @head) {chosen}
ORDER BY
  doubts.declared_probability, doubts.probability DESC, rated.product_id, doubts.head, rated.prediction_id
LIMIT {limit:d} OFFSET {offset:d}
"""


def quality(products: ProductTable, against: Against) -> str:
    """A row a `review.Cell` of a job and @head; those without a truth to compare with have NULL for it."""
    if against == "catalogue":
        measured = f"""
  SELECT compared.*, compared.known_label AS truth
  FROM compared
  WHERE compared.head = @head AND compared.declared_label IS NOT NULL
{_not_applicable(products)}"""
    else:
        measured = f"""
  SELECT best.*, judged.label AS truth
  FROM best
  JOIN rated ON rated.prediction_id = best.prediction_id
  JOIN ({_latest_labels(products.dataset)}) AS judged
    ON judged.product_id = rated.product_id AND judged.head = best.head
  WHERE best.head = @head
"""
    return f"""{_result(products, _OF_A_JOB)},
measured AS ({measured})
SELECT
  truth,
  label AS predicted,
  LEAST(CAST(FLOOR(probability * {BINS}) AS INT64), {BINS - 1}) AS bin,
  NOT unsure AS answered,
  COUNT(*) AS photos,
  SUM(probability) AS confidence
FROM measured GROUP BY 1, 2, 3, 4
"""


def _not_applicable(products: ProductTable) -> str:
    """The photos whose truth is NOT_APPLICABLE, because the product has no value and should have none.

    For versions that know this label; others cannot be right.
    """
    label = string_literal(NOT_APPLICABLE)
    return "".join(
        f"""
  UNION ALL
  SELECT compared.*, given.label AS truth
  FROM compared
  JOIN rated ON rated.prediction_id = compared.prediction_id
  JOIN given
    ON given.model_version = rated.model_version AND given.head = compared.head AND given.label = {label}
  JOIN catalogue AS product ON product.product_id = rated.product_id
  WHERE compared.head = @head AND compared.head = '{name}' AND compared.declared_label IS NULL
    AND ({" OR ".join(_is_other(other, values) for other, values in attribute.applies_to.items())})
"""
        for name, attribute in products.config.attributes.items()
        if attribute.applies_to
    )


def _is_other(attribute: str, values: Sequence[str]) -> str:
    return f"product.`{attribute}` NOT IN ({', '.join(map(string_literal, values))})"


def labels(dataset: str, limit: int | None) -> str:
    """Rows of `latest_labels`, of @job_id or all, newest first."""
    return f"""
SELECT * FROM ({_latest_labels(dataset)}) WHERE @job_id IS NULL OR job_id = @job_id
ORDER BY judged_at DESC, label_id LIMIT {MAX_ROWS if limit is None else limit:d}
"""


def audited(products: ProductTable, limit: int | None) -> str:
    """Rows of `audited_labels` of @audit_id, and of @head if given, with `product`; see `Tables.audited`."""
    suspects = f"""
  AND audited.probability IS NOT NULL AND judged.label_id IS NULL
ORDER BY audited.probability, audited.best_probability DESC, audited.product_id, audited.head
LIMIT {limit or 0:d}"""
    return f"""
SELECT audited.*, product
FROM `{products.dataset}.audited_labels` AS audited
LEFT JOIN (
  SELECT * FROM ({products.sql}) WHERE TRUE
  QUALIFY ROW_NUMBER() OVER (PARTITION BY product_id ORDER BY display_name) = 1
) AS product ON product.product_id = audited.product_id
LEFT JOIN ({_latest_labels(products.dataset)}) AS judged
  ON judged.product_id = audited.product_id AND judged.head = audited.head
WHERE audited.audit_id = @audit_id AND (@head IS NULL OR audited.head = @head)
{"" if limit is None else suspects}
"""


def ids(products: ProductTable) -> str:
    """One row: how many rows the catalogue's table has, and which of their ids are wrong."""
    return f"""
WITH ids AS (
  SELECT product_id, COUNT(*) AS found FROM ({products.ids_sql}) GROUP BY product_id
),
judged AS (
  SELECT
    product_id, found, product_id IS NOT NULL AND NOT ({products.usable("product_id")}) AS unusable
  FROM ids
)
SELECT
  IFNULL(SUM(found), 0) AS total,
  IFNULL(SUM(IF(product_id IS NULL, found, 0)), 0) AS without,
  IFNULL(SUM(IF(unusable, found, 0)), 0) AS unusable,
  ARRAY(SELECT product_id FROM judged WHERE unusable ORDER BY 1 LIMIT {EXAMPLES}) AS unusable_ids,
  COUNTIF(found > 1 AND product_id IS NOT NULL) AS duplicates,
  ARRAY(
    SELECT product_id FROM judged WHERE found > 1 AND product_id IS NOT NULL ORDER BY 1 LIMIT {EXAMPLES}
  ) AS duplicate_ids
FROM judged
"""


def values(products: ProductTable) -> str:
    """See `services.shared.catalogue.value_counts_query`."""
    return value_counts_query(products)


def _result(products: ProductTable, rated: str) -> str:
    return _RESULT.format(
        dataset=products.dataset,
        products=products.sql,
        rated=rated.format(dataset=products.dataset),
        declared_label=_declared_label("label.head", products),
    )


def _declared_label(head: str, products: ProductTable) -> str:
    names = products.config.named("value", "values")
    cases = " ".join(f"WHEN '{name}' THEN {declared_value(name, products.config)}" for name in names)
    return f"CASE {head} {cases} END" if names else "CAST(NULL AS STRING)"


def declared_value(name: str, config: CatalogueConfig) -> str:
    """What `product` has of an attribute, as `Product.label` writes it: NULL where that is nothing."""
    column = f"product.`{name}`"
    return joined(column) if config.attributes[name].type == "values" else column


def joined(values: str) -> str:
    """The values of an ARRAY<STRING> as the text that `services.shared.labels.join` makes; NULL of none."""
    texts = (
        f"ARRAY(SELECT DISTINCT TRIM(each) AS text FROM UNNEST({values}) AS each "
        "WHERE TRIM(each) != '' ORDER BY text)"
    )
    return f"NULLIF(ARRAY_TO_STRING({texts}, '{JOINT}'), '')"


def _latest_labels(dataset: str) -> str:
    # What the view says, and not the view itself: training may read tables only.
    project, _, name = dataset.rpartition(".")
    return f"\n{_LATEST_LABELS.format(project=project, dataset=name)}\n"


def _condition(where: ResultFilter, products: ProductTable) -> tuple[str, Parameters]:
    """What a filter asks of `rated`, `product` and `doubtful`, and its values."""
    of_a_row = {
        "product_id": "rated.product_id = @product_id",
        "unfamiliar": "IFNULL(rated.unfamiliar, FALSE) = @unfamiliar",
        "error": "(rated.error = @error OR @error = 'any' AND rated.error IS NOT NULL)",
    }
    of_a_head = {
        "head": "best.head = @head",
        "label": "(best.label = @label OR EXISTS (SELECT 1 FROM UNNEST(rated.head_values) AS each "
        "WHERE each.head = best.head AND each.value = @label))",
        "declared": f"{_declared_label('best.head', products)} = @declared",
        "min_confidence": "best.probability >= @min_confidence",
        "abstained": "(best.head IN UNNEST(rated.abstained)) = @abstained",
    }
    given = {name: value for name in (*of_a_row, *of_a_head) if (value := getattr(where, name)) is not None}
    conditions = [sql for name, sql in of_a_row.items() if name in given]
    asked = [sql for name, sql in of_a_head.items() if name in given]
    if where.disagreements:
        asked.append("best.head IN UNNEST(doubtful.heads)")
    if asked:
        matching = " AND ".join(["best.rank = 1", *asked])
        conditions.append(f"EXISTS (SELECT 1 FROM UNNEST(rated.heads) AS best WHERE {matching})")
    return f"WHERE {' AND '.join(conditions)}" if conditions else "", given
