# What people look at and what wakes them: metrics from the services' logs, objectives, alerts, a dashboard.

locals {
  # Written out, so that a plan shows what the alerts and the dashboard look at.
  service_id = "vitrine-${var.environment}"
  gpus       = { for name, service in var.services : name => service if service.gpu }

  # PromQL's selector of what Cloud Run reports of itself and of what its services log, and of Pub/Sub's pushes:
  # a metric that several kinds of resource have cannot be asked for without.
  run    = "monitored_resource=\"cloud_run_revision\""
  pushed = "monitored_resource=\"pubsub_subscription\", subscription_id=~\"${join("|", var.subscriptions)}\""
}

resource "google_monitoring_notification_channel" "email" {
  for_each     = var.alert_emails
  project      = var.project_id
  display_name = "Vitrine ${var.environment}: ${each.value}"
  type         = "email"
  labels       = { email_address = each.value }
  user_labels  = var.labels
}
