mock_provider "google" {}

variables {
  billing_account = "012345-6789AB-CDEF01"
  project_number  = "123456789012"
  name            = "vitrine-prod"
  amount          = 500
}

run "one_projects_month_is_watched" {
  command = plan
  assert {
    condition = (
      google_billing_budget.budget.budget_filter[0].projects == toset(["projects/123456789012"]) &&
      google_billing_budget.budget.budget_filter[0].calendar_period == "MONTH"
    )
    error_message = "Something else is counted."
  }
  assert {
    condition     = google_billing_budget.budget.amount[0].specified_amount[0].units == "500"
    error_message = "It is another amount."
  }
  assert {
    condition = [for rule in google_billing_budget.budget.threshold_rules : [rule.threshold_percent, rule.spend_basis]] == [
      [0.5, "CURRENT_SPEND"], [0.9, "CURRENT_SPEND"], [1, "CURRENT_SPEND"], [1, "FORECASTED_SPEND"]
    ]
    error_message = "It is told at other times."
  }
  assert {
    condition     = length(google_billing_budget.budget.all_updates_rule) == 0
    error_message = "Somebody else is told."
  }
  assert {
    condition     = output.name == "vitrine-prod"
    error_message = "The name is not told."
  }
}

run "channels_are_told_too" {
  command = plan
  variables {
    currency              = "EUR"
    notification_channels = ["projects/acme-prod/notificationChannels/1"]
  }
  assert {
    condition     = google_billing_budget.budget.all_updates_rule[0].monitoring_notification_channels == tolist(["projects/acme-prod/notificationChannels/1"])
    error_message = "The channel is not told."
  }
  assert {
    condition     = google_billing_budget.budget.amount[0].specified_amount[0].currency_code == "EUR"
    error_message = "It is another currency."
  }
}

run "wrong_words_are_refused" {
  command = plan
  variables {
    amount                = 0.5
    billing_account       = "acme"
    currency              = "euro"
    name                  = ""
    notification_channels = ["team@example.com"]
    project_number        = "acme-prod"
  }
  expect_failures = [
    var.amount, var.billing_account, var.currency, var.name, var.notification_channels, var.project_number,
  ]
}
