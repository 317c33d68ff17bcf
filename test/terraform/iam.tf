resource "aws_iam_user" "analyst" {
  name          = "analyst"
  path          = "/people/"
  force_destroy = true
  tags          = local.tags
}

resource "aws_iam_access_key" "analyst" {
  user   = aws_iam_user.analyst.name
  status = local.first ? "Active" : "Inactive"
}

resource "aws_iam_service_specific_credential" "cql" {
  service_name = "cassandra.amazonaws.com"
  user_name    = aws_iam_user.analyst.name
}

resource "aws_iam_group" "readers" {
  name = local.first ? "readers" : "auditors"
  path = "/people/"
}

resource "aws_iam_user_group_membership" "analyst" {
  user   = aws_iam_user.analyst.name
  groups = [aws_iam_group.readers.name]
}

data "aws_iam_policy_document" "read" {
  statement {
    sid       = "Objects"
    actions   = local.first ? ["s3:GetObject"] : ["s3:GetObject", "s3:GetObjectTagging"]
    resources = ["${aws_s3_bucket.data.arn}/*"]
  }
  statement {
    sid       = "Listing"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.data.arn]
    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["shared/*", "$${aws:username}/*"]
    }
  }
  statement {
    sid       = "Rows"
    actions   = ["cassandra:Select"]
    resources = [aws_keyspaces_table.orders.arn]
  }
}

resource "aws_iam_policy" "read" {
  name        = "read-data"
  path        = "/project/"
  description = "Reading what the project shares"
  policy      = data.aws_iam_policy_document.read.json
  tags        = local.tags
}

resource "aws_iam_group_policy_attachment" "read" {
  group      = aws_iam_group.readers.name
  policy_arn = aws_iam_policy.read.arn
}

resource "aws_iam_group_policy" "queries" {
  name  = "queries"
  group = aws_iam_group.readers.name
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = ["athena:StartQueryExecution", "athena:GetQueryExecution"], Resource = aws_athena_workgroup.research.arn }]
  })
}

resource "aws_iam_user_policy" "own" {
  name = "own-identity"
  user = aws_iam_user.analyst.name
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = local.first ? "iam:GetUser" : "iam:ListAccessKeys", Resource = "*" }]
  })
}

resource "aws_iam_user_policy_attachment" "audit" {
  user       = aws_iam_user.analyst.name
  policy_arn = "arn:${data.aws_partition.here.partition}:iam::aws:policy/AWSCloudTrail_ReadOnlyAccess"
}

resource "aws_iam_role" "loader" {
  name                 = "loader"
  path                 = "/jobs/"
  description          = local.first ? "Loads the day's files" : "Loads the hour's files"
  max_session_duration = local.first ? 3600 : 7200
  permissions_boundary = aws_iam_policy.read.arn
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Principal = { AWS = aws_iam_user.analyst.arn }
      Condition = { StringEquals = { "sts:ExternalId" = "project-${var.revision}" } }
    }]
  })
  tags = local.tags
}

resource "aws_iam_role_policy" "load" {
  name = "load"
  role = aws_iam_role.loader.id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "s3:PutObject", Resource = "${aws_s3_bucket.data.arn}/incoming/*" }]
  })
}

resource "aws_iam_role_policy_attachment" "load" {
  role       = aws_iam_role.loader.name
  policy_arn = aws_iam_policy.read.arn
}

resource "aws_iam_account_alias" "alias" {
  account_alias = local.first ? "spoor-project" : "spoor-project-two"
}

resource "aws_iam_account_password_policy" "strict" {
  minimum_password_length        = local.first ? 12 : 16
  require_lowercase_characters   = true
  require_numbers                = true
  require_uppercase_characters   = true
  require_symbols                = true
  allow_users_to_change_password = true
}
