mock_provider "google" {}

variables {
  project_id = "acme-prod"
  region     = "europe-west4"
  name       = "weekly"
  cron       = "0 5 * * 1"
  topic      = "projects/acme-prod/topics/classification-requested"
  body       = { gender = ["Women"], classify = "originals" }
}

run "the_request_is_published_at_its_time" {
  command = plan
  assert {
    condition     = google_cloud_scheduler_job.job.schedule == "0 5 * * 1" && google_cloud_scheduler_job.job.time_zone == "Etc/UTC"
    error_message = "It is published at another time."
  }
  assert {
    condition     = google_cloud_scheduler_job.job.pubsub_target[0].topic_name == var.topic
    error_message = "It is published to another topic."
  }
  assert {
    condition     = jsondecode(base64decode(google_cloud_scheduler_job.job.pubsub_target[0].data)) == { classify = "originals", gender = ["Women"] }
    error_message = "It is another message."
  }
  assert {
    condition     = google_cloud_scheduler_job.job.retry_config[0].retry_count == 3 && !google_cloud_scheduler_job.job.paused
    error_message = "It is not tried again, or rests."
  }
  assert {
    condition     = output.name == "weekly"
    error_message = "The name is not told."
  }
  assert {
    condition = (
      google_cloud_scheduler_job.job.project == "acme-prod" &&
      google_cloud_scheduler_job.job.region == "europe-west4" &&
      google_cloud_scheduler_job.job.name == "weekly"
    )
    error_message = "It is elsewhere, or called otherwise."
  }
}

run "what_is_asked_for_is_used" {
  command = plan
  variables {
    body        = {}
    description = "Everything, each night."
    paused      = true
    retries     = 0
    time_zone   = "Europe/Amsterdam"
  }
  assert {
    condition     = base64decode(google_cloud_scheduler_job.job.pubsub_target[0].data) == "{}"
    error_message = "A request for everything is not empty."
  }
  assert {
    condition = (
      google_cloud_scheduler_job.job.paused &&
      google_cloud_scheduler_job.job.description == "Everything, each night." &&
      google_cloud_scheduler_job.job.retry_config[0].retry_count == 0 &&
      google_cloud_scheduler_job.job.time_zone == "Europe/Amsterdam"
    )
    error_message = "Something is not as it was asked for."
  }
  assert {
    condition = (
      google_cloud_scheduler_job.job.retry_config[0].min_backoff_duration == "5s" &&
      google_cloud_scheduler_job.job.retry_config[0].max_backoff_duration == "300s"
    )
    error_message = "The pauses between tries are others."
  }
}

run "wrong_words_are_refused" {
  command = plan
  variables {
    body      = "everything"
    cron      = "every monday"
    name      = "Weekly"
    region    = "europe"
    retries   = 6
    time_zone = "CET"
    topic     = "classification-requested"
  }
  expect_failures = [var.body, var.cron, var.name, var.region, var.retries, var.time_zone, var.topic]
}

run "a_request_with_a_job_id_and_a_topic_of_another_project_are_refused" {
  command = plan
  variables {
    body  = { job_id = "weekly" }
    topic = "projects/acme-dev/topics/classification-requested"
  }
  expect_failures = [var.body, var.topic]
}
