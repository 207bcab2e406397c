"""Photos at web addresses: fetched over https, from hosts that the catalogue.yaml allows and that are public.

Others fill the table that an address comes from. So that no address reaches what only our network can reach,
a host must be allowed by name, each IP address that its name resolves to must be public, and the connection
goes to one of the IP addresses that were checked. The same is true of each redirect.

urllib3 comes with Google's client of Cloud Storage. requests, which uses it, has no place for any of this.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from queue import LifoQueue
from threading import Event, Lock, Timer
from urllib.parse import urljoin

from urllib3.connection import HTTPSConnection
from urllib3.exceptions import HTTPError, LocationParseError, ReadTimeoutError
from urllib3.response import BaseHTTPResponse
from urllib3.util import Retry, Url, parse_url

from services.shared.errors import MAX_BYTES, ImageError

HTTPS = 443
CHUNK = 65_536  # bytes
ADDRESSES = 3  # of a host, that are tried
MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
GONE = (404, 410)
BUSY = (429, 503)
FAILED = (408, 500, 502, 504)
HEADERS = {"User-Agent": "vitrine", "Accept": "image/*", "Accept-Encoding": "identity"}
# How web pages begin, which many hosts answer with, and 200, where a photo is missing.
PAGES = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script")

# IPv4 addresses in IPv6: https://www.rfc-editor.org/rfc/rfc6052
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class Limits:
    """How much is taken from a host, and how long it is waited for.

    Args:
        max_bytes: of a photo.
        connections: to a host at once.
        answer: seconds to connect, and between two pieces of an answer.
        photo: seconds of one attempt, from the request to the last byte.
        attempts: that a photo has.
        pause: seconds before the second attempt; each further pause is twice as long.
        longest_pause: seconds; a photo of a host that asks for a longer one fails.
        failures: photos in a row without any answer, after which the host is left alone.
        left_alone: seconds.

    """

    max_bytes: int = MAX_BYTES
    connections: int = 4
    answer: float = 10.0
    photo: float = 60.0
    attempts: int = 4
    pause: float = 1.0
    longest_pause: float = 60.0
    failures: int = 8
    left_alone: float = 300.0


def resolve(host: str, port: int) -> Sequence[str]:
    """The IP addresses of a host.

    Raises:
        OSError: it has none, or they cannot be found now.

    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet: not private, loopback, link-local or the like."""
    ip: IPv4Address | IPv6Address = ip_address(address)
    if isinstance(ip, IPv6Address):
        inner = (
            ip.ipv4_mapped or ip.sixtofour or (IPv4Address(int(ip) & 0xFFFF_FFFF) if ip in _NAT64 else None)
        )
        ip = inner or ip
    return ip.is_global and not ip.is_multicast


def refusal(address: str, hosts: Sequence[str]) -> str | None:
    """Why a photo may not be fetched from a web address; None if it may, so far as the address tells.

    Args:
        address: a URI.
        hosts: that are allowed: `host`, or `host:port`.

    """
    try:
        _allowed(address, hosts)
    except ImageError as error:
        return error.detail
    return None


def host_of(address: str) -> str | None:
    """The host of an https:// address, as photos.hosts of a catalogue.yaml has it; None of any other text."""
    try:
        url = parse_url(address)
    except LocationParseError:
        return None
    return _host_of(url) if url.scheme == "https" and url.host else None


def _allowed(address: str, hosts: Sequence[str]) -> Url:
    try:
        # This parser also says where the connection goes, so that no two readings of an address can differ.
        url = parse_url(address)
    except LocationParseError:
        raise ImageError("photo-not-allowed", f"{address} is not a web address") from None
    if url.scheme != "https" or not url.host:
        raise ImageError("photo-not-allowed", f"{address}: expected an address that begins with https://")
    if url.auth is not None:
        raise ImageError("photo-not-allowed", f"a user name in an address of {url.host} is not allowed")
    if _host_of(url) not in hosts:
        raise ImageError(
            "photo-not-allowed", f"{_host_of(url)} is not among photos.hosts of the catalogue.yaml"
        )
    return url


