"""Hosts of photos: HTTPS servers on this machine, whose certificates name the hosts of `TRUSTED`."""

import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.shared.https_photos import HttpsPhotos, Limits

NAMES = ("photos.shop.example", "cdn.shop.example")
QUICK = Limits(max_bytes=100_000, answer=0.5, photo=1.0, attempts=2, pause=0.01, longest_pause=1.0)

type Answer = Callable[[BaseHTTPRequestHandler], None]


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    """An answer; the names of headers have _ for -."""

    def write(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return write


def silence(request: BaseHTTPRequestHandler) -> None:
    time.sleep(3)


def drip(request: BaseHTTPRequestHandler) -> None:
    """A photo that comes byte by byte, without a length, for 30 seconds."""
    request.send_response(200)
    request.end_headers()
    for _ in range(300):
        request.wfile.write(b"x")
        time.sleep(0.1)


def drip_headers(request: BaseHTTPRequestHandler) -> None:
    for _ in range(300):
        request.wfile.write(b"x")
        time.sleep(0.1)


@dataclass
class WebHost:
    """A server, and what it was asked.

    Args:
        port: on the loopback interface.
        pages: path -> its answers, of which the last one is repeated.

    """

    port: int
    pages: dict[str, Sequence[Answer]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)  # the Host headers
    open: int = 0
    most_open: int = 0  # connections at once
    connections: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def name(self, host: str = NAMES[0]) -> str:
        return f"{host}:{self.port}"

    def url(self, path: str, host: str = NAMES[0]) -> str:
        return f"https://{self.name(host)}{path}"

    def photos(self, *hosts: str, limits: Limits = QUICK) -> HttpsPhotos:
        """Photos of this host, which may be on this machine; by default only its first name is allowed."""
        return HttpsPhotos(
            [self.name(host) for host in hosts or NAMES[:1]],
            limits,
            resolve=lambda _host, _port: ["127.0.0.1"],
            may_connect=lambda address: address == "127.0.0.1",
            tls=trust(),
        )


@contextmanager
def web_host() -> Iterator[WebHost]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            with host.lock:
                host.connections += 1
                host.open += 1
                host.most_open = max(host.most_open, host.open)

        def finish(self) -> None:
            with host.lock:
                host.open -= 1
            super().finish()

        def do_GET(self) -> None:
            with host.lock:
                host.asked[self.path] += 1
                host.names[self.headers["Host"]] += 1
                place = host.asked[self.path] - 1
            answers = host.pages.get(self.path, [answer(404)])
            answers[min(place, len(answers) - 1)](self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # clients that give up

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = _served_by().wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    host = WebHost(server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        socket = server.socket
        socket.close()


@cache
def _certificate() -> tuple[bytes, bytes]:
    """A certificate that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in NAMES]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


def trust() -> ssl.SSLContext:
    """Trusts the servers of this module."""
    return ssl.create_default_context(cadata=_certificate()[0].decode())


def _served_by() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "host.pem"
        path.write_bytes(b"".join(_certificate()))
        context.load_cert_chain(path)
    return context
