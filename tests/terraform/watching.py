"""What holds of all that watches an environment: log-based metrics, objectives, alerts, the dashboard."""

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any, get_args

from services.shared.metrics import Metric
from services.shared.wiring import load_wiring
from tests.terraform.plans import ROOT, Plan
from tests.terraform.rules import Rule, one

WIRING = load_wiring()
USER = "logging.googleapis.com/user/"
# Google's own metrics that may be asked for, as https://cloud.google.com/monitoring/api/metrics_gcp has them.
NUMBERS = {
    "pubsub.googleapis.com/subscription/dead_letter_message_count",
    "pubsub.googleapis.com/subscription/num_undelivered_messages",
    "pubsub.googleapis.com/subscription/oldest_unacked_message_age",
    "run.googleapis.com/container/instance_count",
    "run.googleapis.com/request_count",
}
DISTRIBUTIONS = {
    "run.googleapis.com/container/cpu/utilizations",
    "run.googleapis.com/container/gpu/memory_utilizations",
    "run.googleapis.com/container/gpu/utilizations",
    "run.googleapis.com/container/memory/utilizations",
    "run.googleapis.com/request_latencies",
}
RESOURCES = {"pubsub": "pubsub_subscription", "run": "cloud_run_revision", "logging": "cloud_run_revision"}


@dataclass(frozen=True)
class Question:
    """What is asked of Cloud Monitoring: by whom, in PromQL or as a filter."""

    asked_by: str
    text: str
    promql: bool


@cache
def counted() -> Mapping[str, tuple[str, frozenset[str]]]:
    """What the services count, as their code says: metric => its kind and its labels."""
    found: dict[str, set[tuple[str, frozenset[str]]]] = {}
    for file in (ROOT / "services").rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            match call:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="telemetry"), attr="count"),
                    args=[ast.Constant(value=str(metric)), value],
                    keywords=labels,
                ):
                    one_more = isinstance(value, ast.Constant) and value.value == 1
                    kind = "count" if one_more else "milliseconds" if metric.endswith("_ms") else "amount"
                    names = frozenset(str(label.arg) for label in labels)
                    found.setdefault(metric, set()).add((kind, names))
    ambiguous = {metric: ways for metric, ways in found.items() if len(ways) > 1}
    assert not ambiguous, f"counted in several ways: {ambiguous}"
    return {metric: next(iter(ways)) for metric, ways in found.items()}


def policies(plan: Plan) -> Mapping[str, Mapping[str, Any]]:
    """The alert policies by what comes after the environment's name."""
    planned = plan.by_name("google_monitoring_alert_policy", "display_name")
    return {name.partition(": ")[2]: values for name, values in planned.items()}


def widgets(plan: Plan) -> list[Mapping[str, Any]]:
    """The dashboard's tiles."""
    (dashboard,) = plan.of("google_monitoring_dashboard")
    tiles: list[dict[str, Any]] = json.loads(dashboard.values["dashboard_json"])["mosaicLayout"]["tiles"]
    return [dict[str, Any](xPos=0, yPos=0) | tile for tile in tiles]


def questions(plan: Plan) -> Iterator[Question]:
    """Everything that is asked."""
    for name, policy in policies(plan).items():
        for condition in policy["conditions"]:
            if query := one(condition, "condition_prometheus_query_language"):
                yield Question(f"alert {name}", query["query"], promql=True)
            else:
                yield Question(f"alert {name}", one(condition, "condition_threshold")["filter"], promql=False)
    for tile in widgets(plan):
        for data in tile["widget"]["xyChart"]["dataSets"]:
            query = data["timeSeriesQuery"]
            asked_by = f"chart {tile['widget']['title']}"
            if "prometheusQuery" in query:
                yield Question(asked_by, query["prometheusQuery"], promql=True)
            else:
                yield Question(asked_by, query["timeSeriesFilter"]["filter"], promql=False)
    for objective in plan.of("google_monitoring_slo"):
        indicator = one(objective.values, "request_based_sli")
        for text in (
            one(indicator, "good_total_ratio").get("good_service_filter"),
            one(indicator, "good_total_ratio").get("total_service_filter"),
            one(indicator, "distribution_cut").get("distribution_filter"),
        ):
            if text:
                yield Question(f"objective {objective.values['slo_id']}", text, promql=False)


