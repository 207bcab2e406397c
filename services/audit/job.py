"""The audit: how likely each label of a catalogue is, by heads that did not learn it.

It reads from top to bottom: begin, select, embed, cut, judge, load. All that it needs to go on after an
interruption stands under the audit's prefix in Cloud Storage, as services/shared/layout.py says. Nothing is
replaced there: the first writer wins.
"""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import batched
from typing import Protocol
from uuid import uuid4

import numpy as np
from pydantic import BaseModel, ConfigDict

from services.audit.embeddings import PART_PRODUCTS, Embedder, Part, embed
from services.audit.folds import folds, pictures
from services.audit.labels import classes, declared
from services.audit.progress import Progress
from services.audit.regression import cross_fit, whitened
from services.audit.rows import Judged, Opinion, Rows
from services.shared.audits import AttributeAudit, AuditManifest, AuditRequest, AuditSummary
from services.shared.catalogue import invalid_filters
from services.shared.errors import ObjectNotFoundError
from services.shared.events import Product
from services.shared.jobs import ndjson
from services.shared.layout import AuditLayout
from services.shared.ports import Catalogue, Clock, Objects, Warehouse
from services.shared.ports import Selection as CatalogueSelection

TABLE = "audited_labels"

type Say = Callable[[str], None]


class AuditError(ValueError):
    """The audit cannot begin or go on; the message says why."""


@dataclass(frozen=True)
class Ports:
    """What an audit needs of the world."""

    objects: Objects
    catalogue: Catalogue
    warehouse: Warehouse
    clock: Clock
    bucket: str


class Embedders(Protocol):
    """The versions of the model."""

    def __call__(self, pinned: str | None) -> Embedder:
        """The version that an audit is pinned to; for a new audit (None) the version that it is to have."""
        ...


def audit(request: AuditRequest, ports: Ports, embedders: Embedders, say: Say) -> AuditSummary:
    """Run an audit; a repetition goes on where the last one ended, and changes nothing once it is done.

    Args:
        request: what to audit.
        ports: Cloud Storage, BigQuery, the time.
        embedders: opens the version of the model.
        say: is told how it goes, in lines for people.

    Raises:
        AuditError: nothing can be audited, or the audit of this name is another one.
        services.model.manifest.ModelError: the version cannot be used.

    """
    try:
        request = request.of_catalogue(ports.catalogue.config)
    except ValueError as error:
        raise AuditError(str(error)) from error
    layout = AuditLayout(ports.bucket, request.audit_id)
    stands = _find(ports.objects, layout.manifest, AuditManifest)
    if stands and stands.request != request:
        raise AuditError(
            f"the audit {request.audit_id!r} exists with {_difference(stands.request, request)}; "
            "choose another name"
        )
    if summary := _find(ports.objects, layout.summary, AuditSummary):
        return summary

    # ---- begin -------------------------------------------------------------------------------------------
    # Before the manifest: a refused audit does not use up its name.
    selected = _select(request, ports) if stands is None else None
    embedder = embedders(stands.model_version if stands else None)
    begun = AuditManifest(
        request=request, model=embedder.name, model_version=embedder.version, audited_at=ports.clock()
    )
    manifest = stands or _create(ports.objects, layout.manifest, begun)
    if manifest.model_version != embedder.version:
        raise AuditError(
            f"the audit {request.audit_id!r} began with version {manifest.model_version} of the model, not "
            f"with {embedder.version}: give this one another name"
        )

    # ---- select ------------------------------------------------------------------------------------------
    # Of two audits of one name that begin at once, the first one's request counts.
    selection = _selected(manifest, layout, ports, selected if manifest.request == request else None)
    say(f"{selection.products} products, with the embeddings of {embedder.name} {embedder.version}")

    # ---- embed -------------------------------------------------------------------------------------------
    _embed(selection, embedder, layout, ports, say)
    columns = _columns(selection, request.attributes, layout, ports.objects)
    photos = Part.concatenate(
        [Part.from_bytes(ports.objects.read(layout.embeddings(part)).data) for part in range(selection.parts)]
    )

    # ---- cut ---------------------------------------------------------------------------------------------
    usable = photos.usable()
    shown = photos.take(usable)
    failed = Counter(error for error in photos.errors.tolist() if error)
    read = len(photos.errors) - failed.total()
    say(f"{read} photos can be used; looking for near-duplicates among them")
    same = pictures(shown.signatures(), len(usable))
    judged = Judged(
        ids=columns.ids,
        errors=photos.product_errors(),
        learnt=None if embedder.learnt is None else photos.learnt_by(embedder.learnt),
        usable=usable,
        pictures=same,
        folds=folds([columns.ids[place] for place in usable.tolist()], same, request.folds),
    )

    # ---- judge -------------------------------------------------------------------------------------------
    found = _judge(judged, columns.declared, shown, manifest, layout, ports.objects, say)

    # ---- load --------------------------------------------------------------------------------------------
    if any(each.judged or each.unjudged for each in found.values()):
        ports.warehouse.load(TABLE, layout.all_rows, f"vitrine-audits-{request.audit_id}")
    summary = AuditSummary(
        manifest=manifest,
        products=len(columns.ids),
        usable=len(usable),
        photos=read,
        pictures=len(np.unique(same)),
        errors=failed,
        learnt=None if judged.learnt is None else int(judged.learnt[usable].sum()),
        attributes=found,
    )
    return _create(ports.objects, layout.summary, summary)


