# Rows of charts, from the flow of a job at the top to the machines at the bottom.

locals {
  # A chart's lines are queries by what the legend calls them; without a name, by what the query tells apart.
  job_charts = [
    {
      title = "Images of jobs, in 5 minutes"
      unit  = "1"
      lines = {
        for name in ["selected", "staged", "augmented", "classified"] :
        name => "sum(increase({\"logging.googleapis.com/user/images_${name}_sum\", ${local.run}}[5m]))"
      }
    },
    {
      title = "Jobs completed, in 5 minutes"
      unit  = "1"
      lines = { completed = "sum(increase({\"logging.googleapis.com/user/jobs_completed\", ${local.run}}[5m]))" }
    },
    {
      title = "Photos that cannot be used, in 5 minutes, by code"
      unit  = "1"
      lines = { "" = "sum by (code) (increase({\"logging.googleapis.com/user/image_errors_sum\", ${local.run}}[5m]))" }
    },
  ]

  message_charts = [
    for what in ["handled", "failed", "rejected"] : {
      title = "Messages ${what}, in 5 minutes, by subscription"
      unit  = "1"
      lines = { "" = "sum by (subscription) (increase({\"logging.googleapis.com/user/messages_${what}\", ${local.run}}[5m]))" }
    }
  ]

  waiting_charts = [
    {
      title = "Oldest unacknowledged message, by subscription"
      unit  = "s"
      lines = { "" = "max by (subscription_id) ({\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\", ${local.pushed}})" }
    },
    {
      title = "Messages that wait, by subscription"
      unit  = "1"
      lines = { "" = "max by (subscription_id) ({\"pubsub.googleapis.com/subscription/num_undelivered_messages\", monitored_resource=\"pubsub_subscription\"})" }
    },
    {
      title = "Dead letters, in 5 minutes, by subscription"
      unit  = "1"
      lines = { "" = "sum by (subscription_id) (increase({\"pubsub.googleapis.com/subscription/dead_letter_message_count\", ${local.pushed}}[5m]))" }
    },
  ]

  time_charts = concat(
    [
      for percent in [50, 99] : {
        title = "Handle time, ${percent}th percentile, by subscription"
        unit  = "ms"
        lines = { "" = "histogram_quantile(${percent / 100}, sum by (le, subscription) (increase({\"logging.googleapis.com/user/handle_ms_bucket\", ${local.run}}[10m])))" }
      }
    ],
    [
      {
        title = "Request latency, 99th percentile, by service"
        unit  = "ms"
        lines = { "" = "histogram_quantile(0.99, sum by (le, service_name) (increase({\"run.googleapis.com/request_latencies_bucket\", ${local.run}}[10m])))" }
      },
    ],
  )

  service_charts = [
    {
      title = "Requests, in 5 minutes, by service and answer"
      unit  = "1"
      lines = { "" = "sum by (service_name, response_code_class) (increase({\"run.googleapis.com/request_count\", ${local.run}}[5m]))" }
    },
    {
      title = "Instances, by service and state"
      unit  = "1"
      lines = { "" = "sum by (service_name, state) ({\"run.googleapis.com/container/instance_count\", ${local.run}})" }
    },
  ]

  # Distributions over the instances of a service, at a percentile: asked for as they are, for some are gauges.
  machine_charts = [
    { title = "CPU utilisation, 99th percentile, by service", percent = "99", of = "run.googleapis.com/container/cpu/utilizations" },
    { title = "Memory utilisation, 99th percentile, by service", percent = "99", of = "run.googleapis.com/container/memory/utilizations" },
  ]
  gpu_charts = [
    { title = "GPU utilisation, 50th percentile, by service", percent = "50", of = "run.googleapis.com/container/gpu/utilizations" },
    { title = "GPU memory utilisation, 99th percentile, by service", percent = "99", of = "run.googleapis.com/container/gpu/memory_utilizations" },
  ]

  rows = concat(
    [
      for charts in [
        local.job_charts, local.message_charts, local.waiting_charts, local.time_charts, local.service_charts
        ] : [
        for chart in charts : {
          title = chart.title
          xyChart = {
            dataSets = [
              for legend, query in chart.lines : merge(
                { plotType = "LINE", timeSeriesQuery = { prometheusQuery = query, unitOverride = chart.unit } },
                { for name in [legend] : "legendTemplate" => name if name != "" },
              )
            ]
          }
        }
      ]
    ],
    [
      for charts in concat([local.machine_charts], [for each in [local.gpu_charts] : each if length(local.gpus) > 0]) : [
        for chart in charts : {
          title = chart.title
          xyChart = {
            dataSets = [{
              plotType = "LINE"
              timeSeriesQuery = {
                timeSeriesFilter = {
                  filter = "metric.type=\"${chart.of}\" resource.type=\"cloud_run_revision\""
                  aggregation = {
                    alignmentPeriod    = "60s"
                    perSeriesAligner   = "ALIGN_PERCENTILE_${chart.percent}"
                    crossSeriesReducer = "REDUCE_MAX"
                    groupByFields      = ["resource.label.service_name"]
                  }
                }
              }
            }]
          }
        }
      ]
    ],
  )

  # Cloud Monitoring's mosaic has 48 columns; a row's charts share them. A position of 0 is left out, as Cloud
  # Monitoring does: otherwise every plan would change the dashboard.
  tiles = flatten([
    for y, row in local.rows : [
      for x, widget in row : merge(
        { width = 48 / length(row), height = 16, widget = widget },
        { for key, position in { xPos = x * 48 / length(row), yPos = y * 16 } : key => position if position > 0 },
      )
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
