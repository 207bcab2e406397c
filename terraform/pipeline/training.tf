# The training job, where an environment asks for one: it learns from the table of products, their photos and what people
# say of them, and publishes a version of the model, which serves nobody until somebody promotes it.

locals {
  # Its name, beside those of the stages; nothing where there is none.
  training = toset(var.training == null ? [] : ["training"])
  # Without a GPU an attempt may take longer, and more CPUs make up for a little of what is missing.
  training_limits = try(var.training.gpu, false) ? { cpu = 4, timeout = 3600 } : { cpu = 8, timeout = 24 * 3600 }
}

module "training" {
  source              = "../modules/job"
  for_each            = local.training
  name                = each.key
  project_id          = local.project_id
  region              = var.region
  image               = var.images.training
  environment         = { for name in local.job_environment : name => local.values[name] if local.values[name] != null }
  cpu                 = local.training_limits.cpu
  memory              = "16Gi"
  gpu                 = var.training.gpu ? { zonal_redundancy = var.gpu_zonal_redundancy } : null
  timeout             = local.training_limits.timeout
  max_retries         = var.training.max_retries
  service_account     = local.workers[each.key]
  launchers           = var.training.trainers
  deletion_protection = var.deletion_protection
  kms_key_name        = var.kms_key_name
  labels              = local.labels
}
