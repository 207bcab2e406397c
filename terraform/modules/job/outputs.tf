output "name" {
  description = "The job's name, once it stands and its launchers may execute it."
  value       = var.name
  depends_on = [
    google_cloud_run_v2_job.job,
    google_cloud_run_v2_job_iam_member.launcher,
    google_cloud_run_v2_job_iam_member.viewer,
  ]
}
