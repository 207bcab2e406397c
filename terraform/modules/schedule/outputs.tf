output "name" {
  description = "The job's name, once it stands."
  value       = var.name
  depends_on  = [google_cloud_scheduler_job.job]
}
