"""Takes the README's pictures of the console: `python -m tests.browser.screenshots`."""

import shutil
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect

from services.client.client import REQUEST_TOPIC, Vitrine, parse_request
from services.client.google_cloud import CloudTopics
from services.client.importer import load_products, upload_photos
from services.client.target import EMULATOR_VARIABLES, Target
from services.local.cloud import ROOT, LocalCloud, down, up
from services.model.manifest import DEFAULT_DIRECTORY, load_manifest, save_manifest
from services.model.registry import Registry
from services.shared.catalogue_files import read_catalogue
from tests.browser.chromium import chromium
from tests.browser.signed_in import sign_in
from tests.conftest import free_ports

FOLDER = ROOT / "services" / "gateway" / "screenshots"
DEMO = ROOT / "services" / "local" / "demo"
SIZE = ViewportSize(width=1200, height=800)
PHONE = ViewportSize(width=360, height=740)
COLOURS = 128  # in a picture: enough for flat colours, and a third of the bytes
PATIENCE = 120.0  # seconds for a job
JOB = "spring-check"
JOBS = (
    '{"job_id": "evening-variants", "article_type": "Dresses", "limit": 12, "classify": "both",'
    ' "augmentation": {"flip": {"horizontal": 0.5}, "rotation": {"degrees": 25}, "copies": 3}}',
    f'{{"job_id": "{JOB}"}}',
)


def take(browser: Browser, url: str, key: str) -> None:
    """Pictures of each page of a gateway that shows what `fill` made."""
    with browser.new_context(base_url=url, viewport=SIZE) as context:
        page = context.new_page()
        page.goto("/sign-in")
        _picture(page, "sign-in", 420)
        sign_in(page, key)
        page.goto("/jobs")
        _picture(page, "jobs", 420)
        page.goto("/jobs/new")
        page.locator("#article_type summary").click()
        for name in ("Dresses", "Tshirts"):
            page.locator("#article_type").get_by_role("checkbox", name=name).check()
        expect(page.locator("#estimate")).to_contain_text("photos,")
        page.wait_for_timeout(1000)
        _picture(page, "new-job")
        for name, path in {
            "job": f"/jobs/{JOB}",
            "variants": "/jobs/evening-variants",
            "check": f"/check?job={JOB}",
            "quality": f"/quality?job={JOB}",
            "models": "/models",
            "rejected": "/rejected",
        }.items():
            page.goto(path)
            if name == "variants":
                page.locator("#gallery").scroll_into_view_if_needed()
                page.locator("#photos").evaluate("heading => heading.scrollIntoView()")
            if name == "quality":
                page.locator("#confusion").evaluate("heading => heading.scrollIntoView()")
            _picture(page, name, 480 if name == "rejected" else SIZE["height"])
        page.goto("/upload")
        photos = [DEMO / "images" / f"{number}.jpg" for number in (10140, 10181, 10229)]
        page.get_by_label("Choose photos").set_input_files([*photos, DEMO / "styles.csv"])
        page.get_by_role("button", name="Classify").click()
        expect(page.locator("#answers .labels")).to_have_count(6, timeout=1000 * PATIENCE)
        expect(page.locator("#answers .bad")).to_be_visible()
        _picture(page, "upload")
    with browser.new_context(
        base_url=url, viewport=PHONE, color_scheme="dark", device_scale_factor=2
    ) as context:
        page = context.new_page()
        sign_in(page, key)
        page.goto(f"/check?job={JOB}")
        _picture(page, "phone", PHONE["height"])


def _picture(page: Page, name: str, height: int = SIZE["height"]) -> None:
    page.wait_for_load_state("networkidle")
    path = FOLDER / f"{name}.png"
    width = (page.viewport_size or SIZE)["width"]
    page.screenshot(path=path, clip={"x": 0, "y": 0, "width": width, "height": height})
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def fill(cloud: LocalCloud, folder: Path) -> None:
    """Gives a gateway something to show: a catalogue, jobs, a version, a rejected message."""
    names = cloud.environment
    project, bucket = names["GOOGLE_CLOUD_PROJECT"], names["VITRINE_BUCKET"]
    vitrine = Vitrine.connect(
        Target(
            project,
            bucket,
            names["VITRINE_UPLOAD_BUCKET"],
            names["VITRINE_DATASET"],
            {name: names[name] for name in EMULATOR_VARIABLES},
        )
    )
    catalogue = read_catalogue(DEMO)
    upload_photos(catalogue, vitrine.objects, bucket, lambda _transfer: None)
    load_products(catalogue, vitrine.tables)
    for request in JOBS:
        for _status in vitrine.watch(vitrine.request(parse_request(request)), timeout=PATIENCE):
            pass
    CloudTopics(project).publish(REQUEST_TOPIC, b'{"article_type": "Dresses", "limit": "twelve"}', {})
    shipped = load_manifest(DEFAULT_DIRECTORY)
    directory = shutil.copytree(DEFAULT_DIRECTORY, folder / "model")
    save_manifest(directory, shipped.model_copy(update={"version": "autumn-2026"}))
    Registry(vitrine.objects, bucket, shipped.name).publish(directory)
    while not vitrine.rejected():
        time.sleep(0.5)


def main() -> None:
    """Starts a local cloud of its own, fills it, and takes the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        cloud = LocalCloud(Path(folder) / "home", free_ports(20))
        FOLDER.mkdir(exist_ok=True)
        try:
            up(cloud, print)
            fill(cloud, Path(folder))
            with chromium() as browser:
                take(browser, cloud.environment["VITRINE_GATEWAY_URL"], cloud.token)
        finally:
            down(cloud.home)


if __name__ == "__main__":
    main()
