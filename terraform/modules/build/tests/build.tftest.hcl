mock_provider "google" {}

variables {
  project_id     = "acme-build"
  project_number = "210987654321"
  region         = "europe-west4"
  repository     = "acme/vitrine"
  environments = {
    dev  = { project_id = "acme-dev", approval = false }
    prod = { project_id = "acme-prod", kms_key_name = "projects/acme-keys/locations/europe-west4/keyRings/vitrine/cryptoKeys/vitrine" }
  }
}

run "only_one_branch_of_one_repository_builds" {
  command = plan
  assert {
    condition     = google_iam_workload_identity_pool_provider.github.attribute_condition == "assertion.repository == 'acme/vitrine' && assertion.ref == 'refs/heads/main'"
    error_message = "Another repository or branch may build."
  }
  assert {
    condition     = google_iam_workload_identity_pool_provider.github.oidc[0].issuer_uri == "https://token.actions.githubusercontent.com"
    error_message = "Tokens of another issuer are taken."
  }
  assert {
    condition = (
      google_service_account_iam_member.github["dev"].role == "roles/iam.workloadIdentityUser" &&
      google_service_account_iam_member.github["dev"].member == "principalSet://iam.googleapis.com/projects/210987654321/locations/global/workloadIdentityPools/vitrine-github/attribute.repository/acme/vitrine"
    )
    error_message = "Somebody else may act as it."
  }
  assert {
    condition     = output.workload_identity_provider == "projects/210987654321/locations/global/workloadIdentityPools/vitrine-github/providers/github"
    error_message = "The provider is not told."
  }
  assert {
    condition = (
      alltrue([for each in google_service_account.build : each.project == "acme-build"]) &&
      google_iam_workload_identity_pool.github.project == "acme-build" &&
      google_iam_workload_identity_pool_provider.github.project == "acme-build"
    )
    error_message = "It is in another project."
  }
}

run "github_acts_only_as_what_needs_no_approval" {
  command = plan
  assert {
    condition     = keys(google_service_account_iam_member.github) == ["dev"]
    error_message = "A workflow may apply what somebody must approve, or not what nobody must."
  }
}

run "github_acts_as_nobody_where_everything_is_approved" {
  command = plan
  variables {
    environments = { dev = { project_id = "acme-dev" }, prod = { project_id = "acme-prod" } }
  }
  assert {
    condition     = length(google_service_account_iam_member.github) == 0
    error_message = "A workflow may apply what somebody must approve."
  }
}

run "any_branch_builds_where_it_was_asked_for" {
  command = plan
  variables {
    branch = null
  }
  assert {
    condition     = google_iam_workload_identity_pool_provider.github.attribute_condition == "assertion.repository == 'acme/vitrine'"
    error_message = "Another repository may build, or not every branch."
  }
}

run "each_has_the_roles_that_applying_needs_in_its_own_environment_only" {
  command = plan
  assert {
    condition = alltrue([
      for name in ["dev", "prod"] : toset([
        for each in google_project_iam_member.deployer : each.role
        if each.project == "acme-${name}" && each.member == output.members[name]
        ]) == toset([
        "roles/bigquery.dataOwner", "roles/bigquery.jobUser", "roles/cloudscheduler.admin",
        "roles/iam.serviceAccountAdmin", "roles/iam.serviceAccountOpenIdTokenCreator",
        "roles/iam.serviceAccountUser", "roles/logging.configWriter", "roles/monitoring.editor", "roles/pubsub.admin",
        "roles/run.admin", "roles/secretmanager.admin", "roles/serviceusage.serviceUsageAdmin", "roles/storage.admin",
      ])
    ])
    error_message = "It has other roles."
  }
  assert {
    condition = toset([
      for each in concat(values(google_project_iam_member.deployer), values(google_project_iam_member.granter)) :
      "${each.member} ${each.project}"
      ]) == toset([
      "serviceAccount:vitrine-build-dev@acme-build.iam.gserviceaccount.com acme-dev",
      "serviceAccount:vitrine-build-prod@acme-build.iam.gserviceaccount.com acme-prod",
    ])
    error_message = "One of them has roles in another one's project."
  }
  assert {
    condition = (
      output.members == {
        dev  = "serviceAccount:vitrine-build-dev@acme-build.iam.gserviceaccount.com"
        prod = "serviceAccount:vitrine-build-prod@acme-build.iam.gserviceaccount.com"
      } &&
      output.service_accounts == {
        dev  = "vitrine-build-dev@acme-build.iam.gserviceaccount.com"
        prod = "vitrine-build-prod@acme-build.iam.gserviceaccount.com"
      }
    )
    error_message = "They are called otherwise."
  }
}

