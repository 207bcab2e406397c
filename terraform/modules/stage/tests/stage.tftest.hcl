mock_provider "google" {}

variables {
  project_id      = "acme-dev"
  project_number  = "123456789012"
  region          = "europe-west4"
  name            = "inference"
  image           = "europe-west4-docker.pkg.dev/acme-build/vitrine/inference@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  service_account = "inference-worker@acme-dev.iam.gserviceaccount.com"
}

run "a_stage_is_private_protected_and_sleeps" {
  command = plan
  assert {
    condition     = google_cloud_run_v2_service.service.ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    error_message = "It is reached from everywhere."
  }
  assert {
    condition     = length(google_cloud_run_v2_service_iam_member.invoker) + length(google_cloud_run_v2_service_iam_member.public) == 0
    error_message = "Somebody may call it, though nobody asked for it."
  }
  assert {
    condition     = google_cloud_run_v2_service.service.deletion_protection
    error_message = "It can be deleted by a mistake."
  }
  assert {
    condition     = google_cloud_run_v2_service.service.template[0].service_account == var.service_account
    error_message = "It does not work as its own identity."
  }
  assert {
    condition = (
      google_cloud_run_v2_service.service.template[0].scaling[0].min_instance_count == 0 &&
      google_cloud_run_v2_service.service.template[0].scaling[0].max_instance_count == 10
    )
    error_message = "It runs idle, or grows without limit."
  }
  assert {
    condition     = google_cloud_run_v2_service.service.template[0].timeout == "540s"
    error_message = "A request may take as long as an ack deadline."
  }
  assert {
    condition = (
      google_cloud_run_v2_service.service.template[0].encryption_key == null &&
      length(google_cloud_run_v2_service.service.template[0].vpc_access) == 0
    )
    error_message = "There is a key or a connector that nobody asked for."
  }
  assert {
    condition = (
      length(google_cloud_run_v2_service.service.template[0].volumes) == 0 &&
      length(google_cloud_run_v2_service.service.template[0].containers[0].volume_mounts) == 0 &&
      length(google_cloud_run_v2_service.service.template[0].containers[0].env) == 0
    )
    error_message = "There is a secret or a variable that nobody asked for."
  }
}

run "everybody_may_call_what_is_public" {
  command = plan
  variables {
    public = true
  }
  assert {
    condition = (
      google_cloud_run_v2_service_iam_member.public[0].member == "allUsers" &&
      google_cloud_run_v2_service_iam_member.public[0].role == "roles/run.invoker" &&
      google_cloud_run_v2_service_iam_member.public[0].name == "inference" &&
      google_cloud_run_v2_service_iam_member.public[0].project == "acme-dev" &&
      google_cloud_run_v2_service_iam_member.public[0].location == "europe-west4"
    )
    error_message = "Not everybody may call it, or something else as well."
  }
}

run "secrets_are_told_by_name" {
  command = plan
  variables {
    environment        = { VITRINE_BUCKET = "acme-dev-vitrine" }
    secret_environment = { VITRINE_SESSION_SECRET = { secret = "gateway-session", version = "3" } }
    secret_files       = { "/keys/keys.json" = "gateway-keys" }
  }
  assert {
    condition = {
      for each in google_cloud_run_v2_service.service.template[0].containers[0].env :
      each.name => [for from in each.value_source : "${from.secret_key_ref[0].secret} ${from.secret_key_ref[0].version}"]
    } == { VITRINE_BUCKET = [], VITRINE_SESSION_SECRET = ["gateway-session 3"] }
    error_message = "The variable is not the secret's version."
  }
  assert {
    condition = (
      google_cloud_run_v2_service.service.template[0].containers[0].volume_mounts[0].mount_path == "/keys" &&
      google_cloud_run_v2_service.service.template[0].containers[0].volume_mounts[0].name == google_cloud_run_v2_service.service.template[0].volumes[0].name
    )
    error_message = "The file is elsewhere."
  }
  assert {
    condition = (
      google_cloud_run_v2_service.service.template[0].volumes[0].secret[0].secret == "gateway-keys" &&
      google_cloud_run_v2_service.service.template[0].volumes[0].secret[0].items[0].path == "keys.json" &&
      google_cloud_run_v2_service.service.template[0].volumes[0].secret[0].items[0].version == "latest"
    )
    error_message = "The file is not the newest version of the secret."
  }
}

run "secrets_that_hide_something_are_refused" {
  command = plan
  variables {
    environment        = { VITRINE_SESSION_SECRET = "secret" }
    secret_environment = { VITRINE_SESSION_SECRET = { secret = "gateway-session", version = "3" } }
    secret_files       = { "/app/keys.json" = "gateway-keys" }
  }
  expect_failures = [var.secret_environment, var.secret_files]
}

