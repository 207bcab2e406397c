"""Where things stand in Cloud Storage: every name derives from its input, so a repeat finds what is there.

images/<product>.jpg                             the catalogue's photos; further ones <product>@<photo>.jpg
fetched/<product>/<digest of address>            photos at web addresses, as they were fetched
jobs/<job>/accepted.json                         the request, from before selection opens the job
jobs/<job>/manifest.json                         the request, the pinned model, how many batches
jobs/<job>/images/<product>.jpg                  the job's copies; of further photos <product>@<photo>.jpg
jobs/<job>/augmented/<product>-<copy>.jpg        their variants; likewise <product>@<photo>-<copy>.jpg
jobs/<job>/metadata/<shard>/<batch>.ndjson       the catalogue's columns
jobs/<job>/augmentation/<shard>/<batch>          the variants of a batch stand
jobs/<job>/predictions/<shard>/<batch>.ndjson    rows of `predictions`
jobs/<job>/ledger/<shard>/<batch>                the batch is classified: how many rows, how many errors
jobs/<job>/loaded/<shard>                        its shard is in BigQuery
jobs/<job>/cancelled                             it is to end: batches that are not classified stay empty
jobs/<job>/summary.json                          the job is done: its row of `jobs`
recent/<9999999999999 - milliseconds>/<job>      the job was asked for then: the newest is listed first
handled/<subscription>/<digest of event id>      a message is done with
rejected/<rejection_id>                          the bytes of a rejected message
sessions/ended/<digest of nonce>                 somebody signed out: the cookie is good no more
erasing/<product>.json                           the product is being erased; services/client/erasing.py
smoke/<digest>/photo.jpg                         what a new revision of inference is tested with
training/<run>/snapshot/                         a training run's data; services/training/snapshot.py
training/<run>/fitting.npz, rounding.npz         its checkpoints; services/training/job.py
audits/<audit>/audit.json                        what an audit is about, and the pinned model
audits/<audit>/selection.json                    which list of products it audits
audits/<audit>/products/<selection>/<part>.ndjson  the catalogue's columns, AUDIT_PRODUCTS a part
audits/<audit>/embeddings/<part>.npz             their photos, embedded; services/audit/embeddings.py
audits/<audit>/rows/<attribute>-<part>.ndjson    rows of `audited_labels`
audits/<audit>/attributes/<attribute>.json       an attribute is done: its figures
audits/<audit>/summary.json                      the audit is done, and its rows are in BigQuery
models/<name>/<version>/                         a published model; services/model/registry.py
models/<name>/production.json                    the version that is served, who promoted it and why
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, unquote

SHARD_BATCHES = 1_000
NAME_PART = 160  # bytes
# Files that operating systems leave in folders beside photos, in lower case.
_LITTER = frozenset((".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini"))
END_OF_TIME = 9_999_999_999_999  # milliseconds since the epoch: 2286


def photo_uri(bucket: str, product_id: str, photo: int = 1) -> str:
    """The catalogue's photo of a product; from the second one on, `Product.photos` names them."""
    return f"gs://{bucket}/{catalogue_photo(product_id, photo)}"


def catalogue_photo(product_id: str, photo: int = 1) -> str:
    """The name in the bucket of the catalogue's photo of a product."""
    return f"images/{photo_name(product_id, photo)}.jpg"


def photo_name(product_id: str, photo: int | None) -> str:
    """The name of one of a product's photos, from 1. No other product's has it: `id_to_name` encodes an @."""
    return id_to_name(product_id) + (f"@{photo}" if photo and photo > 1 else "")


def fetched_uri(bucket: str, product_id: str, address: str) -> str:
    """Where the photo of a product at a web address stands once it is fetched."""
    return f"{fetched_prefix(bucket)}{id_to_name(product_id)}/{digest(address)}"


def fetched_prefix(bucket: str) -> str:
    """The prefix of all photos that were fetched."""
    return f"gs://{bucket}/fetched/"


def uri_of_photo(bucket: str, photo: str) -> str:
    """The URI of a photo that the catalogue names: a URI, or a name in the bucket."""
    return photo if "://" in photo else f"gs://{bucket}/{photo}"


def photos_prefix(bucket: str) -> str:
    """The prefix of all photos of the catalogue."""
    return f"gs://{bucket}/images/"


def id_to_name(product_id: str) -> str:
    """A product id as part of an object name; `name_to_id` is the inverse.

    ASCII punctuation other than `-`, `_`, `.` and `~` is percent-encoded, so that an id neither leaves its
    prefix nor contains a wildcard. The result is split by slashes into parts of at most NAME_PART bytes,
    because the local cloud keeps each part as a file name. The name of an id of 200 characters has at most
    805 bytes; Cloud Storage allows 1,024 for the whole object name.
    """
    parts, size = [""], 0
    for character in product_id:
        encoded = quote(character, safe="") if character.isascii() else character
        size += len(encoded.encode())
        if size > NAME_PART:
            parts.append("")
            size = len(encoded.encode())
        parts[-1] += encoded
    return "/".join(parts)


def name_to_id(name: str) -> str:
    """The product id that `id_to_name` encoded."""
    return unquote(name.replace("/", ""))


def handled_uri(bucket: str, subscription: str, event_id: str) -> str:
    """Stands when a subscription's message was handled and what it led to was published."""
    # An outsider may set any event_id, of any length.
    return f"gs://{bucket}/handled/{subscription}/{digest(event_id)}"


