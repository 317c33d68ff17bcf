"""boto3 on every HTTP API, and PyAthena reading results as rows."""

import datetime
import decimal
import os
import time
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from pyathena import connect
from pyathena.error import OperationalError, DatabaseError


def equal(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def refused(code, call, **args):
    try:
        call(**args)
    except ClientError as e:
        equal(e.response["Error"]["Code"], code, "error code")
        return
    raise AssertionError(f"{code} was expected")


session = boto3.Session()
config = Config(retries={"total_max_attempts": 1})
client = lambda name: session.client(name, config=config)
sts, iam, s3, athena, keyspaces, trail = map(client, ("sts", "iam", "s3", "athena", "keyspaces", "cloudtrail"))
account = sts.get_caller_identity()["Account"]
equal(account, os.environ["SPOOR_ACCOUNT_ID"], "account")

# S3: objects, multipart, listing, presigned, errors.
s3.create_bucket(Bucket="sdk-bucket")
s3.put_object(Bucket="sdk-bucket", Key="a/one", Body=b"hello", Metadata={"who": "boto3"})
got = s3.get_object(Bucket="sdk-bucket", Key="a/one")
equal((got["Body"].read(), got["Metadata"]), (b"hello", {"who": "boto3"}), "object")
up = s3.create_multipart_upload(Bucket="sdk-bucket", Key="big")
parts = []
for n, body in enumerate((b"x" * (5 << 20), b"end"), 1):
    tag = s3.upload_part(Bucket="sdk-bucket", Key="big", UploadId=up["UploadId"], PartNumber=n, Body=body)["ETag"]
    parts.append({"PartNumber": n, "ETag": tag})
s3.complete_multipart_upload(Bucket="sdk-bucket", Key="big", UploadId=up["UploadId"], MultipartUpload={"Parts": parts})
equal(s3.head_object(Bucket="sdk-bucket", Key="big")["ContentLength"], (5 << 20) + 3, "multipart length")
equal([o["Key"] for o in s3.list_objects_v2(Bucket="sdk-bucket")["Contents"]], ["a/one", "big"], "listing")
refused("NoSuchKey", s3.get_object, Bucket="sdk-bucket", Key="nothing")
refused("NoSuchBucket", s3.list_objects_v2, Bucket="sdk-nothing")

# IAM and STS: a role, what it may do and what it may not.
role = iam.create_role(RoleName="sdk-role", AssumeRolePolicyDocument='{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%s:root"},"Action":"sts:AssumeRole"}}' % account)["Role"]
iam.put_role_policy(RoleName="sdk-role", PolicyName="read", PolicyDocument='{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::sdk-bucket/a/*"}}')
creds = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="sdk")["Credentials"]
narrow = boto3.client("s3", config=config, aws_access_key_id=creds["AccessKeyId"], aws_secret_access_key=creds["SecretAccessKey"], aws_session_token=creds["SessionToken"])
equal(narrow.get_object(Bucket="sdk-bucket", Key="a/one")["Body"].read(), b"hello", "the role's read")
refused("AccessDenied", narrow.get_object, Bucket="sdk-bucket", Key="big")
refused("EntityAlreadyExists", iam.create_role, RoleName="sdk-role", AssumeRolePolicyDocument=role and '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%s:root"},"Action":"sts:AssumeRole"}}' % account)

# Keyspaces' API.
keyspaces.create_keyspace(keyspaceName="sdk_ks", tags=[{"key": "made", "value": "boto3"}])
keyspaces.create_table(keyspaceName="sdk_ks", tableName="t", schemaDefinition={
    "allColumns": [{"name": "id", "type": "int"}, {"name": "v", "type": "text"}], "partitionKeys": [{"name": "id"}]})
for _ in range(100):
    table = keyspaces.get_table(keyspaceName="sdk_ks", tableName="t")
    if table["status"] == "ACTIVE":
        break
    time.sleep(0.1)
equal(table["status"], "ACTIVE", "table")
equal([(c["name"], c["type"]) for c in table["schemaDefinition"]["allColumns"]], [("id", "int"), ("v", "text")], "columns")
refused("ResourceNotFoundException", keyspaces.get_table, keyspaceName="sdk_ks", tableName="nothing")

# Athena, by the SDK and by PyAthena.
equal(athena.get_work_group(WorkGroup="primary")["WorkGroup"]["Name"], "primary", "work group")
refused("InvalidRequestException", athena.start_query_execution, QueryString="SELEC 1", ResultConfiguration={"OutputLocation": "s3://sdk-bucket/out/"})
s3.put_object(Bucket="sdk-bucket", Key="csv/data.csv", Body=b"1,chair,9.50\n2,table,\n3,\"a, b\",0.25\n")
with connect(s3_staging_dir="s3://sdk-bucket/out/", region_name=os.environ["AWS_REGION"], poll_interval=0.1) as conn:
    cur = conn.cursor()
    cur.execute("CREATE DATABASE sdk")
    cur.execute("CREATE EXTERNAL TABLE sdk.things (id int, name string, price decimal(10,2)) "
                "ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.OpenCSVSerde' LOCATION 's3://sdk-bucket/csv/'"
                .replace("price decimal(10,2)", "price string").replace("id int", "id string"))
    cur.execute("SELECT cast(id AS integer) AS id, name, price FROM sdk.things ORDER BY 1")
    equal([d[0] for d in cur.description], ["id", "name", "price"], "columns")
    equal(cur.fetchall(), [(1, "chair", "9.50"), (2, "table", ""), (3, "a, b", "0.25")], "rows")
    cur.execute("SELECT true, 1.5e0, DECIMAL '2.50', DATE '2024-02-29', TIMESTAMP '2024-02-29 01:02:03.004', CAST(NULL AS varchar), 9223372036854775807, ARRAY[1,2]")
    row = cur.fetchone()
    equal(row[:7], (True, 1.5, decimal.Decimal("2.50"), datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 1, 2, 3, 4000), None, 2**63 - 1), "typed row")
    cur.execute("SELECT x FROM UNNEST(sequence(1, 2500)) AS t(x) ORDER BY x")
    equal([r[0] for r in cur.fetchall()], list(range(1, 2501)), "pages of rows")
    cur.execute("SELECT count(*) FROM sdk.things WHERE name = %(name)s", {"name": "chair"})
    equal(cur.fetchone(), (1,), "parameter")
    try:
        cur.execute("SELECT nothing FROM sdk.things")
        raise AssertionError("an unknown column was accepted")
    except (OperationalError, DatabaseError) as e:
        if "COLUMN_NOT_FOUND" not in str(e) and "cannot be resolved" not in str(e):
            raise

# CloudTrail has it all.
for _ in range(100):
    names = {e["EventName"] for p in trail.get_paginator("lookup_events").paginate() for e in p["Events"]}
    if "StartQueryExecution" in names:
        break
    time.sleep(0.1)
missing = {"CreateBucket", "CreateRole", "AssumeRole", "CreateKeyspace", "CreateTable", "StartQueryExecution"} - names
equal(missing, set(), "calls without an event")
