# Sourced by run.sh: the project's kinds of resources by the AWS CLI, created,
# read, updated and destroyed, with their outcomes asserted.

text() { "$@" --output text | tr '\t' ' '; }
# refused CODE COMMAND...: the command fails with the error of that code.
refused() {
  local code=$1
  shift
  if "$@" >"$work/refused" 2>&1; then fail "$* succeeded, want $code"; fi
  grep -q "($code)" "$work/refused" || { cat "$work/refused"; fail "$*: want $code"; }
}
nothing_left() {
  same "the users" admin "$(text aws iam list-users --query 'Users[].UserName')"
  same "the groups" "" "$(text aws iam list-groups --query 'Groups[].GroupName')"
  same "the roles" "" "$(text aws iam list-roles --query 'Roles[].RoleName')"
  same "the policies" "" "$(text aws iam list-policies --scope Local --query 'Policies[].PolicyName')"
  same "the work groups" primary "$(text aws athena list-work-groups --query 'WorkGroups[].Name')"
  same "the trails" "" "$(text aws cloudtrail list-trails --query 'Trails[].Name')"
  same "the buckets" "" "$(text aws s3api list-buckets --query 'Buckets[].Name')"
  same "the keyspaces" "" "$(text aws keyspaces list-keyspaces --query 'keyspaces[?!starts_with(keyspaceName, `system`)].keyspaceName')"
}

account=$SPOOR_ACCOUNT_ID

# Users, groups, roles, policies, keys.
aws iam create-user --user-name cli-user --tags Key=team,Value=a >/dev/null
refused EntityAlreadyExists aws iam create-user --user-name cli-user
aws iam tag-user --user-name cli-user --tags Key=team,Value=b
same "the user's tag" b "$(text aws iam list-user-tags --user-name cli-user --query 'Tags[0].Value')"
aws iam create-group --group-name cli-group >/dev/null
aws iam add-user-to-group --user-name cli-user --group-name cli-group
same "the user's groups" cli-group "$(text aws iam list-groups-for-user --user-name cli-user --query 'Groups[].GroupName')"
policy=$(text aws iam create-policy --policy-name cli-policy --query Policy.Arn --policy-document \
  '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}')
aws iam create-policy-version --policy-arn "$policy" --set-as-default --policy-document \
  '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:PutObject","Resource":"*"}]}' >/dev/null
same "the policy's version" v2 "$(text aws iam get-policy --policy-arn "$policy" --query Policy.DefaultVersionId)"
aws iam attach-group-policy --group-name cli-group --policy-arn "$policy"
refused DeleteConflict aws iam delete-policy --policy-arn "$policy"
aws iam create-role --role-name cli-role --assume-role-policy-document \
  "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"$account\"},\"Action\":\"sts:AssumeRole\"}]}" >/dev/null
aws iam update-role --role-name cli-role --max-session-duration 7200 --description "for the CLI"
same "the role" "for the CLI 7200" "$(text aws iam get-role --role-name cli-role --query 'Role.[Description, MaxSessionDuration]')"
key=$(text aws iam create-access-key --user-name cli-user --query AccessKey.AccessKeyId)
aws iam update-access-key --user-name cli-user --access-key-id "$key" --status Inactive
same "the key" "$key Inactive" "$(text aws iam list-access-keys --user-name cli-user --query 'AccessKeyMetadata[0].[AccessKeyId, Status]')"
refused DeleteConflict aws iam delete-user --user-name cli-user

# A bucket with what can be set on it, and an object with versions.
bucket=cli-bucket
aws s3api create-bucket --bucket $bucket >/dev/null
refused NoSuchTagSet aws s3api get-bucket-tagging --bucket $bucket
aws s3api put-bucket-tagging --bucket $bucket --tagging 'TagSet=[{Key=team,Value=a}]'
same "the bucket's tag" a "$(text aws s3api get-bucket-tagging --bucket $bucket --query 'TagSet[0].Value')"
same "the block of public access" "True True True True" "$(text aws s3api get-public-access-block --bucket $bucket \
  --query 'PublicAccessBlockConfiguration.[BlockPublicAcls, IgnorePublicAcls, BlockPublicPolicy, RestrictPublicBuckets]')"
refused AccessDenied aws s3api put-bucket-policy --bucket $bucket --policy \
  "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::$bucket/*\"}]}"
