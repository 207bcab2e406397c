# What somebody should know of, each with what it means, where to look first and which command to run.
#
# All are written in PromQL, the only kind of condition that may name a metric before its first value: a log-based
# metric is unknown for minutes after it was made, and the first `terraform apply` would fail.

locals {
  channels = [for channel in google_monitoring_notification_channel.email : channel.name]

  alerts = merge(local.message_alerts, local.service_alerts, {
    for name, alert in local.gpu_alerts : name => alert if length(local.gpus) > 0
  })

  message_alerts = {
    messages-wait = {
      severity = "ERROR"
      duration = "300s"
      query    = "max by (subscription_id) ({\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\", ${local.pushed}}) > ${var.oldest_unacked_seconds}"
      means    = "The oldest message of a subscription waits for more than ${var.oldest_unacked_seconds} seconds: its stage fails on it again and again, cannot be reached, or is too slow for what is asked."
      look     = "Failed messages of the same subscription on the dashboard. If there are none, at the stage's instances: at their maximum they are simply busy, and at zero they do not start."
      command  = "gcloud logging read 'resource.type=\"cloud_run_revision\" labels.subscription=\"SUBSCRIPTION\" severity>=WARNING' --project=${var.project_id} --freshness=1h --limit=20"
    }
    messages-rejected = {
      severity = "WARNING"
      duration = "0s"
      query    = "sum by (subscription) (increase({\"logging.googleapis.com/user/messages_rejected\", ${local.run}}[10m])) > 0"
      means    = "A stage rejected messages that no repetition can make right. They are kept with the reason, and nothing of them is done until somebody replays them."
      look     = "The reasons. A wrong request is its sender's to correct; anything else is a defect of the stage that published the message."
      command  = "vitrine rejected"
    }
    messages-given-up = {
      severity = "ERROR"
      duration = "0s"
      query    = "sum by (subscription_id) (increase({\"pubsub.googleapis.com/subscription/dead_letter_message_count\", ${local.pushed}}[10m])) > 0"
      means    = "A message failed as often as it may, and moved to the dead-letter topic. The job that it belongs to does not complete."
      look     = "Why its stage failed: the errors of that stage. Once the cause is gone, replay what was given up."
      command  = "vitrine rejected\n    vitrine replay ID"
    }
    messages-unrecorded = {
      severity = "CRITICAL"
      duration = "0s"
      query = join("", [
        "max by (subscription_id) ({\"pubsub.googleapis.com/subscription/num_undelivered_messages\", ",
        "monitored_resource=\"pubsub_subscription\", subscription_id=~\"${join("|", var.kept_subscriptions)}\"}) > 0",
      ])
      means   = "Even the record of a rejected message could not be written. The messages are kept for seven days and then lost."
      look    = "Whether recording may still write to its tables, and whether their columns are those of schemas/tables. Without --auto-ack the messages stay."
      command = "gcloud pubsub subscriptions pull ${join(" ", var.kept_subscriptions)} --project=${var.project_id} --limit=10"
    }
    uploads-fail = {
      severity = "ERROR"
      duration = "300s"
      query = join(" > ", [
        "sum(increase({\"logging.googleapis.com/user/messages_failed\", ${local.run}, ${local.uploads}}[15m]))",
        "(sum(increase({\"logging.googleapis.com/user/messages_handled\", ${local.run}, ${local.uploads}}[15m])) or vector(0))",
      ])
      means   = "Of the photos that are dropped in the upload bucket more fail than are classified. A photo that is merely broken does not count: it is classified as an error."
      look    = "The errors of inference: may it read the upload bucket, is its model loaded, does it have the memory that it needs?"
      command = "gcloud logging read 'resource.type=\"cloud_run_revision\" labels.subscription=~\"^(${join("|", var.upload_subscriptions)})$\" severity>=ERROR' --project=${var.project_id} --freshness=1h --limit=20"
    }
  }

  service_alerts = {
    requests-fail = {
      severity = "ERROR"
      duration = "600s"
      query = join(" / ", [
        "sum by (service_name) (increase({\"run.googleapis.com/request_count\", ${local.run}, response_code_class=\"5xx\"}[10m]))",
        "sum by (service_name) (increase({\"run.googleapis.com/request_count\", ${local.run}}[10m])) > 0.05",
      ])
      means   = "More than one in twenty requests to a service ends with 5xx. A stage's messages are delivered again, so that nothing is lost yet; of the gateway, people see it."
      look    = "500 is the service's own error and is in its log with a stack trace. 503 and 504 come from Cloud Run: no instance started or answered in time, or one was killed for its memory."
      command = "gcloud logging read 'resource.type=\"cloud_run_revision\" (severity>=ERROR OR httpRequest.status>=500)' --project=${var.project_id} --freshness=1h --limit=20"
    }
    requests-slow = {
      severity = "WARNING"
      duration = "600s"
      query    = "histogram_quantile(0.99, sum by (le, service_name) (increase({\"run.googleapis.com/request_latencies_bucket\", ${local.run}}[10m]))) > ${var.latency_seconds * 1000}"
      means    = "One in a hundred requests to a service takes longer than ${var.latency_seconds} seconds. At its time limit a request is cut off, and its work is done again."
      look     = "CPU and memory of the service on the dashboard, and whether the batches became larger or the bucket or BigQuery slower: the traces of slow requests say where the time went."
      command  = "gcloud logging read 'resource.type=\"cloud_run_revision\" httpRequest.latency>=\"${var.latency_seconds}s\"' --project=${var.project_id} --freshness=1h --limit=20"
    }
  }

  gpu_alerts = {
    gpus-at-maximum = {
      severity = "WARNING"
      duration = "3600s"
      query = join(" or ", [
        for name, service in local.gpus :
        "sum by (service_name) ({\"run.googleapis.com/container/instance_count\", ${local.run}, service_name=\"${name}\"}) >= ${service.max_instances}"
      ])
      means   = "For an hour as many instances with a GPU run as may. What comes meanwhile waits."
      look    = "The oldest unacknowledged message of the service's subscriptions: while it falls, a large job is simply being worked off. If it grows, raise max_instances, as far as the GPU quota goes."
      command = "gcloud run services describe ${join(" ", keys(local.gpus))} --project=${var.project_id} --region=${var.region}"
    }
    gpus-idle = {
      severity = "WARNING"
      duration = "3600s"
      # Those that always run are meant to.
      query = join(" or ", [
        for name, service in local.gpus :
        join(" unless on () ", [
          "sum by (service_name) ({\"run.googleapis.com/container/instance_count\", ${local.run}, service_name=\"${name}\"}) > ${service.min_instances}",
          "sum(increase({\"logging.googleapis.com/user/images_classified_sum\", ${local.run}}[1h])) > 0",
        ])
      ])
      means   = "For an hour instances with a GPU run beyond those that always do, and none of them classifies a photo. They cost as much as busy ones."
      look    = "What keeps them: requests that hang, or start again and again before they are ready. GPU utilisation on the dashboard says whether they do anything at all."
      command = "gcloud logging read 'resource.type=\"cloud_run_revision\" resource.labels.service_name=~\"^(${join("|", keys(local.gpus))})$\"' --project=${var.project_id} --freshness=1h --limit=50"
    }
  }
}

resource "google_monitoring_alert_policy" "alert" {
  for_each              = local.alerts
  project               = var.project_id
  display_name          = "Vitrine ${var.environment}: ${each.key}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.channels
  user_labels           = var.labels

  conditions {
    display_name = each.key
    condition_prometheus_query_language {
      query                     = each.value.query
      duration                  = each.value.duration
      evaluation_interval       = "60s"
      disable_metric_validation = true
    }
  }

  # Without data there is nothing to be alarmed at; an incident is not to stay open for a week.
  alert_strategy {
    auto_close = "3600s"
  }

  documentation {
    mime_type = "text/markdown"
    content = join("\n", [
      "**What it means.** ${each.value.means}",
      "",
      "**Look first at.** ${each.value.look}",
      "",
      "    ${each.value.command}",
    ])
  }

  depends_on = [google_logging_metric.metric]
}
