"""The plan of what builds: who may act as it, what it may do, and the registry."""

from pathlib import Path
from typing import Any

import pytest

from tests.terraform.plans import ENVIRONMENTS, NUMBER, Plan, copied, init, plan, plan_of
from tests.terraform.rules import granted, no_role_is_primitive, nothing_is_public, one

BUILDS = {
    name: f"serviceAccount:vitrine-build-{name}@acme-build.iam.gserviceaccount.com" for name in ENVIRONMENTS
}
KEYS = "projects/acme-keys/locations/europe-west4/keyRings/vitrine/cryptoKeys"
CONNECTIONS = "projects/acme-build/locations/europe-west4/connections"
RUN_AGENT = "serviceAccount:service-{}@serverless-robot-prod.iam.gserviceaccount.com"
TOLD: dict[str, Any] = {
    "project_id": "acme-build",
    "project_number": NUMBER,
    "region": "europe-west4",
    "repository": "acme/vitrine",
    "connected_repository": f"{CONNECTIONS}/github/repositories/vitrine",
    "kms_key_name": f"{KEYS}/images",
    "environments": {
        name: {"project_id": f"acme-{name}", "project_number": f"{number}00", "approval": name != "dev"}
        | ({"kms_key_name": f"{KEYS}/prod"} if name == "prod" else {})
        for number, name in enumerate(ENVIRONMENTS, start=1)
    },
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("vitrine"))


@pytest.fixture(scope="module")
def build(copy: Path) -> Plan:
    root = copy / "terraform" / "build"
    (root / "local_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    init(root)
    return plan_of(root, TOLD)


def grants_of(plan: Plan, member: str) -> list[tuple[str, str]]:
    return sorted(
        (resource.values.get("project", resource.type), resource.values["role"])
        for resource in plan.resources
        if resource.values.get("member") == member
    )


def test_nobody_has_a_primitive_role_and_nothing_is_public(build: Plan) -> None:
    assert list(granted(build)) != []
    assert [*no_role_is_primitive(build), *nothing_is_public(build)] == []


def test_only_the_repositorys_branch_acts_as_what_builds_and_only_for_dev(build: Plan) -> None:
    (provider,) = build.of("google_iam_workload_identity_pool_provider")
    assert provider.values["attribute_condition"] == (
        "assertion.repository == 'acme/vitrine' && assertion.ref == 'refs/heads/main'"
    )
    (acting,) = build.of("google_service_account_iam_member")
    # Which it is on is not known before it is made: the plan names it by its address.
    assert acting.address == 'module.build.google_service_account_iam_member.github["dev"]'
    assert acting.values["role"] == "roles/iam.workloadIdentityUser"
    assert acting.values["member"].endswith("/vitrine-github/attribute.repository/acme/vitrine")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_builds_an_environment_has_no_role_in_another_one(build: Plan, environment: str) -> None:
    grants = grants_of(build, BUILDS[environment])
    assert {project for project, _ in grants if project.startswith("acme-")} == {
        "acme-build",
        f"acme-{environment}",
    }


def test_what_builds_may_do_the_same_in_each_environment_and_hardly_anything_at_home(build: Plan) -> None:
    grants = {name: grants_of(build, member) for name, member in BUILDS.items()}
    at_home = {name: [role for project, role in of if project == "acme-build"] for name, of in grants.items()}
    little = [
        "roles/artifactregistry.writer",
        "roles/logging.logWriter",
        "roles/ondemandscanning.admin",
        "roles/storage.objectViewer",
    ]
    assert at_home == dict.fromkeys(ENVIRONMENTS, little)
    dev, staging, prod = (
        [role for project, role in grants[name] if project == f"acme-{name}"] for name in ENVIRONMENTS
    )
    assert dev == staging == prod
    assert {"roles/run.admin", "roles/pubsub.admin", "roles/storage.admin"} < set(dev)


def test_each_build_keeps_its_plans_where_no_other_one_writes(build: Plan) -> None:
    assert {
        (
            resource.values["member"],
            resource.values["bucket"],
            one(resource.values, "condition")["expression"],
        )
        for resource in build.of("google_storage_bucket_iam_member")
    } == {
        (
            member,
            "acme-build-terraform",
            f'resource.name.startsWith("projects/_/buckets/acme-build-terraform/objects/plans/{name}/")',
        )
        for name, member in BUILDS.items()
    }


def test_what_builds_grants_just_what_an_environment_grants(copy: Path, build: Plan) -> None:
    pipelines = {resource.values["role"] for resource in plan(copy, "prod").of("google_project_iam_member")}
    expected = ", ".join(f"'{role}'" for role in sorted(pipelines))
    conditions = {
        (resource.values["member"], resource.values["project"]): one(resource.values, "condition").get(
            "expression"
        )
        for resource in build.of("google_project_iam_member")
        if "IamAdmin" in resource.values["role"]
    }
    attribute = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', [])"
    assert conditions == {
        (BUILDS[name], f"acme-{name}"): f"{attribute}.hasOnly([{expected}])" for name in ENVIRONMENTS
    }


def test_what_builds_sees_who_may_use_a_key_and_only_the_registry_uses_its_own(build: Plan) -> None:
    assert {
        (resource.values["crypto_key_id"], resource.values["member"], resource.values["role"])
        for resource in build.of("google_kms_crypto_key_iam_member")
    } == {
        (f"{KEYS}/prod", BUILDS["prod"], "roles/iam.securityReviewer"),
        (
            f"{KEYS}/images",
            f"serviceAccount:service-{NUMBER}@gcp-sa-artifactregistry.iam.gserviceaccount.com",
            "roles/cloudkms.cryptoKeyEncrypterDecrypter",
        ),
    }


def test_every_environment_reads_the_registry(build: Plan) -> None:
    (registry,) = build.of("google_artifact_registry_repository")
    assert one(registry.values, "docker_config")["immutable_tags"] is True
    assert registry.values["kms_key_name"] == f"{KEYS}/images"
    readers = {
        resource.values["member"]
        for resource in build.of("google_artifact_registry_repository_iam_member")
        if resource.values["role"] == "roles/artifactregistry.reader"
    }
    assert readers == {RUN_AGENT.format(each["project_number"]) for each in TOLD["environments"].values()}


def test_dev_is_applied_at_once_and_the_others_when_somebody_approves(build: Plan) -> None:
    assert {
        resource.values["substitutions"]["_ENVIRONMENT"]: one(resource.values, "approval_config")
        for resource in build.of("google_cloudbuild_trigger")
    } == {name: {"approval_required": name != "dev"} for name in ENVIRONMENTS}


def test_each_environment_is_applied_by_its_own_identity(build: Plan) -> None:
    applying = {
        resource.values["substitutions"]["_ENVIRONMENT"]: resource.values["service_account"]
        for resource in build.of("google_cloudbuild_trigger")
    }
    assert applying == {
        name: f"projects/acme-build/serviceAccounts/{member.removeprefix('serviceAccount:')}"
        for name, member in BUILDS.items()
    }
