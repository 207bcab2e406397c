variable "expiry_days" {
  description = "Prefix => days after which what is below it is deleted. What is named nowhere stays."
  type        = map(number)
  default     = {}
  validation {
    condition     = alltrue([for prefix, days in var.expiry_days : length(prefix) > 0 && days >= 1])
    error_message = "expiry_days: write a prefix such as \"handled/\" and at least 1 day; an empty prefix would be the whole bucket."
  }
}

variable "force_destroy" {
  description = "Whether Terraform may delete the bucket with all that is in it."
  type        = bool
  default     = false
}

variable "kms_key_name" {
  description = "The customer-managed key that objects are encrypted with; null: Google's."
  type        = string
  default     = null
}

variable "labels" {
  description = "Labels of the bucket."
  type        = map(string)
  default     = {}
}

variable "location" {
  description = "Region or multi-region, such as europe-west4 or EU."
  type        = string
}

variable "log_bucket" {
  description = "The bucket that usage logs are written to; null: none are. Who read and wrote is in the audit logs either way."
  type        = string
  default     = null
}

variable "members" {
  description = "Who may do what: any name => a role and the member that has it, below a prefix or (null) in the whole bucket."
  type = map(object({
    member = string
    prefix = optional(string)
    role   = string
  }))
  default = {}
  validation {
    condition = alltrue([
      for each in values(var.members) :
      can(regex("^(serviceAccount|user|group|principal|principalSet):.+", each.member))
    ])
    error_message = "members.member: write serviceAccount:<email>, user:<email> or group:<email>; the bucket is never public."
  }
  validation {
    condition     = alltrue([for each in values(var.members) : startswith(each.role, "roles/storage.")])
    error_message = "members.role: write a role of Cloud Storage, such as roles/storage.objectViewer."
  }
}

variable "name" {
  description = "The bucket's name, unique in the world."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$", var.name))
    error_message = "name: write 3 to 63 lower-case letters, digits, dashes, dots and underscores."
  }
}

variable "notified_topics" {
  description = "Topics that each new object is told to: any name => projects/<project>/topics/<topic>. Cloud Storage's agent must be a publisher of it."
  type        = map(string)
  default     = {}
  validation {
    condition = alltrue([
      for topic in values(var.notified_topics) : can(regex("^projects/[^/]+/topics/[^/]+$", topic))
    ])
    error_message = "notified_topics: write projects/<project>/topics/<topic>."
  }
}

variable "project_id" {
  description = "The project."
  type        = string
}

variable "soft_delete_days" {
  description = "Days for which what was deleted can be restored; 0: not at all."
  type        = number
  default     = 7
  validation {
    condition     = var.soft_delete_days == 0 || (var.soft_delete_days >= 7 && var.soft_delete_days <= 90)
    error_message = "soft_delete_days: write 0, or 7 to 90."
  }
}

variable "versioning" {
  description = "Whether what was replaced is kept, for 30 days."
  type        = bool
  default     = false
}
