variable "args" {
  description = "Arguments of the container's entry point; null: its own."
  type        = list(string)
  default     = null
}

variable "concurrency" {
  description = "Requests that one instance is given at once."
  type        = number
  default     = 8
  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 1000
    error_message = "concurrency: write a number between 1 and 1000."
  }
}

variable "cpu" {
  description = "CPUs of an instance."
  type        = number
  default     = 1
  validation {
    condition     = contains([1, 2, 4, 6, 8], var.cpu)
    error_message = "cpu: write 1, 2, 4, 6 or 8."
  }
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete the service."
  type        = bool
  default     = true
}

variable "environment" {
  description = "The container's environment variables."
  type        = map(string)
  default     = {}
}

variable "gpu" {
  description = "The GPU that each instance has; null: none."
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

variable "ingress" {
  description = "From where requests are taken. Pub/Sub's pushes are internal. Either way a caller must be an invoker."
  type        = string
  default     = "INGRESS_TRAFFIC_INTERNAL_ONLY"
  validation {
    condition = contains([
      "INGRESS_TRAFFIC_ALL", "INGRESS_TRAFFIC_INTERNAL_ONLY", "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
    ], var.ingress)
    error_message = "ingress: write INGRESS_TRAFFIC_INTERNAL_ONLY, INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER or INGRESS_TRAFFIC_ALL."
  }
}

variable "invokers" {
  description = "Who may call the service: any name => the member, such as serviceAccount:<email>."
  type        = map(string)
  default     = {}
  validation {
    condition = alltrue([
      for member in values(var.invokers) :
      can(regex("^(serviceAccount|user|group|principal|principalSet):.+", member))
    ])
    error_message = "invokers: write members such as serviceAccount:<email>, user:<email> or group:<email>; who is not named here may call it only where it is public."
  }
}

variable "kms_key_name" {
  description = "The customer-managed key that images are encrypted with where they run; null: Google's."
  type        = string
  default     = null
}

variable "labels" {
  description = "Labels of the service."
  type        = map(string)
  default     = {}
}

variable "max_instances" {
  description = "Instances at most: what the stage may cost, and how many of a scarce GPU it may take."
  type        = number
  default     = 10
  validation {
    condition     = var.max_instances >= 1 && var.max_instances >= var.min_instances
    error_message = "max_instances: write at least 1, and not less than min_instances."
  }
}

variable "memory" {
  description = "Memory of an instance, such as 512Mi or 16Gi."
  type        = string
  default     = "512Mi"
  validation {
    condition     = can(regex("^[0-9]+(Mi|Gi)$", var.memory))
    error_message = "memory: write a number of Mi or Gi, such as 512Mi."
  }
}

variable "min_instances" {
  description = "Instances that always run; 0: none while there is nothing to do."
  type        = number
  default     = 0
  validation {
    condition     = var.min_instances >= 0
    error_message = "min_instances: write 0 or more."
  }
}

variable "name" {
  description = "The stage's name, as in schemas/topics.yaml."
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

variable "project_number" {
  description = "The project's number, which is part of the service's address."
  type        = string
  validation {
    condition     = can(regex("^[0-9]+$", var.project_number))
    error_message = "project_number: write what `gcloud projects describe <project> --format='value(projectNumber)'` prints."
  }
}

variable "public" {
  description = "Whether everybody may call the service: only for one that asks each caller itself who he is, as the gateway does."
  type        = bool
  default     = false
}

variable "region" {
  description = "The region, such as europe-west4."
  type        = string
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region: write a region such as europe-west4."
  }
}

variable "secret_environment" {
  description = "Environment variables whose values are secrets: name => the secret, and which version an instance is started with."
  type = map(object({
    secret  = string
    version = string
  }))
  default = {}
  validation {
    condition     = length(setintersection(keys(var.secret_environment), keys(var.environment))) == 0
    error_message = "secret_environment: write no variable that is in environment, too."
  }
}

variable "secret_files" {
  description = "Files that are secrets: path => the secret, of which the newest version is read whenever the file is. Each is alone in its folder."
  type        = map(string)
  default     = {}
  validation {
    condition = alltrue([
      for path in keys(var.secret_files) : can(regex("^/[a-z0-9-]+/[a-z0-9.-]+$", path)) && !can(regex("^/(dev|proc|sys|app)/", path))
    ])
    error_message = "secret_files: write paths such as /keys/keys.json; not below /app, /dev, /proc or /sys."
  }
  validation {
    condition     = length(distinct([for path in keys(var.secret_files) : dirname(path)])) == length(var.secret_files)
    error_message = "secret_files: write each file into a folder of its own; a mounted secret hides what else is there."
  }
}

variable "service_account" {
  description = "The e-mail address of the identity that the stage works as; of no other service, and with what it needs granted already."
  type        = string
  validation {
    condition     = can(regex("^[^@]+@[^@]+\\.iam\\.gserviceaccount\\.com$", var.service_account))
    error_message = "service_account: write <id>@<project>.iam.gserviceaccount.com; the default one may do far too much."
  }
}

variable "startup_seconds" {
  description = "How long an instance may take until it answers its start-up probe."
  type        = number
  default     = 60
  validation {
    condition     = var.startup_seconds >= 5 && var.startup_seconds <= 240
    error_message = "startup_seconds: write seconds between 5 and 240, which is Cloud Run's longest."
  }
}

variable "timeout" {
  description = "Seconds after which a request fails; less than the ack deadline of what is pushed to it, or a message would be delivered again while it is still worked on."
  type        = number
  default     = 540
  validation {
    condition     = var.timeout >= 1 && var.timeout <= 3600
    error_message = "timeout: write seconds between 1 and 3600."
  }
}

variable "vpc_connector" {
  description = "The VPC connector that private addresses are reached through; null: none."
  type        = string
  default     = null
}
