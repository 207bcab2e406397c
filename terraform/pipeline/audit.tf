# The job that audits the catalogue's labels, where an environment asks for one: it embeds the products' photos, judges each
# declared label by heads that did not learn it, and adds what it finds to the table audited_labels.

locals {
  # Its name, beside those of the stages; nothing where there is none.
  audit = toset(var.audit == null ? [] : ["audit"])
}

module "audit" {
  source              = "../modules/job"
  for_each            = local.audit
  name                = each.key
  project_id          = local.project_id
  region              = var.region
  image               = var.images.audit
  environment         = { for name in local.job_environment : name => local.values[name] if local.values[name] != null }
  cpu                 = 4
  memory              = "8Gi"
  timeout             = 24 * 3600
  max_retries         = var.audit.max_retries
  service_account     = local.workers[each.key]
  launchers           = var.audit.auditors
  deletion_protection = var.deletion_protection
  kms_key_name        = var.kms_key_name
  labels              = local.labels
}
