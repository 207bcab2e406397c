"""Photos at web addresses, fetched from real HTTPS servers; only tests let them be on this machine."""

import gzip
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial

import pytest

from services.shared.errors import ImageError
from services.shared.https_photos import HttpsPhotos, host_of, is_public, refusal
from tests.unit.web_host import (
    NAMES,
    QUICK,
    Answer,
    WebHost,
    answer,
    drip,
    drip_headers,
    silence,
    trust,
    web_host,
)

PHOTO = b"\xff\xd8 a photo"


@pytest.fixture
def host() -> Iterator[WebHost]:
    with web_host() as started:
        yield started


def refused(photos: HttpsPhotos, address: str) -> ImageError:
    with pytest.raises(ImageError) as error:
        photos.fetch(address)
    return error.value


def test_a_photo_is_fetched_and_its_connection_kept(host: WebHost) -> None:
    host.pages = {"/1.jpg": [answer(200, PHOTO)], "/2.jpg?size=large": [answer(200, b"two")]}
    photos = host.photos()
    assert photos.fetch(host.url("/1.jpg")) == PHOTO
    assert photos.fetch(host.url("/2.jpg?size=large#part")) == b"two"
    assert host.connections == 1
    assert [*host.names] == [host.name()]


@pytest.mark.parametrize(
    ("answers", "code", "detail", "asked"),
    [
        ([answer(404)], "photo-missing", "answers 404", 1),
        ([answer(410)], "photo-missing", "answers 410", 1),
        ([answer(403)], "photo-unavailable", "answers 403", 1),
        ([answer(500)], "photo-unavailable", "answers 500", 2),
        ([answer(503)], "photo-unavailable", "answers 503", 2),
        ([answer(200, b"\n <!DOCTYPE html><html>")], "photo-not-an-image", "a web page", 1),
        ([answer(200)], "photo-empty", "nothing", 1),
        ([answer(200, b"x" * 100_001)], "photo-too-large", "more than 100000 bytes", 1),
        ([silence], "photo-unavailable", "does not answer in time", 2),
        ([drip], "photo-unavailable", "took longer than 1 s", 1),
        ([drip_headers], "photo-unavailable", "took longer than 1 s", 1),
    ],
)
def test_what_is_no_photo_has_a_code(
    host: WebHost, answers: Sequence[Answer], code: str, detail: str, asked: int
) -> None:
    host.pages = {"/1.jpg": answers, "/2.jpg": [answer(200, PHOTO)]}
    photos = host.photos()
    before = time.monotonic()
    error = refused(photos, host.url("/1.jpg"))
    assert error.code == code
    assert detail in str(error.detail)
    assert host.asked["/1.jpg"] == asked
    assert time.monotonic() - before < 5
    # The connection is as good as new.
    assert photos.fetch(host.url("/2.jpg")) == PHOTO


