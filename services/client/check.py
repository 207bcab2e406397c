"""`vitrine catalogue check`: what a catalogue has, and what is wrong with it, in counts and examples."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from os.path import commonprefix

from services.client.ports import IdCounts, Tables
from services.shared.catalogue_config import CatalogueConfig
from services.shared.catalogue_files import Catalogue
from services.shared.errors import ObjectNotFoundError
from services.shared.events import Product
from services.shared.https_photos import refusal
from services.shared.jobs import MAX_PHOTOS, photo_uris, web_addresses
from services.shared.nearest import did_you_mean
from services.shared.ports import Objects

EXAMPLES = 3


@dataclass(frozen=True)
class AttributeCheck:
    """The values of an attribute: how many products have each, and how many have none."""

    type: str
    values: Counter[str]
    without: int


@dataclass(frozen=True)
class Finding:
    """Products or rows with the same defect."""

    what: str
    count: int
    examples: Sequence[str]
    stops: bool = False  # whether nothing can be done before it is mended

    def __str__(self) -> str:
        shown = ", ".join(self.examples[:EXAMPLES])
        more = ", ..." if self.count > EXAMPLES else ""
        return f"{self.count} {self.what}: {shown}{more}" if self.examples else f"{self.count} {self.what}"


@dataclass(frozen=True)
class CatalogueCheck:
    """What a catalogue has.

    Args:
        rows: of the table, those that cannot be used included.
        products: how many can be used.
        attributes: by name.
        findings: what is wrong, what stops it first.

    """

    rows: int
    products: int
    attributes: Mapping[str, AttributeCheck]
    findings: Sequence[Finding]

    @property
    def stopped(self) -> bool:
        """Whether the catalogue cannot be used before something is mended."""
        return any(each.stops for each in self.findings)


def check_files(catalogue: Catalogue, config: CatalogueConfig) -> CatalogueCheck:
    """Check the files of a catalogue."""
    kinds: dict[str, list[str]] = {}
    for row in catalogue.bad_rows:
        kind = "ids that come again" if row.reason.endswith(" already") else "rows that cannot be read"
        kinds.setdefault(kind, []).append(f"line {row.line}: {row.reason}")
    bad = [Finding(kind, len(rows), rows) for kind, rows in kinds.items()]
    missing = [
        each.product_id
        for each in catalogue.products
        if not each.photos and each.product_id not in catalogue.photos
    ]
    rows = len(catalogue.products) + len(catalogue.bad_rows)
    bad += _not_allowed(catalogue.products, config)
    return _checked(catalogue.products, config, rows, bad, missing)


def check_tables(tables: Tables, objects: Objects, bucket: str) -> CatalogueCheck:
    """Check the table that the pipeline reads, and whether the photos are in Cloud Storage."""
    counts = tables.count_ids()
    products = list(tables.catalogue())
    # What is at web addresses is fetched when a job needs it.
    missing, partly = _missing([each for each in products if not web_addresses(each)], objects, bucket)
    bad = [*_findings(counts), *partly, *_not_allowed(products, tables.config)]
    return _checked(products, tables.config, counts.rows, bad, missing)


def _not_allowed(products: Iterable[Product], config: CatalogueConfig) -> Sequence[Finding]:
    """The photos at web addresses that may not be fetched."""
    refused = [
        f"{each.product_id} ({reason})"
        for each in products
        for address in web_addresses(each)
        if (reason := refusal(address, config.photos.hosts))
    ]
    return [Finding("photos that may not be fetched", len(refused), refused)] if refused else []


def _findings(counts: IdCounts) -> Iterator[Finding]:
    if counts.without:
        yield Finding("rows without an id are left out", counts.without, ())
    if counts.unusable:
        yield Finding(
            "rows whose id is too long, or has a line break or blanks around it, are left out",
            counts.unusable,
            counts.unusable_ids,
        )
    if counts.duplicates:
        yield Finding("ids that come again; one of the rows counts", counts.duplicates, counts.duplicate_ids)


def _missing(
    products: Sequence[Product], objects: Objects, bucket: str
) -> tuple[Sequence[str], Sequence[Finding]]:
    """The ids of the products that have no photo, and a finding on those that lack some of their photos."""
    uris = {each.product_id: photo_uris(bucket, each) for each in products}
    by_bucket: dict[str, list[str]] = {}
    for uri in chain.from_iterable(uris.values()):
        by_bucket.setdefault(uri.removeprefix("gs://").partition("/")[0], []).append(uri)
    present: set[str] = set()
    for name, named in by_bucket.items():
        # Of a bucket only what the photos' names begin with is listed: letters, not folders.
        prefix = commonprefix(named)  # noqa: RUF071
        if prefix.startswith(f"gs://{name}/"):
            try:
                present.update(objects.names(prefix))
            except ObjectNotFoundError:
                continue  # there is no such bucket
    absent = {
        product_id: [uri for uri in named if uri not in present]
        for product_id, named in uris.items()
        if not present.issuperset(named)
    }
    partly = [uri for product_id, each in absent.items() if len(each) < len(uris[product_id]) for uri in each]
    return (
        sorted(product_id for product_id, each in absent.items() if len(each) == len(uris[product_id])),
        [Finding("further photos that are missing", len(partly), partly)] if partly else [],
    )


def _checked(
    products: Sequence[Product],
    config: CatalogueConfig,
    rows: int,
    bad: Sequence[Finding],
    missing: Sequence[str],
) -> CatalogueCheck:
    findings = [*bad]
    many = [each.product_id for each in products if len(each.photos) > MAX_PHOTOS]
    if many:
        what = f"products with more than {MAX_PHOTOS} photos; the others are not classified"
        findings.append(Finding(what, len(many), many))
    if missing:
        all_missing = len(missing) == len(products)
        findings.append(Finding("products without a photo", len(missing), missing, stops=all_missing))
    if not products:
        findings.append(Finding("products", 0, (), stops=True))
    findings += _dependences(products, config)
    findings.sort(key=lambda each: not each.stops)
    return CatalogueCheck(rows, len(products), _attributes(products, config), findings)


def _dependences(products: Sequence[Product], config: CatalogueConfig) -> Iterator[Finding]:
    """What contradicts `applies_to`: values that no product has, and values where none should be."""
    for name, attribute in config.attributes.items():
        for other, values in attribute.applies_to.items():
            known = {value for product in products for value in product.values(other)}
            unknown = [
                f"{value!r}{did_you_mean(value, sorted(known))}" for value in values if value not in known
            ]
            if unknown:
                yield Finding(
                    f"values of {other} in applies_to of {name} that no product has", len(unknown), unknown
                )
        contradicting = [
            f"{product.product_id} ({name} {', '.join(product.values(name))}; "
            + ", ".join(f"{other} {product.value(other)}" for other in attribute.applies_to)
            + ")"
            for product in products
            if config.contradicts(name, product)
        ]
        if contradicting:
            yield Finding(
                f"products with a {name}, which does not apply to them", len(contradicting), contradicting
            )


def _attributes(products: Iterable[Product], config: CatalogueConfig) -> Mapping[str, AttributeCheck]:
    counts = {name: _Count() for name in config.attributes}
    for product in products:
        given = {each.name: each.values for each in product.attributes}
        for name, count in counts.items():
            count.add(given.get(name, ()))
    return {
        name: AttributeCheck(config.attributes[name].type, count.values, count.without)
        for name, count in counts.items()
    }


@dataclass
class _Count:
    values: Counter[str] = field(default_factory=Counter)
    without: int = 0

    def add(self, values: Sequence[str]) -> None:
        self.values.update(values)
        self.without += not values
