output "alerts" {
  description = "The names of the alert policies."
  value       = sort(concat(keys(local.alerts), keys(local.burning)))
  depends_on  = [google_monitoring_alert_policy.alert, google_monitoring_alert_policy.burning]
}

output "dashboard_id" {
  description = "The dashboard, as projects/<project number>/dashboards/<id>."
  value       = google_monitoring_dashboard.dashboard.id
}

output "notification_channels" {
  description = "E-mail address => the channel that alerts reach it through."
  value       = { for email, channel in google_monitoring_notification_channel.email : email => channel.name }
}
