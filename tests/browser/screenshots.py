"""Takes the README's pictures of the console: `python -m tests.browser.screenshots`."""

import tempfile
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize

from services.client.client import Vitrine
from services.local.cloud import ROOT, LocalCloud, down, up
from tests.browser.chromium import chromium
from tests.conftest import free_ports

FOLDER = ROOT / "services" / "gateway" / "screenshots"
DEMO = ROOT / "services" / "local" / "demo"
SIZE = ViewportSize(width=1200, height=800)
PHONE = ViewportSize(width=360, height=740)


def sign_in(context: BrowserContext, url: str, key: str) -> Page:
    """A page of somebody who has this API key."""
    page = context.new_page()
    page.goto(f"{url}/sign-in")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{url}/jobs*")
    return page


def take(browser: Browser, url: str, key: str, folder: Path) -> None:
    """Pictures of each page of a gateway whose jobs are `spring-check` and `evening-variants`."""
    with browser.new_context(viewport=SIZE) as context:
        page = sign_in(context, url, key)

        def picture(name: str, path: str, *, height: int = SIZE["height"]) -> None:
            if path:
                page.goto(url + path)
            page.wait_for_load_state("networkidle")
            page.screenshot(
                path=folder / f"{name}.png", clip={"x": 0, "y": 0, "width": 1200, "height": height}
            )

        picture("jobs", "/jobs", height=420)
        page.goto(f"{url}/jobs/new")
        page.locator("#article_type summary").click()
        page.get_by_role("checkbox", name="Dresses").check()
        page.get_by_role("checkbox", name="Tshirts").check()
        page.locator("#estimate strong").first.wait_for()
        picture("new-job", "")
        picture("job", "/jobs/spring-check")
        picture("variants", "/jobs/evening-variants")
        picture("check", "/check?job=spring-check")
        picture("quality", "/quality?job=spring-check")
        page.goto(f"{url}/upload")
        photos = [DEMO / "images" / f"{number}.jpg" for number in (10140, 10181, 10121)]
        page.get_by_label("Choose photos").set_input_files([*photos, DEMO / "styles.csv"])
        page.get_by_role("button", name="Classify").click()
        page.locator("#answers .labels").nth(5).wait_for(timeout=60_000)
        page.locator("#answers .bad").wait_for()
        picture("upload", "")
        picture("models", "/models", height=640)
        picture("rejected", "/rejected", height=480)
    with browser.new_context(viewport=PHONE, color_scheme="dark", device_scale_factor=2) as context:
        page = sign_in(context, url, key)
        page.goto(f"{url}/check?job=spring-check")
        page.wait_for_load_state("networkidle")
        page.screenshot(path=folder / "phone.png")


def fill(vitrine: Vitrine) -> None:
    """Gives the gateway something to show."""
    ...


def main() -> None:
    """Starts a local cloud of its own, fills it, and takes the pictures."""
    with tempfile.TemporaryDirectory() as home, chromium() as browser:
        cloud = LocalCloud(Path(home), free_ports(20))
        up(cloud, print)
        try:
            ...
        finally:
            down(cloud.home)


if __name__ == "__main__":
    main()