def test_a_photo_that_decompresses_to_too_much_is_too_large(host: WebHost) -> None:
    host.pages = {"/1.jpg": [answer(200, gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")]}
    assert refused(host.photos(), host.url("/1.jpg")).code == "photo-too-large"


def test_what_fails_once_is_asked_for_again(host: WebHost) -> None:
    host.pages = {"/1.jpg": [answer(502), answer(200, PHOTO)]}
    assert host.photos().fetch(host.url("/1.jpg")) == PHOTO


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("dated", [False, True])
def test_a_host_that_is_busy_is_left_alone_as_long_as_it_says(
    host: WebHost, status: int, dated: bool
) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True) if dated else "1"
    host.pages = {
        "/1.jpg": [answer(status, Retry_After=later), answer(200, PHOTO)],
        "/2.jpg": [answer(200, b"two")],
    }
    photos = host.photos(limits=replace(QUICK, longest_pause=3.0))
    before = time.monotonic()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(photos.fetch, host.url("/1.jpg"))
        time.sleep(0.3)
        second = threads.submit(photos.fetch, host.url("/2.jpg"))
        assert (first.result(), second.result()) == (PHOTO, b"two")
    assert time.monotonic() - before > 0.9
    assert host.asked == {"/1.jpg": 2, "/2.jpg": 1}


def test_a_host_that_is_busy_for_long_is_not_waited_for(host: WebHost) -> None:
    host.pages = {"/1.jpg": [answer(429, Retry_After="3600")], "/2.jpg": [answer(200, PHOTO)]}
    photos = host.photos()
    for path in ("/1.jpg", "/2.jpg"):
        error = refused(photos, host.url(path))
        assert error.code == "photo-unavailable"
        assert "is to be left alone for 3600 more seconds" in str(error.detail)
    assert host.asked == {"/1.jpg": 1}


def test_a_host_that_never_answers_is_given_up(host: WebHost) -> None:
    photos = host.photos(limits=replace(QUICK, answer=0.1, attempts=1, failures=3))
    host.pages = {f"/{number}.jpg": [silence] for number in range(6)}
    details = [str(refused(photos, host.url(path)).detail) for path in host.pages]
    assert [("in time" in detail, "left alone" in detail) for detail in details] == [
        *[(True, False)] * 3,
        *[(False, True)] * 3,
    ]
    assert host.asked.total() == 3


def test_a_host_has_few_connections(host: WebHost) -> None:
    host.pages = {f"/{number}.jpg": [answer(200, PHOTO)] for number in range(100)}
    photos = host.photos()
    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(photos.fetch, map(host.url, host.pages))) == {PHOTO}
    assert host.most_open <= QUICK.connections
    assert host.connections <= QUICK.connections


def test_a_connection_that_was_closed_meanwhile_is_opened_again(host: WebHost) -> None:
    host.pages = {"/1.jpg": [answer(200, PHOTO, Connection="close")]}
    photos = host.photos(limits=replace(QUICK, attempts=1))
    assert [photos.fetch(host.url("/1.jpg")) for _ in range(3)] == [PHOTO] * 3


# ------------------------------------------------------------------------------------- what may be reached


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("https://other.example/1.jpg", "other.example is not among photos.hosts"),
        ("https://photos.shop.example.other.example/1.jpg", "is not among photos.hosts"),
        ("https://photos.shop.example:8443/1.jpg", "photos.shop.example:8443 is not among photos.hosts"),
        ("https://photos.shop.example./1.jpg", "is not among photos.hosts"),
        ("https://photos.shop.example@other.example/1.jpg", "a user name in an address of other.example"),
        ("https://other.example\\@photos.shop.example/1.jpg", "user name|not among|not a web address"),
        ("https://other.example#@photos.shop.example/1.jpg", "other.example is not among"),
        ("http://photos.shop.example/1.jpg", "expected an address that begins with https://"),
        ("ftp://photos.shop.example/1.jpg", "expected an address that begins with https://"),
        ("file:///etc/passwd", "expected an address that begins with https://"),
        ("https:///1.jpg", "https://"),
        ("https://photos.shop.example:port/1.jpg", "is not a web address"),
        ("https://169.254.169.254/1.jpg", "169.254.169.254 is not among photos.hosts"),
    ],
)
def test_only_the_addresses_of_allowed_hosts_are_fetched(address: str, reason: str) -> None:
    error = refused(HttpsPhotos(NAMES, resolve=no_host), address)
    assert error.code == "photo-not-allowed"
    assert re.search(reason, str(error.detail))
    assert refusal(address, NAMES) == error.detail


def no_host(host: str, port: int) -> Sequence[str]:
    raise AssertionError(f"{host} was looked up")


def resolved(found: Sequence[str], host: str, port: int) -> Sequence[str]:
    return found


def test_without_hosts_nothing_is_fetched() -> None:
    assert refused(HttpsPhotos(()), "https://photos.shop.example/1.jpg").code == "photo-not-allowed"


def test_the_case_of_a_host_does_not_matter_and_443_is_its_port() -> None:
    assert refusal("HTTPS://Photos.Shop.Example:443/1.jpg", NAMES) is None
    assert host_of("https://Photos.Shop.Example:443/1.jpg") == NAMES[0]
    assert host_of("https://photos.shop.example:8443/1.jpg") == f"{NAMES[0]}:8443"
    assert (host_of("photos/1.jpg"), host_of("http://a.example/1.jpg"), host_of("https://[/")) == (None,) * 3


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
        *("169.254.169.254", "169.254.1.1", "198.18.0.1", "192.0.2.1", "224.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fe80::1%lo", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:0:1::1"),
    ],
)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert not is_public(address)
    # One of them is enough, wherever it stands.
    for found in ([address], ["93.184.215.14", address]):
        photos = HttpsPhotos(NAMES, QUICK, resolve=partial(resolved, found))
        error = refused(photos, "https://photos.shop.example/1.jpg")
        assert error.code == "photo-not-allowed"
        assert error.detail == f"photos.shop.example has the address {address}, which is not public"


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_public_addresses_are_not_refused(address: str) -> None:
    assert is_public(address)


