# The pipeline of one environment: every topic of schemas/topics.yaml, every stage of services/, and what they
# work on. A new stage is an entry there and a folder with a stage.yaml here; nothing in Terraform names one.

locals {
  root     = "${path.module}/../.."
  location = coalesce(var.location, var.region)
  wiring   = yamldecode(file("${local.root}/schemas/topics.yaml"))
  model    = jsondecode(file("${local.root}/services/model/default/model.json"))
  bucket   = "${local.project_id}-vitrine"
  uploads  = "${local.project_id}-vitrine-uploads"
  labels   = merge(var.labels, { system = "vitrine", environment = var.environment })
  # https://cloud.google.com/run/docs/configuring/services/gpu
  regions_with_l4 = [
    "asia-south1", "asia-southeast1", "europe-west1", "europe-west4", "us-central1", "us-east4"
  ]

  # ---- stages ---------------------------------------------------------------------------------------------

  stages = {
    for file in fileset("${local.root}/services", "*/stage.yaml") :
    dirname(file) => merge(local.stage_defaults, yamldecode(file("${local.root}/services/${file}")))
  }
  stage_defaults = {
    gpu             = null
    ingress         = "INGRESS_TRAFFIC_INTERNAL_ONLY"
    reads_uploads   = false
    startup_seconds = 240 # an identity that was just granted something may have to wait for it
    tables          = {}
  }
  # As they are deployed: with what a GPU asks for, where this environment has one.
  deployed = {
    for name, stage in local.stages : name => merge(stage, var.gpu && stage.gpu != null ? stage.gpu : {}, {
      gpu = var.gpu && stage.gpu != null
    })
  }
  # Every environment variable that a stage may ask for; what is null is not set. Without a catalogue, the
  # bundled one counts.
  values = {
    VITRINE_CATALOGUE     = var.catalogue
    GOOGLE_CLOUD_PROJECT  = local.project_id
    VITRINE_BUCKET        = module.bucket.name
    VITRINE_DATASET       = module.warehouse.dataset_id
    VITRINE_MODEL         = local.model.name
    VITRINE_MODEL_VERSION = local.model.version
    VITRINE_REQUIRE_GPU   = tostring(var.gpu)
    VITRINE_UPLOAD_BUCKET = module.uploads.name
  }

  job_environment = ["GOOGLE_CLOUD_PROJECT", "VITRINE_BUCKET", "VITRINE_DATASET", "VITRINE_CATALOGUE"]

  # ---- topics ---------------------------------------------------------------------------------------------

  topics = {
    for name, topic in local.wiring.topics : name => merge(topic, {
      subscriptions = {
        for service, options in topic.subscriptions :
        service => merge({ filter = "", pull = false }, local.wiring.defaults, options)
      }
    })
  }
  dead_letters = toset(flatten([
    for topic in local.topics : [for each in topic.subscriptions : each.dead_letter if !each.pull]
  ]))
  # What the last dead letters are kept by is pulled by people, so that it needs none of its own.
  kept = toset([
    for name in local.dead_letters : name if alltrue([for each in local.topics[name].subscriptions : each.pull])
  ])

  publishers = {
    for name, topic in local.topics : name => merge(concat([
      for producer in topic.producers :
      producer == "you" ? var.request_publishers :
      producer == "pubsub" ? { pubsub = module.project.agents.pubsub } :
      producer == "cloud-storage" ? { cloud-storage = module.project.agents.storage } :
      { (producer) = local.members[producer] }
      ], [
      for producer in local.gateway : { (producer) = local.members[producer] } if contains(local.gateway_topics, name)
    ])...)
  }
  subscriptions = {
    for name, topic in local.topics : name => {
      for service, each in topic.subscriptions : "${name}-to-${service}" => {
        ack_deadline = each.ack_deadline
        filter       = each.filter
        backoff      = each.pull ? null : each.backoff
        dead_letter = each.pull ? null : {
          attempts = each.attempts
          topic    = "projects/${local.project_id}/topics/${each.dead_letter}"
        }
        push = each.pull ? null : {
          endpoint        = module.stages[service].url
          service_account = local.invoker
        }
      }
    }
  }
  # BatchStaged is schemas/events/batch_staged.proto.
  schemas = {
    for name, topic in local.topics : name => topic.schema != "proto" ? null : file(
      "${local.root}/schemas/events/${lower(replace(topic.event, "/([a-z])([A-Z])/", "$${1}_$2"))}.proto"
    )
  }

  # ---- identities -----------------------------------------------------------------------------------------

  # Written out, and not asked of the provider, so that a plan shows who gets what.
  domain  = "${local.project_id}.iam.gserviceaccount.com"
  invoker = "${google_service_account.invoker.account_id}@${local.domain}"
  workers = { for name, account in google_service_account.worker : name => "${account.account_id}@${local.domain}" }
  members = { for name, email in local.workers : name => "serviceAccount:${email}" }
}

