"""The console in a real browser, over the real pipeline."""

import json
import re
import shutil
from pathlib import Path
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import FilePayload, Locator, Page, Route, ViewportSize, expect

from services.gateway.console import ITEMS_A_PAGE
from services.local.cloud import LocalCloud
from services.model.manifest import DEFAULT_DIRECTORY, load_manifest, save_manifest
from services.model.registry import Registry
from services.shared.google_cloud import CloudObjects
from services.shared.layout import digest
from tests.browser.conftest import PATIENCE, Console, Shop
from tests.e2e.plain import Outsider, new_job, until

SHIPPED = load_manifest(DEFAULT_DIRECTORY)
PHONE = ViewportSize(width=360, height=740)


def choose(page: Page, column: str, value: str) -> None:
    """Ticks a value of a column in the form of a new job."""
    picks = page.locator(f"#{column}")
    picks.locator("summary").click()
    picks.get_by_role("checkbox", name=value).check()


def wait_until_done(page: Page, state: str = "completed") -> None:
    """Waits for a job's page to say so; nobody reloads it."""
    expect(page.locator("#progress .badge")).to_have_text(state, timeout=PATIENCE)


def await_photo(image: Locator) -> None:
    """Waits for a photo to have arrived, and to be one."""
    until(lambda: image.evaluate("img => img.naturalWidth"), "the photo to be there")


def labels_of(outside: Outsider, job_id: str) -> list[dict[str, object]]:
    sql = "SELECT * FROM `{dataset}.latest_labels` WHERE job_id = @job"
    return outside.query(sql, job=job_id)


# ------------------------------------------------------------------------------------- signing in


