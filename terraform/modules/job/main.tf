# A job: a container that does one long piece of work each time that it is executed, such as making a version of the
# model, and who may execute it. Its arguments are given then.

resource "google_cloud_run_v2_job" "job" {
  project             = var.project_id
  name                = var.name
  location            = var.region
  deletion_protection = var.deletion_protection
  labels              = var.labels

  template {
    # A run is one process, which writes down how far it is.
    task_count  = 1
    parallelism = 1
    labels      = var.labels

    template {
      service_account = var.service_account
      encryption_key  = var.kms_key_name
      # Of one attempt. Beside a GPU it is an hour, and Google's maintenance ends attempts too: the next one goes on
      # from there, so that a run may take as many hours as there are attempts.
      timeout                       = "${var.timeout}s"
      max_retries                   = var.max_retries
      gpu_zonal_redundancy_disabled = var.gpu == null ? null : !var.gpu.zonal_redundancy

      dynamic "node_selector" {
        for_each = var.gpu == null ? [] : [var.gpu.type]
        content {
          accelerator = node_selector.value
        }
      }

      containers {
        image = var.image
        args  = var.args

        resources {
          limits = merge(
            { cpu = tostring(var.cpu), memory = var.memory },
            var.gpu == null ? {} : { "nvidia.com/gpu" = "1" },
          )
        }

        dynamic "env" {
          for_each = var.environment
          content {
            name  = env.key
            value = env.value
          }
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [client, client_version]
  }
}

# An execution's own arguments are overrides of the job's, which roles/run.invoker does not permit.
resource "google_cloud_run_v2_job_iam_member" "launcher" {
  for_each = var.launchers
  project  = var.project_id
  location = var.region
  name     = google_cloud_run_v2_job.job.name
  role     = "roles/run.jobsExecutorWithOverrides"
  member   = each.value
}

# Before it overrides anything, gcloud looks at the job; afterwards, at the execution.
resource "google_cloud_run_v2_job_iam_member" "viewer" {
  for_each = var.launchers
  project  = var.project_id
  location = var.region
  name     = google_cloud_run_v2_job.job.name
  role     = "roles/run.viewer"
  member   = each.value
}
