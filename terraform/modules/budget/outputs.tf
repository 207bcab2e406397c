output "name" {
  description = "What the budget is called, once it stands."
  value       = var.name
  depends_on  = [google_billing_budget.budget]
}