same "the ownership" BucketOwnerEnforced "$(text aws s3api get-bucket-ownership-controls --bucket $bucket --query 'OwnershipControls.Rules[0].ObjectOwnership')"
aws s3api delete-bucket-ownership-controls --bucket $bucket
refused OwnershipControlsNotFoundError aws s3api get-bucket-ownership-controls --bucket $bucket
same "the encryption" AES256 "$(text aws s3api get-bucket-encryption --bucket $bucket \
  --query 'ServerSideEncryptionConfiguration.Rules[0].ApplyServerSideEncryptionByDefault.SSEAlgorithm')"
refused NotImplemented aws s3api put-bucket-encryption --bucket $bucket --server-side-encryption-configuration \
  '{"Rules":[{"ApplyServerSideEncryptionByDefault":{"SSEAlgorithm":"aws:kms"}}]}'
refused NoSuchLifecycleConfiguration aws s3api get-bucket-lifecycle-configuration --bucket $bucket
refused NoSuchCORSConfiguration aws s3api get-bucket-cors --bucket $bucket
refused NoSuchWebsiteConfiguration aws s3api get-bucket-website --bucket $bucket
refused ReplicationConfigurationNotFoundError aws s3api get-bucket-replication --bucket $bucket
refused ObjectLockConfigurationNotFoundError aws s3api get-object-lock-configuration --bucket $bucket
same "the payer" BucketOwner "$(text aws s3api get-bucket-request-payment --bucket $bucket --query Payer)"
same "the versions of a new bucket" None "$(text aws s3api get-bucket-versioning --bucket $bucket --query Status)"
aws s3api put-bucket-versioning --bucket $bucket --versioning-configuration Status=Enabled
for n in one three; do
  printf %s "$n" >"$work/body"
  aws s3api put-object --bucket $bucket --key k --body "$work/body" >/dev/null
done
old=$(text aws s3api list-object-versions --bucket $bucket --query 'Versions[?!IsLatest].VersionId')
aws s3api get-object --bucket $bucket --key k --version-id "$old" "$work/old" >/dev/null
same "the earlier version" one "$(cat "$work/old")"
aws s3api delete-object --bucket $bucket --key k >/dev/null
refused NoSuchKey aws s3api get-object --bucket $bucket --key k "$work/gone"
refused BucketNotEmpty aws s3api delete-bucket --bucket $bucket

# Athena.
aws athena create-work-group --name cli-group --configuration "ResultConfiguration={OutputLocation=s3://$bucket/results/}" --tags Key=team,Value=a
aws athena update-work-group --work-group cli-group --description changed --state DISABLED \
  --configuration-updates 'BytesScannedCutoffPerQuery=20000000,ResultConfigurationUpdates={RemoveOutputLocation=true}'
same "the work group" "changed DISABLED 20000000 None True" "$(text aws athena get-work-group --work-group cli-group --query \
  'WorkGroup.[Description, State, Configuration.BytesScannedCutoffPerQuery, Configuration.ResultConfiguration.OutputLocation, Configuration.EnforceWorkGroupConfiguration]')"
refused InvalidRequestException aws athena start-query-execution --query-string 'SELECT 1' --work-group cli-group
arn=arn:aws:athena:$AWS_REGION:$account:workgroup/cli-group
aws athena tag-resource --resource-arn "$arn" --tags Key=more,Value=b
aws athena untag-resource --resource-arn "$arn" --tag-keys team
same "the work group's tags" "more b" "$(text aws athena list-tags-for-resource --resource-arn "$arn" --query 'Tags[].[Key, Value]')"
query=$(text aws athena create-named-query --name q --database default --query-string 'SELECT 1' --work-group cli-group --query NamedQueryId)
aws athena update-named-query --named-query-id "$query" --name renamed --query-string 'SELECT 2'
same "the query" "renamed SELECT 2" "$(text aws athena get-named-query --named-query-id "$query" --query 'NamedQuery.[Name, QueryString]')"
refused InvalidRequestException aws athena delete-work-group --work-group cli-group
aws athena create-data-catalog --name cli-catalog --type GLUE --parameters catalog-id=$account >/dev/null
same "the catalogs" "AwsDataCatalog cli-catalog" "$(text aws athena list-data-catalogs --query 'DataCatalogsSummary[].CatalogName')"
same "the catalog's database" default "$(text aws athena get-database --catalog-name cli-catalog --database-name default --query Database.Name)"
refused InvalidRequestException aws athena create-data-catalog --name other --type LAMBDA --parameters function=x