# What each stage works as, the gateway, and the jobs.
resource "google_service_account" "worker" {
  for_each     = setunion(keys(local.stages), local.gateway, local.training, local.audit)
  project      = local.project_id
  account_id   = "${each.key}-worker"
  display_name = "What ${each.key} works as"
}

# To read or write a table is one right, to run a query or load job another.
resource "google_project_iam_member" "bigquery" {
  for_each = toset(keys(local.tables))
  project  = local.project_id
  role     = "roles/bigquery.jobUser"
  member   = local.members[each.key]
}

# What Pub/Sub pushes as. It may call the stages, and nothing else.
resource "google_service_account" "invoker" {
  project      = local.project_id
  account_id   = "pubsub-invoker"
  display_name = "What Pub/Sub calls the stages as"
}

resource "google_service_account_iam_member" "tokens" {
  service_account_id = google_service_account.invoker.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = module.project.agents.pubsub
}

module "stages" {
  source              = "../modules/stage"
  for_each            = local.deployed
  name                = each.key
  project_id          = local.project_id
  project_number      = var.project_number
  region              = var.region
  image               = var.images[each.value.image]
  args                = [each.key]
  environment         = { for name in each.value.environment : name => local.values[name] if local.values[name] != null }
  concurrency         = each.value.concurrency
  cpu                 = each.value.cpu
  memory              = each.value.memory
  startup_seconds     = each.value.startup_seconds
  gpu                 = each.value.gpu ? { zonal_redundancy = var.gpu_zonal_redundancy } : null
  ingress             = each.value.ingress
  service_account     = local.workers[each.key]
  invokers            = { pubsub = "serviceAccount:${local.invoker}" }
  min_instances       = lookup(var.min_instances, each.key, 0)
  max_instances       = lookup(var.max_instances, each.key, each.value.max_instances)
  deletion_protection = var.deletion_protection
  kms_key_name        = var.kms_key_name
  vpc_connector       = var.vpc_connector
  labels              = local.labels
  # An instance looks at its bucket and tables before it says that it is ready; both are granted before their
  # names are known.
  depends_on = [google_project_iam_member.bigquery]
}

# Three times the same, because a dead-letter topic must stand before what it takes the dead letters of.
module "kept_topics" {
  source        = "../modules/topic"
  for_each      = local.kept
  name          = each.value
  project_id    = local.project_id
  pubsub_agent  = module.project.agents.pubsub
  publishers    = local.publishers[each.value]
  subscriptions = local.subscriptions[each.value]
  schema        = local.schemas[each.value]
  kms_key_name  = var.kms_key_name
  labels        = local.labels
}

module "dead_letter_topics" {
  source        = "../modules/topic"
  for_each      = setsubtract(local.dead_letters, local.kept)
  name          = each.value
  project_id    = local.project_id
  pubsub_agent  = module.project.agents.pubsub
  publishers    = local.publishers[each.value]
  subscriptions = local.subscriptions[each.value]
  schema        = local.schemas[each.value]
  kms_key_name  = var.kms_key_name
  labels        = local.labels
  depends_on    = [module.kept_topics]
}

module "topics" {
  source        = "../modules/topic"
  for_each      = setsubtract(keys(local.topics), local.dead_letters)
  name          = each.value
  project_id    = local.project_id
  pubsub_agent  = module.project.agents.pubsub
  publishers    = local.publishers[each.value]
  subscriptions = local.subscriptions[each.value]
  schema        = local.schemas[each.value]
  kms_key_name  = var.kms_key_name
  labels        = local.labels
  depends_on    = [module.dead_letter_topics]
}
