variable "branch" {
  description = "The branch that is built: GitHub's workflows of another one are refused. null: the workflows of any branch, and Cloud Build's triggers of main."
  type        = string
  default     = "main"
  validation {
    condition     = var.branch == null || can(regex("^[A-Za-z0-9][A-Za-z0-9._/-]*$", var.branch))
    error_message = "branch: write a branch's name such as main, or null."
  }
}

variable "connected_repository" {
  description = "The repository as it is connected to Cloud Build, which then builds each push: projects/<project>/locations/<region>/connections/<connection>/repositories/<repository>; null: Cloud Build has no triggers."
  type        = string
  default     = null
  validation {
    condition     = var.connected_repository == null || can(regex("^projects/[^/]+/locations/[^/]+/connections/[^/]+/repositories/[^/]+$", var.connected_repository))
    error_message = "connected_repository: write projects/<project>/locations/<region>/connections/<connection>/repositories/<repository>, or null."
  }
}

variable "environments" {
  description = "Environment => its project, its key (null: Google's), and whether somebody must approve what Cloud Build applies there. Where nobody must, GitHub's workflows may act as its identity."
  type = map(object({
    approval     = optional(bool, true)
    kms_key_name = optional(string)
    project_id   = string
  }))
  validation {
    # With "vitrine-build-" before it, it is the name of an identity, which has at most 30 characters.
    condition     = alltrue([for name in keys(var.environments) : can(regex("^[a-z]([a-z0-9-]{0,14}[a-z0-9])?$", name))])
    error_message = "environments: write lower-case names of at most 16 characters such as dev."
  }
  validation {
    condition     = length(distinct([for each in values(var.environments) : each.project_id])) == length(var.environments)
    error_message = "environments.project_id: write a project for each environment; with a shared one, dev could change prod."
  }
  validation {
    condition = alltrue([
      for each in values(var.environments) :
      each.kms_key_name == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", each.kms_key_name))
    ])
    error_message = "environments.kms_key_name: write projects/<project>/locations/<location>/keyRings/<ring>/cryptoKeys/<key>, or null."
  }
}

variable "granted_roles" {
  description = "The roles of an environment's project that applying it may grant: those of the pipeline."
  type        = set(string)
  default     = ["roles/bigquery.jobUser"]
  validation {
    # https://cloud.google.com/iam/docs/setting-limits-on-granting-roles
    condition     = length(var.granted_roles) >= 1 && length(var.granted_roles) <= 10
    error_message = "granted_roles: write 1 to 10 roles, which are as many as a condition takes."
  }
  validation {
    condition = alltrue([
      for role in var.granted_roles :
      can(regex("^roles/[A-Za-z]+\\.[A-Za-z.]+$", role)) && !can(regex("(?i)admin|owner", role))
    ])
    error_message = "granted_roles: write roles such as roles/bigquery.jobUser; none that is the project's owner, editor or viewer, or an administrator."
  }
}

variable "project_id" {
  description = "The project that builds: none of the environments."
  type        = string
  validation {
    condition     = !contains([for each in values(var.environments) : each.project_id], var.project_id)
    error_message = "project_id: write a project of its own; what is deployed must not reach what deploys it."
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

variable "region" {
  description = "Where Cloud Build runs, such as europe-west4: where the repository is connected."
  type        = string
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region: write a region such as europe-west4."
  }
}

variable "repository" {
  description = "The only repository on GitHub whose workflows may build: <owner>/<name>."
  type        = string
  validation {
    # A quote would end the condition that holds the identity to it.
    condition     = can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.repository))
    error_message = "repository: write <owner>/<name>, as in the repository's address."
  }
}
