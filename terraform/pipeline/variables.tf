variable "alert_emails" {
  description = "Who is told of alerts; none: they are only to be seen in Cloud Monitoring."
  type        = set(string)
  default     = []
}

variable "audit" {
  description = "The job that audits the catalogue's labels: attempts after the first one, each of which continues the audit, and who may execute it (any name => the member); null: no job."
  type = object({
    auditors    = optional(map(string), {})
    max_retries = optional(number, 3)
  })
  default = null
  validation {
    condition     = var.audit == null || try(var.images.audit, null) != null
    error_message = "audit: write images.audit too, or audit = null."
  }
}

variable "budget" {
  description = "What a month may cost, in whole units of the billing account's currency before those who get alerts are told; null: no budget. Whoever applies needs roles/billing.costsManager on the billing account."
  type = object({
    amount          = number
    billing_account = string
    currency        = optional(string)
  })
  default = null
}

variable "catalogue" {
  description = "The content of a catalogue.yaml, such as file(\"catalogue.yaml\"); null: the bundled catalogue. Of a table of your own, grant the accounts that read it: README.md."
  type        = string
  default     = null
  validation {
    condition     = var.catalogue == null || can(keys(yamldecode(var.catalogue).attributes))
    error_message = "catalogue: write the content of a catalogue.yaml, which `vitrine catalogue init` makes."
  }
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete services, tables and buckets with what is in them."
  type        = bool
  default     = true
}

variable "environment" {
  description = "The environment's name; a label of everything."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,20}$", var.environment))
    error_message = "environment: write a short lower-case name such as dev."
  }
}

variable "gateway" {
  description = "The gateway: who may call it (any name => the member, or everybody where it is public; it asks each caller who he is either way), from where, its public address (null: Cloud Run's), which ID tokens it takes beside those made for its address, the OAuth client of its sign-in page, who has which role, what a job costs and from which estimate on it must be confirmed, requests per identity, and proxies before it; null: no gateway."
  type = object({
    audiences       = optional(set(string), [])
    cost_limit      = optional(number)
    ingress         = optional(string, "INGRESS_TRAFFIC_ALL")
    invokers        = optional(map(string), {})
    oauth_client_id = optional(string)
    prices          = optional(any)
    proxies         = optional(number, 1)
    public          = optional(bool, false)
    rate_limit      = optional(string)
    roles           = optional(map(set(string)), {})
    url             = optional(string)
  })
  default = null
  validation {
    condition     = var.gateway == null || try(var.images.gateway, null) != null
    error_message = "gateway: write images.gateway too, or gateway = null."
  }
  validation {
    condition     = alltrue([for role in keys(try(var.gateway.roles, {})) : contains(["viewer", "operator", "reviewer", "admin"], role)])
    error_message = "gateway.roles: write viewer, operator, reviewer and admin."
  }
  validation {
    condition = alltrue([
      for member in flatten(values(try(var.gateway.roles, {}))) :
      can(regex("^(domain:[^@:[:space:]]+|(group:)?[^@:[:space:]]+@[^@:[:space:]]+)$", member))
    ])
    error_message = "gateway.roles: write people and service accounts as somebody@example.com, others as group:team@example.com or domain:example.com."
  }
  validation {
    condition     = can(regex("^https?://[^/?#[:space:]]+$", coalesce(try(var.gateway.url, null), "https://x")))
    error_message = "gateway.url: write an address without a path, such as https://vitrine.example.com, or null."
  }
  validation {
    condition     = can(regex("^[1-9][0-9]*/(second|minute|hour|day)$", coalesce(try(var.gateway.rate_limit, null), "1/day")))
    error_message = "gateway.rate_limit: write a number a second, minute, hour or day, such as 3000/minute, or null."
  }
  validation {
    condition     = try(var.gateway.proxies, 1) >= 0 && try(var.gateway.proxies, 1) <= 10 && coalesce(try(var.gateway.cost_limit, null), 0) >= 0
    error_message = "gateway: write proxies between 0 and 10, and a cost_limit that is not negative."
  }
}

