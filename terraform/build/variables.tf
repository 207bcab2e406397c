variable "branch" {
  description = "The branch that is built; null: GitHub's workflows of any branch may build."
  type        = string
  default     = "main"
}

variable "connected_repository" {
  description = "The repository as it is connected to Cloud Build: projects/<project>/locations/<region>/connections/<connection>/repositories/<repository>; null: Cloud Build has no triggers."
  type        = string
  default     = null
}

variable "environments" {
  description = "Environment => its project and the project's number, its key (null: Google's), and whether somebody must approve what Cloud Build applies there. Where nobody must, GitHub's workflows may apply it, too."
  type = map(object({
    approval       = optional(bool, true)
    kms_key_name   = optional(string)
    project_id     = string
    project_number = string
  }))
}

variable "kms_key_name" {
  description = "The customer-managed key for images; null: Google's."
  type        = string
  default     = null
}

variable "labels" {
  description = "Labels of the registry, beside system."
  type        = map(string)
  default     = {}
}

variable "project_id" {
  description = "The project that builds: none of the environments."
  type        = string
}

variable "project_number" {
  description = "The project's number."
  type        = string
}

variable "region" {
  description = "Where images are kept and Cloud Build runs, such as europe-west4: where the services run."
  type        = string
}

variable "repository" {
  description = "The only repository on GitHub whose workflows may build: <owner>/<name>."
  type        = string
}
