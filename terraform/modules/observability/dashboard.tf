# Rows of charts, from the flow of a job at the top to the machines at the bottom.

locals {
  # A chart has lines by their names in PromQL, or the median and the slowest hundredth of a distribution that is
  # reported as it is.
  rows = concat(
    [
      [
        {
          title = "Images of jobs, in 5 minutes", unit = "1", of = null
          lines = {
            for name in ["selected", "staged", "augmented", "classified"] :
            name => "sum(increase({\"logging.googleapis.com/user/images_${name}_sum\", ${local.run}}[5m]))"
          }
        },
        {
          title = "Jobs completed, in 5 minutes", unit = "1", of = null
          lines = { completed = "sum(increase({\"logging.googleapis.com/user/jobs_completed\", ${local.run}}[5m]))" }
        },
        {
          title = "Photos that cannot be used, in 5 minutes, by code", unit = "1", of = null
          lines = { "$${labels.code}" = "sum by (code) (increase({\"logging.googleapis.com/user/image_errors_sum\", ${local.run}}[5m]))" }
        },
      ],
      [
        for what in ["handled", "failed", "rejected"] : {
          title = "Messages ${what}, in 5 minutes, by subscription"
          unit  = "1"
          of    = null
          lines = { "$${labels.subscription}" = "sum by (subscription) (increase({\"logging.googleapis.com/user/messages_${what}\", ${local.run}}[5m]))" }
        }
      ],
      [
        {
          title = "Oldest unacknowledged message, by subscription", unit = "s", of = null
          lines = { "$${labels.subscription_id}" = "max by (subscription_id) ({\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\", ${local.pushed}})" }
        },
        {
          title = "Messages that wait, by subscription", unit = "1", of = null
          lines = { "$${labels.subscription_id}" = "max by (subscription_id) ({\"pubsub.googleapis.com/subscription/num_undelivered_messages\", monitored_resource=\"pubsub_subscription\"})" }
        },
        {
          title = "Dead letters, in 5 minutes, by subscription", unit = "1", of = null
          lines = { "$${labels.subscription_id}" = "sum by (subscription_id) (increase({\"pubsub.googleapis.com/subscription/dead_letter_message_count\", ${local.pushed}}[5m]))" }
        },
      ],
      [
        for name, share in { "half of the messages" = 0.5, "99 of 100 messages" = 0.99 } : {
          title                                     = "Handle time that ${name} keep below, by subscription"
          unit                                      = "ms"
          of                                        = null
          lines                                     = { "$${labels.subscription}" = "histogram_quantile(${share}, sum by (le, subscription) (increase({\"logging.googleapis.com/user/handle_ms_bucket\", ${local.run}}[10m])))" }
        }
      ],
      [
        {
          title = "Requests, in 5 minutes, by service and answer", unit = "1", of = null
          lines = { "$${labels.service_name} $${labels.response_code_class}" = "sum by (service_name, response_code_class) (increase({\"run.googleapis.com/request_count\", ${local.run}}[5m]))" }
        },
        { title = "Request latency, by service", unit = "ms", lines = {}, of = "run.googleapis.com/request_latencies" },
        {
          title = "Instances, by service and state", unit = "1", of = null
          lines = { "$${labels.service_name} $${labels.state}" = "sum by (service_name, state) ({\"run.googleapis.com/container/instance_count\", ${local.run}})" }
        },
      ],
      [
        { title = "CPU utilisation, by service", unit = "10^2.%", lines = {}, of = "run.googleapis.com/container/cpu/utilizations" },
        { title = "Memory utilisation, by service", unit = "10^2.%", lines = {}, of = "run.googleapis.com/container/memory/utilizations" },
      ],
    ],
    [
      for row in [[
        { title = "GPU utilisation, by service", unit = "10^2.%", lines = {}, of = "run.googleapis.com/container/gpu/utilizations" },
        { title = "GPU memory utilisation, by service", unit = "10^2.%", lines = {}, of = "run.googleapis.com/container/gpu/memory_utilizations" },
      ]] : row if length(local.gpus) > 0
    ],
  )

  # Cloud Monitoring's mosaic has 48 columns; a row's charts share them.
  tiles = flatten([
    for y, row in local.rows : [
      for x, chart in row : {
        xPos   = x * 48 / length(row)
        yPos   = y * 16
        width  = 48 / length(row)
        height = 16
        widget = {
          title = chart.title
          xyChart = {
            dataSets = concat(
              [
                for legend, query in chart.lines : {
                  plotType        = "LINE"
                  legendTemplate  = legend
                  timeSeriesQuery = { prometheusQuery = query, unitOverride = chart.unit }
                }
              ],
              [
                for percent in chart.of == null ? [] : ["50", "99"] : {
                  plotType       = "LINE"
                  legendTemplate = "$${resource.labels.service_name} p${percent}"
                  timeSeriesQuery = {
                    unitOverride = chart.unit
                    timeSeriesFilter = {
                      filter = "metric.type=\"${chart.of}\" resource.type=\"cloud_run_revision\""
                      aggregation = {
                        alignmentPeriod    = "60s"
                        perSeriesAligner   = "ALIGN_PERCENTILE_${percent}"
                        crossSeriesReducer = "REDUCE_MAX"
                        groupByFields      = ["resource.label.service_name"]
                      }
                    }
                  }
                }
              ],
            )
          }
        }
      }
    ]
  ])
}

resource "google_monitoring_dashboard" "dashboard" {
  project = var.project_id
  dashboard_json = jsonencode({
    displayName  = "Vitrine ${var.environment}"
    mosaicLayout = { columns = 48, tiles = local.tiles }
  })
}
