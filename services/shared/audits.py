"""An audit of the catalogue's labels: what it is asked to do, its rows, and its figures."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.shared.catalogue_config import CatalogueConfig
from services.shared.errors import ImageErrorCode, ObjectNotFoundError
from services.shared.events import Filters, JobId, ProductId
from services.shared.layout import AuditLayout
from services.shared.nearest import did_you_mean
from services.shared.ports import Objects

MIN_FOLDS, MAX_FOLDS = 2, 20

Unjudged = Literal[
    ImageErrorCode,  # the photo cannot be used
    "label-too-rare",  # too few other products have the label for anything to be learnt of it
    "only-one-label",  # the attribute has no second label that could be the right one
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AuditRequest(_Strict):
    """What an audit is about. The same name always means the same request."""

    audit_id: JobId
    filters: Filters = Filters()
    attributes: tuple[str, ...] = ()  # all that have one value
    folds: Annotated[int, Field(ge=MIN_FOLDS, le=MAX_FOLDS)] = 5

    def of_catalogue(self, config: CatalogueConfig) -> Self:
        """The same request with each attribute named, in the catalogue's order.

        Raises:
            ValueError: the catalogue has no such attribute; names the nearest one.

        """
        known = config.named("value")
        for attribute in self.attributes:
            if attribute not in known:
                hint = did_you_mean(attribute, known)
                raise ValueError(f"attributes: there is no attribute {attribute!r}{hint}")
        chosen = tuple(name for name in known if name in (self.attributes or known))
        return self.model_copy(update={"attributes": chosen})


class AuditManifest(_Strict):
    """An audit as it began: what a repetition goes on with."""

    request: AuditRequest
    model: str
    model_version: str
    audited_at: AwareDatetime


class AuditedLabel(_Strict):
    """A row of the table `audited_labels`: how likely a label is, by heads that did not learn it."""

    audit_id: JobId
    product_id: ProductId
    head: str
    declared: str  # as the catalogue has it
    known: str | None = None  # the label that it is taken for; None where it is not judged
    probability: Annotated[float, Field(ge=0, le=1)] | None = None  # of `known`
    best: str | None = None
    best_probability: Annotated[float, Field(ge=0, le=1)] | None = None
    # Why `probability` is None.
    unjudged: Unjudged | None = None
    # The product's part of the catalogue, from 0 on: its heads were trained on the other parts.
    fold: Annotated[int, Field(ge=0)] | None = None
    # Whether the network behind the heads was trained on a photo of it; None where that is not known.
    learnt: bool | None = None
    model_version: str
    audited_at: AwareDatetime


class AttributeAudit(_Strict):
    """What came out of one attribute."""

    labels: int  # that products are judged by
    judged: int
    unjudged: Mapping[Unjudged, int]
    undeclared: int  # products of which the catalogue does not say it
    doubted: int  # judged products whose most likely label is another one
    temperature: float | None = None  # mean over the folds


class AuditSummary(_Strict):
    """What came out of an audit."""

    manifest: AuditManifest
    products: int
    usable: int  # products with a photo that can be used
    photos: int  # that can be used
    pictures: int  # groups of products that share a picture; a product that shares none is one
    errors: Mapping[ImageErrorCode, int]  # photos that cannot be used
    # Products of which the model version was trained on a photo; None if that is not known.
    learnt: int | None
    attributes: Mapping[str, AttributeAudit]


def find_manifest(objects: Objects, bucket: str, audit_id: str) -> AuditManifest | None:
    """What an audit is about, if there is such an audit."""
    try:
        stored = objects.read(AuditLayout(bucket, audit_id).manifest)
    except ObjectNotFoundError:
        return None
    return AuditManifest.model_validate_json(stored.data)


def find_summary(objects: Objects, bucket: str, audit_id: str) -> AuditSummary | None:
    """What came out of an audit, if it is done."""
    try:
        stored = objects.read(AuditLayout(bucket, audit_id).summary)
    except ObjectNotFoundError:
        return None
    return AuditSummary.model_validate_json(stored.data)