def recent_prefix(bucket: str) -> str:
    """The prefix of all jobs' markers."""
    return f"gs://{bucket}/recent/"


def recent_uri(bucket: str, requested_at: datetime, job_id: str) -> str:
    """The marker of a job; in the order of their names, the job that was asked for last comes first."""
    return f"{recent_prefix(bucket)}{END_OF_TIME - int(requested_at.timestamp() * 1000):013d}/{job_id}"


def rejected_uri(bucket: str, rejection_id: str) -> str:
    """The bytes of a rejected message."""
    return f"gs://{bucket}/rejected/{rejection_id}"


def erasing_uri(bucket: str, product_id: str) -> str:
    """Stands from before anything of a product is erased until the erasure is recorded."""
    return f"gs://{bucket}/erasing/{id_to_name(product_id)}.json"


def is_litter(name: str) -> bool:
    """Whether the name is a folder placeholder's, or a file's that an operating system leaves in folders."""
    return name.endswith("/") or name.rpartition("/")[2].lower() in _LITTER


def digest(*parts: object) -> str:
    """A name that derives from its parts: 32 hexadecimal digits."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class JobLayout:
    """The URIs of one job."""

    bucket: str
    job_id: str

    @property
    def root(self) -> str:
        """The job's prefix, without a slash at its end."""
        return f"gs://{self.bucket}/jobs/{self.job_id}"

    @property
    def accepted(self) -> str:
        """The request, from before selection opens the job."""
        return f"{self.root}/accepted.json"

    @property
    def manifest(self) -> str:
        """The request, the pinned model and the number of batches."""
        return f"{self.root}/manifest.json"

    @property
    def cancelled(self) -> str:
        """Stands when somebody wants the job to end."""
        return f"{self.root}/cancelled"

    @property
    def summary(self) -> str:
        """The job's row of `jobs`."""
        return f"{self.root}/summary.json"

    def image(self, product_id: str, variant: str = "original", photo: int | None = None) -> str:
        """A photo's copy, or the variant `augmented-<copy>` of it; of several photos, that of one of them."""
        name = photo_name(product_id, photo)
        if variant == "original":
            return f"{self.root}/images/{name}.jpg"
        return f"{self.root}/augmented/{name}-{variant.removeprefix('augmented-')}.jpg"

    def metadata(self, batch: int) -> str:
        """The catalogue's columns of a batch."""
        return f"{self.root}/metadata/{_in_shard(batch)}.ndjson"

    def augmentation(self, batch: int) -> str:
        """Stands when the variants of a batch do."""
        return f"{self.root}/augmentation/{_in_shard(batch)}"

    def predictions(self, batch: int) -> str:
        """The rows of a batch."""
        return f"{self.root}/predictions/{_in_shard(batch)}.ndjson"

    def shard_predictions(self, shard: int) -> str:
        """The prefix of a shard's prediction files."""
        return f"{self.root}/predictions/{shard:04d}/"

    def ledger(self, batch: int) -> str:
        """Stands when a batch is classified."""
        return f"{self.root}/ledger/{_in_shard(batch)}"

    def shard_ledger(self, shard: int) -> str:
        """The prefix of a shard's markers."""
        return f"{self.root}/ledger/{shard:04d}/"

    def loaded(self, shard: int) -> str:
        """Stands when a shard's rows are in BigQuery."""
        return f"{self.all_loaded}{shard:04d}"

    @property
    def all_loaded(self) -> str:
        """The prefix of all shards' markers."""
        return f"{self.root}/loaded/"


@dataclass(frozen=True)
class AuditLayout:
    """The URIs of one audit of the catalogue's labels."""

    bucket: str
    audit_id: str

    @property
    def root(self) -> str:
        """The audit's prefix, without a slash at its end."""
        return f"gs://{self.bucket}/audits/{self.audit_id}"

    @property
    def manifest(self) -> str:
        """What is audited, and by which version of the model."""
        return f"{self.root}/audit.json"

    @property
    def selection(self) -> str:
        """Which list of products is audited; written when the list is complete."""
        return f"{self.root}/selection.json"

    def products(self, selection: str, part: int) -> str:
        """A part of a list of products."""
        return f"{self.root}/products/{selection}/{part:06d}.ndjson"

    def embeddings(self, part: int) -> str:
        """The embedded photos of a part."""
        return f"{self.root}/embeddings/{part:06d}.npz"

    def rows(self, attribute: str, part: int) -> str:
        """The rows of a part, about one attribute."""
        return f"{self.root}/rows/{attribute}-{part:06d}.ndjson"

    @property
    def all_rows(self) -> str:
        """The files of all rows, with a *."""
        return f"{self.root}/rows/*.ndjson"

    def attribute(self, attribute: str) -> str:
        """Stands when the rows of an attribute do; has its figures."""
        return f"{self.root}/attributes/{attribute}.json"

    @property
    def summary(self) -> str:
        """Stands when the audit is done and its rows are in BigQuery."""
        return f"{self.root}/summary.json"


def shard_of(batch: int) -> int:
    """The shard that a batch belongs to."""
    return batch // SHARD_BATCHES


def shards(batches: int) -> int:
    """How many shards so many batches make."""
    return -(-batches // SHARD_BATCHES)


def batches_in(shard: int, batches: int) -> int:
    """How many of a job's batches belong to a shard."""
    return min(SHARD_BATCHES, batches - shard * SHARD_BATCHES)


def _in_shard(batch: int) -> str:
    return f"{shard_of(batch):04d}/{batch:08d}"
