variable "alert_emails" {
  description = "Who is told of alerts; none: they are only to be seen in Cloud Monitoring."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for email in var.alert_emails : can(regex("^[^@[:space:]]+@[^@[:space:]]+\\.[^@[:space:]]+$", email))])
    error_message = "alert_emails: write e-mail addresses such as oncall@example.com."
  }
}

variable "environment" {
  description = "The environment's name, which every alert begins with."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,20}$", var.environment))
    error_message = "environment: write a short lower-case name such as dev."
  }
}

variable "goal_handled" {
  description = "The share of deliveries that are to be handled without failure, over 28 days."
  type        = number
  default     = 0.99
  validation {
    # With a goal of 0.9 or less nothing can be missed ten times too often, and the fast alert would never come.
    condition     = var.goal_handled > 0.9 && var.goal_handled <= 0.9999
    error_message = "goal_handled: write a share above 0.9 and at most 0.9999, such as 0.99."
  }
}

variable "goal_in_time" {
  description = "The share of messages that are to be handled within handle_seconds, over 28 days."
  type        = number
  default     = 0.95
  validation {
    # With a goal of 0.9 or less nothing can be missed ten times too often, and the fast alert would never come.
    condition     = var.goal_in_time > 0.9 && var.goal_in_time <= 0.9999
    error_message = "goal_in_time: write a share above 0.9 and at most 0.9999, such as 0.95."
  }
}

variable "handle_seconds" {
  description = "How long a stage may work on a message and be in time."
  type        = number
  default     = 120
  validation {
    condition     = var.handle_seconds >= 1 && var.handle_seconds <= 540
    error_message = "handle_seconds: write seconds between 1 and 540, which is a request's longest."
  }
}

variable "kept_subscriptions" {
  description = "The pull subscriptions that keep what could not even be recorded: no message should ever be there."
  type        = set(string)
  validation {
    condition     = length(var.kept_subscriptions) > 0
    error_message = "kept_subscriptions: write at least one, or nobody is told of what the dead-letter topics lose."
  }
}

variable "labels" {
  description = "Labels of alert policies, objectives and notification channels."
  type        = map(string)
  default     = {}
}

variable "latency_seconds" {
  description = "How long the slowest hundredth of a service's requests may take."
  type        = number
  default     = 300
  validation {
    condition     = var.latency_seconds >= 1 && var.latency_seconds <= 540
    error_message = "latency_seconds: write seconds between 1 and 540, which is a request's longest."
  }
}

variable "metrics" {
  description = "By name: what an entry of the metric says (count: one more; amount: how many more; milliseconds: how long it took), and by which of its fields it is told apart."
  type = map(object({
    kind   = string
    labels = optional(set(string), [])
  }))
  validation {
    condition     = alltrue([for each in values(var.metrics) : contains(["count", "amount", "milliseconds"], each.kind)])
    error_message = "metrics.kind: write count, amount or milliseconds."
  }
  validation {
    condition = alltrue([
      for name, kind in {
        handle_ms         = "milliseconds"
        image_errors      = "amount"
        images_augmented  = "amount"
        images_classified = "amount"
        images_selected   = "amount"
        images_staged     = "amount"
        jobs_completed    = "count"
        messages_failed   = "count"
        messages_handled  = "count"
        messages_rejected = "count"
      } : try(var.metrics[name].kind == kind, false)
    ])
    error_message = "metrics: write messages_handled, messages_failed, messages_rejected and jobs_completed as count, handle_ms as milliseconds, and image_errors and images_selected, _staged, _augmented and _classified as amount; alerts and the dashboard read them."
  }
}

variable "oldest_unacked_seconds" {
  description = "How old the oldest message that a subscription has not delivered may become."
  type        = number
  default     = 3600
  validation {
    condition     = var.oldest_unacked_seconds >= 60 && var.oldest_unacked_seconds <= 604800
    error_message = "oldest_unacked_seconds: write seconds between 60 and 604800, after which a message is lost."
  }
}

variable "project_id" {
  description = "The project."
  type        = string
}

variable "region" {
  description = "The region of the services, for the commands that alerts name."
  type        = string
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region: write a region such as europe-west4."
  }
}

variable "services" {
  description = "By name: whether the service has a GPU, and how many instances run always and at most."
  type = map(object({
    gpu           = bool
    max_instances = number
    min_instances = optional(number, 0)
  }))
  validation {
    condition     = alltrue([for each in values(var.services) : each.max_instances >= 1 && each.max_instances >= each.min_instances])
    error_message = "services.max_instances: write at least 1, and not less than min_instances."
  }
}

variable "subscriptions" {
  description = "The push subscriptions."
  type        = set(string)
  validation {
    condition     = length(var.subscriptions) > 0
    error_message = "subscriptions: write at least one."
  }
}

variable "upload_subscriptions" {
  description = "Those of the push subscriptions that deliver uploads."
  type        = set(string)
  validation {
    condition     = length(var.upload_subscriptions) > 0 && length(setsubtract(var.upload_subscriptions, var.subscriptions)) == 0
    error_message = "upload_subscriptions: write at least one of subscriptions."
  }
}
