output "registry" {
  description = "What the names of images begin with."
  value       = module.registry.url
}

output "service_account" {
  description = "The e-mail address of what builds."
  value       = module.build.service_account
}

output "workload_identity_provider" {
  description = "What a workflow on GitHub names to act as it."
  value       = module.build.workload_identity_provider
}
