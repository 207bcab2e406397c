"""What holds of every environment's plan. Each rule takes a plan and yields what is wrong with it."""

import ast
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from services.model.manifest import DEFAULT_DIRECTORY, load_manifest
from services.shared.wiring import SCHEMAS, load_wiring
from tests.terraform.plans import DIGEST, NUMBER, ROOT, Plan, Values

type Rule = Callable[[Plan], Iterator[str]]

WIRING = load_wiring()
SERVICES = ROOT / "services"
PUBSUB_AGENT = f"serviceAccount:service-{NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"
STORAGE_AGENT = f"serviceAccount:service-{NUMBER}@gs-project-accounts.iam.gserviceaccount.com"
BIGQUERY_AGENT = f"serviceAccount:bq-{NUMBER}@bigquery-encryption.iam.gserviceaccount.com"
SECRETS_AGENT = f"serviceAccount:service-{NUMBER}@gcp-sa-secretmanager.iam.gserviceaccount.com"
RUN_AGENT = f"serviceAccount:service-{NUMBER}@serverless-robot-prod.iam.gserviceaccount.com"
PRIMITIVE = {"roles/owner", "roles/editor", "roles/viewer"}
PUBLIC_GATEWAY = 'module.pipeline.module.gateway["gateway"].google_cloud_run_v2_service_iam_member.public[0]'
PUBLIC = {"allUsers", "allAuthenticatedUsers"}
BUCKET_SUFFIXES = ("vitrine", "vitrine-uploads")
# What the jobs and the gateway may do in the bucket: the role, and the prefix that they are held to.
PREFIXES: Mapping[str, tuple[tuple[str, str | None], ...]] = {
    "audit": (
        ("roles/storage.objectViewer", None),
        ("roles/storage.objectCreator", "audits/"),
    ),
    "training": (
        ("roles/storage.objectViewer", None),
        ("roles/storage.objectUser", "training/"),
        ("roles/storage.objectCreator", "models/"),
    ),
    "gateway": (
        ("roles/storage.objectViewer", None),
        ("roles/storage.objectUser", "models/"),
        ("roles/storage.objectCreator", "jobs/"),
        ("roles/storage.objectCreator", "rejected/"),
        ("roles/storage.objectCreator", "sessions/"),
    ),
}
# Job => table => what it may do there.
JOB_TABLES: Mapping[str, Mapping[str, str]] = {
    "audit": {"products": "read", "labels": "read", "audited_labels": "write"},
    "training": {"products": "read", "labels": "read"},
}
TABLE_ROLES = {"read": "roles/bigquery.dataViewer", "write": "roles/bigquery.dataEditor"}
GATEWAY_SECRETS = ("gateway-keys", "gateway-session")


def worker(plan: Plan, service: str) -> str:
    """The member that a service works as."""
    return f"serviceAccount:{service}-worker@{plan.variables['project_id']}.iam.gserviceaccount.com"


def invoker(plan: Plan) -> str:
    """What Pub/Sub pushes as."""
    return f"pubsub-invoker@{plan.variables['project_id']}.iam.gserviceaccount.com"


def topic_path(plan: Plan, name: str) -> str:
    """A topic's full name."""
    return f"projects/{plan.variables['project_id']}/topics/{name}"


def url(service: str) -> str:
    """Where Cloud Run serves it."""
    return f"https://{service}-{NUMBER}.europe-west4.run.app"


def stage(name: str) -> Mapping[str, Any]:
    """What a stage, or the gateway, asks for."""
    file = "service.yaml" if name == "gateway" else "stage.yaml"
    asked: Mapping[str, Any] = yaml.safe_load((SERVICES / name / file).read_text())
    return asked


def gateway(plan: Plan) -> Mapping[str, Any] | None:
    """What was asked for of the gateway; None where there is none."""
    asked: Mapping[str, Any] | None = plan.variables.get("gateway")
    return asked


def one(values: Values, block: str) -> Values:
    """A block that may stand once; empty where it does not."""
    blocks = values.get(block) or [{}]
    found: Values = blocks[0]
    return found


def environment_of(service: Values) -> dict[str, str]:
    """A Cloud Run service's environment variables."""
    return {
        each["name"]: _secret(one(one(each, "value_source"), "secret_key_ref")) or each["value"]
        for each in container(service)["env"]
    }


def _secret(reference: Values) -> str:
    return f"a secret: {reference['secret']}" if reference else ""