def metrics_are_those_of_the_code(plan: Plan) -> Iterator[str]:
    """Those that services/shared/metrics.py names, with the values and labels that are counted."""
    planned = plan.by_name("google_logging_metric")
    names = set(get_args(Metric))
    yield from (f"metric {name}: only in the plan or only in metrics.py" for name in planned.keys() ^ names)
    yield from (f"metric {name}: never counted" for name in names - counted().keys())
    for name in planned.keys() & counted().keys():
        values, (kind, labels) = planned[name], counted()[name]
        described = one(values, "metric_descriptor")
        if values["filter"] != f'resource.type="cloud_run_revision" AND jsonPayload.metric="{name}"':
            yield f"metric {name}: reads {values['filter']}"
        summed = ("DISTRIBUTION", "EXTRACT(jsonPayload.value)", True)
        expected = ("INT64", None, False) if kind == "count" else summed
        extractor = values.get("value_extractor")
        if (described["value_type"], extractor, bool(values["bucket_options"])) != expected:
            yield f"metric {name}: cannot add up values, or counts more than entries"
        if described["unit"] != ("ms" if kind == "milliseconds" else "1"):
            yield f"metric {name}: is in {described['unit']}"
        if {each["key"] for each in described["labels"]} != labels:
            yield f"metric {name}: has not the labels that it is counted by, {sorted(labels)}"
        if (values["label_extractors"] or {}) != {label: f"EXTRACT(jsonPayload.{label})" for label in labels}:
            yield f"metric {name}: does not take its labels from where they are"


def only_metrics_that_exist_are_asked_for(plan: Plan) -> Iterator[str]:
    """PromQL knows a distribution by its sum, count and buckets, a filter by its own name."""
    types = {
        USER + name: one(values, "metric_descriptor")["value_type"]
        for name, values in plan.by_name("google_logging_metric").items()
    }
    distributions = DISTRIBUTIONS | {name for name, type_ in types.items() if type_ == "DISTRIBUTION"}
    numbers = NUMBERS | (types.keys() - distributions)
    parts = {name + suffix for name in distributions for suffix in ("_bucket", "_count", "_sum")}
    for question in questions(plan):
        burn = re.fullmatch(r'select_slo_burn_rate\("[^"]+", "\d+s"\)', question.text)
        asked = set(re.findall(r"[a-z]+\.googleapis\.com/[a-z_/]+", question.text))
        if not asked and not burn:
            yield f"{question.asked_by}: asks for no metric"
        known = numbers | (parts if question.promql else distributions)
        yield from (f"{question.asked_by}: asks for {name}" for name in sorted(asked - known))
        kinds = {RESOURCES[name.partition(".")[0]] for name in asked}
        told = set(re.findall(r'(?:monitored_resource|resource\.type)="(\w+)"', question.text))
        if told != kinds:
            yield f"{question.asked_by}: asks {sorted(told)}, not {sorted(kinds)}"
        for name in asked:
            # A label that a metric does not have selects nothing, and would alarm nobody.
            labels = set(re.findall(r"(?:by \(|, )(code|subscription)\b", question.text))
            if name.startswith(USER) and question.promql:
                base = re.sub(r"_(bucket|count|sum)$", "", name.removeprefix(USER))
                if missing := labels - counted().get(base, ("", frozenset()))[1]:
                    yield f"{question.asked_by}: {base} has no {', '.join(sorted(missing))}"


def every_subscription_is_watched(plan: Plan) -> Iterator[str]:
    """For what waits and what is given up; where nothing is given up, for anything at all."""
    pushed = {name for name, (_, _, options) in WIRING.subscriptions().items() if not options.pull}
    kept = WIRING.subscriptions().keys() - pushed
    uploads = {
        name
        for name, (topic, _, _) in WIRING.subscriptions().items()
        if "cloud-storage" in WIRING.topics[topic].producers
    }
    expected = {
        "messages-wait": pushed,
        "messages-given-up": pushed,
        "messages-unrecorded": kept,
        "uploads-fail": uploads,
    }
    asked = {question.asked_by: question.text for question in questions(plan)}
    for alert, names in expected.items():
        told = re.findall(r'subscription(?:_id)?=~"([^"]*)"', asked.get(f"alert {alert}", ""))
        if {name for each in told for name in each.split("|")} != names:
            yield f"alert {alert}: does not look at exactly {sorted(names)}"
    if "messages-rejected" not in policies(plan):
        yield "nobody is told of rejected messages"


def alerts_say_what_to_do(plan: Plan) -> Iterator[str]:
    """What the alert means, where to look first, and a command."""
    for name, policy in policies(plan).items():
        documented = one(policy, "documentation")
        content = documented.get("content") or ""
        for part in ("**What it means.** ", "**Look first at", "\n    "):
            if part not in content:
                yield f"alert {name}: its documentation has no {part!r}"
        if not re.search(r"^    (gcloud|vitrine) ", content, re.MULTILINE):
            yield f"alert {name}: names no command"
        if documented.get("mime_type") != "text/markdown":
            yield f"alert {name}: its documentation is not shown as Markdown"
        if policy["severity"] not in ("CRITICAL", "ERROR", "WARNING"):
            yield f"alert {name}: does not say how severe it is"
        for condition in policy["conditions"]:
            query = one(condition, "condition_prometheus_query_language")
            if query and not query["disable_metric_validation"]:
                yield f"alert {name}: cannot be made before its metric"


