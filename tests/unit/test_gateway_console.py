"""The console's pages over the pipeline in memory: rights, forms, and what an answer says."""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event
from types import MappingProxyType

import httpx
import pytest
from anyio import to_thread
from fastapi.testclient import TestClient

from services.client.report import LEARNT, UNSURE
from services.model.learnt import Learnt, photo_digest
from services.model.manifest import load_manifest
from services.model.registry import Pointer
from services.shared.catalogue_config import CatalogueConfig
from services.shared.events import Prediction, Product
from services.shared.keys import Role
from services.shared.layout import digest, photo_uri
from tests.unit.client_world import NOW, PipelineTables, World
from tests.unit.gateway_world import URL, Gateway
from tests.unit.memory_pipeline import BUCKET
from tests.unit.models import write_model
from tests.unit.photos import jpeg

type Fields = Mapping[str, str | list[str]]


def dear(folder: Path, world: World) -> Gateway:
    """A gateway where a photo costs 20 euros, and a job may cost one."""
    prices = '{"currency": "EUR", "gpu_second": 1000}'
    return Gateway(folder, world, VITRINE_PRICES=prices, VITRINE_COST_LIMIT="1")


def product(product_id: str, article_type: str) -> Product:
    return Product.of(product_id, article_type=article_type, display_name=f"Number {product_id}", year=2016)


@pytest.fixture
def world() -> World:
    """Two light photos, a light one that the catalogue calls dark, a dark one, and a broken one."""
    types = ("Light", "Light", "Dark", "Dark", "Light")
    world = World([product(str(number), name) for number, name in enumerate(types, start=1)])
    photos = (jpeg(250), jpeg(240), jpeg(245), jpeg(5), b"no photo")
    for number, photo in enumerate(photos, start=1):
        world.objects.memory.put(photo_uri(BUCKET, str(number)), photo)
    return world


@pytest.fixture
def gateway(tmp_path: Path, world: World) -> Gateway:
    return Gateway(tmp_path, world)


class Person:
    """Somebody at a browser, who has signed in with the key of a role."""

    def __init__(self, gateway: Gateway, role: Role) -> None:
        self.browser = TestClient(gateway.app, URL, headers={"Accept": "text/html"}, follow_redirects=False)
        self._gateway = gateway
        signed_in = self.browser.post(
            "/sign-in", data={"api_key": gateway.secrets[role]}, headers={"Origin": URL}
        )
        assert signed_in.status_code == 303

    def get(self, path: str, status: int = 200) -> str:
        answer = self.browser.get(path)
        assert answer.status_code == status, answer.text
        return str(answer.text)

    def post(self, path: str, fields: Fields = MappingProxyType({}), status: int = 303) -> str:
        """Sends a form; the page that answers, or the address that it leads to."""
        token = re.search('name="csrf_token" value="([0-9a-f]+)"', self.get("/jobs"))
        assert token
        answer = self.browser.post(path, data={"csrf_token": token[1], **fields}, headers={"Origin": URL})
        assert answer.status_code == status, answer.text
        return str(answer.headers["location"] if status == 303 else answer.text)

    def run(self, job_id: str = "spring", fields: Fields = MappingProxyType({})) -> str:
        """Starts a job by the form, and lets it come to its end."""
        assert self.post("/jobs", {"job_id": job_id, **fields}) == f"/jobs/{job_id}"
        self._gateway.world.pipeline.run()
        return job_id


def error_of(page: str, field: str) -> str:
    """What stands beside a field, which says by its attributes that it is wrong and where that is said."""
    assert re.search(rf'id="{field}"[^>]*aria-describedby="{field}-error[^>]*aria-invalid="true"', page), page
    said = re.search(rf'<p class="error" id="{field}-error">(.*?)</p>', page)
    assert said
    return said[1]


# ------------------------------------------------------------------------------------- who may what


def test_a_stranger_is_led_to_the_sign_in_page_and_then_to_where_they_wanted(gateway: Gateway) -> None:
    client = TestClient(gateway.app, URL, headers={"Accept": "text/html"}, follow_redirects=False)
    answer = client.get("/check?job=spring")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2Fcheck%3Fjob%3Dspring")
    page = client.get(answer.headers["location"]).text
    assert 'name="next" value="/check?job=spring"' in page