def container(service: Values) -> Values:
    """A Cloud Run service's only container."""
    return one(one(service, "template"), "containers")


def granted(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """Every grant: what it is on, the role, the member."""
    for resource in plan.resources:
        values = resource.values
        if "role" not in values or "_iam_" not in resource.type:
            continue
        on = next(
            (
                f"{kind} {values[kind]}"
                for kind in ("topic", "subscription", "bucket", "table_id", "dataset_id", "secret_id", "name")
                if values.get(kind)
            ),
            resource.type,
        )
        for member in [values["member"]] if "member" in values else values["members"]:
            yield on, values["role"], member


# ---- wiring ----------------------------------------------------------------------------------------------


def topics_are_those_of_the_wiring(plan: Plan) -> Iterator[str]:
    """With their schemas."""
    planned = plan.by_name("google_pubsub_topic")
    yield from (
        f"topic {name}: only in the plan or only in topics.yaml" for name in set(planned) ^ {*WIRING.topics}
    )
    schemas = plan.by_name("google_pubsub_schema")
    for name, topic in WIRING.topics.items():
        held = one(planned.get(name, {}), "schema_settings")
        if topic.schema_kind == "none":
            if held or name in schemas:
                yield f"topic {name}: holds messages to a schema, and topics.yaml has none"
            continue
        expected = SCHEMAS / "events" / f"{_snake(topic.event)}.proto"
        if schemas.get(name, {}).get("definition") != expected.read_text():
            yield f"topic {name}: its schema is not {expected.name}"
        path = f"projects/{plan.variables['project_id']}/schemas/{name}"
        if (held.get("schema"), held.get("encoding")) != (path, "JSON"):
            yield f"topic {name}: does not hold messages to its schema, in JSON"


def subscriptions_are_those_of_the_wiring(plan: Plan) -> Iterator[str]:
    """Whom they push, what they filter, when they give up."""
    planned = plan.by_name("google_pubsub_subscription")
    wired = WIRING.subscriptions()
    yield from (
        f"subscription {name}: only in the plan or only in topics.yaml" for name in set(planned) ^ {*wired}
    )
    for name, (topic, service, options) in wired.items():
        values = planned.get(name)
        if values is None:
            continue
        expected: dict[str, object] = {
            "topic": topic,
            "filter": options.filter,
            "ack_deadline_seconds": options.ack_deadline,
        }
        for key, value in expected.items():
            if values[key] != value:
                yield f"subscription {name}: {key} is {values[key]!r}, not {value!r}"
        if one(values, "expiration_policy").get("ttl") != "":
            yield f"subscription {name}: expires when it is not used"
        push = one(values, "push_config")
        if options.pull:
            if push:
                yield f"subscription {name}: is pushed"
            continue
        if push.get("push_endpoint") != url(service):
            yield f"subscription {name}: pushes to {push.get('push_endpoint')}, not to {url(service)}"
        token = one(push, "oidc_token")
        if (token.get("service_account_email"), token.get("audience")) != (invoker(plan), url(service)):
            yield f"subscription {name}: does not authenticate as the invoker to what it pushes to"
        dead = one(values, "dead_letter_policy")
        given_up = (topic_path(plan, options.dead_letter), options.attempts)
        if (dead.get("dead_letter_topic"), dead.get("max_delivery_attempts")) != given_up:
            yield f"subscription {name}: is not given up to {options.dead_letter} in {options.attempts}"
        pauses = one(values, "retry_policy")
        shortest, longest = options.backoff
        if (pauses.get("minimum_backoff"), pauses.get("maximum_backoff")) != (f"{shortest}s", f"{longest}s"):
            yield f"subscription {name}: does not back off from {shortest} to {longest} seconds"


def a_push_ends_before_it_is_delivered_again(plan: Plan) -> Iterator[str]:
    """The ack deadline is above the service's timeout."""
    services = plan.by_name("google_cloud_run_v2_service")
    for name, values in plan.by_name("google_pubsub_subscription").items():
        if not one(values, "push_config"):
            continue
        for service, run in services.items():
            if one(values, "push_config")["push_endpoint"] == url(service):
                timeout = int((one(run, "template").get("timeout") or "600s").removesuffix("s"))
                if (values["ack_deadline_seconds"] or 0) <= timeout:
                    yield f"subscription {name}: its ack deadline is not above {timeout} s, as {service} has"


def stages_are_those_of_the_wiring(plan: Plan) -> Iterator[str]:
    """Of services/, of topics.yaml and of the plan."""
    planned = {*plan.by_name("google_cloud_run_v2_service")} - {"gateway"}
    folders = {path.parent.name for path in SERVICES.glob("*/main.py")}
    yield from (
        f"stage {name}: only in the plan or only in topics.yaml" for name in planned ^ {*WIRING.services()}
    )
    yield from (f"stage {name}: only in the plan or only in services/" for name in planned ^ folders)


def uploads_are_told(plan: Plan) -> Iterator[str]:
    """Every new object of the upload bucket, and of no other."""
    told = [resource.values for resource in plan.of("google_storage_notification")]
    expected = {
        "bucket": f"{plan.variables['project_id']}-vitrine-uploads",
        "topic": topic_path(plan, "image-uploaded"),
        "event_types": ["OBJECT_FINALIZE"],
        "payload_format": "JSON_API_V1",
    }
    if [{key: values[key] for key in expected} for values in told] != [expected]:
        yield f"notifications: {told}, not {expected}"


# ---- rights ----------------------------------------------------------------------------------------------


def grants_are_the_least(plan: Plan) -> Iterator[str]:
    """Exactly those that the wiring and the stages need: one more is one too many."""
    yield from (
        f"{grant} is {'missing' if difference < 0 else 'too much'}"
        for grant, difference in _difference(Counter(granted(plan)), Counter(_expected_grants(plan))).items()
    )


def nothing_is_public(plan: Plan) -> Iterator[str]:
    """No member of any grant is everybody, but of the gateway where it was asked for."""
    allowed = {PUBLIC_GATEWAY} if (gateway(plan) or {}).get("public") else set()
    yield from (
        f"{resource.address}: {member}"
        for resource in plan.resources
        for member in PUBLIC
        if member in json.dumps(resource.values) and resource.address not in allowed
    )


def no_role_is_primitive(plan: Plan) -> Iterator[str]:
    """Nobody is owner, editor or viewer of the project."""
    yield from (f"{on}: {member} has {role}" for on, role, member in granted(plan) if role in PRIMITIVE)


def each_service_works_as_itself(plan: Plan) -> Iterator[str]:
    """An identity of its own, that is made here, and never the default one."""
    made = {
        f"{values['account_id']}@{plan.variables['project_id']}.iam.gserviceaccount.com"
        for values in plan.by_name("google_service_account", "account_id").values()
    }
    for name, values in plan.by_name("google_cloud_run_v2_service").items():
        email = one(values, "template").get("service_account")
        if f"serviceAccount:{email}" != worker(plan, name) or email not in made:
            yield f"service {name}: works as {email}"


def buckets_are_closed(plan: Plan) -> Iterator[str]:
    """Uniform access, never public, what is deleted can be restored."""
    buckets = plan.by_name("google_storage_bucket")
    expected = {f"{plan.variables['project_id']}-{suffix}" for suffix in BUCKET_SUFFIXES}
    yield from (f"bucket {name}: unexpected or missing" for name in {*buckets} ^ expected)
    for name, values in buckets.items():
        if values["uniform_bucket_level_access"] is not True:
            yield f"bucket {name}: objects have access lists of their own"
        if values["public_access_prevention"] != "enforced":
            yield f"bucket {name}: could be made public"
        if one(values, "soft_delete_policy").get("retention_duration_seconds", 0) < 7 * 24 * 3600:
            yield f"bucket {name}: what is deleted is gone at once"


# ---- services --------------------------------------------------------------------------------------------


def environments_are_what_settings_read(plan: Plan) -> Iterator[str]:
    """Every variable that a service requires is set, and none that it does not know."""
    model = load_manifest(DEFAULT_DIRECTORY)
    project = plan.variables["project_id"]
    told_of = gateway(plan) or {}
    address = told_of.get("url", url("gateway"))
    gpu = bool(plan.variables["gpu"])
    instance = {**stage("inference"), **(stage("inference")["gpu"] if gpu else {})}
    prices = {
        "inference_vcpus": instance["cpu"],
        "inference_gib": int(instance["memory"].removesuffix("Gi")),
        **({} if gpu else {"gpu_second": 0}),
        **told_of.get("prices", {}),
    }
    values: dict[str, str | None] = {
        "GOOGLE_CLOUD_PROJECT": project,
        "VITRINE_BUCKET": f"{project}-vitrine",
        "VITRINE_DATASET": "vitrine",
        "VITRINE_CATALOGUE": plan.variables.get("catalogue"),
        "VITRINE_MODEL": model.name,
        "VITRINE_MODEL_VERSION": model.version,
        "VITRINE_REQUIRE_GPU": "true" if gpu else "false",
        "VITRINE_UPLOAD_BUCKET": f"{project}-vitrine-uploads",
        "VITRINE_API_KEYS": "/keys/keys.json",
        "VITRINE_AUDIENCES": ",".join(sorted({url("gateway"), address, *told_of.get("audiences", ())})),
        "VITRINE_COST_LIMIT": _text(told_of.get("cost_limit")),
        "VITRINE_GATEWAY_URL": address,
        "VITRINE_OAUTH_CLIENT_ID": told_of.get("oauth_client_id"),
        "VITRINE_PRICES": _json(prices),
        "VITRINE_PROXIES": _text(told_of.get("proxies", 1)),
        "VITRINE_RATE_LIMIT": told_of.get("rate_limit"),
        "VITRINE_ROLES": _json({role: sorted(of) for role, of in told_of.get("roles", {}).items()}),
        "VITRINE_SESSION_SECRET": "a secret: gateway-session",
    }
    for name, service in plan.by_name("google_cloud_run_v2_service").items():
        required, known = _settings(name)
        told = environment_of(service)
        yield from (f"service {name}: {variable} is not set" for variable in required - set(told))
        yield from (f"service {name}: does not know {variable}" for variable in set(told) - known)
        yield from (
            f"service {name}: {variable} is {value!r}, not {values.get(variable)!r}"
            for variable, value in told.items()
            if values.get(variable) != value
        )
        if name == "gateway":
            asked = {variable for variable in known & values.keys() if values[variable] is not None}
            yield from (f"service {name}: {variable} is not set" for variable in asked - set(told))


def images_are_by_digest(plan: Plan) -> Iterator[str]:
    """And of the kind that the stage asks for."""
    for name, service in plan.by_name("google_cloud_run_v2_service").items():
        asked = stage(name)
        kind = asked["gpu"]["image"] if plan.variables["gpu"] and "gpu" in asked else asked["image"]
        if container(service)["image"] != plan.variables["images"][kind]:
            yield f"service {name}: runs {container(service)['image']}, not {kind} by its digest {DIGEST}"
        if container(service)["args"] != (None if name == "gateway" else [name]):
            yield f"service {name}: its container is started as {container(service)['args']}"


def services_are_looked_after(plan: Plan) -> Iterator[str]:
    """Probes, limits and who may reach them."""
    for name, service in plan.by_name("google_cloud_run_v2_service").items():
        asked, template = dict(stage(name)), one(service, "template")
        if name == "gateway":
            asked["ingress"] = (gateway(plan) or {}).get("ingress", "INGRESS_TRAFFIC_ALL")
        for probe in ("startup_probe", "liveness_probe"):
            if one(one(container(service), probe), "http_get").get("path") != "/health":
                yield f"service {name}: has no {probe} on /health"
        if service["ingress"] != asked.get("ingress", "INGRESS_TRAFFIC_INTERNAL_ONLY"):
            yield f"service {name}: is reached from {service['ingress']}"
        least = plan.variables.get("min_instances", {}).get(name, 0)
        if one(template, "scaling").get("min_instance_count") != least:
            yield f"service {name}: does not keep {least} instances"
        if not one(template, "scaling").get("max_instance_count"):
            yield f"service {name}: grows without limit"
        if service["custom_audiences"] != [url(name)]:
            yield f"service {name}: does not take the tokens that are made for it"


def a_new_project_has_the_quota(plan: Plan) -> Iterator[str]:
    """Of a service's instances at their most: 20 CPUs and 40 GiB, or Cloud Run refuses to deploy it."""
    for name, service in plan.by_name("google_cloud_run_v2_service").items():
        limits = one(container(service), "resources")["limits"]
        most = one(one(service, "template"), "scaling").get("max_instance_count") or 100
        if int(limits["cpu"]) * most > 20 or int(limits["memory"].removesuffix("Gi")) * most > 40:
            yield f"service {name}: {most} instances of {limits}"


def a_gpu_is_where_it_was_asked_for(plan: Plan) -> Iterator[str]:
    """With what Cloud Run wants beside it; and the service refuses to start without it."""
    for name, service in plan.by_name("google_cloud_run_v2_service").items():
        template, limits = one(service, "template"), one(container(service), "resources")["limits"]
        has = one(template, "node_selector").get("accelerator")
        wanted = bool(plan.variables["gpu"]) and "gpu" in stage(name)
        if not wanted:
            if has or "nvidia.com/gpu" in limits:
                yield f"service {name}: has a GPU that nobody asked for"
            continue
        if has != "nvidia-l4" or limits.get("nvidia.com/gpu") != "1":
            yield f"service {name}: has no L4"
        if int(limits["cpu"]) < 4 or int(limits["memory"].removesuffix("Gi")) < 16:
            yield f"service {name}: has less CPU or memory than Cloud Run wants beside an L4: {limits}"
        if one(container(service), "resources")["cpu_idle"]:
            yield f"service {name}: its CPU is taken away between requests, which a GPU forbids"
        if template["gpu_zonal_redundancy_disabled"] is not True:
            yield f"service {name}: keeps a second GPU in reserve that nobody asked for"
        probe = one(container(service), "startup_probe")
        if (probe.get("period_seconds") or 0) * (probe.get("failure_threshold") or 0) < 240:
            yield f"service {name}: is given up on before its model is loaded"


# ---- data ------------------------------------------------------------------------------------------------


def jobs_are_those_that_were_asked_for(plan: Plan) -> Iterator[str]:
    """None that nobody asked for; each is one task, which works as itself and writes where it may."""
    project, jobs = plan.variables["project_id"], plan.by_name("google_cloud_run_v2_job")
    asked = {name for name in JOB_TABLES if plan.variables.get(name) is not None}
    yield from (f"job {name}: unexpected or missing" for name in {*jobs} ^ asked)
    for name, job in jobs.items():
        execution = one(job, "template")
        task = one(execution, "template")
        runs = one(task, "containers")
        if runs["image"] != plan.variables["images"][name]:
            yield f"job {name}: runs {runs['image']}"
        if runs["args"]:
            yield f"job {name}: is always given {runs['args']}"
        told = {
            "GOOGLE_CLOUD_PROJECT": project,
            "VITRINE_BUCKET": f"{project}-vitrine",
            "VITRINE_DATASET": "vitrine",
        }
        if (catalogue := plan.variables.get("catalogue")) is not None:
            told["VITRINE_CATALOGUE"] = catalogue
        if {each["name"]: each["value"] for each in runs["env"]} != told:
            yield f"job {name}: its environment is {runs['env']}"
        if f"serviceAccount:{task['service_account']}" != worker(plan, name):
            yield f"job {name}: works as {task['service_account']}"
        if execution["task_count"] != 1:
            yield f"job {name}: {execution['task_count']} tasks would do the same work"
        yield from _beyond_its_prefixes(plan, name)


def an_audit_has_a_day_and_no_gpu(plan: Plan) -> Iterator[str]:
    """Where a job for it was asked for."""
    asked = plan.variables.get("audit") or {}
    for name, job in plan.by_name("google_cloud_run_v2_job").items():
        task = one(one(job, "template"), "template")
        limits = one(one(task, "containers"), "resources")["limits"]
        if name == "audit" and limits != {"cpu": "4", "memory": "8Gi"}:
            yield f"job {name}: its limits are {limits}"
        attempts = (task["timeout"], task["max_retries"])
        if name == "audit" and attempts != ("86400s", asked.get("max_retries", 3)):
            yield f"job {name}: has {attempts}"


def training_is_what_was_asked_for(plan: Plan) -> Iterator[str]:
    """It goes on after an hour, beside the GPU that it was to have."""
    asked = plan.variables.get("training") or {}
    for name, job in plan.by_name("google_cloud_run_v2_job").items():
        if name != "training":
            continue
        task = one(one(job, "template"), "template")
        limits = one(one(task, "containers"), "resources")["limits"]
        attempts = (task["timeout"], task["max_retries"])
        if attempts != ("3600s", asked.get("max_retries", 10)):
            yield f"job {name}: {attempts} is not what makes a long run go on beside a GPU"
        if one(task, "node_selector").get("accelerator") != "nvidia-l4" or limits["nvidia.com/gpu"] != "1":
            yield f"job {name}: has no L4"
        if int(limits["cpu"]) < 4 or int(limits["memory"].removesuffix("Gi")) < 16:
            yield f"job {name}: has less CPU or memory than Cloud Run wants beside an L4: {limits}"
        if task["gpu_zonal_redundancy_disabled"] is not True:
            yield f"job {name}: keeps a second GPU in reserve that nobody asked for"


def the_gateway_is_what_was_asked_for(plan: Plan) -> Iterator[str]:
    """None where nobody asked; else with secrets that no plan and no state has, and rights below prefixes."""
    asked, key = gateway(plan), plan.variables.get("kms_key_name")
    services, secrets = plan.by_name("google_cloud_run_v2_service"), _secrets(plan)
    expected = [] if asked is None else ["gateway"]
    if [name for name in services if name == "gateway"] != expected:
        yield f"gateway: is {'there' if asked is None else 'missing'}"
    if {*secrets} != ({*GATEWAY_SECRETS} if expected else set()):
        yield f"secrets: {[*secrets]}"
    groups = "group:" in json.dumps((asked or {}).get("roles", {}))
    on = plan.by_name("google_project_service", "service")
    if ("cloudidentity.googleapis.com" in on) is not groups:
        yield "gateway: asks Cloud Identity for nothing, or without its API"
    for name, values in secrets.items():
        (replica,) = one(one(values, "replication"), "user_managed").get("replicas", [{}])
        if replica.get("location") != "europe-west4":
            yield f"secret {name}: is kept in {replica.get('location')}"
        if one(replica, "customer_managed_encryption").get("kms_key_name") != key:
            yield f"secret {name}: is not encrypted with {key}"
    for resource in plan.of("google_secret_manager_secret_version"):
        if resource.values["secret_data"] or resource.values["secret_data_wo"]:
            yield f"{resource.address}: its value is in the plan"
    for name in expected:
        template = one(services.get(name, {}), "template")
        mounted = {each["mount_path"]: each["name"] for each in container(services[name])["volume_mounts"]}
        held = {
            each["name"]: (one(each, "secret")["secret"], one(each, "secret")["items"])
            for each in template["volumes"]
        }
        if mounted != {"/keys": "gateway-keys"} or held != {
            "gateway-keys": ("gateway-keys", [{"mode": None, "path": "keys.json", "version": "latest"}])
        }:
            yield f"service {name}: its keys are {mounted} of {held}"
        yield from _beyond_its_prefixes(plan, name)


def _secrets(plan: Plan) -> dict[str, Values]:
    return plan.by_name("google_secret_manager_secret", "secret_id")


def _beyond_its_prefixes(plan: Plan, name: str) -> Iterator[str]:
    project = plan.variables["project_id"]
    held = {
        (each.values["role"], one(each.values, "condition").get("expression"))
        for each in plan.of("google_storage_bucket_iam_member")
        if each.values["member"] == worker(plan, name) and each.values["bucket"] == f"{project}-vitrine"
    }
    objects = f"projects/_/buckets/{project}-vitrine/objects"
    expected = {
        (
            role,
            prefix
            and f'resource.name.startsWith("{objects}/{prefix}") || '
            f'api.getAttribute("storage.googleapis.com/objectListPrefix", "").startsWith("{prefix}")',
        )
        for role, prefix in PREFIXES[name]
    }
    if held != expected:
        yield f"{name}: may do {held} in the bucket"


def tables_are_those_of_the_schemas(plan: Plan) -> Iterator[str]:
    """Columns, partitions, clusters, and the views."""
    layouts = yaml.safe_load((SCHEMAS / "tables.yaml").read_text())
    views = {path.stem: path for path in (SCHEMAS / "views").glob("*.sql")}
    planned = plan.by_name("google_bigquery_table", "table_id")
    yield from (f"table {name}: unexpected or missing" for name in {*planned} ^ {*layouts, *views})
    for name, layout in layouts.items():
        table = planned.get(name, {})
        columns = json.loads((SCHEMAS / "tables" / f"{name}.json").read_text())
        if json.loads(table.get("schema") or "null") != columns:
            yield f"table {name}: its columns are not those of {name}.json"
        if table.get("clustering") != layout["cluster_by"]:
            yield f"table {name}: is not clustered by {layout['cluster_by']}"
        if one(table, "time_partitioning").get("field") != layout.get("partition_by"):
            yield f"table {name}: is not partitioned by {layout.get('partition_by')}"
    for name, path in views.items():
        query = path.read_text().format(project=plan.variables["project_id"], dataset="vitrine")
        if one(planned.get(name, {}), "view").get("query") != query:
            yield f"view {name}: is not {path.name}"


def what_is_done_with_is_cleared_away(plan: Plan) -> Iterator[str]:
    """Marks of handled messages, audits and training runs; jobs where it was asked for."""
    bucket = plan.by_name("google_storage_bucket").get(f"{plan.variables['project_id']}-vitrine", {})
    found = {
        one(rule, "condition")["matches_prefix"][0]: one(rule, "condition")["age"]
        for rule in bucket.get("lifecycle_rule", [])
        if one(rule, "condition").get("matches_prefix")
    }
    expected = {"audits/": 90, "handled/": 31, "sessions/": 2, "smoke/": 1, "training/": 90} | (
        {} if plan.environment == "prod" else {"jobs/": 30, "recent/": 30}
    )
    if found != expected:
        yield f"bucket: clears away {found}, not {expected}"


def what_must_last_is_protected(plan: Plan) -> Iterator[str]:
    """In staging and prod nothing is deleted by a mistake; dev may be destroyed."""
    lasts = plan.environment != "dev"
    for resource in plan.of(
        "google_cloud_run_v2_service",
        "google_cloud_run_v2_job",
        "google_bigquery_table",
        "google_secret_manager_secret",
    ):
        view = bool(resource.values.get("view"))
        if resource.values["deletion_protection"] is not (lasts and not view):
            yield f"{resource.address}: deletion_protection is {resource.values['deletion_protection']}"
    for resource in plan.of("google_storage_bucket"):
        if resource.values["force_destroy"] is lasts:
            yield f"{resource.address}: force_destroy is {resource.values['force_destroy']}"
    for resource in plan.of("google_bigquery_dataset"):
        if resource.values["delete_contents_on_destroy"] is lasts:
            yield f"{resource.address}: its tables are deleted with it"


def a_key_of_ones_own_is_used_throughout(plan: Plan) -> Iterator[str]:
    """Where there is one."""
    key = plan.variables.get("kms_key_name")
    places = {
        "google_pubsub_topic": lambda values: values.get("kms_key_name"),
        "google_storage_bucket": lambda values: one(values, "encryption").get("default_kms_key_name"),
        "google_bigquery_dataset": lambda values: one(values, "default_encryption_configuration").get(
            "kms_key_name"
        ),
        "google_cloud_run_v2_service": lambda values: one(values, "template").get("encryption_key"),
        "google_cloud_run_v2_job": lambda values: one(one(values, "template"), "template").get(
            "encryption_key"
        ),
    }
    for kind, used in places.items():
        for resource in plan.of(kind):
            if used(resource.values) != key:
                yield f"{resource.address}: is encrypted with {used(resource.values)}, not with {key}"


RULES: tuple[Rule, ...] = (
    topics_are_those_of_the_wiring,
    subscriptions_are_those_of_the_wiring,
    a_push_ends_before_it_is_delivered_again,
    stages_are_those_of_the_wiring,
    uploads_are_told,
    grants_are_the_least,
    nothing_is_public,
    no_role_is_primitive,
    each_service_works_as_itself,
    buckets_are_closed,
    environments_are_what_settings_read,
    images_are_by_digest,
    services_are_looked_after,
    a_new_project_has_the_quota,
    a_gpu_is_where_it_was_asked_for,
    jobs_are_those_that_were_asked_for,
    an_audit_has_a_day_and_no_gpu,
    training_is_what_was_asked_for,
    the_gateway_is_what_was_asked_for,
    tables_are_those_of_the_schemas,
    what_is_done_with_is_cleared_away,
    what_must_last_is_protected,
    a_key_of_ones_own_is_used_throughout,
)


def _expected_grants(plan: Plan) -> Iterator[tuple[str, str, str]]:
    project, team = plan.variables["project_id"], f"group:{plan.environment}@example.com"
    acts = {"you": team, "pubsub": PUBSUB_AGENT, "cloud-storage": STORAGE_AGENT}
    for name, topic in WIRING.topics.items():
        for producer in topic.producers:
            yield f"topic {name}", "roles/pubsub.publisher", acts.get(producer) or worker(plan, producer)
    for name, (_, _, options) in WIRING.subscriptions().items():
        if not options.pull:
            # Dead-lettering is a publication there and an acknowledgement here.
            yield f"subscription {name}", "roles/pubsub.subscriber", PUBSUB_AGENT
    for name in WIRING.services():
        asked = stage(name)
        yield f"name {name}", "roles/run.invoker", f"serviceAccount:{invoker(plan)}"
        yield f"bucket {project}-vitrine", "roles/storage.objectViewer", worker(plan, name)
        yield f"bucket {project}-vitrine", "roles/storage.objectCreator", worker(plan, name)
        if asked.get("reads_uploads"):
            yield f"bucket {project}-vitrine-uploads", "roles/storage.objectViewer", worker(plan, name)
        for table, access in asked.get("tables", {}).items():
            yield f"table_id {table}", TABLE_ROLES[access], worker(plan, name)
        if asked.get("tables"):
            yield "dataset_id vitrine", "roles/bigquery.metadataViewer", worker(plan, name)
            yield "google_project_iam_member", "roles/bigquery.jobUser", worker(plan, name)
    for name, tables in JOB_TABLES.items():
        if not plan.variables.get(name):
            continue
        yield f"name {name}", "roles/run.jobsExecutorWithOverrides", team
        # gcloud looks at a job before it executes it.
        yield f"name {name}", "roles/run.viewer", team
        for role, _ in PREFIXES[name]:
            yield f"bucket {project}-vitrine", role, worker(plan, name)
        for table, access in tables.items():
            yield f"table_id {table}", TABLE_ROLES[access], worker(plan, name)
        yield "dataset_id vitrine", "roles/bigquery.metadataViewer", worker(plan, name)
        yield "google_project_iam_member", "roles/bigquery.jobUser", worker(plan, name)
    if (asked_of := gateway(plan)) is not None:
        works_as = worker(plan, "gateway")
        for name, topic in WIRING.topics.items():
            # What is pushed can be rejected, and then replayed; but what was rejected is not rejected again.
            pushed = any(not options.pull for options in topic.subscriptions.values())
            if "you" in topic.producers or (pushed and name != "message-rejected"):
                yield f"topic {name}", "roles/pubsub.publisher", works_as
        for role, _ in PREFIXES["gateway"]:
            yield f"bucket {project}-vitrine", role, works_as
        for role in ("roles/storage.objectViewer", "roles/storage.objectCreator"):
            yield f"bucket {project}-vitrine-uploads", role, works_as
        for table in ("audit", "labels"):
            yield f"table_id {table}", "roles/bigquery.dataEditor", works_as
        yield "dataset_id vitrine", "roles/bigquery.dataViewer", works_as
        yield "google_project_iam_member", "roles/bigquery.jobUser", works_as
        for name in GATEWAY_SECRETS:
            yield f"secret_id {name}", "roles/secretmanager.secretAccessor", works_as
        for member in (
            *asked_of.get("invokers", {}).values(),
            *(["allUsers"] if asked_of.get("public") else []),
        ):
            yield "name gateway", "roles/run.invoker", member
    yield f"bucket {project}-vitrine-uploads", "roles/storage.objectCreator", team
    yield f"bucket {project}-vitrine", "roles/storage.objectUser", team
    yield "dataset_id vitrine", "roles/bigquery.dataViewer", team
    yield "google_project_iam_member", "roles/bigquery.jobUser", team
    yield "google_service_account_iam_member", "roles/iam.serviceAccountTokenCreator", PUBSUB_AGENT
    if plan.variables.get("kms_key_name"):
        for agent in (PUBSUB_AGENT, STORAGE_AGENT, BIGQUERY_AGENT, RUN_AGENT, SECRETS_AGENT):
            yield "google_kms_crypto_key_iam_member", "roles/cloudkms.cryptoKeyEncrypterDecrypter", agent


def _difference(one_: Counter[Any], other: Counter[Any]) -> dict[Any, int]:
    return {key: one_[key] - other[key] for key in one_.keys() | other.keys() if one_[key] != other[key]}


def _settings(service: str) -> tuple[set[str], set[str]]:
    """The environment variables that a service's Settings require, and all that they know."""
    required: set[str] = set()
    known: set[str] = set()
    file = "settings.py" if service == "gateway" else "main.py"
    for path in (SERVICES / "shared" / "settings.py", SERVICES / service / file):
        (settings,) = [
            node
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.ClassDef) and node.name == "Settings"
        ]
        for node in settings.body:
            if not isinstance(node, ast.AnnAssign):
                continue
            aliases = [
                str(word.value.value)
                for word in ast.walk(node.annotation)
                if isinstance(word, ast.keyword)
                and word.arg == "alias"
                and isinstance(word.value, ast.Constant)
            ]
            known |= set(aliases)
            if node.value is None:
                required |= set(aliases)
    return required, known


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _json(value: object) -> str:
    """As Terraform writes it."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def _snake(event: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in event).lstrip("_")
