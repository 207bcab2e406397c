output "member" {
  description = "What builds, as a member of grants."
  value       = local.member
}

output "service_account" {
  description = "The e-mail address of what builds, once it has its roles."
  value       = "${google_service_account.build.account_id}@${var.project_id}.iam.gserviceaccount.com"
  depends_on  = [google_project_iam_member.deployer, google_project_iam_member.granter]
}

output "workload_identity_provider" {
  description = "What a workflow on GitHub names to act as it."
  value       = "projects/${var.project_number}/locations/global/workloadIdentityPools/${google_iam_workload_identity_pool.github.workload_identity_pool_id}/providers/${google_iam_workload_identity_pool_provider.github.workload_identity_pool_provider_id}"
  depends_on  = [google_service_account_iam_member.github]
}
