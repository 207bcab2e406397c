"""The images, as far as they go without Docker: packages and files, started, and put in the pipeline."""

import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from services.local.cloud import LocalCloud
from services.local.provision import provision_pubsub
from services.model.manifest import DEFAULT_DIRECTORY, load_manifest
from services.shared.keys import make_key, write_keys
from services.shared.wiring import load_wiring
from tests.conftest import free_ports
from tests.containers.dockerfile import ROOT, Builder
from tests.containers.test_dockerfile import GATEWAY, SERVED, STAGE_FILES
from tests.e2e.plain import Outsider, new_job, until
from tests.unit.photos import jpeg

LOCKED = dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", (ROOT / "requirements.lock").read_text()))
# Without a GPU.
IMAGES = {name: image for image in ("cpu", "inference") for name in SERVED[image]}
INSTALLERS = {"pip", "setuptools", "uv", "wheel"}
FOR_MODELS = {"ai-edge-litert", "keras", "numpy", "tensorflow", "tf-keras"}
FOR_DEVELOPERS = {"duckdb", "mypy", "pytest", "ruff", "typer", "vitrine"}


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(tmp_path_factory.mktemp("images"))


def installed(root: Path) -> dict[str, str]:
    """The distributions of an image."""
    folders = root.glob("app/.venv/lib/python3.13/site-packages/*.dist-info")
    return {
        name.replace("_", "-").replace(".", "-").lower(): version
        for name, version in (folder.stem.rsplit("-", 1) for folder in folders)
    }


# Of what is unwanted in an image, what it has all the same.
WANTED = {"audit": {"ai-edge-litert", "numpy", "typer"}, "inference": {"ai-edge-litert", "numpy"}}


@pytest.mark.parametrize("image", ["audit", "cpu", "gateway", "inference"])
def test_an_image_has_the_packages_of_its_stages_as_they_are_locked(builder: Builder, image: str) -> None:
    root = builder.build(image)
    packages = installed(root)
    megabytes = sum(path.lstat().st_size for path in root.rglob("*")) / 1e6
    print(
        f"\nimage {image}: {len(packages)} packages, {megabytes:.0f} MB with the code, beside the base image"
    )
    assert packages.items() <= LOCKED.items()
    unwanted = INSTALLERS | FOR_DEVELOPERS | FOR_MODELS
    assert packages.keys() & unwanted == WANTED.get(image, set())
    assert {"audit": "scipy", "gateway": "uvicorn"}.get(image, "gunicorn") in packages
    assert {path.name for path in root.glob("app/.venv/bin/*")} & INSTALLERS == set()


@pytest.mark.parametrize("image", ["inference-gpu", "training"])
def test_an_image_for_the_gpu_would_have_tensorflow_and_cuda_as_they_are_locked(
    builder: Builder, image: str
) -> None:
    builder.build("packages")
    (command,) = builder.commands(f"{image}-packages")
    packages = dict(
        re.findall(r"(?m)^ \+ ([a-z0-9-]+)==(\S+)", builder.run("packages", f"{command} --dry-run"))
    )
    assert packages.items() <= LOCKED.items()
    assert {"tensorflow", "nvidia-cudnn-cu12", "nvidia-cuda-nvcc-cu12"} <= packages.keys()
    assert ("tf-keras" in packages) == (image == "training")


