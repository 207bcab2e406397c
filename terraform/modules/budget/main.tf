# What a project may cost in a month, and who hears of it when it does. A budget tells; it stops nothing.

locals {
  thresholds = [
    { share = 0.5, basis = "CURRENT_SPEND" },
    { share = 0.9, basis = "CURRENT_SPEND" },
    { share = 1.0, basis = "CURRENT_SPEND" },
    # In time to do something.
    { share = 1.0, basis = "FORECASTED_SPEND" },
  ]
}

resource "google_billing_budget" "budget" {
  billing_account = var.billing_account
  display_name    = var.name

  budget_filter {
    projects        = ["projects/${var.project_number}"]
    calendar_period = "MONTH"
  }

  amount {
    specified_amount {
      currency_code = var.currency
      units         = tostring(var.amount)
    }
  }

  dynamic "threshold_rules" {
    for_each = local.thresholds
    content {
      threshold_percent = threshold_rules.value.share
      spend_basis       = threshold_rules.value.basis
    }
  }

  # Beside the billing account's administrators, who are written to in any case.
  dynamic "all_updates_rule" {
    for_each = length(var.notification_channels) == 0 ? [] : [var.notification_channels]
    content {
      monitoring_notification_channels = all_updates_rule.value
    }
  }
}
