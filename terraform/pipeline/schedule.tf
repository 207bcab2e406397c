# Requests that are made again and again, such as of what was added in the last week.

locals {
  request_topic = one([for name, topic in local.topics : name if topic.event == "ClassificationRequested"])
}

module "schedules" {
  source      = "../modules/schedule"
  for_each    = var.schedules
  project_id  = local.project_id
  region      = var.region
  name        = each.key
  description = each.value.description
  cron        = each.value.cron
  time_zone   = each.value.time_zone
  topic       = module.topics[local.request_topic].id
  body        = jsondecode(each.value.request)
}
