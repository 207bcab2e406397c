# What builds the images and applies the environments: an identity for each, who may act as it, and when it does.
#
# One for each, as an approval is worth no more than the identity that waits for it: what is built without one runs code
# that nobody has looked at, such as third-party packages, and could use every right that its identity has.

locals {
  emails = {
    for name, account in google_service_account.build :
    name => "${account.account_id}@${var.project_id}.iam.gserviceaccount.com"
  }
  members = { for name, email in local.emails : name => "serviceAccount:${email}" }
  # What `terraform apply` of an environment and the test of its inference need, and no more: each role is one kind of thing that is made there.
  # Nobody is owner or editor, and nobody has one of these in another environment's project or here.
  roles = [
    # The dataset, its tables and who may read and write which.
    "roles/bigquery.dataOwner",
    # To read the row that tells of a new revision's test.
    "roles/bigquery.jobUser",
    # Requests that are made again and again.
    "roles/cloudscheduler.admin",
    # The stages' identities, and that Pub/Sub's agent makes tokens of one.
    "roles/iam.serviceAccountAdmin",
    # To test a new revision as Pub/Sub would call it.
    "roles/iam.serviceAccountOpenIdTokenCreator",
    # To let a stage work as its identity. On the whole project, as those identities do not stand before it is
    # applied; who manages them could grant it to himself anyway.
    "roles/iam.serviceAccountUser",
    # Metrics that are counted from logs.
    "roles/logging.configWriter",
    # Alerts, objectives and the dashboard.
    "roles/monitoring.editor",
    # Topics, schemas, subscriptions and who may publish.
    "roles/pubsub.admin",
    # Services and who may call them.
    "roles/run.admin",
    # The gateway's secrets: it makes them and their first versions.
    "roles/secretmanager.admin",
    # The APIs of all these.
    "roles/serviceusage.serviceUsageAdmin",
    # Buckets and who may use them, and the state of Terraform itself.
    "roles/storage.admin",
  ]
  # In the project that builds.
  roles_at_home = [
    # Its builds' own logs.
    "roles/logging.logWriter",
    # To look for vulnerabilities in an image before it is pushed.
    "roles/ondemandscanning.admin",
    # What `gcloud builds submit` has uploaded. It is all that the project's buckets hold, with the state of what is
    # defined here; there is no secret in it.
    "roles/storage.objectViewer",
  ]
  grants = merge([
    for name, environment in var.environments : {
      for role in local.roles : "${name} ${role}" => { environment = name, project_id = environment.project_id, role = role }
    }
  ]...)
  grants_at_home = merge([
    for name in keys(var.environments) : {
      for role in local.roles_at_home : "${name} ${role}" => { environment = name, role = role }
    }
  ]...)
  grantable = join(", ", [for role in sort(var.granted_roles) : "'${role}'"])
  # GitHub says which repository a token was made for, and of which branch.
  condition = join(" && ", compact([
    "assertion.repository == '${var.repository}'",
    var.branch == null ? null : "assertion.ref == 'refs/heads/${var.branch}'",
  ]))
}

resource "google_service_account" "build" {
  for_each     = var.environments
  project      = var.project_id
  account_id   = "vitrine-build-${each.key}"
  display_name = "What builds Vitrine's images and applies ${each.key}"
}

# ---- what it may do ---------------------------------------------------------------------------------------

resource "google_project_iam_member" "builder" {
  for_each = local.grants_at_home
  project  = var.project_id
  role     = each.value.role
  member   = local.members[each.value.environment]
}

# Plans are kept beside the state, for those who approve: each environment's in a folder of its own, so that no build can
# change what another one has written.
resource "google_storage_bucket_iam_member" "plans" {
  for_each = var.environments
  bucket   = "${var.project_id}-terraform"
  role     = "roles/storage.objectUser"
  member   = local.members[each.key]

  condition {
    title      = "below plans/${each.key}/"
    expression = "resource.name.startsWith(\"projects/_/buckets/${var.project_id}-terraform/objects/plans/${each.key}/\")"
  }
}

resource "google_project_iam_member" "deployer" {
  for_each = local.grants
  project  = each.value.project_id
  role     = each.value.role
  member   = local.members[each.value.environment]
}

# It grants roles of the project, but no other than these: whoever could grant any could make himself its owner.
resource "google_project_iam_member" "granter" {
  for_each = var.environments
  project  = each.value.project_id
  role     = "roles/resourcemanager.projectIamAdmin"
  member   = local.members[each.key]

  condition {
    title       = "only what the pipeline grants"
    description = "May grant and revoke ${join(", ", sort(var.granted_roles))}."
    expression  = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly([${local.grantable}])"
  }
}

# It sees who may use an environment's key, but grants it to nobody: that would be a right to every message and photo.
# So an environment with a key of its own is applied by people once; afterwards its plans have nothing to change there.
resource "google_kms_crypto_key_iam_member" "reviewer" {
  for_each      = { for name, environment in var.environments : name => environment if environment.kms_key_name != null }
  crypto_key_id = each.value.kms_key_name
  role          = "roles/iam.securityReviewer"
  member        = local.members[each.key]
}

# ---- who may act as it ------------------------------------------------------------------------------------

# GitHub's workflows, without a key that could be lost.
resource "google_iam_workload_identity_pool" "github" {
  project                   = var.project_id
  workload_identity_pool_id = "vitrine-github"
  display_name              = "Vitrine's workflows on GitHub"
}

resource "google_iam_workload_identity_pool_provider" "github" {
  project                            = var.project_id
  workload_identity_pool_id          = google_iam_workload_identity_pool.github.workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  display_name                       = "GitHub"
  # Every repository of the world has its tokens from the same issuer.
  attribute_condition = local.condition
  attribute_mapping = {
    "google.subject"       = "assertion.sub"
    "attribute.ref"        = "assertion.ref"
    "attribute.repository" = "assertion.repository"
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

# Only as what applies without approval: GitHub knows nothing of Cloud Build's approvals, so that a workflow that could
# act as prod's identity would apply prod whether somebody has approved it or not.
resource "google_service_account_iam_member" "github" {
  for_each           = { for name, environment in var.environments : name => environment if !environment.approval }
  service_account_id = google_service_account.build[each.key].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/projects/${var.project_number}/locations/global/workloadIdentityPools/${google_iam_workload_identity_pool.github.workload_identity_pool_id}/attribute.repository/${var.repository}"
}

# ---- when it does -----------------------------------------------------------------------------------------

# Cloud Build's triggers, where the repository is connected: each push builds; where approval is asked for, it then
# waits for somebody with roles/cloudbuild.builds.approver.
resource "google_cloudbuild_trigger" "environment" {
  for_each        = var.connected_repository == null ? {} : var.environments
  project         = var.project_id
  location        = var.region
  name            = "vitrine-${each.key}"
  description     = "Builds what was pushed and applies ${each.key}"
  filename        = "cloudbuild.yaml"
  service_account = "projects/${var.project_id}/serviceAccounts/${local.emails[each.key]}"
  substitutions   = { _ENVIRONMENT = each.key }

  repository_event_config {
    repository = var.connected_repository
    push {
      branch = "^${coalesce(var.branch, "main")}$"
    }
  }

  approval_config {
    approval_required = each.value.approval
  }
}