def test_a_wrong_key_is_refused_beside_its_field(gateway: Gateway) -> None:
    client = TestClient(gateway.app, URL, headers={"Accept": "text/html", "Origin": URL})
    answer = client.post("/sign-in", data={"api_key": "vtr_000000000000_wrong"})
    assert answer.status_code == 401
    assert "not known" in error_of(answer.text, "api_key")
    assert "set-cookie" not in answer.headers


# Method, path, and the role that is asked for by the least.
CHANGES: Mapping[str, Role] = {
    "/jobs": "operator",
    "/jobs/estimate": "operator",
    "/jobs/spring/cancel": "operator",
    "/jobs/spring/retry": "operator",
    "/jobs/spring/classify": "operator",
    "/check": "reviewer",
    "/upload": "operator",
    "/models/7/promote": "admin",
    "/models/rollback": "admin",
    "/rejected/1/replay": "operator",
}


@pytest.mark.parametrize(("path", "role"), CHANGES.items())
def test_what_changes_something_is_for_those_who_may(gateway: Gateway, path: str, role: Role) -> None:
    others: tuple[Role, ...] = ("viewer", "operator", "reviewer")
    for other in others:
        if other == role:
            continue
        assert "Forbidden" in Person(gateway, other).post(path, status=403)
    assert gateway.world.pipeline.warehouse.tables.get("labels") is None


@pytest.mark.parametrize("path", ["/jobs/spring/cancel", "/check", "/upload", "/models/rollback", "/jobs"])
def test_a_form_of_another_site_changes_nothing(gateway: Gateway, path: str) -> None:
    person = Person(gateway, "admin")
    answer = person.browser.post(path, headers={"Origin": URL})
    assert answer.status_code == 403


def test_a_viewer_sees_everything_and_no_button(gateway: Gateway) -> None:
    Person(gateway, "operator").run()
    viewer = Person(gateway, "viewer")
    for path in ("/jobs", "/jobs/spring", "/check", "/corrections", "/quality", "/models", "/rejected"):
        page = viewer.get(path)
        assert re.findall('<form[^>]* method="post"[^>]*action="([^"]*)"', page) == ["/sign-out"], path
    assert "Forbidden" in viewer.get("/jobs/new", status=403)
    assert "Forbidden" in viewer.get("/upload", status=403)


# ------------------------------------------------------------------------------------- a new job


def test_the_form_has_the_values_of_the_catalogue(gateway: Gateway) -> None:
    page = Person(gateway, "operator").get("/jobs/new")
    for value, products in (("Light", 3), ("Dark", 2)):
        assert re.search(
            rf'name="article_type" value="{value}"> <span>{value}</span> <span class="count">{products}<',
            page,
        )
    assert '<option value="2016">' in page


# What is written, beside which field something is said, and what.
WRONG: Sequence[tuple[Mapping[str, str], str | None, str]] = [
    ({"limit": "0"}, "limit", "Write a whole number from 1 to 1,000,000,000."),
    ({"limit": "many"}, "limit", "Write a whole number from 1 to 1,000,000,000."),
    ({"start_year": "16"}, "start_year", "Write a year from 1900 to 2100."),
    ({"start_year": "2016", "end_year": "2015"}, "end_year", "This year is before the first one."),
    ({"classify": "both"}, "classify", "There are no variants to classify"),
    ({"copies": "2"}, None, "Say what a variant is"),
    ({"copies": "11", "rotation": "5"}, "copies", "Write a whole number from 1 to 10."),
    ({"crop_min": "40"}, "crop_max", "Write both heights, or none."),
    ({"crop_min": "40", "crop_max": "30"}, "crop_max", "The second height must not be below the first."),
    ({"resize_height": "40"}, "resize_width", "Write both width and height, or none."),
    ({"resize_width": "4000", "resize_height": "4"}, "resize_width", "from 1 to 2,048"),
    ({"rotation": "200"}, "rotation", "Write a number from 0 to 180."),
    ({"rotation": "nan"}, "rotation", "Write a number from 0 to 180."),
    ({"blur": "-1"}, "blur", "Write a number from 0 to 20."),
    ({"flip": "101"}, "flip", "Write a number from 0 to 100."),
    ({"job_id": "Spring check"}, "job_id", "Use 2 to 63 lower-case letters"),
    ({"model": "99"}, "model", "not served"),
]  # fmt: skip


