# The registry of container images: a tag never moves, every image is scanned, and what nobody can name any more is
# cleared away.

locals {
  members = merge(
    { for name, member in var.readers : "${name}-reads" => { role = "roles/artifactregistry.reader", member = member } },
    { for name, member in var.writers : "${name}-writes" => { role = "roles/artifactregistry.writer", member = member } },
  )
}

resource "google_artifact_registry_repository" "registry" {
  project       = var.project_id
  location      = var.location
  repository_id = var.name
  description   = "Vitrine's container images"
  format        = "DOCKER"
  kms_key_name  = var.kms_key_name
  labels        = var.labels

  docker_config {
    immutable_tags = true
  }

  # Which is: scanned, as long as the project has the API on.
  vulnerability_scanning_config {
    enablement_config = "INHERITED"
  }

  # What is deployed was tagged by its build and keeps its tag, so that it is never among what is deleted.
  cleanup_policies {
    id     = "delete-untagged"
    action = "DELETE"
    condition {
      tag_state  = "UNTAGGED"
      older_than = "${var.untagged_days * 24 * 3600}s"
    }
  }

  # Of each image, tagged or not, whatever else is said.
  cleanup_policies {
    id     = "keep-newest"
    action = "KEEP"
    most_recent_versions {
      keep_count = var.keep
    }
  }
}

resource "google_artifact_registry_repository_iam_member" "member" {
  for_each   = local.members
  project    = var.project_id
  location   = var.location
  repository = google_artifact_registry_repository.registry.repository_id
  role       = each.value.role
  member     = each.value.member
}
