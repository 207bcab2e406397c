output "agents" {
  description = "Service => the member that acts for it in the project, once its API is on and it may use the key."
  value       = local.agents
  depends_on = [
    google_project_service.service,
    google_kms_crypto_key_iam_member.encrypter,
    data.google_storage_project_service_account.agent,
  ]
}

output "id" {
  description = "The project, once its APIs are on and its agents may use the key."
  value       = var.project_id
  depends_on = [
    google_project_service.service,
    google_kms_crypto_key_iam_member.encrypter,
    data.google_storage_project_service_account.agent,
  ]
}
