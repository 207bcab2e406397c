mock_provider "google" {}

variables {
  project_id  = "acme-dev"
  environment = "dev"
  region      = "europe-west4"
  metrics = {
    handle_ms         = { kind = "milliseconds", labels = ["subscription"] }
    image_errors      = { kind = "amount", labels = ["code"] }
    images_augmented  = { kind = "amount" }
    images_classified = { kind = "amount" }
    images_selected   = { kind = "amount" }
    images_staged     = { kind = "amount" }
    jobs_completed    = { kind = "count" }
    messages_failed   = { kind = "count", labels = ["subscription"] }
    messages_handled  = { kind = "count", labels = ["subscription"] }
    messages_rejected = { kind = "count", labels = ["subscription"] }
  }
  services = {
    inference = { gpu = false, max_instances = 3 }
    staging   = { gpu = false, max_instances = 20 }
  }
  subscriptions        = ["batch-selected-to-staging", "image-uploaded-to-inference"]
  kept_subscriptions   = ["message-unrecorded-to-keep"]
  upload_subscriptions = ["image-uploaded-to-inference"]
}

run "entries_are_counted" {
  command = plan
  assert {
    condition     = length(google_logging_metric.metric) == 10
    error_message = "Not every metric is made."
  }
  assert {
    condition     = google_logging_metric.metric["messages_failed"].filter == "resource.type=\"cloud_run_revision\" AND jsonPayload.metric=\"messages_failed\""
    error_message = "The metric does not read the entries that carry its name."
  }
  assert {
    condition = (
      google_logging_metric.metric["messages_failed"].metric_descriptor[0].value_type == "INT64" &&
      google_logging_metric.metric["messages_failed"].value_extractor == null &&
      length(google_logging_metric.metric["messages_failed"].bucket_options) == 0
    )
    error_message = "A counter is not one."
  }
  assert {
    condition     = google_logging_metric.metric["messages_failed"].label_extractors == tomap({ subscription = "EXTRACT(jsonPayload.subscription)" })
    error_message = "The label is not taken from the entry."
  }
  assert {
    condition     = length(google_logging_metric.metric["jobs_completed"].metric_descriptor[0].labels) == 0
    error_message = "There are labels that nobody asked for."
  }
}

run "amounts_are_added_up" {
  command = plan
  assert {
    condition = (
      google_logging_metric.metric["images_staged"].metric_descriptor[0].value_type == "DISTRIBUTION" &&
      google_logging_metric.metric["images_staged"].value_extractor == "EXTRACT(jsonPayload.value)"
    )
    error_message = "What an entry says is not read."
  }
  assert {
    condition     = google_logging_metric.metric["handle_ms"].metric_descriptor[0].unit == "ms"
    error_message = "Handle times are not in milliseconds."
  }
  assert {
    condition = (
      pow(
        google_logging_metric.metric["handle_ms"].bucket_options[0].exponential_buckets[0].growth_factor,
        google_logging_metric.metric["handle_ms"].bucket_options[0].exponential_buckets[0].num_finite_buckets,
      ) > 540 * 1000
    )
    error_message = "A request may take longer than the last bucket tells."
  }
}

run "without_addresses_alerts_stand_and_reach_nobody" {
  command = plan
  assert {
    condition     = length(google_monitoring_notification_channel.email) == 0
    error_message = "There is a channel that nobody asked for."
  }
  assert {
    condition     = alltrue([for each in google_monitoring_alert_policy.alert : length(each.notification_channels) == 0])
    error_message = "An alert has a channel."
  }
  assert {
    condition = output.alerts == tolist([
      "handled-burns-fast", "handled-burns-slow", "in-time-burns-fast", "in-time-burns-slow",
      "messages-given-up", "messages-rejected", "messages-unrecorded", "messages-wait", "requests-fail",
      "requests-slow", "uploads-fail",
    ])
    error_message = "Not these alerts are told."
  }
}

run "every_alert_reaches_every_address" {
  variables {
    alert_emails = ["catalogue@example.com", "oncall@example.com"]
  }
  assert {
    condition     = keys(output.notification_channels) == ["catalogue@example.com", "oncall@example.com"]
    error_message = "The channels are not told by address."
  }
  assert {
    condition = alltrue([
      for each in concat(values(google_monitoring_alert_policy.alert), values(google_monitoring_alert_policy.burning)) :
      toset(each.notification_channels) == toset(values(output.notification_channels))
    ])
    error_message = "An alert does not reach everybody."
  }
  assert {
    condition     = google_monitoring_notification_channel.email["oncall@example.com"].labels.email_address == "oncall@example.com"
    error_message = "The channel leads elsewhere."
  }
  assert {
    condition     = output.dashboard_id == google_monitoring_dashboard.dashboard.id
    error_message = "The dashboard is not told."
  }
}

run "gpus_are_watched_where_there_are_any" {
  command = plan
  variables {
    services = {
      inference = { gpu = true, min_instances = 1, max_instances = 3 }
      staging   = { gpu = false, max_instances = 20 }
    }
  }
  assert {
    condition     = endswith(google_monitoring_alert_policy.alert["gpus-at-maximum"].conditions[0].condition_prometheus_query_language[0].query, "service_name=\"inference\"}) >= 3")
    error_message = "The maximum is not that of the service with the GPU."
  }
  assert {
    condition     = strcontains(google_monitoring_alert_policy.alert["gpus-idle"].conditions[0].condition_prometheus_query_language[0].query, "service_name=\"inference\"}) > 1 unless")
    error_message = "An instance that always runs is to be idle in peace."
  }
  assert {
    condition     = strcontains(google_monitoring_dashboard.dashboard.dashboard_json, "container/gpu/utilizations")
    error_message = "The dashboard does not show the GPU."
  }
}

