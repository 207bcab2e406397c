# One stage of the pipeline, or the gateway before it: a Cloud Run service and who may call it.

locals {
  # Cloud Run's own form of a service's address: known before the service stands, so that what pushes to it
  # can be planned with it.
  url   = "https://${var.name}-${var.project_number}.${var.region}.run.app"
  probe = { path = "/health", port = 8080 }
  # Without a GPU an instance costs nothing between requests.
  cpu_idle = var.gpu == null
  # A secret is mounted as a folder, so that there is a volume for each file.
  volumes = {
    for path, secret in var.secret_files : secret => { folder = dirname(path), file = basename(path) }
  }
}

resource "google_cloud_run_v2_service" "service" {
  project             = var.project_id
  name                = var.name
  location            = var.region
  ingress             = var.ingress
  custom_audiences    = [local.url]
  deletion_protection = var.deletion_protection
  labels              = var.labels

  template {
    service_account                  = var.service_account
    timeout                          = "${var.timeout}s"
    max_instance_request_concurrency = var.concurrency
    encryption_key                   = var.kms_key_name
    gpu_zonal_redundancy_disabled    = var.gpu == null ? null : !var.gpu.zonal_redundancy

    scaling {
      min_instance_count = var.min_instances
      max_instance_count = var.max_instances
    }

    dynamic "node_selector" {
      for_each = var.gpu == null ? [] : [var.gpu.type]
      content {
        accelerator = node_selector.value
      }
    }

    dynamic "vpc_access" {
      for_each = var.vpc_connector == null ? [] : [var.vpc_connector]
      content {
        connector = vpc_access.value
        egress    = "PRIVATE_RANGES_ONLY"
      }
    }

    dynamic "volumes" {
      for_each = local.volumes
      content {
        name = volumes.key
        secret {
          secret = volumes.key
          items {
            path    = volumes.value.file
            version = "latest"
          }
        }
      }
    }

    containers {
      image = var.image
      args  = var.args

      ports {
        container_port = local.probe.port
      }

      resources {
        cpu_idle          = local.cpu_idle
        startup_cpu_boost = local.cpu_idle
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

      dynamic "env" {
        for_each = var.secret_environment
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = env.value.secret
              version = env.value.version
            }
          }
        }
      }

      dynamic "volume_mounts" {
        for_each = local.volumes
        content {
          name       = volume_mounts.key
          mount_path = volume_mounts.value.folder
        }
      }

      # Answers once the model is loaded and clients are made: no message is pushed to an instance before.
      startup_probe {
        period_seconds    = 5
        timeout_seconds   = 5
        failure_threshold = ceil(var.startup_seconds / 5)
        http_get {
          path = local.probe.path
          port = local.probe.port
        }
      }

      # Patient: an instance that is busy with a batch is not to be killed for answering late.
      liveness_probe {
        period_seconds    = 60
        timeout_seconds   = 30
        failure_threshold = 3
        http_get {
          path = local.probe.path
          port = local.probe.port
        }
      }
    }
  }

  lifecycle {
    # Traffic is the roll-out's: it sends a part of it to a new revision and may take it back.
    ignore_changes = [client, client_version, traffic]
  }
}

resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = var.invokers
  project  = var.project_id
  location = var.region
  name     = google_cloud_run_v2_service.service.name
  role     = "roles/run.invoker"
  member   = each.value
}

# Cloud Run asks nobody who he is then: the service itself must.
resource "google_cloud_run_v2_service_iam_member" "public" {
  count    = var.public ? 1 : 0
  project  = var.project_id
  location = var.region
  name     = google_cloud_run_v2_service.service.name
  role     = "roles/run.invoker"
  member   = "allUsers"
}
