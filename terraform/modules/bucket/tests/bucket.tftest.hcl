mock_provider "google" {}

variables {
  project_id = "acme-dev"
  name       = "acme-dev-vitrine"
  location   = "europe-west4"
}

run "a_bucket_is_closed_and_lasts" {
  command = plan
  assert {
    condition     = google_storage_bucket.bucket.public_access_prevention == "enforced"
    error_message = "The bucket could be made public."
  }
  assert {
    condition     = google_storage_bucket.bucket.uniform_bucket_level_access
    error_message = "Objects have access lists of their own."
  }
  assert {
    condition     = !google_storage_bucket.bucket.force_destroy
    error_message = "The bucket is deleted with what is in it."
  }
  assert {
    condition     = google_storage_bucket.bucket.soft_delete_policy[0].retention_duration_seconds == 7 * 24 * 3600
    error_message = "What is deleted cannot be restored for a week."
  }
  assert {
    condition     = !google_storage_bucket.bucket.versioning[0].enabled
    error_message = "Old versions are kept, though nobody asked for it."
  }
  assert {
    condition     = length(google_storage_bucket.bucket.encryption) == 0 && length(google_storage_bucket.bucket.logging) == 0
    error_message = "There is a key or a log that nobody asked for."
  }
  assert {
    condition     = length(google_storage_bucket_iam_member.member) == 0 && length(google_storage_notification.created) == 0
    error_message = "Somebody may use it or is told of objects, though nobody asked for it."
  }
  assert {
    condition = (
      [for rule in google_storage_bucket.bucket.lifecycle_rule : one(rule.action).type] == ["AbortIncompleteMultipartUpload"] &&
      one(google_storage_bucket.bucket.lifecycle_rule[0].condition).age == 7
    )
    error_message = "Something but broken uploads is cleared away."
  }
  assert {
    condition     = output.name == "acme-dev-vitrine"
    error_message = "The name is not told."
  }
}

run "what_has_an_expiry_is_deleted_and_nothing_else" {
  command = plan
  variables {
    expiry_days = { "handled/" = 31, "jobs/" = 30 }
  }
  assert {
    condition = {
      for rule in google_storage_bucket.bucket.lifecycle_rule :
      one(one(rule.condition).matches_prefix) => one(rule.condition).age if one(rule.action).type == "Delete"
    } == { "handled/" = 31, "jobs/" = 30 }
    error_message = "Something else is deleted."
  }
}

run "old_versions_are_kept_for_a_month" {
  command = plan
  variables {
    versioning = true
  }
  assert {
    condition     = google_storage_bucket.bucket.versioning[0].enabled
    error_message = "Old versions are not kept."
  }
  assert {
    condition = [
      for rule in google_storage_bucket.bucket.lifecycle_rule :
      [one(rule.condition).days_since_noncurrent_time, one(rule.condition).with_state] if one(rule.action).type == "Delete"
    ] == [[30, "ARCHIVED"]]
    error_message = "Old versions are not deleted after 30 days, or more than they."
  }
}

run "members_have_their_role_in_all_or_below_a_prefix" {
  command = plan
  variables {
    members = {
      reads    = { role = "roles/storage.objectViewer", member = "group:team@example.com" }
      promotes = { role = "roles/storage.objectUser", member = "user:ann@example.com", prefix = "models/" }
    }
  }
  assert {
    condition = (
      google_storage_bucket_iam_member.member["reads"].role == "roles/storage.objectViewer" &&
      google_storage_bucket_iam_member.member["reads"].member == "group:team@example.com" &&
      length(google_storage_bucket_iam_member.member["reads"].condition) == 0
    )
    error_message = "The reader does not read the whole bucket."
  }
  assert {
    condition     = google_storage_bucket_iam_member.member["promotes"].condition[0].expression == "resource.name.startsWith(\"projects/_/buckets/acme-dev-vitrine/objects/models/\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"models/\")"
    error_message = "The right is not held to the prefix."
  }
  assert {
    condition = (
      google_storage_bucket.bucket.project == "acme-dev" &&
      google_storage_bucket.bucket.location == "europe-west4" &&
      alltrue([for each in google_storage_bucket_iam_member.member : each.bucket == "acme-dev-vitrine"])
    )
    error_message = "It is, or its members are, elsewhere."
  }
}

run "topics_are_told_of_new_objects" {
  command = plan
  variables {
    notified_topics = { uploads = "projects/acme-dev/topics/image-uploaded" }
  }
  assert {
    condition = (
      google_storage_notification.created["uploads"].topic == "projects/acme-dev/topics/image-uploaded" &&
      google_storage_notification.created["uploads"].event_types == toset(["OBJECT_FINALIZE"]) &&
      google_storage_notification.created["uploads"].payload_format == "JSON_API_V1"
    )
    error_message = "The topic is not told of new objects, or of more."
  }
}

run "what_is_asked_for_is_used" {
  command = plan
  variables {
    force_destroy    = true
    kms_key_name     = "projects/acme-dev/locations/europe-west4/keyRings/vitrine/cryptoKeys/vitrine"
    labels           = { system = "vitrine" }
    log_bucket       = "acme-logs"
    soft_delete_days = 0
  }
  assert {
    condition     = google_storage_bucket.bucket.encryption[0].default_kms_key_name == var.kms_key_name
    error_message = "Objects are not encrypted with the key."
  }
  assert {
    condition     = google_storage_bucket.bucket.logging[0].log_bucket == "acme-logs" && google_storage_bucket.bucket.logging[0].log_object_prefix == "acme-dev-vitrine"
    error_message = "Usage is not logged where it was asked for."
  }
  assert {
    condition     = google_storage_bucket.bucket.force_destroy && google_storage_bucket.bucket.soft_delete_policy[0].retention_duration_seconds == 0
    error_message = "What is deleted is kept, though nobody wants it."
  }
  assert {
    condition     = google_storage_bucket.bucket.labels == tomap({ system = "vitrine" })
    error_message = "The labels are missing."
  }
}

run "wrong_words_are_refused" {
  command = plan
  variables {
    expiry_days      = { "" = 30 }
    members          = { all = { role = "roles/storage.objectViewer", member = "allUsers" } }
    name             = "Vitrine"
    notified_topics  = { uploads = "image-uploaded" }
    soft_delete_days = 3
  }
  expect_failures = [var.expiry_days, var.members, var.name, var.notified_topics, var.soft_delete_days]
}

run "a_role_of_the_project_and_an_expiry_at_once_are_refused" {
  command = plan
  variables {
    expiry_days = { "jobs/" = 0 }
    members     = { owns = { role = "roles/owner", member = "user:ann@example.com" } }
  }
  expect_failures = [var.expiry_days, var.members]
}
