# A dataset, its tables and views as a folder of schemas describes them, and who may read and write which.

locals {
  layouts = yamldecode(file("${var.schemas}/tables.yaml"))
  views   = { for file in fileset("${var.schemas}/views", "*.sql") : trimsuffix(file, ".sql") => file }
  roles   = { read = "roles/bigquery.dataViewer", write = "roles/bigquery.dataEditor" }
}

resource "google_bigquery_dataset" "dataset" {
  project                    = var.project_id
  dataset_id                 = var.dataset_id
  location                   = var.location
  description                = "Vitrine: the catalogue's products and what the photos say of them."
  delete_contents_on_destroy = !var.deletion_protection
  max_time_travel_hours      = "168"
  labels                     = var.labels

  dynamic "default_encryption_configuration" {
    for_each = var.kms_key_name == null ? [] : [var.kms_key_name]
    content {
      kms_key_name = default_encryption_configuration.value
    }
  }
}

resource "google_bigquery_table" "table" {
  for_each            = local.layouts
  project             = var.project_id
  dataset_id          = google_bigquery_dataset.dataset.dataset_id
  table_id            = each.key
  schema              = file("${var.schemas}/tables/${each.key}.json")
  clustering          = each.value.cluster_by
  deletion_protection = var.deletion_protection
  labels              = var.labels

  dynamic "time_partitioning" {
    for_each = contains(keys(each.value), "partition_by") ? [each.value.partition_by] : []
    content {
      type          = "DAY"
      field         = time_partitioning.value
      expiration_ms = var.partition_expiry_days == null ? null : var.partition_expiry_days * 24 * 3600 * 1000
    }
  }
}

resource "google_bigquery_table" "view" {
  for_each   = local.views
  project    = var.project_id
  dataset_id = google_bigquery_dataset.dataset.dataset_id
  table_id   = each.key
  labels     = var.labels
  # Nothing is lost with a view.
  deletion_protection = false

  view {
    query = replace(replace(
      file("${var.schemas}/views/${each.value}"), "{project}", var.project_id), "{dataset}", var.dataset_id
    )
    use_legacy_sql = false
  }

  depends_on = [google_bigquery_table.table]
}

resource "google_bigquery_table_iam_member" "member" {
  for_each   = var.members
  project    = var.project_id
  dataset_id = google_bigquery_dataset.dataset.dataset_id
  table_id   = google_bigquery_table.table[each.value.table].table_id
  role       = local.roles[each.value.access]
  member     = each.value.member
}

resource "google_bigquery_dataset_iam_member" "described" {
  for_each   = var.described_to
  project    = var.project_id
  dataset_id = google_bigquery_dataset.dataset.dataset_id
  role       = "roles/bigquery.metadataViewer"
  member     = each.value
}

resource "google_bigquery_dataset_iam_member" "reader" {
  for_each   = var.readers
  project    = var.project_id
  dataset_id = google_bigquery_dataset.dataset.dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = each.value
}
