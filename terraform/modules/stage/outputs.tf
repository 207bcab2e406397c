output "name" {
  description = "The service's name, once it stands."
  value       = var.name
  depends_on  = [google_cloud_run_v2_service.service]
}

output "url" {
  description = "Where it is called, once it stands and its invokers may."
  value       = local.url
  depends_on = [
    google_cloud_run_v2_service.service,
    google_cloud_run_v2_service_iam_member.invoker,
    google_cloud_run_v2_service_iam_member.public,
  ]
}
