"""What the client needs of the world; google_cloud.py has the adapters."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.client.corrections import Correction, Status
from services.client.review import Against, HumanLabel, Quality
from services.shared import ports
from services.shared.audits import AuditedLabel
from services.shared.catalogue import ProductTable
from services.shared.catalogue_config import CatalogueConfig
from services.shared.events import Filters, Label, Prediction, Product


@dataclass(frozen=True)
class ObjectFacts:
    """What a listing says of an object."""

    size: int  # bytes
    md5: str | None  # base64; None for an object that was composed of others


class Objects(ports.Objects, Protocol):
    """Cloud Storage, as somebody who owns the photos uses it."""

    def put(self, uri: str, data: bytes, content_type: str) -> int:
        """Writes an object whether or not one stands there; its generation."""
        ...

    def page(self, prefix: str, *, after: str | None, limit: int) -> Sequence[str]:
        """At most `limit` URIs under a gs:// prefix, in order: the first ones, or those behind `after`."""
        ...

    def facts(self, prefix: str) -> Mapping[str, ObjectFacts]:
        """The objects under a gs:// prefix, by URI."""
        ...

    def folders(self, prefix: str) -> Sequence[str]:
        """The next parts of the names under a gs:// prefix that ends with a slash, each once, in order."""
        ...

    def delete(self, uri: str) -> None:
        """Deletes an object; if none stands there, nothing happens."""
        ...


class Topics(Protocol):
    """Pub/Sub."""

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
        """Publishes a message; its id."""
        ...


@dataclass(frozen=True)
class Result:
    """A row of `predictions` beside what the catalogue declares today."""

    prediction: Prediction
    declared: Product | None  # None where the catalogue has no such product
    disagreements: tuple[str, ...]  # heads, the least likely declared label first; see `Tables.results`

    def labels(self, head: str) -> tuple[Label, ...]:
        """The labels of a head, best first."""
        return tuple(sorted((label for label in self.prediction.heads if label.head == head), key=_rank))

    def declared_label(self, head: str) -> str | None:
        """What the catalogue says of the attribute that a head predicts: see `Product.label`."""
        return None if self.declared is None else self.declared.label(head)

    def declared_probability(self, head: str) -> float | None:
        """How likely the model finds what the catalogue says; None where it was not asked that, or has no
        such label.
        """
        label = self.declared_label(head)
        records = (record for record in self.prediction.declared if record.head == head)
        return next((each.probability for each in records if label in (each.label, each.known)), None)

    def unsure(self, head: str) -> bool:
        """Whether the model is unsure of a head: see `is_unsure`."""
        return is_unsure(self.prediction, head)


def is_unsure(prediction: Prediction, head: str) -> bool:
    """Whether the model abstains from a head, or the photo is unlike those that it was trained on."""
    return head in prediction.abstained or bool(prediction.unfamiliar)


def _rank(label: Label) -> int:
    return label.rank


@dataclass(frozen=True)
class ResultFilter:
    """Which rows of a job; what is not given is not asked.

    `label`, `declared`, `disagreements`, `min_confidence` and `abstained` are about the best label of a head:
    of `head` if that is given, else of any, but all of the same one. Rows with an error have no heads. Of an
    answer of several values, `label` may be any of them.
    """

    head: str | None = None
    label: str | None = None
    declared: str | None = None  # what the catalogue says of that head
    error: str | None = None  # a code, or "any"
    disagreements: bool = False
    min_confidence: float | None = None  # the least probability, from 0 to 1
    abstained: bool | None = None
    unfamiliar: bool | None = None
    product_id: str | None = None


EVERYTHING = ResultFilter()


@dataclass(frozen=True)
class Disagreement:
    """A best label that is not what the catalogue declares, and that nobody has judged."""

    prediction: Prediction
    declared: Product
    head: str
    label: str
    declared_label: str
    probability: float  # of `label`
    declared_probability: float  # of `declared_label`: the lower, the likelier is it wrong

    @property
    def unsure(self) -> bool:
        """Whether the model is unsure of it: see `is_unsure`."""
        return is_unsure(self.prediction, self.head)

    @property
    def decided_by(self) -> int | None:
        """Which of the product's several photos decided `label`; None of an only photo."""
        return self.prediction.decided_by(self.head)

    @property
    def learnt(self) -> bool | None:
        """Whether the model was trained on this photo, with whatever label it had; None: not known."""
        return self.prediction.learnt


@dataclass(frozen=True)
class Audited:
    """A row of `audited_labels` beside what the catalogue says of the product today."""

    label: AuditedLabel
    product: Product | None  # None where the catalogue has it no more


@dataclass(frozen=True)
class Tally:
    """The rows of a job, counted."""

    products: int
    photos: int
    predictions: int  # photos with labels; variants count
    combined: int  # answers for products, each for several photos
    errors: Mapping[str, int]  # code -> rows, most frequent first
    disagreements: int  # products
    unsure: int  # of these products, those where the model is unsure of all that disagrees
    heads: tuple[str, ...]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.predictions + self.combined + sum(self.errors.values())

    @property
    def several(self) -> bool:
        """Whether a product has more than one photo."""
        return self.photos > self.products


@dataclass(frozen=True)
class Matching:
    """What a request's filters select."""

    images: int  # products
    photos: int  # of these products; where that is not known, as many
    bytes_scanned: int  # by the query that selects them; 0 where BigQuery's emulator cannot say