variable "gpu" {
  description = "Whether inference has a GPU. Without one the same service runs the 8-bit model on CPUs."
  type        = bool
  default     = false
  validation {
    condition     = !var.gpu || contains(local.regions_with_l4, var.region)
    error_message = "gpu: Cloud Run has the L4 in ${join(", ", local.regions_with_l4)}. Choose one of them as region, or write gpu = false."
  }
  validation {
    condition     = !var.gpu || try(var.images.inference_gpu, null) != null
    error_message = "gpu: write images.inference_gpu too, or gpu = false."
  }
}

variable "gpu_zonal_redundancy" {
  description = "Whether Cloud Run keeps GPUs for us in a second zone; it costs more and has a quota of its own."
  type        = bool
  default     = false
}

variable "images" {
  description = "The container images, each by digest: <registry>/<image>@sha256:<digest>."
  type = object({
    audit         = optional(string)
    cpu           = string
    gateway       = optional(string)
    inference     = string
    inference_gpu = optional(string)
    training      = optional(string)
  })
}

variable "job_expiry_days" {
  description = "Days after which a job's copies of photos, variants and prediction files are deleted; null: never. Its rows in BigQuery stay."
  type        = number
  default     = null
}

variable "kms_key_name" {
  description = "The customer-managed key for messages, objects, tables and images; null: Google's."
  type        = string
  default     = null
  validation {
    condition     = var.kms_key_name == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key_name))
    error_message = "kms_key_name: write projects/<project>/locations/<location>/keyRings/<ring>/cryptoKeys/<key>, or null."
  }
}

variable "labels" {
  description = "Labels of everything, beside system and environment."
  type        = map(string)
  default     = {}
}

variable "location" {
  description = "Where photos and rows are kept: the region, or the multi-region that it is in, such as EU; null: the region."
  type        = string
  default     = null
}

variable "max_instances" {
  description = "Stage => instances at most, where it is to differ from the stage's own number."
  type        = map(number)
  default     = {}
}

variable "min_instances" {
  description = "Stage => instances that always run. What is not named has none while there is nothing to do."
  type        = map(number)
  default     = {}
}

variable "project_id" {
  description = "The project: one an environment."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id: write the project's id, 6 to 30 lower-case letters, digits and dashes; not its name or number."
  }
}

variable "project_number" {
  description = "The project's number."
  type        = string
  validation {
    condition     = can(regex("^[0-9]+$", var.project_number))
    error_message = "project_number: write what `gcloud projects describe <project> --format='value(projectNumber)'` prints."
  }
}

variable "promoters" {
  description = "Who may publish and promote models: any name => the member."
  type        = map(string)
  default     = {}
}

variable "readers" {
  description = "Who may query the results: any name => the member."
  type        = map(string)
  default     = {}
}

variable "region" {
  description = "Where the services run, such as europe-west4."
  type        = string
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region: write a region such as europe-west4."
  }
}

variable "request_publishers" {
  description = "Who may ask for a classification: any name => the member."
  type        = map(string)
  default     = {}
}

variable "schedules" {
  description = "Requests that are made again and again: any name => when, by cron's five fields and a time zone, and the request as JSON, without a job_id."
  type = map(object({
    cron        = string
    description = optional(string)
    request     = string
    time_zone   = optional(string, "Etc/UTC")
  }))
  default = {}
  validation {
    condition     = alltrue([for each in values(var.schedules) : can(jsondecode(each.request))])
    error_message = "schedules.request: write JSON, such as jsonencode({ gender = [\"Women\"] }); \"{}\" is a request for everything."
  }
}

variable "training" {
  description = "The job that makes versions of the model: whether it has a GPU, attempts after the first one, each of which goes on from the checkpoint, and who may execute it (any name => the member); null: no job."
  type = object({
    gpu         = optional(bool, true)
    max_retries = optional(number, 10)
    trainers    = optional(map(string), {})
  })
  default = null
  validation {
    condition     = var.training == null || try(var.images.training, null) != null
    error_message = "training: write images.training too, or training = null."
  }
  validation {
    condition     = !try(var.training.gpu, false) || contains(local.regions_with_l4, var.region)
    error_message = "training.gpu: Cloud Run has the L4 in ${join(", ", local.regions_with_l4)}. Choose one of them as region, or write gpu = false."
  }
}

variable "uploaders" {
  description = "Who may drop photos in the upload bucket: any name => the member."
  type        = map(string)
  default     = {}
}

variable "vpc_connector" {
  description = "The VPC connector that the services reach private addresses through; null: none."
  type        = string
  default     = null
}
