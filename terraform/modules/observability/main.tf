# What people look at and what wakes them: metrics from the services' logs, objectives, alerts, a dashboard.

locals {
  service_id = "vitrine-${var.environment}"
  gpus       = { for name, service in var.services : name => service if service.gpu }

  # In PromQL: what Cloud Run reports and what its services log, Pub/Sub's push subscriptions, and what is logged of
  # uploads. A metric that several kinds of resource may have cannot be asked for without one.
  run     = "monitored_resource=\"cloud_run_revision\""
  pushed  = "monitored_resource=\"pubsub_subscription\", subscription_id=~\"${join("|", var.subscriptions)}\""
  uploads = "subscription=~\"${join("|", var.upload_subscriptions)}\""
}

resource "google_monitoring_notification_channel" "email" {
  for_each     = var.alert_emails
  project      = var.project_id
  display_name = "Vitrine ${var.environment}: ${each.value}"
  type         = "email"
  labels       = { email_address = each.value }
  user_labels  = var.labels
}
