# What is watched of the pipeline: every metric that services log, every subscription, every stage.

locals {
  # services/shared/metrics.py, which says what each counts; with the labels that the services give.
  metrics = {
    handle_ms         = { kind = "milliseconds", labels = ["subscription"] }
    image_errors      = { kind = "amount", labels = ["code"] }
    images_augmented  = { kind = "amount", labels = [] }
    images_classified = { kind = "amount", labels = [] }
    images_selected   = { kind = "amount", labels = [] }
    images_staged     = { kind = "amount", labels = [] }
    jobs_completed    = { kind = "count", labels = [] }
    messages_failed   = { kind = "count", labels = ["subscription"] }
    messages_handled  = { kind = "count", labels = ["subscription"] }
    messages_rejected = { kind = "count", labels = ["subscription"] }
  }
  watched = merge([
    for name, topic in local.topics : {
      for service, each in topic.subscriptions : "${name}-to-${service}" => {
        pull    = each.pull
        uploads = contains(topic.producers, "cloud-storage")
      }
    }
  ]...)
}

module "observability" {
  source               = "../modules/observability"
  project_id           = local.project_id
  region               = var.region
  environment          = var.environment
  alert_emails         = var.alert_emails
  metrics              = local.metrics
  subscriptions        = [for name, each in local.watched : name if !each.pull]
  kept_subscriptions   = [for name, each in local.watched : name if each.pull]
  upload_subscriptions = [for name, each in local.watched : name if each.uploads && !each.pull]
  labels               = local.labels
  services = {
    for name, stage in local.deployed : name => {
      gpu           = stage.gpu
      min_instances = lookup(var.min_instances, name, 0)
      max_instances = lookup(var.max_instances, name, stage.max_instances)
    }
  }
}
