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
}

variable "gateway" {
  description = "The gateway: the HTTP API and the console; null: none. terraform.tfvars.example says what may be written."
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
}

variable "gpu" {
  description = "Whether inference has a GPU. Without one the same service runs the 8-bit model on CPUs."
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

variable "kms_key_name" {
  description = "The customer-managed key for messages, objects, tables and images; null: Google's."
  type        = string
  default     = null
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
}

variable "project_number" {
  description = "The project's number."
  type        = string
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
}

variable "training" {
  description = "The job that makes versions of the model: whether it has a GPU, attempts after the first one, each of which goes on from the checkpoint, and who may execute it (any name => the member); null: no job."
  type = object({
    gpu         = optional(bool, true)
    max_retries = optional(number, 10)
    trainers    = optional(map(string), {})
  })
  default = null
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
