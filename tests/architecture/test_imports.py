"""Who may import whom, and who may import what."""

from pathlib import Path

import pytest

from tests.architecture.source import SERVICES, imports, packages, reached, shown, sources

# A folder of services/ -> what it may import of the others.
MAY_IMPORT = {
    "shared": set[str](),
    "model": {"shared"},
    "selection": {"shared", "model"},
    "staging": {"shared"},
    "augmentation": {"shared"},
    "inference": {"shared", "model"},
    "recording": {"shared"},
    "training": {"shared", "model"},
    "audit": {"shared", "model"},
    "client": {"shared", "model"},
    "local": {"shared", "model"},
    "release": {"shared", "client"},
    "gateway": {"shared", "client", "model"},
}
# `vitrine up` starts the local cloud, `vitrine train` trains, `vitrine audit` audits; the client does
# all else without them.
MAY_IMPORT_LAZILY = {"client": {"audit", "local", "training"}}

MODEL_RUNTIMES = ("tensorflow", "tf_keras", "ai_edge_litert")
FRAMEWORKS = ("flask", "functions_framework", "cloudevents")
# What imports it -> where it may be: a folder, or one file.
CONFINED = {
    MODEL_RUNTIMES: ("model", "training", "inference/predictors.py", "audit/embedder.py"),
    FRAMEWORKS: ("shared/endpoint.py",),
    ("google",): (
        "shared/google_cloud.py",
        "shared/google_bigquery.py",
        "shared/google_upgrade.py",
        "local",
        "client",
        "training",
        "release",
        "gateway/tokens.py",
    ),
    ("fastapi", "fastapi_offline", "starlette", "uvicorn"): ("gateway",),
}
STAGES = sorted(SERVICES.glob("*/stage.py"))


def is_of(name: str, roots: tuple[str, ...]) -> bool:
    return name.split(".")[0] in roots


def test_the_rules_know_every_folder() -> None:
    assert sorted(MAY_IMPORT) == packages()


@pytest.mark.parametrize("package", packages())
def test_a_service_imports_no_other(package: str) -> None:
    always = MAY_IMPORT[package] | {package}
    sometimes = always | MAY_IMPORT_LAZILY.get(package, set())
    offences = [
        f"{shown(path)}:{each.line} imports {each.name}"
        for path in sources(package)
        for each in imports(path)
        if each.package and each.package not in (sometimes if each.lazy or each.typing_only else always)
    ]
    assert offences == []


@pytest.mark.parametrize("stage", STAGES, ids=lambda path: path.parent.name)
def test_a_stage_reaches_no_cloud_no_framework_and_no_model_runtime(stage: Path) -> None:
    forbidden = ("google", "grpc", "requests", *FRAMEWORKS, *MODEL_RUNTIMES)
    offences = [
        f"{shown(path)}:{each.line} imports {each.name}"
        for path in reached([stage])
        for each in imports(path)
        if is_of(each.name, forbidden)
    ]
    assert offences == []


@pytest.mark.parametrize(("roots", "places"), CONFINED.items(), ids=lambda value: value[0])
def test_what_is_heavy_or_outside_stays_in_its_place(roots: tuple[str, ...], places: tuple[str, ...]) -> None:
    allowed = [SERVICES / place for place in places]
    users = [path for path in sources(*packages()) if any(is_of(each.name, roots) for each in imports(path))]
    assert users
    offences = [shown(path) for path in users if not any(path.is_relative_to(place) for place in allowed)]
    assert offences == []
