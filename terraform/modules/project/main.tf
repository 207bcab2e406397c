# What a project needs before anything is made in it: its APIs, the audit of who reads and writes, and Google's own
# agents' right to use the key.

locals {
  # Who encrypts for the project. Written out, and not asked of the provider, so that a plan shows who gets what.
  agents = {
    artifactregistry = "serviceAccount:service-${var.project_number}@gcp-sa-artifactregistry.iam.gserviceaccount.com"
    bigquery         = "serviceAccount:bq-${var.project_number}@bigquery-encryption.iam.gserviceaccount.com"
    pubsub           = "serviceAccount:service-${var.project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
    run              = "serviceAccount:service-${var.project_number}@serverless-robot-prod.iam.gserviceaccount.com"
    secretmanager    = "serviceAccount:service-${var.project_number}@gcp-sa-secretmanager.iam.gserviceaccount.com"
    storage          = "serviceAccount:service-${var.project_number}@gs-project-accounts.iam.gserviceaccount.com"
  }
  encrypting = var.kms_key_name == null ? [] : var.encrypting
}

resource "google_project_service" "service" {
  for_each = var.services
  project  = var.project_id
  service  = each.value
  # Somebody else may use it too, and what is switched off takes with it what was made.
  disable_on_destroy = false
}

# Who changed what is logged by Google in any case; who read what only where it is asked for.
resource "google_project_iam_audit_config" "audit" {
  for_each = var.audited
  project  = google_project_service.service[each.value].project
  service  = each.value

  dynamic "audit_log_config" {
    for_each = ["ADMIN_READ", "DATA_READ", "DATA_WRITE"]
    content {
      log_type         = audit_log_config.value
      exempted_members = var.unaudited
    }
  }
}

# These two agents are made when they are first asked for; Cloud Storage's publishes what is uploaded, key or not.
data "google_storage_project_service_account" "agent" {
  count      = contains(var.services, "storage.googleapis.com") ? 1 : 0
  project    = var.project_id
  depends_on = [google_project_service.service]
}

data "google_bigquery_default_service_account" "agent" {
  count      = contains(local.encrypting, "bigquery") ? 1 : 0
  project    = var.project_id
  depends_on = [google_project_service.service]
}

resource "google_kms_crypto_key_iam_member" "encrypter" {
  for_each      = toset(local.encrypting)
  crypto_key_id = var.kms_key_name
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = local.agents[each.value]
  # Run's agent is made with its API, those of Pub/Sub, Artifact Registry and Secret Manager by `make bootstrap`.
  depends_on = [
    google_project_service.service,
    data.google_storage_project_service_account.agent,
    data.google_bigquery_default_service_account.agent,
  ]
}
