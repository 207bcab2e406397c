mock_provider "google" {}

variables {
  name            = "training"
  project_id      = "acme-dev"
  region          = "europe-west4"
  image           = "europe-west4-docker.pkg.dev/acme-build/vitrine/training@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  service_account = "training-worker@acme-dev.iam.gserviceaccount.com"
}

run "a_job_is_protected_and_nobodys" {
  command = plan
  assert {
    condition     = google_cloud_run_v2_job.job.name == "training" && output.name == "training"
    error_message = "It is called otherwise."
  }
  assert {
    condition = (
      length(google_cloud_run_v2_job_iam_member.launcher) == 0 &&
      length(google_cloud_run_v2_job_iam_member.viewer) == 0
    )
    error_message = "Somebody may execute it, though nobody asked for it."
  }
  assert {
    condition     = google_cloud_run_v2_job.job.deletion_protection
    error_message = "It can be deleted by a mistake."
  }
  assert {
    condition     = google_cloud_run_v2_job.job.template[0].template[0].service_account == var.service_account
    error_message = "It does not work as its own identity."
  }
  assert {
    condition     = google_cloud_run_v2_job.job.template[0].template[0].encryption_key == null
    error_message = "There is a key that nobody asked for."
  }
}

run "a_run_is_one_task_that_goes_on_after_an_hour" {
  command = plan
  assert {
    condition = (
      google_cloud_run_v2_job.job.template[0].task_count == 1 &&
      google_cloud_run_v2_job.job.template[0].parallelism == 1
    )
    error_message = "Several tasks would write the same checkpoint."
  }
  assert {
    condition = (
      google_cloud_run_v2_job.job.template[0].template[0].timeout == "3600s" &&
      google_cloud_run_v2_job.job.template[0].template[0].max_retries == 10
    )
    error_message = "A long run is not gone on with."
  }
  assert {
    condition     = length(google_cloud_run_v2_job.job.template[0].template[0].containers[0].args) == 0
    error_message = "It has arguments that nobody gave."
  }
}

run "without_a_gpu" {
  command = plan
  assert {
    condition     = google_cloud_run_v2_job.job.template[0].template[0].containers[0].resources[0].limits == tomap({ cpu = "4", memory = "16Gi" })
    error_message = "The limits are not the defaults."
  }
  assert {
    condition = (
      length(google_cloud_run_v2_job.job.template[0].template[0].node_selector) == 0 &&
      google_cloud_run_v2_job.job.template[0].template[0].gpu_zonal_redundancy_disabled == null
    )
    error_message = "It has a GPU that nobody asked for."
  }
}

run "with_a_gpu" {
  command = plan
  variables {
    gpu = {}
  }
  assert {
    condition     = google_cloud_run_v2_job.job.template[0].template[0].node_selector[0].accelerator == "nvidia-l4"
    error_message = "It has no L4."
  }
  assert {
    condition     = google_cloud_run_v2_job.job.template[0].template[0].containers[0].resources[0].limits == tomap({ cpu = "4", memory = "16Gi", "nvidia.com/gpu" = "1" })
    error_message = "The limits do not ask for the GPU."
  }
  assert {
    condition     = google_cloud_run_v2_job.job.template[0].template[0].gpu_zonal_redundancy_disabled
    error_message = "A second GPU is kept, though nobody asked for it."
  }
}

run "with_a_gpu_in_two_zones" {
  command = plan
  variables {
    gpu = { zonal_redundancy = true }
  }
  assert {
    condition     = !google_cloud_run_v2_job.job.template[0].template[0].gpu_zonal_redundancy_disabled
    error_message = "No second GPU is kept."
  }
}

