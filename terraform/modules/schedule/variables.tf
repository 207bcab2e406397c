variable "body" {
  description = "The message, which is sent as JSON. A request has no job_id here: each run is a job that is called after its message."
  type        = any
  validation {
    condition     = can(keys(var.body))
    error_message = "body: write an object, such as { filters = { gender = [\"Women\"] } }; {} is a request for everything."
  }
  validation {
    condition     = !can(var.body.job_id)
    error_message = "body: leave out job_id; every run would be the same job, and all but the first be taken for repetitions."
  }
}

variable "cron" {
  description = "When, in the five fields of cron: minute, hour, day of the month, month, day of the week."
  type        = string
  validation {
    condition     = can(regex("^[0-9*,/-]+ [0-9*,/-]+ [0-9*,/-]+ [0-9A-Za-z*,/-]+ [0-9A-Za-z*,/-]+$", var.cron))
    error_message = "cron: write five fields, such as \"0 5 * * 1\" for Mondays at five."
  }
}

variable "description" {
  description = "What the request is for."
  type        = string
  default     = null
}

variable "name" {
  description = "The job's name."
  type        = string
  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.name))
    error_message = "name: write at most 63 lower-case letters, digits and dashes, beginning with a letter."
  }
}

variable "paused" {
  description = "Whether it rests."
  type        = bool
  default     = false
}

variable "project_id" {
  description = "The project."
  type        = string
}

variable "region" {
  description = "The region, such as europe-west4."
  type        = string
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region: write a region such as europe-west4."
  }
}

variable "retries" {
  description = "How often a publication that failed is tried again."
  type        = number
  default     = 3
  validation {
    condition     = var.retries >= 0 && var.retries <= 5
    error_message = "retries: write a number between 0 and 5."
  }
}

variable "time_zone" {
  description = "The time zone that cron is in, such as Europe/Amsterdam."
  type        = string
  default     = "Etc/UTC"
  validation {
    condition     = can(regex("^[A-Z][A-Za-z_]+/[A-Za-z0-9_+/-]+$", var.time_zone))
    error_message = "time_zone: write a name of the tz database, such as Europe/Amsterdam or Etc/UTC."
  }
}

variable "topic" {
  description = "The topic, as projects/<project>/topics/<name>, in the same project."
  type        = string
  validation {
    condition     = can(regex("^projects/[^/]+/topics/[^/]+$", var.topic)) && startswith(var.topic, "projects/${var.project_id}/")
    error_message = "topic: write projects/<project>/topics/<name>, of the same project."
  }
}
