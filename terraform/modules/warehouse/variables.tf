variable "dataset_id" {
  description = "The dataset's name."
  type        = string
  default     = "vitrine"
  validation {
    condition     = can(regex("^[A-Za-z0-9_]+$", var.dataset_id))
    error_message = "dataset_id: write letters, digits and underscores."
  }
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete the tables."
  type        = bool
  default     = true
}

variable "described_to" {
  description = "Who may see where the dataset is and what tables it has, but no row: any name => the member."
  type        = map(string)
  default     = {}
}

variable "kms_key_name" {
  description = "The customer-managed key that tables are encrypted with; null: Google's."
  type        = string
  default     = null
}

variable "labels" {
  description = "Labels of the dataset and its tables."
  type        = map(string)
  default     = {}
}

variable "location" {
  description = "Region or multi-region, such as europe-west4 or EU: where the buckets are that are loaded from."
  type        = string
}

variable "members" {
  description = "Who may read or write a table: any name => the table, the access (read or write) and the member."
  type = map(object({
    access = string
    member = string
    table  = string
  }))
  default = {}
  validation {
    condition     = alltrue([for each in values(var.members) : contains(["read", "write"], each.access)])
    error_message = "members.access: write read or write."
  }
  validation {
    condition = alltrue([
      for each in values(var.members) :
      can(regex("^(serviceAccount|user|group|principal|principalSet):.+", each.member))
    ])
    error_message = "members.member: write serviceAccount:<email>, user:<email> or group:<email>; no table is public."
  }
}

variable "partition_expiry_days" {
  description = "Days after which a day's rows of partitioned tables are deleted; null: never."
  type        = number
  default     = null
  validation {
    condition     = var.partition_expiry_days == null || try(var.partition_expiry_days >= 1, false)
    error_message = "partition_expiry_days: write at least 1, or null."
  }
}

variable "project_id" {
  description = "The project."
  type        = string
}

variable "readers" {
  description = "Who may read all tables and views: any name => the member."
  type        = map(string)
  default     = {}
  validation {
    condition = alltrue([
      for member in values(var.readers) :
      can(regex("^(serviceAccount|user|group|principal|principalSet):.+", member))
    ])
    error_message = "readers: write members such as group:<email>; no table is public."
  }
}

variable "schemas" {
  description = "The folder of tables.yaml (layouts), tables/<table>.json (columns) and views/<view>.sql (queries with {project} and {dataset})."
  type        = string
  validation {
    condition     = fileexists("${var.schemas}/tables.yaml")
    error_message = "schemas: write the path of a folder that has a tables.yaml."
  }
}
