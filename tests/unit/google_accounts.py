"""Google's side of an ID token: it signs with a key of its own, and serves the certificate over HTTP."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

AUDIENCE = "https://vitrine.example"


class Signer:
    """A private key and its certificate."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "accounts")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM).decode()

    def token(self, *, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """A token of ann@shop.example, with other claims or another header."""
        signed = _signed_part({"alg": "RS256", "kid": self.key_id, **(header or {})}, claims)
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64(signature)}"

    def forged(self, algorithm: str) -> str:
        """A token without a signature (`none`), or one signed with what everybody knows (`HS256`)."""
        signed = _signed_part({"alg": algorithm, "kid": self.key_id}, {})
        secret = self.certificate.encode()
        signature = b"" if algorithm == "none" else hmac.digest(secret, signed.encode(), hashlib.sha256)
        return f"{signed}.{_base64(signature)}"


def _signed_part(header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    now = int(time.time())
    payload: dict[str, Any] = {
        "iss": "https://accounts.google.com",
        "aud": AUDIENCE,
        "sub": "1",
        "email": "ann@shop.example",
        "email_verified": True,
        "iat": now,
        "exp": now + 3600,
        **claims,
    }
    given = {name: value for name, value in payload.items() if value is not None}
    return f"{_base64(json.dumps(header).encode())}.{_base64(json.dumps(given).encode())}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Server:
    """Answers GET with the JSON document of a path, and counts."""

    def __init__(self, documents: dict[str, Any], headers: Mapping[str, str]) -> None:
        self.documents, self.headers = documents, dict(headers)
        self.asked: list[str] = []
        self.url = ""


@contextmanager
def serving(documents: dict[str, Any], headers: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server on this machine; what it has no document for is 404. Queries belong to the path."""
    server = Server(documents, headers or {})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.path)
            document = server.documents.get(self.path)
            self.send_response(404 if document is None else 200)
            for name, value in server.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
