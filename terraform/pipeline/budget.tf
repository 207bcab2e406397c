# What the environment may cost. Budgets belong to the billing account: whoever applies one needs a role there, which
# what builds does not have by itself.

module "budget" {
  source                = "../modules/budget"
  count                 = var.budget == null ? 0 : 1
  billing_account       = var.budget.billing_account
  project_number        = var.project_number
  name                  = "vitrine-${var.environment}"
  amount                = var.budget.amount
  currency              = var.budget.currency
  notification_channels = values(module.observability.notification_channels)
  depends_on            = [module.project]
}