# ------------------------------------------------------------------------------------- select


def _select(request: AuditRequest, ports: Ports) -> CatalogueSelection:
    """Selects the products.

    Raises:
        AuditError: none matches, or none has a value that the filters name.

    """
    if invalid := invalid_filters(request.filters, ports.catalogue.config, ports.catalogue.values):
        raise AuditError("; ".join(map(str, invalid)))
    selected = ports.catalogue.select(f"audit-{request.audit_id}-{uuid4().hex[:12]}", request.filters)
    if not selected.total:
        chosen = request.filters.model_dump_json(exclude_defaults=True)
        raise AuditError(f"nothing can be audited: 0 products match the filters {chosen}")
    return selected


def _difference(stored: AuditRequest, asked: AuditRequest) -> str:
    """What two requests differ in: `folds 5 instead of 3`."""
    first, second = _flat(stored), _flat(asked)
    return ", ".join(
        f"{name} {first[name]} instead of {second[name]}" for name in first if first[name] != second[name]
    )


def _flat(request: AuditRequest) -> Mapping[str, str]:
    """Each field of a request and of its filters in words."""
    fields = {"attributes": request.attributes, "folds": request.folds, **request.filters.model_dump()}
    return {
        name: ", ".join(map(str, value)) or "any" if isinstance(value, tuple) else str(value or "any")
        for name, value in fields.items()
    }


class _Selection(BaseModel):
    """Which list of products is audited."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    selection: str
    products: int

    @property
    def parts(self) -> int:
        """How many parts the list has."""
        return -(-self.products // PART_PRODUCTS)

    def places(self, part: int) -> range:
        """The places of a part's products in the list."""
        return range(part * PART_PRODUCTS, min(self.products, (part + 1) * PART_PRODUCTS))


def _selected(
    manifest: AuditManifest, layout: AuditLayout, ports: Ports, selected: CatalogueSelection | None
) -> _Selection:
    """The products as they were when the audit began, be it longer ago than BigQuery keeps a selection.

    Raises:
        AuditError: there are none.

    """
    if stands := _find(ports.objects, layout.selection, _Selection):
        return stands
    # Each attempt has a list of its own: after one that was cut off, the catalogue may have changed.
    name = uuid4().hex[:12]
    selected = selected or _select(manifest.request, ports)
    for part, rows in enumerate(batched(selected.rows(0, selected.total), PART_PRODUCTS, strict=False)):
        ports.objects.create(layout.products(name, part), ndjson(rows), "application/x-ndjson")
    return _create(ports.objects, layout.selection, _Selection(selection=name, products=selected.total))


