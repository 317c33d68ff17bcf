resource "aws_s3_bucket" "data" {
  bucket        = "terraform-data"
  force_destroy = true
  tags          = local.tags
}

resource "aws_s3_bucket_versioning" "data" {
  bucket = aws_s3_bucket.data.id
  versioning_configuration {
    status = local.first ? "Enabled" : "Suspended"
  }
}

resource "aws_s3_bucket_public_access_block" "data" {
  bucket                  = aws_s3_bucket.data.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = local.first
}

resource "aws_s3_bucket_ownership_controls" "data" {
  bucket = aws_s3_bucket.data.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "data" {
  bucket = aws_s3_bucket.data.id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_policy" "data" {
  bucket = aws_s3_bucket.data.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "NobodyDeletes"
      Effect    = "Deny"
      Principal = "*"
      Action    = local.first ? ["s3:PutBucketAcl"] : ["s3:PutBucketAcl", "s3:PutObjectAcl"]
      Resource  = [aws_s3_bucket.data.arn, "${aws_s3_bucket.data.arn}/*"]
    }]
  })
  depends_on = [aws_s3_bucket_public_access_block.data]
}

resource "aws_s3_object" "orders" {
  bucket       = aws_s3_bucket.data.id
  key          = "shared/orders.csv"
  content      = local.first ? "1,pen\n" : "1,pen\n2,ink\n"
  content_type = "text/csv"
  tags         = local.tags
}

resource "aws_athena_workgroup" "research" {
  name          = "research"
  description   = local.first ? "Questions of the day" : "Questions of the week"
  state         = local.first ? "ENABLED" : "DISABLED"
  force_destroy = true
  configuration {
    enforce_workgroup_configuration    = true
    publish_cloudwatch_metrics_enabled = false
    bytes_scanned_cutoff_per_query     = local.first ? 10485760 : 20971520
    result_configuration {
      output_location = "s3://${aws_s3_bucket.data.bucket}/results/"
    }
  }
  tags = local.tags
}

resource "aws_athena_database" "sales" {
  name          = "sales"
  bucket        = aws_s3_bucket.data.id
  comment       = "What was sold"
  force_destroy = true
}

resource "aws_athena_named_query" "orders" {
  name        = local.first ? "orders" : "all orders"
  description = "Every order"
  workgroup   = aws_athena_workgroup.research.id
  database    = aws_athena_database.sales.name
  query       = "SELECT * FROM orders"
}

resource "aws_keyspaces_keyspace" "shop" {
  name = "shop"
  tags = local.tags
}

resource "aws_keyspaces_table" "orders" {
  keyspace_name        = aws_keyspaces_keyspace.shop.name
  table_name           = "orders"
  default_time_to_live = local.first ? 3600 : 7200
  schema_definition {
    column {
      name = "customer"
      type = "text"
    }
    column {
      name = "placed"
      type = "timestamp"
    }
    dynamic "column" {
      for_each = local.first ? [] : ["note"]
      content {
        name = column.value
        type = "text"
      }
    }
    partition_key {
      name = "customer"
    }
    clustering_key {
      name     = "placed"
      order_by = "DESC"
    }
  }
  ttl {
    status = "ENABLED"
  }
  comment {
    message = "Orders by customer"
  }
  tags = local.tags
}
