"""The rules themselves: each of these changes to a copy of the tree is caught, by Terraform or by a rule."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.terraform.plans import copied, plan
from tests.terraform.rules import RULES
from tests.terraform.watching import WATCHING

TOPIC = "terraform/modules/topic/main.tf"
STAGE = "terraform/modules/stage/main.tf"
JOB = "terraform/modules/job/main.tf"
BUCKET = "terraform/modules/bucket/main.tf"
WAREHOUSE = "terraform/modules/warehouse/main.tf"
PIPELINE = "terraform/pipeline/main.tf"
DATA = "terraform/pipeline/data.tf"
GATEWAY = "terraform/pipeline/gateway.tf"
TRAINING = "terraform/pipeline/training.tf"
AUDIT = "terraform/pipeline/audit.tf"
PROD = "terraform/environments/prod/main.tf"
METRICS = "terraform/modules/observability/metrics.tf"
SLOS = "terraform/modules/observability/slos.tf"
ALERTS = "terraform/modules/observability/alerts.tf"
DASHBOARD = "terraform/modules/observability/dashboard.tf"
OBSERVABILITY = "terraform/pipeline/observability.tf"


@dataclass(frozen=True)
class Mutation:
    """A change of one file, and what finds it: the name of a rule, or what Terraform says."""

    file: str
    old: str
    new: str
    caught_by: str
    refused: bool = False  # by Terraform itself, which makes no plan then


MUTATIONS = [
    # Attributes
    Mutation(TOPIC, 'encoding = "JSON"', 'encoding = "BINARY"', "topics_are_those"),
    Mutation(TOPIC, 'ttl = ""', 'ttl = "2678400s"', "subscriptions_are_those"),
    Mutation(TOPIC, "each.value.filter", '""', "subscriptions_are_those"),
    Mutation(TOPIC, "${retry_policy.value[0]}s", "0s", "subscriptions_are_those"),
    Mutation(STAGE, "${var.timeout}s", "600s", "a_push_ends"),
    Mutation(STAGE, "= var.ingress", '= "INGRESS_TRAFFIC_ALL"', "services_are_looked_after"),
    Mutation(STAGE, 'path = "/health"', 'path = "/"', "services_are_looked_after"),
    Mutation(STAGE, "node_selector.value\n", '"nvidia-tesla-t4"\n', "a_gpu_is"),
    Mutation(STAGE, "max_instance_count = var.max_instances", "", "services_are_looked_after"),
    Mutation(STAGE, "encryption_key                   = var.kms_key_name", "", "a_key_of_ones_own"),
    Mutation(JOB, "task_count  = 1", "task_count  = 2", "jobs_are_those"),
    Mutation(JOB, "node_selector.value\n", '"nvidia-tesla-t4"\n', "training_is_what"),
    Mutation(JOB, "encryption_key  = var.kms_key_name", "", "a_key_of_ones_own"),
    Mutation(TRAINING, "timeout = 3600 }", "timeout = 86400 }", "beside a GPU write at most", refused=True),
    Mutation(TRAINING, "local.workers[each.key]", 'local.workers["recording"]', "jobs_are_those"),
    Mutation(AUDIT, "local.workers[each.key]", 'local.workers["training"]', "jobs_are_those"),
    Mutation(AUDIT, "24 * 3600", "3600", "an_audit_has_a_day"),
    Mutation(AUDIT, '"8Gi"', '"4Gi"', "an_audit_has_a_day"),
    Mutation(AUDIT, "= var.audit.auditors", "= {}", "grants_are_the_least"),
    Mutation(AUDIT, "var.images.audit", "var.images.training", "jobs_are_those"),
    Mutation(STAGE, 'version = "latest"', 'version = "1"', "the_gateway_is_what"),
    Mutation(STAGE, "= volume_mounts.value.folder", '= "/other"', "the_gateway_is_what"),
    Mutation(
        GATEWAY, "kms_key_name = customer_managed_encryption.value", 'kms_key_name = "x"', "the_gateway_is"
    ),
    Mutation(GATEWAY, "location = var.region", 'location = "us-central1"', "the_gateway_is_what"),
    Mutation(GATEWAY, "secret_data_wo ", "secret_data ", "its value is in the plan"),
    Mutation(GATEWAY, 'startswith(member, "group:")', 'startswith(member, "team:")', "the_gateway_is_what"),
    Mutation(
        GATEWAY, "deletion_protection = var.deletion_protection\n  labels ", "labels ", "what_must_last"
    ),
    Mutation(GATEWAY, "local.gateway_service.timeout", "4000", "write seconds between", refused=True),
    Mutation(BUCKET, '"enforced"', '"inherited"', "buckets_are_closed"),
    Mutation(BUCKET, "uniform_bucket_level_access = true", "", "buckets_are_closed"),
    Mutation(BUCKET, "OBJECT_FINALIZE", "OBJECT_DELETE", "uploads_are_told"),
    Mutation(WAREHOUSE, "each.value.cluster_by", "null", "tables_are_those"),
    Mutation(WAREHOUSE, '"{dataset}", var.dataset_id', '"{dataset}", "other"', "tables_are_those"),
    Mutation(PROD, "deletion_protection  = true", "deletion_protection  = false", "what_must_last"),
    Mutation(DATA, '"handled/" = 31, ', "", "what_is_done_with"),
    Mutation("services/staging/stage.yaml", "max_instances: 20", "max_instances: 30", "a_new_project"),
    # Wiring
    Mutation("schemas/topics.yaml", "      staging: {}", "      recording: {}", "subscriptions_are_those"),
    Mutation("schemas/topics.yaml", "  attempts: 12", "  attempts: 3", "between 5 and 100", refused=True),
    Mutation("schemas/topics.yaml", "  job-completed:", "  job-done:", "topics_are_those"),
    Mutation("schemas/events/batch_staged.proto", "string job_id", "string job", "topics_are_those"),
    Mutation("schemas/tables/jobs.json", '"job_id"', '"job"', "tables_are_those"),
    Mutation("services/recording/stage.yaml", "VITRINE_DATASET]", "VITRINE_MODEL]", "environments_are_what"),
    Mutation(
        "services/staging/stage.yaml",
        "VITRINE_BUCKET,",
        "VITRINE_BUCKETS,",
        "The given key does not identify",
        refused=True,
    ),
    Mutation("services/staging/stage.yaml", "image: cpu", "image: inference", "images_are_by_digest"),
    Mutation(
        PIPELINE, "module.stages[service].url", 'module.stages["selection"].url', "subscriptions_are_those"
    ),
    Mutation(PIPELINE, "topics/${each.dead_letter}", "topics/${name}", "subscriptions_are_those"),
    Mutation(PIPELINE, "[each.key]\n  environment", "null\n  environment", "images_are_by_digest"),
    Mutation("services/gateway/service.yaml", "  - VITRINE_DATASET\n", "", "environments_are_what"),
    Mutation(GATEWAY, "VITRINE_PROXIES ", "VITRINE_PROXY ", "environments_are_what"),
    Mutation(GATEWAY, "jsonencode(var.gateway.roles)", '"{}"', "environments_are_what"),
    Mutation(
        GATEWAY, '"gateway-session"].secret_id\n', '"gateway-keys"].secret_id\n', "environments_are_what"
    ),
    Mutation(GATEWAY, '"inference"].cpu', '"staging"].cpu', "environments_are_what"),
    Mutation(GATEWAY, "local.gateway_url]", '"https://other.example.com"]', "environments_are_what"),
    # Rights
    Mutation(PIPELINE, "local.workers[each.key]", "local.invoker", "each_service_works"),
    Mutation(PIPELINE, '"roles/bigquery.jobUser"', '"roles/editor"', "no_role_is_primitive"),
    Mutation(PIPELINE, '{ pubsub = "serviceAccount:${local.invoker}" }', "{}", "grants_are_the_least"),
    Mutation(
        PIPELINE, "service_account = local.invoker", 'service_account = "x@y.z"', "subscriptions_are_those"
    ),
    Mutation(TOPIC, "for_each     = local.dead_lettering", "for_each     = {}", "grants_are_the_least"),
    Mutation(TOPIC, '"roles/pubsub.publisher"', '"roles/pubsub.editor"', "grants_are_the_least"),
    Mutation(STAGE, "var.public ? 1 : 0", "1", "nothing_is_public"),
    Mutation(GATEWAY, "var.gateway.public", "true", "nothing_is_public"),
    Mutation(GATEWAY, "local.workers[each.key]", 'local.workers["recording"]', "each_service_works"),
    Mutation(GATEWAY, 'prefix = "jobs/"', 'prefix = ""', "the_gateway_is_what"),
    Mutation(GATEWAY, 'prefix = "rejected/"', "prefix = null", "the_gateway_is_what"),
    Mutation(GATEWAY, '"roles/storage.objectUser"', '"roles/storage.objectAdmin"', "the_gateway_is_what"),
    Mutation(GATEWAY, '"roles/secretmanager.secretAccessor"', '"roles/secretmanager.admin"', "grants_are"),
    Mutation(GATEWAY, " && !contains(local.dead_letters, name)", "", "grants_are_the_least"),
    Mutation(GATEWAY, "!each.pull]", "each.pull]", "grants_are_the_least"),
    Mutation(GATEWAY, "= var.gateway.invokers", "= {}", "grants_are_the_least"),
    Mutation("services/gateway/service.yaml", "audit: write", "audit: read", "grants_are_the_least"),
    Mutation(STAGE, "member   = each.value", 'member   = "allUsers"', "nothing_is_public"),
    Mutation(DATA, '"roles/storage.objectCreator"', '"roles/storage.objectAdmin"', "grants_are_the_least"),
    Mutation(DATA, 'members[name], prefix = "models/"', "members[name], prefix = null", "jobs_are_those"),
    Mutation(DATA, 'members[name], prefix = "audits/"', "members[name], prefix = null", "jobs_are_those"),
    Mutation(
        DATA,
        'labels = "read", audited_labels = "write"',
        'labels = "write", audited_labels = "write"',
        "grants_are",
    ),
    Mutation(DATA, '"audits/" = 90, ', "", "what_is_done_with"),
    Mutation(JOB, '"roles/run.jobsExecutorWithOverrides"', '"roles/run.developer"', "grants_are_the_least"),
    Mutation(DATA, "if stage.reads_uploads", "", "grants_are_the_least"),
    Mutation(
        WAREHOUSE, "local.roles[each.value.access]", '"roles/bigquery.dataOwner"', "grants_are_the_least"
    ),
    # What is watched
    Mutation(METRICS, "jsonPayload.metric=", "jsonPayload.name=", "metrics_are_those"),
    Mutation(METRICS, '"EXTRACT(jsonPayload.value)"', '"EXTRACT(jsonPayload.amount)"', "metrics_are_those"),
    Mutation(METRICS, 'unit = "ms"', 'unit = "s"', "metrics_are_those"),
    Mutation(OBSERVABILITY, 'labels = ["code"]', 'labels = ["reason"]', "metrics_are_those"),
    Mutation(
        OBSERVABILITY,
        "    jobs_completed ",
        "    jobs_done ",
        "metrics: write messages_handled",
        refused=True,
    ),
    Mutation(
        OBSERVABILITY, "if !each.pull]", 'if name != "batch-selected-to-staging"]', "every_subscription"
    ),
    Mutation(ALERTS, "user/messages_rejected", "user/messages_refused", "only_metrics_that_exist"),
    Mutation(ALERTS, "request_latencies_bucket", "request_latencies", "only_metrics_that_exist"),
    Mutation(ALERTS, "sum by (subscription) (", "sum by (code) (", "only_metrics_that_exist"),
    Mutation(ALERTS, "= local.channels", "= []", "alerts_reach"),
    Mutation(ALERTS, "= true\n", "= false\n", "alerts_say"),
    Mutation(ALERTS, "**Look first at.**", "", "alerts_say"),
    Mutation(SLOS, "rate = 10,", "rate = 20,", "objectives_can_be_missed"),
    Mutation(SLOS, "serviceLevelObjectives/${objective}", "slos/${objective}", "objectives_can_be_missed"),
    Mutation(SLOS, "keys(var.services)", '["inference"]', "objectives_can_be_missed"),
    Mutation(DASHBOARD, " if position > 0", "", "tiles_do_not_overlap"),
    Mutation(DASHBOARD, "y * 16", "y * 12", "tiles_do_not_overlap"),
    Mutation(DASHBOARD, "gpu/utilizations", "gpu/utilization", "only_metrics_that_exist"),
    Mutation(DASHBOARD, "if length(local.gpus) > 0", "if length(local.gpus) > 1", "gpus_are_watched"),
    Mutation(OBSERVABILITY, "lookup(var.max_instances, name, stage.max_instances)", "3", "gpus_are_watched"),
]


def batches() -> list[list[Mutation]]:
    """Several mutations to a plan, no two of which change the same file or are found by the same rule."""
    batches: list[list[Mutation]] = []
    for mutation in MUTATIONS:
        fitting = (
            batch
            for batch in batches
            if not mutation.refused
            and all(
                not other.refused and other.file != mutation.file and other.caught_by != mutation.caught_by
                for other in batch
            )
        )
        batch = next(fitting, None)
        if batch is None:
            batches.append(batch := [])
        batch.append(mutation)
    return batches


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Mutation, str]:
    """What is found of each mutation, all of prod, two plans at a time."""
    original = copied(tmp_path_factory.mktemp("original"))

    def find(batch: Sequence[Mutation]) -> str:
        copy = tmp_path_factory.mktemp("mutated") / "copy"
        shutil.copytree(original, copy, symlinks=True)
        for mutation in batch:
            file = copy / mutation.file
            text = file.read_text()
            assert mutation.old in text, f"{mutation.file} has no {mutation.old!r} to change"
            file.write_text(text.replace(mutation.old, mutation.new))
        try:
            mutated = plan(copy, "prod")
        except subprocess.CalledProcessError as error:
            return " ".join(error.stderr.split())
        return "\n".join(
            f"{rule.__name__}: {wrong}" for rule in (*RULES, *WATCHING) for wrong in rule(mutated)
        )

    with ThreadPoolExecutor(2) as threads:
        found = threads.map(find, batches())
    return {mutation: text for batch, text in zip(batches(), found, strict=True) for mutation in batch}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: f"{mutation.old.strip()[:40]}")
def test_a_broken_environment_is_caught(findings: Mapping[Mutation, str], mutation: Mutation) -> None:
    assert mutation.caught_by in findings[mutation]