run "without_gpus_nothing_asks_for_them" {
  command = plan
  assert {
    condition     = !strcontains(google_monitoring_dashboard.dashboard.dashboard_json, "/gpu/")
    error_message = "The dashboard shows GPUs."
  }
  assert {
    condition     = length([for name in output.alerts : name if startswith(name, "gpus-")]) == 0
    error_message = "There is an alert about GPUs."
  }
}

run "limits_are_those_that_were_asked_for" {
  command = plan
  variables {
    goal_handled           = 0.999
    handle_seconds         = 60
    latency_seconds        = 120
    oldest_unacked_seconds = 600
  }
  assert {
    condition     = google_monitoring_slo.handled.goal == 0.999 && google_monitoring_slo.in_time.goal == 0.95
    error_message = "The goals are others."
  }
  assert {
    condition     = google_monitoring_slo.in_time.request_based_sli[0].distribution_cut[0].range[0].max == 60000
    error_message = "In time is not within 60 seconds."
  }
  assert {
    condition     = endswith(google_monitoring_alert_policy.alert["requests-slow"].conditions[0].condition_prometheus_query_language[0].query, "> 120000")
    error_message = "Slow is not above 120 seconds."
  }
  assert {
    condition     = endswith(google_monitoring_alert_policy.alert["messages-wait"].conditions[0].condition_prometheus_query_language[0].query, "subscription_id=~\"batch-selected-to-staging|image-uploaded-to-inference\"}) > 600")
    error_message = "Not every push subscription is watched for messages older than ten minutes."
  }
  assert {
    condition     = google_monitoring_alert_policy.burning["handled-burns-fast"].conditions[0].condition_threshold[0].filter == "select_slo_burn_rate(\"projects/acme-dev/services/vitrine-dev/serviceLevelObjectives/handled\", \"3600s\")"
    error_message = "The alert does not watch the objective."
  }
}

run "an_address_that_is_none_is_refused" {
  command = plan
  variables {
    alert_emails = ["oncall"]
  }
  expect_failures = [var.alert_emails]
}

run "an_environment_in_capitals_is_refused" {
  command = plan
  variables {
    environment = "Dev"
  }
  expect_failures = [var.environment]
}

run "a_goal_of_everything_is_refused" {
  command = plan
  variables {
    goal_handled = 1
  }
  expect_failures = [var.goal_handled]
}

run "a_goal_in_percent_is_refused" {
  command = plan
  variables {
    goal_in_time = 95
  }
  expect_failures = [var.goal_in_time]
}

run "a_goal_that_the_fast_alert_cannot_watch_is_refused" {
  command = plan
  variables {
    goal_in_time = 0.9
  }
  expect_failures = [var.goal_in_time]
}

run "more_time_than_a_request_has_is_refused" {
  command = plan
  variables {
    handle_seconds  = 541
    latency_seconds = 541
  }
  expect_failures = [var.handle_seconds, var.latency_seconds]
}

run "no_kept_subscription_is_refused" {
  command = plan
  variables {
    kept_subscriptions = []
  }
  expect_failures = [var.kept_subscriptions]
}

run "a_kind_that_is_unknown_is_refused" {
  command = plan
  variables {
    metrics = {
      handle_ms         = { kind = "milliseconds", labels = ["subscription"] }
      image_errors      = { kind = "amount", labels = ["code"] }
      images_augmented  = { kind = "amount" }
      images_classified = { kind = "amount" }
      images_selected   = { kind = "amount" }
      images_staged     = { kind = "amount" }
      jobs_completed    = { kind = "count" }
      jobs_running      = { kind = "gauge" }
      messages_failed   = { kind = "count", labels = ["subscription"] }
      messages_handled  = { kind = "count", labels = ["subscription"] }
      messages_rejected = { kind = "count", labels = ["subscription"] }
    }
  }
  expect_failures = [var.metrics]
}

run "a_metric_that_is_missing_is_refused" {
  command = plan
  variables {
    metrics = {
      messages_handled = { kind = "count", labels = ["subscription"] }
    }
  }
  expect_failures = [var.metrics]
}

run "a_wait_that_outlasts_messages_is_refused" {
  command = plan
  variables {
    oldest_unacked_seconds = 604801
  }
  expect_failures = [var.oldest_unacked_seconds]
}

run "a_continent_is_refused" {
  command = plan
  variables {
    region = "europe"
  }
  expect_failures = [var.region]
}

run "fewer_instances_at_most_than_always_are_refused" {
  command = plan
  variables {
    services = { inference = { gpu = true, min_instances = 4, max_instances = 3 } }
  }
  expect_failures = [var.services]
}

run "no_subscription_is_refused" {
  command = plan
  variables {
    subscriptions = []
  }
  expect_failures = [var.subscriptions]
}

run "uploads_by_an_unknown_subscription_are_refused" {
  command = plan
  variables {
    upload_subscriptions = ["image-uploaded-to-staging"]
  }
  expect_failures = [var.upload_subscriptions]
}