run "each_may_do_little_where_it_builds" {
  command = plan
  assert {
    condition = alltrue([for each in google_project_iam_member.builder : each.project == "acme-build"]) && alltrue([
      for name in ["dev", "prod"] : toset([
        for each in google_project_iam_member.builder : each.role if each.member == output.members[name]
      ]) == toset(["roles/logging.logWriter", "roles/ondemandscanning.admin", "roles/storage.objectViewer"])
    ])
    error_message = "It cannot do its work where it builds, or may do more there."
  }
  assert {
    condition = {
      for each in google_storage_bucket_iam_member.plans : each.member => [each.bucket, each.role, each.condition[0].expression]
      } == {
      for name in ["dev", "prod"] : output.members[name] => [
        "acme-build-terraform", "roles/storage.objectUser",
        "resource.name.startsWith(\"projects/_/buckets/acme-build-terraform/objects/plans/${name}/\")",
      ]
    }
    error_message = "It cannot keep its plans, or may change another one's, or the state."
  }
}

run "it_grants_only_what_the_pipeline_grants" {
  command = plan
  variables {
    granted_roles = ["roles/bigquery.jobUser", "roles/cloudtrace.agent"]
  }
  assert {
    condition     = keys(google_project_iam_member.granter) == ["dev", "prod"]
    error_message = "It cannot grant in each environment."
  }
  assert {
    condition = alltrue([
      for each in google_project_iam_member.granter :
      each.role == "roles/resourcemanager.projectIamAdmin" &&
      each.condition[0].expression == "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly(['roles/bigquery.jobUser', 'roles/cloudtrace.agent'])"
    ])
    error_message = "It may grant other roles."
  }
}

run "it_sees_who_may_use_a_key_and_grants_it_to_nobody" {
  command = plan
  assert {
    condition     = [for each in google_kms_crypto_key_iam_member.reviewer : [each.member, each.crypto_key_id, each.role]] == [[output.members.prod, var.environments.prod.kms_key_name, "roles/iam.securityReviewer"]]
    error_message = "It may do something else with a key."
  }
}

run "nothing_is_triggered_where_no_repository_is_connected" {
  command = plan
  assert {
    condition     = length(google_cloudbuild_trigger.environment) == 0
    error_message = "There is a trigger that nobody asked for."
  }
}

run "a_push_is_built_and_waits_for_approval_where_it_is_asked_for" {
  command = plan
  variables {
    connected_repository = "projects/acme-build/locations/europe-west4/connections/github/repositories/vitrine"
  }
  assert {
    condition     = { for name, each in google_cloudbuild_trigger.environment : name => each.approval_config[0].approval_required } == { dev = false, prod = true }
    error_message = "Approval is not asked for where it is to be."
  }
  assert {
    condition = alltrue([
      for name, each in google_cloudbuild_trigger.environment :
      each.substitutions == tomap({ _ENVIRONMENT = name }) && each.filename == "cloudbuild.yaml" &&
      each.service_account == "projects/acme-build/serviceAccounts/vitrine-build-${name}@acme-build.iam.gserviceaccount.com"
    ])
    error_message = "It builds for another environment, or as somebody else."
  }
  assert {
    condition = alltrue([
      for each in google_cloudbuild_trigger.environment :
      each.repository_event_config[0].repository == var.connected_repository && each.repository_event_config[0].push[0].branch == "^main$"
    ])
    error_message = "It builds another repository or branch."
  }
  assert {
    condition = (
      google_cloudbuild_trigger.environment["dev"].name == "vitrine-dev" &&
      alltrue([
        for each in google_cloudbuild_trigger.environment : each.project == "acme-build" && each.location == "europe-west4"
      ])
    )
    error_message = "It builds elsewhere, or is called otherwise."
  }
}

run "wrong_words_are_refused" {
  command = plan
  variables {
    branch               = "main' || true || '"
    connected_repository = "acme/vitrine"
    environments         = { Dev = { project_id = "acme-dev" } }
    granted_roles        = []
    project_number       = "acme-build"
    region               = "europe"
    repository           = "acme/vitrine' || true || '"
  }
  expect_failures = [
    var.branch, var.connected_repository, var.environments, var.granted_roles, var.project_number, var.region,
    var.repository,
  ]
}

run "a_name_that_is_too_long_for_an_identity_is_refused" {
  command = plan
  variables {
    environments = { abcdefghijklmnopq = { project_id = "acme-dev" } }
  }
  expect_failures = [var.environments]
}

run "a_name_as_long_as_an_identity_can_have_is_taken" {
  command = plan
  variables {
    environments = { abcdefghijklmnop = { project_id = "acme-dev" } }
  }
  assert {
    condition     = length(google_service_account.build["abcdefghijklmnop"].account_id) == 30
    error_message = "It has no identity, or one of another name."
  }
}

run "environments_that_share_a_project_and_roles_that_are_too_much_are_refused" {
  command = plan
  variables {
    environments  = { dev = { project_id = "acme" }, prod = { project_id = "acme" } }
    granted_roles = ["roles/editor"]
  }
  expect_failures = [var.environments, var.granted_roles]
}

run "a_key_that_is_no_path_and_an_administrators_role_are_refused" {
  command = plan
  variables {
    environments  = { dev = { project_id = "acme-dev", kms_key_name = "vitrine" } }
    granted_roles = ["roles/resourcemanager.projectIamAdmin"]
  }
  expect_failures = [var.environments, var.granted_roles]
}

run "a_project_that_is_deployed_to_is_refused" {
  command = plan
  variables {
    project_id = "acme-prod"
  }
  expect_failures = [var.project_id]
}
