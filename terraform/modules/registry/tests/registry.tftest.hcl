mock_provider "google" {}

variables {
  project_id = "acme-build"
  location   = "europe-west4"
}

run "tags_stay_and_images_are_scanned" {
  command = plan
  assert {
    condition     = google_artifact_registry_repository.registry.format == "DOCKER"
    error_message = "It does not hold container images."
  }
  assert {
    condition     = google_artifact_registry_repository.registry.docker_config[0].immutable_tags
    error_message = "A tag may be moved."
  }
  assert {
    condition     = google_artifact_registry_repository.registry.vulnerability_scanning_config[0].enablement_config == "INHERITED"
    error_message = "Images are not scanned."
  }
  assert {
    condition     = output.url == "europe-west4-docker.pkg.dev/acme-build/vitrine"
    error_message = "The address is not Artifact Registry's."
  }
  assert {
    condition     = length(google_artifact_registry_repository_iam_member.member) == 0
    error_message = "Somebody may use it, though nobody asked for it."
  }
}

run "only_what_has_no_tag_is_deleted" {
  command = plan
  variables {
    keep          = 5
    untagged_days = 2
  }
  assert {
    condition = [
      for policy in google_artifact_registry_repository.registry.cleanup_policies :
      [policy.condition[0].tag_state, policy.condition[0].older_than] if policy.action == "DELETE"
    ] == [["UNTAGGED", "172800s"]]
    error_message = "Something else is deleted, or at another time."
  }
  assert {
    condition = [
      for policy in google_artifact_registry_repository.registry.cleanup_policies :
      policy.most_recent_versions[0].keep_count if policy.action == "KEEP"
    ] == [5]
    error_message = "The newest are not kept."
  }
}

run "readers_read_and_writers_write" {
  command = plan
  variables {
    readers = { prod = "serviceAccount:service-123456789012@serverless-robot-prod.iam.gserviceaccount.com" }
    writers = { prod = "serviceAccount:vitrine-build-prod@acme-build.iam.gserviceaccount.com" }
  }
  assert {
    condition = { for each in google_artifact_registry_repository_iam_member.member : each.member => each.role } == {
      (var.readers.prod) = "roles/artifactregistry.reader"
      (var.writers.prod) = "roles/artifactregistry.writer"
    }
    error_message = "Members have other roles."
  }
  assert {
    condition = (
      google_artifact_registry_repository.registry.project == "acme-build" &&
      google_artifact_registry_repository.registry.location == "europe-west4" &&
      alltrue([
        for each in google_artifact_registry_repository_iam_member.member :
        each.project == "acme-build" && each.location == "europe-west4" && each.repository == "vitrine"
      ])
    )
    error_message = "It is, or its members are, elsewhere."
  }
}

run "what_is_asked_for_is_used" {
  command = plan
  variables {
    kms_key_name = "projects/acme-build/locations/europe-west4/keyRings/vitrine/cryptoKeys/vitrine"
    labels       = { system = "vitrine" }
    name         = "images"
  }
  assert {
    condition = (
      google_artifact_registry_repository.registry.kms_key_name == var.kms_key_name &&
      google_artifact_registry_repository.registry.labels == tomap({ system = "vitrine" }) &&
      google_artifact_registry_repository.registry.repository_id == "images"
    )
    error_message = "Key, labels or name are not the given ones."
  }
}

run "wrong_words_are_refused" {
  command = plan
  variables {
    keep          = 0
    name          = "Images"
    readers       = { all = "allUsers" }
    untagged_days = 0
    writers       = { all = "allAuthenticatedUsers" }
  }
  expect_failures = [var.keep, var.name, var.readers, var.untagged_days, var.writers]
}
