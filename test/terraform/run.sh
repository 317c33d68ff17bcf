#!/usr/bin/env bash
# Terraform and the AWS CLI create, read, update and destroy a project against
# a fresh server. After each change Terraform must plan nothing: what the
# server answers is what was asked for.
#
# Terraform takes its provider (hashicorp/aws 5.x) from a mirror on this
# machine when there is one (TERRAFORM_PLUGINS, or below /opt and the share
# directories), and else from where it usually does. Where Terraform or the
# provider is not to be had, its part is not run, and the last line says so;
# with REQUIRE=1 that is a failure.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
work=$(mktemp -d)
server=
cleanup() {
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap cleanup EXIT

fail() { echo "FAILED: $*"; exit 1; }
missing() {
  echo "terraform: NOT RUN: $*"
  [ -z "${REQUIRE:-}" ] || exit 1
  exit 0
}

if ! command -v aws >/dev/null; then
  [ -x .venv/bin/python ] || python3 -m venv .venv
  .venv/bin/pip install --quiet awscli
  export PATH="$root/.venv/bin:$PATH"
fi

cat >"$work/notifications.json" <<'JSON'
{"topics":    [{"arn": "arn:aws:sns:us-east-1:123456789012:trail-topic", "endpoint": "http://127.0.0.1:1/nobody-listens"}],
 "logGroups": [{"arn": "arn:aws:logs:us-east-1:123456789012:log-group:ct:*", "file": "ct.jsonl"}]}
JSON
"$root/bin/spoor" serve --data "$work/data" --http 127.0.0.1:0 --cql 127.0.0.1:0 --delivery-interval 1s \
  --notifications "$work/notifications.json" >"$work/server.log" 2>&1 &
server=$!
for _ in $(seq 300); do
  [ -s "$work/data/endpoints.json" ] && break
  kill -0 "$server" 2>/dev/null || { cat "$work/server.log"; exit 1; }
  sleep 0.1
done
eval "$("$root/bin/spoor" env --data "$work/data")"
export HOME=$work AWS_PAGER= AWS_EC2_METADATA_DISABLED=true AWS_MAX_ATTEMPTS=1
unset AWS_CA_BUNDLE AWS_PROFILE AWS_SESSION_TOKEN

# same WHAT WANT GOT
same() { [ "$2" = "$3" ] || fail "$1 is '$3', want '$2'"; }

echo "== AWS CLI"
. "$root/test/terraform/cli.sh"

echo "== Terraform"
command -v terraform >/dev/null || missing "there is no terraform on the PATH"
mirror=${TERRAFORM_PLUGINS:-}
for d in /opt/*/*/hashicorp/aws /usr/share/terraform/*/*/hashicorp/aws /usr/local/share/terraform/*/*/hashicorp/aws; do
  [ -n "$mirror" ] || ! ls -d "$d"/5.* >/dev/null 2>&1 || mirror=$(dirname "$(dirname "$(dirname "$d")")")
done
{
  echo 'disable_checkpoint = true'
  [ -z "$mirror" ] || printf 'provider_installation {\n  filesystem_mirror {\n    path = "%s"\n  }\n}\n' "$mirror"
} >"$work/terraformrc"
export TF_CLI_CONFIG_FILE=$work/terraformrc TF_IN_AUTOMATION=1 TF_VAR_endpoint=$AWS_ENDPOINT_URL
mkdir "$work/project"
cp "$root"/test/terraform/*.tf "$work/project"
cd "$work/project"
timeout 120 terraform init -no-color >"$work/init" 2>&1 || { tail -n 5 "$work/init"; missing "the provider hashicorp/aws 5.x cannot be had"; }

run() { terraform "$@" -no-color >"$work/out" 2>&1 || { grep -A12 '^.*Error: ' "$work/out" || tail -n 40 "$work/out"; fail "terraform $*"; }; }
# empty REVISION: a plan finds nothing to do.
empty() {
  local code=0
  terraform plan -detailed-exitcode -no-color -var "revision=$1" >"$work/out" 2>&1 || code=$?
  [ "$code" = 0 ] || { grep -E '^  #|^ +[-~+]|Error' "$work/out"; fail "the plan of revision $1 ended with $code"; }
  echo "revision $1: the plan is empty"
}

run apply -auto-approve
echo "created: $(terraform state list | grep -vc '^data\.') resources"
empty 1
same "the role's longest session" 3600 "$(aws iam get-role --role-name loader --query Role.MaxSessionDuration --output text)"
same "the versions" Enabled "$(aws s3api get-bucket-versioning --bucket terraform-data --query Status --output text)"
same "the trail" True "$(aws cloudtrail get-trail-status --name rows --query IsLogging --output text)"
for _ in $(seq 100); do grep -q '"logGroup":"ct"' "$work/ct.jsonl" && break; sleep 0.1; done
grep -q '\\"eventName\\":\\"StartLogging\\"' "$work/ct.jsonl" || fail "the log group does not have the trail's records"
run apply -auto-approve -var revision=2
empty 2
same "the role's longest session" 7200 "$(aws iam get-role --role-name loader --query Role.MaxSessionDuration --output text)"
same "the analyst's key" Inactive "$(aws iam list-access-keys --user-name analyst --query 'AccessKeyMetadata[0].Status' --output text)"
same "the work group" DISABLED "$(aws athena get-work-group --work-group research --query WorkGroup.State --output text)"
same "the table's time to live" 7200 "$(aws keyspaces get-table --keyspace-name shop --table-name orders --query defaultTimeToLive --output text)"
same "the table's columns" "customer note placed" "$(aws keyspaces get-table --keyspace-name shop --table-name orders --query 'sort(schemaDefinition.allColumns[].name)' --output text | tr '\t' ' ')"
same "the trail" False "$(aws cloudtrail get-trail-status --name rows --query IsLogging --output text)"
same "the object" 12 "$(aws s3api head-object --bucket terraform-data --key shared/orders.csv --query ContentLength --output text)"
run destroy -auto-approve -var revision=2
same "what Terraform still knows" "" "$(terraform state list)"
nothing_left
echo "terraform: created, updated and destroyed; every plan in between was empty"
