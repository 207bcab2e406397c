mock_provider "google" {}

variables {
  project_id   = "acme-dev"
  name         = "batch-selected"
  pubsub_agent = "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
  publishers   = { selection = "serviceAccount:selection-worker@acme-dev.iam.gserviceaccount.com" }
  subscriptions = {
    pushed = {
      ack_deadline = 600
      backoff      = [1, 300]
      dead_letter  = { attempts = 12, topic = "projects/acme-dev/topics/message-rejected" }
      filter       = "attributes.augment = \"true\""
      push = {
        endpoint        = "https://staging-123456789012.europe-west4.run.app"
        service_account = "pubsub-invoker@acme-dev.iam.gserviceaccount.com"
      }
    }
    pulled = { ack_deadline = 60 }
  }
}

run "a_topic_keeps_its_messages_and_takes_any_bytes" {
  command = plan
  assert {
    condition     = google_pubsub_topic.topic.message_retention_duration == "604800s"
    error_message = "Messages are not kept for a week."
  }
  assert {
    condition     = length(google_pubsub_topic.topic.schema_settings) == 0 && length(google_pubsub_schema.schema) == 0
    error_message = "There is a schema that nobody asked for."
  }
  assert {
    condition     = google_pubsub_topic.topic.kms_key_name == null
    error_message = "There is a key that nobody asked for."
  }
  assert {
    condition     = output.id == "projects/acme-dev/topics/batch-selected"
    error_message = "The id is not the topic's path."
  }
  assert {
    condition     = output.subscriptions == tolist(["pulled", "pushed"])
    error_message = "Not all subscriptions are told."
  }
}

run "messages_are_held_to_a_schema" {
  command = plan
  variables {
    schema = "syntax = \"proto3\"; message BatchSelected { string job_id = 1; }"
  }
  assert {
    condition     = google_pubsub_schema.schema["batch-selected"].definition == var.schema
    error_message = "The schema is not the given one."
  }
  assert {
    condition     = google_pubsub_schema.schema["batch-selected"].type == "PROTOCOL_BUFFER"
    error_message = "The schema is not a proto."
  }
  assert {
    condition     = google_pubsub_topic.topic.schema_settings[0].schema == "projects/acme-dev/schemas/batch-selected"
    error_message = "The topic does not use its schema."
  }
  assert {
    condition     = google_pubsub_topic.topic.schema_settings[0].encoding == "JSON"
    error_message = "Messages are not in JSON."
  }
  assert {
    condition = (
      google_pubsub_schema.schema["batch-selected"].project == "acme-dev" &&
      google_pubsub_topic.topic.project == "acme-dev" &&
      google_pubsub_topic_iam_member.publisher["selection"].project == "acme-dev" &&
      google_pubsub_subscription.subscription["pushed"].project == "acme-dev" &&
      google_pubsub_subscription_iam_member.dead_lettering["pushed"].project == "acme-dev"
    )
    error_message = "Something is in another project."
  }
}

run "only_publishers_publish" {
  command = plan
  assert {
    condition = (
      google_pubsub_topic_iam_member.publisher["selection"].role == "roles/pubsub.publisher" &&
      google_pubsub_topic_iam_member.publisher["selection"].member == var.publishers.selection &&
      google_pubsub_topic_iam_member.publisher["selection"].topic == "batch-selected"
    )
    error_message = "The publisher may not publish."
  }
  assert {
    condition     = length(google_pubsub_topic_iam_member.publisher) == 1
    error_message = "Somebody else may publish."
  }
}

run "a_push_is_authenticated_for_the_service_that_it_calls" {
  command = plan
  assert {
    condition     = google_pubsub_subscription.subscription["pushed"].push_config[0].push_endpoint == var.subscriptions.pushed.push.endpoint
    error_message = "It is pushed elsewhere."
  }
  assert {
    condition     = google_pubsub_subscription.subscription["pushed"].push_config[0].oidc_token[0].audience == var.subscriptions.pushed.push.endpoint
    error_message = "The token is not for the service."
  }
  assert {
    condition     = google_pubsub_subscription.subscription["pushed"].push_config[0].oidc_token[0].service_account_email == "pubsub-invoker@acme-dev.iam.gserviceaccount.com"
    error_message = "The token is not the invoker's."
  }
  assert {
    condition     = length(google_pubsub_subscription.subscription["pulled"].push_config) == 0
    error_message = "What is to be pulled is pushed."
  }
}

run "a_push_is_repeated_with_pauses_and_then_given_up" {
  command = plan
  assert {
    condition = (
      google_pubsub_subscription.subscription["pushed"].retry_policy[0].minimum_backoff == "1s" &&
      google_pubsub_subscription.subscription["pushed"].retry_policy[0].maximum_backoff == "300s"
    )
    error_message = "The pauses are not the given ones."
  }
  assert {
    condition = (
      google_pubsub_subscription.subscription["pushed"].dead_letter_policy[0].dead_letter_topic == "projects/acme-dev/topics/message-rejected" &&
      google_pubsub_subscription.subscription["pushed"].dead_letter_policy[0].max_delivery_attempts == 12
    )
    error_message = "It is not given up as asked."
  }
  assert {
    condition = (
      length(google_pubsub_subscription.subscription["pulled"].retry_policy) == 0 &&
      length(google_pubsub_subscription.subscription["pulled"].dead_letter_policy) == 0
    )
    error_message = "What is pulled is given up, though nobody asked for it."
  }
}

