"""Plans of environments: made by Terraform itself from a copy of the tree, read as JSON."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ("dev", "staging", "prod")
NUMBER = "123456789012"
DIGEST = "sha256:" + "0" * 64

type Values = Mapping[str, Any]


class _Planned(dict[str, Any]):
    """A JSON object of a plan: what is left to the provider is not in it, and counts as null."""

    def __missing__(self, key: str) -> None:
        return None


def variables(environment: str) -> dict[str, Any]:
    """What a team would write into its terraform.tfvars; prod asks for everything but to be public."""
    members = {"team": f"group:{environment}@example.com"}
    common: dict[str, Any] = {
        "project_id": f"acme-{environment}",
        "project_number": NUMBER,
        "region": "europe-west4",
        "images": {
            name: f"europe-west4-docker.pkg.dev/acme-{environment}/vitrine/{name}@{DIGEST}"
            for name in ("audit", "cpu", "gateway", "inference", "inference_gpu", "training")
        },
        "request_publishers": members,
        "uploaders": members,
        "readers": members,
        "promoters": members,
    }
    if environment == "prod":
        location = "projects/acme-prod/locations/europe-west4"
        return common | {
            "gpu": True,
            "kms_key_name": f"{location}/keyRings/vitrine/cryptoKeys/vitrine",
            "vpc_connector": f"{location}/connectors/vitrine",
            "min_instances": {"inference": 1},
            "training": {"trainers": members},
            "audit": {"auditors": members},
            "gateway": {
                "url": "https://vitrine.example.com",
                "invokers": members,
                "audiences": ["4711.apps.googleusercontent.com"],
                "oauth_client_id": "4711.apps.googleusercontent.com",
                "roles": {
                    "admin": ["group:models@example.com"],
                    "viewer": ["domain:example.com", "a@example.org"],
                },
                "prices": {"currency": "EUR", "bigquery_tib": 5.75},
                "cost_limit": 50,
                "rate_limit": "60/minute",
                "proxies": 2,
                "ingress": "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER",
            },
            "alert_emails": ["oncall@example.com", "catalogue@example.com"],
        }
    # A gateway that everybody may call, and none.
    return common | {"gpu": False, "gateway": {"public": True} if environment == "dev" else None}


@dataclass(frozen=True)
class Resource:
    """A resource that a plan creates; what is not known before it is created is not in `values`."""

    address: str
    type: str
    values: Values


@dataclass(frozen=True)
class Plan:
    """An environment's plan."""

    environment: str
    variables: Values
    document: Values

    @cached_property
    def resources(self) -> list[Resource]:
        """All that it creates."""
        return [
            Resource(change["address"], change["type"], change["change"]["after"])
            for change in self.document["resource_changes"]
            if change["mode"] == "managed"
        ]

    def of(self, *types: str) -> Iterator[Resource]:
        """The resources of these types."""
        return (resource for resource in self.resources if resource.type in types)

    def by_name(self, type_: str, key: str = "name") -> dict[str, Values]:
        """A type's resources by what they are called."""
        return {resource.values[key]: resource.values for resource in self.of(type_)}


@cache
def _missing() -> str:
    if not shutil.which("terraform"):
        return "terraform is not installed"
    return ""


def terraform(folder: Path, *arguments: str) -> str:
    """Runs Terraform in a folder; its output.

    Raises:
        subprocess.CalledProcessError: it fails.

    """
    if missing := _missing():
        pytest.skip(missing)
    # No plan here asks Google for anything, but the provider wants to be able to.
    environment = os.environ | {"GOOGLE_OAUTH_ACCESS_TOKEN": "none", "CHECKPOINT_DISABLE": "1"}
    done = subprocess.run(
        ["terraform", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
    return done.stdout


def copied(target: Path) -> Path:
    """A copy of all that Terraform reads, with state on this machine instead of in a bucket."""
    # With it what a team has written: rules are about the variables of the tests.
    generated = shutil.ignore_patterns(
        ".terraform*", "*.tfstate*", "*.tfvars", "*.tfvars.json", "__pycache__", "demo", "*.npz", "*.tflite"
    )
    for folder in ("terraform", "schemas", "services"):
        shutil.copytree(ROOT / folder, target / folder, ignore=generated)
    for environment in ENVIRONMENTS:
        root = target / "terraform" / "environments" / environment
        (root / "local_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
        (root / "test.auto.tfvars.json").write_text(json.dumps(variables(environment)))
        init(root)
    return target


def plan(copy: Path, environment: str, **overrides: Any) -> Plan:
    """The plan of an environment in a copy, on an empty project.

    Args:
        copy: as `copied` made it, changed or not.
        environment: which.
        overrides: variables that are to differ.

    Raises:
        subprocess.CalledProcessError: Terraform refuses the configuration.

    """
    return plan_of(copy / "terraform" / "environments" / environment, variables(environment) | overrides)


def plan_of(root: Path, told: Values) -> Plan:
    """The plan of a root that is initialised, on an empty project.

    Raises:
        subprocess.CalledProcessError: Terraform refuses the configuration.

    """
    (root / "test.auto.tfvars.json").write_text(json.dumps(told))
    terraform(root, "plan", "-input=false", "-no-color", "-lock=false", "-out=test.tfplan")
    document: Values = json.loads(terraform(root, "show", "-json", "test.tfplan"), object_hook=_Planned)
    return Plan(root.name, told, document)


def init(root: Path, *options: str) -> None:
    """Initialises a root; skips the test where the provider cannot be had."""
    try:
        terraform(root, "init", "-input=false", "-no-color", *options)
    except subprocess.CalledProcessError as error:
        # Served by a process that runs already, a provider cannot be out of reach.
        if "TF_REATTACH_PROVIDERS" not in os.environ and "Failed to query available provider" in error.stderr:
            pytest.skip("the Terraform registry is out of reach")
        raise AssertionError(error.stderr) from error