run "two_secrets_in_one_folder_are_refused" {
  command = plan
  variables {
    secret_files = { "/keys/keys.json" = "gateway-keys", "/keys/others.json" = "gateway-others" }
  }
  expect_failures = [var.secret_files]
}

run "its_address_is_known_before_it_stands" {
  command = plan
  assert {
    condition     = output.url == "https://inference-123456789012.europe-west4.run.app"
    error_message = "The address is not Cloud Run's."
  }
  assert {
    condition     = google_cloud_run_v2_service.service.custom_audiences == tolist([output.url])
    error_message = "It does not take the tokens that are made for its address."
  }
  assert {
    condition     = output.name == "inference"
    error_message = "The name is not told."
  }
}

run "without_a_gpu_the_cpu_rests_between_requests" {
  command = plan
  assert {
    condition = (
      google_cloud_run_v2_service.service.template[0].containers[0].resources[0].cpu_idle &&
      google_cloud_run_v2_service.service.template[0].containers[0].resources[0].startup_cpu_boost
    )
    error_message = "CPUs are paid for between requests."
  }
  assert {
    condition     = google_cloud_run_v2_service.service.template[0].containers[0].resources[0].limits == tomap({ cpu = "1", memory = "512Mi" })
    error_message = "The limits are not the defaults."
  }
  assert {
    condition     = length(google_cloud_run_v2_service.service.template[0].node_selector) == 0
    error_message = "It has a GPU that nobody asked for."
  }
}

run "with_a_gpu" {
  command = plan
  variables {
    cpu    = 4
    memory = "16Gi"
    gpu    = {}
  }
  assert {
    condition     = google_cloud_run_v2_service.service.template[0].node_selector[0].accelerator == "nvidia-l4"
    error_message = "It has no L4."
  }
  assert {
    condition     = google_cloud_run_v2_service.service.template[0].containers[0].resources[0].limits == tomap({ cpu = "4", memory = "16Gi", "nvidia.com/gpu" = "1" })
    error_message = "The limits do not ask for the GPU."
  }
  assert {
    condition     = !google_cloud_run_v2_service.service.template[0].containers[0].resources[0].cpu_idle
    error_message = "Its CPU is taken away between requests, which a GPU forbids."
  }
  assert {
    condition     = google_cloud_run_v2_service.service.template[0].gpu_zonal_redundancy_disabled
    error_message = "A second GPU is kept, though nobody asked for it."
  }
}

run "with_a_gpu_in_two_zones" {
  command = plan
  variables {
    cpu    = 4
    memory = "16Gi"
    gpu    = { zonal_redundancy = true }
  }
  assert {
    condition     = !google_cloud_run_v2_service.service.template[0].gpu_zonal_redundancy_disabled
    error_message = "No second GPU is kept."
  }
}

run "it_is_watched_by_probes" {
  command = plan
  variables {
    startup_seconds = 240
  }
  assert {
    condition = (
      google_cloud_run_v2_service.service.template[0].containers[0].startup_probe[0].http_get[0].path == "/health" &&
      google_cloud_run_v2_service.service.template[0].containers[0].liveness_probe[0].http_get[0].path == "/health"
    )
    error_message = "The probes do not ask whether it is well."
  }
  assert {
    condition = (
      google_cloud_run_v2_service.service.template[0].containers[0].startup_probe[0].period_seconds *
      google_cloud_run_v2_service.service.template[0].containers[0].startup_probe[0].failure_threshold == 240
    )
    error_message = "It has not the time to start that was asked for."
  }
  assert {
    condition = (
      google_cloud_run_v2_service.service.template[0].containers[0].ports[0].container_port == 8080 &&
      google_cloud_run_v2_service.service.template[0].containers[0].startup_probe[0].http_get[0].port == 8080 &&
      google_cloud_run_v2_service.service.template[0].containers[0].liveness_probe[0].http_get[0].port == 8080
    )
    error_message = "The probes ask at another port than it answers."
  }
  assert {
    condition = (
      google_cloud_run_v2_service.service.template[0].containers[0].startup_probe[0].timeout_seconds == 5 &&
      google_cloud_run_v2_service.service.template[0].containers[0].liveness_probe[0].timeout_seconds == 30 &&
      google_cloud_run_v2_service.service.template[0].containers[0].liveness_probe[0].period_seconds == 60 &&
      google_cloud_run_v2_service.service.template[0].containers[0].liveness_probe[0].failure_threshold == 3
    )
    error_message = "A busy instance is killed for answering late."
  }
}

