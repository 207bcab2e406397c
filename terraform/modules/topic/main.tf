# A topic, what it takes, who may publish to it, and its subscriptions with their rights.

locals {
  # What the broker gives up on is published, and then acknowledged, by the Pub/Sub service agent.
  dead_lettering = { for name, each in var.subscriptions : name => each if each.dead_letter != null }
}

resource "google_pubsub_schema" "schema" {
  for_each   = var.schema == null ? {} : { (var.name) = var.schema }
  project    = var.project_id
  name       = each.key
  type       = "PROTOCOL_BUFFER"
  definition = each.value
}

resource "google_pubsub_topic" "topic" {
  project                    = var.project_id
  name                       = var.name
  kms_key_name               = var.kms_key_name
  labels                     = var.labels
  message_retention_duration = var.retention

  dynamic "schema_settings" {
    for_each = google_pubsub_schema.schema
    content {
      schema   = "projects/${var.project_id}/schemas/${schema_settings.key}"
      encoding = "JSON"
    }
  }
}

resource "google_pubsub_topic_iam_member" "publisher" {
  for_each = var.publishers
  project  = var.project_id
  topic    = google_pubsub_topic.topic.name
  role     = "roles/pubsub.publisher"
  member   = each.value
}

resource "google_pubsub_subscription" "subscription" {
  for_each                   = var.subscriptions
  project                    = var.project_id
  name                       = each.key
  topic                      = google_pubsub_topic.topic.name
  filter                     = each.value.filter
  ack_deadline_seconds       = each.value.ack_deadline
  message_retention_duration = var.retention
  labels                     = var.labels

  # Never: a pipeline that was not used for a month is not to lose its wiring.
  expiration_policy {
    ttl = ""
  }

  dynamic "push_config" {
    for_each = each.value.push == null ? [] : [each.value.push]
    content {
      push_endpoint = push_config.value.endpoint
      oidc_token {
        service_account_email = push_config.value.service_account
        audience              = push_config.value.endpoint
      }
    }
  }

  dynamic "retry_policy" {
    for_each = each.value.backoff == null ? [] : [each.value.backoff]
    content {
      minimum_backoff = "${retry_policy.value[0]}s"
      maximum_backoff = "${retry_policy.value[1]}s"
    }
  }

  dynamic "dead_letter_policy" {
    for_each = each.value.dead_letter == null ? [] : [each.value.dead_letter]
    content {
      dead_letter_topic     = dead_letter_policy.value.topic
      max_delivery_attempts = dead_letter_policy.value.attempts
    }
  }
}

resource "google_pubsub_subscription_iam_member" "dead_lettering" {
  for_each     = local.dead_lettering
  project      = var.project_id
  subscription = google_pubsub_subscription.subscription[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = var.pubsub_agent
}
