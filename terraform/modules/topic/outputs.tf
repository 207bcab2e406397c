output "id" {
  description = "The topic, as projects/<project>/topics/<name>, once its publishers may publish."
  value       = "projects/${var.project_id}/topics/${var.name}"
  depends_on  = [google_pubsub_topic.topic, google_pubsub_topic_iam_member.publisher]
}

output "subscriptions" {
  description = "The names of its subscriptions."
  value       = keys(var.subscriptions)
  depends_on  = [google_pubsub_subscription.subscription]
}