def alerts_reach_those_who_asked(plan: Plan) -> Iterator[str]:
    """All of alert_emails, by every alert; in prod there is somebody."""
    asked = set(plan.variables.get("alert_emails", ()))
    channels = list(plan.of("google_monitoring_notification_channel"))
    if {channel.values["labels"]["email_address"] for channel in channels} != asked:
        yield f"channels do not lead to {sorted(asked)}"
    if plan.environment == "prod" and not channels:
        yield "nobody is told"
    for name, policy in policies(plan).items():
        # What a channel will be called is not known yet, only that there is one.
        if len(policy["notification_channels"] or ()) != len(asked):
            yield f"alert {name}: does not reach everybody"


def objectives_can_be_missed(plan: Plan) -> Iterator[str]:
    """Goals are shares, and each is watched by an alert at a rate that can be reached."""
    goals = {}
    for objective in plan.of("google_monitoring_slo"):
        values = objective.values
        path = f"projects/{values['project']}/services/{values['service']}/serviceLevelObjectives/"
        goals[path + values["slo_id"]] = values["goal"]
        indicator = one(values, "request_based_sli")
        wanted = DISTRIBUTIONS if indicator["distribution_cut"] else NUMBERS
        text = json.dumps(indicator).replace("\\", "")
        if not set(re.findall(r'metric.type="([^"]+)"', text)) <= wanted:
            yield f"objective {values['slo_id']}: is not made of {sorted(wanted)}"
        for names in re.findall(r"service_name=one_of\(([^)]*)\)", text) or [""]:
            if set(re.findall(r'"([^"]+)"', names)) != {*WIRING.services()}:
                yield f"objective {values['slo_id']}: is about {names}, not about every stage"
        if not 0 < values["goal"] < 1 or values["rolling_period_days"] != 28:
            yield f"objective {values['slo_id']}: {values['goal']} in {values['rolling_period_days']} days"
    speeds: dict[str, int] = {}
    for name, policy in policies(plan).items():
        for condition in policy["conditions"]:
            threshold = one(condition, "condition_threshold")
            if found := re.match(r'select_slo_burn_rate\("([^"]+)"', threshold.get("filter") or ""):
                if found[1] not in goals:
                    yield f"alert {name}: watches no objective of the plan"
                elif threshold["threshold_value"] >= 1 / (1 - goals[found[1]]):
                    yield f"alert {name}: comes never, not if everything fails"
                speeds[found[1]] = speeds.get(found[1], 0) + 1
    if set(speeds.items()) != {(path, 4) for path in goals}:
        yield "an objective is not watched for burning fast and slowly, in a long and a short window"


def tiles_do_not_overlap(plan: Plan) -> Iterator[str]:
    """Within 48 columns, without holes; what stands at 0 does not say so, or each plan would change it."""
    tiles = widgets(plan)
    (dashboard,) = plan.of("google_monitoring_dashboard")
    if re.search(r'"[xy]Pos":0\b', dashboard.values["dashboard_json"]):
        yield "a chart says that it stands at 0"
    for tile in tiles:
        if tile["xPos"] < 0 or tile["yPos"] < 0 or tile["width"] < 1 or tile["xPos"] + tile["width"] > 48:
            yield f"chart {tile['widget']['title']}: stands beyond the dashboard's edge"
    for left, right in combinations(tiles, 2):
        if all(
            left[start] < right[start] + right[size] and right[start] < left[start] + left[size]
            for start, size in (("xPos", "width"), ("yPos", "height"))
        ):
            yield f"charts {left['widget']['title']} and {right['widget']['title']} overlap"
    if sum(tile["width"] * tile["height"] for tile in tiles) != 48 * max(
        tile["yPos"] + tile["height"] for tile in tiles
    ):
        yield "the dashboard has holes"


def gpus_are_watched_where_there_are_any(plan: Plan) -> Iterator[str]:
    """And nowhere else."""
    charts = sum("/gpu/" in question.text for question in questions(plan))
    alerts = {name for name in policies(plan) if name.startswith("gpus-")}
    expected = (2, {"gpus-at-maximum", "gpus-idle"}) if plan.variables["gpu"] else (0, set())
    if (charts, alerts) != expected:
        yield f"{charts} charts and the alerts {sorted(alerts)} look at GPUs"
    for service in plan.of("google_cloud_run_v2_service"):
        template = one(service.values, "template")
        most = one(template, "scaling").get("max_instance_count")
        query = f'service_name="{service.values["name"]}"}}) >= {most}'
        told = any(query in question.text for question in questions(plan))
        if told is not bool(template.get("node_selector")):
            yield f"service {service.values['name']}: its maximum of {most} is or is not watched"


WATCHING: tuple[Rule, ...] = (
    metrics_are_those_of_the_code,
    only_metrics_that_exist_are_asked_for,
    every_subscription_is_watched,
    alerts_say_what_to_do,
    alerts_reach_those_who_asked,
    objectives_can_be_missed,
    tiles_do_not_overlap,
    gpus_are_watched_where_there_are_any,
)
