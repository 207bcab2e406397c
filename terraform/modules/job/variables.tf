variable "args" {
  description = "Arguments of the container's entry point, where an execution gives none."
  type        = list(string)
  default     = []
}

variable "cpu" {
  description = "CPUs of the job."
  type        = number
  default     = 4
  validation {
    condition     = contains([1, 2, 4, 6, 8], var.cpu)
    error_message = "cpu: write 1, 2, 4, 6 or 8."
  }
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete the job."
  type        = bool
  default     = true
}

variable "environment" {
  description = "The container's environment variables."
  type        = map(string)
  default     = {}
}

variable "gpu" {
  description = "The GPU that the job has; null: none."
  type = object({
    type             = optional(string, "nvidia-l4")
    zonal_redundancy = optional(bool, false)
  })
  default = null
  validation {
    condition     = var.gpu == null || try(contains(["nvidia-l4"], var.gpu.type), false)
    error_message = "gpu.type: write nvidia-l4."
  }
  validation {
    condition     = var.gpu == null || (var.cpu >= 4 && try(tonumber(trimsuffix(var.memory, "Gi")) >= 16, false))
    error_message = "gpu: Cloud Run wants at least cpu = 4 and memory = \"16Gi\" beside an L4."
  }
}

variable "image" {
  description = "The container image, by digest."
  type        = string
  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "image: write <registry>/<image>@sha256:<digest>; a tag may be moved after it was tested."
  }
}

variable "kms_key_name" {
  description = "The customer-managed key that the image is encrypted with where it runs; null: Google's."
  type        = string
  default     = null
}

variable "labels" {
  description = "Labels of the job and of its executions."
  type        = map(string)
  default     = {}
}

variable "launchers" {
  description = "Who may execute the job, with arguments of his own, see how it goes, and cancel it: any name => the member. What he executes works as the job's identity."
  type        = map(string)
  default     = {}
  validation {
    condition = alltrue([
      for member in values(var.launchers) :
      can(regex("^(serviceAccount|user|group|principal|principalSet):.+", member))
    ])
    error_message = "launchers: write members such as user:<email> or group:<email>; a job is never public."
  }
}

variable "max_retries" {
  description = "Attempts after the first one; each continues where the one before ended."
  type        = number
  default     = 10
  validation {
    # https://cloud.google.com/run/docs/configuring/max-retries
    condition     = var.max_retries >= 0 && var.max_retries <= 10
    error_message = "max_retries: write a number between 0 and 10, which are Cloud Run's most."
  }
}

variable "memory" {
  description = "Memory of the job, such as 16Gi; the files that it writes are in it too."
  type        = string
  default     = "16Gi"
  validation {
    condition     = can(regex("^[0-9]+(Mi|Gi)$", var.memory))
    error_message = "memory: write a number of Mi or Gi, such as 16Gi."
  }
}

variable "name" {
  description = "The job's name."
  type        = string
  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,47}[a-z0-9])?$", var.name))
    error_message = "name: write at most 49 lower-case letters, digits and dashes, beginning with a letter."
  }
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

variable "service_account" {
  description = "The e-mail address of the identity that the job works as; of no service, and with what it needs granted already."
  type        = string
  validation {
    condition     = can(regex("^[^@]+@[^@]+\\.iam\\.gserviceaccount\\.com$", var.service_account))
    error_message = "service_account: write <id>@<project>.iam.gserviceaccount.com; the default one may do far too much."
  }
}

variable "timeout" {
  description = "Seconds after which an attempt is ended: at most an hour beside a GPU, a week without."
  type        = number
  default     = 3600
  validation {
    condition     = var.timeout >= 1 && var.timeout <= 604800
    error_message = "timeout: write seconds between 1 and 604800, which is Cloud Run's longest."
  }
  validation {
    # https://cloud.google.com/run/docs/configuring/task-timeout
    condition     = var.gpu == null || var.timeout <= 3600
    error_message = "timeout: beside a GPU write at most 3600, as Google has more than an hour only as a preview; max_retries makes a long run go on."
  }
}
