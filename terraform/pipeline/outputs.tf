output "bucket" {
  description = "The bucket of photos, jobs and models."
  value       = module.bucket.name
}

output "dataset" {
  description = "The dataset of products and predictions."
  value       = module.warehouse.dataset_id
}

output "environment" {
  description = "What `vitrine` needs to know to use this environment."
  value = {
    GOOGLE_CLOUD_PROJECT  = var.project_id
    VITRINE_BUCKET        = module.bucket.name
    VITRINE_DATASET       = module.warehouse.dataset_id
    VITRINE_REQUEST_TOPIC = local.request_topic
    VITRINE_UPLOAD_BUCKET = module.uploads.name
  }
}

output "services" {
  description = "Stage => where it is pushed to."
  value       = { for name, stage in module.stages : name => stage.url }
}

output "upload_bucket" {
  description = "The bucket that photos are dropped in."
  value       = module.uploads.name
}
