import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from services.client.errors import ClientError
from services.client.target import EMULATOR_VARIABLES, Names, Target, resolve
from services.shared.catalogue_config import bundled_config

LOCAL = {
    "PUBSUB_EMULATOR_HOST": "127.0.0.1:18080",
    "STORAGE_EMULATOR_HOST": "http://127.0.0.1:18081",
    "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:18082",
    "BIGQUERY_STORAGE_EMULATOR_HOST": "127.0.0.1:18083",
    "GOOGLE_CLOUD_PROJECT": "vitrine-local",
    "VITRINE_UPLOAD_BUCKET": "vitrine-local-uploads",
    "VITRINE_BUCKET": "vitrine-local",
    "VITRINE_DATASET": "vitrine",
}
EMULATORS = {name: LOCAL[name] for name in EMULATOR_VARIABLES}
LOCAL_TARGET = Target("vitrine-local", "vitrine-local", "vitrine-local-uploads", "vitrine", EMULATORS)


def nothing() -> None:
    return None


def local() -> Mapping[str, str]:
    return LOCAL


def test_a_project_has_names_that_derive_from_its_own() -> None:
    target = resolve(Names(project="shop"), {}, nothing)
    assert target == Target("shop", "shop-vitrine", "shop-vitrine-uploads", "vitrine")


def test_options_come_before_the_environment() -> None:
    environment = {"VITRINE_BUCKET": "b", "VITRINE_UPLOAD_BUCKET": "u", "VITRINE_DATASET": "d"}
    assert resolve(Names(project="shop"), environment, nothing) == Target("shop", "b", "u", "d")
    names = Names(project="shop", bucket="B", upload_bucket="U", dataset="D")
    assert resolve(names, environment, nothing) == Target("shop", "B", "U", "D")


def test_a_project_is_not_mistaken_for_the_local_cloud() -> None:
    target = resolve(Names(project="shop"), LOCAL, local)
    assert target == Target("shop", "shop-vitrine", "shop-vitrine-uploads", "vitrine")


def test_the_local_cloud_that_runs_is_the_target() -> None:
    assert resolve(Names(), {}, local) == LOCAL_TARGET
    assert resolve(Names(), {"PUBSUB_EMULATOR_HOST": "elsewhere:1"}, local) == LOCAL_TARGET


def test_emulators_of_the_environment_are_the_target_where_no_local_cloud_runs() -> None:
    assert resolve(Names(), LOCAL, nothing) == LOCAL_TARGET


def test_emulators_that_are_not_all_named_are_refused() -> None:
    environment = {"PUBSUB_EMULATOR_HOST": "127.0.0.1:1", "STORAGE_EMULATOR_HOST": "http://127.0.0.1:2"}
    with pytest.raises(ClientError, match="not BIGQUERY_EMULATOR_HOST"):
        resolve(Names(), environment, nothing)


def test_without_anything_to_connect_to_the_way_out_is_named() -> None:
    with pytest.raises(ClientError, match=r"`vitrine up`.*--project"):
        resolve(Names(), {}, nothing)


@pytest.fixture
def environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.usefixtures("environment")
def test_a_project_on_google_cloud_takes_the_emulators_out_of_the_environment() -> None:
    os.environ.update(LOCAL)
    Target("shop", "b", "u", "d").activate()
    assert not set(EMULATOR_VARIABLES) & set(os.environ)
    assert os.environ["GOOGLE_CLOUD_PROJECT"] == "shop"


@pytest.mark.usefixtures("environment")
def test_an_emulator_that_answers_is_connected_to_and_one_that_does_not_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        Target("p", "b", "u", "d", {"PUBSUB_EMULATOR_HOST": address}).activate()
        assert os.environ["PUBSUB_EMULATOR_HOST"] == address
        Target("p", "b", "u", "d", {"STORAGE_EMULATOR_HOST": f"http://{address}"}).activate()
        assert os.environ["STORAGE_EMULATOR_HOST"] == f"http://{address}"
        assert "PUBSUB_EMULATOR_HOST" not in os.environ
    with pytest.raises(ClientError, match=f"nothing answers at {address}, where PUBSUB_EMULATOR_HOST"):
        Target("p", "b", "u", "d", {"PUBSUB_EMULATOR_HOST": address}).activate()


CATALOGUE = "id: sku\nattributes: {colour: {}}\n"


def test_the_catalogue_is_the_text_of_the_environment_or_the_file_that_is_named(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text("id: ean\nattributes: {kind: {}}\n")
    environment = {"VITRINE_CATALOGUE": CATALOGUE}
    assert resolve(Names(project="shop"), {}, nothing).catalogue == bundled_config()
    assert resolve(Names(project="shop"), environment, nothing).catalogue.id == "sku"
    assert resolve(Names(project="shop", catalogue=file), environment, nothing).catalogue.id == "ean"


def test_another_catalogue_than_the_local_clouds_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text(CATALOGUE)
    with pytest.raises(ClientError, match=r"another catalogue.*`vitrine up --catalogue"):
        resolve(Names(catalogue=file), {}, local)
    same = {**LOCAL, "VITRINE_CATALOGUE": CATALOGUE}
    assert resolve(Names(catalogue=file), {}, lambda: same).catalogue.id == "sku"


def test_a_catalogue_that_is_not_valid_is_named() -> None:
    with pytest.raises(ClientError, match="VITRINE_CATALOGUE: attributes: Field required"):
        resolve(Names(project="shop"), {"VITRINE_CATALOGUE": "id: sku"}, nothing)
