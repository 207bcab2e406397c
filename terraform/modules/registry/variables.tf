variable "keep" {
  description = "How many of the newest versions of each image are kept in any case."
  type        = number
  default     = 20
  validation {
    condition     = var.keep >= 1
    error_message = "keep: write at least 1."
  }
}

variable "kms_key_name" {
  description = "The customer-managed key that images are encrypted with; null: Google's. Artifact Registry's service agent must be able to use it."
  type        = string
  default     = null
}

variable "labels" {
  description = "Labels of the registry."
  type        = map(string)
  default     = {}
}

variable "location" {
  description = "Region or multi-region, such as europe-west4 or europe: close to where the services run."
  type        = string
}

variable "name" {
  description = "The registry's name."
  type        = string
  default     = "vitrine"
  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.name))
    error_message = "name: write at most 63 lower-case letters, digits and dashes, beginning with a letter."
  }
}

variable "project_id" {
  description = "The project."
  type        = string
}

variable "readers" {
  description = "Who may pull images: any name => the member. Cloud Run's service agent of each project that runs them is one."
  type        = map(string)
  default     = {}
  validation {
    condition = alltrue([
      for member in values(var.readers) :
      can(regex("^(serviceAccount|user|group|principal|principalSet):.+", member))
    ])
    error_message = "readers: write members such as serviceAccount:<email>; the registry is never public."
  }
}

variable "untagged_days" {
  description = "Days after which a version without a tag is deleted. A version with a tag never is, as tags are immutable."
  type        = number
  default     = 30
  validation {
    condition     = var.untagged_days >= 1
    error_message = "untagged_days: write at least 1."
  }
}

variable "writers" {
  description = "Who may push images: any name => the member."
  type        = map(string)
  default     = {}
  validation {
    condition = alltrue([
      for member in values(var.writers) :
      can(regex("^(serviceAccount|user|group|principal|principalSet):.+", member))
    ])
    error_message = "writers: write members such as serviceAccount:<email>; the public may not push."
  }
}
