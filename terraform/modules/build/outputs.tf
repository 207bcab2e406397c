output "members" {
  description = "Environment => what builds and applies it, as a member of grants."
  value       = local.members
}

output "service_accounts" {
  description = "Environment => the e-mail address of what builds and applies it, once it has its roles."
  value       = local.emails
  depends_on  = [google_project_iam_member.deployer, google_project_iam_member.granter]
}

output "workload_identity_provider" {
  description = "What a workflow on GitHub names to act as the identity of an environment that needs no approval."
  value       = "projects/${var.project_number}/locations/global/workloadIdentityPools/${google_iam_workload_identity_pool.github.workload_identity_pool_id}/providers/${google_iam_workload_identity_pool_provider.github.workload_identity_pool_provider_id}"
  depends_on  = [google_service_account_iam_member.github]
}
