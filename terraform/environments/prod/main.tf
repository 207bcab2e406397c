# The catalogue's own: protected from deletion, kept for ever, watched.
terraform {
  backend "gcs" {
    # `make plan ENV=prod` names the bucket that `make bootstrap ENV=prod` made: -backend-config=bucket=...
    prefix = "vitrine"
  }
}

provider "google" {
  project = var.project_id
  region  = var.region
  # A person's calls count for this project, too: the Budget API takes no others.
  billing_project       = var.project_id
  user_project_override = true
}

module "pipeline" {
  source               = "../../pipeline"
  environment          = "prod"
  project_id           = var.project_id
  project_number       = var.project_number
  region               = var.region
  location             = var.location
  images               = var.images
  gpu                  = var.gpu
  deletion_protection  = true
  gpu_zonal_redundancy = var.gpu_zonal_redundancy
  min_instances        = var.min_instances
  max_instances        = var.max_instances
  request_publishers   = var.request_publishers
  uploaders            = var.uploaders
  readers              = var.readers
  promoters            = var.promoters
  kms_key_name         = var.kms_key_name
  alert_emails         = var.alert_emails
  vpc_connector        = var.vpc_connector
  labels               = var.labels
  budget               = var.budget
  schedules            = var.schedules
  training             = var.training
  audit                = var.audit
  gateway              = var.gateway
  catalogue            = var.catalogue
}

output "environment" {
  description = "What `vitrine` needs to know to use this environment."
  value       = module.pipeline.environment
}

output "rollout" {
  description = "What `python -m services.release` needs to know to roll out inference."
  value       = module.pipeline.rollout
}

output "gateway" {
  description = "Where the gateway is; null where there is none."
  value       = module.pipeline.gateway
}
