output "url" {
  description = "What the names of images begin with, once its members have their roles: <location>-docker.pkg.dev/<project>/<name>."
  value       = "${var.location}-docker.pkg.dev/${var.project_id}/${var.name}"
  depends_on = [
    google_artifact_registry_repository.registry,
    google_artifact_registry_repository_iam_member.member,
  ]
}