def test_what_is_wrong_is_said_beside_its_field_and_nothing_is_lost(gateway: Gateway) -> None:
    person = Person(gateway, "operator")
    for fields, field, said in WRONG:
        page = person.post("/jobs", {"article_type": ["Dark"], "brightness": "", **fields}, status=422)
        if field is not None:
            assert said in error_of(page, field)
        assert said in page
        assert "Nothing was started" in page
        assert re.search('value="Dark" checked', page)
        for name, value in fields.items():
            if name not in ("classify", "model"):
                assert f'name="{name}" type="text" value="{value}"' in page
    assert gateway.world.vitrine.jobs().jobs == ()


def test_a_name_that_is_taken_is_said_beside_the_name(gateway: Gateway) -> None:
    person = Person(gateway, "operator")
    person.run("spring", {"limit": "1"})
    assert "Another job has this name" in error_of(
        person.post("/jobs", {"job_id": "spring", "limit": "2"}, status=422), "job_id"
    )


def test_a_job_is_what_the_form_says(gateway: Gateway) -> None:
    person = Person(gateway, "operator")
    fields = {
        **{"start_year": "2016", "limit": "3", "classify": "both", "copies": "2", "flip": "50", "blur": "1"},
        **{"crop_min": "4", "crop_max": "6", "resize_width": "8", "resize_height": "9"},
        **{"rotation": "12,5", "brightness": "10"},
    }
    person.run("spring", {"article_type": ["Light", "Dark"], **fields})
    (job,) = gateway.world.vitrine.jobs().jobs
    asked = job.manifest.request.model_dump(exclude_defaults=True)
    assert asked == {
        "job_id": "spring",
        "article_type": ("Light", "Dark"),
        "start_year": 2016,
        "limit": 3,
        "classify": "both",
        "augmentation": {
            "copies": 2,
            "cropping": {"height": {"min": 4, "max": 6}},
            "resize": {"width": 8, "height": 9},
            "flip": {"horizontal": 0.5},
            "rotation": {"degrees": 12.5},
            "colour_jitter": {"brightness": 0.1},
            "blur": {"radius": 1.0},
        },
    }


def test_the_form_has_the_attributes_of_an_own_catalogue(tmp_path: Path) -> None:
    attributes = {
        "colour": {},
        "sizes": {"type": "values"},
        "price": {"type": "number"},
        "listed": {"type": "date"},
    }
    config = CatalogueConfig.model_validate({"id": "sku", "attributes": attributes})
    products = [
        Product.of("1", colour="Red", sizes=["S", "M"], price="9.90", listed="2026-03-31"),
        Product.of("2", colour="Blue", sizes=["M"], price="10", listed="2026-01-01"),
    ]
    gateway = Gateway(tmp_path, World(products, config=config))
    person = Person(gateway, "operator")
    page = person.get("/jobs/new")
    assert 'name="filters.sizes" value="M"> <span>M</span> <span class="count">2<' in page
    assert "start_year" not in page

    wrong = {"filters.price.from": "cheap", "filters.listed.to": "31.3.2026"}
    page = person.post("/jobs", wrong, status=422)
    assert "Write a number." in error_of(page, "filters.price.from")
    assert "Write a date such as 2026-03-31." in error_of(page, "filters.listed.to")
    page = person.post("/jobs", {"filters.price.from": "2", "filters.price.to": "1"}, status=422)
    assert "Must not be before `from`, which is 2." in error_of(page, "filters.price.to")
    page = person.post("/jobs", {"filters.colour": ["Rde"]}, status=422)
    assert re.search(r'id="filters\.colour-error">No product has .+Rde.+; did you mean .+Red.+\?', page)

    person.run("spring", {"filters.sizes": ["S", "M"], "filters.price.from": "9,95"})
    (job,) = gateway.world.vitrine.jobs().jobs
    assert job.manifest.images == 1
    assert {name: str(each) for name, each in job.manifest.request.conditions.items()} == {
        "sizes": "S, M",
        "price": "9.95\N{EN DASH}",
    }


