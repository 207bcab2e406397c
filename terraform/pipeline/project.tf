# Before everything else: the project's APIs, its audit, and the right of Google's agents to use the key. What is made
# in the project names it by this module's output, and so waits for it.

locals {
  project_id = module.project.id
}

module "project" {
  source         = "../modules/project"
  project_id     = var.project_id
  project_number = var.project_number
  kms_key_name   = var.kms_key_name
}
