# What has to stand before anything can be built: the identities that build, one for each environment, and the registry
# that they push to. It is applied once, by people, who have the rights that it hands out; every environment is then
# applied by the build.
#
# The registry is here, and not in an environment, because an environment runs images that must have been pushed before;
# and it is one for all, so that what was tried in staging is, to the digest, what runs in prod.
terraform {
  backend "gcs" {
    # The build project's own bucket: -backend-config=bucket=...
    prefix = "build"
  }
}

provider "google" {
  project = var.project_id
  region  = var.region
}

locals {
  labels = merge(var.labels, { system = "vitrine" })
}

module "project" {
  source         = "../modules/project"
  project_id     = var.project_id
  project_number = var.project_number
  kms_key_name   = var.kms_key_name
  encrypting     = ["artifactregistry"]
  # Who pushed and pulled which image.
  audited = ["artifactregistry.googleapis.com"]
  # With those that the build calls for an environment's sake, but that count as called from the caller's project.
  services = [
    "artifactregistry.googleapis.com",
    "billingbudgets.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "containerscanning.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "logging.googleapis.com",
    "ondemandscanning.googleapis.com",
    "serviceusage.googleapis.com",
    "storage.googleapis.com",
    "sts.googleapis.com",
  ]
}

# Of each environment's project only what is needed before the build can apply it: the APIs by which it switches on the
# others, and Cloud Run, whose agent is to read the registry and is made with its API.
module "environments" {
  source         = "../modules/project"
  for_each       = var.environments
  project_id     = each.value.project_id
  project_number = each.value.project_number
  audited        = []
  services = [
    "cloudresourcemanager.googleapis.com",
    "iam.googleapis.com",
    "run.googleapis.com",
    "serviceusage.googleapis.com",
  ]
}

module "build" {
  source               = "../modules/build"
  project_id           = module.project.id
  project_number       = var.project_number
  region               = var.region
  repository           = var.repository
  branch               = var.branch
  connected_repository = var.connected_repository
  environments         = { for name, each in var.environments : name => merge(each, { project_id = module.environments[name].id }) }
}

module "registry" {
  source       = "../modules/registry"
  project_id   = module.project.id
  location     = var.region
  kms_key_name = var.kms_key_name
  labels       = local.labels
  readers      = { for name, environment in module.environments : name => environment.agents.run }
  writers      = module.build.members
}