def test_a_form_that_is_sent_twice_starts_one_job(gateway: Gateway) -> None:
    person = Person(gateway, "operator")
    keys = [re.search('name="key" value="([0-9a-f]+)"', person.get("/jobs/new")) for _ in range(2)]
    assert keys[0]
    assert keys[1]
    fields = {"limit": "1", "key": keys[0][1]}
    job = person.post("/jobs", fields)
    assert person.post("/jobs", fields) == job
    assert person.post("/jobs", {**fields, "limit": "2"}) != job
    assert person.post("/jobs", {**fields, "key": keys[1][1]}) != job


@pytest.mark.parametrize(
    "path",
    [
        *("/jobs/a%00b", "/jobs/a%00b/progress", "/jobs?after=%00", "/jobs/spring?label=article_type:a%00b"),
        *(
            "/check?job=a%00b",
            "/check?head=%00",
            "/corrections?job=%00",
            "/quality?job=%00",
            "/quality?head=%00",
            "/rejected?job=%00",
        ),
    ],
)
def test_what_the_api_does_not_take_the_console_does_not_either(gateway: Gateway, path: str) -> None:
    person = Person(gateway, "admin")
    person.run()
    person.get(path, status=422)


@pytest.mark.parametrize(
    "wrong",
    [
        {"product_id": ""},
        {"product_id": " 3"},
        {"product_id": "3\x00"},
        {"product_id": "3" * 201},
        {"label": "a\x00b"},
        {"head": "a\x00"},
        {"job_id": "a\x00b"},
    ],
)
def test_a_judgement_of_what_cannot_be_is_refused(gateway: Gateway, wrong: Fields) -> None:
    person = Person(gateway, "admin")
    person.run()
    asked = {
        "job_id": "spring",
        "product_id": "3",
        "head": "article_type",
        "verdict": "corrected",
        "label": "Dusk",
    }
    person.post("/check", {**asked, **wrong}, status=422)


def test_photos_of_a_job_that_are_not_stored_any_more_are_not_found(gateway: Gateway) -> None:
    person = Person(gateway, "operator")
    person.run("spring", {"classify": "none"})
    memory = gateway.world.objects.memory
    for uri in memory.names(f"gs://{BUCKET}/jobs/spring/metadata/"):
        del memory._objects[uri]
    assert "not stored any more" in person.get("/jobs/spring", status=404)


def test_the_estimate_says_how_many_photos_and_at_what_cost(tmp_path: Path, world: World) -> None:
    person = Person(dear(tmp_path, world), "operator")
    said = person.post("/jobs/estimate", {"article_type": ["Light"]}, status=200)
    assert "<strong>3 photos</strong>" in said
    assert "EUR" in said
    assert "<html" not in said
    assert "No product matches" in person.post("/jobs/estimate", {"start_year": ["2017"]}, status=200)
    said = person.post("/jobs/estimate", {"article_type": ["Neither"]}, status=200)
    assert "No product has &#39;Neither&#39;" in said


def test_the_console_is_audited_as_the_api(gateway: Gateway) -> None:
    person = Person(gateway, "admin")
    person.post("/jobs", {"job_id": "spring", "do": "estimate"}, status=200)
    person.run()
    person.post("/jobs/spring/retry")
    person.post(
        "/check", {"job_id": "spring", "product_id": "3", "head": "article_type", "verdict": "accepted"}
    )
    said = [(entry["action"], entry["subject"]) for entry in gateway.audit()]
    (label,) = gateway.world.tables.labels("spring", 10)
    assert said[1:] == [
        ("job.create", "spring"),
        ("job.retry", "spring-r1"),
        ("label.create", label.label_id),
    ]


def test_a_job_that_was_looked_for_too_early_is_there_once_it_was_asked_for(gateway: Gateway) -> None:
    person = Person(gateway, "operator")
    person.get("/jobs/spring", status=404)
    person.get(person.post("/jobs", {"job_id": "spring"}))


