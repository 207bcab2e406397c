"""Erasing products: finding all that holds them, deleting it, and recording that it was done.

An erasure first looks everywhere, then deletes, and writes its record last. From the first deletion until
the record a marker stands for each product, so that an interrupted erasure can be repeated even if nothing
else of the product is left.

A running job or audit has its products in messages and in memory, and would write them again. So an erasure
is refused while one is open. If one began meanwhile, nothing is recorded: the erasure has to be repeated
when that has ended.

Training snapshots and published model versions never change, and others depend on them. They are only named.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, Protocol
from zipfile import BadZipFile

from pydantic import AwareDatetime, BaseModel, ConfigDict

from services.client.client import REPLAYED, Vitrine
from services.client.errors import ClientError
from services.model.manifest import DEFAULT_DIRECTORY
from services.shared.catalogue import PHOTO_SUFFIXES
from services.shared.errors import NotAllowedError, ObjectNotFoundError
from services.shared.events import id_of_upload, with_text_ids
from services.shared.layout import (
    AuditLayout,
    JobLayout,
    erasing_uri,
    fetched_prefix,
    id_to_name,
    name_to_id,
    photos_prefix,
    rejected_uri,
    uri_of_photo,
)
from services.shared.parallel import in_parallel
from services.shared.ports import Clock

BUNDLED = "the bundled model"
# Prefixes of our bucket below which the pipeline's own files are: a row that names one as a photo is wrong.
NOT_PHOTOS = (
    *("audits", "erasing", "handled", "jobs", "models"),
    *("recent", "rejected", "sessions", "smoke", "training"),
)
NAMED = 10  # open jobs and audits that a message names

_PRODUCT_ID = re.compile(r'"product_id"\s*:\s*(?=")')


class Erasure(BaseModel):
    """A row of the table `erased`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    product_id: str
    erased_by: str
    erased_at: AwareDatetime
    # Snapshots and model versions that still hold the product or its photo, and photos that are not ours.
    kept_in: tuple[str, ...] = ()


