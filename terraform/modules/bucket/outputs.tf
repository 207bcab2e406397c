output "name" {
  description = "The bucket's name, once it stands and its members have their roles."
  value       = var.name
  depends_on  = [google_storage_bucket.bucket, google_storage_bucket_iam_member.member]
}
