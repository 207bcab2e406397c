variable "kms_key_name" {
  description = "The customer-managed key that messages are encrypted with; null: Google's."
  type        = string
  default     = null
}

variable "labels" {
  description = "Labels of the topic and its subscriptions."
  type        = map(string)
  default     = {}
}

variable "name" {
  description = "The topic's name; its schema has the same."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,254}$", var.name)) && !startswith(var.name, "goog")
    error_message = "name: write lower-case letters, digits and dashes, beginning with a letter and not with goog."
  }
}

variable "project_id" {
  description = "The project."
  type        = string
}

variable "publishers" {
  description = "Who may publish: any name => the member, such as serviceAccount:<email>."
  type        = map(string)
  default     = {}
  validation {
    condition = alltrue([
      for member in values(var.publishers) :
      can(regex("^(serviceAccount|user|group|principal|principalSet):.+", member))
    ])
    error_message = "publishers: write members such as serviceAccount:<email>, user:<email> or group:<email>; the public may not publish."
  }
}

variable "pubsub_agent" {
  description = "The member that is the project's Pub/Sub service agent: it moves dead letters."
  type        = string
  validation {
    condition     = can(regex("^serviceAccount:service-[0-9]+@gcp-sa-pubsub\\.iam\\.gserviceaccount\\.com$", var.pubsub_agent))
    error_message = "pubsub_agent: write serviceAccount:service-<project number>@gcp-sa-pubsub.iam.gserviceaccount.com."
  }
}

variable "retention" {
  description = "How long a message waits for its subscribers, and can be replayed, in seconds: such as 604800s."
  type        = string
  default     = "604800s"
  validation {
    condition     = can(regex("^[0-9]+s$", var.retention)) && try(tonumber(trimsuffix(var.retention, "s")) >= 600 && tonumber(trimsuffix(var.retention, "s")) <= 604800, false)
    error_message = "retention: write seconds between 600s and 604800s."
  }
}

variable "schema" {
  description = "The text of the proto that each message is held to, in JSON; null: any bytes."
  type        = string
  default     = null
}

variable "subscriptions" {
  description = "By name: how messages are delivered. Without push it is pulled, and only then it may do without dead_letter and backoff (seconds, shortest and longest pause)."
  type = map(object({
    ack_deadline = number
    backoff      = optional(tuple([number, number]))
    dead_letter = optional(object({
      attempts = number
      topic    = string
    }))
    filter = optional(string, "")
    push = optional(object({
      endpoint        = string
      service_account = string
    }))
  }))
  default = {}
  validation {
    condition = alltrue([
      for each in values(var.subscriptions) : each.ack_deadline >= 10 && each.ack_deadline <= 600
    ])
    error_message = "subscriptions.ack_deadline: write seconds between 10 and 600."
  }
  validation {
    condition = alltrue([
      for each in values(var.subscriptions) :
      each.push == null || (each.dead_letter != null && each.backoff != null)
    ])
    error_message = "subscriptions: one that is pushed needs dead_letter and backoff, or it would repeat for ever what cannot succeed."
  }
  validation {
    condition = alltrue([
      for each in values(var.subscriptions) :
      each.push == null || can(regex("^https://", each.push.endpoint))
    ])
    error_message = "subscriptions.push.endpoint: write an https:// URL."
  }
  validation {
    condition = alltrue([
      for each in values(var.subscriptions) : each.dead_letter == null || (
        try(each.dead_letter.attempts >= 5 && each.dead_letter.attempts <= 100, false) &&
        can(regex("^projects/[^/]+/topics/[^/]+$", each.dead_letter.topic))
      )
    ])
    error_message = "subscriptions.dead_letter: write attempts between 5 and 100, and the topic as projects/<project>/topics/<name>."
  }
  validation {
    condition = alltrue([
      for each in values(var.subscriptions) : each.backoff == null || try(
        0 <= each.backoff[0] && each.backoff[0] <= each.backoff[1] && each.backoff[1] <= 600, false
      )
    ])
    error_message = "subscriptions.backoff: write the shortest and the longest pause, between 0 and 600 seconds."
  }
}
