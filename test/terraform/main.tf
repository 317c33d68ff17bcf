# What a team would describe for an audited project: who may do what, where the
# data lies, and the trail over it.

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.0"
    }
  }
}

variable "endpoint" {
  type        = string
  description = "the server's HTTP endpoint"
}

variable "revision" {
  type        = number
  default     = 1
  description = "2 changes an attribute of almost everything"
}

locals {
  first = var.revision == 1
  tags  = { team = "research", revision = tostring(var.revision) }
}

provider "aws" {
  s3_use_path_style          = true
  skip_metadata_api_check    = true
  skip_region_validation     = true
  skip_requesting_account_id = false
  default_tags {
    tags = { managed-by = "terraform" }
  }
  endpoints {
    athena     = var.endpoint
    cloudtrail = var.endpoint
    iam        = var.endpoint
    keyspaces  = var.endpoint
    s3         = var.endpoint
    sts        = var.endpoint
    glue       = var.endpoint
  }
}

data "aws_caller_identity" "me" {}
data "aws_partition" "here" {}