def test_a_job_over_the_limit_of_cost_starts_once_that_is_confirmed(tmp_path: Path, world: World) -> None:
    person = Person(dear(tmp_path, world), "operator")
    page = person.post("/jobs", {"job_id": "dear"}, status=422)
    assert "Tick the box" in error_of(page, "confirm")
    assert world.vitrine.jobs().jobs == ()
    confirm = re.search('name="confirm" value="([0-9.]+)"', page)
    assert confirm
    person.run("dear", {"confirm": confirm[1]})


def test_what_follows_a_dear_job_is_confirmed_too(tmp_path: Path, world: World) -> None:
    person = Person(dear(tmp_path, world), "operator")
    person.run("spring", {"classify": "none", "confirm": "1"})
    page = person.post("/jobs/spring/classify", {"classify": "originals"}, status=422)
    assert "Tick the box" in error_of(page, "confirm")
    assert 'name="classify" value="originals"' in page
    assert person.post("/jobs/spring/classify", {"confirm": "1"}) == "/jobs/spring-originals"
    person.run("autumn", {"confirm": "1"})
    assert "What it costs" in person.post("/jobs/autumn/retry", status=422)


# ------------------------------------------------------------------------------------- a job


def test_a_job_shows_its_errors_and_what_they_mean(gateway: Gateway) -> None:
    person = Person(gateway, "operator")
    page = person.get(f"/jobs/{person.run()}")
    assert "photo-not-an-image" in page
    assert "The file is not an image at all" in page
    assert "4 predictions" in page


def test_the_progress_asks_again_until_the_job_has_ended(gateway: Gateway) -> None:
    person = Person(gateway, "operator")
    person.post("/jobs", {"job_id": "spring"})
    waiting = person.browser.get("/jobs/spring/progress")
    assert "hx-trigger" in waiting.text
    assert "hx-trigger" not in waiting.headers
    gateway.world.pipeline.run()
    gateway.app.state.board().forget("spring")
    ended = person.browser.get("/jobs/spring/progress")
    assert "hx-trigger" not in ended.text
    assert ended.headers["hx-trigger"] == "job-ended"


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", [3, 5, 1, 2, 4]),
        ("?show=disagreements", [3]),
        ("?show=errors", [5]),
        ("?label=article_type:Light", [3, 1, 2]),
        ("?label=article_type:Neither", []),
    ],
)
def test_the_gallery_shows_what_is_asked_for(gateway: Gateway, query: str, shown: list[int]) -> None:
    person = Person(gateway, "operator")
    page = person.get(f"/jobs/{person.run()}{query}")
    assert [int(number) for number in re.findall("<h3>Number ([0-9])</h3>", page)] == shown


def test_variants_stand_beside_their_original_classified_or_only_prepared(gateway: Gateway) -> None:
    person = Person(gateway, "operator")
    for classify in ("both", "originals", "none"):
        fields = {"rotation": "5", "copies": "2", "article_type": "Dark", "classify": classify}
        page = person.get(f"/jobs/{person.run(f'job-{classify}', fields)}")
        for number in (3, 4):
            photo = f"/v1/jobs/job-{classify}/photos/{number}?side=320"
            shown = re.findall(r'<img src="([^"]*)"', page)
            assert [photo, f"{photo}&amp;variant=augmented-0", f"{photo}&amp;variant=augmented-1"] == [
                source for source in shown if f"/photos/{number}?" in source
            ]
    assert "Classify now" in page


def test_a_photo_that_could_not_be_prepared_says_why(tmp_path: Path) -> None:
    person = Person(Gateway(tmp_path, World([product("6", "Light")])), "operator")
    page = person.get(f"/jobs/{person.run('spring', {'classify': 'none'})}")
    assert re.search("Number 6.*?there is no photo of it", page, re.DOTALL)


def test_a_job_that_nobody_asked_for_is_not_found(gateway: Gateway) -> None:
    assert "Job not found" in Person(gateway, "viewer").get("/jobs/nothing", status=404)


# ------------------------------------------------------------------------------------- the others


