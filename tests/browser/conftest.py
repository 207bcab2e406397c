"""A browser, a console to look at with it, and a shop whose catalogue has mistakes."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

from services.local.cloud import ROOT, LocalCloud
from services.shared.keys import Role, make_key, read_keys, write_keys
from tests.browser.chromium import chromium, need_chromium
from tests.browser.signed_in import sign_in
from tests.e2e.plain import Outsider, new_job

DEMO = ROOT / "services" / "local" / "demo"
PATIENCE = 90_000  # milliseconds: the machines that run this are shared
CALLED_WHITE = ("Boots", "Coats", "Dresses", "Shirts")  # which most of them are not
RIGHT_OF_EACH = 3  # products of a type whose type is right
# Chromium tells of every answer that refuses something, and htmx of that too, and of what it asks for when a
# page is left.
EXPECTED = re.compile(
    r"status of (401|403|404|422)|^Response Status Error Code 422|^htmx:(afterRequest|sendAbort)$"
)


@pytest.fixture(scope="session", autouse=True)
def _chromium_is_there() -> None:
    need_chromium()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def outside(cloud: LocalCloud) -> Iterator[Outsider]:
    with pytest.MonkeyPatch.context() as patch:
        yield Outsider(cloud, patch)


@dataclass(frozen=True)
class Shop:
    """Products of which only these tests know, and a job that classified them."""

    usage: str  # that only they have
    broken: str  # the id of a product whose photo is damaged
    good_photo: bytes
    job_id: str
    rejected: str  # the id of a message that was refused


@pytest.fixture(scope="module")
def shop(outside: Outsider) -> Shop:
    with (DEMO / "styles.csv").open(encoding="utf-8") as file:
        rows = {int(row["id"]): row for row in csv.DictReader(file)}
    with (DEMO / "wrong_labels.csv").open(encoding="utf-8") as file:
        wrong = {int(row["product_id"]) for row in csv.DictReader(file)}
    with (DEMO / "broken.csv").open(encoding="utf-8") as file:
        broken_ones = {int(row["product_id"]) for row in csv.DictReader(file)}
    usage = f"shop-{new_job()}"
    chosen: dict[str, list[int]] = {}
    for product_id, row in rows.items():
        of_type = chosen.setdefault(row["articleType"], [])
        right = product_id not in broken_ones
        if product_id in wrong or (right and len(of_type) < RIGHT_OF_EACH):
            of_type.append(product_id)
    for article_type, ids in chosen.items():
        photos = [(DEMO / "images" / f"{product_id}.jpg").read_bytes() for product_id in ids]
        columns = {"article_type": article_type, "display_name": f"Harbour {article_type}", "year": 2016}
        if article_type in CALLED_WHITE:
            columns["base_colour"] = "White"
        outside.add_products(photos, usage=usage, **columns)
    good = (DEMO / "images" / "10001.jpg").read_bytes()
    _usage, (broken,) = outside.add_products([good[:300]], usage=usage, display_name="Harbour torn photo")
    job_id = new_job()
    outside.publish({"job_id": job_id, "usage": usage})
    rejected = outside.publish(b'{"limit": 0}')
    outside.completed(job_id)
    outside.rejected(rejected)
    return Shop(usage, broken, good, job_id, rejected)


class Console:
    """The console, as people in roles open it; keeps what the browser complains about."""

    def __init__(self, browser: Browser, url: str, keys: dict[Role, str]) -> None:
        self._browser, self.url, self.keys = browser, url, keys
        self.contexts: list[BrowserContext] = []
        self.complaints: list[str] = []

    def open(self, role: Role | None = "admin", **options: Any) -> Page:
        """A page of somebody who is signed in, or of nobody."""
        context = self._browser.new_context(base_url=self.url, **options)
        context.set_default_timeout(PATIENCE)
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        if role is not None:
            sign_in(page, self.keys[role])
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not EXPECTED.search(message.text):
            self.complaints.append(f"{message.location.get('url')}: {message.text}")


@pytest.fixture(scope="module")
def keys(cloud: LocalCloud) -> dict[Role, str]:
    """An API key for each role."""
    made = {}
    known = list(read_keys(cloud.key_file.read_bytes()))
    roles: tuple[Role, ...] = ("viewer", "operator", "reviewer", "admin")
    for role in roles:
        key, made[role] = make_key(f"browser-{role}", role, datetime.now(UTC), expires=None)
        known.append(key)
    write_keys(cloud.key_file, known)
    return made


@pytest.fixture
def console(browser: Browser, cloud: LocalCloud, keys: dict[Role, str]) -> Iterator[Console]:
    """The console; nothing that a test does there may break a policy or a script."""
    console = Console(browser, cloud.environment["VITRINE_GATEWAY_URL"], keys)
    yield console
    for context in console.contexts:
        context.close()
    assert console.complaints == []
