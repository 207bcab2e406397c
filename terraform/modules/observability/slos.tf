# What the pipeline promises over four weeks, and alerts when it spends what it may miss too fast.

locals {
  objectives = {
    handled = "${var.goal_handled * 100} % of deliveries are handled"
    in-time = "${var.goal_in_time * 100} % of messages are handled within ${var.handle_seconds} s"
  }
  # Ten times too fast: the four weeks' allowance is gone in three days. Twice: in two weeks. The short window
  # ends the alert soon after the cause.
  burns = {
    fast = { rate = 10, long = "3600s", short = "300s", severity = "CRITICAL" }
    slow = { rate = 2, long = "86400s", short = "7200s", severity = "WARNING" }
  }
  stages = "resource.type=\"cloud_run_revision\" resource.label.service_name=one_of(${join(", ", [for name in keys(var.services) : "\"${name}\""])})"
  burning = merge([
    for objective, promise in local.objectives : {
      for speed, burn in local.burns : "${objective}-burns-${speed}" => merge(burn, {
        promise = promise
        slo     = "projects/${var.project_id}/services/${local.service_id}/serviceLevelObjectives/${objective}"
      })
    }
  ]...)
}

resource "google_monitoring_custom_service" "pipeline" {
  project      = var.project_id
  service_id   = local.service_id
  display_name = "Vitrine ${var.environment}"
  user_labels  = var.labels
}

# By what Cloud Run itself counts, a push being a request: an objective cannot be made of a metric that nothing was
# logged for yet. A rejected message counts as handled: it was answered, and nothing here could have made it right.
resource "google_monitoring_slo" "handled" {
  project             = var.project_id
  service             = google_monitoring_custom_service.pipeline.service_id
  slo_id              = "handled"
  display_name        = local.objectives.handled
  goal                = var.goal_handled
  rolling_period_days = 28
  user_labels         = var.labels

  request_based_sli {
    good_total_ratio {
      good_service_filter  = "metric.type=\"run.googleapis.com/request_count\" metric.label.response_code_class=\"2xx\" ${local.stages}"
      total_service_filter = "metric.type=\"run.googleapis.com/request_count\" ${local.stages}"
    }
  }
}

resource "google_monitoring_slo" "in_time" {
  project             = var.project_id
  service             = google_monitoring_custom_service.pipeline.service_id
  slo_id              = "in-time"
  display_name        = local.objectives.in-time
  goal                = var.goal_in_time
  rolling_period_days = 28
  user_labels         = var.labels

  request_based_sli {
    distribution_cut {
      distribution_filter = "metric.type=\"run.googleapis.com/request_latencies\" ${local.stages}"
      range {
        min = 0
        max = var.handle_seconds * 1000
      }
    }
  }
}

resource "google_monitoring_alert_policy" "burning" {
  for_each              = local.burning
  project               = var.project_id
  display_name          = "Vitrine ${var.environment}: ${each.key}"
  combiner              = "AND"
  severity              = each.value.severity
  notification_channels = local.channels
  user_labels           = var.labels

  dynamic "conditions" {
    for_each = { long = each.value.long, short = each.value.short }
    content {
      display_name = "over the ${conditions.key} window"
      condition_threshold {
        filter          = "select_slo_burn_rate(\"${each.value.slo}\", \"${conditions.value}\")"
        comparison      = "COMPARISON_GT"
        threshold_value = each.value.rate
        duration        = "0s"
      }
    }
  }

  alert_strategy {
    auto_close = "3600s"
  }

  documentation {
    mime_type = "text/markdown"
    content = join("\n", [
      "**What it means.** The objective is that ${each.value.promise} over 28 days. What may be missed is spent ${each.value.rate} times faster than that allows.",
      "",
      "**Look first at** the dashboard's failed messages and handle time: which subscription is it, and since when? Then at that stage's errors:",
      "",
      "    gcloud logging read 'resource.type=\"cloud_run_revision\" severity>=ERROR' --project=${var.project_id} --freshness=1h --limit=20",
      "",
      "If it began with a new revision of the stage, send its traffic back to the one before:",
      "",
      "    gcloud run services update-traffic STAGE --to-revisions=REVISION=100 --project=${var.project_id} --region=${var.region}",
    ])
  }

  depends_on = [google_monitoring_slo.handled, google_monitoring_slo.in_time]
}
