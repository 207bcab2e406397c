# What the stages work on: the bucket of photos, jobs and models; the bucket that photos are dropped in; the
# dataset.

locals {
  # No stage replaces or deletes an object: each writes what is not there yet.
  stage_bucket_members = merge([
    for name in keys(local.stages) : {
      "${name}-reads"  = { role = "roles/storage.objectViewer", member = local.members[name], prefix = null }
      "${name}-writes" = { role = "roles/storage.objectCreator", member = local.members[name], prefix = null }
    }
  ]...)
  # Whoever promotes a model moves a pointer, and so must be able to replace it.
  promoters = {
    for name, member in var.promoters :
    "${name}-promotes" => { role = "roles/storage.objectUser", member = member, prefix = "models/" }
  }
  # A run replaces its checkpoints. A version of the model it only adds: to replace one, or to promote its own, is
  # not the training job's.
  training_bucket_members = merge([
    for name in local.training : {
      "${name}-reads"     = { role = "roles/storage.objectViewer", member = local.members[name], prefix = null }
      "${name}-remembers" = { role = "roles/storage.objectUser", member = local.members[name], prefix = "training/" }
      "${name}-publishes" = { role = "roles/storage.objectCreator", member = local.members[name], prefix = "models/" }
    }
  ]...)
  # An audit never replaces what it has written.
  audit_bucket_members = merge([
    for name in local.audit : {
      "${name}-reads"  = { role = "roles/storage.objectViewer", member = local.members[name], prefix = null }
      "${name}-writes" = { role = "roles/storage.objectCreator", member = local.members[name], prefix = "audits/" }
    }
  ]...)
  # Stage, the gateway, or a job => table => access.
  tables = merge(
    { for name, stage in local.stages : name => stage.tables if length(stage.tables) > 0 },
    { for name in local.gateway : name => local.gateway_service.tables },
    { for name in local.training : name => { products = "read", labels = "read" } },
    # What people have judged, it does not list.
    { for name in local.audit : name => { products = "read", labels = "read", audited_labels = "write" } },
  )
}

module "bucket" {
  source           = "../modules/bucket"
  project_id       = local.project_id
  name             = local.bucket
  location         = local.location
  force_destroy    = !var.deletion_protection
  versioning       = var.deletion_protection
  soft_delete_days = var.deletion_protection ? 30 : 7
  kms_key_name     = var.kms_key_name
  labels           = local.labels
  members          = merge(local.stage_bucket_members, local.gateway_bucket_members, local.training_bucket_members, local.audit_bucket_members, local.promoters)
  # A message is not delivered again after its retention, so that nobody asks for older marks. Below smoke/ are the
  # photos that new revisions of inference are tested with. A session is over by itself after half a day.
  expiry_days = merge(
    { "audits/" = 90, "handled/" = 31, "sessions/" = 2, "smoke/" = 1, "training/" = 90 },
    var.job_expiry_days == null ? {} : { "jobs/" = var.job_expiry_days, "recent/" = var.job_expiry_days },
  )
}

module "uploads" {
  source           = "../modules/bucket"
  project_id       = local.project_id
  name             = local.uploads
  location         = local.location
  force_destroy    = !var.deletion_protection
  soft_delete_days = var.deletion_protection ? 30 : 7
  kms_key_name     = var.kms_key_name
  labels           = local.labels
  members = merge(
    { for name, member in var.uploaders : "${name}-writes" => { role = "roles/storage.objectCreator", member = member } },
    {
      for name, stage in local.stages : "${name}-reads" => {
        role = "roles/storage.objectViewer", member = local.members[name]
      } if stage.reads_uploads
    },
    # What it is sent it adds, and reads again: the same photo under the same name is no second one.
    { for name in local.gateway : "${name}-reads" => { role = "roles/storage.objectViewer", member = local.members[name] } },
    { for name in local.gateway : "${name}-writes" => { role = "roles/storage.objectCreator", member = local.members[name] } },
  )
  notified_topics = {
    for name, topic in local.topics : name => module.topics[name].id if contains(topic.producers, "cloud-storage")
  }
}

module "warehouse" {
  source              = "../modules/warehouse"
  project_id          = local.project_id
  location            = local.location
  schemas             = "${local.root}/schemas"
  deletion_protection = var.deletion_protection
  kms_key_name        = var.kms_key_name
  labels              = local.labels
  # The gateway shows what is in them, views as well.
  readers      = merge(var.readers, { for name in local.gateway : "${name}-worker" => local.members[name] })
  described_to = { for name in setsubtract(keys(local.tables), local.gateway) : name => local.members[name] }
  members = merge([
    for name, tables in local.tables : {
      for table, access in tables :
      "${name}-${access}s-${table}" => { table = table, access = access, member = local.members[name] }
    }
  ]...)
}

resource "google_project_iam_member" "reader" {
  for_each = var.readers
  project  = local.project_id
  role     = "roles/bigquery.jobUser"
  member   = each.value
}
