"""Every environment's plan, held to every rule."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.terraform.plans import DIGEST, ENVIRONMENTS, Plan, plan
from tests.terraform.rules import (
    RULES,
    Rule,
    environment_of,
    jobs_are_those_that_were_asked_for,
    one,
    topic_path,
    url,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_keeps_the_rule(plans: dict[str, Plan], environment: str, rule: Rule) -> None:
    assert list(rule(plans[environment])) == []


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("project_id", "Acme Dev", "project_id: write the project's id"),
        ("project_number", "acme-dev", "project_number: write what `gcloud projects describe"),
        ("region", "europe", "region: write a region such as europe-west4"),
        (
            "images",
            {"cpu": "vitrine/cpu:latest", "gateway": f"g@{DIGEST}", "inference": f"i@{DIGEST}"},
            "image: write <registry>/<image>@sha256",
        ),
        ("request_publishers", {"all": "allUsers"}, "the public may not publish"),
        ("uploaders", {"all": "allAuthenticatedUsers"}, "the bucket is never public"),
        ("readers", {"all": "allUsers"}, "no table is public"),
        ("kms_key_name", "vitrine", "kms_key_name: write projects/<project>/locations"),
        ("catalogue", "catalogue.yaml", "catalogue: write the content of a catalogue.yaml"),
        ("max_instances", {"staging": 0}, "max_instances: write at least 1"),
        ("training", {"trainers": {"all": "allUsers"}}, "a job is never public"),
        ("training", {"max_retries": 11}, "max_retries: write a number between 0 and 10"),
        ("audit", {"auditors": {"all": "allUsers"}}, "a job is never public"),
        ("gateway", {"roles": {"owner": ["a@example.com"]}}, "gateway.roles: write viewer, operator"),
        (
            "gateway",
            {"roles": {"admin": ["user:a@example.com"]}},
            "as somebody@example.com, others as group:",
        ),
        ("gateway", {"invokers": {"all": "allUsers"}}, "only where it is public"),
        ("gateway", {"url": "https://example.com/vitrine"}, "gateway.url: write an address without a path"),
        ("gateway", {"rate_limit": "many"}, "gateway.rate_limit: write a number a second, minute"),
        ("gateway", {"proxies": 11}, "gateway: write proxies between 0 and 10"),
        ("gateway", {"ingress": "all"}, "ingress: write INGRESS_TRAFFIC_INTERNAL_ONLY"),
        ("schedules", {"all": {"cron": "0 5 * * 1", "request": "all"}}, "schedules.request: write JSON"),
    ],
)
def test_a_wrong_variable_is_refused_in_words(copy: Path, field: str, value: Any, expected: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        plan(copy, "dev", **{field: value})
    assert expected in " ".join(refused.value.stderr.split())


def test_a_region_without_the_gpu_is_refused_in_words(copy: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        plan(copy, "dev", gpu=True, region="europe-north1")
    assert "Cloud Run has the L4 in" in " ".join(refused.value.stderr.split())
    plan(copy, "dev", gpu=True, region="europe-west1")


def test_training_without_a_gpu_is_planned_anywhere_and_without_its_image_nowhere(copy: Path) -> None:
    asked = {"gpu": False, "trainers": {"models": "group:models@example.com"}}
    (job,) = plan(copy, "dev", training=asked, region="europe-north1").of("google_cloud_run_v2_job")
    task = one(one(job.values, "template"), "template")
    assert (task["timeout"], task["node_selector"]) == ("86400s", [])
    assert one(one(task, "containers"), "resources")["limits"] == {"cpu": "8", "memory": "16Gi"}
    for told, expected in (
        ({"training": {}, "region": "europe-north1"}, "training.gpu: Cloud Run has the L4 in"),
        (
            {"training": asked, "images": {"cpu": f"c@{DIGEST}", "inference": f"i@{DIGEST}"}},
            "training: write images.training too",
        ),
    ):
        with pytest.raises(subprocess.CalledProcessError) as refused:
            plan(copy, "dev", **told)
        assert expected in " ".join(refused.value.stderr.split())


def test_an_audit_job_without_its_image_is_refused_in_words(copy: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        plan(copy, "dev", audit={}, images={"cpu": f"c@{DIGEST}", "inference": f"i@{DIGEST}"})
    assert "audit: write images.audit too" in " ".join(refused.value.stderr.split())


def test_a_gateway_without_its_image_is_refused_in_words(copy: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        plan(copy, "dev", images={"cpu": f"c@{DIGEST}", "inference": f"i@{DIGEST}"})
    assert "gateway: write images.gateway too" in " ".join(refused.value.stderr.split())


def test_the_gateway_is_told_by_its_address(plans: dict[str, Plan]) -> None:
    told = {
        name: each.document["planned_values"]["outputs"]["gateway"]["value"] for name, each in plans.items()
    }
    assert told == {"dev": url("gateway"), "staging": None, "prod": "https://vitrine.example.com"}


def test_a_catalogue_of_ones_own_is_told_to_all_that_read_it(copy: Path) -> None:
    catalogue = "id: sku\nattributes: {colour: {}}\n"
    planned = plan(copy, "dev", catalogue=catalogue)
    told = {
        name: environment_of(service).get("VITRINE_CATALOGUE")
        for name, service in planned.by_name("google_cloud_run_v2_service").items()
    }
    assert {name for name, text in told.items() if text == catalogue} == {"selection", "staging", "gateway"}
    assert list(jobs_are_those_that_were_asked_for(planned)) == []


def test_requests_are_scheduled_and_a_budget_is_kept(copy: Path) -> None:
    asked = {"gender": ["Women"], "classify": "originals"}
    planned = plan(
        copy,
        "dev",
        budget={"amount": 500, "billing_account": "012345-6789AB-CDEF01"},
        schedules={"weekly": {"cron": "0 5 * * 1", "request": json.dumps(asked)}},
    )
    (job,) = planned.of("google_cloud_scheduler_job")
    target = one(job.values, "pubsub_target")
    assert target["topic_name"] == topic_path(planned, "classification-requested")
    assert json.loads(base64.b64decode(target["data"])) == asked
    (budget,) = planned.of("google_billing_budget")
    assert budget.values["display_name"] == "vitrine-dev"