def _host_of(url: Url) -> str:
    return str(url.host) if url.port in (None, HTTPS) else f"{url.host}:{url.port}"


class HttpsPhotos:
    """Fetches photos. One for a process, because it remembers how its hosts answer; threads may share it.

    Args:
        hosts: that are allowed: `host`, or `host:port`.
        limits: sizes and times.
        resolve: the IP addresses of a host.
        may_connect: whether an IP address may be connected to. A host with one that may not is refused.
        tls: what certificates are checked against.

    """

    def __init__(
        self,
        hosts: Sequence[str],
        limits: Limits | None = None,
        *,
        resolve: Callable[[str, int], Sequence[str]] = resolve,
        may_connect: Callable[[str], bool] = is_public,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._limits = limits or Limits()
        tls = tls or ssl.create_default_context()

        def addresses(host: str, port: int) -> Sequence[str]:
            found = resolve(host, port)
            if wrong := next((each for each in found if not may_connect(each)), None):
                raise ImageError("photo-not-allowed", f"{host} has the address {wrong}, which is not public")
            return found[:ADDRESSES]

        self._hosts = {name: _Host(name, self._limits, addresses, tls) for name in hosts}

    def fetch(self, address: str) -> bytes:
        """The bytes of the photo at a web address.

        Raises:
            ImageError: photo-not-allowed, photo-missing, photo-unavailable, photo-too-large, photo-empty or
                photo-not-an-image; `detail` says more.

        """
        for _ in range(MAX_REDIRECTS + 1):
            url = _allowed(address, [*self._hosts])
            answer = self._hosts[_host_of(url)].get(url)
            if isinstance(answer, bytes):
                return answer
            address = urljoin(url.url, answer.location)
        raise ImageError("photo-unavailable", f"{address} is the end of more than {MAX_REDIRECTS} redirects")


@dataclass(frozen=True)
class _Redirect:
    location: str


@dataclass(frozen=True)
class _Later:
    """The photo cannot be had now."""

    why: str
    busy: bool = False  # the host asks to be left alone
    after: float | None = None  # for so many seconds, if it says so


class _Connection(HTTPSConnection):
    """A connection that looks at the addresses of its host, and connects to one that it has looked at."""

    def __init__(
        self,
        host: str,
        port: int,
        limits: Limits,
        addresses: Callable[[str, int], Sequence[str]],
        tls: ssl.SSLContext,
    ) -> None:
        super().__init__(host, port, timeout=limits.answer, ssl_context=tls)
        self._addresses = addresses

    def _new_conn(self) -> socket.socket:
        failed: OSError | None = None
        for address in self._addresses(self.host, self.port):
            try:
                return socket.create_connection((address, self.port), self.timeout)
            except OSError as error:
                failed = error
        raise failed or OSError("the host has no address")


class _Host:
    """A host, its connections, and how long it is left alone."""

    def __init__(
        self,
        name: str,
        limits: Limits,
        addresses: Callable[[str, int], Sequence[str]],
        tls: ssl.SSLContext,
    ) -> None:
        self._name, self._limits = name, limits
        host, _, port = name.partition(":")
        self._free: LifoQueue[_Connection] = LifoQueue()
        for _ in range(limits.connections):
            self._free.put(_Connection(host, int(port or HTTPS), limits, addresses, tls))
        self._lock = Lock()
        self._not_before = 0.0  # of the monotonic clock
        self._silent = 0  # photos in a row that got no answer

    def get(self, url: Url) -> bytes | _Redirect:
        why = "was not asked"
        for attempt in range(self._limits.attempts):
            with self._connection() as connection:
                # With a connection in hand, so that nobody else takes it while the host is left alone.
                self._wait()
                answer = self._ask(connection, url)
            if not isinstance(answer, _Later):
                return answer
            why = answer.why
            pause = self._limits.pause * 2**attempt
            if answer.busy:
                self._leave_alone(pause if answer.after is None else answer.after)
            elif attempt + 1 < self._limits.attempts:
                time.sleep(pause)
        raise ImageError("photo-unavailable", f"{self._name} {why}")

    @contextmanager
    def _connection(self) -> Iterator[_Connection]:
        connection = self._free.get()
        try:
            yield connection
        finally:
            self._free.put(connection)

    def _wait(self) -> None:
        while (pause := self._not_before - time.monotonic()) > 0:
            if pause > self._limits.longest_pause:
                raise ImageError(
                    "photo-unavailable", f"{self._name} is to be left alone for {pause:.0f} more seconds"
                )
            time.sleep(pause)

    def _leave_alone(self, seconds: float) -> None:
        with self._lock:
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    def _ask(self, connection: _Connection, url: Url) -> bytes | _Redirect | _Later:
        """One attempt, and a second one if a connection that was kept turns out to be closed."""
        while True:
            kept = connection.is_connected
            late = Event()
            try:
                if not kept:
                    connection.close()
                    connection.connect()
                with _deadline(connection, self._limits.photo, late):
                    connection.request("GET", url.request_uri, headers=HEADERS, preload_content=False)
                    answer = self._read(connection.getresponse())
                if late.is_set():
                    # An answer that does not say its length looks whole where it was cut off.
                    raise TimeoutError
            except ssl.SSLCertVerificationError as error:
                connection.close()
                raise ImageError("photo-unavailable", f"{self._name}: {error.verify_message}") from error
            except (OSError, HTTPException, HTTPError) as error:
                connection.close()
                if late.is_set():
                    raise ImageError(
                        "photo-unavailable", f"{self._name} took longer than {self._limits.photo:g} s"
                    ) from error
                if kept:
                    continue
                self._count_silence()
                return _Later(_reason(error))
            except BaseException:
                connection.close()
                raise
            self._silent = 0
            if not isinstance(answer, bytes):
                connection.close()  # what else it has to say is not read
            return answer

    def _count_silence(self) -> None:
        with self._lock:
            self._silent += 1
            if self._silent >= self._limits.failures * self._limits.attempts:
                self._silent = 0
                self._not_before = time.monotonic() + self._limits.left_alone

    def _read(self, response: BaseHTTPResponse) -> bytes | _Redirect | _Later:
        status, location = response.status, response.headers.get("Location")
        if status in REDIRECTS and location:
            return _Redirect(location)
        if status in BUSY:
            return _Later(f"answers {status}", True, _seconds(response.headers.get("Retry-After")))
        if status in FAILED:
            return _Later(f"answers {status}")
        if status in GONE:
            raise ImageError("photo-missing", f"{self._name} answers {status}")
        if status != 200:
            raise ImageError("photo-unavailable", f"{self._name} answers {status}")
        data = bytearray()
        for chunk in response.stream(CHUNK):
            data += chunk
            if len(data) > self._limits.max_bytes:
                raise ImageError("photo-too-large", f"more than {self._limits.max_bytes} bytes")
        if not data:
            raise ImageError("photo-empty", f"{self._name} answers with nothing")
        if bytes(data[:CHUNK]).removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(PAGES):
            raise ImageError("photo-not-an-image", f"{self._name} answers with a web page")
        return bytes(data)


@contextmanager
def _deadline(connection: HTTPSConnection, seconds: float, late: Event) -> Iterator[None]:
    """Ends what is read from a connection, however slowly it comes: a socket's own timeout begins anew with
    each byte.
    """
    # Taken now, because a connection hands its socket over to an answer that does not say its length.
    sock = connection.sock

    def end() -> None:
        late.set()
        if isinstance(sock, socket.socket):
            with suppress(OSError):
                # SSLSocket.shutdown would take the keys away under the thread that reads.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    timer = Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _seconds(retry_after: str | None) -> float | None:
    """What a Retry-After says, which is a number of seconds or a date."""
    if retry_after is None:
        return None
    try:
        return Retry().parse_retry_after(retry_after)
    except HTTPError:
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError | ReadTimeoutError):
        return "does not answer in time"
    return "does not answer: " + (" ".join(str(error).split()) or type(error).__name__)