def test_this_machine_is_refused_by_default(host: WebHost) -> None:
    photos = HttpsPhotos([f"localhost:{host.port}"], QUICK)
    error = refused(photos, f"https://localhost:{host.port}/1.jpg")
    assert error.code == "photo-not-allowed"
    assert "which is not public" in str(error.detail)
    assert host.connections == 0


def test_the_connection_goes_to_the_address_that_was_checked(host: WebHost) -> None:
    """A name that resolves to another address the second time (DNS rebinding) gains nothing."""
    lookups: list[str] = []

    def rebinding(name: str, port: int) -> Sequence[str]:
        lookups.append(name)
        return ["127.0.0.1"] if len(lookups) == 1 else ["169.254.169.254"]

    host.pages = {"/1.jpg": [answer(200, PHOTO, Connection="close")]}
    photos = HttpsPhotos(
        [host.name()],
        QUICK,
        resolve=rebinding,
        may_connect=lambda address: address == "127.0.0.1",
        tls=trust(),
    )
    assert photos.fetch(host.url("/1.jpg")) == PHOTO
    assert lookups == [NAMES[0]]
    error = refused(photos, host.url("/1.jpg"))
    assert "169.254.169.254, which is not public" in str(error.detail)
    assert host.connections == 1


def test_a_host_with_another_certificate_is_not_believed(host: WebHost) -> None:
    host.pages = {"/1.jpg": [answer(200, PHOTO)]}
    error = refused(host.photos("other.example"), host.url("/1.jpg", "other.example"))
    assert error.code == "photo-unavailable"
    assert "certificate is not valid for 'other.example'" in str(error.detail)
    assert not host.asked


# ------------------------------------------------------------------------------------- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_within_the_allowed_hosts(host: WebHost, status: int) -> None:
    host.pages = {
        "/1.jpg": [answer(status, Location="/large/1.jpg")],
        "/large/1.jpg": [answer(status, Location=host.url("/2.jpg", NAMES[1]))],
        "/2.jpg": [answer(200, PHOTO)],
    }
    assert host.photos(*NAMES).fetch(host.url("/1.jpg")) == PHOTO
    assert [*host.names] == [host.name(), host.name(NAMES[1])]
    error = refused(host.photos(), host.url("/1.jpg"))
    assert (error.code, host.asked["/2.jpg"]) == ("photo-not-allowed", 1)
    assert f"{host.name(NAMES[1])} is not among photos.hosts" in str(error.detail)


@pytest.mark.parametrize(
    "location",
    [
        "http://photos.shop.example/1.jpg",
        "//169.254.169.254/computeMetadata/v1/",
        "https://metadata.google.internal/computeMetadata/v1/",
        "file:///etc/passwd",
        "https://photos.shop.example@127.0.0.1/1.jpg",
    ],
)
def test_redirects_elsewhere_are_refused(host: WebHost, location: str) -> None:
    host.pages = {"/1.jpg": [answer(302, Location=location)]}
    assert refused(host.photos(), host.url("/1.jpg")).code == "photo-not-allowed"


def test_a_redirect_to_an_allowed_host_that_is_private_is_refused(host: WebHost) -> None:
    inside = "inside.shop.example"
    addresses = {NAMES[0]: ["127.0.0.1"], inside: ["10.0.0.1"]}
    host.pages = {"/1.jpg": [answer(302, Location=f"https://{inside}/1.jpg")]}
    photos = HttpsPhotos(
        [host.name(), inside],
        QUICK,
        resolve=lambda name, _port: addresses[name],
        may_connect=lambda address: address == "127.0.0.1",
        tls=trust(),
    )
    error = refused(photos, host.url("/1.jpg"))
    assert error.detail == f"{inside} has the address 10.0.0.1, which is not public"


def test_redirects_in_a_circle_end(host: WebHost) -> None:
    host.pages = {"/1.jpg": [answer(302, Location="/1.jpg")]}
    error = refused(host.photos(), host.url("/1.jpg"))
    assert error.code == "photo-unavailable"
    assert "more than 5 redirects" in str(error.detail)
