output "alert_channels" {
  description = "E-mail address => the channel that alerts reach it through."
  value       = module.observability.notification_channels
}

output "bucket" {
  description = "The bucket of photos, jobs and models."
  value       = module.bucket.name
}

output "dashboard" {
  description = "The dashboard, as projects/<project number>/dashboards/<id>."
  value       = module.observability.dashboard_id
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

output "services" {
  description = "Stage => where it is pushed to."
  value       = { for name, stage in module.stages : name => stage.url }
}

output "upload_bucket" {
  description = "The bucket that photos are dropped in."
  value       = module.uploads.name
}
