variable "amount" {
  description = "What a month may cost, in whole units of the currency."
  type        = number
  validation {
    condition     = var.amount >= 1 && floor(var.amount) == var.amount
    error_message = "amount: write a whole number of at least 1."
  }
}

variable "billing_account" {
  description = "The billing account's id. Whoever applies needs roles/billing.costsManager on it."
  type        = string
  validation {
    condition     = can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "billing_account: write what `gcloud billing accounts list` prints, such as 012345-6789AB-CDEF01."
  }
}

variable "currency" {
  description = "The billing account's currency, such as EUR; null: whichever it is."
  type        = string
  default     = null
  validation {
    condition     = var.currency == null || can(regex("^[A-Z]{3}$", var.currency))
    error_message = "currency: write three capitals such as EUR, or null."
  }
}

variable "name" {
  description = "What the budget is called in mails."
  type        = string
  validation {
    condition     = length(var.name) >= 1 && length(var.name) <= 60
    error_message = "name: write 1 to 60 characters."
  }
}

variable "notification_channels" {
  description = "Cloud Monitoring's channels that are told too: projects/<project>/notificationChannels/<id>, at most five."
  type        = list(string)
  default     = []
  validation {
    condition = length(var.notification_channels) <= 5 && alltrue([
      for channel in var.notification_channels : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", channel))
    ])
    error_message = "notification_channels: write at most five of projects/<project>/notificationChannels/<id>."
  }
}

variable "project_number" {
  description = "The number of the project whose costs are counted."
  type        = string
  validation {
    condition     = can(regex("^[0-9]+$", var.project_number))
    error_message = "project_number: write what `gcloud projects describe <project> --format='value(projectNumber)'` prints."
  }
}