run "what_is_asked_for_is_used" {
  command = plan
  variables {
    args                = ["demo"]
    cpu                 = 8
    deletion_protection = false
    environment         = { VITRINE_BUCKET = "acme-dev-vitrine" }
    kms_key_name        = "projects/acme-dev/locations/europe-west4/keyRings/vitrine/cryptoKeys/vitrine"
    labels              = { system = "vitrine" }
    launchers           = { models = "group:models@example.com" }
    max_retries         = 2
    memory              = "32Gi"
    name                = "learning"
    timeout             = 604800
  }
  assert {
    condition = (
      google_cloud_run_v2_job.job.template[0].template[0].containers[0].args == tolist(["demo"]) &&
      google_cloud_run_v2_job.job.template[0].template[0].containers[0].image == var.image
    )
    error_message = "The container is started otherwise."
  }
  assert {
    condition     = { for each in google_cloud_run_v2_job.job.template[0].template[0].containers[0].env : each.name => each.value } == { VITRINE_BUCKET = "acme-dev-vitrine" }
    error_message = "The environment is not the given one."
  }
  assert {
    condition = (
      google_cloud_run_v2_job_iam_member.launcher["models"].role == "roles/run.jobsExecutorWithOverrides" &&
      google_cloud_run_v2_job_iam_member.viewer["models"].role == "roles/run.viewer"
    )
    error_message = "The launcher may not execute it with arguments, or not look at it."
  }
  assert {
    condition = alltrue([
      for grant in [
        google_cloud_run_v2_job_iam_member.launcher["models"], google_cloud_run_v2_job_iam_member.viewer["models"]
      ] :
      grant.member == var.launchers.models && grant.name == "learning" &&
      grant.project == "acme-dev" && grant.location == "europe-west4"
    ])
    error_message = "Somebody else may, or something else."
  }
  assert {
    condition = (
      google_cloud_run_v2_job.job.template[0].template[0].timeout == "604800s" &&
      google_cloud_run_v2_job.job.template[0].template[0].max_retries == 2 &&
      google_cloud_run_v2_job.job.template[0].template[0].containers[0].resources[0].limits == tomap({ cpu = "8", memory = "32Gi" })
    )
    error_message = "Its limits are not the given ones."
  }
  assert {
    condition = (
      google_cloud_run_v2_job.job.template[0].template[0].encryption_key == var.kms_key_name &&
      !google_cloud_run_v2_job.job.deletion_protection &&
      google_cloud_run_v2_job.job.labels == tomap({ system = "vitrine" }) &&
      google_cloud_run_v2_job.job.template[0].labels == tomap({ system = "vitrine" })
    )
    error_message = "Key, protection or labels are not the given ones."
  }
  assert {
    condition = (
      google_cloud_run_v2_job.job.project == "acme-dev" &&
      google_cloud_run_v2_job.job.location == "europe-west4"
    )
    error_message = "It is elsewhere."
  }
}

run "wrong_words_are_refused" {
  command = plan
  variables {
    cpu             = 3
    image           = "training:latest"
    launchers       = { all = "allUsers" }
    max_retries     = 11
    memory          = "16GB"
    name            = "Training"
    region          = "europe"
    service_account = "123456789012-compute@developer.gserviceaccount.com"
  }
  expect_failures = [
    var.cpu, var.image, var.launchers, var.max_retries, var.memory, var.name, var.region, var.service_account,
  ]
}

run "more_than_a_week_is_refused" {
  command = plan
  variables {
    timeout = 604801
  }
  expect_failures = [var.timeout]
}

run "more_than_an_hour_beside_a_gpu_is_refused" {
  command = plan
  variables {
    gpu     = {}
    timeout = 3601
  }
  expect_failures = [var.timeout]
}

run "a_gpu_with_too_little_memory_is_refused" {
  command = plan
  variables {
    gpu    = {}
    memory = "8Gi"
  }
  expect_failures = [var.gpu]
}

run "another_gpu_is_refused" {
  command = plan
  variables {
    gpu = { type = "nvidia-tesla-t4" }
  }
  expect_failures = [var.gpu]
}
