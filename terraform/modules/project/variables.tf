variable "audited" {
  description = "APIs of which every read and write of data is logged, with who did it. Each must be among the services. The logs are paid for by volume."
  type        = set(string)
  default     = ["bigquery.googleapis.com", "pubsub.googleapis.com", "secretmanager.googleapis.com", "storage.googleapis.com"]
  validation {
    condition     = alltrue([for name in var.audited : contains(var.services, name)])
    error_message = "audited: write only what is in services too, such as storage.googleapis.com."
  }
}

variable "encrypting" {
  description = "Whose service agents may use the key: artifactregistry, bigquery, pubsub, run, secretmanager, storage."
  type        = set(string)
  default     = ["bigquery", "pubsub", "run", "secretmanager", "storage"]
  validation {
    condition = alltrue([
      for name in var.encrypting : contains(["artifactregistry", "bigquery", "pubsub", "run", "secretmanager", "storage"], name)
    ])
    error_message = "encrypting: write only artifactregistry, bigquery, pubsub, run, secretmanager and storage."
  }
}

variable "kms_key_name" {
  description = "The customer-managed key that Google's service agents encrypt with; null: Google's. Whoever grants them that needs the right to change the key's policy."
  type        = string
  default     = null
  validation {
    condition     = var.kms_key_name == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key_name))
    error_message = "kms_key_name: write projects/<project>/locations/<location>/keyRings/<ring>/cryptoKeys/<key>, or null."
  }
}

variable "project_id" {
  description = "The project."
  type        = string
}

variable "project_number" {
  description = "The project's number, which is part of its service agents' addresses."
  type        = string
  validation {
    condition     = can(regex("^[0-9]+$", var.project_number))
    error_message = "project_number: write what `gcloud projects describe <project> --format='value(projectNumber)'` prints."
  }
}

variable "services" {
  description = "The APIs that are switched on. The default is what the pipeline uses."
  type        = set(string)
  default = [
    "bigquery.googleapis.com",
    "bigquerystorage.googleapis.com",
    "billingbudgets.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "cloudscheduler.googleapis.com",
    "cloudtrace.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "pubsub.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "serviceusage.googleapis.com",
    "storage.googleapis.com",
    "telemetry.googleapis.com",
  ]
  validation {
    condition     = alltrue([for name in var.services : can(regex("^[a-z0-9]+\\.googleapis\\.com$", name))])
    error_message = "services: write names such as run.googleapis.com."
  }
}

variable "unaudited" {
  description = "Members whose reads and writes are not logged, such as services that read every photo."
  type        = set(string)
  default     = []
}