run "what_is_asked_for_is_used" {
  command = plan
  variables {
    args                = ["inference"]
    concurrency         = 32
    deletion_protection = false
    environment         = { VITRINE_BUCKET = "acme-dev-vitrine" }
    ingress             = "INGRESS_TRAFFIC_ALL"
    invokers            = { pubsub = "serviceAccount:pubsub-invoker@acme-dev.iam.gserviceaccount.com" }
    kms_key_name        = "projects/acme-dev/locations/europe-west4/keyRings/vitrine/cryptoKeys/vitrine"
    labels              = { system = "vitrine" }
    max_instances       = 3
    min_instances       = 1
    timeout             = 60
    vpc_connector       = "projects/acme-dev/locations/europe-west4/connectors/vitrine"
  }
  assert {
    condition = (
      google_cloud_run_v2_service.service.template[0].containers[0].args == tolist(["inference"]) &&
      google_cloud_run_v2_service.service.template[0].containers[0].image == var.image
    )
    error_message = "The container is started otherwise."
  }
  assert {
    condition     = { for each in google_cloud_run_v2_service.service.template[0].containers[0].env : each.name => each.value } == { VITRINE_BUCKET = "acme-dev-vitrine" }
    error_message = "The environment is not the given one."
  }
  assert {
    condition = (
      google_cloud_run_v2_service_iam_member.invoker["pubsub"].role == "roles/run.invoker" &&
      google_cloud_run_v2_service_iam_member.invoker["pubsub"].member == var.invokers.pubsub &&
      google_cloud_run_v2_service_iam_member.invoker["pubsub"].name == "inference"
    )
    error_message = "The invoker may not call it."
  }
  assert {
    condition = (
      google_cloud_run_v2_service.service.template[0].max_instance_request_concurrency == 32 &&
      google_cloud_run_v2_service.service.template[0].scaling[0].min_instance_count == 1 &&
      google_cloud_run_v2_service.service.template[0].scaling[0].max_instance_count == 3 &&
      google_cloud_run_v2_service.service.template[0].timeout == "60s"
    )
    error_message = "It scales otherwise."
  }
  assert {
    condition = (
      google_cloud_run_v2_service.service.template[0].encryption_key == var.kms_key_name &&
      google_cloud_run_v2_service.service.template[0].vpc_access[0].connector == var.vpc_connector &&
      google_cloud_run_v2_service.service.template[0].vpc_access[0].egress == "PRIVATE_RANGES_ONLY"
    )
    error_message = "The key or the connector is not used."
  }
  assert {
    condition = (
      !google_cloud_run_v2_service.service.deletion_protection &&
      google_cloud_run_v2_service.service.ingress == "INGRESS_TRAFFIC_ALL" &&
      google_cloud_run_v2_service.service.labels == tomap({ system = "vitrine" })
    )
    error_message = "Protection, ingress or labels are not the given ones."
  }
  assert {
    condition = (
      google_cloud_run_v2_service.service.project == "acme-dev" &&
      google_cloud_run_v2_service.service.location == "europe-west4" &&
      google_cloud_run_v2_service_iam_member.invoker["pubsub"].project == "acme-dev" &&
      google_cloud_run_v2_service_iam_member.invoker["pubsub"].location == "europe-west4"
    )
    error_message = "It is elsewhere."
  }
}

run "wrong_words_are_refused" {
  command = plan
  variables {
    concurrency     = 0
    cpu             = 3
    image           = "inference:latest"
    ingress         = "ALL"
    invokers        = { all = "allUsers" }
    memory          = "512MB"
    min_instances   = -1
    name            = "Inference"
    project_number  = "acme-dev"
    region          = "europe"
    service_account = "123456789012-compute@developer.gserviceaccount.com"
    startup_seconds = 300
    timeout         = 3601
  }
  expect_failures = [
    var.concurrency, var.cpu, var.image, var.ingress, var.invokers, var.memory, var.min_instances,
    var.name, var.project_number, var.region, var.service_account, var.startup_seconds, var.timeout,
  ]
}

run "a_gpu_with_too_little_memory_and_a_limit_below_the_least_are_refused" {
  command = plan
  variables {
    cpu           = 4
    memory        = "8Gi"
    gpu           = {}
    min_instances = 4
    max_instances = 3
  }
  expect_failures = [var.gpu, var.max_instances]
}

run "another_gpu_and_no_instance_are_refused" {
  command = plan
  variables {
    cpu           = 4
    memory        = "16Gi"
    gpu           = { type = "nvidia-tesla-t4" }
    max_instances = 0
  }
  expect_failures = [var.gpu, var.max_instances]
}
