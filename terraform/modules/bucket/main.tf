# A bucket that nobody can open to the public, who may use it, and whom it tells of new objects.

resource "google_storage_bucket" "bucket" {
  project                     = var.project_id
  name                        = var.name
  location                    = var.location
  force_destroy               = var.force_destroy
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  labels                      = var.labels

  versioning {
    enabled = var.versioning
  }

  soft_delete_policy {
    retention_duration_seconds = var.soft_delete_days * 24 * 3600
  }

  dynamic "encryption" {
    for_each = var.kms_key_name == null ? [] : [var.kms_key_name]
    content {
      default_kms_key_name = encryption.value
    }
  }

  dynamic "logging" {
    for_each = var.log_bucket == null ? [] : [var.log_bucket]
    content {
      log_bucket        = logging.value
      log_object_prefix = var.name
    }
  }

  dynamic "lifecycle_rule" {
    for_each = var.expiry_days
    content {
      action {
        type = "Delete"
      }
      condition {
        age            = lifecycle_rule.value
        matches_prefix = [lifecycle_rule.key]
      }
    }
  }

  # What was replaced or deleted can be brought back for as long.
  dynamic "lifecycle_rule" {
    for_each = var.versioning ? [30] : []
    content {
      action {
        type = "Delete"
      }
      condition {
        days_since_noncurrent_time = lifecycle_rule.value
        with_state                 = "ARCHIVED"
      }
    }
  }

  # An upload that was broken off is paid for until it is cleared away.
  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 7
    }
  }
}

resource "google_storage_bucket_iam_member" "member" {
  for_each = var.members
  bucket   = google_storage_bucket.bucket.name
  role     = each.value.role
  member   = each.value.member

  dynamic "condition" {
    for_each = each.value.prefix == null ? [] : [each.value.prefix]
    content {
      title = "below ${condition.value}"
      # A listing is asked of the bucket, and names its prefix elsewhere.
      expression = "resource.name.startsWith(\"projects/_/buckets/${var.name}/objects/${condition.value}\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${condition.value}\")"
    }
  }
}

resource "google_storage_notification" "created" {
  for_each       = var.notified_topics
  bucket         = google_storage_bucket.bucket.name
  topic          = each.value
  event_types    = ["OBJECT_FINALIZE"]
  payload_format = "JSON_API_V1"
}