@dataclass(frozen=True)
class IdCounts:
    """The ids of a catalogue's table, counted, with a few of those that are wrong."""

    rows: int
    without: int  # rows that have none
    unusable: int  # rows whose id cannot be a product's
    unusable_ids: tuple[str, ...]
    duplicates: int  # ids that more than one row has
    duplicate_ids: tuple[str, ...]


@dataclass(frozen=True)
class Rejection:
    """A row of `rejected`: a message that a service refused, or that was given up after its attempts."""

    rejection_id: str
    job_id: str | None
    topic: str
    subscription: str
    message_id: str
    attempts: int
    reason: str
    payload_uri: str
    payload_preview: str | None
    attributes: str  # JSON
    published_at: datetime
    rejected_at: datetime


class Tables(Protocol):
    """BigQuery."""

    @property
    def config(self) -> CatalogueConfig:
        """What the catalogue's columns mean."""
        ...

    @property
    def product_table(self) -> ProductTable:
        """Where products are read from.

        Raises:
            ClientError: the catalogue is a team's own table, which does not exist or has other columns.

        """
        ...

    def merge_products(self, products: Sequence[Product]) -> None:
        """Puts products into the table `products`: each replaces the one of its id, all others stay.

        Raises:
            ClientError: the catalogue is a team's own table, which is only read.

        """
        ...

    def count_ids(self) -> IdCounts:
        """Counts the rows of the catalogue's table, also those that are left out everywhere else."""
        ...

    def catalogue(self) -> Iterator[Product]:
        """All products, each once, in no order."""
        ...

    def matching(self, filters: Filters) -> Matching:
        """How many products a request would select, its limit considered, and what to find them costs."""
        ...

    def tally(self, job_id: str) -> Tally:
        """Counts a job's rows."""
        ...

    def results(
        self, job_id: str, limit: int | None, *, where: ResultFilter = EVERYTHING, offset: int = 0
    ) -> Iterator[Result]:
        """A job's rows: disagreements first, the least likely declared label on top; then errors; then the
        rest by id.

        The order is total: pages by `limit` and `offset` have each row of a completed job once. With
        neither of them the rows come in no order: a job may have more of them than can be sorted.

        A photo disagrees with the catalogue where the declared value is a label of the model, but another
        label is the best one. Values are compared as `services.shared.labels` does; a value for which the
        model has no label cannot be told wrong. Whether the model is sure plays no part. Only originals are
        held against the catalogue; of a product with several photos, only the answer that combines them.

        A row has what was declared when the photo was classified (`Prediction.declared`). Where the
        catalogue says something else today, the row disagrees with it only if today's value is one of the
        three labels that were kept. So does a row that has no such record, which is one of an upload or of
        an earlier release; or else if today's value is a label that the same version gave to another of the
        photos that are looked at. Its probability is then not known, and the highest one that it can have
        takes its place: the smaller of the third label's and of what the three labels leave.
        """
        ...

    def count(self, job_id: str, where: ResultFilter) -> int:
        """How many rows `results` has without a limit."""
        ...

    def disagreements(
        self,
        job_id: str | None,
        *,
        head: str | None = None,
        unsure: bool | None = None,
        limit: int,
        offset: int = 0,
    ) -> list[Disagreement]:
        """What contradicts the catalogue, as `results` says, and no human has judged: the least likely
        declared label first.

        Args:
            job_id: the job; None: the newest prediction of each product's photo, of the last 30 days.
            head: only of this one.
            unsure: only where the model is unsure, or only where it is not; None: all.
            limit: how many at most.
            offset: how many to leave out first.

        """
        ...

    def quality(self, job_id: str, head: str, against: Against) -> Quality:
        """Compares a job's best labels with what the catalogue declares, or with what humans said last.

        Against the catalogue, a photo is left out whose declared value is not known to be a label of the
        model, as `results` says. Against humans none is; but what they dismissed has no truth and is
        `left_out`.
        """
        ...

    def labels(self, job_id: str | None, limit: int | None) -> list[HumanLabel]:
        """The last verdict of each photo and head, of a job or all of them, newest first."""
        ...

    def corrections(
        self,
        job_id: str | None = None,
        *,
        since: datetime | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Correction]:
        """The last reviews of products' attributes that contradict what the catalogue declared, newest first.

        Args:
            job_id: only those of this job.
            since: only those that were reviewed then or later.
            limit: how many at most.
            offset: how many to leave out first.

        """
        ...

    def count_corrections(
        self, job_id: str | None = None, *, since: datetime | None = None
    ) -> Mapping[Status, int]:
        """How many `corrections` there are of each status; a status that none has is missing."""
        ...

    def audited(self, audit_id: str, *, head: str | None = None, limit: int | None) -> Iterator[Audited]:
        """What an audit says of the catalogue's labels: the least likely first, those that nobody has judged.

        Args:
            audit_id: the audit.
            head: only of this attribute.
            limit: how many at most. None: all, in no order, with those that were judged by people and those
                that the audit could not judge.

        """
        ...

    def add_label(self, label: HumanLabel) -> None:
        """Appends a verdict; from then on it is the last one of its photo and head."""
        ...

    def prediction(self, prediction_id: str) -> Prediction | None:
        """The row of a photo that was uploaded within the last day."""
        ...

    def rejected(
        self, job_id: str | None, *, rejection_id: str | None = None, limit: int | None = None
    ) -> list[Rejection]:
        """The rejected messages, of a job or all of them, newest first; or the one of this id."""
        ...

    def values(self) -> Mapping[str, Sequence[tuple[str, int]]]:
        """The values of each attribute, and how many products have each: the most frequent ones first.

        Of numbers and dates only the time has values, if it is a number; they are in order.
        """
        ...