def test_somebody_signs_in_is_led_to_where_they_wanted_and_signs_out(console: Console, shop: Shop) -> None:
    page = console.open(role=None)
    page.goto(f"/jobs/{shop.job_id}")
    expect(page).to_have_title(re.compile("Sign in"))

    page.get_by_label("API key").fill("vtr_0123456789ab_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_label("API key")).to_have_accessible_description(re.compile("not known"))

    page.get_by_label("API key").fill(console.keys["viewer"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(shop.job_id)

    page.get_by_role("button", name="Sign out").click()
    page.goto("/jobs")
    expect(page).to_have_title(re.compile("Sign in"))


def test_a_viewer_sees_and_has_no_button_that_changes_anything(console: Console, shop: Shop) -> None:
    page = console.open("viewer")
    for path in (f"/jobs/{shop.job_id}", f"/check?job={shop.job_id}", "/models", "/rejected"):
        page.goto(path)
        expect(page.locator("form[method=post]")).to_have_count(1)  # signing out
        expect(page.locator("form[method=post] button")).to_have_text("Sign out")
    page.goto("/jobs/new")
    expect(page.get_by_role("heading", level=1)).to_have_text("Forbidden")


# ------------------------------------------------------------------------------------- jobs


def test_a_job_is_asked_for_watched_until_it_is_done_and_its_photos_are_looked_at(
    console: Console, shop: Shop
) -> None:
    page = console.open("operator")
    page.get_by_role("link", name="New job").click()
    choose(page, "usage", shop.usage)
    expect(page.locator("#estimate")).to_contain_text(
        re.compile(r"\d+ photos, less than 0.01 USD"), timeout=PATIENCE
    )
    page.get_by_label("At most", exact=True).fill("5")
    expect(page.locator("#estimate")).to_contain_text("5 photos", timeout=PATIENCE)
    page.get_by_label("At most", exact=True).fill("")
    job_id = new_job()
    page.get_by_label("Name", exact=True).fill(job_id)
    page.get_by_role("button", name="Start").click()

    expect(page.get_by_role("heading", level=1)).to_have_text(job_id)
    wait_until_done(page)
    # The photos come by themselves.
    photo = page.locator("#gallery .photo img").first
    expect(photo).to_be_visible(timeout=PATIENCE)
    await_photo(photo)
    expect(page.locator("#progress")).to_contain_text("photo-corrupt")

    count = page.locator("#gallery [role=status]")
    everything = count.inner_text()
    page.get_by_label("Show").select_option("only disagreements")
    expect(count).not_to_have_text(everything, timeout=PATIENCE)
    disagreements = page.locator("#gallery .gallery > li")
    expect(disagreements).to_have_count(int(count.inner_text().split()[0]))
    for item in disagreements.all():
        expect(item.locator(".mark").first).to_contain_text("catalogue:")
    page.get_by_label("Show").select_option("only errors")
    expect(count).to_have_text("1 result", timeout=PATIENCE)
    expect(page.locator("#gallery .gallery")).to_contain_text("Harbour torn photo")
    page.get_by_label("Show").select_option("all")
    expect(count).to_have_text(everything, timeout=PATIENCE)
    page.get_by_label("Looks like").select_option("Trousers")
    expect(count).not_to_have_text(everything, timeout=PATIENCE)
    for best in page.locator("#gallery ul[aria-label='article type'] li:first-child").all():
        expect(best).to_contain_text("Trousers")
    assert "label=article_type" in page.url

    page.goto("/jobs")
    expect(page.locator("tbody tr", has_text=job_id)).to_contain_text("completed")


@pytest.mark.usefixtures("shop")
def test_what_is_wrong_in_a_form_stands_beside_its_field_and_what_was_typed_stays(console: Console) -> None:
    page = console.open("operator")
    page.goto("/jobs/new")
    page.get_by_label("From the year").fill("2016")
    page.get_by_label("To the year").fill("last")
    page.get_by_label("At most", exact=True).fill("0")
    page.get_by_role("radio", name="Make variants and classify both").check()
    page.get_by_role("button", name="Start").click()

    expect(page.get_by_role("alert")).to_contain_text("2 fields are not right yet")
    expect(page.get_by_label("To the year")).to_have_accessible_description(re.compile("Write a year"))
    expect(page.get_by_label("At most", exact=True)).to_have_accessible_description(
        re.compile("Write a whole number")
    )
    expect(page.get_by_label("From the year")).to_have_value("2016")
    expect(page.get_by_label("To the year")).to_have_value("last")
    expect(page.get_by_role("radio", name="Make variants and classify both")).to_be_checked()

    page.get_by_label("To the year").fill("2015")
    page.get_by_label("At most", exact=True).fill("10")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_label("To the year")).to_have_accessible_description(re.compile("before the first"))


def test_photos_are_prepared_now_and_classified_later_with_their_variants(
    console: Console, shop: Shop
) -> None:
    page = console.open("operator")
    page.goto("/jobs/new")
    choose(page, "usage", shop.usage)
    page.get_by_label("At most", exact=True).fill("6")
    page.get_by_role("radio", name="Only prepare them").check()
    page.locator("#augmentation summary").click()
    page.get_by_label("Mirror so many").fill("100")
    page.get_by_label("Turn by at most").fill("20")
    page.get_by_label("Variants of each photo").fill("2")
    page.get_by_role("button", name="Start").click()
    wait_until_done(page)
    variants = page.locator("#gallery .variants").first.locator("img")
    expect(variants).to_have_count(3, timeout=PATIENCE)
    for variant in variants.all():
        await_photo(variant)

    page.get_by_role("button", name="Classify now").click()
    expect(page.locator(".tags")).to_contain_text("what was prepared by")
    wait_until_done(page)
    expect(page.locator("#gallery .variants").first.locator(".labels").first).to_be_visible(timeout=PATIENCE)


def test_just_what_failed_is_tried_again_once_the_photo_is_there(
    console: Console, shop: Shop, outside: Outsider
) -> None:
    job_id = shop.job_id
    damaged = outside.bucket.blob(f"images/{shop.broken}.jpg").download_as_bytes()
    outside.bucket.blob(f"images/{shop.broken}.jpg").upload_from_string(shop.good_photo)
    try:
        page = console.open("operator")
        page.goto(f"/jobs/{job_id}")
        page.get_by_role("button", name="Retry what failed").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"{job_id}-r1")
        wait_until_done(page)
        expect(page.locator("#progress")).to_contain_text("1 product, 1 prediction, no errors")
    finally:
        outside.bucket.blob(f"images/{shop.broken}.jpg").upload_from_string(damaged)


def test_a_job_is_cancelled(console: Console, shop: Shop) -> None:
    page = console.open("operator")
    page.goto("/jobs/new")
    choose(page, "usage", shop.usage)
    page.get_by_label("At most", exact=True).fill("8")
    # Few, but so large that they are not done before somebody has pressed a button.
    page.locator("#augmentation summary").click()
    page.get_by_label("Resize to a width of").fill("2048")
    page.get_by_label("and a height of").fill("2048")
    page.get_by_label("Variants of each photo").fill("10")
    page.get_by_role("radio", name="Make variants and classify both").check()
    page.get_by_role("button", name="Start").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status").first).to_contain_text("asked to end")
    expect(page.locator("#progress .badge")).to_have_text("cancelled", timeout=PATIENCE)


# ------------------------------------------------------------------------------------- disagreements


def test_a_label_is_corrected_by_a_key_and_stands_in_bigquery(
    console: Console, shop: Shop, outside: Outsider
) -> None:
    job_id = new_job()
    outside.publish({"job_id": job_id, "usage": shop.usage})
    outside.completed(job_id)
    page = console.open("reviewer")
    page.goto(f"/check?job={job_id}&head=article_type")
    left = int(page.locator("#left").inner_text())
    assert left >= 3
    here = page.locator(".review > li.here")

    first = here.get_attribute("id")
    page.keyboard.press("c")
    page.keyboard.type("Ponchos")
    page.keyboard.press("Enter")
    expect(here).not_to_have_attribute("id", first or "")
    expect(page.locator("#announce")).to_contain_text("it is Ponchos. Next: The catalogue says")
    expect(page.locator("#left")).to_have_text(str(left - 1))
    page.keyboard.press("a")
    expect(page.locator("#left")).to_have_text(str(left - 2))
    page.keyboard.press("d")
    expect(page.locator("#left")).to_have_text(str(left - 3))

    until(lambda: len(labels_of(outside, job_id)) == 3, "three verdicts")
    rows = labels_of(outside, job_id)
    said = {row["verdict"]: row for row in rows}
    assert said["corrected"]["label"] == "Ponchos"
    assert f"d-{digest(job_id, said['corrected']['product_id'], 'article_type')}" == first
    assert said["accepted"]["label"] == said["accepted"]["predicted"]
    assert said["dismissed"]["label"] is None
    assert {row["judged_by"] for row in rows} == {"key:browser-reviewer"}

    # What is judged is not asked again, and one may go back to it as long as it is on the page.
    page.keyboard.press("k")
    expect(here.locator(".judged")).to_contain_text("You said")
    page.reload()
    expect(page.locator("#left")).to_have_text(str(left - 3))
    expect(page.locator(f"#{first}")).to_have_count(0)

    page.goto(f"/quality?job={job_id}&head=article_type&against=labels")
    expect(page.locator(".facts")).to_contain_text("left out")


def test_keys_do_nothing_where_they_are_switched_off(console: Console, shop: Shop) -> None:
    page = console.open("reviewer")
    page.goto(f"/check?job={shop.job_id}")
    left = page.locator("#left").inner_text()
    page.get_by_label("use keys").uncheck()
    page.keyboard.press("d")
    page.reload()
    expect(page.locator("#left")).to_have_text(left)
    expect(page.get_by_label("use keys")).not_to_be_checked()


def test_a_verdict_that_could_not_be_kept_comes_back_with_the_reason(console: Console, shop: Shop) -> None:
    page = console.open("reviewer")
    page.goto(f"/check?job={shop.job_id}")
    left = page.locator("#left").inner_text()
    here = page.locator(".review > li.here")
    looks_like = here.locator(".photo-says dd").inner_text().rsplit(" ", 2)[0]
    here.get_by_label("No, it is").fill(looks_like)
    here.get_by_role("button", name="Correct").click()
    expect(here.locator(".judged")).to_contain_text("Not kept")
    expect(page.locator("#left")).to_have_text(left)


# ------------------------------------------------------------------------------------- the other pages


def test_photos_are_chosen_or_dropped_and_answered(console: Console, shop: Shop) -> None:
    page = console.open("operator")
    page.goto("/upload")
    page.get_by_label("Choose photos").set_input_files(
        [
            FilePayload(name="shirt.jpg", mimeType="image/jpeg", buffer=shop.good_photo),
            FilePayload(name="torn.jpg", mimeType="image/jpeg", buffer=shop.good_photo[:300]),
        ]
    )
    page.get_by_role("button", name="Classify").click()
    answers = page.locator("#answers > li")
    expect(answers.filter(has_text="torn.jpg").locator(".bad")).to_contain_text("damaged", timeout=PATIENCE)
    expect(answers.filter(has_text="shirt.jpg")).to_contain_text("Tshirts", timeout=PATIENCE)
    expect(page.locator("#announce")).to_contain_text("torn.jpg: The file is an image whose data is damaged")

    dropped = page.evaluate_handle(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "dropped.jpg", {type: "image/jpeg"}));
            return transfer;
        }""",
        list(shop.good_photo),
    )
    page.dispatch_event(".drop", "drop", {"dataTransfer": dropped})
    expect(answers.filter(has_text="dropped.jpg").locator(".labels").first).to_be_visible(timeout=PATIENCE)


def test_a_rejected_message_says_why_and_is_replayed(console: Console, shop: Shop, outside: Outsider) -> None:
    message_id = outside.publish(json.dumps({"limit": 0, "job_id": new_job()}).encode())
    job_id = f"job-{message_id}"
    outside.rejected(message_id)
    page = console.open("operator")
    page.goto(f"/rejected?job={job_id}")
    expect(page.locator(".reason")).to_contain_text("limit")
    page.get_by_text("The message", exact=True).click()
    expect(page.locator("pre")).to_contain_text('"limit": 0')
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_role("status").first).to_contain_text("published again")
    page.goto(f"/rejected?job={job_id}")
    expect(page.locator(".badge")).to_have_text("replayed")
    expect(page.get_by_role("button", name="Replay")).to_have_count(0)


def test_quality_shows_each_label_what_is_taken_for_what_and_how_calibrated_it_is(
    console: Console, shop: Shop
) -> None:
    page = console.open("viewer")
    page.goto(f"/quality?job={shop.job_id}")
    expect(page.get_by_role("row", name=re.compile("^Trousers")).first).to_contain_text("%")
    expect(page.locator(".matrix tbody tr").first.locator("td.right")).not_to_be_empty()
    expect(page.get_by_role("img", name=re.compile("How often the model is right"))).to_be_visible()
    assert page.locator(".plot .bin").count() >= 1


def test_a_version_is_promoted_with_a_reason_and_rolled_back(
    console: Console, cloud: LocalCloud, outside: Outsider, tmp_path: Path
) -> None:
    version = f"test-{uuid4().hex[:12]}"
    directory = shutil.copytree(DEFAULT_DIRECTORY, tmp_path / version)
    save_manifest(directory, SHIPPED.model_copy(update={"version": version}))
    registry = Registry(CloudObjects(outside.project), cloud.environment["VITRINE_BUCKET"], SHIPPED.name)
    registry.publish(directory)
    pointer = outside.bucket.blob(f"models/{SHIPPED.name}/production.json")
    try:
        page = console.open("admin")
        page.goto("/models")
        card = page.locator(f"#v-{version}")
        card.get_by_text("Put it in production").click()
        card.get_by_role("button", name="Promote").click()
        expect(card.get_by_label("Why")).to_have_accessible_description(re.compile("Say why"))
        card.get_by_label("Why").fill("better on shoes")
        card.get_by_role("button", name="Promote").click()
        expect(card.locator(".badge").first).to_have_text("in production")
        expect(page.locator("main")).to_contain_text("by key:browser-admin: “better on shoes”")
        assert json.loads(pointer.download_as_bytes())["version"] == version

        page.get_by_text("Roll back to").click()
        page.get_by_label("Why").first.fill("worse on belts")
        page.get_by_role("button", name="Roll back").click()
        expect(page.locator(f"#v-{SHIPPED.version} .badge").first).to_have_text("in production")
    finally:
        pointer.delete()


def test_the_evaluation_of_a_version_can_be_read_and_can_do_nothing(console: Console) -> None:
    page = console.open("viewer")
    answer = page.goto(f"/models/{SHIPPED.version}/evaluation")
    assert answer is not None
    assert answer.headers["content-security-policy"].startswith("sandbox;")
    expect(page.get_by_role("heading", level=1)).to_be_visible()


# ------------------------------------------------------------------------------------- for everybody


def pages_of(shop: Shop) -> list[str]:
    """The address of each page."""
    return [
        "/jobs",
        "/jobs/new",
        f"/jobs/{shop.job_id}",
        f"/check?job={shop.job_id}",
        "/corrections",
        f"/quality?job={shop.job_id}",
        f"/quality?job={shop.job_id}&against=labels",
        "/upload",
        "/models",
        "/rejected",
        "/events",
        "/no-such-page",
    ]


def test_everything_can_be_read_and_done_without_javascript(
    console: Console, shop: Shop, outside: Outsider
) -> None:
    page = console.open("admin", java_script_enabled=False)
    for path in pages_of(shop):
        page.goto(path)
        expect(page.locator("main")).to_be_visible()
    page.goto(f"/jobs/{shop.job_id}")
    expect(page.locator("#gallery .labels").first).to_be_visible()
    page.goto("/jobs/new")
    page.get_by_label("At most", exact=True).fill("3")
    page.get_by_role("button", name="Estimate").click()
    expect(page.locator("#estimate")).to_contain_text("3 photos", timeout=PATIENCE)
    page.goto(f"/check?job={shop.job_id}")
    items = page.locator(".review > li")
    assert items.count() > 1
    expect(items.nth(1)).to_be_visible()
    left = int(page.locator("#left").inner_text())
    items.first.get_by_role("button", name="Cannot be told").click()
    expect(page.get_by_role("status").first).to_contain_text("Kept")
    expect(page.locator("#left")).to_have_text(str(left - 1))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_a_phone(
    console: Console, shop: Shop, scheme: str
) -> None:
    # Its script is put into the page, which the page's own policy forbids.
    page = console.open("admin", bypass_csp=True, color_scheme=scheme)
    whole = page.viewport_size
    assert whole
    # All but the colours is the same in the dark.
    options = {"resultTypes": ["violations"]} | ({"runOnly": ["color-contrast"]} if scheme == "dark" else {})

    def offences() -> list[str]:
        found = Axe().run(page, options=options).response["violations"]
        return [
            f"{page.url} {each['id']}: {node['html'][:200]}"
            for each in found
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]

    seen = []
    for path in pages_of(shop):
        page.goto(path)
        page.wait_for_load_state("networkidle")
        seen += offences()
        if scheme == "light":
            page.set_viewport_size(PHONE)
            width = page.evaluate("document.documentElement.scrollWidth")
            seen += [f"{path} is {width} pixels wide"] if width > PHONE["width"] else []
            page.set_viewport_size(whole)
    page.goto("/jobs/new")
    page.get_by_label("At most", exact=True).fill("none")
    page.locator("#augmentation summary").click()
    page.get_by_role("button", name="Start").click()
    seen += offences()
    page.get_by_role("button", name="Sign out").click()
    seen += offences()
    assert seen == []


def test_everything_can_be_reached_by_the_keyboard(console: Console, shop: Shop) -> None:
    page = console.open("viewer")
    page.goto(f"/jobs/{shop.job_id}")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    focused = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert focused == "solid"


def test_somebody_faster_than_the_network_gets_the_next_ones_too(
    console: Console, shop: Shop, outside: Outsider
) -> None:
    usage, _ = outside.add_products([shop.good_photo] * (ITEMS_A_PAGE + 4), article_type="Watches")
    job_id = new_job()
    outside.publish({"job_id": job_id, "usage": usage})
    outside.completed(job_id)
    page = console.open("reviewer")
    page.goto(f"/check?job={job_id}&head=article_type")
    left = int(page.locator("#left").inner_text())
    assert left == ITEMS_A_PAGE + 4
    verdicts: list[Route] = []
    page.route("**/check", lambda route: verdicts.append(route))
    for judged in range(1, ITEMS_A_PAGE + 1):
        page.keyboard.press("d")
        expect(page.locator("#left")).to_have_text(str(left - judged))
    expect(page.locator("#announce")).to_contain_text("The next ones are on their way")
    page.keyboard.press("a")  # meant for the next one
    assert len(verdicts) == ITEMS_A_PAGE
    for verdict in verdicts:
        verdict.continue_()
    expect(page.locator(".review > li")).to_have_count(left, timeout=PATIENCE)


def test_the_next_ones_are_there_before_the_last_is_judged(console: Console, shop: Shop) -> None:
    page = console.open("reviewer")
    page.goto(f"/check?job={shop.job_id}")
    left = int(page.locator("#left").inner_text())
    assert left > ITEMS_A_PAGE
    expect(page.locator(".review > li")).to_have_count(ITEMS_A_PAGE)
    waiting_to_be_judged = page.locator(".review > li.here:not([data-verdict])")
    for judged in range(1, left + 1):
        expect(waiting_to_be_judged).to_be_visible(timeout=PATIENCE)
        page.keyboard.press("d")
        expect(page.locator("#left")).to_have_text(str(left - judged), timeout=PATIENCE)
        if judged == ITEMS_A_PAGE - 1:
            expect(page.locator(".review > li").nth(ITEMS_A_PAGE)).to_be_attached(timeout=PATIENCE)
    expect(page.locator(".review > li")).to_have_count(left)
    expect(page.locator("#announce")).to_contain_text("That was the last one", timeout=PATIENCE)
    page.wait_for_load_state("networkidle")
    page.reload()
    expect(page.get_by_role("heading", name="Nothing to check")).to_be_visible()
