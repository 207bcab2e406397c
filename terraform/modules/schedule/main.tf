# A request that is published again and again, at times that cron describes.
#
# Nobody is granted anything here: a topic of its own project Cloud Scheduler's service agent may publish to, by
# roles/cloudscheduler.serviceAgent, which it is given when the API is switched on and must not lose.

resource "google_cloud_scheduler_job" "job" {
  project     = var.project_id
  region      = var.region
  name        = var.name
  description = var.description
  schedule    = var.cron
  time_zone   = var.time_zone
  paused      = var.paused

  # The topic is there or it is not: what matters is that one who is away for a moment is asked again.
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
