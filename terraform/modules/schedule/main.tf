# A request that is published again and again, at times that cron describes.
#
# Nobody is granted anything here: Cloud Scheduler's service agent may publish to every topic of its own project, by
# roles/cloudscheduler.serviceAgent, which it is given when the API is switched on and must not lose.

resource "google_cloud_scheduler_job" "job" {
  project     = var.project_id
  region      = var.region
  name        = var.name
  description = var.description
  schedule    = var.cron
  time_zone   = var.time_zone
  paused      = var.paused

  # For a topic that cannot be reached for a moment.
  retry_config {
    retry_count          = var.retries
    min_backoff_duration = "5s"
    max_backoff_duration = "300s"
  }

  pubsub_target {
    topic_name = var.topic
    data       = base64encode(jsonencode(var.body))
  }
}
