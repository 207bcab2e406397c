# The registry of container images: a tag never moves, every image is scanned, and what never got a tag is cleared away.

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

  # This does not keep the registry small. Where tags are immutable, Artifact Registry refuses to delete an image that
  # has one, and every image that a build pushes has one: all of them stay, and what is deployed with them. What has no
  # tag was pushed by its digest alone, or by a push that broke off. To clear away old images, people switch
  # immutable_tags off for as long as it takes, as a tag that could move is no longer one commit's image.
  # https://cloud.google.com/artifact-registry/docs/repositories/update-repo-settings
  cleanup_policies {
    id     = "delete-untagged"
    action = "DELETE"
    condition {
      tag_state  = "UNTAGGED"
      older_than = "${var.untagged_days * 24 * 3600}s"
    }
  }

  # Of each image the newest, tagged or not, whatever else is said: also while people have switched immutable_tags off.
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
