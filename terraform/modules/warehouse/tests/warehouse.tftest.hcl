mock_provider "google" {}

variables {
  project_id = "acme-dev"
  location   = "EU"
  schemas    = "./tests/schemas"
}

run "tables_are_as_the_schemas_say" {
  command = plan
  assert {
    condition     = keys(google_bigquery_table.table) == ["jobs", "predictions"]
    error_message = "The tables are not those of tables.yaml."
  }
  assert {
    condition     = jsondecode(google_bigquery_table.table["jobs"].schema) == jsondecode(file("./tests/schemas/tables/jobs.json"))
    error_message = "The columns are not those of the file."
  }
  assert {
    condition     = google_bigquery_table.table["predictions"].clustering == tolist(["product_id"])
    error_message = "The table is not clustered as asked."
  }
  assert {
    condition = (
      google_bigquery_table.table["predictions"].time_partitioning[0].type == "DAY" &&
      google_bigquery_table.table["predictions"].time_partitioning[0].field == "predicted_at"
    )
    error_message = "The table is not partitioned by day."
  }
  assert {
    condition     = length(google_bigquery_table.table["jobs"].time_partitioning) == 0
    error_message = "A table is partitioned that is not to be."
  }
  assert {
    condition     = output.dataset_id == "vitrine" && output.tables == ["jobs", "predictions", "latest"]
    error_message = "Not all tables and views are told."
  }
}

run "a_view_reads_its_own_project_and_dataset" {
  command = plan
  assert {
    condition     = trimspace(google_bigquery_table.view["latest"].view[0].query) == "SELECT * FROM `acme-dev.vitrine.predictions`"
    error_message = "The placeholders are not replaced."
  }
  assert {
    condition     = !google_bigquery_table.view["latest"].view[0].use_legacy_sql
    error_message = "The view is in legacy SQL."
  }
}

run "rows_are_protected" {
  command = plan
  assert {
    condition = (
      alltrue([for table in google_bigquery_table.table : table.deletion_protection]) &&
      !google_bigquery_dataset.dataset.delete_contents_on_destroy
    )
    error_message = "Tables can be deleted by a mistake."
  }
  assert {
    condition     = google_bigquery_dataset.dataset.max_time_travel_hours == "168"
    error_message = "What was deleted cannot be read for a week."
  }
  assert {
    condition     = !google_bigquery_table.view["latest"].deletion_protection
    error_message = "A view is protected: Terraform could not replace it."
  }
}

run "what_may_go_goes" {
  command = plan
  variables {
    deletion_protection   = false
    partition_expiry_days = 2
  }
  assert {
    condition = (
      alltrue([for table in google_bigquery_table.table : !table.deletion_protection]) &&
      google_bigquery_dataset.dataset.delete_contents_on_destroy
    )
    error_message = "Tables are protected, though nobody wants it."
  }
  assert {
    condition     = google_bigquery_table.table["predictions"].time_partitioning[0].expiration_ms == 2 * 24 * 3600 * 1000
    error_message = "Rows do not expire after two days."
  }
}

run "members_have_their_table_and_no_other" {
  command = plan
  variables {
    members = {
      reads  = { table = "jobs", access = "read", member = "serviceAccount:selection-worker@acme-dev.iam.gserviceaccount.com" }
      writes = { table = "predictions", access = "write", member = "serviceAccount:recording-worker@acme-dev.iam.gserviceaccount.com" }
    }
  }
  assert {
    condition = (
      google_bigquery_table_iam_member.member["reads"].role == "roles/bigquery.dataViewer" &&
      google_bigquery_table_iam_member.member["reads"].table_id == "jobs" &&
      google_bigquery_table_iam_member.member["writes"].role == "roles/bigquery.dataEditor" &&
      google_bigquery_table_iam_member.member["writes"].table_id == "predictions"
    )
    error_message = "The members do not have what was asked for."
  }
  assert {
    condition     = length(google_bigquery_dataset_iam_member.reader) == 0 && length(google_bigquery_dataset_iam_member.described) == 0
    error_message = "Somebody sees the whole dataset, though nobody asked for it."
  }
}

run "readers_read_all_and_the_described_see_no_row" {
  command = plan
  variables {
    described_to = { selection = "serviceAccount:selection-worker@acme-dev.iam.gserviceaccount.com" }
    readers      = { team = "group:team@example.com" }
  }
  assert {
    condition     = google_bigquery_dataset_iam_member.reader["team"].role == "roles/bigquery.dataViewer"
    error_message = "The team cannot read."
  }
  assert {
    condition     = google_bigquery_dataset_iam_member.described["selection"].role == "roles/bigquery.metadataViewer"
    error_message = "Who is told of tables may read them."
  }
}

run "what_is_asked_for_is_used" {
  command = plan
  variables {
    dataset_id   = "catalogue"
    kms_key_name = "projects/acme-dev/locations/europe/keyRings/vitrine/cryptoKeys/vitrine"
    labels       = { system = "vitrine" }
  }
  assert {
    condition = (
      google_bigquery_dataset.dataset.dataset_id == "catalogue" &&
      google_bigquery_dataset.dataset.location == "EU" &&
      google_bigquery_dataset.dataset.default_encryption_configuration[0].kms_key_name == var.kms_key_name
    )
    error_message = "Name, place or key are not the given ones."
  }
  assert {
    condition     = trimspace(google_bigquery_table.view["latest"].view[0].query) == "SELECT * FROM `acme-dev.catalogue.predictions`"
    error_message = "The view reads another dataset."
  }
  assert {
    condition = (
      google_bigquery_dataset.dataset.labels == tomap({ system = "vitrine" }) &&
      google_bigquery_table.table["jobs"].labels == tomap({ system = "vitrine" })
    )
    error_message = "The labels are missing."
  }
  assert {
    condition = (
      google_bigquery_table.view["latest"].labels == tomap({ system = "vitrine" }) &&
      google_bigquery_dataset.dataset.project == "acme-dev" &&
      alltrue([for each in google_bigquery_table.table : each.project == "acme-dev" && each.dataset_id == "catalogue"]) &&
      alltrue([for each in google_bigquery_table.view : each.project == "acme-dev" && each.dataset_id == "catalogue"])
    )
    error_message = "Something is in another project or dataset, or has no labels."
  }
}

run "wrong_words_are_refused" {
  command = plan
  variables {
    dataset_id            = "vitrine-dev"
    members               = { all = { table = "jobs", access = "own", member = "group:team@example.com" } }
    partition_expiry_days = 0
    readers               = { all = "allUsers" }
  }
  expect_failures = [var.dataset_id, var.members, var.partition_expiry_days, var.readers]
}

run "a_public_member_is_refused" {
  command = plan
  variables {
    members = { all = { table = "jobs", access = "read", member = "allAuthenticatedUsers" } }
  }
  expect_failures = [var.members]
}

run "a_folder_without_tables_is_refused" {
  command = plan
  variables {
    schemas = "./tests"
  }
  expect_failures = [var.schemas]
}
