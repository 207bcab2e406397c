mock_provider "google" {}

variables {
  project_id     = "acme-prod"
  project_number = "123456789012"
}

run "the_pipelines_apis_are_on_and_stay_on" {
  command = plan
  assert {
    condition = alltrue([
      for name in ["bigquery", "bigquerystorage", "cloudscheduler", "iam", "monitoring", "pubsub", "run", "secretmanager", "storage"] :
      contains(keys(google_project_service.service), "${name}.googleapis.com")
    ])
    error_message = "An API is off."
  }
  assert {
    condition     = alltrue([for each in google_project_service.service : !each.disable_on_destroy])
    error_message = "An API is switched off, for everybody, when this is destroyed."
  }
  assert {
    condition     = output.id == "acme-prod"
    error_message = "The project is not told."
  }
  assert {
    condition = (
      alltrue([for each in google_project_service.service : each.project == "acme-prod"]) &&
      alltrue([for each in google_project_iam_audit_config.audit : each.project == "acme-prod"])
    )
    error_message = "It is another project."
  }
}

run "reads_and_writes_are_audited" {
  command = plan
  variables {
    unaudited = ["serviceAccount:staging-worker@acme-prod.iam.gserviceaccount.com"]
  }
  assert {
    condition = keys(google_project_iam_audit_config.audit) == [
      "bigquery.googleapis.com", "pubsub.googleapis.com", "secretmanager.googleapis.com", "storage.googleapis.com"
    ]
    error_message = "Other services are audited."
  }
  assert {
    condition = alltrue([
      for each in google_project_iam_audit_config.audit :
      toset(each.audit_log_config[*].log_type) == toset(["ADMIN_READ", "DATA_READ", "DATA_WRITE"])
    ])
    error_message = "Not everything is audited."
  }
  assert {
    condition = alltrue(flatten([
      for each in google_project_iam_audit_config.audit :
      [for config in each.audit_log_config : config.exempted_members == var.unaudited]
    ]))
    error_message = "Somebody else is exempted."
  }
}

run "without_a_key_nobody_is_granted_one" {
  command = plan
  assert {
    condition     = length(data.google_storage_project_service_account.agent) == 1 && length(data.google_bigquery_default_service_account.agent) == 0
    error_message = "Cloud Storage's agent is not made, or BigQuery's is made for nothing."
  }
  assert {
    condition     = length(google_kms_crypto_key_iam_member.encrypter) == 0
    error_message = "Somebody may use a key that is not there."
  }
}

run "the_agents_use_the_key" {
  command = plan
  variables {
    kms_key_name = "projects/acme-keys/locations/europe-west4/keyRings/vitrine/cryptoKeys/vitrine"
  }
  assert {
    condition = { for name, each in google_kms_crypto_key_iam_member.encrypter : name => each.member } == {
      bigquery      = "serviceAccount:bq-123456789012@bigquery-encryption.iam.gserviceaccount.com"
      pubsub        = "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
      run           = "serviceAccount:service-123456789012@serverless-robot-prod.iam.gserviceaccount.com"
      secretmanager = "serviceAccount:service-123456789012@gcp-sa-secretmanager.iam.gserviceaccount.com"
      storage       = "serviceAccount:service-123456789012@gs-project-accounts.iam.gserviceaccount.com"
    }
    error_message = "Somebody cannot use the key, or somebody else can."
  }
  assert {
    condition = alltrue([
      for each in google_kms_crypto_key_iam_member.encrypter :
      each.role == "roles/cloudkms.cryptoKeyEncrypterDecrypter" && each.crypto_key_id == var.kms_key_name
    ])
    error_message = "It is another role or key."
  }
}

run "only_the_registrys_agent_uses_the_key" {
  command = plan
  variables {
    audited      = []
    encrypting   = ["artifactregistry"]
    kms_key_name = "projects/acme-keys/locations/europe-west4/keyRings/vitrine/cryptoKeys/vitrine"
    services     = ["artifactregistry.googleapis.com"]
  }
  assert {
    condition     = [for each in google_kms_crypto_key_iam_member.encrypter : each.member] == [output.agents.artifactregistry]
    error_message = "Somebody else uses the key."
  }
  assert {
    condition     = keys(google_project_service.service) == ["artifactregistry.googleapis.com"] && length(google_project_iam_audit_config.audit) == 0
    error_message = "Something else is on or audited."
  }
}

run "wrong_words_are_refused" {
  command = plan
  variables {
    encrypting     = ["compute"]
    kms_key_name   = "vitrine"
    project_number = "acme-prod"
    services       = ["run"]
  }
  expect_failures = [var.encrypting, var.kms_key_name, var.project_number, var.services]
}

run "the_audit_of_an_api_that_is_off_is_refused" {
  command = plan
  variables {
    services = ["run.googleapis.com"]
  }
  expect_failures = [var.audited]
}
