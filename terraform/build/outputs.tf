output "registry" {
  description = "What the names of images begin with."
  value       = module.registry.url
}

output "service_accounts" {
  description = "Environment => the e-mail address of what builds and applies it."
  value       = module.build.service_accounts
}

output "workload_identity_provider" {
  description = "What a workflow on GitHub names to act as the identity of an environment that needs no approval."
  value       = module.build.workload_identity_provider
}