# Keyspaces.
aws keyspaces create-keyspace --keyspace-name cli --tags key=team,value=a >/dev/null
aws keyspaces create-table --keyspace-name cli --table-name t --default-time-to-live 60 --ttl status=ENABLED \
  --schema-definition 'allColumns=[{name=k,type=text},{name=v,type=int}],partitionKeys=[{name=k}]' >/dev/null
same "the table" "ACTIVE 60" "$(text aws keyspaces get-table --keyspace-name cli --table-name t --query '[status, defaultTimeToLive]')"
aws keyspaces update-table --keyspace-name cli --table-name t --add-columns name=w,type=text >/dev/null
aws keyspaces update-table --keyspace-name cli --table-name t --default-time-to-live 90 >/dev/null
same "the table" "90 k v w" "$(text aws keyspaces get-table --keyspace-name cli --table-name t --query '[to_string(defaultTimeToLive), join(`" "`, sort(schemaDefinition.allColumns[].name))]')"
refused ConflictException aws keyspaces create-keyspace --keyspace-name cli
refused ResourceNotFoundException aws keyspaces get-table --keyspace-name cli --table-name none

# CloudTrail.
aws s3api create-bucket --bucket cli-trail >/dev/null
refused InsufficientS3BucketPolicyException aws cloudtrail create-trail --name cli --s3-bucket-name cli-trail
aws s3api put-bucket-policy --bucket cli-trail --policy "{\"Version\":\"2012-10-17\",\"Statement\":[
  {\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"cloudtrail.amazonaws.com\"},\"Action\":\"s3:GetBucketAcl\",\"Resource\":\"arn:aws:s3:::cli-trail\"},
  {\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"cloudtrail.amazonaws.com\"},\"Action\":\"s3:PutObject\",\"Resource\":\"arn:aws:s3:::cli-trail/AWSLogs/$account/*\",
   \"Condition\":{\"StringEquals\":{\"s3:x-amz-acl\":\"bucket-owner-full-control\"}}}]}"
aws cloudtrail create-trail --name cli --s3-bucket-name cli-trail --tags-list Key=team,Value=a >/dev/null
aws cloudtrail put-event-selectors --trail-name cli --event-selectors \
  '[{"ReadWriteType":"WriteOnly","IncludeManagementEvents":true,"DataResources":[{"Type":"AWS::S3::Object","Values":["arn:aws:s3"]}]}]' >/dev/null
same "the selectors" "WriteOnly AWS::S3::Object" "$(text aws cloudtrail get-event-selectors --trail-name cli --query 'EventSelectors[0].[ReadWriteType, DataResources[0].Type]')"
aws cloudtrail update-trail --name cli --enable-log-file-validation >/dev/null
aws cloudtrail start-logging --name cli
same "the trail" "True True" "$(text aws cloudtrail get-trail --name cli --query Trail.LogFileValidationEnabled) $(text aws cloudtrail get-trail-status --name cli --query IsLogging)"

# And all of it away again.
aws cloudtrail stop-logging --name cli
aws cloudtrail delete-trail --name cli
refused TrailNotFoundException aws cloudtrail get-trail --name cli
aws keyspaces delete-table --keyspace-name cli --table-name t
aws keyspaces delete-keyspace --keyspace-name cli
aws athena delete-data-catalog --name cli-catalog >/dev/null
aws athena delete-work-group --work-group cli-group --recursive-delete-option
refused InvalidRequestException aws athena get-work-group --work-group cli-group
refused InvalidRequestException aws athena get-named-query --named-query-id "$query"
for v in $(text aws s3api list-object-versions --bucket $bucket --query '[Versions, DeleteMarkers][][].VersionId'); do
  aws s3api delete-object --bucket $bucket --key k --version-id "$v" >/dev/null
done
aws s3api delete-bucket --bucket $bucket
aws s3 rb --force s3://cli-trail >/dev/null
aws iam delete-role --role-name cli-role
aws iam detach-group-policy --group-name cli-group --policy-arn "$policy"
aws iam delete-policy-version --policy-arn "$policy" --version-id v1
aws iam delete-policy --policy-arn "$policy"
aws iam remove-user-from-group --user-name cli-user --group-name cli-group
aws iam delete-group --group-name cli-group
aws iam delete-access-key --user-name cli-user --access-key-id "$key"
aws iam delete-user --user-name cli-user
refused NoSuchEntity aws iam get-user --user-name cli-user
nothing_left
echo "AWS CLI: created, read, updated and destroyed"
