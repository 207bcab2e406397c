# One metric for each name in services/shared/metrics.py. Each reads the log entries that carry its name.

locals {
  kinds = {
    # A counter counts entries, and cannot add up what they say.
    count        = { type = "INT64", unit = "1", buckets = null }
    amount       = { type = "DISTRIBUTION", unit = "1", buckets = { number = 30, growth = 2 } }
    milliseconds = { type = "DISTRIBUTION", unit = "ms", buckets = { number = 64, growth = 1.25 } }
  }
}

resource "google_logging_metric" "metric" {
  for_each         = var.metrics
  project          = var.project_id
  name             = each.key
  description      = "${each.key}, as services/shared/metrics.py describes it."
  filter           = "resource.type=\"cloud_run_revision\" AND jsonPayload.metric=\"${each.key}\""
  value_extractor  = each.value.kind == "count" ? null : "EXTRACT(jsonPayload.value)"
  label_extractors = { for label in each.value.labels : label => "EXTRACT(jsonPayload.${label})" }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = local.kinds[each.value.kind].type
    unit        = local.kinds[each.value.kind].unit

    dynamic "labels" {
      for_each = each.value.labels
      content {
        key        = labels.value
        value_type = "STRING"
      }
    }
  }

  dynamic "bucket_options" {
    for_each = local.kinds[each.value.kind].buckets == null ? [] : [local.kinds[each.value.kind].buckets]
    content {
      exponential_buckets {
        num_finite_buckets = bucket_options.value.number
        growth_factor      = bucket_options.value.growth
        scale              = 1
      }
    }
  }
}