def test_a_correction_to_what_the_model_says_is_refused_beside_its_field(gateway: Gateway) -> None:
    person = Person(gateway, "admin")
    person.run()
    asked = {"job_id": "spring", "product_id": "3", "head": "article_type", "job": "spring"}
    page = person.post("/check", {"verdict": "corrected", "label": "Light", **asked}, status=422)
    assert "accept it" in error_of(page, f"label-{digest('spring', '3', 'article_type')}")
    assert person.post("/check", {"verdict": "corrected", "label": "Dusk", **asked}).startswith(
        "/check?job=spring"
    )
    (label,) = gateway.world.tables.labels("spring", 10)
    assert (label.label, label.predicted, label.judged_by) == ("Dusk", "Light", "key:admin")
    assert "Nothing to check" in person.get("/check?job=spring")


def test_corrections_are_listed_with_their_exports(gateway: Gateway, world: World) -> None:
    person = Person(gateway, "admin")
    person.run()
    assert "No corrections yet" in person.get("/corrections")
    for number, label in (("3", "Dusk"), ("4", "Da/w/n/<b>"), ("1", "Dim")):
        verdict = {"job_id": "spring", "product_id": number, "head": "article_type", "verdict": "corrected"}
        person.post("/check", verdict | {"label": label})
    world.tables.merge_products([product("1", "Dawn")])
    viewer = Person(gateway, "viewer")
    page = viewer.get("/corrections?job=spring")
    assert re.search("<dt>Pending</dt><dd>2</dd>.*<dt>Changed since</dt><dd>1</dd>", page, re.DOTALL)
    for number, before, after in (
        ("3", "Dark", "Dusk"),
        ("4", "Dark", "Da/w/n/&lt;b&gt;"),
        ("1", "Light", "Dim"),
    ):
        row = re.search(rf'<th scope="row">{number}<.*?</tr>', page, re.DOTALL)
        assert row
        assert f"<td>{before}</td>" in row[0]
        assert f"<td>{after}</td>" in row[0]
        assert "key:admin" in row[0]
        assert ("Not exported: the catalogue said" in row[0]) == (number == "1")
    links = re.findall('<a class="button" href="(/v1/corrections[^"]*)"', page)
    assert len(links) == 3
    for link in links:
        assert "Dusk" in viewer.get(link.replace("&amp;", "&"))


def test_corrections_come_in_pages(gateway: Gateway, world: World) -> None:
    person = Person(gateway, "admin")
    person.run()
    (judged,) = world.tables.results("spring", 1)
    for number in range(51):
        label = world.vitrine.judge(judged, "article_type", "corrected", label=f"Dim {number}", by="me")
        world.tables.add_label(label.model_copy(update={"product_id": f"p{number}"}))
    first, second = person.get("/corrections"), person.get("/corrections?page=2")
    assert 'href="/corrections?page=2"' in first
    shown = [len(re.findall('<th scope="row">', page)) for page in (first, second)]
    assert shown == [50, 2]


def shown_to_check(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'<h3 id="t-[^"]*">Number ([0-9])</h3>', page)]


def test_the_likeliest_mistakes_come_first_and_say_what_to_think_of_the_model(
    gateway: Gateway, world: World
) -> None:
    world.objects.memory.put(photo_uri(BUCKET, "1"), jpeg(120))
    world.pipeline.models.learnt["1"] = Learnt.of([photo_digest(jpeg(120))])
    person = Person(gateway, "reviewer")
    Person(gateway, "operator").run()
    page = person.get("/check?job=spring")
    assert shown_to_check(page) == [3, 1]
    first, second = page.split("<li id=")[1:]
    assert re.search(r"<dd>Dark <small>4 %</small></dd>", first)
    assert (UNSURE in first, LEARNT in first) == (False, False)
    assert re.search(r"<dd>Light <small>42 %</small></dd>", second)
    assert (UNSURE in second, LEARNT in second) == (True, True)
    assert shown_to_check(person.get("/check?job=spring&unsure=no")) == [3]
    page = person.get("/check?job=spring&unsure=yes")
    assert shown_to_check(page) == [1]
    assert '<option value="yes" selected>' in page
    verdict = {"job_id": "spring", "product_id": "1", "head": "article_type", "verdict": "accepted"}
    where = person.post("/check", verdict | {"job": "spring", "unsure_shown": "yes"})
    assert where == "/check?job=spring&head=&unsure=yes&done=judged"
    assert "Nothing to check" in person.get(where)
    gallery = Person(gateway, "viewer").get("/jobs/spring?show=disagreements")
    assert re.search(r"catalogue: Dark 4 %", gallery)
    assert gallery.count(LEARNT) == 1


