output "dataset_id" {
  description = "The dataset's name, once its tables stand and their members have their access."
  value       = var.dataset_id
  depends_on = [
    google_bigquery_table.table,
    google_bigquery_table_iam_member.member,
    google_bigquery_dataset_iam_member.described,
    google_bigquery_dataset_iam_member.reader,
  ]
}

output "tables" {
  description = "The names of its tables and views."
  value       = concat(keys(local.layouts), keys(local.views))
  depends_on  = [google_bigquery_table.table, google_bigquery_table.view]
}
