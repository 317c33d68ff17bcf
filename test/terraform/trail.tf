resource "aws_s3_bucket" "trail" {
  bucket        = "terraform-trail"
  force_destroy = true
}

resource "aws_s3_bucket_policy" "trail" {
  bucket = aws_s3_bucket.trail.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Sid = "Look", Effect = "Allow", Principal = { Service = "cloudtrail.amazonaws.com" }, Action = "s3:GetBucketAcl", Resource = aws_s3_bucket.trail.arn },
      {
        Sid       = "Write", Effect = "Allow", Principal = { Service = "cloudtrail.amazonaws.com" }, Action = "s3:PutObject",
        Resource  = "${aws_s3_bucket.trail.arn}/AWSLogs/${data.aws_caller_identity.me.account_id}/*",
        Condition = { StringEquals = { "s3:x-amz-acl" = "bucket-owner-full-control" } }
      },
    ]
  })
}

resource "aws_cloudtrail" "all" {
  name                          = "all"
  s3_bucket_name                = aws_s3_bucket.trail.id
  include_global_service_events = local.first
  enable_log_file_validation    = true
  is_multi_region_trail         = false
  sns_topic_name                = local.first ? "trail-topic" : null
  cloud_watch_logs_group_arn    = local.first ? "arn:aws:logs:us-east-1:123456789012:log-group:ct:*" : null
  cloud_watch_logs_role_arn     = local.first ? aws_iam_role.logs.arn : null
  advanced_event_selector {
    name = "management"
    field_selector {
      field  = "eventCategory"
      equals = ["Management"]
    }
  }
  advanced_event_selector {
    name = local.first ? "objects" : "shared objects"
    field_selector {
      field  = "eventCategory"
      equals = ["Data"]
    }
    field_selector {
      field  = "resources.type"
      equals = ["AWS::S3::Object"]
    }
    field_selector {
      field       = "resources.ARN"
      starts_with = ["${aws_s3_bucket.data.arn}/${local.first ? "" : "shared/"}"]
    }
  }
  tags       = local.tags
  depends_on = [aws_s3_bucket_policy.trail, aws_iam_role_policy.logs]
}

resource "aws_iam_role" "logs" {
  name = "trail-logs"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = "cloudtrail.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })
}

resource "aws_iam_role_policy" "logs" {
  name = "logs"
  role = aws_iam_role.logs.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow", Action = ["logs:CreateLogStream", "logs:PutLogEvents"],
      Resource = "arn:aws:logs:us-east-1:123456789012:log-group:ct:log-stream:*"
    }]
  })
}

resource "aws_cloudtrail" "rows" {
  name                          = "rows"
  s3_bucket_name                = aws_s3_bucket.trail.id
  s3_key_prefix                 = ""
  enable_logging                = local.first
  include_global_service_events = false
  event_selector {
    read_write_type           = local.first ? "All" : "WriteOnly"
    include_management_events = true
    data_resource {
      type   = "AWS::S3::Object"
      values = ["${aws_s3_bucket.data.arn}/"]
    }
  }
  depends_on = [aws_s3_bucket_policy.trail]
}