def test_what_has_another_hash_than_the_lock_is_not_installed(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    lock = builder.build("packages") / "app" / "requirements.lock"
    entry = re.search(r"(?ms)^pyyaml==.*?(?=^\S)", lock.read_text())
    assert entry
    lock.write_text(lock.read_text().replace(entry[0], re.sub(r"sha256:\w{8}", "sha256:00000000", entry[0])))
    (command,) = builder.commands("inference-packages")
    with pytest.raises(AssertionError, match=r"(?s)Hash mismatch for `pyyaml"):
        builder.run("packages", command)


@pytest.fixture(scope="module")
def containers(
    builder: Builder, cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The cloud's topics pushed to containers, told what Terraform tells them; the folder of their logs."""
    model = load_manifest(DEFAULT_DIRECTORY)
    values = cloud.environment | {
        "VITRINE_MODEL": model.name,
        "VITRINE_MODEL_VERSION": model.version,
        "VITRINE_REQUIRE_GPU": "false",
        "VITRINE_CATALOGUE": "",  # the bundled one
    }
    emulators = {name: value for name, value in values.items() if name.endswith("_EMULATOR_HOST")}
    ports = dict(zip(IMAGES, range(free_ports(len(IMAGES)), 65536), strict=False))
    logs = tmp_path_factory.mktemp("logs")
    processes = {
        stage: builder.start(
            image,
            stage,
            *("--host", "127.0.0.1"),
            log=logs / stage,
            PORT=str(ports[stage]),
            **emulators,
            **{name: values[name] for name in STAGE_FILES[stage]["environment"]},
        )
        for stage, image in IMAGES.items()
    }
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for process in processes.values():
            stack.callback(process.wait)
            stack.callback(process.terminate)
        for stage, process in processes.items():
            until(partial(ended_or_healthy, process, ports[stage]), f"{stage} to come up")
            assert process.poll() is None, (logs / stage).read_text()
        for name, value in cloud.environment.items():
            patch.setenv(name, value)
        project = cloud.environment["GOOGLE_CLOUD_PROJECT"]
        provision_pubsub(project, {stage: f"http://127.0.0.1:{port}/" for stage, port in ports.items()})
        yield logs
        provision_pubsub(
            project, {stage: f"http://127.0.0.1:{cloud.port(stage)}/" for stage in load_wiring().services()}
        )


def ended_or_healthy(process: subprocess.Popen[bytes], port: int) -> bool:
    if process.poll() is not None:
        return True
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_a_request_an_upload_and_a_wrong_request_pass_through_the_containers(
    containers: Path, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    outsider = Outsider(cloud, monkeypatch)
    usage, ids = outsider.add_products([jpeg(level, 60, 80) for level in (60, 180)])
    job = new_job()
    augmentation = {"flip": {"horizontal": 1.0}}
    outsider.publish({"job_id": job, "usage": usage, "augmentation": augmentation, "classify": "both"})
    wrong = outsider.publish({"start_year": "2015"})
    uploaded = outsider.upload(f"{job}.jpg", jpeg())
    assert outsider.completed(job)["predictions"] == 2 * len(ids)
    assert outsider.rejected(wrong)["reason"].startswith("start_year: ")
    sql = "SELECT error FROM `{dataset}.predictions` WHERE image_uri = @uri"
    (row,) = until(lambda: outsider.query(sql, uri=uploaded), "the upload's row")
    assert row["error"] is None
    idle = [stage for stage in IMAGES if "messages_handled" not in (containers / stage).read_text()]
    assert idle == []


@pytest.mark.parametrize("stage", IMAGES)
def test_a_container_without_its_environment_ends_and_names_every_variable(
    builder: Builder, tmp_path: Path, stage: str
) -> None:
    log = tmp_path / "log"
    process = builder.start(IMAGES[stage], stage, "--host", "127.0.0.1", log=log, PORT=str(free_ports(1)))
    try:
        assert process.wait(60) != 0
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    required = {*STAGE_FILES[stage]["environment"]} - {"VITRINE_REQUIRE_GPU", "VITRINE_CATALOGUE"}
    said = log.read_text()
    assert {*re.findall(r"(?m)^  (\w+): Field required$", said)} == required
    assert "Traceback" not in said


def test_the_gateway_answers_who_has_a_key_and_lets_nobody_else_in(
    builder: Builder, cloud: LocalCloud, tmp_path: Path
) -> None:
    key, credential = make_key("team", "viewer", datetime.now(UTC), None)
    write_keys(tmp_path / "keys.json", [key])
    model, port, log = load_manifest(DEFAULT_DIRECTORY), free_ports(1), tmp_path / "log"
    values = cloud.environment | {
        "VITRINE_MODEL": model.name,
        "VITRINE_MODEL_VERSION": model.version,
        "VITRINE_CATALOGUE": "",  # the bundled one
    }
    process = builder.start(
        "gateway",
        *("--host", "127.0.0.1"),
        log=log,
        PORT=str(port),
        VITRINE_API_KEYS=str(tmp_path / "keys.json"),
        VITRINE_GATEWAY_URL="https://vitrine.example.com",
        VITRINE_SESSION_SECRET="a" * 72,
        **{name: values[name] for name in values if name.endswith("_EMULATOR_HOST")},
        **{name: values[name] for name in GATEWAY["environment"]},
    )
    try:
        until(partial(ended_or_healthy, process, port), "the gateway to come up")
        assert process.poll() is None, log.read_text()
        assert answered(port, credential) == (200, "application/json")
        assert answered(port, credential[:-1]) == (401, "application/problem+json")
    finally:
        process.terminate()
        process.wait(30)


def answered(port: int, credential: str) -> tuple[int, str]:
    """The status and kind of what somebody is told who asks for jobs."""
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/jobs", headers={"Authorization": f"Bearer {credential}"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, answer.headers["Content-Type"]
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers["Content-Type"]


def test_the_gateway_without_its_environment_ends_and_names_every_variable(
    builder: Builder, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    process = builder.start("gateway", "--host", "127.0.0.1", log=log, PORT=str(free_ports(1)))
    try:
        assert process.wait(60) != 0
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    required = {*GATEWAY["environment"], "VITRINE_GATEWAY_URL", "VITRINE_SESSION_SECRET"} - {
        "VITRINE_CATALOGUE"
    }
    said = log.read_text()
    assert {*re.findall(r"(?m)^  (\w+): Field required$", said)} == required
    assert "Traceback" not in said