def test_what_is_empty_says_what_to_do_next(gateway: Gateway) -> None:
    person = Person(gateway, "admin")
    for path, link in (
        ("/jobs", "/jobs/new"),
        ("/check", "/jobs/new"),
        ("/quality", "/jobs/new"),
        ("/rejected", "/jobs"),
    ):
        assert f'href="{link}"' in person.get(path), path
    person.run()
    assert "Nobody has judged photos of this job" in person.get(
        "/quality?job=spring&head=article_type&against=labels"
    )


def test_quality_says_which_attribute_is_not_to_be_relied_on(gateway: Gateway, tmp_path: Path) -> None:
    person = Person(gateway, "viewer")
    Person(gateway, "admin").run()
    answered = "/quality?job=spring&head=article_type"
    assert "Do not rely on" not in person.get(answered)
    warned = load_manifest(write_model(tmp_path, "1"))
    warned = warned.model_copy(
        update={"name": "fashion", "unreliable": {"article_type": "Of newer products 11 % are right."}}
    )
    gateway.world.objects.memory.put(
        f"gs://{BUCKET}/models/fashion/1/model.json", warned.model_dump_json().encode()
    )
    said = person.get(answered)
    assert "Do not rely on article type for new products." in said
    assert "Of newer products 11 % are right." in said


def test_an_upload_of_nothing_is_said_beside_the_field(gateway: Gateway) -> None:
    assert "Choose at least one photo" in error_of(
        Person(gateway, "operator").post("/upload", status=422), "photo"
    )


class Waiting(PipelineTables):
    """Tables where no upload is ever answered."""

    def __init__(self, world: World) -> None:
        super().__init__(world.pipeline)
        self.asked = Event()

    def prediction(self, prediction_id: str) -> Prediction | None:
        self.asked.set()
        return None


def test_whoever_waits_for_the_answer_to_an_upload_keeps_no_thread(gateway: Gateway, world: World) -> None:
    """Threads for handlers are few: here there is one."""
    world.vitrine.tables = waiting = Waiting(world)
    person = Person(gateway, "operator")
    token = re.search('name="csrf_token" value="([0-9a-f]+)"', person.get("/jobs"))
    assert token

    async def both() -> float:
        to_thread.current_default_thread_limiter().total_tokens = 1
        transport = httpx.ASGITransport(gateway.app)
        cookies = dict(person.browser.cookies)
        async with httpx.AsyncClient(transport=transport, base_url=URL, cookies=cookies) as client:
            upload = asyncio.create_task(
                client.post(
                    "/upload",
                    data={"csrf_token": token[1]},
                    files={"photo": ("any.jpg", jpeg())},
                    headers={"Origin": URL},
                )
            )
            while not waiting.asked.is_set():
                await asyncio.sleep(0.01)
            began = time.monotonic()
            assert (await client.get("/jobs")).status_code == 200
            assert (await client.get("/health")).status_code == 200
            took = time.monotonic() - began
            assert not upload.done()
            upload.cancel()
            return took

    assert asyncio.run(both()) < 10


def test_a_change_of_production_asks_why(gateway: Gateway) -> None:
    pointer = Pointer(name="fashion", version="8", previous="7", by="me", why="better", at=NOW)
    uri = f"gs://{BUCKET}/models/fashion/production.json"
    gateway.world.objects.memory.put(uri, pointer.model_dump_json().encode())
    person = Person(gateway, "admin")
    page = person.post("/models/rollback", {"why": "  "}, status=422)
    assert "Say why" in error_of(page, "why-rollback")
    assert person.post("/models/rollback", {"why": "worse"}) == "/models?done=rolled-back"
    stands = gateway.ports.registry.production()
    assert stands
    assert (stands.version, stands.by, stands.why) == ("7", "key:admin", "worse")


def test_what_people_write_is_shown_as_text(gateway: Gateway) -> None:
    page = Person(gateway, "operator").post("/jobs", {"limit": '"><script>alert(1)</script>'}, status=422)
    assert "<script>alert" not in page
