"""Cloud Storage and Pub/Sub behind the ports, by Google's own clients.

STORAGE_EMULATOR_HOST and PUBSUB_EMULATOR_HOST are the clients' own business.
"""

from collections.abc import Mapping, Sequence

from google.api_core.exceptions import Forbidden, NotFound, PreconditionFailed
from google.cloud.exceptions import RequestRangeNotSatisfiable
from google.cloud.pubsub_v1 import PublisherClient
from google.cloud.pubsub_v1.types import BatchSettings
from google.cloud.storage import Blob, Client
from requests.adapters import HTTPAdapter

from services.shared.content_encoding import plain
from services.shared.errors import NotAllowedError, ObjectNotFoundError, ObjectTooLargeError
from services.shared.ports import Stored

PUBLISH_TIMEOUT = 60.0  # seconds
CONNECTIONS = 64  # to Cloud Storage, a process: its threads times the calls that each has in flight, roughly


class CloudObjects:
    """Cloud Storage."""

    def __init__(self, project: str) -> None:
        self._client = Client(project)
        for scheme in ("http://", "https://"):
            # The session's default pool of 10 would drop and reopen connections under our threads.
            self._client._http.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=CONNECTIONS))

    def create(self, uri: str, data: bytes, content_type: str) -> bool:  # noqa: D102
        try:
            # Nothing that stands has the generation 0.
            return self.replace(uri, data, content_type, 0)
        except Forbidden as error:
            # Who may create and not replace may be told of its rights before it is told what stands.
            if not self.exists(uri):
                raise NotAllowedError(f"{uri}: {error}") from error
            return False

    def replace(self, uri: str, data: bytes, content_type: str, generation: int) -> bool:  # noqa: D102
        try:
            self._blob(uri).upload_from_string(
                data, content_type=content_type, if_generation_match=generation
            )
        except PreconditionFailed:
            return False
        return True

    def read(self, uri: str, *, generation: int | None = None, max_bytes: int | None = None) -> Stored:  # noqa: D102
        blob = self._blob(uri, generation)
        try:
            # Raw, because the client fails on objects that are declared as gzip and are not.
            data = blob.download_as_bytes(end=max_bytes, raw_download=True)
        except NotFound as error:
            raise ObjectNotFoundError(uri) from error
        except Forbidden as error:
            raise NotAllowedError(f"{uri}: {error}") from error
        except RequestRangeNotSatisfiable:
            # No range of an empty object can be satisfied, and the answer does not say its generation.
            blob.reload()
            data = b""
        if max_bytes is not None and len(data) > max_bytes:
            raise ObjectTooLargeError(f"{uri} has more than {max_bytes} bytes")
        return Stored(plain(uri, data, blob.content_encoding, max_bytes), int(blob.generation))

    def generation(self, uri: str) -> int:  # noqa: D102
        blob = self._blob(uri)
        try:
            blob.reload()
        except NotFound as error:
            raise ObjectNotFoundError(uri) from error
        return int(blob.generation)

    def exists(self, uri: str) -> bool:  # noqa: D102
        try:
            return bool(self._blob(uri).exists())
        except Forbidden as error:
            raise NotAllowedError(f"{uri}: {error}") from error

    def copy(self, source: str, target: str) -> bool:  # noqa: D102
        original, copy = self._blob(source), self._blob(target)
        try:
            original.bucket.copy_blob(original, copy.bucket, copy.name, if_generation_match=0)
        except NotFound as error:
            raise ObjectNotFoundError(source) from error
        except PreconditionFailed:
            return False
        except Forbidden:
            # As in `create`.
            if not self.exists(target):
                raise
            return False
        return True

    def count(self, prefix: str) -> int:  # noqa: D102
        return len(self.names(prefix))

    def names(self, prefix: str) -> list[str]:  # noqa: D102
        bucket, _, name = prefix.removeprefix("gs://").partition("/")
        blobs = self._client.list_blobs(bucket, prefix=name, fields="items(name),nextPageToken")
        return [f"gs://{bucket}/{blob.name}" for blob in blobs]

    def _blob(self, uri: str, generation: int | None = None) -> Blob:
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        return self._client.bucket(bucket).blob(name, generation=generation)


class CloudPublisher:
    """Pub/Sub."""

    def __init__(self, project: str) -> None:
        self._project = project
        # A push waits for its publications, so that a message must not linger in the client.
        self._client = PublisherClient(BatchSettings(max_latency=0.005))

    def publish(self, topic: str, messages: Sequence[tuple[bytes, Mapping[str, str]]]) -> None:  # noqa: D102
        path = self._client.topic_path(self._project, topic)
        futures = [self._client.publish(path, data, **attributes) for data, attributes in messages]
        for future in futures:
            future.result(timeout=PUBLISH_TIMEOUT)