def _products(selection: _Selection, part: int, layout: AuditLayout, objects: Objects) -> list[Product]:
    lines = objects.read(layout.products(selection.selection, part)).data.splitlines()
    return [Product.model_validate_json(line) for line in lines]


@dataclass(frozen=True)
class _Columns:
    """What is needed of the products, which are too many to be kept whole."""

    ids: Sequence[str]
    declared: Mapping[str, Sequence[str | None]]  # attribute -> the label of each product


def _columns(
    selection: _Selection, attributes: Sequence[str], layout: AuditLayout, objects: Objects
) -> _Columns:
    ids: list[str] = []
    labels: dict[str, list[str | None]] = {attribute: [] for attribute in attributes}
    for part in range(selection.parts):
        for product in _products(selection, part, layout, objects):
            ids.append(product.product_id)
            for attribute, column in labels.items():
                label = declared(product, attribute)
                # A label is there once, however many products have it.
                column.append(None if label is None else sys.intern(label))
    return _Columns(ids, labels)


# ------------------------------------------------------------------------------------- embed


def _embed(selection: _Selection, embedder: Embedder, layout: AuditLayout, ports: Ports, say: Say) -> None:
    """Embeds the parts that are not embedded yet; each is written when it is complete."""
    waiting = [part for part in range(selection.parts) if not ports.objects.exists(layout.embeddings(part))]
    progress = Progress(selection.products, "products", say)
    progress.skip(selection.products - sum(len(selection.places(part)) for part in waiting))
    for part in waiting:
        products = _products(selection, part, layout, ports.objects)
        embedded = embed(products, ports.objects, ports.bucket, embedder)
        ports.objects.create(layout.embeddings(part), embedded.to_bytes(), "application/octet-stream")
        progress.add(len(products))


# ------------------------------------------------------------------------------------- judge


def _judge(
    judged: Judged,
    labels: Mapping[str, Sequence[str | None]],
    photos: Part,
    manifest: AuditManifest,
    layout: AuditLayout,
    objects: Objects,
    say: Say,
) -> dict[str, AttributeAudit]:
    """Judges the attributes that are not judged yet; each is marked when its rows stand."""
    count = manifest.request.folds
    found = {each: _find(objects, layout.attribute(each), AttributeAudit) for each in labels}
    waiting = {
        attribute: classes(
            [labels[attribute][place] for place in judged.usable.tolist()],
            judged.pictures,
            judged.folds,
            count,
        )
        for attribute, stands in found.items()
        if stands is None
    }
    inputs = whitened(photos.embeddings)
    # The more labels an attribute has, the longer it takes to fit its heads.
    heads = sum(count * len(each.labels) for each in waiting.values() if len(each.labels) > 1)
    progress = Progress(heads, "heads", say)
    for attribute, of in waiting.items():
        opinion = None
        if len(of.labels) > 1:
            done = partial(progress.add, len(of.labels))
            fitted = cross_fit(inputs, of.targets, judged.folds, len(of.labels), done)
            opinion = Opinion.of(fitted, inputs, judged, of)
        rows = Rows(judged, attribute, labels[attribute], of, opinion, manifest)
        for part, first in enumerate(range(0, len(judged.ids), PART_PRODUCTS)):
            data = ndjson(rows.of(range(first, min(len(judged.ids), first + PART_PRODUCTS))))
            if data:
                objects.create(layout.rows(attribute, part), data, "application/x-ndjson")
        found[attribute] = _create(objects, layout.attribute(attribute), rows.figures())
    return {attribute: figures for attribute, figures in found.items() if figures is not None}


# ------------------------------------------------------------------------------------- documents


def _find[M: BaseModel](objects: Objects, uri: str, kind: type[M]) -> M | None:
    try:
        return kind.model_validate_json(objects.read(uri).data)
    except ObjectNotFoundError:
        return None


def _create[M: BaseModel](objects: Objects, uri: str, document: M) -> M:
    """Writes a document, unless one stands; what stands then."""
    if objects.create(uri, document.model_dump_json(indent=1).encode(), "application/json"):
        return document
    return type(document).model_validate_json(objects.read(uri).data)