class Rows(Protocol):
    """BigQuery, as an erasure needs it; erasing_tables.py has the adapter."""

    @property
    def owns_products(self) -> bool:
        """Whether the products are in a table of ours, and not in one of the team's."""
        ...

    def photos(self, product_ids: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """The photos that the catalogue names of each of these products that it has."""
        ...

    def named_by_others(self, photos: Sequence[str], product_ids: Sequence[str]) -> Set[str]:
        """The photos that the catalogue also names of products other than these."""
        ...

    def count(self, product_ids: Sequence[str]) -> Mapping[str, int]:
        """How many rows of our tables are about each product, `rejected` and `erased` left out."""
        ...

    def delete(self, product_ids: Sequence[str]) -> None:
        """Deletes these rows."""
        ...

    def delete_rejected(self, rejection_ids: Sequence[str]) -> None:
        """Deletes rows of `rejected`."""
        ...

    def nearest(self, product_id: str) -> str | None:
        """The id in the catalogue that is spelt most like this one; None if there is no product."""
        ...

    def recorded(self, product_ids: Sequence[str]) -> Sequence[Erasure]:
        """The rows of `erased` about these products, the newest first."""
        ...

    def record(self, erasures: Sequence[Erasure]) -> None:
        """Appends rows to `erased`."""
        ...


@dataclass
class Trace:
    """What holds one product."""

    product_id: str
    in_catalogue: bool = False
    photos: list[str] = field(default_factory=list)  # URIs, in the catalogue and in the upload bucket
    copies: list[str] = field(default_factory=list)  # URIs of copies and variants below jobs
    embeddings: list[str] = field(
        default_factory=list
    )  # URIs of parts of audits that hold the photo, embedded
    lines: Counter[str] = field(default_factory=Counter)  # URI of a file -> lines about the product
    rejected: list[str] = field(default_factory=list)  # ids of rejected messages that hold the product
    rows: int = 0
    # What is not erased: snapshots and model versions that hold the product or its photo, and its photos that
    # are not in our buckets or that other products have, too.
    kept_in: set[str] = field(default_factory=set)
    begun: bool = False  # an erasure was interrupted
    recorded: Erasure | None = None  # the last one that was completed

    @property
    def is_there(self) -> bool:
        """Whether anything is left that can be erased."""
        return self.begun or bool(
            self.photos or self.copies or self.embeddings or self.lines or self.rejected or self.rows
        )

    @property
    def is_known(self) -> bool:
        """Whether there is anything to erase, or was."""
        return self.in_catalogue or self.is_there or self.recorded is not None


@dataclass(frozen=True)
class Found:
    """What `Erasing.look` found.

    Args:
        traces: of each product, in the order in which they were named.
        runs: URIs of all jobs and audits that there were when the search began.
        waiting: what keeps an erasure from beginning: each open job and audit, and what to do about it.

    """

    traces: Sequence[Trace]
    runs: Set[str]
    waiting: Sequence[str]


type _Held = tuple[str, Set[str]]
"""A snapshot or a model version, and which of the products it holds."""


class Erasing:
    """Erases products from a project.

    Args:
        vitrine: the project.
        rows: its tables.
        clock: the time of day.
        bundled: the folder of the model that the services carry.

    """

    def __init__(self, vitrine: Vitrine, rows: Rows, clock: Clock, bundled: Path = DEFAULT_DIRECTORY) -> None:
        self._vitrine, self._rows, self._clock, self._bundled = vitrine, rows, clock, bundled
        self._objects, self._bucket = vitrine.objects, vitrine.bucket

    def look(self, product_ids: Sequence[str]) -> Found:
        """Finds what holds products; changes nothing.

        It reads all lines of jobs and audits and all training snapshots.

        Raises:
            ClientError: of one of the products there is nothing, and never was; names the nearest one.

        """
        traces = {product_id: Trace(product_id) for product_id in product_ids}
        jobs, audits = self._folders("jobs"), self._folders("audits")
        runs = {JobLayout(self._bucket, job).root for job in jobs}
        runs |= {AuditLayout(self._bucket, audit).root for audit in audits}
        waiting = self._open(jobs, audits)
        self._look_at_rows(traces)
        self._look_at_photos(traces)
        self._look_at_copies(traces, jobs)
        self._look_at_lines(traces, jobs, audits)
        self._look_at_rejected(traces)
        self._look_at_what_stays(traces)
        if unknown := [trace.product_id for trace in traces.values() if not trace.is_known]:
            raise ClientError("nothing was erased: " + "; ".join(map(self._unknown, unknown)))
        return Found([*traces.values()], runs, waiting)

    def erase(self, found: Found, by: str) -> Sequence[Erasure]:
        """Erases what was found, and records it; what was interrupted is repeated by a new search.

        Products of which nothing is left are left out.

        Args:
            found: what `look` found, shortly before.
            by: who erases.

        Returns:
            What was recorded.

        Raises:
            ClientError: a job or an audit is open, and nothing was erased; or one began meanwhile, and the
                erasure has to be repeated when that has ended.

        """
        if found.waiting:
            raise ClientError(f"nothing was erased: {_listed(found.waiting)}")
        traces = [trace for trace in found.traces if trace.is_there]
        if not traces:
            return []
        ids = [trace.product_id for trace in traces]
        for trace in traces:
            # Once the photo is gone, nobody can tell any more which models it was in; and once the row is
            # gone, where its photos are.
            data = json.dumps({"kept_in": sorted(trace.kept_in), "photos": trace.photos}).encode()
            self._objects.put(erasing_uri(self._bucket, trace.product_id), data, "application/json")
        self._rows.delete(ids)
        # Embeddings before the lines that they are found by, messages before their rows.
        in_parallel(
            self._objects.delete,
            [uri for trace in traces for uri in (*trace.photos, *trace.copies, *trace.embeddings)],
        )
        rejected = sorted({message for trace in traces for message in trace.rejected})
        for message in rejected:
            for uri in (payload := rejected_uri(self._bucket, message), payload + REPLAYED):
                self._objects.delete(uri)
        if rejected:
            self._rows.delete_rejected(rejected)
        files = sorted({uri for trace in traces for uri in trace.lines})
        in_parallel(partial(self._rewrite, product_ids=frozenset(ids)), files)
        if begun := self._meanwhile(found):
            raise ClientError(
                f"{_listed(begun)}: repeat this command when that has ended, because it may have written "
                "the products again. The erasure is not recorded yet"
            )
        now = self._clock()
        erasures = [
            Erasure(
                product_id=trace.product_id,
                erased_by=by,
                erased_at=now,
                kept_in=tuple(sorted(trace.kept_in)),
            )
            for trace in traces
        ]
        self._rows.record(erasures)
        for product_id in ids:
            self._objects.delete(erasing_uri(self._bucket, product_id))
        return erasures

    # --------------------------------------------------------------------------------- jobs and audits

    def _folders(self, name: str) -> Sequence[str]:
        return self._objects.folders(f"gs://{self._bucket}/{name}/")

    def _open(self, jobs: Sequence[str], audits: Sequence[str]) -> list[str]:
        """What waits for each open job and audit, in words."""
        found = in_parallel(self._vitrine.open_job, jobs) + in_parallel(self._open_audit, audits)
        return [each for each in found if each]

    def _open_audit(self, audit_id: str) -> str | None:
        layout = AuditLayout(self._bucket, audit_id)
        if self._objects.exists(layout.summary) or not self._objects.exists(layout.manifest):
            return None
        return (
            f"audit {audit_id!r} is open: wait until it has ended, continue it with `vitrine audit --run "
            f"{audit_id}`, or delete {layout.root}"
        )

    def _meanwhile(self, found: Found) -> list[str]:
        """The jobs and audits that began since the search did."""
        now = {JobLayout(self._bucket, job).root: f"job {job!r}" for job in self._folders("jobs")}
        now |= {AuditLayout(self._bucket, each).root: f"audit {each!r}" for each in self._folders("audits")}
        return [f"{name} began meanwhile" for uri, name in now.items() if uri not in found.runs]

    # --------------------------------------------------------------------------------- looking

    def _look_at_rows(self, traces: Mapping[str, Trace]) -> None:
        ids = [*traces]
        for product_id, rows in self._rows.count(ids).items():
            traces[product_id].rows = rows
        for erasure in reversed(self._rows.recorded(ids)):
            traces[erasure.product_id].recorded = erasure
        for trace in traces.values():
            if (stored := self._read(erasing_uri(self._bucket, trace.product_id))) is not None:
                trace.begun = True
                marker = json.loads(stored)
                # One of an earlier release is the first list alone.
                found = marker if isinstance(marker, dict) else {"kept_in": marker, "photos": []}
                trace.kept_in |= set(found["kept_in"])
                trace.photos += found["photos"]

    def _look_at_named_photos(self, traces: Mapping[str, Trace]) -> None:
        """Photos that the catalogue names: those in our buckets are erased, the team's are only listed."""
        named = self._rows.photos([*traces])
        ours = re.compile(
            rf"gs://{re.escape(self._bucket)}/(?!({'|'.join(NOT_PHOTOS)})/).+"
            rf"|gs://{re.escape(self._vitrine.upload_bucket)}/.+"
        )
        # A row may name a photo in our bucket with the bucket or without it.
        forms = {
            form
            for photos in named.values()
            for photo in photos
            if ours.fullmatch(uri := uri_of_photo(self._bucket, photo))
            for form in (photo, uri, uri.removeprefix(f"gs://{self._bucket}/"))
        }
        others = self._rows.named_by_others(sorted(forms), [*traces]) if forms else frozenset()
        shared = {uri_of_photo(self._bucket, photo) for photo in others}
        # That a photo below images/ is another product's, its name alone may say.
        owners = {uri: owner for uri in forms if (owner := self._owner(uri)) and owner not in traces}
        sold = self._rows.photos(sorted({*owners.values()})) if owners else {}
        shared |= {uri for uri, owner in owners.items() if owner in sold}
        for product_id, photos in named.items():
            trace = traces[product_id]
            trace.in_catalogue = True
            for uri in (uri_of_photo(self._bucket, photo) for photo in photos):
                if not ours.fullmatch(uri) or uri in shared:
                    trace.kept_in.add(uri)
                elif self._objects.exists(uri):
                    trace.photos.append(uri)

    def _owner(self, uri: str) -> str | None:
        """The product whose photo is looked for under this URI, if there is such a product."""
        prefix, stem = photos_prefix(self._bucket), uri.rpartition(".")[0]
        return name_to_id(stem.removeprefix(prefix)) if stem.startswith(prefix) else None

    def _look_at_photos(self, traces: Mapping[str, Trace]) -> None:
        self._look_at_named_photos(traces)
        for trace in traces.values():
            trace.photos += self._named(photos_prefix(self._bucket) + id_to_name(trace.product_id))
            fetched = f"{fetched_prefix(self._bucket)}{id_to_name(trace.product_id)}/"
            # Below may also be the photos of a product whose longer id begins the same.
            trace.photos += [
                uri
                for uri in self._objects.names(fetched)
                if re.fullmatch("[0-9a-f]+", uri.removeprefix(fetched))
            ]
        uploads = f"gs://{self._vitrine.upload_bucket}/"
        for uri in self._objects.names(uploads):
            product_id = id_of_upload(uri.removeprefix(uploads))
            if product_id is not None and product_id in traces:
                traces[product_id].photos.append(uri)
        for trace in traces.values():
            trace.photos = list(dict.fromkeys(trace.photos))

    def _look_at_copies(self, traces: Mapping[str, Trace], jobs: Sequence[str]) -> None:
        def look(place: tuple[str, Trace]) -> None:
            job, trace = place
            root, name = JobLayout(self._bucket, job).root, id_to_name(trace.product_id)
            trace.copies += self._named(f"{root}/images/{name}")
            trace.copies += self._named(f"{root}/augmented/{name}", r"-\d+")

        in_parallel(look, [(job, trace) for job in jobs for trace in traces.values()])

    def _named(self, stem: str, number: str = "") -> list[str]:
        """The photos of this name and further ones, with any extension and, of variants, any number."""
        suffixes = "|".join(map(re.escape, PHOTO_SUFFIXES))
        ending = re.compile(rf"(@\d+)?{number}({suffixes})", re.IGNORECASE)
        listed = [*self._objects.names(stem + ("-" if number else ".")), *self._objects.names(f"{stem}@")]
        return [uri for uri in listed if ending.fullmatch(uri.removeprefix(stem))]

    def _look_at_lines(self, traces: Mapping[str, Trace], jobs: Sequence[str], audits: Sequence[str]) -> None:
        folders = [f"{JobLayout(self._bucket, job).root}/{name}/" for job in jobs for name in _JOB_FILES]
        folders += [
            f"{AuditLayout(self._bucket, audit).root}/{name}/" for audit in audits for name in _AUDIT_FILES
        ]
        files = [uri for listed in in_parallel(self._objects.names, folders) for uri in listed]

        def count(uri: str) -> Counter[str]:
            data = self._read(uri) or b""
            held = (_id_of(line) for line in data.splitlines())
            return Counter(each for each in held if each is not None and each in traces)

        for uri, counts in zip(files, in_parallel(count, files), strict=True):
            for product_id, lines in counts.items():
                traces[product_id].lines[uri] = lines
        for audit in audits:
            self._look_at_embeddings(traces, AuditLayout(self._bucket, audit))

    def _look_at_embeddings(self, traces: Mapping[str, Trace], layout: AuditLayout) -> None:
        if (stored := self._read(layout.selection)) is None:
            return
        # An audit that was interrupted may have other lists of products, which were never embedded.
        first = layout.products(json.loads(stored)["selection"], 0)
        folder = first.rpartition("/")[0]
        for trace in traces.values():
            for uri in trace.lines:
                if uri.rpartition("/")[0] == folder:
                    part = layout.embeddings(int(PurePosixPath(uri).stem))
                    if self._objects.exists(part):
                        trace.embeddings.append(part)

    def _look_at_rejected(self, traces: Mapping[str, Trace]) -> None:
        prefix = rejected_uri(self._bucket, "")
        uris = [uri for uri in self._objects.names(prefix) if not uri.endswith(REPLAYED)]
        held = in_parallel(lambda uri: _ids_in(self._read(uri) or b""), uris)
        for uri, ids in zip(uris, held, strict=True):
            for product_id in ids & traces.keys():
                traces[product_id].rejected.append(uri.removeprefix(prefix))

    # --------------------------------------------------------------------------------- what stays

    def _look_at_what_stays(self, traces: Mapping[str, Trace]) -> None:
        """Names the snapshots and model versions that hold a product or its photo.

        A photo is known by the digest of its bytes. One that cannot be read counts as holding all of them.
        """
        from services.model.learnt import photo_digest

        # The team's photos are what a model may have learnt, too.
        photos = [
            (trace, uri)
            for trace in traces.values()
            for uri in (*trace.photos, *trace.copies, *trace.kept_in)
            if uri.startswith("gs://") and not uri.startswith(f"gs://{self._bucket}/models/")
        ]
        owners: dict[int, set[str]] = {}

        def digest(photo: tuple[Trace, str]) -> int | None:
            data = self._photo(photo[1])
            return None if data is None else photo_digest(data)

        for (trace, _uri), found in zip(photos, in_parallel(digest, photos), strict=True):
            if found is not None:
                owners.setdefault(found, set()).add(trace.product_id)
        for holder, ids in (*self._snapshots(traces, owners), *self._models(traces, owners)):
            for product_id in ids:
                traces[product_id].kept_in.add(holder)

    def _snapshots(self, traces: Mapping[str, Trace], owners: dict[int, set[str]]) -> list[_Held]:
        from services.training.snapshot import keys_and_photos

        shard = re.compile(r"(.+/snapshot)/shards/[^/]+\.npz")
        names = self._objects.names(f"gs://{self._bucket}/training/")

        def look(match: re.Match[str]) -> tuple[_Held, Mapping[int, str]]:
            try:
                keys, photos = keys_and_photos(self._objects.read(match[0]).data)
            except ObjectNotFoundError:
                return (match[1], set()), {}
            except _UNREADABLE:
                return (match[1], {*traces}), {}
            pairs = zip(map(str, keys.tolist()), photos.tolist(), strict=True)
            own = {photo: key for key, photo in pairs if key in traces and photo}
            ids = {str(key) for key in keys.tolist()} & traces.keys()
            return (match[1], ids.union(*(owners.get(photo, ()) for photo in photos.tolist()))), own

        looked = in_parallel(look, [match for name in names if (match := shard.fullmatch(name))])
        # A photo that was replaced since it was trained on is still known here.
        for _held, own in looked:
            for photo, product_id in own.items():
                owners.setdefault(photo, set()).add(product_id)
        return [held for held, _own in looked]

    def _models(self, traces: Mapping[str, Trace], owners: Mapping[int, Set[str]]) -> list[_Held]:
        from services.model.learnt import LEARNT_FILE

        readers: Mapping[str, Callable[[bytes], Set[str]]] = {
            LEARNT_FILE: lambda data: _learnt(data, owners),
            "evaluation.json": lambda data: _shown(data) & traces.keys(),
        }
        names = self._objects.names(f"gs://{self._bucket}/models/")
        files = [uri for uri in names if uri.rpartition("/")[2] in readers]

        def look(holder: str, name: str, data: bytes) -> _Held:
            try:
                return holder, readers[name](data)
            except _UNREADABLE:
                return holder, {*traces}

        held = in_parallel(
            lambda uri: look(uri.rpartition("/")[0], uri.rpartition("/")[2], self._read(uri) or b""), files
        )
        # The bundled model was evaluated on other catalogues, where an id is another product's.
        learnt = self._bundled / LEARNT_FILE
        return held + ([look(BUNDLED, LEARNT_FILE, learnt.read_bytes())] if learnt.is_file() else [])

    # --------------------------------------------------------------------------------- files

    def _read(self, uri: str) -> bytes | None:
        try:
            return self._objects.read(uri).data
        except ObjectNotFoundError:
            return None

    def _photo(self, uri: str) -> bytes | None:
        """A photo's bytes; None if it is gone, or a team's that may not be read."""
        try:
            return self._read(uri)
        except NotAllowedError:
            return None

    def _rewrite(self, uri: str, product_ids: Set[str]) -> None:
        """Takes the lines of products out of a file. An empty one stays: that it stands means something."""
        while True:
            try:
                stored = self._objects.read(uri)
            except ObjectNotFoundError:
                return
            lines = stored.data.splitlines(keepends=True)
            left = b"".join(line for line in lines if _id_of(line) not in product_ids)
            if left == stored.data or self._objects.replace(
                uri, left, "application/x-ndjson", stored.generation
            ):
                return

    def _unknown(self, product_id: str) -> str:
        nearest = self._rows.nearest(product_id)
        hint = "" if nearest is None else f"; the nearest is {nearest!r}"
        return f"there is no product {product_id!r}{hint}"


# What files that are damaged, or of another release, may raise.
_UNREADABLE = (ValueError, KeyError, TypeError, OSError, EOFError, BadZipFile)

_JOB_FILES = ("metadata", "predictions")
_AUDIT_FILES = ("products", "rows")


def _id_of(line: bytes) -> str | None:
    document: dict[str, Any] = json.loads(with_text_ids(line)) if line.strip() else {}
    return document.get("product_id")


def _ids_in(message: bytes) -> Set[str]:
    """The products that a message names. It was rejected, so it may be anything."""
    text = with_text_ids(message).decode(errors="replace")
    ids: set[str] = set()
    for match in _PRODUCT_ID.finditer(text):
        try:
            ids.add(json.JSONDecoder().raw_decode(text, match.end())[0])
        except ValueError:
            continue
    try:
        document = json.loads(text)
    except ValueError:
        return ids
    # Of an upload only the object's name tells.
    if isinstance(document, dict) and isinstance(name := document.get("name"), str):
        ids |= {id_of_upload(name) or ""}
    return ids


def _learnt(data: bytes, owners: Mapping[int, Set[str]]) -> Set[str]:
    """The products whose photo a version was trained on."""
    from services.model.learnt import LEARNT_FILE, Learnt

    with TemporaryDirectory() as folder:
        path = Path(folder) / LEARNT_FILE
        path.write_bytes(data)
        learnt = Learnt.load(path)
    return {product_id for photo, ids in owners.items() if photo in learnt for product_id in ids}


def _shown(evaluation: bytes) -> Set[str]:
    """The products that an evaluation shows: those that it was wrong about."""

    def keys(document: Any) -> Iterable[str]:
        if isinstance(document, dict):
            if isinstance(key := document.get("key"), str):
                yield key
            document = [*document.values()]
        if isinstance(document, list):
            for each in document:
                yield from keys(each)

    return {*keys(json.loads(evaluation))}


def _listed(sentences: Sequence[str]) -> str:
    more = f"; and {len(sentences) - NAMED} more" if len(sentences) > NAMED else ""
    return "; ".join(sentences[:NAMED]) + more
