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

output "gateway" {
  description = "Where the gateway is; null where there is none."
  value       = var.gateway == null ? null : local.gateway_url
  depends_on  = [module.gateway]
}

output "rollout" {
  description = "What `python -m services.release` needs to know to roll out inference."
  value = {
    project       = var.project_id
    region        = var.region
    bucket        = module.bucket.name
    upload_bucket = module.uploads.name
    dataset       = module.warehouse.dataset_id
    invoker       = local.invoker
    url           = module.stages["inference"].url
  }
}