run "the_agent_moves_dead_letters_where_there_are_any" {
  command = plan
  assert {
    condition     = keys(google_pubsub_subscription_iam_member.dead_lettering) == ["pushed"]
    error_message = "The agent's right is not on exactly the subscriptions that have dead letters."
  }
  assert {
    condition = (
      google_pubsub_subscription_iam_member.dead_lettering["pushed"].role == "roles/pubsub.subscriber" &&
      google_pubsub_subscription_iam_member.dead_lettering["pushed"].member == var.pubsub_agent
    )
    error_message = "The agent may not acknowledge dead letters."
  }
}

run "a_subscription_never_expires_and_filters" {
  command = plan
  assert {
    condition     = alltrue([for each in google_pubsub_subscription.subscription : each.expiration_policy[0].ttl == ""])
    error_message = "A subscription expires."
  }
  assert {
    condition     = google_pubsub_subscription.subscription["pushed"].filter == "attributes.augment = \"true\""
    error_message = "It does not filter as asked."
  }
  assert {
    condition     = google_pubsub_subscription.subscription["pulled"].filter == ""
    error_message = "It filters, though nobody asked for it."
  }
  assert {
    condition = (
      google_pubsub_subscription.subscription["pushed"].ack_deadline_seconds == 600 &&
      google_pubsub_subscription.subscription["pulled"].ack_deadline_seconds == 60
    )
    error_message = "The ack deadlines are not the given ones."
  }
}

run "the_key_the_labels_and_the_retention_are_used" {
  command = plan
  variables {
    kms_key_name = "projects/acme-dev/locations/europe-west4/keyRings/vitrine/cryptoKeys/vitrine"
    labels       = { system = "vitrine" }
    retention    = "3600s"
  }
  assert {
    condition     = google_pubsub_topic.topic.kms_key_name == var.kms_key_name
    error_message = "Messages are not encrypted with the key."
  }
  assert {
    condition = (
      google_pubsub_topic.topic.labels == tomap({ system = "vitrine" }) &&
      alltrue([for each in google_pubsub_subscription.subscription : each.labels == tomap({ system = "vitrine" })])
    )
    error_message = "The labels are missing."
  }
  assert {
    condition = (
      google_pubsub_topic.topic.message_retention_duration == "3600s" &&
      alltrue([for each in google_pubsub_subscription.subscription : each.message_retention_duration == "3600s"])
    )
    error_message = "The retention is not the given one."
  }
}

run "wrong_words_are_refused" {
  command = plan
  variables {
    name         = "google-news"
    publishers   = { all = "allUsers" }
    pubsub_agent = "serviceAccount:agent@acme-dev.iam.gserviceaccount.com"
    retention    = "7d"
  }
  expect_failures = [var.name, var.publishers, var.pubsub_agent, var.retention]
}

run "a_name_in_capitals_and_a_retention_that_is_too_long_are_refused" {
  command = plan
  variables {
    name      = "Batch"
    retention = "604801s"
  }
  expect_failures = [var.name, var.retention]
}

run "a_short_ack_deadline_is_refused" {
  command = plan
  variables {
    subscriptions = { pulled = { ack_deadline = 5 } }
  }
  expect_failures = [var.subscriptions]
}

run "a_push_without_dead_letter_is_refused" {
  command = plan
  variables {
    subscriptions = {
      pushed = {
        ack_deadline = 60
        backoff      = [1, 300]
        push         = { endpoint = "https://staging.run.app", service_account = "i@acme-dev.iam.gserviceaccount.com" }
      }
    }
  }
  expect_failures = [var.subscriptions]
}

run "a_push_without_encryption_is_refused" {
  command = plan
  variables {
    subscriptions = {
      pushed = {
        ack_deadline = 60
        backoff      = [1, 300]
        dead_letter  = { attempts = 12, topic = "projects/acme-dev/topics/message-rejected" }
        push         = { endpoint = "http://staging.run.app", service_account = "i@acme-dev.iam.gserviceaccount.com" }
      }
    }
  }
  expect_failures = [var.subscriptions]
}

run "too_few_attempts_are_refused" {
  command = plan
  variables {
    subscriptions = {
      pulled = { ack_deadline = 60, dead_letter = { attempts = 4, topic = "projects/acme-dev/topics/message-rejected" } }
    }
  }
  expect_failures = [var.subscriptions]
}

run "a_dead_letter_topic_that_is_no_path_is_refused" {
  command = plan
  variables {
    subscriptions = { pulled = { ack_deadline = 60, dead_letter = { attempts = 5, topic = "message-rejected" } } }
  }
  expect_failures = [var.subscriptions]
}

run "pauses_that_shrink_are_refused" {
  command = plan
  variables {
    subscriptions = { pulled = { ack_deadline = 60, backoff = [300, 1] } }
  }
  expect_failures = [var.subscriptions]
}
