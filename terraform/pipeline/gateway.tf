# The gateway, where an environment asks for one: the HTTP API and the console. Nothing is pushed to it, so that it is no
# stage; it verifies each caller's credential itself, whoever Cloud Run lets through.

locals {
  # Its name, beside those of the stages; nothing where there is none.
  gateway         = toset(var.gateway == null ? [] : ["gateway"])
  gateway_service = yamldecode(file("${local.root}/services/gateway/service.yaml"))
  # Cloud Run's own address, by which a token for it is asked for whether or not people know it by another one.
  gateway_run_url = "https://gateway-${var.project_number}.${var.region}.run.app"
  gateway_url     = coalesce(try(var.gateway.url, null), local.gateway_run_url)
  gateway_keys    = "/keys/keys.json"
  gateway_groups  = toset(anytrue([for member in flatten(values(try(var.gateway.roles, {}))) : startswith(member, "group:")]) ? ["cloudidentity.googleapis.com"] : [])
  # What an estimate is to assume of the instance that classifies; what a second of it costs is the gateway's to know.
  gateway_prices = merge(
    {
      inference_vcpus = tonumber(local.deployed["inference"].cpu)
      inference_gib   = tonumber(trimsuffix(local.deployed["inference"].memory, "Gi"))
    },
    { for unit in ["gpu_second"] : unit => 0 if !local.deployed["inference"].gpu },
  )
  # What is null is left to its own settings.
  gateway_environment = var.gateway == null ? {} : {
    for name, value in {
      VITRINE_API_KEYS        = local.gateway_keys
      VITRINE_AUDIENCES       = join(",", setunion([local.gateway_run_url, local.gateway_url], var.gateway.audiences))
      VITRINE_COST_LIMIT      = var.gateway.cost_limit == null ? null : tostring(var.gateway.cost_limit)
      VITRINE_GATEWAY_URL     = local.gateway_url
      VITRINE_OAUTH_CLIENT_ID = var.gateway.oauth_client_id
      VITRINE_PRICES          = jsonencode(merge(local.gateway_prices, var.gateway.prices))
      VITRINE_PROXIES         = tostring(var.gateway.proxies)
      VITRINE_RATE_LIMIT      = var.gateway.rate_limit
      VITRINE_ROLES           = jsonencode(var.gateway.roles)
    } : name => value if value != null
  }
  # It asks for classifications and cancels them; and whoever replays a rejected message publishes it to the topic that
  # it was pushed from, which may be any that is pushed, but those that rejected messages themselves go to.
  gateway_topics = toset([
    for name, topic in local.topics : name
    if contains(topic.producers, "you") || (
      anytrue([for each in topic.subscriptions : !each.pull]) && !contains(local.dead_letters, name)
    )
  ])
  # Like a stage it adds objects: what a job was asked for, before it is opened, the marks of what was replayed, and of sessions that ended. Like
  # those who promote a model it moves a pointer.
  gateway_bucket_members = merge([
    for name in local.gateway : {
      "${name}-reads"    = { role = "roles/storage.objectViewer", member = local.members[name], prefix = null }
      "${name}-asks"     = { role = "roles/storage.objectCreator", member = local.members[name], prefix = "jobs/" }
      "${name}-marks"    = { role = "roles/storage.objectCreator", member = local.members[name], prefix = "rejected/" }
      "${name}-ends"     = { role = "roles/storage.objectCreator", member = local.members[name], prefix = "sessions/" }
      "${name}-promotes" = { role = "roles/storage.objectUser", member = local.members[name], prefix = "models/" }
    }
  ]...)
  gateway_secrets = toset(flatten([for name in local.gateway : ["${name}-keys", "${name}-session"]]))
}

module "gateway" {
  source              = "../modules/stage"
  for_each            = local.gateway
  name                = each.key
  project_id          = local.project_id
  project_number      = var.project_number
  region              = var.region
  image               = var.images.gateway
  environment         = merge({ for name in local.gateway_service.environment : name => local.values[name] if local.values[name] != null }, local.gateway_environment)
  concurrency         = local.gateway_service.concurrency
  cpu                 = local.gateway_service.cpu
  memory              = local.gateway_service.memory
  timeout             = local.gateway_service.timeout
  startup_seconds     = local.stage_defaults.startup_seconds
  ingress             = var.gateway.ingress
  service_account     = local.workers[each.key]
  invokers            = var.gateway.invokers
  public              = var.gateway.public
  min_instances       = lookup(var.min_instances, each.key, 0)
  max_instances       = lookup(var.max_instances, each.key, local.gateway_service.max_instances)
  deletion_protection = var.deletion_protection
  kms_key_name        = var.kms_key_name
  vpc_connector       = var.vpc_connector
  labels              = local.labels
  secret_files        = { (local.gateway_keys) = google_secret_manager_secret.gateway["gateway-keys"].secret_id }
  # By its number: with a new one there is a new revision, and all sign in again.
  secret_environment = {
    VITRINE_SESSION_SECRET = {
      secret  = google_secret_manager_secret.gateway["gateway-session"].secret_id
      version = google_secret_manager_secret_version.session[each.key].version
    }
  }
  # An instance is not started that may not read its secrets, or that a version is missing of.
  depends_on = [
    google_project_iam_member.bigquery,
    google_secret_manager_secret_iam_member.gateway,
    google_secret_manager_secret_version.keys,
  ]
}

# Whose roles are by group is asked of Cloud Identity.
resource "google_project_service" "gateway" {
  for_each           = local.gateway_groups
  project            = local.project_id
  service            = each.value
  disable_on_destroy = false
}

# ---- secrets ----------------------------------------------------------------------------------------------

# What sessions are signed with, and the file of API keys, which holds hashes. In the region, as its key is.
resource "google_secret_manager_secret" "gateway" {
  for_each            = local.gateway_secrets
  project             = local.project_id
  secret_id           = each.value
  deletion_protection = var.deletion_protection
  labels              = local.labels

  replication {
    user_managed {
      replicas {
        location = var.region
        dynamic "customer_managed_encryption" {
          for_each = var.kms_key_name == null ? [] : [var.kms_key_name]
          content {
            kms_key_name = customer_managed_encryption.value
          }
        }
      }
    }
  }
}

resource "google_secret_manager_secret_iam_member" "gateway" {
  for_each  = local.gateway_secrets
  project   = local.project_id
  secret_id = google_secret_manager_secret.gateway[each.value].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = local.members["gateway"]
}

# Made up where it is applied, 244 random bits, and written only: it is neither in a plan nor in the state.
resource "google_secret_manager_secret_version" "session" {
  for_each               = local.gateway
  secret                 = google_secret_manager_secret.gateway["${each.key}-session"].id
  secret_data_wo         = "${uuid()}${uuid()}"
  secret_data_wo_version = 1

  lifecycle {
    # The revision before needs its version until there is another one.
    create_before_destroy = true
  }
}

# No key yet; every later version is people's.
resource "google_secret_manager_secret_version" "keys" {
  for_each               = local.gateway
  secret                 = google_secret_manager_secret.gateway["${each.key}-keys"].id
  secret_data_wo         = jsonencode([])
  secret_data_wo_version = 1
}
